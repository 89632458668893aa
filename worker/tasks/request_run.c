/* request_run.c - a request on its way: an agent for it, a note to the hub that holds the agent's session, and
 * its end when its time is over.
 *
 *   look:  ended --------------------------------------------------------> the job is done
 *          time over --> timeout, in the transaction that ends the job
 *          nobody fits --> look again in 250 ms, doubling to 15 s, to 60 s while hours are left (who connects takes what waits by itself)
 *          has an agent, not delivered --> note into its hub's inbox --> look again in request_resend, doubling to 60 s
 *          delivered --> look again in 60 s
 *
 * Every look begins with what PostgreSQL knows, and ends as a snooze (no attempt is used), at the request's deadline at
 * the latest. The note is a nudge: lost with Redis, it is written again at the next look. What is written to an agent, its
 * acknowledgement and its result are the hub's (hub/realtime). */
#include "worker/tasks/request_run.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/settings.h"
#include "domain/agents/inbox.h"
#include "worker/tasks/step.h"
#include <stdio.h>

#define WAIT_FIRST_MS 250
#define WAIT_CAP_MS   15000
#define WAIT_PART     16 /* of the time that is left: thousands may wait for hours */
#define LOOK_CAP_MS   60000
#define NOTE_MS       2000 /* a Redis that does not take the note by then is away */
#define EARLY_MS      20

/* base doubled n times, not above cap. */
static int64_t doubled(int64_t base_ms, int n, int64_t cap_ms)
{
    int64_t ms = base_ms;

    while (n-- > 0 && ms < cap_ms)
        ms *= 2;
    return MIN(ms, cap_ms);
}

static int64_t next_look_ms(const struct job *job, const struct assigned *a)
{
    const struct settings *s = job_env(job)->settings;
    int64_t ms;

    if (a->outcome == ASSIGN_WAITING) {
        ms = doubled(WAIT_FIRST_MS, job->lease.snoozes,
                     MIN(MAX(a->left_ms / WAIT_PART, (int64_t)WAIT_CAP_MS), (int64_t)LOOK_CAP_MS));
        ms = ms / 2 + (int64_t)random_below((uint64_t)ms / 2 + 1);
        ms = MAX(ms, MIN(a->rest_ms, LOOK_CAP_MS));
    } else if (a->delivered) {
        ms = LOOK_CAP_MS;
    } else {
        ms = doubled(s->request_resend, a->sends, MAX(LOOK_CAP_MS, s->request_resend));
    }
    return MIN(ms, a->left_ms);
}

/* Its agent's hub is told. Nobody there: whoever takes the agent's next session sends what it has in hand. */
static void tell_hub(struct cx *cx, struct job *job, const char *request_id,
                     const struct assigned *a)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, NOTE_MS);
    struct inbox_note note = {.kind = INBOX_COMMAND};

    if (!a->hub_id || !a->agent_id || a->delivered)
        return;
    snprintf(note.agent_id, sizeof note.agent_id, "%s", a->agent_id);
    snprintf(note.request_id, sizeof note.request_id, "%s", request_id);
    rc r = inbox_push(cx, job_env(job)->redis, a->hub_id, &note, 1);
    log_fail(r == OK ? LOG_DEBUG : LOG_WARN, r == OK ? "request.told" : "request.not_told", cx, r,
             kv_str("request", request_id), kv_str("agent", a->agent_id), kv_str("hub", a->hub_id),
             kv_int("sends", a->sends));
}

static rc end_in_time(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct job *job = arg;
    enum end_verdict verdict;

    try(request_timeout(cx, tx, &job_env(job)->end_rules, job->lease.id, &verdict));
    if (verdict == END_EARLY)
        return fail(cx, CONFLICT, "its time is not over yet");
    return OK;
}

static rc time_over(struct cx *cx, struct job *job, const char *request_id)
{
    rc r = job_complete(cx, job, end_in_time, job);

    if (r == E_CONFLICT)
        return job_snooze(cx, job, clock_ms() + EARLY_MS, NULL, NULL);
    if (r == OK)
        log_ev(LOG_INFO, "request.timeout", kv_str("request", request_id));
    return r;
}

static rc run(struct cx *cx, struct job *job)
{
    struct pg *db = job_env(job)->db;
    char id[ID_LEN + 1];
    struct assigned a;

    try(args_id(cx, job, "request_id", id));
    try(request_assign(cx, db, id, &a));
    if (a.outcome == ASSIGN_ENDED)
        return job_complete(cx, job, NULL, NULL);
    if (a.left_ms == 0)
        return time_over(cx, job, id);
    if (a.outcome == ASSIGN_WAITING && job->lease.snoozes == 0)
        try(request_note(cx, db, id, "waiting", NULL, job->task, "nobody that fits is free"));
    tell_hub(cx, job, id, &a);
    return job_snooze(cx, job, clock_ms() + next_look_ms(job, &a), NULL, NULL);
}

/* A look that fails is tried again: a request without a job would never end. */
struct task task_request_run = {
    .name = REQUEST_RUN_TASK,
    .queue = REQUEST_QUEUE,
    .run = run,
    .max_attempts = 1000,
    .timeout_ms = 60 * 1000,
    .backoff = {.base_ms = 200, .cap_ms = 10 * 1000, .factor = 2, .jitter = JITTER_EQUAL},
    .durable = true,
};

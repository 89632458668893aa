/* agent_results.c - what agents have done, on its way to PostgreSQL.
 *
 *   session A --ack----.
 *   session B --result-+--> [ reports ] --256 at most--> one transaction --> result_ack to each
 *   session A --result-'         ^--------- the next ones gather while it commits
 *
 * The answer leaves after the commit, never before: an agent that does not hear it says its result again, here or at
 * another hub. So everything may be dropped here at any time: what is beyond the ceilings is, and what is left when the
 * process ends. While PostgreSQL is away a batch is tried again and again; agents wait. */
#include "base/log.h"
#include "base/text.h"
#include "hub/realtime/session.h"
#include "rt/fiber.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX 256
#define BATCH_MS  10000
/* Beyond the first: masking takes JSON apart, which is many times its text. */
#define BATCH_BYTES       MiB(1)
#define BYTES_MAX         MiB(64)
#define SESSION_MAX       4096            /* reports of one session */
#define SESSION_BYTES_MAX (BYTES_MAX / 8) /* so that one agent does not take the room of all */

struct report {
    struct report *next;
    struct session *session;
    bool result, completed;
    char *job_id, *response;
    size_t bytes;
};

static void report_free(struct agent_sessions *all, struct report *n)
{
    all->nreports--;
    all->report_bytes -= n->bytes;
    n->session->waiting--;
    n->session->waiting_bytes -= n->bytes;
    session_unref(n->session);
    free(n->job_id);
    free(n->response);
    free(n);
}

/* ------------------------------------------------------------------ a batch */

struct batch {
    struct report **results, **acks;
    size_t nresults, nacks;
    struct request_end *ends;
};

/* The first reports; they stay in the list until they are stored. */
static struct batch batch_of(struct cx *cx, struct agent_sessions *all)
{
    struct batch b = {
        .results = arena_alloc(&cx->arena, BATCH_MAX * sizeof(struct report *)),
        .acks = arena_alloc(&cx->arena, BATCH_MAX * sizeof(struct report *)),
        .ends = arena_alloc(&cx->arena, BATCH_MAX * sizeof(struct request_end)),
    };
    size_t bytes = 0;

    for (struct report *n = all->reports; n && b.nresults + b.nacks < BATCH_MAX; n = n->next) {
        if (n != all->reports && bytes + n->bytes > BATCH_BYTES)
            break;
        bytes += n->bytes;
        if (!n->result) {
            b.acks[b.nacks++] = n;
            continue;
        }
        b.ends[b.nresults] = (struct request_end){
            .job_id = n->job_id,
            .agent_id = n->session->agent_id,
            .to = n->completed ? REQUEST_COMPLETED : REQUEST_FAILED,
            .response = n->response,
        };
        b.results[b.nresults++] = n;
    }
    return b;
}

static rc store_acks(struct cx *cx, struct agent_sessions *all, const struct batch *b)
{
    const char **jobs = arena_alloc(&cx->arena, BATCH_MAX * sizeof *jobs);
    const char **agents = arena_alloc(&cx->arena, BATCH_MAX * sizeof *agents);

    for (size_t i = 0; i < b->nacks; i++) {
        jobs[i] = b->acks[i]->job_id;
        agents[i] = b->acks[i]->session->agent_id;
    }
    return b->nacks ? requests_delivered(cx, all->hub->db, jobs, agents, b->nacks) : OK;
}

/* What the database will never take ends its request all the same: saying it again would not help. */
static rc end_refused(struct cx *cx, struct agent_sessions *all, const struct batch *b)
{
    for (size_t i = 0; i < b->nresults; i++) {
        struct request_end *e = &b->ends[i];

        if (e->verdict != END_REFUSED)
            continue;
        log_ev(LOG_WARN, "agent.result_refused", kv_str("agent", e->agent_id),
               kv_str("job", e->job_id), kv_str("why", e->err.text));
        session_error(b->results[i]->session, e->job_id, "result_refused", e->err.text);
        e->to = REQUEST_FAILED;
        e->response = NULL;
        e->error_code = "result_refused";
        e->error = "the agent's result could not be stored";
        try(requests_end_all(cx, all->hub->db, &all->hub->end_rules, e, 1));
    }
    return OK;
}

static void answer(struct agent_sessions *all, const struct report *n, const struct request_end *e)
{
    metric_add(all->hub->metrics,
               e->verdict == END_DONE ? METRIC_AGENT_RESULTS : METRIC_AGENT_RESULTS_LATE, 1);
    session_result_ack(n->session, n->job_id);
}

static rc store(struct cx *cx, void *arg)
{
    struct agent_sessions *all = arg;
    struct batch b = batch_of(cx, all);

    try(store_acks(cx, all, &b));
    if (b.nresults)
        try(requests_end_all(cx, all->hub->db, &all->hub->end_rules, b.ends, b.nresults));
    try(end_refused(cx, all, &b));
    for (size_t i = 0; i < b.nresults; i++)
        answer(all, b.results[i], &b.ends[i]);
    metric_add(all->hub->metrics, METRIC_AGENT_ACKS, (int64_t)b.nacks);
    for (size_t i = b.nresults + b.nacks; i > 0; i--) {
        struct report *n = all->reports;

        all->reports = n->next;
        report_free(all, n);
    }
    if (!all->reports)
        all->reports_tail = &all->reports;
    return OK;
}

/* Batch after batch until the list is empty; each is a fiber of its own, so that its memory ends with it. */
static rc keep_storing(struct cx *cx, void *arg)
{
    struct agent_sessions *all = arg;
    int64_t pause = 0;
    rc r = OK, stored;

    while (r == OK && all->reports) {
        struct fiber_opts o = {.name = "agents.store", .timeout_ms = BATCH_MS};

        r = fiber_join(cx, fiber_spawn(&o, store, all), &stored);
        if (r != OK)
            break;
        if (stored == OK) {
            pause = 0;
            continue;
        }
        log_fail(LOG_WARN, "agents.results_not_stored", cx, stored,
                 kv_int("waiting", (int64_t)all->nreports));
        pause = MIN(pause ? 2 * pause : 50, (int64_t)STORE_PAUSE_MS);
        r = fiber_sleep(cx, pause);
    }
    all->storing = false;
    waitq_wake_all(&all->stored);
    return r;
}

/* ------------------------------------------------------------------ reports */

static void add(struct session *s, struct report *n)
{
    struct agent_sessions *all = s->all;

    n->session = session_ref(s);
    s->waiting++;
    s->waiting_bytes += n->bytes;
    all->nreports++;
    all->report_bytes += n->bytes;
    *all->reports_tail = n;
    all->reports_tail = &n->next;
    if (all->storing)
        return;
    all->storing = true;
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "agents.results"}, keep_storing, all));
}

static bool takes(struct session *s, size_t bytes)
{
    bool own =
        !s->waiting || (s->waiting < SESSION_MAX &&
                        s->waiting_bytes + bytes <= SESSION_BYTES_MAX); /* one it may always have */
    bool room = own && s->all->report_bytes + bytes <= BYTES_MAX;

    if (!room)
        metric_add(s->all->hub->metrics, METRIC_AGENT_REPORTS_DROPPED, 1);
    return room;
}

void results_ack(struct session *s, const char *job_id)
{
    struct report *n;
    size_t bytes = sizeof *n + strlen(job_id);

    if (!takes(s, bytes))
        return;
    n = xcalloc(1, sizeof *n);
    n->bytes = bytes;
    n->job_id = xstrdup(job_id);
    add(s, n);
}

void results_result(struct session *s, const char *job_id, bool completed, const char *response,
                    size_t n_response)
{
    struct report *n;
    size_t bytes = sizeof *n + strlen(job_id) + n_response;

    if (!takes(s, bytes))
        return;
    n = xcalloc(1, sizeof *n);
    n->bytes = bytes;
    n->result = true;
    n->completed = completed;
    n->job_id = xstrdup(job_id);
    n->response = response ? xstrndup(response, n_response) : NULL;
    add(s, n);
}

void results_free(struct agent_sessions *all)
{
    struct report *n;

    while ((n = all->reports)) {
        all->reports = n->next;
        report_free(all, n);
    }
    all->reports_tail = &all->reports;
    assert(all->nreports == 0);
}

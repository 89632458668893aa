/* leases.c - see leases.h. */
#include "worker/leases.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "rt/watchdog.h"
#include "worker/places.h"
#include "worker/run.h"
#include <stdlib.h>
#include <string.h>

#define ASK_MS 5000

struct leases {
    struct pool *pool;
    struct pg_listen *listen;
    uint64_t
        heard; /* notices about jobs that are not aboard, and silences in which there may have been some */
    bool asking; /* its fiber is under way */
};

struct job_run *leases_find(struct pool *p, const struct lease *l)
{
    struct job_run *run;

    TAILQ_FOREACH(run, &p->runs, link)
    if (run->job.lease.claim == l->claim && strcmp(run->job.lease.id, l->id) == 0)
        return run;
    return NULL;
}

/* ---------------------------------------------------------------- handed out, and not aboard */

static bool acks_wait(const struct pool_queue *q, const struct lease *l)
{
    for (size_t i = 0; i < q->nacks; i++)
        if (q->acks[i].claim == l->claim && strcmp(q->acks[i].id, l->id) == 0)
            return true;
    return false;
}

rc leases_return_unseen(struct cx *cx, struct pool *p, const struct pool_queue *q, const char *name)
{
    _cleanup_(freep) struct lease *last = NULL;
    size_t n, unseen = 0;

    try(engine_last_claim(cx, p->env.engine, q->name, name, &last, &n));
    for (size_t i = 0; i < n; i++)
        if (!leases_find(p, &last[i]) && !acks_wait(q, &last[i]))
            last[unseen++] = last[i];
    return unseen ? engine_release(cx, p->env.engine, q->name, last, unseen) : OK;
}

/* ---------------------------------------------------------------- one question */

/* What extend said of one run. Cancelled fibers end by themselves. */
static void heed(struct job_run *run, bool lost, bool wished)
{
    if (!lost && !wished)
        return;
    run->lost |= lost;
    run->wished_away |= wished;
    log_ev(LOG_WARN, lost ? "lease.lost" : "job.cancel_wished", kv_str("job", run->job.lease.id),
           kv_str("task", run->job.task), kv_int("attempt", run->job.attempt),
           kv_int("age_ms", run->started_ms ? clock_ms() - run->started_ms : 0));
    if (!run->held)
        run_cancel(run);
}

static rc extend(struct cx *cx, struct pool *p, struct pool_queue *q, const struct lease *all,
                 size_t n)
{
    for (size_t from = 0; from < n; from += QUEUE_BATCH) {
        size_t k = MIN(n - from, (size_t)QUEUE_BATCH);
        bool lost[QUEUE_BATCH], wished[QUEUE_BATCH];
        struct job_run *run;
        try(engine_extend(cx, p->env.engine, q->name, all + from, k, p->settings->lease, lost,
                          wished));
        for (size_t i = 0; i < k; i++)
            if ((lost[i] || wished[i]) && (run = leases_find(p, &all[from + i])) &&
                !(run->wished_away && !lost[i]))
                heed(run, lost[i], wished[i]);
    }
    return OK;
}

/* ---------------------------------------------------------------- all, in time */

static rc extend_queue(struct cx *cx, struct pool *p, struct pool_queue *q)
{
    _cleanup_(freep) struct lease *all = xmalloc((p->running + 1) * sizeof *all);
    struct job_run *run;
    size_t n = 0;

    TAILQ_FOREACH(run, &p->runs, link)
    if (run->queue == q && !run->lost)
        all[n++] = run->job.lease;
    return extend(cx, p, q, all, n);
}

static rc extender_fiber(struct cx *cx, void *arg)
{
    struct pool *p = arg;

    for (;;) {
        try(fiber_sleep(cx, MAX(p->settings->lease / 3, 1)));
        watchdog_feed();
        for
            EACH_PLACE(p, q)
            {
                _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
                    cx_deadline_within(cx, p->settings->lease / 3);
                rc r = extend_queue(cx, p, q);
                if (r == E_CANCELLED)
                    return r;
                if (r != OK) /* two calls may fail before another worker can take the jobs */
                    log_fail(LOG_WARN, "leases.not_extended", cx, r, kv_str("queue", q->name));
            }
    }
}

/* ---------------------------------------------------------------- some, when told */

/* Those of one queue that were spoken of. */
static rc ask_queue(struct cx *cx, struct pool *p, struct pool_queue *q, bool *ret_asked)
{
    _cleanup_(freep) struct lease *all = NULL;
    struct job_run *run;
    size_t n = 0;

    TAILQ_FOREACH(run, &p->runs, link)
    if (run->queue == q && run->spoken_of) {
        run->spoken_of = false;
        if (run->lost || run->wished_away)
            continue;
        all = all ? all : xmalloc((p->running + 1) * sizeof *all);
        all[n++] = run->job.lease;
    }
    if (n == 0)
        return OK;
    *ret_asked = true;
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, ASK_MS);
    return extend(cx, p, q, all, n);
}

static rc ask_fiber(struct cx *cx, void *arg)
{
    struct leases *l = arg;
    rc r = OK;

    for (bool asked = true; asked && r == OK;) {
        asked = false;
        for
            EACH_PLACE(l->pool, q)
        r = r == OK ? ask_queue(cx, l->pool, q, &asked) : r;
    }
    l->asking = false;
    if (r != OK) /* the next extension hears it */
        log_fail(LOG_WARN, "cancel.not_heard", cx, r);
    return OK;
}

static void ask(struct leases *l)
{
    if (l->asking || l->pool->ended)
        return;
    l->asking = true;
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "worker.cancels"}, ask_fiber, l));
}

static bool speak_of(struct pool *p, const char *id)
{
    struct job_run *run;
    bool aboard = false;

    TAILQ_FOREACH(run, &p->runs, link)
    if (strncmp(run->job.lease.id, id, ID_LEN) == 0)
        aboard = run->spoken_of = true;
    return aboard;
}

static void on_notice(const char *payload, void *arg)
{
    struct leases *l = arg;
    bool aboard = false;

    for (const char *id = payload; strlen(id) >= ID_LEN; id += ID_LEN + (id[ID_LEN] == ' '))
        if (speak_of(l->pool, id))
            aboard = true;
        else
            l->heard++;
    if (aboard)
        ask(l);
}

static void speak_of_all(struct leases *l, const struct pool_queue *q)
{
    struct job_run *run;
    bool any = false;

    TAILQ_FOREACH(run, &l->pool->runs, link)
    if (!q || run->queue == q)
        any = run->spoken_of = true;
    if (any)
        ask(l);
}

/* What was said before was not heard, also of jobs whose claim is being answered. */
static void on_gap(void *arg)
{
    struct leases *l = arg;

    l->heard++;
    speak_of_all(l, NULL);
}

uint64_t leases_heard(const struct leases *l)
{
    return l->heard;
}

void leases_claimed(struct leases *l, const struct pool_queue *q, uint64_t heard)
{
    if (l->heard != heard)
        speak_of_all(l, q);
}

/* ---------------------------------------------------------------- life */

struct leases *leases_start(struct pool *p)
{
    struct leases *l = xcalloc(1, sizeof *l);

    l->pool = p;
    l->listen = pg_listen(p->env.db, "mihwar_cancelled", on_notice, on_gap, l);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "worker.leases"}, extender_fiber, p));
    return l;
}

struct leases *leases_free(struct leases *l)
{
    if (!l)
        return NULL;
    pg_listen_free(l->listen);
    free(l);
    return NULL;
}

/* presence.c - see presence.h.
 *
 * A batch of counts whose answer was lost is handed in again under the same number, so that it is
 * counted once; what was counted since waits for the next batch. */
#include "worker/presence.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/program.h"
#include "queue/workers.h"
#include "worker/run.h"
#include "worker/tally.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CARD_JOBS   5
#define CARD_TASKS  500
#define BATCH_MAX   MiB(4)
#define PATIENCE_MS 5000
#define LEAVE_MS    200 /* the end of the grace is near */

struct presence {
    struct pool *pool;
    struct fiber *fiber;
    bool ill;
    int64_t started_ms, cpu_us; /* cpu_us: of it, what is handed in already */
    int64_t batch;
    struct buf counts; /* the batch under way; empty: none */
    size_t ncounts;
};

/* ---------------------------------------------------------------- the card */

static void put_queues(struct buf *out, const struct pool *p)
{
    buf_puts(out, ",\"queues\":[");
    for (size_t i = 0; i < p->nqueues; i++) {
        buf_puts(out, i ? ",{\"name\":" : "{\"name\":");
        buf_json_str(out, p->queues[i].name);
        buf_printf(out, ",\"busy\":%.3f,\"rate_per_s\":%.3f}", tally_busy(p->tally, i),
                   tally_rate(p->tally, i));
    }
    buf_puts(out, "]");
}

static void put_tasks(struct buf *out)
{
    buf_puts(out, ",\"tasks\":[");
    for (size_t i = 0; i < MIN(registry_count(), (size_t)CARD_TASKS); i++) {
        buf_puts(out, i ? "," : "");
        buf_json_str(out, registry_at(i)->name);
    }
    buf_puts(out, "]");
}

/* Claimed first is begun first, nearly always: the head of the list has been running longest. */
static void put_oldest(struct buf *out, const struct pool *p)
{
    struct job_run *run;
    int n = 0;

    buf_puts(out, ",\"oldest\":[");
    TAILQ_FOREACH(run, &p->runs, link)
    {
        if (!run->started_ms)
            continue;
        if (n == CARD_JOBS)
            break;
        buf_printf(out, "%s{\"id\":\"%s\",\"task\":", n++ ? "," : "", run->job.lease.id);
        buf_json_str(out, run->job.task);
        buf_puts(out, ",\"queue\":");
        buf_json_str(out, p->queues[run->queue->index].name);
        buf_printf(out, ",\"attempt\":%d,\"started_ms\":%lld}", run->job.attempt,
                   (long long)run->started_ms);
    }
    buf_puts(out, "]");
}

static void put_card(struct buf *out, const struct presence *s)
{
    const struct pool *p = s->pool;
    const char *colon = strrchr(p->worker, ':');

    buf_puts(out, "{\"kind\":\"worker\",\"name\":");
    buf_json_str(out, p->worker);
    buf_printf(out, ",\"host\":\"%.*s\"", (int)(colon - p->worker), p->worker);
    buf_printf(out,
               ",\"pid\":%d,\"child\":%d,\"version\":\"%s\",\"started_ms\":%lld,"
               "\"concurrency\":%zu,\"running\":%zu,\"draining\":%s,\"rss_bytes\":%lld",
               (int)getpid(), p->child, program_version(), (long long)s->started_ms, p->concurrency,
               p->running, p->draining || p->parked ? "true" : "false",
               (long long)program_resident_bytes());
    put_queues(out, p);
    put_tasks(out);
    put_oldest(out, p);
    buf_puts(out, "}");
}

/* ---------------------------------------------------------------- the counts */

static void put_count(struct presence *s, const char *what, int64_t n)
{
    if (n == 0)
        return;
    buf_printf(&s->counts, "p|worker|%s", what);
    buf_putc(&s->counts, 0);
    buf_printf(&s->counts, "%lld", (long long)n);
    buf_putc(&s->counts, 0);
    s->ncounts += 2;
}

static void next_batch(struct presence *s)
{
    int64_t cpu = program_cpu_us();

    s->batch++;
    s->ncounts = tally_take(s->pool->tally, &s->counts);
    put_count(s, "cpu_us", cpu - s->cpu_us);
    s->cpu_us = cpu;
    put_count(s, "spans_sent", s->pool->spans_sent);
    put_count(s, "spans_dropped", s->pool->spans_dropped);
    s->pool->spans_sent = s->pool->spans_dropped = 0;
    if (!buf_ok(&s->counts)) { /* thousands of tasks: never by our own names */
        log_ev(LOG_ERROR, "counts.too_many", kv_int("texts", (int64_t)s->ncounts));
        s->ncounts = 0;
    }
}

static void count_running(struct pool *p)
{
    int64_t now = clock_us();
    struct job_run *run;

    TAILQ_FOREACH(run, &p->runs, link)
    if (run->began_us)
        tally_running(p->tally, run->queue->index, run->began_us, now);
    tally_beat(p->tally, now);
}

/* ---------------------------------------------------------------- a beat */

static rc beat(struct cx *cx, struct presence *s, bool leaves)
{
    _cleanup_(buf_release) struct buf card = BUF(KiB(256));
    _cleanup_(freep) const char **texts = NULL;
    bool drain = false;

    count_running(s->pool);
    if (s->ncounts == 0)
        next_batch(s);
    texts = xmalloc((s->ncounts + 1) * sizeof *texts);
    const char *at = s->counts.p;
    for (size_t i = 0; i < s->ncounts; i++, at += strlen(at) + 1)
        texts[i] = at;
    if (!leaves)
        put_card(&card, s);
    try(workers_beat(cx, s->pool->env.engine,
                     &(struct worker_beat){.name = s->pool->worker,
                                           .card = leaves ? NULL : buf_str(&card),
                                           .batch = s->batch,
                                           .count = texts,
                                           .ncount = s->ncounts},
                     &drain));
    buf_reset(&s->counts);
    s->ncounts = 0;
    if (!leaves && s->pool->parked != drain) {
        log_ev(LOG_INFO, drain ? "worker.parked" : "worker.claims_again",
               kv_int("jobs", (int64_t)s->pool->running));
        pool_park(s->pool, drain);
    }
    return OK;
}

static rc beat_within(struct cx *cx, struct presence *s, int64_t ms, bool leaves)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, ms);
    rc r = beat(cx, s, leaves);

    if (r != OK && r != E_CANCELLED && !s->ill)
        log_fail(LOG_WARN, "worker.not_registered", cx, r);
    s->ill = r != OK;
    return r;
}

static rc rest(struct cx *cx, int64_t ms)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, ms);
    rc r = fiber_park(cx);

    return r == E_DEADLINE ? OK : r;
}

/* It ends with all the others, when nothing runs any more; and says so. */
static rc presence_fiber(struct cx *cx, void *arg)
{
    struct presence *s = arg;
    int64_t every = s->pool->settings->worker_beat;

    while (beat_within(cx, s, PATIENCE_MS, false) != E_CANCELLED && rest(cx, every) == OK)
        ;
    s->fiber = NULL;
    cx->cancelled = false;
    (void)beat_within(cx, s, LEAVE_MS, true);
    return OK;
}

struct presence *presence_start(struct pool *p)
{
    struct presence *s = xcalloc(1, sizeof *s);

    s->pool = p;
    s->started_ms = clock_ms();
    s->counts = BUF(BATCH_MAX);
    s->fiber = fiber_spawn(&(struct fiber_opts){.name = "worker.presence"}, presence_fiber, s);
    fiber_detach(s->fiber);
    return s;
}

void presence_now(struct presence *s)
{
    if (s->fiber)
        fiber_wake(s->fiber);
}

struct presence *presence_free(struct presence *s)
{
    if (s) {
        buf_release(&s->counts);
        free(s);
    }
    return NULL;
}

/* metrics.c - GET /metrics: the hub's own numbers, and what the stores say of queues, tasks, workers
 * and providers.
 *
 *   scrape --> hub's own (shared memory, always)
 *          --> the collectors below: asked of the stores at most once a second and process, within two
 *              seconds; one that fails is left out and says so (mihwar_collector_up)
 *
 * A new subject is a function and a row of collectors[]. Each prints whole families; docs/metrics.md names
 * them all (tests/e2e/test_metrics.c). */
#include "hub/metrics.h"
#include "base/clock.h"
#include "base/log.h"
#include "domain/shop/integrations.h"
#include "hub/api/api.h"
#include "hub/exposition.h"
#include "hub/hub.h"
#include "queue/counts.h"
#include "queue/needed.h"
#include "queue/shape/limits.h"
#include "queue/workers.h"
#include "rt/waitq.h"
#include <string.h>

#define COLLECT_MS    2000
#define FRESH_MS      1000
#define METRICS_MAX   MiB(16)
#define LIMITS_MAX    200
#define PROVIDERS_MAX 1000 /* more are not shown one by one */

/* ------------------------------------------------------------------ queues */

struct seen {
    struct queue_stats *queues;
    struct worker_info *workers;
    struct counts counts;
    size_t nqueues, nworkers;
};

static double paused(const struct queue_stats *s)
{
    return s->paused;
}

static double oldest_s(const struct queue_stats *s)
{
    return (double)s->oldest_age_ms / 1000;
}

#define COUNTED(name)                                                                              \
    static double name(const struct queue_stats *s)                                                \
    {                                                                                              \
        return (double)s->name;                                                                    \
    }
COUNTED(ready)
COUNTED(leased)
COUNTED(scheduled)
COUNTED(held)
COUNTED(dead)
COUNTED(pushed)
COUNTED(done)
COUNTED(retried)
COUNTED(snoozed)
COUNTED(died)
COUNTED(expired)
COUNTED(refused)

static const struct {
    const char *name, *type, *help;
    double (*value)(const struct queue_stats *s);
} queue_families[] = {
    {"mihwar_queue_ready", "gauge", "jobs that a worker may claim now", ready},
    {"mihwar_queue_leased", "gauge", "jobs that workers hold", leased},
    {"mihwar_queue_scheduled", "gauge", "jobs whose time has not come", scheduled},
    {"mihwar_queue_held", "gauge", "jobs that a limit holds back", held},
    {"mihwar_queue_dead", "gauge", "dead letters", dead},
    {"mihwar_queue_oldest_age_seconds", "gauge", "how long the oldest ready job has been due",
     oldest_s},
    {"mihwar_queue_paused", "gauge", "1 while the queue is paused", paused},
    {"mihwar_queue_enqueued_total", "counter", "jobs made known to Redis", pushed},
    {"mihwar_queue_done_total", "counter", "jobs completed", done},
    {"mihwar_queue_retried_total", "counter", "attempts that will be tried again", retried},
    {"mihwar_queue_snoozed_total", "counter", "attempts put off without being counted", snoozed},
    {"mihwar_queue_died_total", "counter", "jobs that ended in the dead letters", died},
    {"mihwar_queue_expired_total", "counter", "leases that ran out", expired},
    {"mihwar_queue_refused_total", "counter", "ends refused because the lease was lost", refused},
};

static rc collect_queues(struct cx *cx, struct hub *hub, struct seen *s, struct buf *out)
{
    try(engine_queues(cx, hub->engine, &s->queues, &s->nqueues));
    for (size_t f = 0; f < COUNT(queue_families); f++) {
        family(out, queue_families[f].name, queue_families[f].type, queue_families[f].help);
        for (size_t i = 0; i < s->nqueues; i++)
            sample(out, queue_families[f].name, LABELS({"queue", s->queues[i].name}),
                   queue_families[f].value(&s->queues[i]));
    }
    return OK;
}

/* ------------------------------------------------------------------ tasks */

static rc collect_tasks(struct cx *cx, struct hub *hub, struct seen *s, struct buf *out)
{
    const struct counts *c = &s->counts;

    try(counts_read(cx, hub->engine, &s->counts));
    family(out, "mihwar_task_attempts_total", "counter", "attempts that ended, by how");
    for (size_t i = 0; i < c->ntasks; i++)
        for (int o = 0; o < COUNT_OUTCOMES; o++)
            if (c->tasks[i].ends[o])
                sample(out, "mihwar_task_attempts_total",
                       LABELS({"queue", c->tasks[i].queue}, {"task", c->tasks[i].task},
                              {"outcome", count_outcome_word((enum count_outcome)o)}),
                       (double)c->tasks[i].ends[o]);
    family(out, "mihwar_task_seconds", "histogram", "how long attempts took");
    for (size_t i = 0; i < c->ntasks; i++)
        sample_histogram(out, "mihwar_task_seconds",
                         LABELS({"queue", c->tasks[i].queue}, {"task", c->tasks[i].task}),
                         &c->tasks[i].took);
    family(out, "mihwar_queue_wait_seconds", "histogram",
           "from when a job was due to when it began");
    for (size_t i = 0; i < c->nqueues; i++)
        sample_histogram(out, "mihwar_queue_wait_seconds", LABELS({"queue", c->queues[i].queue}),
                         &c->queues[i].waited);
    family(out, "mihwar_process_cpu_seconds_total", "counter",
           "processor time of all processes of a kind, ended ones too");
    for (size_t i = 0; i < c->nkinds; i++)
        sample(out, "mihwar_process_cpu_seconds_total", LABELS({"kind", c->kinds[i].kind}),
               (double)c->kinds[i].cpu_us / 1e6);
    family(out, "mihwar_spans_total", "counter",
           "spans of traces of processes that are no hubs: sent, or dropped");
    for (size_t i = 0; i < c->nkinds; i++) {
        sample(out, "mihwar_spans_total", LABELS({"kind", c->kinds[i].kind}, {"end", "sent"}),
               (double)c->kinds[i].spans_sent);
        sample(out, "mihwar_spans_total", LABELS({"kind", c->kinds[i].kind}, {"end", "dropped"}),
               (double)c->kinds[i].spans_dropped);
    }
    return OK;
}

/* ------------------------------------------------------------------ workers */

static bool claims(const struct worker_info *w)
{
    return !w->silent && !w->draining && strcmp(w->kind, "worker") == 0;
}

/* What workers say of one queue, and how long its attempts take. */
static struct needed of_queue(const struct seen *s, const char *queue)
{
    struct needed n = {0};
    int64_t slots = 0, us = 0, ends = 0;

    for (size_t i = 0; i < s->nworkers; i++) {
        const struct worker_info *w = &s->workers[i];
        for (size_t k = 0; k < w->nqueues; k++) {
            if (strcmp(w->queues[k].name, queue) != 0)
                continue;
            n.busy += w->queues[k].busy;
            n.rate_per_s += w->queues[k].rate_per_s;
            n.workers += claims(w);
            slots += claims(w) ? w->concurrency : 0;
        }
    }
    for (size_t i = 0; i < s->counts.ntasks; i++)
        if (strcmp(s->counts.tasks[i].queue, queue) == 0) {
            us += s->counts.tasks[i].took.sum_us;
            ends += histogram_count(&s->counts.tasks[i].took);
        }
    n.slots = n.workers ? slots / n.workers : 0;
    /* Of late, if anything ended of late; else since ever. */
    n.mean_s = n.rate_per_s > 0.01 ? n.busy / n.rate_per_s
               : ends              ? (double)us / 1e6 / (double)ends
                                   : 0;
    return n;
}

static void print_processes(const struct seen *s, struct buf *out)
{
    static const char *const kinds[] = {"worker", "beat"};
    static const char *const states[] = {"up", "draining", "silent"};

    family(out, "mihwar_processes", "gauge", "processes in the register, by state");
    for (size_t k = 0; k < COUNT(kinds); k++)
        for (size_t t = 0; t < COUNT(states); t++) {
            int n = 0;
            for (size_t i = 0; i < s->nworkers; i++) {
                const char *kind = *s->workers[i].kind ? s->workers[i].kind : "worker";
                n += strcmp(kind, kinds[k]) == 0 &&
                     strcmp(worker_state(&s->workers[i]), states[t]) == 0;
            }
            sample(out, "mihwar_processes", LABELS({"kind", kinds[k]}, {"state", states[t]}), n);
        }
    family(out, "mihwar_process_resident_bytes", "gauge",
           "memory of the largest living process of a kind");
    for (size_t k = 0; k < COUNT(kinds); k++) {
        int64_t most = 0;
        for (size_t i = 0; i < s->nworkers; i++)
            if (!s->workers[i].silent && strcmp(s->workers[i].kind, kinds[k]) == 0)
                most = MAX(most, s->workers[i].rss_bytes);
        sample(out, "mihwar_process_resident_bytes", LABELS({"kind", kinds[k]}), (double)most);
    }
}

static rc collect_workers(struct cx *cx, struct hub *hub, struct seen *s, struct buf *out)
{
    struct buf workers = BUF(MiB(1)), slots = BUF(MiB(1)), busy = BUF(MiB(1)), need = BUF(MiB(1));

    try(workers_list(cx, hub->engine, &s->workers, &s->nworkers));
    print_processes(s, out);
    family(&workers, "mihwar_queue_workers", "gauge", "worker processes that claim from the queue");
    family(&slots, "mihwar_queue_slots", "gauge",
           "jobs that these may have under way (shared with their other queues)");
    family(&busy, "mihwar_queue_busy", "gauge",
           "slots taken by the queue's jobs, on average of the last minute");
    family(&need, "mihwar_queue_workers_needed", "gauge",
           "worker processes that the queue needs (docs/metrics.md)");
    for (size_t i = 0; i < s->nqueues; i++) {
        const struct queue_stats *q = &s->queues[i];
        struct needed n = of_queue(s, q->name);
        n.ready = q->ready;
        n.leased = q->leased;
        n.oldest_s = oldest_s(q);
        sample(&workers, "mihwar_queue_workers", LABELS({"queue", q->name}), (double)n.workers);
        sample(&slots, "mihwar_queue_slots", LABELS({"queue", q->name}),
               (double)(n.slots * n.workers));
        sample(&busy, "mihwar_queue_busy", LABELS({"queue", q->name}), n.busy);
        if (!n.slots)
            n.slots = hub->settings->worker_concurrency;
        sample(&need, "mihwar_queue_workers_needed", LABELS({"queue", q->name}),
               (double)workers_needed(&n));
    }
    struct buf *all[] = {&workers, &slots, &busy, &need};
    for (size_t i = 0; i < COUNT(all); i++) {
        buf_append(out, buf_str(all[i]), all[i]->len);
        buf_release(all[i]);
    }
    return OK;
}

/* ------------------------------------------------------------------ providers */

static rc collect_providers(struct cx *cx, struct hub *hub, struct seen *s, struct buf *out)
{
    static const double value[] = {
        [BREAKER_CLOSED] = 0, [BREAKER_OPEN] = 1, [BREAKER_HALF_OPEN] = 2};
    struct integration *list;
    size_t n;

    (void)s;
    try(integration_list(cx, hub->db, NULL, /* enabled_only= */ true, &list, &n));
    n = MIN(n, (size_t)PROVIDERS_MAX);
    family(out, "mihwar_provider_breaker", "gauge", "0 closed, 1 open, 2 half open");
    for (size_t i = 0; i < n; i++)
        sample(out, "mihwar_provider_breaker",
               LABELS({"tenant", list[i].tenant_id}, {"provider", list[i].name}),
               value[list[i].breaker]);
    family(out, "mihwar_provider_paused", "gauge", "1 while an operator has paused it");
    for (size_t i = 0; i < n; i++)
        sample(out, "mihwar_provider_paused",
               LABELS({"tenant", list[i].tenant_id}, {"provider", list[i].name}),
               list[i].paused_until_ms > clock_ms());
    return OK;
}

/* ------------------------------------------------------------------ limits */

/* Keys that an operator has named; what "*" stands for would be without bounds. */
static rc collect_limits(struct cx *cx, struct hub *hub, struct seen *s, struct buf *out)
{
    struct limit_row *rows;
    struct limit_state *now;
    size_t n, kept = 0;

    (void)s;
    try(limits_list(cx, hub->engine, NULL, &rows, &n));
    now = arena_alloc(&cx->arena, (LIMITS_MAX + 1) * sizeof *now);
    for (size_t i = 0; i < n && kept < LIMITS_MAX; i++) {
        if (strcmp(rows[i].limit.key, LIMIT_ANY) == 0)
            continue;
        try(limit_look(cx, hub->engine, rows[i].queue, rows[i].limit.key, &now[kept]));
        rows[kept++] = rows[i];
    }
    family(out, "mihwar_limit_held", "gauge", "jobs that the limit of a key holds back");
    for (size_t i = 0; i < kept; i++)
        sample(out, "mihwar_limit_held",
               LABELS({"queue", rows[i].queue}, {"key", rows[i].limit.key}), (double)now[i].held);
    family(out, "mihwar_limit_under_way", "gauge", "jobs of a key that are under way");
    for (size_t i = 0; i < kept; i++)
        sample(out, "mihwar_limit_under_way",
               LABELS({"queue", rows[i].queue}, {"key", rows[i].limit.key}),
               (double)now[i].under_way);
    family(out, "mihwar_limit_breaker", "gauge",
           "of a key's breaker: 0 closed, 1 open, 2 half open");
    for (size_t i = 0; i < kept; i++)
        if (rows[i].limit.percent)
            sample(out, "mihwar_limit_breaker",
                   LABELS({"queue", rows[i].queue}, {"key", rows[i].limit.key}),
                   strcmp(now[i].breaker, "open") == 0   ? 1
                   : strcmp(now[i].breaker, "half") == 0 ? 2
                                                         : 0);
    return OK;
}

/* ------------------------------------------------------------------ all of them */

/* In this order: a later one uses what an earlier one has seen. */
static const struct {
    const char *name;
    rc (*collect)(struct cx *cx, struct hub *hub, struct seen *s, struct buf *out);
} collectors[] = {
    {"queues", collect_queues},       {"tasks", collect_tasks},   {"workers", collect_workers},
    {"providers", collect_providers}, {"limits", collect_limits},
};

static void collect(struct cx *cx, struct hub *hub, struct buf *out)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, COLLECT_MS);
    bool up[COUNT(collectors)];
    struct seen s = {0};

    buf_reset(out);
    for (size_t i = 0; i < COUNT(collectors); i++) {
        _cleanup_(buf_release) struct buf part = BUF(METRICS_MAX);
        rc r = collectors[i].collect(cx, hub, &s, &part);
        up[i] = r == OK && buf_ok(&part) && buf_append(out, buf_str(&part), part.len);
        if (r != OK)
            log_fail(LOG_DEBUG, "metrics.not_collected", cx, r, kv_str("of", collectors[i].name));
    }
    family(out, "mihwar_collector_up", "gauge", "1 if the stores answered for this part");
    for (size_t i = 0; i < COUNT(collectors); i++)
        sample(out, "mihwar_collector_up", LABELS({"of", collectors[i].name}), up[i]);
}

/* What was collected last; one fiber collects, the others wait for it. Of this process, for its life. */
static struct {
    struct buf text;
    int64_t fresh_until_mono_ms;
    bool busy;
    struct waitq waiting;
} kept = {.text = {.max = METRICS_MAX}};

static rc collected(struct cx *cx, struct hub *hub, struct buf *out)
{
    while (kept.busy)
        try(waitq_wait(cx, &kept.waiting));
    if (clock_mono_ms() >= kept.fresh_until_mono_ms) {
        kept.busy = true;
        collect(cx, hub, &kept.text);
        kept.fresh_until_mono_ms = clock_mono_ms() + FRESH_MS;
        kept.busy = false;
        waitq_wake_all(&kept.waiting);
    }
    buf_append(out, buf_str(&kept.text), kept.text.len);
    return OK;
}

rc metrics_get(struct cx *cx, struct request *q)
{
    metrics_print(q->hub->metrics, &q->out);
    try(collected(cx, q->hub, &q->out));
    try(reply_json(cx, q, 200));
    q->content_type = "text/plain; version=0.0.4; charset=utf-8";
    return OK;
}

/* top.c - what the house does now: queues, the slowest tasks, workers and what runs longest; again and again, until
 * Ctrl-C (or --times N). Rates and durations are those of the last ten seconds or so (workers tell what they have
 * counted every five); at the first look, since ever. */
#include "base/clock.h"
#include "ops/table.h"
#include "ops/until.h"
#include "ops/verbs.h"
#include "queue/counts.h"
#include "queue/workers.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROWS 15 /* of workers and of tasks, on a screen */
#define OLD  8  /* jobs that run longest */

struct sight {
    struct queue_stats *queues;
    struct worker_info *workers;
    struct counts counts;
    size_t nqueues, nworkers;
    int64_t at_ms;
};

/* What of a look is needed for later ones: kept apart from its arena. */
struct past {
    struct counts counts;
    struct arena arena;
    int64_t at_ms; /* 0: there was none */
};
/* The looks of the last span, the oldest first. */
#define SPAN_MS 10000
#define LOOKS   16
struct looks {
    struct past at[LOOKS];
    size_t n;
};

static rc see(struct cx *cx, struct ops *o, struct sight *s)
{
    try(engine_queues(cx, o->engine, &s->queues, &s->nqueues));
    try(workers_list(cx, o->engine, &s->workers, &s->nworkers));
    try(counts_read(cx, o->engine, &s->counts));
    s->at_ms = clock_ms();
    return OK;
}

/* ---------------------------------------------------------------- since a look before */

static void take_off(struct histogram *h, const struct histogram *old)
{
    bool reset = histogram_count(old) > histogram_count(h); /* Redis was emptied meanwhile */

    for (size_t b = 0; b < COUNT_BUCKETS && !reset; b++)
        h->bucket[b] -= old->bucket[b];
    h->sum_us -= reset ? 0 : old->sum_us;
}

static struct histogram waited_since(const struct sight *s, const struct past *p, const char *queue)
{
    struct histogram h = {0};

    for (size_t i = 0; i < s->counts.nqueues; i++)
        if (strcmp(s->counts.queues[i].queue, queue) == 0)
            h = s->counts.queues[i].waited;
    for (size_t i = 0; p->at_ms && i < p->counts.nqueues; i++)
        if (strcmp(p->counts.queues[i].queue, queue) == 0)
            take_off(&h, &p->counts.queues[i].waited);
    return h;
}

static struct task_counts task_since(const struct sight *s, const struct past *p, size_t i)
{
    struct task_counts t = s->counts.tasks[i];

    for (size_t k = 0; p->at_ms && k < p->counts.ntasks; k++) {
        const struct task_counts *old = &p->counts.tasks[k];
        if (strcmp(old->queue, t.queue) != 0 || strcmp(old->task, t.task) != 0)
            continue;
        take_off(&t.took, &old->took);
        for (int e = 0; e < COUNT_OUTCOMES; e++)
            t.ends[e] -= MIN(old->ends[e], t.ends[e]);
    }
    return t;
}

static void forget_oldest(struct looks *l)
{
    arena_release(&l->at[0].arena);
    memmove(&l->at[0], &l->at[1], --l->n * sizeof l->at[0]);
}

/* The one to compare with: the youngest that is as old as the span, else the oldest. */
static const struct past *look_before(struct looks *l, int64_t now_ms)
{
    static const struct past none;

    while (l->n > 1 && now_ms - l->at[1].at_ms >= SPAN_MS)
        forget_oldest(l);
    return l->n ? &l->at[0] : &none;
}

/* Somebody may look more often than we want to remember. */
static void remember(struct looks *l, const struct sight *s)
{
    const struct counts *c = &s->counts;

    if (l->n == LOOKS || (l->n && s->at_ms - l->at[l->n - 1].at_ms < SPAN_MS / (LOOKS - 2)))
        return;
    struct past *p = &l->at[l->n++];
    *p = (struct past){.at_ms = s->at_ms};
    p->counts = (struct counts){
        .tasks = arena_alloc(&p->arena, (c->ntasks + 1) * sizeof *c->tasks),
        .queues = arena_alloc(&p->arena, (c->nqueues + 1) * sizeof *c->queues),
        .ntasks = c->ntasks,
        .nqueues = c->nqueues,
    };
    for (size_t i = 0; i < c->ntasks; i++) {
        p->counts.tasks[i] = c->tasks[i];
        p->counts.tasks[i].queue = arena_strdup(&p->arena, c->tasks[i].queue);
        p->counts.tasks[i].task = arena_strdup(&p->arena, c->tasks[i].task);
    }
    for (size_t i = 0; i < c->nqueues; i++) {
        p->counts.queues[i] = c->queues[i];
        p->counts.queues[i].queue = arena_strdup(&p->arena, c->queues[i].queue);
    }
}

/* ---------------------------------------------------------------- tables */

static const char *decimal(struct cx *cx, double x)
{
    return arena_printf(&cx->arena, x < 10 ? "%.2f" : x < 100 ? "%.1f" : "%.0f", x);
}

static const char *quantile(struct cx *cx, const struct histogram *h, double share)
{
    return histogram_count(h) ? decimal(cx, histogram_quantile_ms(h, share)) : NULL;
}

static struct table *queues_table(struct cx *cx, const struct sight *s, const struct past *p)
{
    struct table *t = table_new("queue", "ready#", "leased#", "scheduled#", "held#", "dead#",
                                "rate_per_s#", "oldest_ms#", "wait_p50_ms#", "wait_p99_ms#",
                                "workers#", "paused?", "draining?", NULL);

    for (size_t i = 0; i < s->nqueues; i++) {
        const struct queue_stats *q = &s->queues[i];
        struct histogram h = waited_since(s, p, q->name);
        int64_t workers = 0;
        for (size_t k = 0; k < s->nworkers; k++)
            workers += worker_serves(&s->workers[k], q->name) && !s->workers[k].draining;
        table_row(t, q->name, number(cx, q->ready), number(cx, q->leased), number(cx, q->scheduled),
                  number(cx, q->held), number(cx, q->dead),
                  arena_printf(&cx->arena, "%.1f", q->rate_per_s), number(cx, q->oldest_age_ms),
                  quantile(cx, &h, 0.5), quantile(cx, &h, 0.99), number(cx, workers),
                  q->paused ? "yes" : "no", q->draining ? "yes" : "no");
    }
    return t;
}

static int by_slowness(const void *a, const void *b)
{
    const struct task_counts *x = a, *y = b;
    double dx = histogram_quantile_ms(&x->took, 0.99), dy = histogram_quantile_ms(&y->took, 0.99);

    return dx != dy ? (dx < dy) - (dx > dy)
                    : (x->took.sum_us < y->took.sum_us) - (x->took.sum_us > y->took.sum_us);
}

/* The slowest first. */
static struct table *tasks_table(struct cx *cx, const struct sight *s, const struct past *p,
                                 size_t most)
{
    struct table *t = table_new("task", "queue", "ends#", "per_s#", "p50_ms#", "p99_ms#",
                                "seconds#", "retries#", "dead#", NULL);
    size_t n = s->counts.ntasks, shown = 0;
    struct task_counts *all = arena_alloc(&cx->arena, (n + 1) * sizeof *all);
    double span_s = (double)(s->at_ms - p->at_ms) / 1000;

    for (size_t i = 0; i < n; i++)
        all[i] = task_since(s, p, i);
    qsort(all, n, sizeof *all, by_slowness);
    for (size_t i = 0; i < n && shown < most; i++) {
        int64_t ends = 0;
        for (int e = 0; e < COUNT_OUTCOMES; e++)
            ends += all[i].ends[e];
        if (!ends)
            continue;
        shown++;
        table_row(t, all[i].task, all[i].queue, number(cx, ends),
                  p->at_ms && span_s > 0 ? decimal(cx, (double)ends / span_s) : NULL,
                  quantile(cx, &all[i].took, 0.5), quantile(cx, &all[i].took, 0.99),
                  decimal(cx, (double)all[i].took.sum_us / 1e6),
                  number(cx, all[i].ends[COUNT_RETRY]), number(cx, all[i].ends[COUNT_DEAD]));
    }
    return t;
}

static struct table *workers_table(struct cx *cx, const struct sight *s, size_t most)
{
    struct table *t = table_new("worker", "state", "running#", "concurrency#", "busy#",
                                "rate_per_s#", "mb#", NULL);
    size_t shown = 0;

    for (size_t i = 0; i < s->nworkers && shown < most; i++) {
        const struct worker_info *w = &s->workers[i];
        double busy = 0, rate = 0;
        if (!w->silent && strcmp(w->kind, "worker") != 0)
            continue;
        shown++;
        for (size_t k = 0; k < w->nqueues; k++) {
            busy += w->queues[k].busy;
            rate += w->queues[k].rate_per_s;
        }
        table_row(t, w->name, worker_state(w), number(cx, w->running), number(cx, w->concurrency),
                  decimal(cx, busy), decimal(cx, rate), number(cx, w->rss_bytes >> 20));
    }
    return t;
}

static int by_start(const void *a, const void *b)
{
    const struct worker_job *x = *(struct worker_job *const *)a,
                            *y = *(struct worker_job *const *)b;

    return (x->started_ms > y->started_ms) - (x->started_ms < y->started_ms);
}

static struct table *oldest_table(struct cx *cx, const struct sight *s)
{
    struct table *t = table_new("job", "task", "queue", "attempt#", "seconds#", NULL);
    size_t n = 0, most = 1;

    for (size_t i = 0; i < s->nworkers; i++)
        most += s->workers[i].noldest;
    const struct worker_job **all = arena_alloc(&cx->arena, most * sizeof *all);
    for (size_t i = 0; i < s->nworkers; i++)
        for (size_t k = 0; k < s->workers[i].noldest; k++)
            all[n++] = &s->workers[i].oldest[k];
    qsort(all, n, sizeof *all, by_start);
    for (size_t i = 0; i < MIN(n, (size_t)OLD); i++)
        table_row(
            t, all[i]->id, all[i]->task, all[i]->queue, number(cx, all[i]->attempt),
            arena_printf(&cx->arena, "%.1f", (double)MAX(s->at_ms - all[i]->started_ms, 0) / 1000));
    return t;
}

/* ---------------------------------------------------------------- one look */

static void print_json(struct cx *cx, const struct sight *s, const struct past *p)
{
    char at[CLOCK_TEXT_LEN + 1];

    printf("{\"at\":\"%s\",\"queues\":", clock_format(s->at_ms, at));
    table_print(queues_table(cx, s, p), true);
    printf(",\"tasks\":");
    table_print(tasks_table(cx, s, p, SIZE_MAX), true);
    printf(",\"workers\":");
    table_print(workers_table(cx, s, SIZE_MAX), true);
    printf(",\"longest\":");
    table_print(oldest_table(cx, s), true);
    puts("}");
}

static void print_people(struct cx *cx, const struct sight *s, const struct past *p, bool screen)
{
    time_t now = (time_t)(s->at_ms / 1000);
    int up = 0, draining = 0, silent = 0;
    char clock[32];
    struct tm tm;

    for (size_t i = 0; i < s->nworkers; i++) {
        bool worker = s->workers[i].silent || strcmp(s->workers[i].kind, "worker") == 0;
        silent += s->workers[i].silent;
        draining += worker && !s->workers[i].silent && s->workers[i].draining;
        up += worker && !s->workers[i].silent && !s->workers[i].draining;
    }
    strftime(clock, sizeof clock, "%H:%M:%S", localtime_r(&now, &tm));
    if (screen)
        printf("\033[H\033[2J");
    printf("mihwar top  %s  workers: %d up, %d draining, %d silent%s\n\n", clock, up, draining,
           silent, screen ? "  (Ctrl-C ends it)" : "");
    table_print(queues_table(cx, s, p), false);
    puts("");
    table_print(tasks_table(cx, s, p, ROWS), false);
    puts("");
    table_print(workers_table(cx, s, ROWS), false);
    puts("");
    table_print(oldest_table(cx, s), false);
}

/* Somebody may watch for days: what one look needs is given back after it. */
static rc look(struct cx *cx, struct ops *o, struct looks *l)
{
    struct arena kept = cx->arena;
    struct sight s = {0};

    cx->arena = (struct arena){0};
    rc r = see(cx, o, &s);
    if (r == OK && o->json)
        print_json(cx, &s, look_before(l, s.at_ms));
    else if (r == OK)
        print_people(cx, &s, look_before(l, s.at_ms), isatty(STDOUT_FILENO));
    if (r == OK)
        remember(l, &s);
    arena_release(&cx->arena);
    cx->arena = kept;
    if (r == OK && fflush(stdout) != 0)
        return fail(cx, OS, "the answer cannot be written");
    return r;
}

rc verb_top(struct cx *cx, struct ops *o)
{
    struct looks looks = {0};
    struct until u;
    rc r = until_begin(cx, o, 2000, /* once= */ true, &u);

    while (r == OK && (r = until_next(cx, &u)) == OK)
        r = look(cx, o, &looks);
    while (looks.n)
        forget_oldest(&looks);
    return until_end(cx, &u, r);
}

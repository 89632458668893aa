/* counts.c - see counts.h. */
#include "queue/counts.h"
#include "base/text.h"
#include "queue/internal.h"
#include <stdlib.h>
#include <string.h>

const int64_t count_bounds_us[COUNT_BUCKETS - 1] = {
    500,    1000,    2500,    5000,    10000,    25000,    50000,    100000,    250000,
    500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000, 300000000, 1800000000};

static const char *const outcomes[COUNT_OUTCOMES] = {
    [COUNT_COMPLETED] = "completed", [COUNT_RETRY] = "retry",         [COUNT_SNOOZED] = "snoozed",
    [COUNT_DEAD] = "dead",           [COUNT_CANCELLED] = "cancelled", [COUNT_STALE] = "stale",
    [COUNT_RELEASED] = "released",   [COUNT_UNKNOWN] = "unknown",
};

size_t count_bucket(int64_t us)
{
    size_t b = 0;

    while (b < COUNT_BUCKETS - 1 && us > count_bounds_us[b])
        b++;
    return b;
}

const char *count_outcome_word(enum count_outcome o)
{
    return outcomes[o];
}

int64_t histogram_count(const struct histogram *h)
{
    int64_t n = 0;

    for (size_t b = 0; b < COUNT_BUCKETS; b++)
        n += h->bucket[b];
    return n;
}

double histogram_quantile_ms(const struct histogram *h, double share)
{
    double want = share * (double)histogram_count(h), below = 0;

    for (size_t b = 0; b < COUNT_BUCKETS && want > 0; b++) {
        double n = (double)h->bucket[b];
        double low = b ? (double)count_bounds_us[b - 1] : 0;
        if (n > 0 && below + n >= want && b < COUNT_BUCKETS - 1)
            return (low + ((double)count_bounds_us[b] - low) * (want - below) / n) / 1000;
        if (n > 0 && below + n >= want)
            return low / 1000;
        below += n;
    }
    return 0;
}

/* ---------------------------------------------------------------- reading */

/* A field in its parts, and the value: "t|QUEUE|TASK|WHAT". */
struct line {
    char *part[4];
    size_t n;
    int64_t value;
};

static int by_parts(const void *a, const void *b)
{
    const struct line *x = a, *y = b;

    for (size_t i = 0; i < x->n && i < y->n; i++) {
        int c = strcmp(x->part[i], y->part[i]);
        if (c)
            return c;
    }
    return (x->n > y->n) - (x->n < y->n);
}

static void split(char *field, struct line *ret)
{
    char *save = NULL;

    for (char *p = strtok_r(field, "|", &save); p && ret->n < COUNT(ret->part);
         p = strtok_r(NULL, "|", &save))
        ret->part[ret->n++] = p;
}

static void add_to_histogram(struct histogram *h, const char *what, int64_t value)
{
    int64_t b;

    if (strcmp(what, "us") == 0)
        h->sum_us = value;
    else if (*what == 'b' && parse_int(what + 1, 0, COUNT_BUCKETS - 1, &b))
        h->bucket[b] = value;
}

static void add_task(struct counts *c, const struct line *l)
{
    struct task_counts *t = c->ntasks ? &c->tasks[c->ntasks - 1] : NULL;

    if (!t || strcmp(t->queue, l->part[1]) != 0 || strcmp(t->task, l->part[2]) != 0) {
        t = &c->tasks[c->ntasks++];
        *t = (struct task_counts){.queue = l->part[1], .task = l->part[2]};
    }
    for (size_t o = 0; o < COUNT_OUTCOMES; o++)
        if (strcmp(outcomes[o], l->part[3]) == 0)
            t->ends[o] = l->value;
    add_to_histogram(&t->took, l->part[3], l->value);
}

static void add_queue(struct counts *c, const struct line *l)
{
    struct queue_counts *q = c->nqueues ? &c->queues[c->nqueues - 1] : NULL;

    if (!q || strcmp(q->queue, l->part[1]) != 0) {
        q = &c->queues[c->nqueues++];
        *q = (struct queue_counts){.queue = l->part[1]};
    }
    add_to_histogram(&q->waited, l->part[2], l->value);
}

static void add_kind(struct counts *c, const struct line *l)
{
    struct kind_counts *k = c->nkinds ? &c->kinds[c->nkinds - 1] : NULL;

    if (!k || strcmp(k->kind, l->part[1]) != 0) {
        k = &c->kinds[c->nkinds++];
        *k = (struct kind_counts){.kind = l->part[1]};
    }
    if (strcmp(l->part[2], "cpu_us") == 0)
        k->cpu_us = l->value;
    else if (strcmp(l->part[2], "spans_sent") == 0)
        k->spans_sent = l->value;
    else if (strcmp(l->part[2], "spans_dropped") == 0)
        k->spans_dropped = l->value;
}

rc counts_read(struct cx *cx, struct engine *e, struct counts *ret)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;

    try(redis_cmd(cx, e->redis, &reply, "HGETALL %s", KEY_COUNTS));
    size_t n = reply->elements / 2;
    struct line *lines = arena_alloc(&cx->arena, (n + 1) * sizeof *lines);
    for (size_t i = 0; i < n; i++) {
        split(arena_strdup(&cx->arena, reply->element[i * 2]->str), &lines[i]);
        lines[i].value = reply_int(reply, i * 2 + 1);
    }
    qsort(lines, n, sizeof *lines, by_parts);
    *ret = (struct counts){
        .tasks = arena_alloc(&cx->arena, (n + 1) * sizeof *ret->tasks),
        .queues = arena_alloc(&cx->arena, (n + 1) * sizeof *ret->queues),
        .kinds = arena_alloc(&cx->arena, (n + 1) * sizeof *ret->kinds),
    };
    for (size_t i = 0; i < n; i++) {
        if (lines[i].n == 4 && strcmp(lines[i].part[0], "t") == 0)
            add_task(ret, &lines[i]);
        else if (lines[i].n == 3 && strcmp(lines[i].part[0], "q") == 0)
            add_queue(ret, &lines[i]);
        else if (lines[i].n == 3 && strcmp(lines[i].part[0], "p") == 0)
            add_kind(ret, &lines[i]);
    }
    return OK;
}

/* tally.c - see tally.h. */
#include "worker/tally.h"
#include "worker/task.h"
#include <stdlib.h>
#include <string.h>

#define SLOTS      256 /* a power of two, more than TALLY_TASKS */
#define HORIZON_US 60e6

struct task_row_count {
    const struct task *task; /* NULL: "_other", or an empty place */
    size_t queue;
    bool used, changed;
    int64_t ends[COUNT_OUTCOMES];
    struct histogram took;
};
struct queue_row {
    const char *name;
    bool changed;
    struct histogram waited;
    int64_t busy_us, ended; /* since the last beat */
    double busy, rate;
};
struct tally {
    size_t nqueues, used;
    int64_t beat_us;
    struct queue_row *queues;
    struct task_row_count *others; /* one a queue */
    struct task_row_count tasks[SLOTS];
};

struct tally *tally_new(const char *const *queues, size_t n, int64_t now_us)
{
    struct tally *t = xcalloc(1, sizeof *t);

    t->nqueues = n;
    t->beat_us = now_us;
    t->queues = xcalloc(n, sizeof *t->queues);
    t->others = xcalloc(n, sizeof *t->others);
    for (size_t i = 0; i < n; i++) {
        t->queues[i].name = queues[i];
        t->others[i].queue = i;
    }
    return t;
}

struct tally *tally_free(struct tally *t)
{
    if (t) {
        free(t->queues);
        free(t->others);
        free(t);
    }
    return NULL;
}

static void observe(struct histogram *h, int64_t us)
{
    us = MAX(us, 0); /* clocks of two machines, or one that was set back */
    h->bucket[count_bucket(us)]++;
    h->sum_us += us;
}

static struct task_row_count *row_of(struct tally *t, size_t queue, const struct task *task)
{
    size_t at = ((uintptr_t)task / 16 + queue * 31) % SLOTS;

    for (; t->tasks[at].used; at = (at + 1) % SLOTS)
        if (t->tasks[at].task == task && t->tasks[at].queue == queue)
            return &t->tasks[at];
    if (t->used == TALLY_TASKS || !task)
        return &t->others[queue];
    t->used++;
    t->tasks[at] = (struct task_row_count){.task = task, .queue = queue, .used = true};
    return &t->tasks[at];
}

void tally_begin(struct tally *t, size_t queue, int64_t due_ms, int64_t now_us)
{
    if (!due_ms)
        return;
    t->queues[queue].changed = true;
    observe(&t->queues[queue].waited, now_us - due_ms * 1000);
}

void tally_running(struct tally *t, size_t queue, int64_t began_us, int64_t now_us)
{
    t->queues[queue].busy_us += MAX(now_us - MAX(began_us, t->beat_us), 0);
}

void tally_end(struct tally *t, size_t queue, const struct task *task, enum count_outcome o,
               int64_t began_us, int64_t now_us)
{
    struct task_row_count *row = row_of(t, queue, task);

    row->changed = true;
    row->ends[o]++;
    t->queues[queue].ended++;
    if (!began_us)
        return;
    observe(&row->took, now_us - began_us);
    tally_running(t, queue, began_us, now_us);
}

/* ---------------------------------------------------------------- a beat */

/* What is older than a minute fades: the time since the last beat has the weight t / (t + 1 min). */
void tally_beat(struct tally *t, int64_t now_us)
{
    double us = (double)MAX(now_us - t->beat_us, 1), weight = us / (us + HORIZON_US);

    for (size_t i = 0; i < t->nqueues; i++) {
        struct queue_row *q = &t->queues[i];
        q->busy += weight * ((double)q->busy_us / us - q->busy);
        q->rate += weight * ((double)q->ended * 1e6 / us - q->rate);
        q->busy_us = q->ended = 0;
    }
    t->beat_us = now_us;
}

double tally_busy(const struct tally *t, size_t queue)
{
    return t->queues[queue].busy;
}

double tally_rate(const struct tally *t, size_t queue)
{
    return t->queues[queue].rate;
}

struct writer {
    struct buf *out;
    size_t n;
    char head[QUEUE_NAME_MAX + TASK_NAME_MAX + 8]; /* "t|QUEUE|TASK" */
};

static void put(struct writer *w, const char *what, int64_t n)
{
    if (n == 0)
        return;
    buf_printf(w->out, "%s|%s", w->head, what);
    buf_putc(w->out, 0);
    buf_printf(w->out, "%lld", (long long)n);
    buf_putc(w->out, 0);
    w->n += 2;
}

static void put_histogram(struct writer *w, const struct histogram *h)
{
    char what[16];

    for (size_t b = 0; b < COUNT_BUCKETS; b++) {
        snprintf(what, sizeof what, "b%zu", b);
        put(w, what, h->bucket[b]);
    }
    put(w, "us", h->sum_us);
}

static void take_task(struct tally *t, struct task_row_count *row, struct writer *w)
{
    if (!row->changed)
        return;
    snprintf(w->head, sizeof w->head, "t|%s|%s", t->queues[row->queue].name,
             row->task ? row->task->name : "_other");
    for (int o = 0; o < COUNT_OUTCOMES; o++)
        put(w, count_outcome_word((enum count_outcome)o), row->ends[o]);
    put_histogram(w, &row->took);
    memset(row->ends, 0, sizeof row->ends);
    row->took = (struct histogram){0};
    row->changed = false;
}

size_t tally_take(struct tally *t, struct buf *out)
{
    struct writer w = {.out = out};

    for (size_t i = 0; i < SLOTS; i++)
        take_task(t, &t->tasks[i], &w);
    for (size_t i = 0; i < t->nqueues; i++) {
        take_task(t, &t->others[i], &w);
        if (!t->queues[i].changed)
            continue;
        snprintf(w.head, sizeof w.head, "q|%s", t->queues[i].name);
        put_histogram(&w, &t->queues[i].waited);
        t->queues[i].waited = (struct histogram){0};
        t->queues[i].changed = false;
    }
    return w.n;
}

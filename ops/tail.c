/* tail.c - job tail: what jobs tell and how they end, as it happens, until Ctrl-C.
 *
 *   job tail ID                 its log lines and progress, until it has ended
 *   job tail [--queue] [--task] each durable attempt that ends: the stores are asked twice a second
 *
 * An attempt's row bears the time at which it was written, and is seen when its transaction commits: what may
 * come late is asked for again, and what was shown is not shown twice. */
#include "base/clock.h"
#include "ops/table.h"
#include "ops/until.h"
#include "ops/verbs.h"
#include "queue/jobs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVERY_MS 500
#define FIRST_MS 60000 /* so much of what was is shown at first */
#define LATE_MS  3000  /* a transaction may take so long to commit */
#define BATCH    500
#define PAGES    20 /* in one round */
#define SHOWN    8192

/* ---------------------------------------------------------------- one job */

static void print_event(const struct job_event *e, bool json)
{
    char at[CLOCK_TEXT_LEN + 1];

    if (json) {
        _cleanup_(buf_release) struct buf b = BUF(MiB(1));
        job_event_json(e, &b);
        puts(buf_str(&b));
        return;
    }
    printf("%s  %d  %-8s  ", clock_format(e->at_ms, at), e->attempt,
           e->level ? e->level : "progress");
    table_put(e->body);
    putchar('\n');
}

static rc show_news(struct cx *cx, struct ops *o, const char *id, char after[48])
{
    struct job_event *e;
    size_t n;

    do {
        try(timeline_list(cx, o->engine, id, *after ? after : NULL, BATCH, &e, &n));
        for (size_t i = 0; i < n; i++)
            print_event(&e[i], o->json);
        if (n > 0)
            job_event_cursor(&e[n - 1], after);
    } while (n == BATCH);
    return OK;
}

/* *ret_ended: nothing more will come. The state is asked for before the events: what a job says is written
 * before it ends, or never. */
static rc follow(struct cx *cx, struct ops *o, const char *id, char after[48], bool *ret_ended)
{
    struct job_info j;

    try(job_load(cx, o->engine, id, NULL, &j));
    try(show_news(cx, o, id, after));
    *ret_ended = j.finished_ms != 0;
    if (!*ret_ended)
        return OK;
    if (o->json) {
        printf("{\"state\":\"%s\"}\n", j.state);
    } else {
        printf("%s%s", j.state, j.last_error && strcmp(j.state, "completed") != 0 ? ": " : "\n");
        if (j.last_error && strcmp(j.state, "completed") != 0) {
            table_put(j.last_error);
            putchar('\n');
        }
    }
    return OK;
}

/* ---------------------------------------------------------------- all of them */

struct follower {
    int64_t from_ms;
    char shown[SHOWN][ID_LEN + 24]; /* id, generation, attempt; a ring */
    size_t next;
};

static bool was_shown(struct follower *f, const struct ended_attempt *a)
{
    char key[sizeof f->shown[0]];

    snprintf(key, sizeof key, "%s %d %d", a->job_id, a->end.generation, a->end.attempt);
    for (size_t i = 0; i < SHOWN; i++)
        if (strcmp(f->shown[i], key) == 0)
            return true;
    memcpy(f->shown[f->next++ % SHOWN], key, sizeof key);
    return false;
}

static void print_attempt(const struct ended_attempt *a, bool json)
{
    char at[CLOCK_TEXT_LEN + 1];
    int64_t took_ms = MAX(a->end.finished_ms - a->end.started_ms, 0);

    if (json) {
        _cleanup_(buf_release) struct buf b = BUF(MiB(1));
        buf_printf(&b, "{\"job\":\"%s\"", a->job_id);
        buf_json_field(&b, "task", a->task);
        buf_json_field(&b, "queue", a->queue);
        buf_printf(&b, ",\"attempt\":%d,\"took_ms\":%lld", a->end.attempt, (long long)took_ms);
        buf_json_field(&b, "outcome", a->end.outcome);
        buf_json_field(&b, "error_code", a->end.error_code);
        buf_json_field(&b, "error", a->end.error);
        buf_json_field(&b, "worker", a->end.worker);
        buf_json_time(&b, "finished_at", a->end.finished_ms);
        buf_puts(&b, "}");
        puts(buf_str(&b));
        return;
    }
    printf("%s  %s  %-20s  %d  %-9s  %6lld ms  ", clock_format(a->end.finished_ms, at), a->job_id,
           a->task, a->end.attempt, a->end.outcome, (long long)took_ms);
    if (a->end.error) {
        printf("%s: ", a->end.error_code ? a->end.error_code : "?");
        table_put(a->end.error);
    }
    putchar('\n');
}

static rc follow_all(struct cx *cx, struct ops *o, struct follower *f)
{
    struct ended_attempt *a;
    int64_t from = f->from_ms, newest = from;
    size_t n = BATCH;

    for (int page = 0; page < PAGES && n == BATCH; page++) {
        try(attempts_since(cx, o->engine, from, opt(o, "queue"), opt(o, "task"), BATCH, &a, &n));
        for (size_t i = 0; i < n; i++) {
            if (!was_shown(f, &a[i]))
                print_attempt(&a[i], o->json);
            newest = a[i].end.finished_ms;
        }
        from = MAX(newest, from + 1);
    }
    f->from_ms = MAX(f->from_ms, newest - LATE_MS);
    return OK;
}

static rc round_of(struct cx *cx, struct ops *o, struct follower *f, char after[48],
                   bool *ret_ended)
{
    struct arena kept = cx->arena;

    cx->arena = (struct arena){0};
    rc r = o->argc ? follow(cx, o, o->argv[0], after, ret_ended) : follow_all(cx, o, f);
    arena_release(&cx->arena);
    cx->arena = kept;
    if (r == OK && fflush(stdout) != 0)
        return fail(cx, OS, "the answer cannot be written");
    return r;
}

rc verb_job_tail(struct cx *cx, struct ops *o)
{
    _cleanup_(freep) struct follower *f = xcalloc(1, sizeof *f);
    char after[48] = "";
    bool ended = false;
    struct until u;

    if (o->argc && (opt(o, "queue") || opt(o, "task")))
        return fail(cx, USAGE, "name a job, or --queue and --task, not both");
    f->from_ms = clock_ms() - FIRST_MS;
    rc r = until_begin(cx, o, EVERY_MS, /* once= */ false, &u);
    u.every_ms = MAX(u.every_ms, EVERY_MS);
    while (r == OK && !ended && (r = until_next(cx, &u)) == OK)
        r = round_of(cx, o, f, after, &ended);
    return until_end(cx, &u, r);
}

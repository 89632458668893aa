/* tail.c - job tail: what jobs tell and how they end, as it happens, until Ctrl-C.
 *
 *   job tail ID                 its log lines and progress, until it has ended
 *   job tail [--queue] [--task] each durable attempt that ends (queue/follow.h)
 *
 * The stores are asked twice a second. */
#include "base/clock.h"
#include "ops/table.h"
#include "ops/until.h"
#include "ops/verbs.h"
#include "queue/follow.h"
#include "queue/jobs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVERY_MS 500
#define LAST_MS  1000 /* what a job told is written behind its end, at times */
#define LONG_MS  10000
#define BATCH    500

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

static void print_end(const struct job_info *j, bool json)
{
    bool bad = j->last_error && strcmp(j->state, "completed") != 0;

    if (json) {
        printf("{\"state\":\"%s\"}\n", j->state);
        return;
    }
    printf("%s%s", j->state, bad ? ": " : "");
    if (bad)
        table_put(j->last_error);
    putchar('\n');
}

/* Of a broker job nothing may be left when it has ended: it was here, and is not any more. */
static rc look_at(struct cx *cx, struct ops *o, const char *id, bool seen, struct job_info *j)
{
    rc r = job_load(cx, o->engine, id, NULL, j);

    if (r != E_NOT_FOUND || !seen)
        return r;
    *j = (struct job_info){.state = "ended", .finished_ms = clock_ms()};
    return OK;
}

struct followed {
    char after[48];
    bool seen;
    int64_t ended_mono_ms; /* 0: it lives */
};

static rc follow(struct cx *cx, struct ops *o, struct followed *f, bool *ret_ended)
{
    struct job_info j;

    try(look_at(cx, o, o->argv[0], f->seen, &j));
    f->seen = true;
    if (j.finished_ms && !f->ended_mono_ms)
        f->ended_mono_ms = clock_mono_ms();
    else if (!j.finished_ms)
        f->ended_mono_ms = 0; /* somebody brought it back */
    bool over = f->ended_mono_ms && (clock_ms() - j.finished_ms >= LONG_MS ||
                                     clock_mono_ms() - f->ended_mono_ms >= LAST_MS);
    try(show_news(cx, o, o->argv[0], f->after));
    if (over)
        print_end(&j, o->json);
    *ret_ended = over;
    return OK;
}

/* ---------------------------------------------------------------- all of them */

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

static void tell_attempt(const struct ended_attempt *a, void *arg)
{
    print_attempt(a, *(bool *)arg);
}

static rc round_of(struct cx *cx, struct ops *o, struct followed *one, struct follow *all,
                   bool *ret_ended)
{
    struct arena kept = cx->arena;

    cx->arena = (struct arena){0};
    rc r = all ? follow_round(cx, all, tell_attempt, &o->json) : follow(cx, o, one, ret_ended);
    arena_release(&cx->arena);
    cx->arena = kept;
    if (r == OK && fflush(stdout) != 0)
        return fail(cx, OS, "the answer cannot be written");
    return r;
}

rc verb_job_tail(struct cx *cx, struct ops *o)
{
    struct follow *all = NULL;
    struct followed one = {0};
    bool ended = false;
    struct until u;

    if (o->argc && (opt(o, "queue") || opt(o, "task")))
        return fail(cx, USAGE, "name a job, or --queue and --task, not both");
    rc r = until_begin(cx, o, EVERY_MS, /* once= */ false, &u);
    u.every_ms = MAX(u.every_ms, EVERY_MS);
    if (r == OK && !o->argc)
        r = follow_new(cx, o->engine, opt(o, "queue"), opt(o, "task"), &all);
    while (r == OK && !ended && (r = until_next(cx, &u)) == OK)
        r = round_of(cx, o, &one, all, &ended);
    follow_free(all);
    return until_end(cx, &u, r);
}

/* worker.c - the worker processes: who lives, what they do, and whether they shall go on claiming. */
#include "base/clock.h"
#include "domain/audit.h"
#include "ops/table.h"
#include "ops/verbs.h"
#include "queue/workers.h"
#include <stdio.h>
#include <string.h>

static const char *names_of(struct cx *cx, const struct worker_info *w)
{
    const char *list = NULL;

    for (size_t i = 0; i < w->nqueues; i++)
        list =
            list ? arena_printf(&cx->arena, "%s,%s", list, w->queues[i].name) : w->queues[i].name;
    return list;
}

static const char *age_of_oldest(struct cx *cx, const struct worker_info *w)
{
    int64_t now = clock_ms();

    return w->noldest ? arena_printf(&cx->arena, "%.1f s %s",
                                     (double)MAX(now - w->oldest[0].started_ms, 0) / 1000,
                                     w->oldest[0].task)
                      : NULL;
}

static bool is_worker(const struct worker_info *w)
{
    return w->silent || strcmp(w->kind, "worker") == 0;
}

static void print_json(const struct worker_info *w, size_t n)
{
    _cleanup_(buf_release) struct buf out = BUF(MiB(64));

    buf_puts(&out, "[");
    for (size_t i = 0; i < n; i++) {
        if (!is_worker(&w[i]))
            continue;
        buf_puts(&out, out.len > 1 ? ",\n " : "");
        worker_print(&out, &w[i]);
    }
    puts(buf_str(&out));
    puts("]");
}

rc verb_worker_ls(struct cx *cx, struct ops *o)
{
    struct worker_info *w;
    size_t n;

    try(workers_list(cx, o->engine, &w, &n));
    if (o->json) {
        print_json(w, n);
        return OK;
    }
    struct table *t = table_new("worker", "state", "queues", "running#", "concurrency#",
                                "rate_per_s#", "longest", "version", "started", NULL);
    for (size_t i = 0; i < n; i++) {
        double rate = 0;
        for (size_t k = 0; k < w[i].nqueues; k++)
            rate += w[i].queues[k].rate_per_s;
        if (w[i].silent)
            table_row(t, w[i].name, worker_state(&w[i]), NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        else if (is_worker(&w[i]))
            table_row(t, w[i].name, worker_state(&w[i]), names_of(cx, &w[i]),
                      number(cx, w[i].running), number(cx, w[i].concurrency),
                      arena_printf(&cx->arena, "%.1f", rate), age_of_oldest(cx, &w[i]),
                      w[i].version, when(cx, w[i].started_ms));
    }
    table_print(t, false);
    return OK;
}

/* ---------------------------------------------------------------- drain, resume */

static rc wish(struct cx *cx, struct ops *o, const char *name, bool drain)
{
    try(workers_wish(cx, o->engine, name, drain));
    return audit_note(cx, o->db,
                      &(struct audit){.actor = o->actor,
                                      .action = drain ? "worker.drain" : "worker.resume",
                                      .object_type = "worker",
                                      .object_id = name});
}

static rc wish_some(struct cx *cx, struct ops *o, bool drain)
{
    bool all = opt(o, "all") != NULL;
    struct worker_info *w;
    size_t n, wished = 0;

    if (all == (o->argc == 1))
        return fail(cx, USAGE, "name a worker, as 'mihwar worker ls' shows it, or say --all");
    try(workers_list(cx, o->engine, &w, &n));
    for (size_t i = 0; i < n; i++) {
        bool meant = all ? !w[i].silent && is_worker(&w[i]) : strcmp(w[i].name, o->argv[0]) == 0;
        if (!meant)
            continue;
        try(wish(cx, o, w[i].name, drain));
        wished++;
    }
    if (wished == 0 && !all)
        return fail(cx, NOT_FOUND, "there is no worker '%s'; 'mihwar worker ls' lists them",
                    o->argv[0]);
    if (o->json)
        printf("{\"workers\":%zu,\"drain\":%s}\n", wished, drain ? "true" : "false");
    else
        printf("%zu worker%s %s\n", wished, wished == 1 ? "" : "s",
               drain ? "will claim nothing more, from the next beat on (5 s)"
                     : "will claim again, from the next beat on (5 s)");
    return OK;
}

rc verb_worker_drain(struct cx *cx, struct ops *o)
{
    return wish_some(cx, o, true);
}

rc verb_worker_resume(struct cx *cx, struct ops *o)
{
    return wish_some(cx, o, false);
}

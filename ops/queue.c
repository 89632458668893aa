/* queue.c - what waits where, and the switches. */
#include "domain/audit.h"
#include "ops/table.h"
#include "ops/verbs.h"
#include <stdio.h>
#include <string.h>

rc verb_queue_ls(struct cx *cx, struct ops *o)
{
    struct queue_stats *s;
    struct table *t;
    size_t n;

    try(engine_queues(cx, o->engine, &s, &n));
    t = table_new("queue", "ready#", "leased#", "scheduled#", "dead#", "done#", "retried#",
                  "expired#", "refused#", "rate_per_s#", "oldest_ms#", "paused?", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(t, s[i].name, number(cx, s[i].ready), number(cx, s[i].leased),
                  number(cx, s[i].scheduled), number(cx, s[i].dead), number(cx, s[i].done),
                  number(cx, s[i].retried), number(cx, s[i].expired), number(cx, s[i].refused),
                  arena_printf(&cx->arena, "%.1f", s[i].rate_per_s), number(cx, s[i].oldest_age_ms),
                  s[i].paused ? "yes" : "no");
    table_print(t, o->json);
    return OK;
}

/* Switching a queue that nobody ever used is a spelling mistake. */
static rc known(struct cx *cx, struct ops *o)
{
    struct queue_stats *s;
    size_t n;

    try(engine_queues(cx, o->engine, &s, &n));
    for (size_t i = 0; i < n; i++) {
        if (strcmp(s[i].name, o->argv[0]) == 0)
            return OK;
    }
    return fail(cx, NOT_FOUND,
                "no job was ever put into a queue '%s'; 'mihwar queue ls' lists those in use",
                o->argv[0]);
}

static rc note(struct cx *cx, struct ops *o, const char *action, const char *detail)
{
    return audit_note(cx, o->db,
                      &(struct audit){.actor = o->actor,
                                      .action = action,
                                      .object_type = "queue",
                                      .object_id = o->argv[0],
                                      .detail = detail});
}

static rc set_paused(struct cx *cx, struct ops *o, bool paused)
{
    try(known(cx, o));
    try(engine_pause(cx, o->engine, o->argv[0], paused));
    try(note(cx, o, paused ? "queue.pause" : "queue.resume", NULL));
    if (o->json)
        printf("{\"queue\":\"%s\",\"paused\":%s}\n", o->argv[0], paused ? "true" : "false");
    else
        printf("%s is %s\n", o->argv[0], paused ? "paused; what runs goes on" : "running");
    return OK;
}

rc verb_queue_pause(struct cx *cx, struct ops *o)
{
    return set_paused(cx, o, true);
}

rc verb_queue_resume(struct cx *cx, struct ops *o)
{
    return set_paused(cx, o, false);
}

rc verb_queue_purge(struct cx *cx, struct ops *o)
{
    int64_t count = 0;

    if (!opt(o, "yes"))
        return fail(cx, USAGE, "this cancels everything that waits in '%s'; say --yes to do it",
                    o->argv[0]);
    try(known(cx, o));
    try(engine_purge(cx, o->engine, o->argv[0], &count));
    try(note(cx, o, "queue.purge", arena_printf(&cx->arena, "{\"jobs\":%lld}", (long long)count)));
    if (o->json)
        printf("{\"purged\":%lld}\n", (long long)count);
    else
        printf("%lld job%s cancelled\n", (long long)count, count == 1 ? "" : "s");
    return OK;
}

/* queue.c - what waits where, and the switches. */
#include "base/clock.h"
#include "base/text.h"
#include "domain/audit.h"
#include "domain/shop/tenants.h"
#include "ops/table.h"
#include "ops/verbs.h"
#include "queue/keys.h"
#include "queue/shape/policy.h"
#include "rt/fiber.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *or_none(struct cx *cx, int64_t n)
{
    return n ? number(cx, n) : NULL;
}

rc verb_queue_ls(struct cx *cx, struct ops *o)
{
    struct queue_stats *s;
    struct table *t;
    size_t n;

    try(engine_queues(cx, o->engine, &s, &n));
    t = table_new("queue", "ready#", "leased#", "scheduled#", "held#", "dead#", "done#", "retried#",
                  "expired#", "refused#", "rate_per_s#", "oldest_ms#", "paused?", "draining?",
                  "length#", "max_length#", "bytes#+", "max_bytes#", "tenant_max_length#",
                  "shards#+", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(t, s[i].name, number(cx, s[i].ready), number(cx, s[i].leased),
                  number(cx, s[i].scheduled), number(cx, s[i].held), number(cx, s[i].dead),
                  number(cx, s[i].done), number(cx, s[i].retried), number(cx, s[i].expired),
                  number(cx, s[i].refused), arena_printf(&cx->arena, "%.1f", s[i].rate_per_s),
                  number(cx, s[i].oldest_age_ms), s[i].paused ? "yes" : "no",
                  s[i].draining ? "yes" : "no", number(cx, s[i].length),
                  or_none(cx, s[i].max_length), s[i].max_bytes ? number(cx, s[i].bytes) : NULL,
                  or_none(cx, s[i].max_bytes), or_none(cx, s[i].tenant_max_length),
                  number(cx, s[i].shards));
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

/* ---------------------------------------------------------------- drain */

#define LOOK_MS 200

static rc how_many(struct cx *cx, struct ops *o, int64_t *ret)
{
    struct queue_stats *s;
    size_t n;

    try(engine_queues(cx, o->engine, &s, &n));
    *ret = 0;
    for (size_t i = 0; i < n; i++)
        if (strcmp(s[i].name, o->argv[0]) == 0)
            *ret = s[i].ready + s[i].leased + s[i].scheduled + s[i].held;
    return OK;
}

rc verb_queue_drain(struct cx *cx, struct ops *o)
{
    int64_t wait_ms, left = 0;

    try(opt_duration(cx, o, "wait", 0, &wait_ms));
    try(known(cx, o));
    try(engine_drain(cx, o->engine, o->argv[0]));
    try(note(cx, o, "queue.drain", NULL));
    const int64_t end_ms = clock_mono_ms() + wait_ms;
    for (;;) {
        try(how_many(cx, o, &left));
        if (left == 0 || clock_mono_ms() >= end_ms)
            break;
        try(fiber_sleep(cx, LOOK_MS));
    }
    if (wait_ms && left)
        return fail(cx, DEADLINE, "%" PRId64 " job%s still in '%s', which takes no more", left,
                    left == 1 ? " is" : "s are", o->argv[0]);
    if (o->json)
        printf("{\"queue\":\"%s\",\"draining\":true,\"left\":%" PRId64 "}\n", o->argv[0], left);
    else
        printf("%s takes no more jobs; %" PRId64 " in it\n", o->argv[0], left);
    return OK;
}

/* ---------------------------------------------------------------- policy */

static const char *bound(struct cx *cx, int64_t n)
{
    return n ? number(cx, n) : "";
}

static void print_policy(struct cx *cx, const struct ops *o, const struct queue_setting *s)
{
    const struct queue_policy *p = &s->policy;

    if (o->json) {
        _cleanup_(buf_release) struct buf text = BUF(KiB(256));
        queue_policy_write(p, &text);
        printf("{\"queue\":\"%s\",\"paused\":%s,\"draining\":%s,\"policy\":%s}\n", o->argv[0],
               s->paused ? "true" : "false", s->draining ? "true" : "false", buf_str(&text));
        return;
    }
    _cleanup_(buf_release) struct buf weights = BUF(KiB(1)), tenants = BUF(KiB(128));
    for (int i = 9; p->weighted && i >= 0; i--)
        buf_printf(&weights, "%s%d", i == 9 ? "" : ":", p->weights[i]);
    for (size_t i = 0; i < p->ntenants; i++)
        buf_printf(&tenants, "%s%s=%d", i ? "," : "", p->tenants[i].tenant_id,
                   p->tenants[i].weight);
    const char *rows[][2] = {
        {"paused", s->paused ? "yes" : "no"},
        {"draining", s->draining ? "yes" : "no"},
        {"priorities", p->weighted ? buf_str(&weights) : "strict"},
        {"fair", p->fair ? "yes" : "no"},
        {"weights of tenants", buf_str(&tenants)},
        {"max length", bound(cx, p->max_length)},
        {"max bytes", bound(cx, p->max_bytes)},
        {"max length of a tenant", bound(cx, p->tenant_max_length)},
        {"shards", number(cx, MAX(p->shards, INT64_C(1)))},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        printf("%-23s %s\n", rows[i][0], rows[i][1]);
}

rc verb_queue_policy_show(struct cx *cx, struct ops *o)
{
    struct queue_setting s;

    if (!queue_name_valid(o->argv[0]))
        return fail(cx, USAGE, "'%s' is no name of a queue", o->argv[0]);
    try(engine_setting(cx, o->engine, o->argv[0], &s));
    print_policy(cx, o, &s);
    return OK;
}

static rc read_weighted(struct cx *cx, const char *text, struct queue_policy *p)
{
    const char *s = text;

    for (int i = 9; i >= 0; i--) {
        char *end;
        long n = strtol(s, &end, 10);
        if (end == s || n < 1 || n > PRIORITY_WEIGHT_MAX || *end != (i ? ':' : 0))
            return fail(
                cx, USAGE,
                "--weighted takes ten whole numbers from 1 to %d, of the priorities 9 to 0: "
                "10:9:8:7:6:5:4:3:2:1",
                PRIORITY_WEIGHT_MAX);
        p->weights[i] = (int)n;
        s = end + 1;
    }
    p->weighted = true;
    return OK;
}

static void set_weight(struct queue_policy *p, const char *tenant_id, int weight)
{
    size_t i = 0;

    while (i < p->ntenants && strcmp(p->tenants[i].tenant_id, tenant_id) != 0)
        i++;
    if (weight == 1) {
        if (i < p->ntenants)
            p->tenants[i] = p->tenants[--p->ntenants];
        return;
    }
    if (i == p->ntenants)
        p->ntenants++;
    snprintf(p->tenants[i].tenant_id, sizeof p->tenants[i].tenant_id, "%s", tenant_id);
    p->tenants[i].weight = weight;
}

/* "cedar=3,019a...=2": tenants by name or id. */
static rc read_tenant_weights(struct cx *cx, struct ops *o, const char *list,
                              struct queue_policy *p)
{
    char *text = arena_strdup(&cx->arena, list), *save = NULL;
    struct tenant_weight *all =
        arena_alloc(&cx->arena, (p->ntenants + strlen(list) + 1) * sizeof *all);

    if (p->ntenants)
        memcpy(all, p->tenants, p->ntenants * sizeof *all);
    p->tenants = all;
    for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        char *eq = strrchr(word, '='), *end = NULL;
        long n = eq ? strtol(eq + 1, &end, 10) : 0;
        struct tenant t;
        if (!eq || end == eq + 1 || *end || n < 1 || n > TENANT_WEIGHT_MAX)
            return fail(cx, USAGE, "--weight takes TENANT=N, N from 1 to %d, not '%s'",
                        TENANT_WEIGHT_MAX, word);
        *eq = 0;
        try(tenant_get(cx, o->db, word, &t));
        set_weight(p, t.id, (int)n);
        if (p->ntenants > TENANT_WEIGHTS_MAX)
            return fail(cx, USAGE, "at most %d tenants have a weight of their own",
                        TENANT_WEIGHTS_MAX);
    }
    return OK;
}

static rc read_policy(struct cx *cx, struct ops *o, struct queue_policy *p)
{
    const int64_t most = INT64_C(1000000000000000);

    if (opt(o, "plain"))
        *p = (struct queue_policy){0};
    if (opt(o, "strict") && opt(o, "weighted"))
        return fail(cx, USAGE, "priorities are --strict or --weighted");
    if (opt(o, "fair") && opt(o, "no-fair"))
        return fail(cx, USAGE, "say --fair or --no-fair");
    if (opt(o, "strict"))
        p->weighted = false;
    if (opt(o, "weighted"))
        try(read_weighted(cx, opt(o, "weighted"), p));
    if (opt(o, "fair") || opt(o, "no-fair"))
        p->fair = opt(o, "fair") != NULL;
    if (opt(o, "weight"))
        try(read_tenant_weights(cx, o, opt(o, "weight"), p));
    try(opt_int(cx, o, "max-length", 0, most, p->max_length, &p->max_length));
    try(opt_int(cx, o, "max-bytes", 0, most, p->max_bytes, &p->max_bytes));
    try(opt_int(cx, o, "tenant-max-length", 0, most, p->tenant_max_length, &p->tenant_max_length));
    return opt_int(cx, o, "shards", 1, QUEUE_SHARDS_MAX, MAX(p->shards, INT64_C(1)), &p->shards);
}

rc verb_queue_policy_set(struct cx *cx, struct ops *o)
{
    _cleanup_(buf_release) struct buf text = BUF(KiB(256));
    struct queue_setting s;

    if (!queue_name_valid(o->argv[0]))
        return fail(cx, USAGE, "'%s' is no name of a queue", o->argv[0]);
    try(engine_setting(cx, o->engine, o->argv[0], &s));
    try(read_policy(cx, o, &s.policy));
    try(engine_policy_set(cx, o->engine, o->argv[0], &s.policy));
    queue_policy_write(&s.policy, &text);
    try(note(cx, o, "queue.policy", buf_str(&text)));
    print_policy(cx, o, &s);
    return OK;
}

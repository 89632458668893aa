/* stats.c - what is in the queues: one script a queue, one query for the dead. */
#include "base/text.h"
#include "queue/control.sql.h"
#include "queue/internal.h"
#include "queue/names.h"
#include "queue/shards.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void read_counter(struct queue_stats *s, const char *name, int64_t value)
{
    static const struct {
        const char *name;
        size_t offset;
    } counters[] = {
        {"pushed", offsetof(struct queue_stats, pushed)},
        {"snoozed", offsetof(struct queue_stats, snoozed)},
        {"done", offsetof(struct queue_stats, done)},
        {"retried", offsetof(struct queue_stats, retried)},
        {"died", offsetof(struct queue_stats, died)},
        {"refused", offsetof(struct queue_stats, refused)},
        {"expired", offsetof(struct queue_stats, expired)},
    };
    for (size_t i = 0; i < COUNT(counters); i++)
        if (str_eq(counters[i].name, name))
            *(int64_t *)((char *)s + counters[i].offset) += value;
}

/* Added to what its other shards have. */
static rc add_place(struct cx *cx, struct engine *e, const char *place, struct queue_stats *s)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    try(engine_keys(cx, e, place, &k));
    call_begin(&c, e, &SCRIPT_STATS, k,
               KEYS_OF(QK_JOBS, QK_LEASE, QK_SCHED, QK_STATS, QK_RATE, QK_GATE), true, 1);
    call_now(&c);
    try(call_run(cx, &c, REDIS_REPLY_ARRAY, &reply));
    if (!reply_has(reply, 13))
        return fail(cx, REDIS, "stats.lua answered with %zu elements", reply->elements);
    s->ready += reply_int(reply, 0);
    s->leased += reply_int(reply, 1);
    s->scheduled += reply_int(reply, 2);
    s->paused |= reply_int(reply, 3) != 0;
    s->draining |= reply_int(reply, 4) != 0;
    s->held += reply_int(reply, 5);
    s->oldest_age_ms = MAX(s->oldest_age_ms, reply_int(reply, 6));
    s->rate_per_s += (double)reply_int(reply, 7) / 60;
    s->length += reply_int(reply, 8);
    s->bytes += reply_int(reply, 10);
    s->max_length = MAX(s->max_length, reply_int(reply, 9)); /* the same in all shards */
    s->max_bytes = MAX(s->max_bytes, reply_int(reply, 11));
    s->tenant_max_length = MAX(s->tenant_max_length, reply_int(reply, 12));
    for (size_t i = 13; i + 1 < reply->elements; i += 2)
        if (reply->element[i]->type == REDIS_REPLY_STRING)
            read_counter(s, reply->element[i]->str, reply_int(reply, i + 1));
    return OK;
}

static rc one_queue(struct cx *cx, struct engine *e, struct queue_stats *s)
{
    char place[PLACE_NAME_MAX + 1];
    const struct queue_keys *k;
    int held;

    try(shards_held(cx, e, s->name, &held));
    for (int shard = 0; shard < held; shard++)
        try(add_place(cx, e, place_name(s->name, shard, place), s));
    try(engine_keys(cx, e, s->name, &k));
    s->shards = MAX(k->spread, 1);
    return OK;
}

rc engine_queues(struct cx *cx, struct engine *e, struct queue_stats **ret, size_t *ret_n)
{
    _cleanup_(names_release) struct names q = {0};
    _cleanup_(pg_result_freep) struct pg_result *dead = NULL;

    try(names_of_queues(cx, e, &q));
    if (e->db)
        try(pg_query(cx, e->db, &SQL_DEAD_COUNTS, &dead, PG_NO_ARGS));
    struct queue_stats *s = arena_alloc(&cx->arena, (q.n + 1) * sizeof *s);
    for (size_t i = 0; i < q.n; i++) {
        s[i] = (struct queue_stats){0};
        snprintf(s[i].name, sizeof s[i].name, "%s", q.name[i]);
        try(one_queue(cx, e, &s[i]));
        for (int r = 0; dead && r < pg_rows(dead); r++)
            if (strcmp(pg_text(dead, r, 0), s[i].name) == 0)
                s[i].dead = pg_int(dead, r, 1);
    }
    *ret = s;
    *ret_n = q.n;
    return OK;
}

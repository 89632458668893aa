/* shards.c - see shards.h. */
#include "queue/shards.h"
#include "base/log.h"
#include "base/text.h"
#include "queue/internal.h"
#include "queue/names.h"
#include "queue/reconcile.h"
#include "queue/shape/room.h"
#include "queue/shards.sql.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETIRE_MS 60000 /* producers hear of a change within seconds */

/* ---------------------------------------------------------------- what is known */

void shards_heard(struct engine *e, const struct queue_keys *home, int spread, int held)
{
    struct queue_keys *k = engine_queue(e, home);

    k->spread = spread;
    k->held = MAX(held, spread);
}

/* A process without PostgreSQL goes by what was copied. */
static rc ask_gate(struct cx *cx, struct engine *e, const struct queue_keys *home)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    int spread = 1, held = 1;

    try(redis_cmd(cx, e->redis, &reply, "GET %s", home->name[QK_GATE]));
    if (reply->type == REDIS_REPLY_STRING) {
        const char *x = strstr(reply->str, "\"x\":"), *h = strstr(reply->str, "\"h\":");
        spread = x ? atoi(x + 4) : 1;
        held = h ? atoi(h + 4) : 1;
    }
    if (spread >= 1 && held >= spread && held <= QUEUE_SHARDS_MAX)
        shards_heard(e, home, spread, held);
    return OK;
}

rc shards_held(struct cx *cx, struct engine *e, const char *queue, int *ret)
{
    const struct queue_keys *home;

    try(engine_keys(cx, e, queue, &home));
    if (e->db)
        try(bounds_look(cx, e));
    else
        try(ask_gate(cx, e, home));
    *ret = MAX(home->held, 1);
    return OK;
}

/* A job of a queue that needs one place for all that are like it. */
static bool stays_home(const struct job_new *j)
{
    return (!j->durable && (j->unique_key || j->remembered)) ||
           (j->options && j->options->limit_key[0]);
}

int shard_of(const struct queue_keys *home, const struct job_new *j)
{
    uint32_t h = 2166136261u; /* FNV-1a */

    if (home->spread <= 1 || stays_home(j))
        return 0;
    for (const char *p = j->id; *p; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    return (int)((h ^ h >> 16) % (uint32_t)home->spread);
}

/* ---------------------------------------------------------------- where a job is */

static rc ask_place(struct cx *cx, struct engine *e, const char *place, const struct script *step,
                    size_t nkeys, const enum queue_key *keys, const char *const *ids, size_t n,
                    redisReply **ret)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    try(engine_keys(cx, e, place, &k));
    call_begin(&c, e, step, k, nkeys, keys, false, n);
    for (size_t i = 0; i < n; i++)
        call_bytes(&c, ids[i], ID_LEN);
    try(call_run(cx, &c, REDIS_REPLY_STRING, &reply));
    if (reply->len != n)
        return fail(cx, REDIS, "%s.lua answered for %zu jobs of %zu", step->name,
                    (size_t)reply->len, n);
    *ret = TAKE_PTR(reply);
    return OK;
}

rc shards_digits(struct cx *cx, struct engine *e, const char *queue, const struct script *step,
                 size_t nkeys, const enum queue_key *keys, const char *const *ids, size_t n,
                 char *ret)
{
    char place[PLACE_NAME_MAX + 1];
    int held;

    memset(ret, '0', n);
    try(shards_held(cx, e, queue, &held));
    for (int shard = 0; shard < held && n > 0; shard++) {
        _cleanup_(redis_reply_freep) redisReply *reply = NULL;
        try(ask_place(cx, e, place_name(queue, shard, place), step, nkeys, keys, ids, n, &reply));
        for (size_t i = 0; i < n; i++)
            ret[i] = MAX(ret[i], reply->str[i]);
    }
    return OK;
}

rc shards_locate(struct cx *cx, struct engine *e, const char *queue, const char *const *ids,
                 size_t n, int *ret)
{
    char place[PLACE_NAME_MAX + 1];
    int held;

    for (size_t i = 0; i < n; i++)
        ret[i] = -1;
    try(shards_held(cx, e, queue, &held));
    for (int shard = 0; shard < held && n > 0; shard++) {
        _cleanup_(redis_reply_freep) redisReply *reply = NULL;
        try(ask_place(cx, e, place_name(queue, shard, place), &SCRIPT_KNOWN, KEYS_OF(QK_JOBS), ids,
                      n, &reply));
        for (size_t i = 0; i < n; i++)
            if (reply->str[i] == '1')
                ret[i] = shard;
    }
    return OK;
}

rc shards_find(struct cx *cx, struct engine *e, const char *queue, const char *id, const char **ret)
{
    const struct queue_keys *k;
    char place[PLACE_NAME_MAX + 1];
    int held, shard = -1;

    try(engine_keys(cx, e, queue, &k));
    try(shards_held(cx, e, queue, &held));
    if (held > 1)
        try(shards_locate(cx, e, queue, &id, 1, &shard));
    if (shard > 0)
        try(engine_keys(cx, e, place_name(queue, shard, place), &k));
    *ret = k->queue;
    return OK;
}

rc names_of_places(struct cx *cx, struct engine *e, bool all, struct names *ret)
{
    _cleanup_(names_release) struct names q = {0}, places = {0};

    try(all ? names_of_all_queues(cx, e, &q) : names_of_queues(cx, e, &q));
    places.name = xcalloc(q.n * QUEUE_SHARDS_MAX + 1, sizeof *places.name);
    for (size_t i = 0; i < q.n; i++) {
        char place[PLACE_NAME_MAX + 1];
        int held;
        try(shards_held(cx, e, q.name[i], &held));
        for (int shard = 0; shard < held; shard++)
            places.name[places.n++] = xstrdup(place_name(q.name[i], shard, place));
    }
    *ret = places;
    places = (struct names){0};
    return OK;
}

/* ---------------------------------------------------------------- more of them, fewer of them */

rc shards_open(struct cx *cx, struct engine *e, struct pg_tx *tx, const char *queue, int spread,
               int held)
{
    _cleanup_(pg_result_freep) struct pg_result *limited = NULL;
    char place[PLACE_NAME_MAX + 1];

    if (spread <= 1)
        return OK;
    try(pg_tx_do(cx, tx, SQL_SHARDS_LIMITED, &limited, pg_s(queue)));
    if (pg_rows(limited) > 0)
        return fail(cx, CONFLICT,
                    "queue %s has a limit of the queue as a whole (key =), which cannot be counted "
                    "over several shards; remove it first ('mihwar limit rm %s =')",
                    queue, queue);
    for (int shard = held; shard < spread; shard++)
        try(engine_place_open(cx, e, place_name(queue, shard, place)));
    return OK;
}

rc shards_refuse_limit(struct cx *cx, struct engine *e, const char *queue)
{
    int held;

    bounds_forget(e);
    try(shards_held(cx, e, queue, &held));
    if (held > 1)
        return fail(cx, CONFLICT,
                    "queue %s is spread over shards, and a limit of the queue as a whole (key =) "
                    "cannot be counted over them; limits of keys can",
                    queue);
    return OK;
}

static rc is_empty(struct cx *cx, struct engine *e, const char *place, bool *ret)
{
    _cleanup_(redis_reply_freep) redisReply *jobs = NULL, *gate = NULL;
    const struct queue_keys *k;

    try(engine_keys(cx, e, place, &k));
    try(redis_cmd(cx, e->redis, &gate, "GET %s", k->name[QK_GATE]));
    try(redis_cmd(cx, e->redis, &jobs, "EXISTS %s", k->name[QK_JOBS]));
    *ret = gate->type == REDIS_REPLY_STRING && strstr(gate->str, "\"c\":") && jobs->integer == 0;
    return OK;
}

/* From the last one down. Its gate stays, closed: a producer that comes very late is still turned away. */
rc shards_retire(struct cx *cx, struct engine *e)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, e->db, SQL_SHARDS_CLOSED, &res, pg_i(RETIRE_MS)));
    for (int r = 0; r < pg_rows(res); r++) {
        const char *queue = pg_text(res, r, 0);
        char place[PLACE_NAME_MAX + 1];
        int held = (int)pg_int(res, r, 2);
        for (bool empty = true; empty && held > pg_int(res, r, 1); held--) {
            _cleanup_(pg_result_freep) struct pg_result *done = NULL;
            try(is_empty(cx, e, place_name(queue, held - 1, place), &empty));
            if (!empty)
                break;
            try(pg_do(cx, e->db, SQL_SHARDS_RETIRE, &done, pg_s(queue), pg_i(held)));
            if (pg_rows(done) == 0)
                break;
            log_ev(LOG_INFO, "queue.shard_retired", kv_str("queue", queue),
                   kv_int("shard", held - 1));
        }
    }
    return OK;
}

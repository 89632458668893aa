/* policy.c - see policy.h. The gate is a letter and a small object:
 *
 *     p{...} paused   s{...} shaped: claim_shaped.lua   b{...} claimed from as if plain, but bounded
 *     or drained: only pushes look at it
 *
 * Copies are made under a lock of the queue's, from the row to Redis, so that an older one cannot
 * come after a newer one; what is in Redis may be behind for as long as a copy takes, or until beat
 * makes it good. */
#include "queue/shape/policy.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "queue/internal.h"
#include "queue/shape/limits.h"
#include "queue/shape/policy.sql.h"
#include "queue/shape/room.h"
#include "queue/shards.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BOUND_MAX INT64_C(1000000000000000)

/* ---------------------------------------------------------------- as JSON */

static rc read_weights(struct cx *cx, const cJSON *o, struct queue_policy *p)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, "weights"), *w;
    int priority = 9;

    for (int i = 0; i < 10; i++)
        p->weights[i] = i + 1;
    if (!list || cJSON_IsNull(list))
        return OK;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != 10)
        return fail_at(cx, INVALID_FIELD, "/weights", "ten weights, that of priority 9 first");
    cJSON_ArrayForEach(w, list)
    {
        if (!cJSON_IsNumber(w) || w->valuedouble != (double)w->valueint || w->valueint < 1 ||
            w->valueint > PRIORITY_WEIGHT_MAX)
            return fail_at(cx, INVALID_FIELD, "/weights", "a weight is a whole number, 1 to %d",
                           PRIORITY_WEIGHT_MAX);
        p->weights[priority--] = w->valueint;
    }
    return OK;
}

static rc read_tenants(struct cx *cx, const cJSON *o, struct queue_policy *p)
{
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(o, "tenant_weights"), *w;
    int n = cJSON_GetArraySize(map);

    if (!map || cJSON_IsNull(map))
        return OK;
    if (!cJSON_IsObject(map) || n > TENANT_WEIGHTS_MAX)
        return fail_at(cx, INVALID_FIELD, "/tenant_weights",
                       "an object of at most %d tenants' weights", TENANT_WEIGHTS_MAX);
    p->tenants = arena_alloc(&cx->arena, ((size_t)n + 1) * sizeof *p->tenants);
    cJSON_ArrayForEach(w, map)
    {
        struct tenant_weight *t = &p->tenants[p->ntenants];
        if (!id_parse(w->string, t->tenant_id) || !cJSON_IsNumber(w) ||
            w->valuedouble != (double)w->valueint || w->valueint < 1 ||
            w->valueint > TENANT_WEIGHT_MAX)
            return fail_at(cx, INVALID_FIELD, "/tenant_weights",
                           "a tenant's id and a whole number, 1 to %d", TENANT_WEIGHT_MAX);
        t->weight = w->valueint;
        p->ntenants++;
    }
    return OK;
}

rc queue_policy_read(struct cx *cx, const cJSON *o, struct queue_policy *ret)
{
    static const char *const names[] = {"priorities",        "weights",    "fair",
                                        "tenant_weights",    "max_length", "max_bytes",
                                        "tenant_max_length", "shards",     NULL};
    struct queue_policy p = {0};
    const char *priorities;

    try(json_only(cx, o, names));
    try(json_str_opt(cx, o, "priorities", 16, &priorities));
    p.weighted = priorities && strcmp(priorities, "weighted") == 0;
    if (priorities && !p.weighted && strcmp(priorities, "strict") != 0)
        return fail_at(cx, INVALID_FIELD, "/priorities", "priorities are strict or weighted");
    try(read_weights(cx, o, &p));
    try(json_bool_opt(cx, o, "fair", &p.fair));
    try(read_tenants(cx, o, &p));
    try(json_int_opt(cx, o, "max_length", 1, BOUND_MAX, &p.max_length));
    try(json_int_opt(cx, o, "max_bytes", 1, BOUND_MAX, &p.max_bytes));
    try(json_int_opt(cx, o, "tenant_max_length", 1, BOUND_MAX, &p.tenant_max_length));
    try(json_int_opt(cx, o, "shards", 1, QUEUE_SHARDS_MAX, &p.shards));
    *ret = p;
    return OK;
}

static void put_bound(struct buf *out, const char *name, int64_t n)
{
    if (n)
        buf_printf(out, ",\"%s\":%" PRId64, name, n);
    else
        buf_printf(out, ",\"%s\":null", name);
}

void queue_policy_write(const struct queue_policy *p, struct buf *out)
{
    buf_printf(out, "{\"priorities\":\"%s\",\"weights\":", p->weighted ? "weighted" : "strict");
    for (int i = 9; p->weighted && i >= 0; i--)
        buf_printf(out, "%c%d", i == 9 ? '[' : ',', p->weights[i]);
    buf_puts(out, p->weighted ? "]" : "null");
    buf_printf(out, ",\"fair\":%s,\"tenant_weights\":{", p->fair ? "true" : "false");
    for (size_t i = 0; i < p->ntenants; i++)
        buf_printf(out, "%s\"%s\":%d", i ? "," : "", p->tenants[i].tenant_id, p->tenants[i].weight);
    buf_putc(out, '}');
    put_bound(out, "max_length", p->max_length);
    put_bound(out, "max_bytes", p->max_bytes);
    put_bound(out, "tenant_max_length", p->tenant_max_length);
    buf_printf(out, ",\"shards\":%" PRId64 "}", MAX(p->shards, INT64_C(1)));
}

/* ---------------------------------------------------------------- the row */

static rc read_setting(struct cx *cx, const struct pg_result *res, struct queue_setting *ret)
{
    struct queue_setting s = {0};
    cJSON *o;

    if (pg_rows(res) == 1) {
        s.paused = pg_bool(res, 0, 0);
        s.draining = pg_bool(res, 0, 1);
        const char *text = pg_text(res, 0, 2);
        if (text) {
            try(json_parse(cx, text, strlen(text), KiB(256), &o));
            try(queue_policy_read(cx, o, &s.policy));
        }
        s.shards_held = (int)pg_int(res, 0, 3);
    }
    *ret = s;
    return OK;
}

rc engine_setting(struct cx *cx, struct engine *e, const char *queue, struct queue_setting *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    if (!e->db)
        return fail(cx, CONFIG, "policies of queues need PostgreSQL");
    try(pg_do(cx, e->db, SQL_QUEUE_SETTING, &res, pg_s(queue)));
    return read_setting(cx, res, ret);
}

/* ---------------------------------------------------------------- the gate */

static void put_number(struct buf *out, char name, int64_t n)
{
    if (n)
        buf_printf(out, "%s\"%c\":%" PRId64, out->p[out->len - 1] == '{' ? "" : ",", name, n);
}

/* "" for a plain queue. */
static void gate_text(const struct queue_setting *s, int shard, struct buf *out)
{
    const struct queue_policy *p = &s->policy;
    bool bounded = p->max_length || p->max_bytes || p->tenant_max_length || s->draining;
    bool limited = s->limited && shard == 0; /* jobs with a limit are there */
    bool spread = shard > 0 || s->shards_held > 1;

    if (s->paused)
        buf_putc(out, 'p');
    else if (p->weighted || p->fair || limited)
        buf_putc(out, 's');
    else if (bounded || spread)
        buf_putc(out, 'b');
    else
        return;
    buf_putc(out, '{');
    for (int i = 9; p->weighted && i >= 0; i--)
        buf_printf(out, "%s%d%s", i == 9 ? "\"w\":[" : ",", p->weights[i], i == 0 ? "]" : "");
    put_number(out, 'f', p->fair);
    put_number(out, 'n', p->max_length);
    put_number(out, 'b', p->max_bytes);
    put_number(out, 't', p->tenant_max_length);
    put_number(out, 'd', s->draining);
    put_number(out, 'l', limited);
    put_number(out, 'x', spread ? MAX(p->shards, INT64_C(1)) : 0);
    put_number(out, 'h', spread ? s->shards_held : 0);
    put_number(out, 'c', shard > 0 && shard >= p->shards);
    buf_putc(out, '}');
}

static rc put_gate(struct cx *cx, struct engine *e, const char *queue, int shard,
                   const struct queue_setting *s)
{
    char place[PLACE_NAME_MAX + 1];
    _cleanup_(buf_release) struct buf text = BUF(KiB(4));
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_policy *p = &s->policy;
    const struct queue_keys *k;

    try(engine_keys(cx, e, place_name(queue, shard, place), &k));
    gate_text(s, shard, &text);
    if (!buf_ok(&text))
        return fail(cx, BUFFER_FULL, "the gate of a queue is too large");
    call_begin(&c, e, &SCRIPT_GATE, k, KEYS_OF(QK_GATE, QK_WAIT, QK_TALLY, QK_JOBS, QK_WEIGHTS),
               false, 2 + 2 * p->ntenants);
    call_bytes(&c, buf_str(&text), text.len);
    call_str(&c, p->max_bytes || p->tenant_max_length ? "1" : "0");
    for (size_t i = 0; p->fair && i < p->ntenants; i++) {
        call_bytes(&c, p->tenants[i].tenant_id, ID_LEN);
        call_int(&c, p->tenants[i].weight);
    }
    return call_run(cx, &c, REDIS_REPLY_INTEGER, &reply);
}

/* The queue's own name last: who hears of the other shards there finds them open. */
static rc put_gates(struct cx *cx, struct engine *e, const char *queue,
                    const struct queue_setting *s)
{
    for (int shard = MAX(s->shards_held, 1) - 1; shard >= 0; shard--)
        try(put_gate(cx, e, queue, shard, s));
    return OK;
}

rc engine_gate_put(struct cx *cx, struct engine *e, const char *queue)
{
    struct queue_setting s;

    try(engine_setting(cx, e, queue, &s));
    try(engine_limits_put(cx, e, NULL, queue, &s.limited));
    return put_gates(cx, e, queue, &s);
}

struct copy {
    struct engine *e;
    const char *queue;
};

static rc copy_locked(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct copy *c = arg;
    _cleanup_(pg_result_freep) struct pg_result *locked = NULL, *res = NULL;
    struct queue_setting s;

    try(pg_tx_do(cx, tx, SQL_QUEUE_GATE_LOCK, &locked, pg_s(c->queue)));
    try(pg_tx_do(cx, tx, SQL_QUEUE_SETTING, &res, pg_s(c->queue)));
    try(read_setting(cx, res, &s));
    try(engine_limits_put(cx, c->e, tx, c->queue, &s.limited));
    return put_gates(cx, c->e, c->queue, &s);
}

rc engine_gate_copy(struct cx *cx, struct engine *e, const char *queue)
{
    return pg_tx_run(cx, e->db, copy_locked, &(struct copy){e, queue});
}

rc engine_gates_copy(struct cx *cx, struct engine *e)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    rc first = OK;

    try(pg_query(cx, e->db, &SQL_QUEUES_SET, &res, PG_NO_ARGS));
    for (int i = 0; i < pg_rows(res); i++) {
        const char *queue = pg_text(res, i, 0);
        rc r = engine_gate_copy(cx, e, queue);
        if (r != OK && r != E_REDIS)
            return r;
        if (r != OK) /* Redis answers, but not for this one: the others go on */
            log_fail(LOG_ERROR, "queue.gate_not_copied", cx, r, kv_str("queue", queue));
        first = first ? first : r;
    }
    if (first != OK)
        return fail_rc(cx, first, "not every queue's policy could be copied");
    return shards_retire(cx, e);
}

/* ---------------------------------------------------------------- what people set */

rc engine_pause(struct cx *cx, struct engine *e, const char *queue, bool paused)
{
    try(queue_name_check(cx, queue));
    if (!e->db)
        return put_gates(cx, e, queue, &(struct queue_setting){.paused = paused});
    try(pg_do(cx, e->db, SQL_QUEUE_PAUSE, NULL, pg_s(queue), pg_b(paused)));
    bounds_forget(e);
    return engine_gate_copy(cx, e, queue);
}

rc engine_drain(struct cx *cx, struct engine *e, const char *queue)
{
    try(queue_name_check(cx, queue));
    if (!e->db)
        return fail(cx, CONFIG, "draining a queue needs PostgreSQL");
    try(pg_do(cx, e->db, SQL_QUEUE_DRAIN, NULL, pg_s(queue)));
    bounds_forget(e);
    return engine_gate_copy(cx, e, queue);
}

struct policy_set {
    struct engine *e;
    const char *queue;
    int shards;
    const char *text;
};

static rc set_locked(struct cx *cx, struct pg_tx *tx, void *arg)
{
    const struct policy_set *p = arg;
    _cleanup_(pg_result_freep) struct pg_result *locked = NULL, *res = NULL;

    try(pg_tx_do(cx, tx, SQL_QUEUE_GATE_LOCK, &locked, pg_s(p->queue)));
    try(pg_tx_do(cx, tx, SQL_QUEUE_SETTING, &res, pg_s(p->queue)));
    int held = pg_rows(res) ? (int)pg_int(res, 0, 3) : 1;
    try(shards_open(cx, p->e, tx, p->queue, p->shards, held));
    return pg_tx_do(cx, tx, SQL_QUEUE_POLICY_SET, NULL, pg_s(p->queue), pg_s(p->text),
                    pg_i(p->shards));
}

rc engine_policy_set(struct cx *cx, struct engine *e, const char *queue,
                     const struct queue_policy *p)
{
    _cleanup_(buf_release) struct buf text = BUF(KiB(256));

    try(queue_name_check(cx, queue));
    if (!e->db)
        return fail(cx, CONFIG, "policies of queues need PostgreSQL");
    queue_policy_write(p, &text);
    if (!buf_ok(&text))
        return fail(cx, BUFFER_FULL, "the policy of a queue is too large");
    try(pg_tx_run(cx, e->db, set_locked,
                  &(struct policy_set){e, queue, (int)MAX(p->shards, INT64_C(1)), buf_str(&text)}));
    bounds_forget(e);
    return engine_gate_copy(cx, e, queue);
}

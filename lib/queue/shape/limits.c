/* limits.c - see limits.h. What a claim asks of them is in admit.lua and breaker.lua. */
#include "queue/shape/limits.h"
#include "base/json.h"
#include "base/text.h"
#include "pg/pg_array.h"
#include "queue/internal.h"
#include "queue/options.h"
#include "queue/shape/limits.sql.h"
#include "queue/shape/policy.h"
#include "queue/shards.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_MAX  INT64_C(1000000)
#define DAY_MS     INT64_C(86400000)
#define LIMITS_MAX 10000 /* of one queue */

/* ---------------------------------------------------------------- as JSON */

/* Pointers of the inner fields begin with the object's name. */
static rc inside(struct cx *cx, const char *object, rc r)
{
    char inner[sizeof cx->err.pointer];

    if (r == OK || !cx->err.pointer[0])
        return r;
    memcpy(inner, cx->err.pointer, sizeof inner);
    snprintf(cx->err.pointer, sizeof cx->err.pointer, "/%s%.50s", object, inner);
    return r;
}

static rc read_rate(struct cx *cx, const cJSON *o, struct limit *l)
{
    static const char *const names[] = {"count", "per_ms", "burst", NULL};

    l->per_ms = 1000;
    l->burst = 1;
    try(json_only(cx, o, names));
    try(json_int_opt(cx, o, "count", 1, COUNT_MAX, &l->rate));
    try(json_int_opt(cx, o, "per_ms", 1, DAY_MS, &l->per_ms));
    try(json_int_opt(cx, o, "burst", 1, COUNT_MAX, &l->burst));
    return l->rate ? OK : fail_at(cx, INVALID_FIELD, "/count", "count is missing: how many?");
}

static rc read_breaker(struct cx *cx, const cJSON *o, struct limit *l)
{
    static const char *const names[] = {"percent", "least",  "window_ms", "open_ms",
                                        "probes",  "forced", NULL};
    int64_t percent = 50;

    l->least = 20;
    l->window_ms = 60000;
    l->open_ms = 30000;
    l->probes = 3;
    try(json_only(cx, o, names));
    try(json_int_opt(cx, o, "percent", 1, 100, &percent));
    try(json_int_opt(cx, o, "least", 1, COUNT_MAX, &l->least));
    try(json_int_opt(cx, o, "window_ms", 10, DAY_MS, &l->window_ms));
    try(json_int_opt(cx, o, "open_ms", 10, DAY_MS, &l->open_ms));
    try(json_int_opt(cx, o, "probes", 1, 1000, &l->probes));
    try(json_str_opt(cx, o, "forced", 8, &l->forced));
    l->percent = (int)percent;
    if (l->forced && !str_eq(l->forced, "open") && !str_eq(l->forced, "closed"))
        return fail_at(cx, INVALID_FIELD, "/forced", "a breaker is forced open or closed");
    return OK;
}

static const cJSON *member(const cJSON *o, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);

    return cJSON_IsNull(v) ? NULL : v;
}

rc limit_read(struct cx *cx, const cJSON *o, struct limit *ret)
{
    static const char *const names[] = {"key", "rate", "concurrency", "breaker", NULL};
    struct limit l = {0};
    const char *key;

    try(json_only(cx, o, names));
    try(json_str(cx, o, "key", LIMIT_KEY_MAX, &key));
    if (!str_eq(key, LIMIT_ANY) && !str_eq(key, LIMIT_QUEUE) && !limit_key_valid(key))
        return fail_at(
            cx, INVALID_FIELD, "/key",
            "a limit's key has 1 to %d characters of A-Z a-z 0-9 _ . : @ -, or is * (each "
            "key) or = (the queue as a whole)",
            LIMIT_KEY_MAX);
    strcpy(l.key, key);
    if (member(o, "rate"))
        try(inside(cx, "rate", read_rate(cx, member(o, "rate"), &l)));
    try(json_int_opt(cx, o, "concurrency", 1, COUNT_MAX, &l.concurrency));
    if (member(o, "breaker"))
        try(inside(cx, "breaker", read_breaker(cx, member(o, "breaker"), &l)));
    if (!l.rate && !l.concurrency && !l.percent)
        return fail_at(cx, INVALID_FIELD, "/rate",
                       "it limits nothing: say rate, concurrency or breaker");
    if (l.percent && str_eq(l.key, LIMIT_QUEUE))
        return fail_at(cx, INVALID_FIELD, "/breaker", "a breaker belongs to a key; use the key *");
    *ret = l;
    return OK;
}

void limit_write(const struct limit *l, struct buf *out)
{
    buf_puts(out, "\"key\":");
    buf_json_str(out, l->key);
    if (l->rate)
        buf_printf(out,
                   ",\"rate\":{\"count\":%" PRId64 ",\"per_ms\":%" PRId64 ",\"burst\":%" PRId64 "}",
                   l->rate, l->per_ms, l->burst);
    else
        buf_puts(out, ",\"rate\":null");
    if (l->concurrency)
        buf_printf(out, ",\"concurrency\":%" PRId64, l->concurrency);
    else
        buf_puts(out, ",\"concurrency\":null");
    if (l->percent) {
        buf_printf(out,
                   ",\"breaker\":{\"percent\":%d,\"least\":%" PRId64 ",\"window_ms\":%" PRId64
                   ",\"open_ms\":%" PRId64 ",\"probes\":%" PRId64,
                   l->percent, l->least, l->window_ms, l->open_ms, l->probes);
        buf_json_field(out, "forced", l->forced);
        buf_putc(out, '}');
    } else {
        buf_puts(out, ",\"breaker\":null");
    }
}

/* ---------------------------------------------------------------- the copy in Redis */

/* admit.lua says what the letters mean. */
static void put_definition(struct buf *out, const struct limit *l, const char *shared)
{
    size_t from = out->len;

    if (l->rate)
        buf_printf(out, ",\"r\":%.6f,\"b\":%" PRId64, (double)l->per_ms / (double)l->rate,
                   l->burst);
    if (l->concurrency)
        buf_printf(out, ",\"c\":%" PRId64, l->concurrency);
    if (l->percent)
        buf_printf(out, ",\"e\":[%d,%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "]", l->percent,
                   l->least, l->window_ms, l->open_ms, l->probes);
    if (l->forced)
        buf_json_field(out, "f", l->forced);
    if (shared) {
        buf_puts(out, ",\"g\":[\"");
        for (const char *p = shared; *p; p++)
            buf_puts(out, *p == ',' ? "\",\"" : (char[]){*p, 0});
        buf_puts(out, "\"]");
    }
    if (buf_ok(out) && out->len > from)
        out->p[from] = '{';
    buf_putc(out, '}');
}

static rc read_row(struct cx *cx, const struct pg_result *res, int row, struct limit_row *ret)
{
    const char *text = pg_text(res, row, 2);
    cJSON *o;

    ret->queue = arena_strdup(&cx->arena, pg_text(res, row, 0));
    ret->shared = arena_strdup(&cx->arena, pg_text(res, row, 1));
    try(json_parse(cx, text, strlen(text), KiB(4), &o));
    return limit_read(cx, o, &ret->limit);
}

rc engine_limits_put(struct cx *cx, struct engine *e, struct pg_tx *tx, const char *queue,
                     bool *ret_any)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    if (tx)
        try(pg_tx_do(cx, tx, SQL_LIMITS_LIST, &res, pg_s(queue)));
    else
        try(pg_do(cx, e->db, SQL_LIMITS_LIST, &res, pg_s(queue)));
    int rows = MIN(pg_rows(res), LIMITS_MAX);
    try(engine_keys(cx, e, queue, &k));
    call_begin(&c, e, &SCRIPT_LIMIT_PUT, k, KEYS_OF(QK_LIMITS, QK_HELD, QK_WAIT), false,
               2 * (size_t)rows + 1);
    for (int i = 0; i < rows; i++) {
        struct buf text = BUF(KiB(8));
        struct limit_row row;
        rc r = read_row(cx, res, i, &row);
        if (r == OK)
            put_definition(&text, &row.limit, row.shared);
        if (r == OK && !buf_ok(&text))
            r = fail(cx, BUFFER_FULL, "a limit is too large");
        if (r != OK) {
            buf_release(&text);
            return r;
        }
        call_str(&c, arena_strdup(&cx->arena, row.limit.key));
        call_str(&c, arena_strdup(&cx->arena, buf_str(&text)));
        buf_release(&text);
    }
    *ret_any = rows > 0;
    return call_run(cx, &c, REDIS_REPLY_INTEGER, &reply);
}

/* ---------------------------------------------------------------- what people set */

struct setting {
    struct engine *e;
    struct pg_array *queues;
    const struct limit *limit;
    const char *definition;
    struct pg_result *touched;
};

static rc set_in_tx(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct setting *s = arg;

    pg_result_freep(&s->touched);
    s->touched = NULL;
    try(pg_tx_do(cx, tx, SQL_LIMIT_SHARERS, &s->touched, pg_a(s->queues), pg_s(s->limit->key)));
    /* A limit is shared by those of the new list alone. */
    for (int i = 0; i < pg_rows(s->touched); i++)
        try(pg_tx_do(cx, tx, SQL_LIMIT_REMOVE, NULL, pg_s(pg_text(s->touched, i, 0)),
                     pg_s(s->limit->key)));
    try(pg_tx_do(cx, tx, SQL_LIMIT_SET, NULL, pg_a(s->queues), pg_s(s->limit->key),
                 pg_s(s->definition)));
    return pg_tx_do(cx, tx, SQL_LIMITS_QUEUE_ROW, NULL, pg_a(s->queues));
}

static rc copy_each(struct cx *cx, struct engine *e, const struct pg_result *queues)
{
    for (int i = 0; i < pg_rows(queues); i++)
        try(engine_gate_copy(cx, e, pg_text(queues, i, 0)));
    return OK;
}

static rc need_db(struct cx *cx, const struct engine *e)
{
    return e->db ? OK : fail(cx, CONFIG, "limits need PostgreSQL");
}

rc limit_set(struct cx *cx, struct engine *e, const char *const *queues, size_t n,
             const struct limit *l)
{
    _cleanup_(pg_array_release) struct pg_array names = PG_ARRAY(KiB(16));
    _cleanup_(buf_release) struct buf text = BUF(KiB(2));

    try(need_db(cx, e));
    if (n == 0 || n > LIMIT_QUEUES_MAX)
        return fail_at(cx, INVALID_FIELD, "/queues", "1 to %d queues", LIMIT_QUEUES_MAX);
    if (n > 1 && redis_is_cluster(e->redis))
        return fail_at(cx, INVALID_FIELD, "/queues",
                       "queues lie on different nodes of a Redis Cluster and cannot share a limit; "
                       "set one for each");
    for (size_t i = 0; i < n; i++) {
        try(queue_name_check(cx, queues[i]));
        if (str_eq(l->key, LIMIT_QUEUE))
            try(shards_refuse_limit(cx, e, queues[i]));
        for (size_t j = 0; j < i; j++)
            if (str_eq(queues[i], queues[j]))
                return fail_at(cx, INVALID_FIELD, "/queues", "%s is named twice", queues[i]);
        pg_array_s(&names, queues[i]);
    }
    buf_putc(&text, '{');
    limit_write(l, &text);
    buf_putc(&text, '}');
    struct setting s = {e, &names, l, buf_str(&text), NULL};
    rc r = pg_tx_run(cx, e->db, set_in_tx, &s);
    if (r == OK)
        r = copy_each(cx, e, s.touched);
    pg_result_freep(&s.touched);
    return r;
}

static rc no_such(struct cx *cx, const char *queue, const char *key)
{
    return fail(cx, NOT_FOUND, "queue %s has no limit of the key %s", queue, key);
}

rc limit_remove(struct cx *cx, struct engine *e, const char *queue, const char *key)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(need_db(cx, e));
    try(pg_do(cx, e->db, SQL_LIMIT_REMOVE, &res, pg_s(queue), pg_s(key)));
    if (pg_rows(res) == 0)
        return no_such(cx, queue, key);
    return copy_each(cx, e, res);
}

rc limit_force(struct cx *cx, struct engine *e, const char *queue, const char *key,
               const char *forced)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL, *known = NULL;

    try(need_db(cx, e));
    try(pg_do(cx, e->db, SQL_LIMIT_FORCE, &res, pg_s(queue), pg_s(key), pg_s(forced)));
    if (pg_rows(res) > 0)
        return copy_each(cx, e, res);
    try(pg_do(cx, e->db, SQL_LIMIT_KNOWN, &known, pg_s(queue), pg_s(key)));
    if (pg_rows(known) == 0)
        return no_such(cx, queue, key);
    return fail(cx, CONFLICT, "the limit %s of queue %s has no breaker", key, queue);
}

rc limits_list(struct cx *cx, struct engine *e, const char *queue, struct limit_row **ret,
               size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(need_db(cx, e));
    try(pg_do(cx, e->db, SQL_LIMITS_LIST, &res, pg_s(queue)));
    size_t n = (size_t)pg_rows(res);
    struct limit_row *rows = arena_alloc(&cx->arena, (n + 1) * sizeof *rows);
    for (size_t i = 0; i < n; i++)
        try(read_row(cx, res, (int)i, &rows[i]));
    *ret = rows;
    *ret_n = n;
    return OK;
}

/* ---------------------------------------------------------------- what a key is doing */

rc limit_look(struct cx *cx, struct engine *e, const char *queue, const char *key,
              struct limit_state *ret)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    try(engine_keys(cx, e, queue, &k));
    call_begin(&c, e, &SCRIPT_LIMIT_LOOK, k, KEYS_OF(QK_LIMITS, QK_HELD), false, 2);
    call_now(&c);
    call_str(&c, key);
    try(call_run(cx, &c, REDIS_REPLY_ARRAY, &reply));
    if (!reply_has(reply, 8) || reply->element[3]->type != REDIS_REPLY_STRING)
        return fail(cx, REDIS, "limit_look.lua answered with %zu elements", reply->elements);
    *ret = (struct limit_state){
        .held = reply_int(reply, 0),
        .under_way = reply_int(reply, 1),
        .wait_ms = reply_int(reply, 2),
        .breaker = arena_strdup(&cx->arena, reply->element[3]->str),
        .open_ms = reply_int(reply, 4),
        .ended_well = reply_int(reply, 5),
        .ended_badly = reply_int(reply, 6),
        .at_once = reply_int(reply, 7),
        .nslots = reply->elements - 8,
    };
    ret->slots = arena_alloc(&cx->arena, (ret->nslots + 1) * sizeof *ret->slots);
    for (size_t i = 0; i < ret->nslots; i++)
        ret->slots[i] = arena_strdup(&cx->arena, reply->element[8 + i]->str);
    return OK;
}

rc limit_note(struct cx *cx, struct engine *e, const char *queue, const char *key, bool well,
              const char **ret_moved)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    *ret_moved = NULL;
    try(engine_keys(cx, e, queue, &k));
    call_begin(&c, e, &SCRIPT_LIMIT_NOTE, k, KEYS_OF(QK_LIMITS), false, 3);
    call_now(&c);
    call_str(&c, key);
    call_str(&c, well ? "1" : "0");
    try(call_run(cx, &c, REDIS_REPLY_INTEGER, &reply));
    *ret_moved = reply->integer == 2 ? "open" : reply->integer == 3 ? "closed" : NULL;
    return OK;
}

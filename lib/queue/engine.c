/* engine.c - the stores of one process, and how a script is called with them. */
#include "base/text.h"
#include "queue/internal.h"
#include "queue/shape/room.h"
#include "rt/batcher.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct engine *engine_new(struct redis *r, struct pg *db)
{
    struct engine *e = xcalloc(1, sizeof *e);

    e->redis = r;
    e->db = db;
    e->epoch = -1;
    return e;
}

struct engine *engine_free(struct engine *e)
{
    if (!e)
        return NULL;
    for (size_t i = 0; i < e->nqueues; i++)
        free(e->queues[i]);
    free(e->queues);
    batcher_free(e->ends);
    batcher_free(e->member_ends);
    bounds_free(e->bounds);
    free(e);
    return NULL;
}

struct pg *engine_db(struct engine *e)
{
    return e->db;
}

void engine_name(struct engine *e, const char *name)
{
    snprintf(e->name, sizeof e->name, "%s", name);
}

void engine_set_clock(struct engine *e, int64_t now_ms)
{
    e->test_now_ms = now_ms;
}

/* Few queues, and the one asked for last is likely to be asked for again: moved to the front when
 * found. */
rc engine_keys(struct cx *cx, struct engine *e, const char *queue, const struct queue_keys **ret)
{
    for (size_t i = 0; i < e->nqueues; i++)
        if (strcmp(e->queues[i]->queue, queue) == 0) {
            struct queue_keys *k = e->queues[i];
            memmove(e->queues + 1, e->queues, i * sizeof *e->queues);
            e->queues[0] = k;
            *ret = k;
            return OK;
        }
    if (e->nqueues == QUEUES_MAX)
        return fail_at(cx, INVALID_FIELD, "/queue", "this process knows %d queues already",
                       QUEUES_MAX);
    _cleanup_(freep) struct queue_keys *k = xcalloc(1, sizeof *k);
    try(queue_keys_make(cx, queue, k));
    e->queues = xrealloc(e->queues, (e->nqueues + 1) * sizeof *e->queues);
    *ret = e->queues[e->nqueues++] = TAKE_PTR(k);
    return OK;
}

struct queue_keys *engine_queue(struct engine *e, const struct queue_keys *k)
{
    for (size_t i = 0; i < e->nqueues; i++)
        if (e->queues[i] == k)
            return e->queues[i];
    assert(!"every engine_keys() is in the engine's list");
    return NULL;
}

/* ---------------------------------------------------------------- a call */

static void add(struct call *c, const char *s, size_t len, size_t offset)
{
    assert(c->argc < c->max);
    c->argv[c->argc] = s;
    c->lens[c->argc] = len;
    c->offsets[c->argc++] = offset;
}

void call_begin(struct call *c, struct engine *e, const struct script *s,
                const struct queue_keys *k, size_t nkeys, const enum queue_key *keys, bool ready,
                size_t max_args)
{
    assert((int)(nkeys + (ready ? 10 : 0)) == s->keys);
    *c = (struct call){.e = e, .script = s, .max = s->keys + (int)max_args, .own = BUF(MiB(64))};
    c->argv = xmalloc((size_t)c->max * sizeof *c->argv);
    c->lens = xmalloc((size_t)c->max * sizeof *c->lens);
    c->offsets = xmalloc((size_t)c->max * sizeof *c->offsets);
    for (size_t i = 0; i < nkeys; i++)
        add(c, k->name[keys[i]], k->len[keys[i]], 0);
    for (int i = 0; ready && i < 10; i++)
        add(c, k->name[QK_READY + i], k->len[QK_READY + i], 0);
}

void call_bytes(struct call *c, const char *s, size_t n)
{
    add(c, s, n, 0);
}

void call_str(struct call *c, const char *s)
{
    add(c, s, strlen(s), 0);
}

static void add_own(struct call *c, size_t from)
{
    add(c, NULL, c->own.len - from, from);
}

/* Decimal digits, without printf: each job of a batch takes several. */
static void put_int(struct buf *b, int64_t n)
{
    char text[24], *p = text + sizeof text;
    uint64_t u = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;

    do
        *--p = (char)('0' + u % 10);
    while (u /= 10);
    if (n < 0)
        *--p = '-';
    buf_append(b, p, (size_t)(text + sizeof text - p));
}

void call_int(struct call *c, int64_t n)
{
    size_t from = c->own.len;

    put_int(&c->own, n);
    add_own(c, from);
}

void call_now(struct call *c)
{
    if (c->e->test_now_ms)
        call_int(c, c->e->test_now_ms);
    else
        call_bytes(c, "", 0);
}

static void put_numbers(struct buf *b, const struct lease *l)
{
    put_int(b, l->generation);
    buf_putc(b, '.');
    put_int(b, l->claim);
    buf_putc(b, '.');
    put_int(b, l->snoozes);
}

void call_numbers(struct call *c, const struct lease *l)
{
    size_t from = c->own.len;

    put_numbers(&c->own, l);
    add_own(c, from);
}

void call_token(struct call *c, const struct lease *l)
{
    size_t from = c->own.len;

    buf_append(&c->own, l->id, ID_LEN);
    buf_putc(&c->own, ':');
    put_numbers(&c->own, l);
    add_own(c, from);
}

rc call_settle(struct cx *cx, struct call *c)
{
    if (!buf_ok(&c->own))
        return fail(cx, BUFFER_FULL, "a batch for %s.lua is too large", c->script->name);
    for (int i = 0; i < c->argc; i++)
        if (!c->argv[i])
            c->argv[i] = c->own.p + c->offsets[i];
    return OK;
}

rc call_run(struct cx *cx, struct call *c, int type, redisReply **ret)
{
    redisReply *reply = NULL;

    try(call_settle(cx, c));
    try(redis_eval(cx, c->e->redis, &reply, c->script, c->argc, c->argv, c->lens));
    if (reply->type != type) {
        int got = reply->type;
        freeReplyObject(reply);
        return fail(cx, REDIS, "%s.lua answered with type %d, not %d", c->script->name, got, type);
    }
    *ret = reply;
    return OK;
}

void call_release(struct call *c)
{
    free(c->argv);
    free(c->lens);
    free(c->offsets);
    buf_release(&c->own);
}

char *text_cleaned(const char *s, size_t n)
{
    char *copy = xmalloc(n + 1);
    bool valid = utf8_valid(s, n);

    for (size_t i = 0; i < n; i++)
        copy[i] = (char)(s[i] == 0 || (!valid && (unsigned char)s[i] >= 0x80) ? '?' : s[i]);
    copy[n] = 0;
    return copy;
}

bool reply_has(const redisReply *r, size_t n)
{
    return r->type == REDIS_REPLY_ARRAY && r->elements >= n;
}

int64_t reply_int(const redisReply *r, size_t i)
{
    const redisReply *x = r->element[i];

    if (x->type == REDIS_REPLY_INTEGER)
        return x->integer;
    return x->type == REDIS_REPLY_STRING ? strtoll(x->str, NULL, 10) : 0;
}

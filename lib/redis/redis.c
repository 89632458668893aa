/* redis.c - the face: a command becomes bytes and goes to the one connection, or, on a cluster, to
 * the node that has its key. */
#include "redis/redis.h"
#include "base/clock.h"
#include "redis/wire.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct redis {
    struct wire *wire;
    void (*on_connect)(void *);
    void *on_connect_arg;
};

static void on_ready(void *arg)
{
    struct redis *r = arg;

    if (r->on_connect)
        r->on_connect(r->on_connect_arg);
}

/* ---------------------------------------------------------------- a call */

rc redis_pipeline(struct cx *cx, struct redis *r, const char *resp, size_t len, size_t n,
                  redisReply **replies)
{
    struct wire_limits limits = {.patience = cx->deadline_mono_ms == 0};
    _cleanup_(cx_deadline_restore) struct cx_deadline d =
        cx_deadline_within(cx, limits.patience ? PATIENCE_MS : INT32_MAX);

    return wire_call(cx, r->wire, resp, len, n, replies, limits);
}

/* One command; an error of Redis becomes a failure. Frees text. */
static rc call_one(struct cx *cx, struct redis *r, redisReply **ret, char *text, int len)
{
    _cleanup_(freep) char *mine = text;
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;

    if (len < 0)
        return fail(cx, INTERNAL, "a Redis command cannot be formatted");
    try(redis_pipeline(cx, r, text, (size_t)len, 1, &reply));
    if (reply->type == REDIS_REPLY_ERROR)
        return fail(cx, REDIS, "%s", reply->str);
    if (ret)
        *ret = TAKE_PTR(reply);
    return OK;
}

rc redis_argv(struct cx *cx, struct redis *r, redisReply **ret, int argc, const char **argv,
              const size_t *lens)
{
    char *text = NULL;
    int len = redisFormatCommandArgv(&text, argc, argv, lens);

    return call_one(cx, r, ret, text, len);
}

rc redis_cmd(struct cx *cx, struct redis *r, redisReply **ret, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    int len = redisvFormatCommand(&text, fmt, ap);
    va_end(ap);
    return call_one(cx, r, ret, text, len);
}

void redis_reply_freep(redisReply **p)
{
    freeReplyObject(*p); /* takes NULL */
    *p = NULL;
}

/* ---------------------------------------------------------------- life */

rc redis_new(struct cx *cx, const char *url, struct redis **ret)
{
    _cleanup_(redis_url_release) struct redis_url u;
    struct redis *r;

    try(redis_url_parse(cx, url, &u));
    r = xcalloc(1, sizeof *r);
    rc failed = wire_new(cx, &u, /* any_role= */ false, on_ready, r, &r->wire);
    if (failed != OK) {
        free(r);
        return failed;
    }
    *ret = r;
    return OK;
}

struct redis *redis_free(struct redis *r)
{
    if (!r)
        return NULL;
    wire_free(r->wire);
    free(r);
    return NULL;
}

bool redis_connected(const struct redis *r)
{
    return wire_ready(r->wire);
}

uint64_t redis_generation(const struct redis *r)
{
    return wire_generation(r->wire);
}

void redis_on_connect(struct redis *r, void (*fn)(void *), void *arg)
{
    r->on_connect = fn;
    r->on_connect_arg = arg;
}

void redis_on_push(struct redis *r, void (*fn)(void *, const redisReply *), void *arg)
{
    wire_on_push(r->wire, fn, arg);
}

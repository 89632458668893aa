/* redis.c - the face: a command becomes bytes and goes to the one connection, or, on a cluster, to
 * the node that has its key. */
#include "redis/redis.h"
#include "base/text.h"
#include "redis/cluster.h"
#include "redis/wire.h"
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct redis {
    struct wire *wire;       /* NULL: a cluster */
    struct cluster *cluster; /* NULL: one server at a time */
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

    if (r->cluster)
        return cluster_call(cx, r->cluster, resp, len, n, replies, limits.patience);
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

rc redis_nodes(struct cx *cx, struct redis *r, size_t *ret_n)
{
    *ret_n = 1;
    return r->cluster ? cluster_count(cx, r->cluster, ret_n) : OK;
}

rc redis_node_cmd(struct cx *cx, struct redis *r, size_t node, redisReply **ret, char *name,
                  const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    int len = redisvFormatCommand(&text, fmt, ap);
    va_end(ap);
    *name = 0;
    if (!r->cluster)
        return call_one(cx, r, ret, text, len);
    _cleanup_(freep) char *mine = text;
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, PATIENCE_MS);
    if (len < 0)
        return fail(cx, INTERNAL, "a Redis command cannot be formatted");
    try(cluster_ask(cx, r->cluster, node, text, (size_t)len, &reply, name));
    if (reply->type == REDIS_REPLY_ERROR)
        return fail(cx, REDIS, "%s", reply->str);
    if (ret)
        *ret = TAKE_PTR(reply);
    return OK;
}

/* BZPOPMIN key … seconds. The server ends the wait; ours ends only when it does not. */
static rc pop_first(struct cx *cx, struct redis *r, const char *const *keys, size_t n, int64_t ms,
                    size_t *ret_which)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(freep) const char **argv = xmalloc((n + 2) * sizeof *argv);
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, ms + PATIENCE_MS);
    char seconds[32];

    snprintf(seconds, sizeof seconds, "%" PRId64 ".%03d", ms / 1000, (int)(ms % 1000));
    argv[0] = "BZPOPMIN";
    for (size_t i = 0; i < n; i++)
        argv[i + 1] = keys[i];
    argv[n + 1] = seconds;
    *ret_which = n;
    try(redis_argv(cx, r, &reply, (int)n + 2, argv, NULL));
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0)
        return OK;
    for (size_t i = 0; i < n; i++)
        if (str_eq(reply->element[0]->str, keys[i]))
            *ret_which = i;
    return OK;
}

rc redis_take_first(struct cx *cx, struct redis *r, const char *const *keys, size_t n, int64_t ms,
                    size_t *ret_which)
{
    ms = MAX(ms, 1); /* 0 would be for ever */
    if (r->cluster)
        return cluster_take_first(cx, r->cluster, keys, n, ms, ret_which);
    return pop_first(cx, r, keys, n, ms, ret_which);
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
    rc failed = u.kind == REDIS_CLUSTER
                    ? cluster_new(cx, &u, on_ready, r, &r->cluster)
                    : wire_new(cx, &u, /* any_role= */ false, on_ready, r, &r->wire);
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
    cluster_free(r->cluster);
    free(r);
    return NULL;
}

bool redis_connected(const struct redis *r)
{
    return r->cluster ? cluster_connected(r->cluster) : wire_ready(r->wire);
}

uint64_t redis_generation(const struct redis *r)
{
    return r->cluster ? cluster_generation(r->cluster) : wire_generation(r->wire);
}

int64_t redis_client_id(const struct redis *r)
{
    return r->cluster ? 0 : wire_client_id(r->wire);
}

bool redis_is_cluster(const struct redis *r)
{
    return r->cluster != NULL;
}

void redis_on_connect(struct redis *r, void (*fn)(void *), void *arg)
{
    r->on_connect = fn;
    r->on_connect_arg = arg;
}

void redis_on_push(struct redis *r, void (*fn)(void *, const redisReply *), void *arg)
{
    assert(r->wire); /* a subscription belongs to one connection */
    wire_on_push(r->wire, fn, arg);
}

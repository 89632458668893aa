/* script.c - a Lua step by its SHA-1.
 *
 *   EVALSHA sha keys… args… --NOSCRIPT--> EVAL body keys… args…, which Redis keeps by its SHA-1
 *
 * NOSCRIPT means that nothing ran, so the repetition is safe; on a cluster it goes by its keys to the
 * node that asked for it. Redis forgets scripts when it
 * restarts, fails over or is told to (SCRIPT FLUSH): nothing here remembers what was loaded.
 *
 *   BZPOPMIN key s | EVALSHA sha ...   in one write: the step waits inside Redis until there is something to do, and is
 *                                      carried out before anybody outside hears of it */
#include "base/buf.h"
#include "base/text.h"
#include "redis/redis.h"
#include "redis/wire.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* RESP: *3 and $5 lines. hiredis prints each through sprintf, which is what a batch of a thousand
 * arguments then mostly does: 50 ns an argument there, 10 here. */
static void put_number(struct buf *out, char kind, size_t n)
{
    char text[24], *p = text + sizeof text;

    *--p = '\n';
    *--p = '\r';
    do
        *--p = (char)('0' + n % 10);
    while (n /= 10);
    *--p = kind;
    buf_append(out, p, (size_t)(text + sizeof text - p));
}

static void put_arg(struct buf *out, const char *p, size_t n)
{
    put_number(out, '$', n);
    buf_append(out, p, n);
    buf_append(out, "\r\n", 2);
}

static void put_call(struct buf *out, const char *verb, const char *what, const struct script *s,
                     int argc, const char **argv, const size_t *lens)
{
    char keys[16];

    snprintf(keys, sizeof keys, "%d", s->keys);
    put_number(out, '*', (size_t)argc + 3);
    put_arg(out, verb, strlen(verb));
    put_arg(out, what, strlen(what));
    put_arg(out, keys, strlen(keys));
    for (int i = 0; i < argc; i++)
        put_arg(out, argv[i], lens ? lens[i] : strlen(argv[i]));
}

/* BZPOPMIN key seconds. */
static void put_wait(struct buf *out, const char *key, int64_t ms)
{
    char seconds[32];

    ms = MAX(ms, 1); /* 0 would be for ever */
    snprintf(seconds, sizeof seconds, "%" PRId64 ".%03d", ms / 1000, (int)(ms % 1000));
    put_number(out, '*', 3);
    put_arg(out, "BZPOPMIN", strlen("BZPOPMIN"));
    put_arg(out, key, strlen(key));
    put_arg(out, seconds, strlen(seconds));
}

static rc run(struct cx *cx, struct redis *r, redisReply **ret, const char *verb, const char *what,
              const struct script *s, int argc, const char **argv, const size_t *lens)
{
    _cleanup_(buf_release) struct buf text = BUF(MiB(512));

    put_call(&text, verb, what, s, argc, argv, lens);
    if (!buf_ok(&text))
        return fail(cx, BUFFER_FULL, "the arguments of %s.lua are too large", s->name);
    return redis_pipeline(cx, r, text.p, text.len, 1, ret);
}

/* What EVALSHA was answered with (*first, taken) is the answer, unless Redis does not know the script. */
static rc take_answer(struct cx *cx, struct redis *r, redisReply **ret, redisReply **first,
                      const struct script *s, int argc, const char **argv, const size_t *lens)
{
    _cleanup_(redis_reply_freep) redisReply *reply = TAKE_PTR(*first);

    if (reply->type == REDIS_REPLY_ERROR && starts_with(reply->str, "NOSCRIPT")) {
        redis_reply_freep(&reply);
        try(run(cx, r, &reply, "EVAL", s->body, s, argc, argv, lens));
    }
    if (reply->type == REDIS_REPLY_ERROR)
        return fail(cx, REDIS, "%s (in %s.lua)", reply->str, s->name);
    if (ret)
        *ret = TAKE_PTR(reply);
    return OK;
}

rc redis_eval(struct cx *cx, struct redis *r, redisReply **ret, const struct script *s, int argc,
              const char **argv, const size_t *lens)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;

    assert(argc >= s->keys);
    try(run(cx, r, &reply, "EVALSHA", s->sha1, s, argc, argv, lens));
    return take_answer(cx, r, ret, &reply, s, argc, argv, lens);
}

static rc wait_and_run(struct cx *cx, struct redis *r, redisReply **replies, const char *key,
                       int64_t ms, const struct script *s, int argc, const char **argv,
                       const size_t *lens)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, ms + PATIENCE_MS);
    _cleanup_(buf_release) struct buf text = BUF(MiB(512));

    put_wait(&text, key, ms);
    put_call(&text, "EVALSHA", s->sha1, s, argc, argv, lens);
    if (!buf_ok(&text))
        return fail(cx, BUFFER_FULL, "the arguments of %s.lua are too large", s->name);
    return redis_pipeline(cx, r, text.p, text.len, 2, replies);
}

rc redis_wait_eval(struct cx *cx, struct redis *r, redisReply **ret, bool *ret_waited,
                   const char *key, int64_t ms, const struct script *s, int argc, const char **argv,
                   const size_t *lens)
{
    redisReply *replies[2];

    assert(argc >= s->keys && !redis_is_cluster(r));
    try(wait_and_run(cx, r, replies, key, ms, s, argc, argv, lens));
    *ret_waited = replies[0]->type != REDIS_REPLY_ERROR;
    freeReplyObject(replies[0]);
    return take_answer(cx, r, ret, &replies[1], s, argc, argv, lens);
}

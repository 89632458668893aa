/* script.c - a Lua step by its SHA-1.
 *
 *   EVALSHA sha keys… args… --NOSCRIPT--> SCRIPT LOAD body + EVALSHA again, in one write
 *
 * NOSCRIPT means that nothing ran, so the repetition is safe. Redis forgets scripts when it
 * restarts, fails over or is told to (SCRIPT FLUSH): nothing here remembers what was loaded. */
#include "base/buf.h"
#include "base/text.h"
#include "redis/redis.h"
#include <assert.h>
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

static void put_eval(struct buf *out, const struct script *s, int argc, const char **argv,
                     const size_t *lens)
{
    char keys[16];

    snprintf(keys, sizeof keys, "%d", s->keys);
    put_number(out, '*', (size_t)argc + 3);
    put_arg(out, "EVALSHA", 7);
    put_arg(out, s->sha1, strlen(s->sha1));
    put_arg(out, keys, strlen(keys));
    for (int i = 0; i < argc; i++)
        put_arg(out, argv[i], lens ? lens[i] : strlen(argv[i]));
}

static void put_load(struct buf *out, const struct script *s)
{
    put_number(out, '*', 3);
    put_arg(out, "SCRIPT", 6);
    put_arg(out, "LOAD", 4);
    put_arg(out, s->body, strlen(s->body));
}

rc redis_eval(struct cx *cx, struct redis *r, redisReply **ret, const struct script *s, int argc,
              const char **argv, const size_t *lens)
{
    _cleanup_(buf_release) struct buf run = BUF(MiB(512)), load = BUF(MiB(513));
    _cleanup_(redis_reply_freep) redisReply *reply = NULL, *loaded = NULL;
    redisReply *both[2];

    assert(argc >= s->keys);
    put_eval(&run, s, argc, argv, lens);
    if (!buf_ok(&run))
        return fail(cx, BUFFER_FULL, "the arguments of %s.lua are too large", s->name);
    try(redis_pipeline(cx, r, run.p, run.len, 1, &reply));
    if (reply->type == REDIS_REPLY_ERROR && starts_with(reply->str, "NOSCRIPT")) {
        put_load(&load, s);
        buf_append(&load, run.p, run.len);
        try(redis_pipeline(cx, r, load.p, load.len, COUNT(both), both));
        redis_reply_freep(&reply);
        loaded = both[0];
        reply = both[1];
        if (loaded->type == REDIS_REPLY_ERROR)
            return fail(cx, REDIS, "%s (loading %s.lua)", loaded->str, s->name);
    }
    if (reply->type == REDIS_REPLY_ERROR)
        return fail(cx, REDIS, "%s (in %s.lua)", reply->str, s->name);
    if (ret)
        *ret = TAKE_PTR(reply);
    return OK;
}

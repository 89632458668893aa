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
#include <stdlib.h>
#include <string.h>

static rc format(struct cx *cx, struct buf *out, int argc, const char **argv, const size_t *lens)
{
    char *text = NULL;
    int n = redisFormatCommandArgv(&text, argc, argv, lens);
    bool fits = n > 0 && buf_append(out, text, (size_t)n);

    free(text);
    return fits ? OK : fail(cx, BUFFER_FULL, "a script's arguments are too large");
}

/* EVALSHA sha nkeys argv… */
static rc format_call(struct cx *cx, struct buf *out, const struct script *s, int argc,
                      const char **argv, const size_t *lens)
{
    size_t n = (size_t)argc + 3;
    _cleanup_(freep) const char **all = xmalloc(n * sizeof *all);
    _cleanup_(freep) size_t *all_lens = xmalloc(n * sizeof *all_lens);
    char keys[16];

    snprintf(keys, sizeof keys, "%d", s->keys);
    all[0] = "EVALSHA";
    all[1] = s->sha1;
    all[2] = keys;
    for (size_t i = 0; i < n; i++) {
        if (i >= 3)
            all[i] = argv[i - 3];
        all_lens[i] = i >= 3 && lens ? lens[i - 3] : strlen(all[i]);
    }
    return format(cx, out, (int)n, all, all_lens);
}

rc redis_eval(struct cx *cx, struct redis *r, redisReply **ret, const struct script *s, int argc,
              const char **argv, const size_t *lens)
{
    _cleanup_(buf_release) struct buf run = BUF(MiB(512)), load = BUF(MiB(513));
    _cleanup_(redis_reply_freep) redisReply *reply = NULL, *loaded = NULL;
    redisReply *both[2];

    assert(argc >= s->keys);
    try(format_call(cx, &run, s, argc, argv, lens));
    try(redis_pipeline(cx, r, run.p, run.len, 1, &reply));
    if (reply->type == REDIS_REPLY_ERROR && starts_with(reply->str, "NOSCRIPT")) {
        try(format(cx, &load, 3, (const char *[]){"SCRIPT", "LOAD", s->body}, NULL));
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

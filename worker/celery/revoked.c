/* revoked.c - a sorted list; what is too old or too much falls out when one is added. */
#include "worker/celery/revoked.h"
#include "base/clock.h"
#include <stdlib.h>
#include <string.h>

static size_t place_of(const struct revoked *r, const char *id, bool *ret_there)
{
    size_t low = 0, high = r->n;

    *ret_there = false;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = strcmp(r->ids[mid].id, id);
        if (c == 0) {
            *ret_there = true;
            return mid;
        }
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The older half goes when it is full. */
static void make_room(struct revoked *r, int64_t now_ms)
{
    int64_t limit = now_ms - REVOKED_LIFE_MS, newest = 0;
    size_t kept = 0;

    for (size_t i = 0; i < r->n; i++)
        newest = MAX(newest, r->ids[i].at_ms);
    do {
        kept = 0;
        for (size_t i = 0; i < r->n; i++)
            kept += r->ids[i].at_ms >= limit;
        if (kept >= REVOKED_MAX)
            limit += MAX((newest - limit) / 2, (int64_t)1);
    } while (kept >= REVOKED_MAX);
    kept = 0;
    for (size_t i = 0; i < r->n; i++)
        if (r->ids[i].at_ms >= limit)
            r->ids[kept++] = r->ids[i];
        else
            free(r->ids[i].id);
    r->n = kept;
}

void revoked_add(struct revoked *r, const char *id, int64_t at_ms)
{
    bool there;
    size_t at = place_of(r, id, &there);

    if (there) {
        r->ids[at].at_ms = at_ms;
        return;
    }
    if (r->n >= REVOKED_MAX) {
        make_room(r, at_ms);
        at = place_of(r, id, &there);
    }
    r->ids = xrealloc(r->ids, (r->n + 1) * sizeof *r->ids);
    memmove(r->ids + at + 1, r->ids + at, (r->n - at) * sizeof *r->ids);
    r->ids[at] = (struct revoked_id){xstrdup(id), at_ms};
    r->n++;
}

bool revoked_has(const struct revoked *r, const char *id, int64_t now_ms)
{
    bool there;
    size_t at = place_of(r, id, &there);

    return there && r->ids[at].at_ms >= now_ms - REVOKED_LIFE_MS;
}

void revoked_release(struct revoked *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->ids[i].id);
    free(r->ids);
    *r = (struct revoked){0};
}

/* ---------------------------------------------------------------- in the broker */

static const char *key_of(struct cx *cx, const struct celery *c)
{
    return celery_own_key(cx, &c->names, "revoked");
}

rc revoked_load(struct cx *cx, struct revoked *r, struct celery *c)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    const char *key = key_of(cx, c);

    try(redis_cmd(cx, c->broker, NULL, "ZREMRANGEBYSCORE %s -inf %lld", key,
                  (long long)(clock_ms() - REVOKED_LIFE_MS)));
    try(redis_cmd(cx, c->broker, &reply, "ZREVRANGE %s 0 %d WITHSCORES", key, REVOKED_MAX - 1));
    for (size_t i = 0; i + 1 < reply->elements; i += 2)
        revoked_add(r, reply->element[i]->str, (int64_t)strtod(reply->element[i + 1]->str, NULL));
    return OK;
}

rc revoked_keep(struct cx *cx, struct celery *c, const char *id)
{
    const char *key = key_of(cx, c);

    try(redis_cmd(cx, c->broker, NULL, "ZADD %s %lld %s", key, (long long)clock_ms(), id));
    try(redis_cmd(cx, c->broker, NULL, "ZREMRANGEBYRANK %s 0 %d", key, -REVOKED_MAX - 1));
    return redis_cmd(cx, c->broker, NULL, "PEXPIRE %s %d", key, REVOKED_LIFE_MS);
}

void revoked_json(const struct revoked *r, struct buf *b)
{
    buf_putc(b, '{');
    for (size_t i = 0; i < r->n; i++) {
        buf_puts(b, i ? "," : "");
        buf_json_str(b, r->ids[i].id);
        buf_printf(b, ":%.3f", (double)r->ids[i].at_ms / 1000);
    }
    buf_putc(b, '}');
}

/* hold.c - what the holder of a lease may do with it: extend, end, postpone, give back. Holding
 * exactly the token is the right; a script begins by looking for it (see token.lua), so that
 * nobody compares clocks. */
#include "queue/internal.h"
#include <inttypes.h>
#include <string.h>

rc engine_extend(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                 size_t n, int64_t lease_ms, bool *ret_lost, bool *ret_cancel)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    try(engine_keys(cx, e, queue, &k));
    if (n == 0)
        return OK;
    call_begin(&c, e, &SCRIPT_EXTEND, k, KEYS_OF(QK_LEASE, QK_CANCEL, QK_STATS), false, 2 + n);
    call_now(&c);
    call_int(&c, lease_ms);
    for (size_t i = 0; i < n; i++)
        call_token(&c, &l[i]);
    try(call_run(cx, &c, REDIS_REPLY_STRING, &reply));
    if (reply->len != n)
        return fail(cx, REDIS, "extend.lua answered for %zu leases of %zu", (size_t)reply->len, n);
    for (size_t i = 0; i < n; i++) {
        ret_lost[i] = reply->str[i] == 'l';
        ret_cancel[i] = reply->str[i] == 'c';
    }
    return OK;
}

rc engine_ack(struct cx *cx, struct engine *e, const char *queue, const struct lease *l, size_t n,
              size_t *ret_refused)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;
    int64_t died = 0;

    *ret_refused = 0;
    try(engine_keys(cx, e, queue, &k));
    if (n == 0)
        return OK;
    call_begin(&c, e, &SCRIPT_ACK, k,
               KEYS_OF(QK_JOBS, QK_LEASE, QK_STATS, QK_RATE, QK_CANCEL, QK_UNIQUE, QK_UNIQUE_OF),
               false, 2 + n);
    for (size_t i = 0; i < n; i++)
        died += l[i].died;
    call_now(&c);
    call_int(&c, died);
    for (size_t i = 0; i < n; i++)
        call_token(&c, &l[i]);
    try(call_run(cx, &c, REDIS_REPLY_ARRAY, &reply));
    if (!reply_has(reply, 2))
        return fail(cx, REDIS, "ack.lua answered with %zu elements", reply->elements);
    *ret_refused = (size_t)reply_int(reply, 1);
    return OK;
}

rc engine_reschedule(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                     int64_t run_at_ms, bool snooze)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    try(engine_keys(cx, e, queue, &k));
    call_begin(&c, e, &SCRIPT_RESCHEDULE, k,
               KEYS_OF(QK_JOBS, QK_LEASE, QK_SCHED, QK_STATS, QK_WAIT), false, 4);
    call_now(&c);
    call_int(&c, run_at_ms);
    call_int(&c, snooze);
    call_token(&c, l);
    try(call_run(cx, &c, REDIS_REPLY_INTEGER, &reply));
    if (reply->integer == 0)
        return fail(cx, STALE_ATTEMPT, "job %s is no longer held under claim %d", l->id, l->claim);
    return OK;
}

static rc give_back(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                    size_t n, bool as_snooze, bool crashed, size_t *ret_held)
{
    *ret_held = 0;
    for (size_t from = 0; from < n; from += QUEUE_BATCH) {
        _cleanup_(redis_reply_freep) redisReply *reply = NULL;
        _cleanup_(call_release) struct call c = {0};
        const struct queue_keys *k;
        size_t batch = MIN(n - from, (size_t)QUEUE_BATCH);

        try(engine_keys(cx, e, queue, &k));
        call_begin(&c, e, &SCRIPT_RELEASE, k,
                   KEYS_OF(QK_JOBS, QK_LEASE, QK_STATS, QK_WAIT, QK_CRASHED, QK_GATE), true,
                   2 + batch);
        call_int(&c, as_snooze);
        call_int(&c, crashed);
        for (size_t i = 0; i < batch; i++)
            call_token(&c, &l[from + i]);
        try(call_run(cx, &c, REDIS_REPLY_INTEGER, &reply));
        *ret_held += (size_t)reply->integer;
    }
    return OK;
}

rc engine_release(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                  size_t n)
{
    size_t held;

    return give_back(cx, e, queue, l, n, /* as_snooze= */ true, /* crashed= */ false, &held);
}

rc engine_return(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                 size_t n, size_t *ret_held)
{
    return give_back(cx, e, queue, l, n, /* as_snooze= */ false, /* crashed= */ false, ret_held);
}

rc engine_crashed(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                  size_t n, size_t *ret_held)
{
    return give_back(cx, e, queue, l, n, /* as_snooze= */ true, /* crashed= */ true, ret_held);
}

/* claim.c - one round trip that ends what was finished and hands out the next; and the sleep when
 * there is nothing.
 *
 *      acks ----.                             .---- jobs, each under its lease
 *               v                             |
 *          [ claim.lua: ack, expire, promote, pop ]
 *
 * Or the claim rides behind the blocking wait of a worker that is idle, in one write on that connection: Redis carries it
 * out in the moment in which the wait ends, so a job that is pushed meets a claim that is there already. It takes two turns
 * for a core instead of four.
 *
 *      BZPOPMIN wait s | EVALSHA claim.lua ...                       push sets the marker -> wait ends -> claim -> jobs
 *
 * It cannot be unsent: until it is answered, or its connection was ended by Redis (CLIENT KILL), it may hand out jobs. So it
 * leaves its note under a name of its own, and who loses sight of it ends the connection first and then reads the note
 * (worker/ride.h). Its `now` is Redis' own; the epoch that it trusts is that of the moment in which it was sent, and a
 * Redis that came back older has lost the connection.
 *
 * An envelope says of which generation it is. A token of another one (its job was cancelled and
 * brought back while the token still lay in a long list) is forgotten here: its job waits under a
 * token of its own. */
#include "base/clock.h"
#include "base/log.h"
#include "queue/envelope.h"
#include "queue/internal.h"
#include "queue/queue.sql.h"
#include "queue/reconcile.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void claim_result_release(struct claim_result *c)
{
    for (size_t i = 0; i < c->n; i++)
        job_release(&c->jobs[i]);
    free(c->jobs);
    *c = (struct claim_result){0};
}

void job_release(struct job *j)
{
    if (j->storage) /* otherwise it was copied out, and its options with it */
        free((void *)j->options);
    free(j->storage);
    j->storage = NULL;
    j->options = NULL;
}

/* Until their leases expire they may stay: whoever claims them next meets them as we do. */
static void forget(struct cx *cx, struct engine *e, const struct queue_keys *k,
                   const struct lease *l, size_t n)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};

    call_begin(&c, e, &SCRIPT_FORGET, k, KEYS_OF(QK_LEASE), false, n);
    for (size_t i = 0; i < n; i++)
        call_token(&c, &l[i]);
    rc r = call_run(cx, &c, REDIS_REPLY_INTEGER, &reply);
    if (r != OK)
        log_fail(LOG_WARN, "lease.not_forgotten", cx, r, kv_str("queue", k->queue),
                 kv_int("leases", (int64_t)n));
}

/* What is no envelope was not written by us: kept in the dead letters with its reason, gone from the
 * queue. */
static rc bury_malformed(struct cx *cx, struct engine *e, const struct queue_keys *k,
                         struct lease *l, const redisReply *body)
{
    _cleanup_(freep) char *text = text_cleaned(body->str, (size_t)body->len);
    size_t refused;

    log_ev(LOG_ERROR, "job.malformed", kv_str("queue", k->queue), kv_str("job", l->id));
    if (e->db)
        try(pg_do(cx, e->db, SQL_DEAD_BROKER_INSERT, NULL, pg_s(l->id), pg_i(l->generation),
                  pg_s(k->base), pg_s("unknown"), pg_s(text), pg_i(JOB_PRIORITY), pg_i(0), pg_i(0),
                  pg_s(NULL), pg_s(NULL), pg_s(NULL), pg_i(l->claim - l->snoozes),
                  pg_s("bad_request"), pg_s("the envelope in Redis cannot be read"), pg_s(NULL),
                  pg_s(NULL)));
    l->died = true;
    return engine_ack(cx, e, k->queue, l, 1, &refused);
}

static rc take_jobs(struct cx *cx, struct engine *e, const struct queue_keys *k, redisReply *tokens,
                    redisReply *bodies, const redisReply *crashes, struct claim_result *ret)
{
    _cleanup_(freep) struct lease *foreign = NULL;
    size_t nforeign = 0;

    if (tokens->type != REDIS_REPLY_ARRAY || bodies->type != REDIS_REPLY_ARRAY ||
        (tokens->elements > 0 && tokens->elements != bodies->elements))
        return fail(cx, REDIS, "claim.lua answered with lists that do not match");
    ret->jobs = tokens->elements ? xcalloc(tokens->elements, sizeof *ret->jobs) : NULL;
    for (size_t i = 0; i < tokens->elements; i++) {
        const redisReply *t = tokens->element[i];
        redisReply *b = bodies->element[i];
        struct job *j = &ret->jobs[ret->n];
        struct lease l;
        int generation;

        if (b->type != REDIS_REPLY_STRING)
            continue; /* a token without a job */
        if (t->type != REDIS_REPLY_STRING || !token_parse(t->str, t->len, &l)) {
            log_ev(LOG_ERROR, "token.malformed", kv_str("queue", k->queue),
                   kv_str("token", t->str));
            continue;
        }
        if (!envelope_read(b->str, b->len, j, &generation)) {
            rc r = bury_malformed(cx, e, k, &l, b);
            if (r != OK) /* it comes back when its lease expires; its neighbours are well */
                log_fail(LOG_ERROR, "job.not_buried", cx, r, kv_str("job", l.id));
            continue;
        }
        if (generation != l.generation) {
            free((void *)j->options);
            j->options = NULL;
            foreign = xrealloc(foreign, (nforeign + 1) * sizeof *foreign);
            foreign[nforeign++] = l;
            continue;
        }
        j->lease = l;
        j->queue = k->base;
        j->place = k->queue;
        j->attempt = l.claim - l.snoozes;
        j->run = NULL;
        j->crashes = i < crashes->elements ? (int)reply_int(crashes, i) : 0;
        j->storage = TAKE_PTR(b->str); /* the reader allocated it for this element alone */
        ret->n++;
    }
    if (nforeign > 0)
        forget(cx, e, k, foreign, nforeign);
    return OK;
}

#define LAST_MAX 256

/* The first word of claim.lua's answer: one of these, and CLAIM_STATES times the shards of its queue. */
enum { CLAIM_OPEN, CLAIM_LOST, CLAIM_PAUSED, CLAIM_OTHER, CLAIM_STATES = 16 };
static int state_of(const redisReply *answer)
{
    return (int)(reply_int(answer, 0) % CLAIM_STATES);
}

/* The named keys of claim.lua stand in the order of enum queue_key, so this one's place is QK_LAST. */
_Static_assert(QK_LAST == 11 && QK_CRASHED == 12, "claim.lua counts its keys like enum queue_key");
static size_t last_key(const struct queue_keys *k, const char *name, char *out, size_t size)
{
    return (size_t)snprintf(out, size, "%s:%s", k->name[QK_LAST], name);
}

/* claim.lua or claim_shaped.lua; both take and answer the same. Who notes what it hands out as `name` ("": no note) finds
 * it under `last`, which is borrowed. */
static void put_claim(struct call *c, struct engine *e, const struct queue_keys *k, size_t max,
                      int64_t lease_ms, const struct lease *acks, size_t nacks, const char *name,
                      char last[LAST_MAX])
{
    int64_t died = 0;

    call_begin(c, e, k->shaped ? &SCRIPT_CLAIM_SHAPED : &SCRIPT_CLAIM, k, KEYS_OF(CLAIM_KEYS), true,
               6 + nacks);
    c->lens[QK_LAST] = last_key(k, name, last, LAST_MAX);
    c->argv[QK_LAST] = last;
    for (size_t i = 0; i < nacks; i++)
        died += acks[i].died;
    call_now(c);
    call_int(c, (int64_t)MIN(max, (size_t)QUEUE_BATCH));
    call_int(c, lease_ms);
    call_int(c, e->db ? MAX(e->epoch - 1, 0) : -1);
    call_int(c, died);
    call_str(c, name[0] ? "1" : "");
    for (size_t i = 0; i < nacks; i++)
        call_token(c, &acks[i]);
}

static rc check_answer(struct cx *cx, const struct call *c, const redisReply *reply)
{
    if (!reply_has(reply, 7) || (state_of(reply) == CLAIM_OPEN && !reply_has(reply, 8)))
        return fail(cx, REDIS, "%s.lua answered with type %d and %zu elements", c->script->name,
                    reply->type, reply->elements);
    return OK;
}

static rc call_claim(struct cx *cx, struct engine *e, const struct queue_keys *k, size_t max,
                     int64_t lease_ms, const struct lease *acks, size_t nacks, redisReply **ret)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    char last[LAST_MAX];

    put_claim(&c, e, k, max, lease_ms, acks, nacks, e->name, last);
    try(call_run(cx, &c, REDIS_REPLY_ARRAY, &reply));
    try(check_answer(cx, &c, reply));
    *ret = TAKE_PTR(reply);
    return OK;
}

/* A queue that has become shaped, or plain again, says so after the acks: the other script goes on.
 * Which of the two is asked first is remembered. */
static rc claim_either(struct cx *cx, struct engine *e, const struct queue_keys *k, size_t max,
                       int64_t lease_ms, const struct lease *acks, size_t nacks,
                       size_t *ret_refused, redisReply **ret)
{
    for (int turn = 0; turn < 4; turn++) {
        _cleanup_(redis_reply_freep) redisReply *reply = NULL;
        try(call_claim(cx, e, k, max, lease_ms, acks, nacks, &reply));
        *ret_refused += (size_t)reply_int(reply, 3);
        nacks = 0;
        if (state_of(reply) != CLAIM_OTHER) {
            *ret = TAKE_PTR(reply);
            return OK;
        }
        engine_queue(e, k)->shaped = !k->shaped;
    }
    return fail(cx, REDIS, "queue %s changes faster than it can be claimed from", k->queue);
}

/* What the answer says of the queue, and its jobs. */
static rc take_claim(struct cx *cx, struct engine *e, const struct queue_keys *k, redisReply *reply,
                     struct claim_result *ret)
{
    ret->lost = state_of(reply) == CLAIM_LOST;
    ret->paused = state_of(reply) == CLAIM_PAUSED;
    ret->other = state_of(reply) == CLAIM_OTHER;
    ret->shards = (int)(reply_int(reply, 0) / CLAIM_STATES);
    e->epoch = MAX(e->epoch, reply_int(reply, 2));
    if (reply_int(reply, 4)) /* Redis' clock -> ours */
        ret->next_due_ms = reply_int(reply, 4) + (clock_ms() - reply_int(reply, 1));
    rc r = take_jobs(cx, e, k, reply->element[5], reply->element[6],
                     reply->element[reply->elements - 1], ret);
    if (r != OK)
        claim_result_release(ret); /* leased, and back when the lease expires */
    return r;
}

rc engine_claim(struct cx *cx, struct engine *e, const char *queue, size_t max, int64_t lease_ms,
                const struct lease *acks, size_t nacks, struct claim_result *ret,
                size_t *ret_refused)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    const struct queue_keys *k;

    *ret = (struct claim_result){0};
    *ret_refused = 0;
    if (e->db && e->epoch < 0)
        try(engine_epoch_read(cx, e));
    try(engine_keys(cx, e, queue, &k));
    try(claim_either(cx, e, k, max, lease_ms, acks, nacks, ret_refused, &reply));
    return take_claim(cx, e, k, reply, ret);
}

rc engine_ride(struct cx *cx, struct engine *e, const struct engine_ride *a,
               struct claim_result *ret, bool *ret_waited)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;
    char last[LAST_MAX];

    *ret = (struct claim_result){0};
    *ret_waited = true;
    if (e->db && e->epoch < 0)
        try(engine_epoch_read(cx, e));
    try(engine_keys(cx, e, a->queue, &k));
    put_claim(&c, e, k, a->max, a->lease_ms, NULL, 0, a->name, last);
    try(call_settle(cx, &c));
    if (a->wait_ms > 0)
        try(redis_wait_eval(cx, a->blocking, &reply, ret_waited, k->name[QK_WAIT], a->wait_ms,
                            c.script, c.argc, c.argv, c.lens));
    else
        try(redis_eval(cx, a->blocking, &reply, c.script, c.argc, c.argv, c.lens));
    try(check_answer(cx, &c, reply));
    return take_claim(cx, e, k, reply, ret);
}

rc engine_last_claim(struct cx *cx, struct engine *e, const char *queue, const char *name,
                     struct lease **ret, size_t *ret_n)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    char last[LAST_MAX];
    struct lease *l = NULL;
    const struct queue_keys *k;
    size_t n = 0;

    try(engine_keys(cx, e, queue, &k));
    last_key(k, name, last, sizeof last);
    try(redis_cmd(cx, e->redis, &reply, "GET %s", last));
    if (reply->type == REDIS_REPLY_STRING) {
        l = xmalloc(((size_t)reply->len / ID_LEN + 1) * sizeof *l);
        for (char *save = NULL, *t = strtok_r(reply->str, " ", &save); t;
             t = strtok_r(NULL, " ", &save))
            n += token_parse(t, strlen(t), &l[n]);
    }
    *ret = l;
    *ret_n = n;
    return OK;
}

rc engine_wait(struct cx *cx, struct engine *e, struct redis *blocking, const char *const *queues,
               size_t n, int64_t until_ms, size_t *ret_which)
{
    _cleanup_(freep) const char **keys = xmalloc((n + 1) * sizeof *keys);

    for (size_t i = 0; i < n; i++) {
        const struct queue_keys *k;
        try(engine_keys(cx, e, queues[i], &k));
        keys[i] = k->name[QK_WAIT];
    }
    return redis_take_first(cx, blocking, keys, n, until_ms - clock_ms(), ret_which);
}

rc engine_wake(struct cx *cx, struct engine *e, const char *queue)
{
    const struct queue_keys *k;

    try(engine_keys(cx, e, queue, &k));
    return redis_cmd(cx, e->redis, NULL, "ZADD %s 0 m", k->name[QK_WAIT]);
}

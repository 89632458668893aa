/* claims.c - the steps of claims.h around their Lua. */
#include "celery/claims.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "celery/celery.lua.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESTORE_BATCH 100

static char *own(struct arena *a, const struct celery_names *n, const char *what, const char *more)
{
    return arena_printf(a, "%smihwar.celery.%s%s", n->prefix, what, more);
}

void celery_claimer_init(struct celery_claimer *k, struct celery *c, const char *id,
                         struct arena *a)
{
    k->celery = c;
    snprintf(k->id, sizeof k->id, "%s", id);
    k->held = own(a, &c->names, "held:", k->id);
    k->claimers = own(a, &c->names, "claimers", "");
    k->schedule = own(a, &c->names, "schedule", "");
    k->quarantine = own(a, &c->names, "quarantine", "");
}

void celery_lists_make(struct celery_lists *l, const struct celery_names *n, char *const *queues,
                       size_t nqueues, struct arena *a)
{
    l->n = 0;
    l->keys = arena_alloc(a, nqueues * n->nsteps * sizeof(char *));
    l->queues = arena_alloc(a, nqueues * n->nsteps * sizeof(char *));
    for (size_t step = 0; step < n->nsteps; step++)
        for (size_t q = 0; q < nqueues; q++) {
            _cleanup_(buf_release) struct buf b = BUF(KiB(4));
            celery_put_step_key(&b, n, queues[q], step);
            l->keys[l->n] = arena_strdup(a, buf_str(&b));
            l->queues[l->n++] = arena_strdup(a, queues[q]);
        }
}

/* ---------------------------------------------------------------- claim */

static rc bad_reply(struct cx *cx)
{
    return fail(cx, REDIS, "a script answered with something else than it should");
}

static int64_t ms_of(const char *seconds)
{
    return (int64_t)(strtod(seconds, NULL) * 1000);
}

rc celery_claim(struct cx *cx, struct celery_claimer *k, const struct celery_lists *l,
                const size_t *order, size_t n, size_t max, struct celery_claim *ret)
{
    const struct celery_names *names = &k->celery->names;
    const char **argv = arena_alloc(&cx->arena, (6 + n * 2) * sizeof *argv);
    size_t argc = 0;

    *ret = (struct celery_claim){0};
    argv[argc++] = names->unacked;
    argv[argc++] = names->unacked_index;
    argv[argc++] = k->held;
    argv[argc++] = k->schedule;
    argv[argc++] = k->quarantine;
    argv[argc++] = arena_printf(&cx->arena, "%zu", max);
    for (size_t i = 0; i < n; i++) {
        argv[argc++] = l->keys[order[i]];
        argv[argc++] = l->queues[order[i]];
    }
    try(redis_eval(cx, k->celery->broker, &ret->reply, &SCRIPT_CLAIM, (int)argc, argv, NULL));
    redisReply *r = ret->reply;
    if (r->type != REDIS_REPLY_ARRAY || r->elements < 3 || r->elements % 3 != 0)
        return bad_reply(cx);
    ret->next_due_ms = r->element[0]->len ? ms_of(r->element[0]->str) : 0;
    ret->set_aside = (int)r->element[1]->integer;
    ret->more = r->element[2]->integer == 1;
    ret->items = arena_alloc(&cx->arena, r->elements / 3 * sizeof *ret->items);
    for (size_t i = 3; i + 2 < r->elements; i += 3)
        ret->items[ret->n++] =
            (struct celery_claimed){order[r->element[i]->integer], r->element[i + 1]->str,
                                    r->element[i + 2]->str, r->element[i + 2]->len};
    return OK;
}

void celery_claim_release(struct celery_claim *c)
{
    redis_reply_freep(&c->reply);
}

/* ---------------------------------------------------------------- the end of a claim */

rc celery_ack(struct cx *cx, struct celery_claimer *k, const char *tag, bool *ret_held)
{
    const char *argv[] = {k->celery->names.unacked, k->celery->names.unacked_index, k->held, tag};
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;

    try(redis_eval(cx, k->celery->broker, &reply, &SCRIPT_ACK, COUNT(argv), argv, NULL));
    *ret_held = reply->integer == 1;
    return OK;
}

static rc move(struct cx *cx, struct celery_claimer *k, const char *tag, const char *to,
               const char *how, const char *second, const char *text, size_t len, bool *ret_held)
{
    const char *argv[] = {k->celery->names.unacked,
                          k->celery->names.unacked_index,
                          k->held,
                          to,
                          tag,
                          how,
                          second,
                          text};
    size_t lens[COUNT(argv)];
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;

    for (size_t i = 0; i + 1 < COUNT(argv); i++)
        lens[i] = strlen(argv[i]);
    lens[COUNT(argv) - 1] = len;
    try(redis_eval(cx, k->celery->broker, &reply, &SCRIPT_MOVE, COUNT(argv), argv, lens));
    *ret_held = reply->integer == 1;
    return OK;
}

rc celery_move_back(struct cx *cx, struct celery_claimer *k, const char *tag, const char *list,
                    const char *text, size_t len, bool tail, bool *ret_held)
{
    return move(cx, k, tag, list, tail ? "tail" : "head", "", text, len, ret_held);
}

rc celery_move_later(struct cx *cx, struct celery_claimer *k, const char *tag, const char *list,
                     const char *text, size_t len, int64_t at_ms, bool *ret_held)
{
    _cleanup_(buf_release) struct buf b = BUF(CELERY_MESSAGE_MAX * 3);
    char second[32];

    snprintf(second, sizeof second, "%lld.%03d", (long long)(at_ms / 1000), (int)(at_ms % 1000));
    buf_printf(&b, "%s\n", list);
    buf_append(&b, text, len);
    if (!buf_ok(&b))
        return fail(cx, BUFFER_FULL, "the message is too large");
    return move(cx, k, tag, k->schedule, "at", second, b.p, b.len, ret_held);
}

rc celery_move_aside(struct cx *cx, struct celery_claimer *k, const char *tag, const char *queue,
                     const char *why, const char *text, size_t len)
{
    _cleanup_(buf_release) struct buf b = BUF(CELERY_MESSAGE_MAX * 3 + KiB(4));
    bool held;

    buf_puts(&b, "{\"queue\":");
    buf_json_str(&b, queue);
    buf_json_field(&b, "why", why);
    buf_puts(&b, "}\n");
    buf_append(&b, text, len);
    return move(cx, k, tag, k->quarantine, "tail", "", buf_str(&b), b.len, &held);
}

/* ---------------------------------------------------------------- life and death */

static void mark_lost(const redisReply *lost, const char *const *tags, size_t n, bool *ret_lost)
{
    size_t i = 0;

    for (size_t j = 0; j < lost->elements; j++) { /* in the order in which they were asked for */
        while (i < n && strcmp(tags[i], lost->element[j]->str) != 0)
            i++;
        if (i < n)
            ret_lost[i] = true;
    }
}

rc celery_beat(struct cx *cx, struct celery_claimer *k, int64_t lease_ms, const char *const *tags,
               size_t n, bool *ret_lost, const char ***ret_dead, size_t *ret_ndead,
               int64_t *ret_due_ms)
{
    const char **argv = arena_alloc(&cx->arena, (n + 6) * sizeof *argv);
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;

    argv[0] = k->celery->names.unacked_index;
    argv[1] = k->held;
    argv[2] = k->claimers;
    argv[3] = k->schedule;
    argv[4] = k->id;
    argv[5] = arena_printf(&cx->arena, "%.3f", (double)lease_ms / 1000);
    for (size_t i = 0; i < n; i++)
        argv[6 + i] = tags[i];
    try(redis_eval(cx, k->celery->broker, &reply, &SCRIPT_BEAT, (int)n + 6, argv, NULL));
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3)
        return bad_reply(cx);
    *ret_due_ms = reply->element[2]->len ? ms_of(reply->element[2]->str) : 0;
    mark_lost(reply->element[0], tags, n, ret_lost);
    const redisReply *dead = reply->element[1];
    *ret_dead = arena_alloc(&cx->arena, (dead->elements + 1) * sizeof **ret_dead);
    *ret_ndead = 0;
    for (size_t i = 0; i < dead->elements; i++)
        if (strcmp(dead->element[i]->str, k->id) != 0)
            (*ret_dead)[(*ret_ndead)++] = arena_strdup(&cx->arena, dead->element[i]->str);
    return OK;
}

/* "celery" + sep + "" + sep + "queue": routing key, pattern, queue. */
static bool binding_fits(struct cx *cx, const struct celery_names *n, const char *member,
                         const char *routing_key, const char **ret_queue)
{
    const char *sep = n->sep, *first = *sep ? strstr(member, sep) : NULL;
    const char *second = first ? strstr(first + strlen(sep), sep) : NULL;

    if (!second)
        return false;
    const char *key = arena_strndup(&cx->arena, member, (size_t)(first - member));
    *ret_queue = second + strlen(sep);
    return str_eq(key, routing_key) || str_eq(key, "#");
}

/* The queue behind an exchange and a routing key. */
static rc queue_of(struct cx *cx, struct celery *c, const char *exchange, const char *routing_key,
                   const char **ret)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    const char *queue;

    *ret = routing_key;
    if (str_empty(exchange))
        return OK;
    try(redis_cmd(cx, c->broker, &reply, "SMEMBERS %s_kombu.binding.%s", c->names.prefix,
                  exchange));
    for (size_t i = 0; i < reply->elements; i++)
        if (binding_fits(cx, &c->names, reply->element[i]->str, routing_key, &queue)) {
            *ret = arena_strdup(&cx->arena, queue);
            break;
        }
    return OK;
}

/* The list that the message of a record belongs to. */
static rc list_of(struct cx *cx, struct celery *c, struct raw record,
                  const struct celery_message *m, const char **ret)
{
    _cleanup_(buf_release) struct buf key = BUF(KiB(4));
    struct raw at = {0};
    const char *exchange, *routing_key, *queue;

    raw_next(record, &at);
    exchange = raw_next(record, &at) ? raw_str(cx, at) : NULL;
    routing_key = raw_next(record, &at) ? raw_str(cx, at) : NULL;
    if (str_empty(routing_key))
        return fail(cx, INVALID_FIELD, "the record has no routing key");
    try(queue_of(cx, c, exchange, routing_key, &queue));
    celery_put_queue_key(&key, &c->names, queue, m->priority);
    *ret = arena_strdup(&cx->arena, buf_str(&key));
    return OK;
}

struct abandoned {
    const char *tag, *held, *list; /* list NULL: to be found out */
    const char *before;            /* claimed before this second, or "" */
};

/* A message that nobody can read is given back as it is: whoever claims it sets it aside. */
static rc give_back(struct cx *cx, struct celery *c, const struct abandoned *a,
                    const redisReply *record)
{
    _cleanup_(buf_release) struct buf text = BUF(CELERY_MESSAGE_MAX * 2);
    struct celery_message m;
    struct raw all, envelope = {0};
    const char *list = a->list;

    try(raw_read(cx, record->str, record->len, CELERY_MESSAGE_MAX * 2, &all));
    if (!raw_next(all, &envelope))
        return fail(cx, INVALID_FIELD, "the record is no list");
    if (celery_message_read(cx, envelope.p, envelope.n, &m) == OK)
        celery_message_redelivered(&text, &m, !*a->before);
    else
        raw_put(&text, envelope);
    if (!list)
        try(list_of(cx, c, all, &m, &list));
    const char *argv[] = {
        c->names.unacked, c->names.unacked_index, a->held, list, a->tag, record->str, text.p,
        a->before};
    size_t lens[] = {strlen(argv[0]), strlen(argv[1]), strlen(a->held), strlen(list),
                     strlen(a->tag),  record->len,     text.len,        strlen(a->before)};
    return redis_eval(cx, c->broker, NULL, &SCRIPT_RESTORE, COUNT(argv), argv, lens);
}

/* One abandoned claim, with an arena of its own. What cannot be read stays where it is, for people. */
static rc restore_one(struct cx *cx, struct celery *c, const struct abandoned *a, size_t *n)
{
    _cleanup_(redis_reply_freep) redisReply *record = NULL;
    struct arena kept = cx->arena;

    try(redis_cmd(cx, c->broker, &record, "HGET %s %s", c->names.unacked, a->tag));
    if (record->type != REDIS_REPLY_STRING) { /* acked meanwhile, or only half of it is left */
        if (*a->before)
            return redis_cmd(cx, c->broker, NULL, "ZREM %s %s", c->names.unacked_index, a->tag);
        return redis_cmd(cx, c->broker, NULL, "HDEL %s %s", a->held, a->tag);
    }
    cx->arena = (struct arena){0};
    rc r = give_back(cx, c, a, record);
    arena_release(&cx->arena);
    cx->arena = kept;
    if (r == OK) {
        (*n)++;
    } else if (r != E_STORE_DOWN && r != E_STORE_DOUBT && r != E_CANCELLED && r != E_DEADLINE) {
        log_fail(LOG_ERROR, "celery.not_restored", cx, r, kv_str("tag", a->tag));
        return redis_cmd(cx, c->broker, NULL, "HDEL %s %s", a->held, a->tag);
    }
    return r;
}

rc celery_restore_claimer(struct cx *cx, struct celery *c, const char *claimer, size_t *ret_n)
{
    _cleanup_(redis_reply_freep) redisReply *held = NULL;
    const char *key = own(&cx->arena, &c->names, "held:", claimer);

    *ret_n = 0;
    try(redis_cmd(cx, c->broker, &held, "HGETALL %s", key));
    for (size_t i = 0; i + 1 < held->elements; i += 2)
        try(restore_one(cx, c,
                        &(struct abandoned){.tag = held->element[i]->str,
                                            .held = key,
                                            .list = held->element[i + 1]->str,
                                            .before = ""},
                        ret_n));
    return redis_cmd(cx, c->broker, NULL, "ZREM %s %s", own(&cx->arena, &c->names, "claimers", ""),
                     claimer);
}

static rc restore_batch(struct cx *cx, struct celery_claimer *k, size_t *ret_n)
{
    struct celery *c = k->celery;
    _cleanup_(redis_reply_freep) redisReply *tags = NULL;
    int64_t before_ms = clock_ms() - c->names.visibility_ms;
    char before[32];

    snprintf(before, sizeof before, "%.3f", (double)before_ms / 1000);
    try(redis_cmd(cx, c->broker, &tags, "ZREVRANGEBYSCORE %s %s 0 LIMIT 0 %d",
                  c->names.unacked_index, before, RESTORE_BATCH));
    for (size_t i = 0; i < tags->elements; i++)
        try(restore_one(
            cx, c,
            &(struct abandoned){.tag = tags->element[i]->str, .held = k->held, .before = before},
            ret_n));
    return OK;
}

rc celery_restore_old(struct cx *cx, struct celery_claimer *k, size_t *ret_n)
{
    struct celery *c = k->celery;
    _cleanup_(redis_reply_freep) redisReply *got = NULL, *holder = NULL;

    *ret_n = 0;
    try(redis_cmd(cx, c->broker, &got, "SET %s %s NX PX %lld", c->names.unacked_mutex, k->id,
                  (long long)c->names.mutex_ms));
    if (got->type == REDIS_REPLY_NIL)
        return OK;
    rc r = restore_batch(cx, k, ret_n);
    /* Ours to take away unless it expired meanwhile. */
    if (redis_cmd(cx, c->broker, &holder, "GET %s", c->names.unacked_mutex) == OK &&
        holder->type == REDIS_REPLY_STRING && strcmp(holder->str, k->id) == 0)
        try(redis_cmd(cx, c->broker, NULL, "DEL %s", c->names.unacked_mutex));
    return r;
}

rc celery_farewell(struct cx *cx, struct celery_claimer *k)
{
    return redis_cmd(cx, k->celery->broker, NULL, "ZREM %s %s", k->claimers, k->id);
}

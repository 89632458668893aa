/* celery.c - send, and look at what came of it. */
#include "celery/celery.h"
#include "base/clock.h"
#include "base/text.h"
#include "celery/celery.lua.h"
#include "rt/fiber.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEND_MAX (CELERY_MESSAGE_MAX * 2)

rc celery_connect(struct cx *cx, const struct settings *s, struct redis **ret)
{
    const char *url;
    int db;

    try(celery_url(cx, s->celery_broker_url, &url, &db));
    return redis_new(cx, url, ret);
}

static rc open_results(struct cx *cx, const struct settings *s, struct redis **ret)
{
    const char *url = s->celery_result_url;
    int db;

    if (!*url)
        return OK;
    try(celery_url(cx, url, &url, &db));
    return redis_new(cx, url, ret);
}

rc celery_open(struct cx *cx, const struct settings *s, struct celery **ret)
{
    const char *url;
    char host[64] = "";
    int db;

    if (!*s->celery_broker_url)
        return fail(cx, CONFIG, "celery_broker_url is not set; set it or MIHWAR_CELERY_BROKER_URL");
    struct celery *c = xcalloc(1, sizeof *c);
    rc r = celery_url(cx, s->celery_broker_url, &url, &db);
    if (r == OK)
        r = celery_names_read(cx, s->celery_transport_options, db, &c->names);
    if (r == OK)
        r = redis_new(cx, url, &c->broker);
    if (r == OK)
        r = open_results(cx, s, &c->results);
    if (r != OK) {
        celery_free(c);
        return r;
    }
    if (!c->results)
        c->results = c->broker;
    c->result_ttl_ms = s->celery_result_ttl;
    c->routes = s->celery_routes;
    gethostname(host, sizeof host - 1);
    snprintf(c->origin, sizeof c->origin, "gen%d@%s", (int)getpid(), host);
    *ret = c;
    return OK;
}

struct celery *celery_free(struct celery *c)
{
    if (!c)
        return NULL;
    if (c->results != c->broker)
        redis_free(c->results);
    redis_free(c->broker);
    celery_names_release(&c->names);
    free(c);
    return NULL;
}

/* ---------------------------------------------------------------- send */

const char *celery_route(struct cx *cx, const struct celery *c, const char *task)
{
    char *list = arena_strdup(&cx->arena, c->routes), *save = NULL;

    for (char *row = strtok_r(list, ",", &save); row; row = strtok_r(NULL, ",", &save)) {
        char *queue = strchr(row, '=');
        if (!queue)
            continue;
        *queue++ = 0;
        if (glob_match(str_trim(row), task))
            return str_trim(queue);
    }
    return "celery";
}

rc celery_send(struct cx *cx, struct celery *c, struct celery_new *m)
{
    _cleanup_(buf_release) struct buf b = BUF(SEND_MAX), key = BUF(KiB(2));

    if (!m->queue)
        m->queue = celery_route(cx, c, m->task);
    if (str_empty(m->task) || strlen(m->task) > CELERY_NAME_MAX ||
        strlen(m->queue) > CELERY_NAME_MAX)
        return fail(cx, INVALID_FIELD, "a task and a queue have names of 1 to %d bytes",
                    CELERY_NAME_MAX);
    if (!m->origin)
        m->origin = c->origin;
    celery_message_write(&b, m);
    celery_put_queue_key(&key, &c->names, m->queue, m->priority);
    if (!buf_ok(&b) || !buf_ok(&key))
        return fail(cx, BUFFER_FULL, "the message to %s is too large", m->task);
    return redis_cmd(cx, c->broker, NULL, "LPUSH %b %b", key.p, key.len, b.p, b.len);
}

/* ---------------------------------------------------------------- results */

const char *celery_result_key(struct cx *cx, const char *id)
{
    return arena_printf(&cx->arena, "celery-task-meta-%s", id);
}

static rc read_result(struct cx *cx, const char *text, size_t n, struct celery_result *ret)
{
    *ret = (struct celery_result){.status = "PENDING"};
    try(raw_read(cx, arena_strndup(&cx->arena, text, n), n, CELERY_MESSAGE_MAX * 2, &ret->all));
    ret->status = raw_str(cx, raw_get(ret->all, "status"));
    if (!ret->status)
        return fail(cx, BAD_JSON, "what is stored as the result is none");
    ret->result = raw_get(ret->all, "result");
    ret->traceback = raw_str(cx, raw_get(ret->all, "traceback"));
    ret->ready = str_eq(ret->status, "SUCCESS") || str_eq(ret->status, "FAILURE") ||
                 str_eq(ret->status, "REVOKED");
    return OK;
}

rc celery_result_get(struct cx *cx, struct celery *c, const char *id, struct celery_result *ret)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;

    try(redis_cmd(cx, c->results, &reply, "GET %s", celery_result_key(cx, id)));
    *ret = (struct celery_result){.status = "PENDING"};
    return reply->type == REDIS_REPLY_STRING ? read_result(cx, reply->str, reply->len, ret) : OK;
}

struct listener {
    struct fiber *fiber;
    struct redis *redis;
    bool told;
};

static void on_told(void *arg, const redisReply *reply)
{
    struct listener *l = arg;

    (void)reply;
    l->told = true;
    fiber_wake(l->fiber);
}

static void on_connect(void *arg)
{
    on_told(arg, NULL);
}

/* Subscribes first, then looks, so that nothing falls in between; after a new connection again. */
static rc listen_for(struct cx *cx, struct celery *c, struct listener *l, const char *id,
                     struct celery_result *ret)
{
    const char *channel = celery_result_key(cx, id);
    uint64_t generation = 0;

    for (;;) {
        if (!redis_connected(l->redis) || redis_generation(l->redis) != generation) {
            try(redis_cmd(cx, l->redis, NULL, "SUBSCRIBE %s", channel));
            generation = redis_generation(l->redis);
        }
        l->told = false;
        try(celery_result_get(cx, c, id, ret));
        if (ret->ready)
            return OK;
        while (!l->told)
            try(fiber_park(cx));
    }
}

rc celery_result_wait(struct cx *cx, struct celery *c, const struct settings *s, const char *id,
                      struct celery_result *ret)
{
    struct listener l = {.fiber = cx->fiber};
    const char *url = *s->celery_result_url ? s->celery_result_url : s->celery_broker_url;
    int db;

    try(celery_url(cx, url, &url, &db));
    try(redis_new(cx, url, &l.redis));
    redis_on_push(l.redis, on_told, &l);
    redis_on_connect(l.redis, on_connect, &l);
    rc r = listen_for(cx, c, &l, id, ret);
    redis_free(l.redis);
    return r;
}

/* pidbox.c - requests and answers of the remote control. */
#include "celery/pidbox.h"
#include "base/clock.h"
#include "base/text.h"
#include <fnmatch.h>
#include <string.h>

#define REPLY_LIFE_S 60

static bool is_for(struct cx *cx, struct raw body, const char *node)
{
    struct raw destination = raw_get(body, "destination"), at = {0};
    const char *pattern = raw_str(cx, raw_get(body, "pattern"));
    const char *matcher = raw_str(cx, raw_get(body, "matcher"));

    if (pattern && str_eq(matcher, "glob"))
        return fnmatch(pattern, node, 0) == 0;
    if (!raw_is_array(destination))
        return true;
    while (raw_next(destination, &at))
        if (str_eq(raw_str(cx, at), node))
            return true;
    return false;
}

rc celery_request_read(struct cx *cx, const char *text, size_t n, const char *node,
                       struct celery_request *ret)
{
    struct raw all, headers, body, reply;
    const char *inner;
    size_t len;
    double expires;

    *ret = (struct celery_request){0};
    try(raw_read(cx, text, n, MiB(1), &all));
    try(celery_body_of(cx, all, &inner, &len));
    try(raw_read(cx, inner, len, MiB(1), &body));
    headers = raw_get(all, "headers");
    reply = raw_get(body, "reply_to");
    ret->method = raw_str(cx, raw_get(body, "method"));
    if (!ret->method)
        return fail(cx, INVALID_FIELD, "a control message has no method");
    ret->ticket = raw_str(cx, raw_get(body, "ticket"));
    ret->arguments = raw_get(body, "arguments");
    ret->reply_exchange = raw_str(cx, raw_get(reply, "exchange"));
    ret->reply_key = raw_str(cx, raw_get(reply, "routing_key"));
    raw_int(raw_get(headers, "clock"), 0, 1LL << 52, &ret->clock);
    ret->mine = is_for(cx, body, node);
    if (raw_num(raw_get(headers, "expires"), &expires) && expires > 0 &&
        expires * 1000 < (double)clock_ms())
        ret->mine = false;
    return OK;
}

/* The queue that the asker has bound to its routing key: "key SEP pattern SEP queue". */
static rc find_queue(struct cx *cx, struct celery *c, const struct celery_request *q,
                     const char **ret)
{
    _cleanup_(redis_reply_freep) redisReply *members = NULL;
    const char *start = arena_printf(&cx->arena, "%s%s", q->reply_key, c->names.sep);

    *ret = NULL;
    try(redis_cmd(cx, c->broker, &members, "SMEMBERS %s_kombu.binding.%s", c->names.prefix,
                  q->reply_exchange));
    for (size_t i = 0; i < members->elements && *c->names.sep; i++) {
        const char *m = members->element[i]->str;
        const char *queue = starts_with(m, start) ? strstr(m + strlen(start), c->names.sep) : NULL;
        if (queue)
            *ret = arena_strdup(&cx->arena, queue + strlen(c->names.sep));
    }
    return OK;
}

rc celery_answer(struct cx *cx, struct celery *c, const struct celery_request *q,
                 struct celery_clock *k, const char *node, const char *answer, size_t len)
{
    _cleanup_(buf_release) struct buf body = BUF(CELERY_MESSAGE_MAX), headers = BUF(KiB(4)),
                                      b = BUF(CELERY_MESSAGE_MAX * 2);
    const char *queue;

    if (!q->reply_exchange || !q->reply_key)
        return OK;
    try(find_queue(cx, c, q, &queue));
    if (!queue)
        return OK;
    buf_putc(&body, '{');
    buf_json_str(&body, node);
    buf_putc(&body, ':');
    buf_append(&body, answer, len);
    buf_putc(&body, '}');
    buf_puts(&headers, "\"ticket\":");
    buf_json_str(&headers, q->ticket);
    buf_printf(&headers, ",\"clock\":%lld", (long long)++k->now);
    if (!buf_ok(&body))
        return fail(cx, BUFFER_FULL, "the answer is too large");
    celery_envelope_write(&b, buf_str(&headers), body.p, body.len, q->reply_exchange, q->reply_key);
    const char *key = arena_printf(&cx->arena, "%s%s", c->names.prefix, queue);
    try(redis_cmd(cx, c->broker, NULL, "LPUSH %s %b", key, b.p, b.len));
    return redis_cmd(cx, c->broker, NULL, "EXPIRE %s %d", key, REPLY_LIFE_S);
}

rc celery_broadcast(struct cx *cx, struct celery *c, struct celery_clock *k, const char *method,
                    const char *arguments)
{
    _cleanup_(buf_release) struct buf body = BUF(MiB(1)), headers = BUF(KiB(1)), b = BUF(MiB(2));

    buf_printf(&body,
               "{\"method\":\"%s\",\"arguments\":%s,\"destination\":null,\"pattern\":null,"
               "\"matcher\":null}",
               method, arguments);
    buf_printf(&headers, "\"clock\":%lld,\"expires\":null", (long long)++k->now);
    if (!buf_ok(&body))
        return fail(cx, BUFFER_FULL, "a control message is too large");
    celery_envelope_write(&b, buf_str(&headers), body.p, body.len, "celery.pidbox", "");
    return redis_cmd(cx, c->broker, NULL, "PUBLISH %s %b",
                     celery_channel(cx, c, "celery.pidbox", NULL), b.p, b.len);
}

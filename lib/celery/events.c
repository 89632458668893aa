/* events.c - one PUBLISH an event. */
#include "celery/events.h"
#include "base/clock.h"
#include <string.h>
#include <time.h>
#include <unistd.h>

void celery_clock_seen(struct celery_clock *k, int64_t other)
{
    k->now = MAX(k->now, other) + 1;
}

const char *celery_channel(struct cx *cx, const struct celery *c, const char *exchange,
                           const char *key)
{
    char *text = arena_printf(&cx->arena, "%s%s%s%s", c->names.fanout, exchange, key ? "/" : "",
                              key ? key : "");

    if (key)
        for (char *p = text + strlen(text) - strlen(key); *p; p++)
            *p = *p == '-' ? '.' : *p;
    return text;
}

/* Hours west of UTC, as readers expect it. */
static int hours_west(void)
{
    time_t now = time(NULL);
    struct tm tm;

    localtime_r(&now, &tm);
    return (int)(-tm.tm_gmtoff / 3600);
}

void celery_event_put(struct buf *b, struct celery_clock *k, const char *node, const char *type,
                      const char *fields)
{
    buf_puts(b, "{\"hostname\":");
    buf_json_str(b, node);
    buf_printf(
        b, ",\"utcoffset\":%d,\"pid\":%d,\"clock\":%lld,\"timestamp\":%.3f,\"type\":\"%s\"%s}",
        hours_west(), (int)getpid(), (long long)++k->now, (double)clock_ms() / 1000, type, fields);
}

rc celery_events_send(struct cx *cx, struct celery *c, const char *node, const char *key,
                      const char *body, size_t len)
{
    _cleanup_(buf_release) struct buf headers = BUF(KiB(4)), b = BUF(CELERY_MESSAGE_MAX * 2);
    const char *channel = celery_channel(cx, c, "celeryev", c->names.fanout_patterns ? key : NULL);

    buf_puts(&headers, "\"hostname\":");
    buf_json_str(&headers, node);
    celery_envelope_write(&b, buf_str(&headers), body, len, "celeryev", key);
    return redis_cmd(cx, c->broker, NULL, "PUBLISH %s %b", channel, b.p, b.len);
}

rc celery_event(struct cx *cx, struct celery *c, struct celery_clock *k, const char *node,
                const char *type, const char *fields)
{
    _cleanup_(buf_release) struct buf body = BUF(CELERY_MESSAGE_MAX);
    char *key = arena_strdup(&cx->arena, type);

    for (char *p = key; *p; p++)
        *p = *p == '-' ? '.' : *p;
    celery_event_put(&body, k, node, type, fields);
    if (!buf_ok(&body))
        return fail(cx, BUFFER_FULL, "an event is too large");
    return celery_events_send(cx, c, node, key, body.p, body.len);
}

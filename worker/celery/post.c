/* post.c - the events of this worker: heartbeats, and what becomes of tasks.
 *
 * Task events are gathered and sent by one fiber, several of a turn as one list (task.multi), so that no task waits
 * for who may be watching. */
#include "base/clock.h"
#include "base/log.h"
#include "worker/celery/consumer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HEART_MS   2000
#define GATHER_MAX MiB(1) /* events that wait for Redis; more are dropped */

void consumer_vitals(const struct consumer *c, struct buf *b)
{
    double load[3] = {0};

    if (getloadavg(load, 3) < 0)
        load[0] = load[1] = load[2] = 0;
    buf_printf(b,
               ",\"freq\":%.1f,\"active\":%zu,\"processed\":%lld,\"loadavg\":[%.2f,%.2f,%.2f],\"sw_"
               "ident\":\"mihwar\","
               "\"sw_ver\":\"" MIHWAR_VERSION "\",\"sw_sys\":\"Linux\"",
               HEART_MS / 1000.0, c->nruns, (long long)c->processed, load[0], load[1], load[2]);
}

static rc send_vitals(struct cx *cx, struct consumer *c, const char *type)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(4));

    consumer_vitals(c, &b);
    return celery_event(cx, c->celery, &c->clock, c->node, type, buf_str(&b));
}

void consumer_event(struct consumer *c, const char *type, const char *fields)
{
    if (!c->events_on)
        return;
    size_t before = c->events.len;
    buf_puts(&c->events, before ? "," : "");
    celery_event_put(&c->events, &c->clock, c->node, type, fields);
    if (!buf_ok(&c->events)) {
        c->events.full = false;
        c->events.len = before;
        log_ev(LOG_WARN, "celery.event_dropped", kv_str("type", type));
        return;
    }
    c->nevents++;
    if (c->post)
        fiber_wake(c->post);
}

/* What has been gathered, as one list. */
static rc send_gathered(struct cx *cx, struct consumer *c)
{
    _cleanup_(buf_release) struct buf all = BUF(GATHER_MAX + 16);

    if (c->nevents == 0)
        return OK;
    buf_putc(&all, '[');
    buf_append(&all, c->events.p, c->events.len);
    buf_putc(&all, ']');
    buf_reset(&c->events);
    c->nevents = 0;
    return celery_events_send(cx, c->celery, c->node, "task.multi", all.p, all.len);
}

static rc one_turn(struct cx *cx, struct consumer *c, bool heart)
{
    struct arena kept = cx->arena;

    cx->arena = (struct arena){0};
    rc r = send_gathered(cx, c);
    if (r == OK && heart)
        r = send_vitals(cx, c, "worker-heartbeat");
    arena_release(&cx->arena);
    cx->arena = kept;
    return r;
}

rc consumer_post(struct cx *cx, void *arg)
{
    struct consumer *c = arg;
    int64_t heart_at = clock_mono_ms() + HEART_MS;
    rc r = send_vitals(cx, c, "worker-online");

    while (!c->ended) {
        bool heart = c->heart || clock_mono_ms() >= heart_at;
        c->heart = false;
        if (heart)
            heart_at = clock_mono_ms() + HEART_MS;
        r = one_turn(cx, c, heart);
        if (r == E_CANCELLED)
            return r;
        if (r != OK)
            log_fail(LOG_DEBUG, "celery.events_not_sent", cx, r);
        if (c->nevents > 0 || c->ended)
            continue;
        _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
            cx_deadline_within(cx, MAX(heart_at - clock_mono_ms(), (int64_t)1));
        r = fiber_park(cx);
        if (r == E_CANCELLED)
            return r;
    }
    (void)one_turn(cx, c, false);
    return send_vitals(cx, c, "worker-offline");
}

/* order_events.c - an order's timeline: as a page, or live.
 *
 *   watch the order -> send what is there -> wait for a notice -> send what is new -> ... -> end
 *
 * Event ids grow within an order, so a client that reconnects says the last one it saw
 * (Last-Event-ID) and misses nothing. */
#include "base/text.h"
#include "domain/orders/orders.h"
#include "hub/api/api.h"
#include "hub/hub.h"
#include "hub/realtime/order_feed.h"
#include "hub/realtime/sse.h"
#include <stdio.h>
#include <string.h>

#define PAGE         500
#define HEARTBEAT_MS 15000

static rc read_after(struct cx *cx, const struct request *q, const char *text, int64_t *ret)
{
    *ret = -1;
    if (text && !parse_int(text, -1, INT64_MAX, ret))
        return fail_at(cx, INVALID_FIELD, "/after", "after must be the id of an event");
    return OK;
}

static rc reply_page(struct cx *cx, struct request *q, const char *id)
{
    struct order_event *e;
    size_t n;
    int limit;
    int64_t after;

    try(request_limit(cx, q, &limit));
    try(read_after(cx, q, request_query(cx, q, "after"), &after));
    try(order_events(cx, q->hub->db, id, after, limit, &e, &n));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        try(order_event_json(cx, &e[i], &q->out));
    }
    if (n == (size_t)limit)
        buf_printf(&q->out, "],\"next\":\"%lld\"}", (long long)e[n - 1].id);
    else
        buf_puts(&q->out, "],\"next\":null}");
    return reply_json(cx, q, 200);
}

/* Sends what came after *last. *ret_more is false when the caller has gone. Memory of a page ends
 * with it: a stream may live long. */
static rc send_new(struct cx *cx, struct sse *s, const char *id, int64_t *last, bool *ret_more)
{
    struct arena keep = cx->arena;
    rc r = OK;

    cx->arena = (struct arena){0};
    for (bool full = true; full && r == OK && *ret_more;) {
        struct order_event *e = NULL;
        size_t n = 0;
        r = order_events(cx, s->q->hub->db, id, *last, PAGE, &e, &n);
        for (size_t i = 0; r == OK && i < n && *ret_more; i++) {
            char text[24];
            snprintf(text, sizeof text, "%lld", (long long)e[i].id);
            buf_reset(&s->q->out);
            r = order_event_json(cx, &e[i], &s->q->out);
            if (r == OK)
                *ret_more = sse_event(s, text, e[i].kind, buf_str(&s->q->out));
            *last = e[i].id;
        }
        full = n == PAGE;
    }
    arena_release(&cx->arena);
    cx->arena = keep;
    return r;
}

static rc is_final(struct cx *cx, struct request *q, const char *id, bool *ret)
{
    struct arena keep = cx->arena;
    struct order o;
    rc r;

    cx->arena = (struct arena){0};
    r = order_load(cx, q->hub->db, q->who.tenant_id, id, &o);
    if (r == OK)
        *ret = order_status_final(o.status);
    arena_release(&cx->arena);
    cx->arena = keep;
    return r;
}

static rc follow(struct cx *cx, struct request *q, const char *id, int64_t last)
{
    struct feed_watch w;
    struct sse s;
    bool more = true, final = false;
    rc r = OK;

    order_watch(cx, q->hub->feed, id, &w);
    sse_open(cx, &s, q);
    while (more && !s.closed && !q->hub->draining && r == OK) {
        /* the status is read before the events: a change in between shows in the events and in the
         * next round */
        r = is_final(cx, q, id, &final);
        if (r == OK)
            r = send_new(cx, &s, id, &last, &more);
        if (r != OK || !more || final)
            break;
        r = order_wait(cx, &w, &s.closed, HEARTBEAT_MS);
        if (r == E_DEADLINE && cx_left_ms(cx) > 0) {
            more = sse_heartbeat(&s);
            r = OK;
        }
    }
    sse_close(&s);
    order_unwatch(&w);
    return r == E_DEADLINE
               ? OK
               : r; /* the stream's own time is over: the client comes back with Last-Event-ID */
}

rc orders_events(struct cx *cx, struct request *q)
{
    const char *accept = request_header(q, "Accept"), *seen = request_header(q, "Last-Event-ID");
    struct order o;
    char id[ID_LEN + 1];
    int64_t after;

    try(request_param_id(cx, q, 0, "order", id));
    try(order_load(cx, q->hub->db, q->who.tenant_id, id, &o));
    if (q->head || !accept || !strstr(accept, "text/event-stream"))
        return reply_page(cx, q, id);
    try(read_after(cx, q, seen ? seen : request_query(cx, q, "after"), &after));
    return follow(cx, q, id, after);
}

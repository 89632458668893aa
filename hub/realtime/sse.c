/* sse.c - events on an evhttp connection.
 *
 * evhttp stops reading while a request is under way; here reading is switched on again (behind a
 * small watermark), since that is how a caller who hangs up is noticed. The fiber sleeps in the
 * handler's own wait and is woken by the close. */
#include "hub/realtime/sse.h"
#include "hub/hub.h"
#include "hub/metrics.h"
#include "rt/fiber.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>

#define WAITING_MAX MiB(1)
#define WRITE_STALL 60 /* seconds without progress before the connection is given up */

static void on_close(struct evhttp_connection *conn, void *arg)
{
    struct sse *s = arg;

    (void)conn;
    s->closed = true;
    fiber_wake(s->q->streaming_fiber);
}

void sse_open(struct cx *cx, struct sse *s, struct request *q)
{
    struct evhttp_connection *conn = evhttp_request_get_connection(q->ev);

    *s = (struct sse){.q = q, .closed = conn == NULL};
    q->streaming = true;
    q->streaming_fiber = cx->fiber;
    q->status = 200;
    metric_add(q->hub->metrics, METRIC_STREAMS, 1);
    reply_header(q, "Content-Type", "text/event-stream");
    reply_header(q, "Cache-Control", "no-store");
    reply_header(q, "X-Accel-Buffering", "no");
    reply_header(q, "Connection", "close");
    evhttp_send_reply_start(q->ev, 200, "OK");
    if (conn) {
        struct bufferevent *bev = evhttp_connection_get_bufferevent(conn);
        struct timeval stall = {.tv_sec = WRITE_STALL};
        evhttp_connection_set_closecb(conn, on_close, s);
        bufferevent_setwatermark(bev, EV_READ, 0, KiB(4));
        bufferevent_set_timeouts(bev, NULL, &stall);
        bufferevent_enable(bev, EV_READ);
    }
}

static bool send_text(struct sse *s, const struct buf *b)
{
    struct evhttp_connection *conn = s->closed ? NULL : evhttp_request_get_connection(s->q->ev);
    struct evbuffer *chunk;

    if (!conn || !buf_ok(b))
        return false;
    if (evbuffer_get_length(bufferevent_get_output(evhttp_connection_get_bufferevent(conn))) >
        WAITING_MAX)
        return false;
    chunk = evbuffer_new();
    if (!chunk)
        return false;
    evbuffer_add(chunk, b->p, b->len);
    evhttp_send_reply_chunk(s->q->ev, chunk);
    evbuffer_free(chunk);
    return true;
}

bool sse_event(struct sse *s, const char *id, const char *event, const char *data_one_line)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(64));

    buf_printf(&b, "id: %s\nevent: %s\ndata: %s\n\n", id, event, data_one_line);
    return send_text(s, &b);
}

bool sse_heartbeat(struct sse *s)
{
    _cleanup_(buf_release) struct buf b = BUF(64);

    buf_puts(&b, ": still here\n\n");
    return send_text(s, &b);
}

void sse_close(struct sse *s)
{
    struct evhttp_connection *conn = s->closed ? NULL : evhttp_request_get_connection(s->q->ev);

    if (conn)
        evhttp_connection_set_closecb(conn, NULL, NULL);
    metric_add(s->q->hub->metrics, METRIC_STREAMS, -1);
}

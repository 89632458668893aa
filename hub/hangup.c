/* hangup.c - see hangup.h. */
#include "hub/hangup.h"
#include "hub/hub.h"
#include "hub/metrics.h"
#include "hub/server.h"
#include "rt/fiber.h"
#include <event2/http.h>

static void on_hangup(void *arg)
{
    struct hangup *h = arg;

    h->gone = true;
    h->watching = false;
    fiber_cancel(h->fiber);
}

void hangup_watch(struct cx *cx, struct hangup *h, struct request *q)
{
    *h = (struct hangup){.q = q, .fiber = cx->fiber, .watching = true};
    if (evhttp_request_get_connection(q->ev))
        server_watch(q->hub->server, q, on_hangup, h);
    else
        on_hangup(h);
}

void hangup_end(struct hangup *h)
{
    if (h->watching)
        server_unwatch(h->q->hub->server, h->q);
    h->watching = false;
    if (h->gone)
        fiber_cx(h->fiber)->cancelled = false;
}

rc hangup_reply(struct cx *cx, struct request *q)
{
    metric_add(q->hub->metrics, METRIC_ABANDONED, 1);
    buf_reset(&q->out);
    return reply_json(cx, q, 200);
}

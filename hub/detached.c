/* detached.c - what stays of evhttp on a connection that has left it.
 *
 * evhttp_connection_free shuts the socket down, so the evhttp_connection cannot go before the connection does: it stays
 * as a shell of half a kilobyte, with its request, whose headers are dropped. Without its callbacks it does nothing. */
#include "hub/detached.h"
#include "hub/handshake.h"
#include "hub/hub.h"
#include "hub/server.h"
#include "hub/visitors.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdlib.h>

struct detached {
    struct evhttp_connection *conn;
    struct bufferevent *bev;
    struct visitor *visitor;
};

static void send_head(struct bufferevent *bev, const struct evkeyvalq *headers)
{
    struct evbuffer *out = bufferevent_get_output(bev);

    evbuffer_add_printf(out, "HTTP/1.1 101 Switching Protocols\r\n");
    for (const struct evkeyval *h = headers->tqh_first; h; h = h->next.tqe_next)
        evbuffer_add_printf(out, "%s: %s\r\n", h->key, h->value);
    evbuffer_add_printf(out, "\r\n");
}

rc server_detach(struct cx *cx, struct request *q, const struct detached_opts *o,
                 struct detached **ret)
{
    struct evhttp_connection *conn = evhttp_request_get_connection(q->ev);
    struct evkeyvalq *in = evhttp_request_get_input_headers(q->ev);
    struct evkeyvalq *out = evhttp_request_get_output_headers(q->ev);
    struct bufferevent *bev;
    struct detached *d;

    if (!conn)
        return fail(cx, BAD_REQUEST, "the caller has hung up");
    if (q->hub->draining)
        return fail(cx, OVERLOADED, "this hub is going away");
    bev = evhttp_connection_get_bufferevent(conn);
    bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
    bufferevent_set_timeouts(bev, NULL, NULL);
    bufferevent_setwatermark(bev, EV_READ | EV_WRITE, 0, 0);
    send_head(bev, out);
    bufferevent_enable(bev, EV_WRITE);
    evhttp_clear_headers(in);
    evhttp_clear_headers(out);

    d = xcalloc(1, sizeof *d);
    *d = (struct detached){.conn = conn, .bev = bev};
    d->visitor = server_forget(q->hub->server, q, o->on_unwelcome, o->arg);
    q->ev = NULL;
    q->body = "";
    q->body_len = 0;
    q->status = 101;
    *ret = d;
    return OK;
}

struct bufferevent *detached_bev(const struct detached *d)
{
    return d->bev;
}

struct detached *detached_free(struct detached *d)
{
    if (d) {
        SSL *ssl = tls_of(d->bev);
        if (ssl)
            tls_goodbye(ssl);
        bufferevent_setcb(d->bev, NULL, NULL, NULL, NULL);
        evhttp_connection_free(d->conn);
        visitor_leave(d->visitor);
        free(d);
    }
    return NULL;
}

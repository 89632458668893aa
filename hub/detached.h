/* detached.h - a connection that leaves HTTP: a request asked for an upgrade (WebSocket), and from its 101 on the
 * connection belongs to who took it. The same on both doors: TLS stays inside the bufferevent.
 *
 *     reply_header(q, "Upgrade", "websocket");         the head of the 101, beside X-Request-Id
 *     reply_header(q, "Connection", "Upgrade");
 *     struct detached *d;
 *     try(server_detach(cx, q, &(struct detached_opts){.on_unwelcome = …, .arg = session}, &d));
 *     bufferevent_setcb(detached_bev(d), …);           at once: before anything that parks
 *     bufferevent_enable(detached_bev(d), EV_READ | EV_WRITE);
 *     read_what_came(session);                         bytes behind the request wait in the input already
 *     return OK;                                       hub_queue_max and the drain count it no longer
 *     ...
 *     d = detached_free(d);                            closes it (TLS: with close_notify)
 *
 * What is in the output when it is freed is not sent: wait until the output is empty for a last word. Nobody watches
 * such a connection but its owner: silence, slowness, ceilings on its buffers and the drain are the owner's.
 * server_free comes after the last detached_free. */
#pragma once
#include "hub/request.h"

struct bufferevent;
struct detached;

struct detached_opts {
    /* The peer's certificate is not let in any more (revoked, its CA gone, expired): end the connection. Called on a fiber of
     * the hub's, must not park; may call detached_free. NULL: the bufferevent's event callback hears BEV_EVENT_ERROR. */
    void (*on_unwelcome)(void *arg);
    void *arg;
};
/* Sends 101 with the reply headers so far. From then on q->ev is NULL: headers, query and body of the request are gone,
 * path, params, who, peer, door and cert_name stay until the handler returns. OVERLOADED: the hub is going away;
 * BAD_REQUEST: the caller has hung up. On failure the request is as it was. Does not park. */
rc server_detach(struct cx *cx, struct request *q, const struct detached_opts *o,
                 struct detached **ret);
/* No callbacks, no timeouts, no watermarks, writing enabled. Its descriptor is closed by detached_free. */
struct bufferevent *detached_bev(const struct detached *d);
/* May be called in one of its own callbacks. NULL in, NULL out. */
struct detached *detached_free(struct detached *d);

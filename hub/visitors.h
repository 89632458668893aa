/* visitors.h - the connections of one door: what evhttp does not watch.
 *
 *   accept --> bufferevent made here --> [TLS: handshake.h] --> evhttp parses --> on_request
 *                |  first byte of a request: a clock starts; not complete within limit_ms: closed
 *                |  a handshake has a clock of its own, from the accept on
 *                `- evhttp's own error page (a request that it cannot parse): rewritten as problem+json (pages.h)
 *
 * evhttp's timeout begins anew with every byte, so a caller who drips one byte at a time would keep
 * its connection for ever. When there are no descriptors left, or handshakes_max connections are in their handshake,
 * accepting pauses instead of spinning: the kernel keeps the next ones. In such a crowd a handshake may take a tenth
 * of its time only, so that silent connections make room. */
#pragma once
#include "base/cx.h"
#include "hub/pages.h"
#include <event2/http.h>

struct tls;
struct visitor;
struct visitors;

struct visitors_opts {
    int64_t limit_ms; /* from the first byte of a request to its last */
    struct pages pages;
    struct metrics *metrics;
    /* TLS */
    const struct tls *tls; /* NULL: plain */
    int64_t handshake_ms;
    size_t handshakes_max;
    /* Somebody was refused, or is let in no more. ip "": gone already; name: whom the certificate names, "" if nobody; why: words. */
    void (*on_refused)(void *arg, const char *ip, const char *name, const char *why);
    void *arg;
};
/* Before anybody is accepted by http. */
struct visitors *visitors_new(struct evhttp *http, const struct visitors_opts *o);
/* The listener's socket: accepting may pause. */
void visitors_watch_accept(struct visitors *v, struct evhttp_bound_socket *bound);
/* Before that socket is closed. */
void visitors_forget_accept(struct visitors *v);
/* A complete request came over this connection. The name in its certificate, "" on a plain door; good until the connection
 * ends. */
const char *visitors_asked(struct visitors *v, struct evhttp_connection *conn);

/* A request of this connection waits: on_hangup is called, once, when its caller leaves meanwhile. Until visitors_unwatch,
 * which must come before the reply; not behind the end of the connection. */
void visitors_watch(struct visitors *v, struct evhttp_connection *conn,
                    void (*on_hangup)(void *arg), void *arg);
void visitors_unwatch(struct visitors *v, struct evhttp_connection *conn);
/* A fiber has given a reply to evhttp: on a plain door it is written before the loop polls again, with those of others, instead of
 * by it, which would cost two changes of what the kernel watches. The connection may be gone afterwards. Fibers only: were the loop
 * to write the reply in between, evhttp would be told of its end twice. */
void visitors_write(struct visitors *v, struct evhttp_connection *conn);

/* Somebody else looks after this connection from now on (detached.h); only its certificate is still watched. */
struct visitor *visitors_detach(struct visitors *v, struct evhttp_connection *conn,
                                void (*on_unwelcome)(void *arg), void *arg);
/* It has ended. */
void visitor_leave(struct visitor *it);

/* Ends every connection whose certificate has expired; by_files: also those that would not be let in any more by what
 * the files say now. Parks every few milliseconds; one at a time. */
rc visitors_recheck(struct cx *cx, struct visitors *v, bool by_files) MW_PARKS;

/* Does any connection have bytes of a reply that are not written yet? */
bool visitors_unsent(const struct visitors *v);
/* After evhttp_free. */
struct visitors *visitors_free(struct visitors *v);

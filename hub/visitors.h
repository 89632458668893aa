/* visitors.h - the connections of the listener: what evhttp does not watch.
 *
 *   accept --> bufferevent made here --> evhttp parses --> on_request
 *                |  first byte of a request: a clock starts; not complete within limit_ms: closed
 *                `- evhttp's own error page (a request that it cannot parse): rewritten as problem+json
 *
 * evhttp's timeout begins anew with every byte, so a caller who drips one byte at a time would keep
 * its connection for ever; and its error pages are HTML without X-Request-Id. When there are no
 * descriptors left, accepting pauses instead of spinning. */
#pragma once
#include "base/util.h"
#include <event2/http.h>

struct metrics;
struct visitors;

struct visitors_opts {
    int64_t limit_ms;   /* from the first byte of a request to its last */
    long long body_max; /* for the words of 413 */
    long headers_max;   /* for those of 400 */
    struct metrics *metrics;
};
/* Before anybody is accepted by http. */
struct visitors *visitors_new(struct evhttp *http, const struct visitors_opts *o);
/* The listener's socket: what to do when accepting fails. */
void visitors_watch_accept(struct visitors *v, struct evhttp_bound_socket *bound);
/* Before that socket is closed. */
void visitors_forget_accept(struct visitors *v);
/* A complete request came over this connection. */
void visitors_asked(struct visitors *v, struct evhttp_connection *conn);
/* Somebody else looks after this connection from now on. */
void visitors_forget(struct visitors *v, struct evhttp_connection *conn);
/* Does any connection have bytes of a reply that are not written yet? */
bool visitors_unsent(const struct visitors *v);
/* After evhttp_free. */
struct visitors *visitors_free(struct visitors *v);

/* sse.h - a reply that goes on: server-sent events (WHATWG HTML §9.2) over the request's
 * connection. */
#pragma once
#include "hub/request.h"

struct sse {
    struct request *q;
    bool closed; /* the caller has hung up */
};

/* Sends the status and headers; from here on the handler writes events and returns OK. */
void sse_open(struct cx *cx, struct sse *s, struct request *q);
/* False when the caller has hung up or reads too slowly (more than 1 MiB waits for it): end the
 * stream. */
bool sse_event(struct sse *s, const char *id, const char *event, const char *data_one_line);
/* A comment line, so that a dead connection is noticed and proxies keep it open. */
bool sse_heartbeat(struct sse *s);
/* Before the handler returns: the connection no longer knows this frame. */
void sse_close(struct sse *s);

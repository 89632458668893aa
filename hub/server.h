/* server.h - the listener: one fiber per request, with ceilings on everything that a visitor can
 * make grow.
 *
 *   connections   hub_connections_max   more: 503, closed
 *   requests      hub_queue_max         more: 503 with Retry-After, before anything was accepted
 *   headers       16 KiB                more: 400
 *   body          hub_body_max          more: 413
 *   silence       hub_idle_timeout      longer: closed
 *   a request     hub_idle_timeout      longer from its first byte to its last: closed
 */
#pragma once
#include "hub/hub.h"

struct evhttp_connection;
struct server;

/* "127.0.0.1:8080", "[::1]:0": reserves the address for all children (SO_REUSEPORT) without
 * listening on it; *ret_port is the port bound. CONFIG for an address that is none or taken. In the
 * parent; the descriptor stays open. */
rc server_reserve(struct cx *cx, const char *listen, int *ret_fd, int *ret_port);
/* In a child: listens on the reserved address. OS. */
rc server_open(struct cx *cx, struct hub *hub, int reserved_fd, struct server **ret);
/* Takes no more connections; requests under way go on, their connections are closed after the
 * reply. */
void server_stop(struct server *s);
/* Waits until no request is under way; DEADLINE after grace_ms. Parks. */
rc server_drained(struct cx *cx, struct server *s, int64_t grace_ms) MW_PARKS;
size_t server_in_flight(const struct server *s);
/* A connection is taken over (detached.h): nobody here looks after it any more. */
void server_forget(struct server *s, struct evhttp_connection *conn);
/* After loop_run: replies that were given but not written yet leave, within a second; whoever asks
 * now is refused. */
void server_flush(struct server *s);
/* No request may be under way, and no detached connection left. */
struct server *server_free(struct server *s);

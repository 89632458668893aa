/* server.h - behind the doors: one fiber per request, with ceilings on everything that a visitor can
 * make grow.
 *
 *   connections   hub_connections_max   more: 503, closed
 *   requests      hub_queue_max         more: 503 with Retry-After, before anything was accepted
 *   headers       16 KiB                more: 400
 *   body          hub_body_max          more: 413
 *   silence       hub_idle_timeout      longer: closed
 *   a request     hub_idle_timeout      longer from its first byte to its last: closed
 *   a handshake   mtls_handshake        longer: closed; mtls_handshakes_max at a time, the next ones wait
 */
#pragma once
#include "hub/door.h"
#include "hub/hub.h"

struct server;
struct visitor;

/* Reserves the addresses of all doors that the settings name (door.h). In the parent. CONFIG. */
rc server_reserve(struct cx *cx, const struct settings *s, struct door_address ret[DOOR_KINDS]);
/* In a child: listens on the reserved addresses. OS. */
rc server_open(struct cx *cx, struct hub *hub, const struct door_address at[DOOR_KINDS],
               struct server **ret);
/* SIGHUP: the doors read their files anew. */
void server_reload(struct server *s);
/* Takes no more connections; requests under way go on, their connections are closed after the
 * reply. */
void server_stop(struct server *s);
/* Waits until no request is under way; DEADLINE after grace_ms. Parks. */
rc server_drained(struct cx *cx, struct server *s, int64_t grace_ms) MW_PARKS;
size_t server_in_flight(const struct server *s);
/* Its connection is taken over (detached.h): nobody here looks after it any more. */
struct visitor *server_forget(struct server *s, const struct request *q,
                              void (*on_unwelcome)(void *arg), void *arg);
/* hangup.h: is the caller still there? */
void server_watch(struct server *s, const struct request *q, void (*on_hangup)(void *arg),
                  void *arg);
void server_unwatch(struct server *s, const struct request *q);
/* After loop_run: replies that were given but not written yet leave, within a second; whoever asks
 * now is refused. */
void server_flush(struct server *s);
/* No request may be under way, and no detached connection left. */
struct server *server_free(struct server *s);

/* cluster.h - many Redis servers that share the keys among them. Of lib/redis only.
 *
 *   command --key--> slot --map--> node ──> [one connection]      (wire.h)
 *                            ^               |
 *                            |               |- MOVED: the map was old: noted, sent again there
 *      CLUSTER SLOTS <-------'               |- ASK: this key has moved already: sent there once
 *      (asked of any node, after             |- TRYAGAIN, CLUSTERDOWN: sent again after a pause
 *       MOVED and when a node is gone)       `- no connection: the map is asked for again
 *
 * Every repetition is of a command that did not run; one that may have run is STORE_DOUBT as
 * everywhere. A node that was away for a second is waited for no longer: STORE_DOWN at once, so that
 * who serves many queues goes on with the others. */
#pragma once
#include "base/cx.h"
#include "redis/url.h"
#include <hiredis/hiredis.h>

struct cluster;

/* Takes the URL over. ready: called from the loop when a connection to any node was made. Error:
 * CONFIG. */
rc cluster_new(struct cx *cx, struct redis_url *u, void (*ready)(void *), void *arg,
               struct cluster **ret);
struct cluster *cluster_free(struct cluster *c);

/* As wire_call; the replies are in the order of the commands, whichever node gave them. */
rc cluster_call(struct cx *cx, struct cluster *c, const char *resp, size_t len, size_t n,
                redisReply **replies, bool patience) MW_PARKS;

/* See redis_take_first. Each key is waited for on a connection of its own, also between two calls:
 * what was taken meanwhile is the next call's. */
rc cluster_take_first(struct cx *cx, struct cluster *c, const char *const *keys, size_t n,
                      int64_t ms, size_t *ret_which) MW_PARKS;

/* The nodes that hold slots; asks for the map when there is none. Parks. */
rc cluster_count(struct cx *cx, struct cluster *c, size_t *ret_n) MW_PARKS;
/* One command to the i-th of them, whatever its keys; name: of at least 64 bytes, host:port. NOT_FOUND when there are
 * fewer by now. Parks. */
rc cluster_ask(struct cx *cx, struct cluster *c, size_t i, const char *resp, size_t len,
               redisReply **ret, char *name) MW_PARKS;

bool cluster_connected(const struct cluster *c);
uint64_t cluster_generation(const struct cluster *c);

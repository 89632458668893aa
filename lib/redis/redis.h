/* redis.h - Redis over our own bufferevents, with hiredis's formatter and reader.
 *
 *   fiber A --cmd--.                        .--reply--> A
 *   fiber B --cmd--+--> [one connection] ---+--reply--> B     pipelined, answered in order
 *   fiber C --cmd--'                        '--reply--> C
 *
 * A struct redis is one logical connection that reconnects by itself (50 ms doubling to 2 s, full
 * jitter). How a command can end, besides with its reply:
 *
 *   STORE_DOWN   never written: no connection until the context's deadline (5 s when it has none)
 *   STORE_DOUBT  written, and the reply was lost with the connection (or did not come within those
 *                5 s): it may have run
 *   DEADLINE     written, and the context's deadline came first: it may have run
 *   CANCELLED    the words say whether it may have run
 *
 * A fiber that gives up leaves its slot behind: its late reply is dropped. Blocking commands (BLPOP,
 * BZPOPMIN) need a struct redis of their own, and a deadline beyond their own timeout.
 *
 * URLs: unix:/path[?db=1], redis://[user[:password]@]host[:port][/db],
 * redis-sentinel://host,host/MASTER, redis-cluster://host,host; with rediss in front of each: TLS
 * (peer verified against the system's CAs or ?ca=FILE; ?cert=&key=: ours). HELLO/AUTH/SELECT are sent first on every new
 * connection.
 */
#pragma once
#include "base/cx.h"
#include <hiredis/hiredis.h>

struct redis;

/* Opens nothing yet; CONFIG for a URL that is none. Free with redis_free (fails everything that
 * waits). */
rc redis_new(struct cx *cx, const char *url, struct redis **ret);
struct redis *redis_free(struct redis *r);

/* Send and wait. *ret is the caller's (freeReplyObject / redis_reply_freep). A reply of type ERROR
 * is returned as failure REDIS with Redis' words (also OOM, READONLY, LOADING: words begin with
 * that code), *ret untouched. ret may be NULL. Parks. */
rc redis_argv(struct cx *cx, struct redis *r, redisReply **ret, int argc, const char **argv,
              const size_t *lens) MW_PARKS;
/* hiredis format: "SET %s %b". */
rc redis_cmd(struct cx *cx, struct redis *r, redisReply **ret, const char *fmt, ...) MW_PARKS;
/* Pre-formatted RESP with n replies expected; replies[n] are the caller's; errors stay in them. For
 * bulk work. On a cluster each command goes to the node of its key: those of one node keep their
 * order among them, and replies are in the order of the commands. Parks. */
rc redis_pipeline(struct cx *cx, struct redis *r, const char *resp, size_t len, size_t n,
                  redisReply **replies) MW_PARKS;
void redis_reply_freep(redisReply **p); /* for _cleanup_ */

/* Sleeps until one of these sorted sets has a member, which is taken away (*ret_which), or for ms
 * (*ret_which = n). One BZPOPMIN; on a cluster one for each key, which stay on between two calls:
 * what they took is the next call's. Needs a struct redis of its own, and always the same keys. Parks. */
rc redis_take_first(struct cx *cx, struct redis *r, const char *const *keys, size_t n, int64_t ms,
                    size_t *ret_which) MW_PARKS;

/* How many servers hold keys: 1 unless it is a cluster, whose map is asked for if need be. Parks. */
rc redis_nodes(struct cx *cx, struct redis *r, size_t *ret_n) MW_PARKS;
/* One command to one of them (0 to n - 1), whatever its keys. name: 64 bytes; "host:port" of a cluster's node, "" of a
 * single server. NOT_FOUND when there are fewer by now; otherwise as redis_cmd. Parks. */
rc redis_node_cmd(struct cx *cx, struct redis *r, size_t node, redisReply **ret, char *name,
                  const char *fmt, ...) MW_PARKS;

/* Keys lie on several servers, of which one can be away while the others are not. */
bool redis_is_cluster(const struct redis *r);
/* Now. Of a cluster: some node is, and the map is known. */
bool redis_connected(const struct redis *r);
/* Counts connections made: a caller that sees another number than before has lost server-side
 * state. */
uint64_t redis_generation(const struct redis *r);
/* What Redis calls the connection that was made last (CLIENT ID), also when it is lost by now; 0: it did not say, or a
 * cluster. Good for as long as that server runs. */
int64_t redis_client_id(const struct redis *r);
/* Called from the loop after each (re)connection (of a cluster: to any node) is ready, before waiting
 * commands go out; may be NULL. */
void redis_on_connect(struct redis *r, void (*fn)(void *), void *arg);

/* What subscriptions bring ("message", "pmessage"), from the loop's stack; the reply is freed afterwards. The connection
 * is then for SUBSCRIBE, PSUBSCRIBE (each with one channel) and PING; subscribe again when it was made anew
 * (redis_on_connect). Not on a cluster. */
void redis_on_push(struct redis *r, void (*fn)(void *, const redisReply *), void *arg);

/* A Lua script: made by the build from NAME.lua (SCRIPT_NAME). KEYS count is in the file's first
 * lines ("-- KEYS: 3"). */
struct script {
    const char *name, *body, *sha1; /* hex */
    int keys;
};
/* EVALSHA; on NOSCRIPT the call is repeated once with the script itself. keys first, then args, in
 * argv (argc of both). On a cluster all keys must be of one slot. */
rc redis_eval(struct cx *cx, struct redis *r, redisReply **ret, const struct script *s, int argc,
              const char **argv, const size_t *lens) MW_PARKS;
/* The same behind a wait, both in one write: sleeps until the sorted set `key` has a member, which is taken away, or for ms;
 * then Redis carries the script out at once. *ret_waited = false: the wait was refused, the script ran all the same.
 * Needs a struct redis of its own. STORE_DOUBT, DEADLINE, CANCELLED: the script may yet run, for as long as Redis keeps the
 * connection (redis_client_id). Not on a cluster. Parks. */
rc redis_wait_eval(struct cx *cx, struct redis *r, redisReply **ret, bool *ret_waited,
                   const char *key, int64_t ms, const struct script *s, int argc, const char **argv,
                   const size_t *lens) MW_PARKS;

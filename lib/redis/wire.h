/* wire.h - one connection, and who waits for which of its replies. Of lib/redis only; how a call can
 * end is told in redis.h. */
#pragma once
#include "base/cx.h"
#include "redis/url.h"
#include <hiredis/hiredis.h>

#define PATIENCE_MS 5000 /* of a context without a deadline */

struct wire;

/* Takes the URL over. With sentinels (REDIS_SENTINEL) it goes to the master that they name, and
 * after it when it moves. any_role: see link_new. `ready` (may be NULL): called from the loop after
 * each connection is made, before waiting commands go out. Error: CONFIG. */
rc wire_new(struct cx *cx, struct redis_url *u, bool any_role, void (*ready)(void *), void *arg,
            struct wire **ret);
struct wire *wire_free(struct wire *c); /* fails everything that waits */

/* How long: */
struct wire_limits {
    bool patience; /* the context had no deadline and got one of PATIENCE_MS: the words say so */
    int64_t unsent_ms; /* a command that could not leave for so long is STORE_DOWN; 0: until the
                          deadline */
};
/* Sends len bytes and waits for n replies. They are all there or, on failure, all NULL. Parks. */
rc wire_call(struct cx *cx, struct wire *c, const char *resp, size_t len, size_t n,
             redisReply **replies, struct wire_limits limits) MW_PARKS;

/* What subscriptions bring: see redis_on_push. */
void wire_on_push(struct wire *c, void (*fn)(void *, const redisReply *), void *arg);
void wire_start(struct wire *c); /* opens it before there is something to send */
bool wire_ready(const struct wire *c);
bool wire_idle(const struct wire *c); /* nobody waits for it */
/* Openings that failed since it was ready last. */
unsigned wire_tries(const struct wire *c);
const char *wire_why(const struct wire *c);     /* the last failure, in words */
uint64_t wire_generation(const struct wire *c); /* connections made */
int64_t wire_client_id(const struct wire *c);   /* see redis_client_id */

/* sentinel.h - asks Redis Sentinels where the master is, and listens for its moving. Of lib/redis
 * only.
 *
 *   asked --> [one of the sentinels] --GET-MASTER-ADDR-BY-NAME--> found(host, port)
 *                     |  ^
 *                     |  `-- next sentinel: no answer, master unknown, or what it said led nowhere
 *                     `----- +switch-master (subscribed) -------> found(host, port)
 *
 * One connection, kept. All of it runs on the loop's stack. */
#pragma once
#include "redis/url.h"

struct sentinel;
struct sentinel_events {
    void (*found)(void *arg, const char *host, int port); /* in answer, or because it moved */
    void (*failed)(void *arg, const char *why);           /* each of them was tried, none told */
};

/* u: of REDIS_SENTINEL, borrowed for the call. Error: CONFIG (TLS files). */
rc sentinel_new(struct cx *cx, const struct redis_url *u, const struct sentinel_events *e,
                void *arg, struct sentinel **ret);
struct sentinel *sentinel_free(struct sentinel *s);

/* Where is it? Ends in found or failed. Asked again before it was reached there: another sentinel
 * is asked, for this one may be cut off from the others. */
void sentinel_ask(struct sentinel *s);
void sentinel_reached(struct sentinel *s); /* the master was there, and is one */

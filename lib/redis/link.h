/* link.h - a connection that opens, greets, and opens again by itself. Of lib/redis only.
 *
 *   off --start--> opening --connected--> greeting --answers good--> ready
 *                     ^  |                   |                         |
 *                     |  `----- failed ------+-------- lost -----------'
 *                     |                      v
 *                     `----- timer ------ resting     random in [0, 50 ms · 2^n], at most 2 s
 *
 * With `locate` each opening begins by asking where (the owner answers with link_located); a URL
 * with places is opened at the next one each time.
 *
 * It turns bytes into replies and knows nothing of who waits for which. All of it runs on the
 * loop's stack; link_start and link_write may be called from fibers. */
#pragma once
#include "redis/url.h"
#include <hiredis/hiredis.h>

struct link;
struct link_events {
    /* Greeted: link_write works from here on. client_id: what Redis calls this connection, or 0. */
    void (*ready)(void *arg, int64_t client_id);
    void (*reply)(void *arg, redisReply *r); /* the taker's from now on */
    /* It was ready and is no more. taken: of the bytes given to link_write since then, so many have
     * left for Redis. */
    void (*lost)(void *arg, uint64_t taken, const char *why);
    /* NULL, or: where is it? Answered with link_located or link_not_located, now or later. */
    void (*locate)(void *arg);
    /* May be NULL. It could not be opened; it rests and tries again. */
    void (*failed)(void *arg, const char *why);
};

/* Takes the URL over (*u is emptied, also on failure). any_role: a replica is as good (a node of a
 * cluster says by itself what it does not have). Error: CONFIG (TLS files). */
rc link_new(struct cx *cx, struct redis_url *u, bool any_role, const struct link_events *e,
            void *arg, struct link **ret);
struct link *link_free(struct link *l); /* silently: `lost` is not called */

void link_start(struct link *l); /* at the latest before the first write; again does nothing */
bool link_ready(const struct link *l);
unsigned link_tries(const struct link *l); /* openings that failed since it was ready last */
/* Where it is, in answer to `locate` or because that has changed: a connection to another place is
 * given up, a rest is cut short. */
void link_located(struct link *l, const char *host, int port);
void link_not_located(struct link *l, const char *why);
/* Leaves this place for the next one, at once; `lost` or `failed` is not called. Only with places. */
void link_next(struct link *l);
/* Only while ready. Leaves with the loop's next turn, together with what others write. */
void link_write(struct link *l, const void *p, size_t n);
uint64_t link_written(const struct link *l); /* bytes given since it became ready */
const char *link_shown(const struct link *l);
const char *link_why(const struct link *l); /* the last failure, in words */

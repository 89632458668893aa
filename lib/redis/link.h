/* link.h - a connection that opens, greets, and opens again by itself. Of lib/redis only.
 *
 *   off --start--> opening --connected--> greeting --answers good--> ready
 *                     ^  |                   |                         |
 *                     |  `----- failed ------+-------- lost -----------'
 *                     |                      v
 *                     `----- timer ------ resting     random in [0, 50 ms · 2^n], at most 2 s
 *
 * It turns bytes into replies and knows nothing of who waits for which. All of it runs on the
 * loop's stack; link_start and link_write may be called from fibers. */
#pragma once
#include "redis/url.h"
#include <hiredis/hiredis.h>

struct link;
struct link_events {
    void (*ready)(void *arg);                /* greeted: link_write works from here on */
    void (*reply)(void *arg, redisReply *r); /* the taker's from now on */
    /* It was ready and is no more. taken: of the bytes given to link_write since then, so many have
     * left for Redis. */
    void (*lost)(void *arg, uint64_t taken, const char *why);
};

/* Takes the URL over (*u is emptied, also on failure). Error: CONFIG (TLS files). */
rc link_new(struct cx *cx, struct redis_url *u, const struct link_events *e, void *arg,
            struct link **ret);
struct link *link_free(struct link *l); /* silently: `lost` is not called */

void link_start(struct link *l); /* at the latest before the first write; again does nothing */
bool link_ready(const struct link *l);
/* Only while ready. Leaves with the loop's next turn, together with what others write. */
void link_write(struct link *l, const void *p, size_t n);
uint64_t link_written(const struct link *l); /* bytes given since it became ready */
const char *link_shown(const struct link *l);
const char *link_why(const struct link *l); /* the last failure, in words */

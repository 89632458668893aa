/* order_feed.h - who waits for which order's next event.
 *
 *   PostgreSQL: NOTIFY mw_order, '<order id>'  --one LISTEN per process-->  feed
 *   feed  --wake-->  the fibers that watch it
 *
 * A notice says "look again", nothing more: the watcher reads the events after the last one it has
 * seen. After a lost connection everybody looks again. Watch first, then read: nothing falls
 * between the two. */
#pragma once
#include "base/id.h"
#include "pg/pg.h"

struct order_feed;
struct feed_watch {
    struct feed_watch *next;
    struct order_feed *feed;
    struct fiber *fiber;
    bool noticed;
    char id[ID_LEN + 1];
};

struct order_feed *order_feed_new(struct pg *db);
/* Nobody may be watching. */
struct order_feed *order_feed_free(struct order_feed *f);

/* Everybody looks again (the process is about to end). */
void order_feed_wake(struct order_feed *f);

/* w lives in the watching fiber's frame until order_unwatch. */
void order_watch(struct cx *cx, struct order_feed *f, const char *order_id, struct feed_watch *w);
void order_unwatch(struct feed_watch *w);
/* OK: look again. DEADLINE: nothing within ms (or the context's own deadline). Also wakes when the
 * fiber is woken for another reason (`*stop` becomes true): OK. Parks. */
rc order_wait(struct cx *cx, struct feed_watch *w, const bool *stop, int64_t ms) MW_PARKS;

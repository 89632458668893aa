/* order_feed.c - a hash table of watchers, one LISTEN. */
#include "hub/realtime/order_feed.h"
#include "rt/fiber.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024

struct order_feed {
    struct pg_listen *listen;
    struct feed_watch *bucket[BUCKETS];
};

static size_t bucket_of(const char *id)
{
    size_t h = 5381;

    for (const char *p = id; *p; p++)
        h = h * 33 + (unsigned char)*p;
    return h % BUCKETS;
}

static void notice(struct feed_watch *w)
{
    w->noticed = true;
    fiber_wake(w->fiber);
}

static void on_notice(const char *payload, void *arg)
{
    struct order_feed *f = arg;

    for (struct feed_watch *w = f->bucket[bucket_of(payload)]; w; w = w->next) {
        if (strcmp(w->id, payload) == 0)
            notice(w);
    }
}

static void on_gap(void *arg)
{
    struct order_feed *f = arg;

    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct feed_watch *w = f->bucket[i]; w; w = w->next)
            notice(w);
    }
}

void order_feed_wake(struct order_feed *f)
{
    on_gap(f);
}

struct order_feed *order_feed_new(struct pg *db)
{
    struct order_feed *f = xcalloc(1, sizeof *f);

    f->listen = pg_listen(db, "mw_order", on_notice, on_gap, f);
    return f;
}

struct order_feed *order_feed_free(struct order_feed *f)
{
    if (f) {
        for (size_t i = 0; i < BUCKETS; i++)
            assert(!f->bucket[i]);
        pg_listen_free(f->listen);
        free(f);
    }
    return NULL;
}

void order_watch(struct cx *cx, struct order_feed *f, const char *order_id, struct feed_watch *w)
{
    size_t b = bucket_of(order_id);

    *w = (struct feed_watch){.feed = f, .fiber = cx->fiber, .next = f->bucket[b]};
    memcpy(w->id, order_id, sizeof w->id);
    f->bucket[b] = w;
}

void order_unwatch(struct feed_watch *w)
{
    struct feed_watch **p = &w->feed->bucket[bucket_of(w->id)];

    while (*p != w)
        p = &(*p)->next;
    *p = w->next;
}

rc order_wait(struct cx *cx, struct feed_watch *w, const bool *stop, int64_t ms)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, ms);

    while (!w->noticed && !*stop)
        try(fiber_park(cx));
    w->noticed = false;
    return OK;
}

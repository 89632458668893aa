/* places.h - where a worker looks for the jobs of its queues: a ring of shards for each queue.
 *
 *     worker_queues   orders      mail                the ring of a queue that is not spread is itself
 *                     (orders)    mail -> mail#1
 *                                  ^        v
 *                                 mail#3 <- mail#2
 *
 * A worker hears of shards by the answers to its claims. Shards of one queue are alike, so each pass over the
 * queues begins at the next one of the ring: none of them starves. Shards are added and never taken
 * away: one that is closed is empty, and costs a marker to wait for. */
#pragma once
#include "worker/pool.h"

/* worker_queues -> p->queues. CONFIG when one of them is none. */
rc places_open(struct cx *cx, struct pool *p);
void places_close(struct pool *p);

/* All of them: NULL gives the first, the last one NULL. */
struct pool_queue *place_after(const struct pool *p, const struct pool_queue *q);
#define EACH_PLACE(p, q) (struct pool_queue *q = place_after((p), NULL); q; q = place_after((p), q))

/* A claim said that so many shards of q's queue may have jobs. */
void places_heard(struct pool *p, const struct pool_queue *q, int shards);
/* Their names, in cx's arena; *ret_places: the same in the same order. */
size_t places_list(struct cx *cx, const struct pool *p, const char ***ret_names,
                   struct pool_queue ***ret_places);

/* "orders,webhooks,default" -> names; CONFIG when one is none. The caller frees the array, names
 * live in *ret_text. */
rc queues_parse(struct cx *cx, const char *list, char **ret_text, const char ***ret_names,
                size_t *ret_n);

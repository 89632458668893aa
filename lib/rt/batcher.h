/* batcher.h - while one batch is on its way, the next one gathers.
 *
 *   fiber A --.                        .--> A: its own outcome
 *   fiber B ---+--> [ gathered ] --- one journey for all ---> B
 *   fiber C --'       <= max           `--> C
 *
 * One round trip and one fsync carry what arrived during the last one: nobody waits for a timer, no added
 * delay when the house is quiet. Each batch is a fiber of its own, so that its memory ends with it.
 * An item has two owners, the fiber that waits and the batch that carries it: who gives up leaves
 * his item behind, it belongs to the batch. */
#pragma once
#include "rt/fiber.h"

struct batcher;

/* First member of what is carried. Zeros at the beginning. */
struct batch_item {
    struct batch_item *next;
    int owners;
    struct fiber *waiter; /* NULL: gave up, or answered */
    bool done;
    rc result;
    struct err *err; /* when result is a failure; NULL: without words */
};

struct batcher_opts {
    const char *name; /* of a batch's fiber: "orders.commit" */
    size_t max;       /* items of one batch */
    size_t at_once;   /* batches on their way */
    size_t worth;     /* items that may start a batch while another is on its way */
    /* Two batches take turns: one carries half of those who were here lately (no fewer than `worth`, which is not 0 then),
     * the other half gathers and leaves when it is back; while one is on its way, no other leaves but with two thirds of
     * all, or with `worth` when it takes long (100 ms). For callers who come back when they were answered. */
    bool turns;
    int64_t timeout_ms;
    /* Carries items: gives each its outcome (batch_done), and says once that the next batch may
     * start (batch_on_its_way_back), also if this one has more to do. Parks. */
    void (*carry)(struct cx *cx, struct batcher *b, void *arg, struct batch_item **items,
                  size_t n) MW_PARKS;
    /* The last owner is gone. */
    void (*free_item)(struct batch_item *item);
    void *arg;
};

struct batcher *batcher_new(const struct batcher_opts *o); /* copied */
/* Nobody may wait, no batch may be on its way. NULL in, NULL out. */
struct batcher *batcher_free(struct batcher *b);
/* Batches on their way go on; whoever waits for the next one, or comes, gets the failure that is in
 * cx->err. */
void batcher_stop(struct cx *cx, struct batcher *b, rc why);
bool batcher_stopped(const struct batcher *b);

/* Waits for the item's outcome. *ret_left: the fiber gave up (DEADLINE, CANCELLED) while the item
 * was on its way or gathered: what becomes of it is not known. The item must be left with batch_leave
 * afterwards, in any case. Parks. */
rc batch_wait(struct cx *cx, struct batcher *b, struct batch_item *item, bool *ret_left) MW_PARKS;
void batch_leave(struct batcher *b, struct batch_item *item);

/* For carry: the outcome of an item; err may be NULL. */
void batch_done(struct batch_item *item, rc result, const struct err *err);
/* For carry: this batch will be back in a moment. The next one may leave at once if it is as large as it may be. */
void batch_nearly_back(struct batcher *b);
/* For carry: the next batch may start. */
void batch_on_its_way_back(struct batcher *b);

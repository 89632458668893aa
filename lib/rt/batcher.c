/* batcher.c - a list that fills while a batch is on its way; see batcher.h.
 *
 *   idle --first item--> under way --items meanwhile--> under way (the list, `max` at most) ...
 *    ^------------------------------- list empty --------------------------------------'
 */
#include "rt/batcher.h"
#include <assert.h>
#include <stdlib.h>

struct batcher {
    struct batcher_opts o;
    struct batch_item *head, **tail;
    size_t nwaiting; /* items in the list */
    size_t here;     /* fibers that wait: for the next batch, or for one that is on its way */
    size_t out;      /* batches that have not said that they are on their way back */
    size_t alive;
    bool starting; /* one was spawned and has not taken its items yet */
    bool stopped;
    struct err why; /* of the stop */
    rc why_rc;
};

struct batcher *batcher_new(const struct batcher_opts *o)
{
    struct batcher *b = xcalloc(1, sizeof *b);

    assert(o->max > 0 && o->at_once > 0 && o->carry && o->free_item);
    b->o = *o;
    b->tail = &b->head;
    return b;
}

struct batcher *batcher_free(struct batcher *b)
{
    if (b) {
        assert(!b->head && b->alive == 0);
        free(b);
    }
    return NULL;
}

bool batcher_stopped(const struct batcher *b)
{
    return b->stopped;
}

void batch_leave(struct batcher *b, struct batch_item *item)
{
    if (--item->owners > 0)
        return;
    free(item->err);
    b->o.free_item(item);
}

void batch_done(struct batch_item *item, rc result, const struct err *err)
{
    item->result = result;
    if (result != OK && err) { /* few fail, and thousands may wait */
        item->err = xmalloc(sizeof *err);
        *item->err = *err;
    }
    item->done = true;
    if (item->waiter)
        fiber_wake(item->waiter);
    item->waiter = NULL;
}

/* ---------------------------------------------------------------- a batch */

static void start_if_worth(struct batcher *b);

static size_t take_items(struct batcher *b, struct batch_item **items)
{
    size_t n = 0;

    b->starting = false;
    for (; b->head && n < b->o.max; n++) {
        items[n] = b->head;
        b->head = b->head->next;
    }
    b->nwaiting -= n;
    if (!b->head)
        b->tail = &b->head;
    return n;
}

void batch_on_its_way_back(struct batcher *b)
{
    b->out--;
    start_if_worth(b);
}

static rc run_batch(struct cx *cx, void *arg)
{
    struct batcher *b = arg;
    struct batch_item **items = arena_alloc(&cx->arena, b->o.max * sizeof(void *));
    size_t n = take_items(b, items);

    start_if_worth(b);
    if (n > 0)
        b->o.carry(cx, b, b->o.arg, items, n);
    else
        batch_on_its_way_back(b);
    for (size_t i = 0; i < n; i++) {
        assert(items[i]->done);
        batch_leave(b, items[i]);
    }
    b->alive--;
    return OK;
}

/* Two batches that take turns carry the most: while one is on its way the other gathers as many, and leaves when that one
 * is back. More than half of all, so that two are not on their way at once: they would only share the processors. */
static size_t worth(const struct batcher *b)
{
    return MAX(b->o.worth, MIN(b->here * 2 / 3, b->o.worth_most));
}

/* A batch that was spawned takes its items when it runs: those that arrive in the same turn of the
 * loop ride along. */
static void start_if_worth(struct batcher *b)
{
    if (b->stopped || b->nwaiting == 0 || b->starting || b->out >= b->o.at_once ||
        (b->out > 0 && b->nwaiting < worth(b)))
        return;
    b->starting = true;
    b->out++;
    b->alive++;
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = b->o.name, .timeout_ms = b->o.timeout_ms},
                             run_batch, b));
}

void batcher_stop(struct cx *cx, struct batcher *b, rc why)
{
    b->stopped = true;
    b->why_rc = why;
    b->why = cx->err;
    while (b->head) {
        struct batch_item *item = b->head;
        b->head = item->next;
        batch_done(item, why, &b->why);
        batch_leave(b, item);
    }
    b->tail = &b->head;
    b->nwaiting = 0;
}

/* ---------------------------------------------------------------- who waits */

rc batch_wait(struct cx *cx, struct batcher *b, struct batch_item *item, bool *ret_left)
{
    rc r = OK;

    *ret_left = false;
    if (b->stopped) {
        item->owners = 1;
        cx->err = b->why;
        return b->why_rc;
    }
    item->owners = 2;
    item->next = NULL;
    *b->tail = item;
    b->tail = &item->next;
    b->nwaiting++;
    b->here++;
    item->waiter = cx->fiber;
    start_if_worth(b);
    if (b->nwaiting > b->o.max) /* it will take a while, and many stand like this one */
        fiber_shrink();
    while (!item->done && r == OK)
        r = fiber_park(cx);
    b->here--;
    if (!item->done) {
        item->waiter = NULL;
        *ret_left = true;
        return r;
    }
    if (item->err)
        cx->err = *item->err;
    return item->result;
}

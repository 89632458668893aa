/* batcher.c - a list that fills while a batch is on its way; see batcher.h.
 *
 *   idle --first item--> under way --items meanwhile--> under way (the list, or as many as may go) ...
 *    ^------------------------------- list empty ----------------------------------------------'
 */
#include "rt/batcher.h"
#include "rt/loop.h"
#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>

#define CROWD_FADES 8   /* an eighth with each batch, down to those who are here */
#define SLOW_MS     100 /* a batch that takes turns and is not back by then is not waited for */

struct batcher {
    struct batcher_opts o;
    struct batch_item *head, **tail;
    size_t nwaiting; /* items in the list */
    size_t here;     /* fibers that wait: for the next batch, or for one that is on its way */
    size_t crowd;    /* the most of them lately: those who were just answered come back */
    size_t out;      /* batches that have not said that they are on their way back */
    size_t alive;
    bool nearly_back;    /* the only one that is on its way has said so */
    bool starting;       /* one was spawned and has not taken its items yet */
    bool slow;           /* with turns: none came back or left for SLOW_MS */
    struct event *timer; /* says so; NULL: none has left yet, or no turns */
    bool stopped;
    struct err why; /* of the stop */
    rc why_rc;
};

struct batcher *batcher_new(const struct batcher_opts *o)
{
    struct batcher *b = xcalloc(1, sizeof *b);

    assert(o->max > 0 && o->at_once > 0 && o->carry && o->free_item && (o->worth > 0 || !o->turns));
    b->o = *o;
    b->tail = &b->head;
    return b;
}

struct batcher *batcher_free(struct batcher *b)
{
    if (b) {
        assert(!b->head && b->alive == 0);
        if (b->timer)
            event_free(b->timer);
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

/* With turns, no more than half: who takes all leaves nothing to gather for the time of its journey, and whoever carries
 * and whoever gathers then wait for each other. */
static size_t most(const struct batcher *b)
{
    return b->o.turns ? MIN(b->o.max, MAX(b->o.worth, (b->crowd + 1) / 2)) : b->o.max;
}

static void on_slow(evutil_socket_t fd, short what, void *arg)
{
    struct batcher *b = arg;

    (void)fd;
    (void)what;
    b->slow = true;
    start_if_worth(b);
}

static void expect_back(struct batcher *b)
{
    const struct timeval in = {.tv_usec = SLOW_MS * 1000};

    b->slow = false;
    if (!b->timer)
        b->timer = evtimer_new(loop_base(), on_slow, b);
    if (!b->timer || evtimer_add(b->timer, &in) != 0)
        abort(); /* as everywhere: no memory */
}

static size_t take_items(struct batcher *b, struct batch_item **items)
{
    size_t n = 0, may = most(b);

    b->starting = false;
    for (; b->head && n < may; n++) {
        items[n] = b->head;
        b->head = b->head->next;
    }
    b->nwaiting -= n;
    b->crowd = MAX(b->here, b->crowd - (b->crowd + CROWD_FADES - 1) / CROWD_FADES);
    if (!b->head)
        b->tail = &b->head;
    b->nearly_back = false;
    if (b->o.turns)
        expect_back(b);
    return n;
}

void batch_nearly_back(struct batcher *b)
{
    b->nearly_back = b->out == 1;
    start_if_worth(b);
}

void batch_on_its_way_back(struct batcher *b)
{
    b->out--;
    b->slow = b->nearly_back = false;
    if (b->o.turns && b->out > 0)
        expect_back(b); /* the others, too */
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

/* With turns, more than half of all, so that two are not on their way at once: they would only share the processors. But
 * none stands behind one that hangs for long. */
static size_t worth(const struct batcher *b)
{
    return b->o.turns && !b->slow ? MAX(b->o.worth, (2 * b->crowd + 2) / 3) : b->o.worth;
}

/* How many may start while others are on their way. */
static size_t enough(const struct batcher *b)
{
    return b->o.turns && b->nearly_back ? MIN(most(b), worth(b)) : worth(b);
}

/* A batch that was spawned takes its items when it runs: those that arrive in the same turn of the
 * loop ride along. */
static void start_if_worth(struct batcher *b)
{
    if (b->stopped || b->nwaiting == 0 || b->starting || b->out >= b->o.at_once ||
        (b->out > 0 && b->nwaiting < enough(b)))
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
    b->crowd = MAX(b->crowd, b->here);
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

/* waitq.c - a FIFO of parked fibers; each node lives on the stack of its waiter.
 *
 *      wake_one:  head -> taken off, `chosen`, woken
 *
 * A waiter that was chosen and gives up in the same moment (cancelled before it ran) hands the wake
 * on to the next one: one wake always reaches one fiber that looks. */
#include "rt/waitq.h"
#include <assert.h>

struct waitq_node {
    struct waitq_node *prev, *next;
    struct fiber *fiber;
    enum { QUEUED, CHOSEN, ALL_CHOSEN } state;
};

static void append(struct waitq *q, struct waitq_node *n)
{
    n->prev = q->tail;
    if (q->tail)
        q->tail->next = n;
    else
        q->head = n;
    q->tail = n;
}

static void unlink_node(struct waitq *q, struct waitq_node *n)
{
    if (n->prev)
        n->prev->next = n->next;
    else
        q->head = n->next;
    if (n->next)
        n->next->prev = n->prev;
    else
        q->tail = n->prev;
    n->prev = n->next = NULL;
}

static bool choose(struct waitq *q, int state)
{
    struct waitq_node *n = q->head;

    if (!n)
        return false;
    unlink_node(q, n);
    n->state = state;
    fiber_wake(n->fiber);
    return true;
}

rc waitq_wait_in(struct cx *cx, struct waitq *q, const char *where)
{
    struct waitq_node n = {.fiber = cx->fiber};

    append(q, &n);
    rc r = fiber_park_in(cx, where);
    if (n.state == QUEUED)
        unlink_node(q, &n);
    else if (r != OK && n.state == CHOSEN)
        waitq_wake_one(q);
    return r;
}

void waitq_wake_one(struct waitq *q)
{
    choose(q, CHOSEN);
}

void waitq_wake_all(struct waitq *q)
{
    while (choose(q, ALL_CHOSEN))
        ;
}

bool waitq_empty(const struct waitq *q)
{
    return q->head == NULL;
}

/* A place that becomes free goes straight to the longest waiter (`held` counts it already), so that
 * a newcomer cannot slip in between the wake and the run. */
rc gate_enter(struct cx *cx, struct gate *g)
{
    struct waitq_node n = {.fiber = cx->fiber};
    rc r = OK;

    if (g->held < g->limit && waitq_empty(&g->q)) {
        g->held++;
        return OK;
    }
    append(&g->q, &n);
    while (r == OK && n.state == QUEUED)
        r = fiber_park_in(cx, "gate_enter");
    if (r == OK)
        return OK;
    if (n.state == QUEUED)
        unlink_node(&g->q, &n);
    else
        gate_leave(g);
    return r;
}

void gate_leave(struct gate *g)
{
    assert(g->held > 0);
    g->held--;
    while (g->held < g->limit && choose(&g->q, CHOSEN))
        g->held++;
}

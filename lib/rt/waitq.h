/* waitq.h - fibers waiting for a condition, and a counting gate built on it.
 *
 *     while (!ready) try(waitq_wait(cx, &q));         a wake is a hint: look again
 *
 * Lives inside another struct, zero-initialised; must be empty when that dies. FIFO. */
#pragma once
#include "rt/fiber.h"

struct waitq_node;
struct waitq {
    struct waitq_node *head, *tail;
};
#define waitq_wait(cx, q) waitq_wait_in((cx), (q), __func__)
rc waitq_wait_in(struct cx *cx, struct waitq *q, const char *where) MW_PARKS;
void waitq_wake_one(struct waitq *q);
void waitq_wake_all(struct waitq *q);
bool waitq_empty(const struct waitq *q);

/* At most `limit` holders. */
struct gate {
    size_t limit, held;
    struct waitq q;
};
rc gate_enter(struct cx *cx, struct gate *g) MW_PARKS;
void gate_leave(struct gate *g);

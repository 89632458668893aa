/* reached.h - what the end of a job in a workflow has begun, on its way into Redis. For those who end
 * jobs: lib/queue and the worker. */
#pragma once
#include "queue/queue.h"

static inline bool in_workflow(const struct job *j)
{
    return j->options && j->options->workflow[0];
}
/* Behind the end, in its transaction: *ret is the caller's, NULL or empty when nothing was begun.
 * Parks. */
rc flow_reached_tx(struct cx *cx, struct pg_tx *tx, struct pg_result **ret) MW_PARKS;
/* After the commit. What fails is logged and left to the reconciler. res may be NULL. Parks. */
void flow_push_reached(struct cx *cx, struct engine *e, const struct pg_result *res) MW_PARKS;
/* q, and behind it in the same transaction what it has begun, which is pushed; for ends that are one
 * statement. Parks. */
rc flow_end(struct cx *cx, struct engine *e, const struct sql *q, const struct pg_arg *args,
            struct pg_result **ret) MW_PARKS;
/* q ends many members, whose ids are its first argument: what follows is found once for all of them. What it has begun
 * is in *ret_reached: to be pushed, and freed. Parks. */
rc flow_end_many(struct cx *cx, struct engine *e, const struct sql *q, const struct pg_arg *args,
                 struct pg_result **ret, struct pg_result **ret_reached) MW_PARKS;

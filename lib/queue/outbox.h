/* outbox.h - what Redis may not have been told: jobs enqueued by SQL, pushes that it did not take, cancels.
 *
 *   job_outbox --NOTIFY mihwar_outbox--> outbox_empty: push or cancel, then strike out
 *
 * The sweep of reconcile.c is the net below it: it finds the same jobs, later. */
#pragma once
#include "queue/queue.h"

/* Durable jobs whose push failed are noted; whoever empties the outbox is told. Parks. */
rc outbox_note(struct cx *cx, struct engine *e, const struct job_new *jobs, size_t n) MW_PARKS;
/* Tells Redis all that is in there; a queue without an epoch is rebuilt first. Safe from several processes at once.
 * Parks. */
rc outbox_empty(struct cx *cx, struct engine *e, int64_t *ret_pushed) MW_PARKS;
/* Jobs that were born since from_ms, live, and were not touched for min_age_ms: are they known to Redis? A crash between
 * commit and push is mended so within seconds. At most a few pages; more than that is a queue that grows, and
 * the sweep's business. Parks. */
rc engine_sweep_young(struct cx *cx, struct engine *e, int64_t from_ms, int64_t min_age_ms,
                      int64_t *ret_pushed) MW_PARKS;

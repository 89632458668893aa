/* leases.h - the leases of all that is aboard: held for as long as it runs, and asked about when somebody wants a job
 * cancelled.
 *
 *      every third of a lease ─────────────────────┐
 *      NOTIFY mihwar_cancelled 'id id …' ──aboard?─┴─> engine_extend: h held, l lost, c to be cancelled ──> fiber_cancel
 *
 * The notice only says when to look: whether the job is to be cancelled is what Redis holds. A notice that is not heard costs the
 * rest of a third of a lease. */
#pragma once
#include "worker/pool.h"

struct leases;
/* In pool_start. Borrows. */
struct leases *leases_start(struct pool *p);
struct leases *
leases_free(struct leases *l); /* the loop has ended, or the caller's fiber ends it */
struct job_run *leases_find(struct pool *p, const struct lease *l); /* NULL: not aboard */
/* The answer to a claim was lost: what the note that it left as `name` hands out, and only that, goes back. If it never ran,
 * the note is of the one before, whose jobs are aboard or waiting to be acked. Parks. */
rc leases_return_unseen(struct cx *cx, struct pool *p, const struct pool_queue *q,
                        const char *name) MW_PARKS;
/* Around a claim: what it brings may have been spoken of while its answer was on its way. */
uint64_t leases_heard(const struct leases *l);
void leases_claimed(struct leases *l, const struct pool_queue *q, uint64_t heard);

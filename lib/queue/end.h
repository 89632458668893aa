/* end.h - the end of an attempt in PostgreSQL, where no domain change rides along; the rest is in
 * queue.h. */
#pragma once
#include "queue/queue.h"

/* "completed", "retry", "snoozed", "dead", "cancelled": as in job_attempts.outcome. */
const char *job_outcome_word(enum job_outcome o);
/* As engine_end_tx, as one statement of its own. STORE_DOUBT: it may have ended. Parks. */
rc engine_end(struct cx *cx, struct engine *e, const struct job *j,
              const struct job_end *end) MW_PARKS;
/* *ret: this very attempt ended the job, and it was not engine_end: SQL did (mw_complete). Parks. */
rc engine_ended_by(struct cx *cx, struct engine *e, const struct job *j, bool *ret) MW_PARKS;
/* STALE_ATTEMPT unless the job is still this attempt's; its row stays locked until the
 * transaction's end. Parks. */
rc engine_fence_tx(struct cx *cx, struct pg_tx *tx, const struct job *j) MW_PARKS;
/* engine_end_tx for many, none of them a death, none with options (engine_may_gather): which of them were taken; the others are
 * stale. Sorts them. Parks. */
struct job_ended {
    const struct lease *lease;
    const struct job_end *end;
    void *of;   /* the caller's */
    bool taken; /* out */
};
rc engine_end_many_tx(struct cx *cx, struct pg_tx *tx, struct job_ended *ended, size_t n) MW_PARKS;
bool engine_may_gather(const struct job *j, const struct job_end *end);

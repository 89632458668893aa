/* reconcile.h - the parts of mending that the claim loop uses; the rest is in queue.h. */
#pragma once
#include "queue/queue.h"

/* Reads the epoch from PostgreSQL into e. Parks. */
rc engine_epoch_read(struct cx *cx, struct engine *e) MW_PARKS;

/* A durable job that was claimed before may come from an expired lease: perhaps it has ended in
 * PostgreSQL and only the ack was lost, perhaps its retry is stored and never reached Redis. One
 * query tells, before it runs. */
enum claim_verdict {
    CLAIM_RUN,
    CLAIM_ENDED,  /* ack it without running */
    CLAIM_LATER,  /* reschedule it (as a snooze) for run_at_ms */
    CLAIM_CANCEL, /* its cancel was asked for while it ran: end it as cancelled */
};
struct claim_check {
    const struct job *job;
    enum claim_verdict verdict; /* out */
    int64_t run_at_ms;          /* out, LATER */
    int64_t due_ms;             /* out; wall: since when this attempt may begin; 0: not known */
};
/* A durable job that is not simply new: claimed before, or pushed again (a rebuild: a wish to cancel
 * may be left from before). */
bool engine_wants_look(const struct job *j);
/* Jobs that need no look (broker jobs, first claims) get CLAIM_RUN without a question. Parks. */
rc engine_confirm(struct cx *cx, struct engine *e, struct claim_check *c, size_t n) MW_PARKS;

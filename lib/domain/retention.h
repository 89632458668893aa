/* retention.h - what is old and over is deleted, a batch at a time: ended jobs and their attempts, what jobs told,
 * workflows with their steps, replayed dead letters, schedule firings, idempotency keys, ended requests with their timelines,
 * refusals (security_events). Orders
 * and their timelines, the command history and the audit log stay. */
#pragma once
#include "pg/pg.h"

struct retention_counts {
    int64_t jobs, attempts, dead_letters, events, firings, keys, requests, refusals, workflows;
};
/* Everything that ended before before_ms; idempotency keys never younger than 24 h. One batch of at
 * most `batch` rows a table; *ret_more when another call would find more. Parks. */
rc retention_prune(struct cx *cx, struct pg *db, int64_t before_ms, int batch,
                   struct retention_counts *ret, bool *ret_more) MW_PARKS;

/* timeline.h - what the jobs of this process tell, on its way into PostgreSQL.
 *
 *   job_log, job_progress --> here, in memory --a batch, a tenth of a second later--> job_events
 *
 * A job never waits for it. While PostgreSQL is away at most TIMELINE_MAX events (TIMELINE_BYTES) wait;
 * what comes then is lost, counted, and told by the log. A process whose jobs tell nothing has no fiber
 * for it. On the loop's thread only. */
#pragma once
#include "queue/timeline.h"

#define TIMELINE_MAX   5000
#define TIMELINE_BYTES MiB(4)

struct timeline;
struct timeline *timeline_new(struct pg *db); /* borrows */
struct timeline *timeline_free(struct timeline *t);
/* Copied. */
void timeline_put(struct timeline *t, const struct job_event *ev);
/* What was told so far is on its way out now; until it is written or the deadline. Parks. */
rc timeline_flush(struct cx *cx, struct timeline *t) MW_PARKS;
int64_t timeline_lost(const struct timeline *t);

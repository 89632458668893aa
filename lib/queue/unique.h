/* unique.h - keys that are taken until the job starts, or for a window of time.
 *
 *   until finish   the index jobs_unique_key; in Redis the hash `unique` (broker jobs)
 *   until start    the same; freed when the first attempt begins (engine_started)
 *   for a window   a row of job_windows, a string that expires in Redis: how the job ends is the same to it
 *
 * A window counts for jobs with a window: one without does not see it. */
#pragma once
#include "queue/internal.h"

/* Of jobs[0..*n) with a window those that come too late are marked (existed, the first one's id) and taken out of the
 * array; PG_RETRY when keys change hands faster than they can be read. Parks. */
rc windows_take(struct cx *cx, struct pg_tx *tx, struct job_new **jobs, size_t *n) MW_PARKS;
/* What push.lua is told of a broker job's key: "" none, the key itself, or "\1MS:KEY" for a window. Text in cx's
 * arena or the job's. */
const char *unique_word(struct cx *cx, const struct job_new *j);

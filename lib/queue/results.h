/* results.h - what came of a broker job, kept in Redis for as long as its result_ttl_ms says.
 *
 *   mw:{q}:result:ID         string  JSON, expires
 *   mw:{q}:result:ID:await   string  somebody waits for it; expires with him */
#pragma once
#include "queue/queue.h"

/* Kept before the ack, by the holder only (STALE_ATTEMPT otherwise). Nothing is done for jobs that have not asked for
 * it. Whoever waits is told. Parks. */
rc engine_keep_result(struct cx *cx, struct engine *e, const struct job *j,
                      const struct job_end *end) MW_PARKS;
/* Somebody waits for the end of this broker job for so long. Parks. */
rc engine_await_result(struct cx *cx, struct engine *e, const char *queue, const char *job_id,
                       int64_t wait_ms) MW_PARKS;

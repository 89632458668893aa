/* rows.h - rows of jobs on their way back into Redis. */
#pragma once
#include "queue/internal.h"

/* Pushes the rows of a result with the columns id, queue, generation, attempt, snoozes, task,
 * args, priority, run_at, timeout_ms, max_attempts, subject, tenant_id, trace, options; rows whose queue
 * is NULL are passed over. Parks. */
rc engine_push_result(struct cx *cx, struct engine *e, const struct pg_result *res, bool rebuild,
                      int64_t *ret_pushed) MW_PARKS;

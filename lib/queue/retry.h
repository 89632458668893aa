/* retry.h - bring a dead or cancelled durable job back at a time; queue.h has the same for now. */
#pragma once
#include "queue/queue.h"

/* As engine_retry_now; run_at_ms wall, 0: now. Parks. */
rc engine_retry_at(struct cx *cx, struct engine *e, const char *job_id, int64_t run_at_ms) MW_PARKS;

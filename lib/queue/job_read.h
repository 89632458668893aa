/* job_read.h - a job as people write it in JSON: a body of POST /v1/jobs, a member of a workflow.
 *
 *   {"task":"mail.send","args":{"to":"a@example.org"},"queue":"mail","priority":7,"delay_ms":5000} */
#pragma once
#include "base/json.h"
#include "queue/queue.h"

#define JOB_KEY_TEXT_MAX 200 /* characters of UNIQUE_KEY_MAX that a caller may use */

/* Texts are in cx's arena or in the tree. unique_key is as it was written: whoever takes words of
 * several tenants prefixes it. The delay is left to the caller, who knows since when it counts; 0:
 * none. Not checked as a whole yet: job_new_check, once the rest is filled in. INVALID_FIELD with
 * the pointer of the field. */
rc job_new_read(struct cx *cx, const cJSON *o, struct job_new *ret, int64_t *ret_delay_ms);

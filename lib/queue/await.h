/* await.h - waiting for the end of a job: told, not polled.
 *
 *   waiter marks the job (jobs.awaited; a broker job: a key beside its result) --> whoever ends it says NOTIFY mihwar_ended
 *
 * One LISTEN a process, made when somebody waits for the first time. Should it be cut off, waiters look for themselves. */
#pragma once
#include "queue/queue.h"

#define AWAIT_MAX_MS 60000 /* of one call through the API */

struct await;
struct await *await_new(struct engine *e); /* borrows */
struct await *await_free(struct await *a); /* nobody may wait any more */
size_t await_count(const struct await *a); /* who waits now */
void await_stop(struct await *a); /* all waits end, as at their deadlines; new ones at once */
/* Until the job has ended, at most wait_ms; both are OK. A broker job must have asked for its result to be kept: nothing
 * is left of another one (CONFLICT). NOT_FOUND. tenant_id NULL: of any tenant. Parks. */
rc await_end(struct cx *cx, struct await *a, const char *job_id, const char *tenant_id,
             int64_t wait_ms) MW_PARKS;

/* program.h - any executable as a task: mihwar-worker --exec NAME=PATH.
 *
 *   stdin   the job's arguments, JSON
 *   stdout  its result: JSON as it is, anything else as a JSON string
 *   stderr  lines of its log; "::progress JSON" says how far it is, "::snooze 30s" when to come back
 *   environment  MIHWAR_JOB_ID _TASK _QUEUE _ATTEMPT _MAX_ATTEMPTS _TOKEN _TRACEPARENT _TENANT _TIMEOUT_MS
 *
 *   exit 0    completed                        65 (EX_DATAERR)  dead at once
 *   exit 99   snoozed, no attempt used         anything else, or a signal: tried again with back-off
 */
#pragma once
#include "base/settings.h"
#include "worker/task.h"

#define PROGRAM_DEAD   65
#define PROGRAM_SNOOZE 99

/* "NAME=PATH,DIR,…" into the registry: of a folder, each executable file is a task of its own name. Before the
 * fork. CONFIG. */
rc programs_add(struct cx *cx, const struct settings *s);
size_t programs_count(void);
void programs_free(void);

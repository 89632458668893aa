/* builtin.h - tasks that do nothing useful by themselves: probes, tests, benchmarks.
 *
 *   mihwar.noop      ends at once
 *   mihwar.echo      its arguments are its result; {"fail": "CODE"} fails with that word of
 *                    error.def (as often as it is tried)
 *   mihwar.fail      {"code": "CODE", "attempts": N} fails with that word in its first N attempts,
 *                    then completes; without N always
 *   mihwar.previous  its result is what stood before it in its workflow
 *   mihwar.sleep     {"ms": N} waits so long
 *
 * Called through Celery, the fields of fail and sleep are keyword arguments. */
#pragma once
#include "worker/task.h"

extern struct task task_fail, task_noop, task_echo, task_previous, task_sleep;

/* watchdog.h - a loop that never gets its turn again.
 *
 * A fiber that computes without ever parking stops everything in its process: leases are not extended, answers are not read,
 * SIGTERM is not heard. The dog counts the processor time of the loop's thread since it was fed last; when it is hungry it
 * names the fiber that runs and ends the process with SIGXCPU, and whoever watches the process knows that it crashed. Time in
 * which the process is stopped, waits or is not scheduled does not count. */
#pragma once
#include "base/cx.h"

/* On the loop's thread. INTERNAL when the kernel has no such timer. */
rc watchdog_start(struct cx *cx, int64_t cpu_ms);
/* Fed: cpu_ms begin anew. Nothing without watchdog_start. */
void watchdog_feed(void);
void watchdog_stop(void);

/* offload.h - blocking or heavy work on threads (Argon2, QR, a user's blocking task), while its
 * fiber is parked.
 *
 * fn runs on a pool thread: it touches only arg, no cx, no fiber, no loop. If the waiter gives up
 * (deadline, cancel), work that has begun goes on to its end, work that has not is not begun;
 * `drop` (may be NULL) gets arg then, on the loop's thread: so arg is on the heap and owned by the
 * work. */
#pragma once
#include "rt/fiber.h"

/* Waits for the result: OK when fn ran (results are in arg, the caller owns it again); OVERLOADED
 * when `queue_max` jobs wait already (arg stays the caller's); DEADLINE/CANCELLED: arg is no longer
 * the caller's. Parks. */
rc offload_run(struct cx *cx, void (*fn)(void *arg), void *arg, void (*drop)(void *arg)) MW_PARKS;
/* threads 0: as many as cores, at least 2. Optional; the first offload_run does it with defaults.
 */
void offload_init(unsigned threads, size_t queue_max);
/* Waits a quarter of a second for running work; a thread that is still at it (a call that blocks) is left
 * behind, with what it uses, for the end of the process. Before loop_free. */
void offload_free(void);

/* fiber.h - sequential code on an event loop.
 *
 *      spawn --> ready --run--> running --park--> parked --wake--> ready
 *                                  `---fn returned--> ended (joined or detached)
 *
 * A fiber has a small stack of its own (mapped, guard page below, reused) and a struct cx. Only one
 * runs at a time; it keeps the processor until it parks. Whatever waits parks with a deadline (the
 * context's) and can be cancelled: both arrive as the return value of the wait (DEADLINE,
 * CANCELLED), so that cleanups run; a stack is never thrown away.
 *
 * Rules: no mutex, errno, OpenSSL error queue or static buffer is carried across a park. Libraries
 * with callbacks (libcurl, libevent) run on the loop's own stack and only wake fibers.
 */
#pragma once
#include "base/cx.h"

struct fiber;
typedef rc (*fiber_fn)(struct cx *cx, void *arg);

struct fiber_opts {
    const char *name;         /* static or outliving the fiber: task, route */
    size_t stack_bytes;       /* 0: FIBER_STACK */
    int64_t timeout_ms;       /* 0: no deadline of its own */
    const struct cx *inherit; /* gives deadline, trace, request id, subject; may be NULL */
};

/* Starts fn(cx, arg) on the next turn of the loop. The fiber is freed by fiber_join, or by itself
 * after fiber_detach. Aborts when memory for a stack cannot be mapped. */
struct fiber *fiber_spawn(const struct fiber_opts *o, fiber_fn fn, void *arg);
void fiber_detach(struct fiber *f);
/* Waits for the end (until cx's deadline) and gives its return code; its error words are copied
 * into cx->err when it failed. On DEADLINE or CANCELLED of the waiter the fiber is cancelled and
 * detached. Parks. */
rc fiber_join(struct cx *cx, struct fiber *f, rc *ret_rc) MW_PARKS;

/* Every wait of f from now on (and the one under way) returns CANCELLED. Idempotent. */
void fiber_cancel(struct fiber *f);
struct cx *fiber_cx(struct fiber *f);
struct fiber *fiber_self(void); /* NULL on the loop's stack */

/* The one primitive: give up the processor until fiber_wake(cx->fiber), the deadline or
 * cancellation. OK only if woken. At once DEADLINE or CANCELLED if that is already so. A wake that
 * came before the park is not lost. */
#define fiber_park(cx) fiber_park_in((cx), __func__)
/* where: shown by fiber_dump and in the error. */
rc fiber_park_in(struct cx *cx, const char *where) MW_PARKS;
/* May be called from callbacks and other fibers, any number of times; harmless on a running fiber
 * (its next park returns at once: waiters loop on their own condition). */
void fiber_wake(struct fiber *f);

/* Sleeps ms (0: lets the others run once). Ends early only with DEADLINE or CANCELLED; a wake
 * meanwhile is kept for the next park. Parks. */
#define fiber_sleep(cx, ms) fiber_sleep_in((cx), (ms), __func__)
rc fiber_sleep_in(struct cx *cx, int64_t ms, const char *where) MW_PARKS;
#define fiber_yield(cx) fiber_sleep((cx), 0)

/* Gives the stack's memory below the caller's frame back to the kernel (about a microsecond): before a wait for something far away,
 * in which thousands may stand at once with pages that only earlier calls needed. */
void fiber_shrink(void);

size_t fiber_count(void); /* living fibers of this process */
/* One log line per fiber: name, state, age, what it waits in (SIGQUIT does it). */
void fiber_dump(void);
/* The same for a signal handler: the first of them, as they stand at this moment. */
void fiber_dump_raw(void);
/* Cancels every fiber of the process. */
void fiber_cancel_all(void);

#define FIBER_STACK KiB(64) /* four times that under sanitizers */

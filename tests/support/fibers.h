/* fibers.h - run a piece of test on a fiber of a fresh loop.
 *
 *     static rc body(struct cx *cx, void *arg) { …waits, ck_assert… ; return OK; }
 *     START_TEST(it_waits) { ck_ok(on_fiber(body, NULL)); } END_TEST
 */
#pragma once
#include "rt/fiber.h"
#include "rt/loop.h"
#include <check.h>

/* Makes a loop, runs fn(cx, arg) as a fiber named "test" with a deadline of 20 s, stops and frees
 * the loop when it has ended and all other fibers with it. The words of a failure are printed. */
rc on_fiber(fiber_fn fn, void *arg);

/* An rc must be OK; the error word is in the message. */
#define ck_ok(expr)                                                                                \
    do {                                                                                           \
        rc ck_r_ = (expr);                                                                         \
        ck_assert_msg(ck_r_ == OK, "%s: %s", #expr, error_info(ck_r_)->code);                      \
    } while (0)
#define ck_rc(expr, want)                                                                          \
    do {                                                                                           \
        rc ck_r_ = (expr);                                                                         \
        ck_assert_msg(ck_r_ == (want), "%s: %s, not %s", #expr, error_info(ck_r_)->code,           \
                      error_info(want)->code);                                                     \
    } while (0)

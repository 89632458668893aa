/* fibers.h - on_fiber, and assertions about what a fiber's calls return.
 *
 *     static rc body(struct cx *cx, void *arg) { ck_ok(queue_pause(cx, …)); return OK; }
 *     START_TEST(it_waits) { ck_ok(on_fiber(body, NULL)); } END_TEST
 */
#pragma once
#include "tests/support/on_fiber.h"
#include <check.h>

/* An rc must be OK, or the wanted one; its code word is in the message. */
#define ck_ok(expr) ck_rc((expr), OK)
#define ck_rc(expr, want)                                                                          \
    do {                                                                                           \
        rc ck_r_ = (expr);                                                                         \
        ck_assert_msg(ck_r_ == (want), "%s: %s, not %s", #expr,                                    \
                      ck_r_ ? error_info(ck_r_)->code : "ok",                                      \
                      (want) ? error_info(want)->code : "ok");                                     \
    } while (0)

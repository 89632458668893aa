/* fibers.h - on_fiber, and assertions about what a fiber's calls return.
 *
 *     static rc body(struct cx *cx, void *arg) { ck_ok(queue_pause(cx, …)); return OK; }
 *     START_TEST(it_waits) { ck_ok(on_fiber(body, NULL)); } END_TEST
 */
#pragma once
#include "tests/support/on_fiber.h"
#include <check.h>

/* A test that is one fiber: fn(cx, NULL). */
#define FIBER_TEST(name, fn)                                                                       \
    START_TEST(name)                                                                               \
    {                                                                                              \
        ck_ok(on_fiber(fn, NULL));                                                                 \
    }                                                                                              \
    END_TEST
/* The same with its body behind it, which around(cx, body) calls between set-up and tear-down. */
#define FIBER_TEST_IN(name, around)                                                                \
    static rc name##_body(struct cx *cx);                                                          \
    static rc name##_fiber(struct cx *cx, void *arg)                                               \
    {                                                                                              \
        (void)arg;                                                                                 \
        return around(cx, name##_body);                                                            \
    }                                                                                              \
    FIBER_TEST(name, name##_fiber)                                                                 \
    static rc name##_body(struct cx *cx)

/* An rc must be OK, or the wanted one; its code word is in the message. */
#define ck_ok(expr) ck_rc((expr), OK)
#define ck_rc(expr, want)                                                                          \
    do {                                                                                           \
        rc ck_r_ = (expr);                                                                         \
        ck_assert_msg(ck_r_ == (want), "%s: %s, not %s", #expr,                                    \
                      ck_r_ ? error_info(ck_r_)->code : "ok",                                      \
                      (want) ? error_info(want)->code : "ok");                                     \
    } while (0)

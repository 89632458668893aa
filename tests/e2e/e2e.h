/* e2e.h - what the end-to-end tests share: one house for a program, rows of tests on it.
 *
 *     static struct house h;
 *     E2E(orders, house_start, { "an order reaches its PIN", order_to_pin }, …)
 *
 * The tests of a program share the house and leave it whole: a part that one takes down it brings
 * up again. */
#pragma once
#include "tests/support/house.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct e2e_row {
    const char *title;
    const TTest *test;
    int loops; /* 0: once */
};

static inline int e2e_run(const char *name, struct house *h,
                          void (*start)(struct house *, const struct stores_opts *,
                                        const char *const *),
                          const struct e2e_row *rows, size_t n)
{
    Suite *s = suite_create(name);
    for (size_t i = 0; i < n; i++) {
        TCase *tc = tcase_create(rows[i].title);
        tcase_add_loop_test(tc, rows[i].test, 0, rows[i].loops ? rows[i].loops : 1);
        suite_add_tcase(s, tc);
    }
    start(h, NULL, NULL);
    int failed = suite_run_unforked(s);
    failed += house_stop(h);
    return support_end(failed);
}
/* start: house_start, or house_open where no worker is needed. */
#define E2E(name, start, ...)                                                                      \
    int main(void)                                                                                 \
    {                                                                                              \
        const struct e2e_row rows[] = {__VA_ARGS__};                                               \
        return e2e_run(#name, &h, (start), rows, COUNT(rows));                                     \
    }

/* unit.h - the frame of a unit test: one suite, cases from tables, an exit status.
 *
 *     UNIT(base_text, { "utf8", utf8_reads, COUNT(cases) }, { "hex", hex_round_trip, 0 })
 *
 * Each row is one Check test; rows with a count run once per entry of their table (_i). Check forks
 * for each, so a crash or a leak is that case's failure. */
#pragma once
#include "base/util.h"
#pragma push_macro("fail") /* Check has an old macro of this name; ours (base/cx.h) stays */
#undef fail
#include <check.h>
#pragma pop_macro("fail")
#include <stdio.h>
#include <stdlib.h>

struct unit_row {
    const char *title;
    const TTest *test;
    size_t loops; /* 0: once */
    int signal;   /* the signal that must end it, 0: none */
};

/* A file of the source tree as text; freed by the caller. */
static inline char *unit_read(const char *path)
{
    const char *root = getenv("MW_SOURCE"); /* meson sets it; by hand: run from the root */
    _cleanup_(freep) char *full = xasprintf("%s/%s", root ? root : ".", path);
    FILE *f = fopen(full, "re");
    char *text = NULL;
    size_t size = 0;

    ck_assert_msg(f && getdelim(&text, &size, 0, f) > 0, "%s cannot be read", full);
    fclose(f);
    return text;
}

static inline int unit_run(const char *name, const struct unit_row *rows, size_t n)
{
    Suite *s = suite_create(name);

    for (size_t i = 0; i < n; i++) {
        TCase *tc = tcase_create(rows[i].title);
        int loops = rows[i].loops ? (int)rows[i].loops : 1;
        tcase_add_loop_test_raise_signal(tc, rows[i].test, rows[i].signal, 0, loops);
        suite_add_tcase(s, tc);
    }
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define UNIT(name, ...)                                                                            \
    int main(void)                                                                                 \
    {                                                                                              \
        const struct unit_row rows[] = {__VA_ARGS__};                                              \
        return unit_run(#name, rows, COUNT(rows));                                                 \
    }

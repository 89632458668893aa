/* ops_world.h - what the parts of test_ops share: one house, one shell. */
#pragma once
#include "tests/e2e/cli.h"
#include "tests/e2e/e2e.h"

extern struct house h;

/* The tests of the other files, written to rows; how many. test_ops.c runs them in this order:
 * later ones use what earlier ones made. */
size_t shop_tests(struct e2e_row *rows);
size_t access_tests(struct e2e_row *rows);
size_t order_tests(struct e2e_row *rows);
size_t work_tests(struct e2e_row *rows);
size_t ca_tests(struct e2e_row *rows);
size_t agent_tests(struct e2e_row *rows);
size_t watch_tests(struct e2e_row *rows);
const TTest *doctor_test(void); /* the last but one */

#define DB      h.stores.database_url
#define AUTO(c) _cleanup_(cli_release) struct cli c

static inline void refused(struct cli c, int status, const char *words)
{
    ck_assert_msg(c.status == status, "status %d: %s", c.status, c.err);
    ck_assert_msg(c.err && strstr(c.err, words), "not '%s' but: %s", words, c.err ? c.err : "");
    cli_release(&c);
}

static inline void done(struct cli c)
{
    ck_assert_msg(c.status == 0, "status %d: %s", c.status, c.err);
    cli_release(&c);
}

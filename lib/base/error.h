/* error.h - a code decides, words explain.
 *
 * Functions that can fail return rc: OK (0) or one of the codes of error.def. The words are written
 * by whoever knows the facts, with fail(), and ride in cx->err (cx.h) to the one who handles the
 * failure and logs it once. */
#pragma once
#include <stdbool.h>

enum mw_rc {
    OK = 0,
#define MW_ERR(NAME, code, http, exit, retry, text) E_##NAME,
#include "base/error.def"
#undef MW_ERR
    RC_COUNT
};
typedef int rc;

struct error_info {
    const char *name; /* "NOT_FOUND" */
    const char *code; /* "not_found" */
    int http;
    int exit_status;
    bool retry;
    const char *text;
};

/* The row of error.def for r; a number that is none of ours reads as INTERNAL. Never NULL. */
const struct error_info *error_info(rc r);

/* The rc of a stable word ("not_found"), E_INTERNAL when nobody knows it. */
rc error_from_code(const char *code);

/* Return early with the same code. */
#define try(expr)                                                                                  \
    do {                                                                                           \
        rc try_rc_ = (expr);                                                                       \
        if (try_rc_ != OK)                                                                         \
            return try_rc_;                                                                        \
    } while (0)

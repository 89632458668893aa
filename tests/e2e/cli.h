/* cli.h - `mihwar` under test: run it, read both of its answers, and hold every run against the
 * rules that all verbs share.
 *
 *   done, people    stdout is compared with tests/e2e/ops/NAME.expect where a name is given
 *   done, --json    stdout is JSON (lines of it for dlq export and top)
 *   not done        stdout is empty, stderr one sentence that names the verb
 *   CHANGES         a line in the audit log by "cli:tester", and none from the others
 *   always          none of the secrets told to cli_secret() on the screen, unless reveals
 *
 * Expected files hold what stays: ids, times, keys and ports are masked, character by character, so
 * that columns stay in their place. MIHWAR_EXPECT_WRITE=1 writes them anew. */
#pragma once
#include "tests/support/house.h"

struct cli {
    int status;
    char *out, *err;
    cJSON *json; /* of a run with --json that was done */
};
void cli_release(struct cli *c); /* for _cleanup_ */

struct cli_run {
    struct house *h;
    const char *expect;       /* NAME.expect, for a run without --json; NULL: not compared */
    const char *const *env;   /* "NAME=value" over the house's, NULL-terminated; may be NULL */
    const char *in;           /* stdin */
    bool reveals;             /* shows a secret: that is its purpose */
    bool answers;             /* it answers on stdout although it is not done: audit verify */
    bool unchanged;           /* this time nothing changes: no line in the audit log */
    const char *const *words; /* NULL-terminated */
};
struct cli cli_do(const struct cli_run *r);
#define CLI(house_, ...)                                                                           \
    cli_do(&(struct cli_run){.h = (house_), .words = (const char *const[]){__VA_ARGS__, NULL}})
#define CLI_WITH(house_, with_, ...)                                                               \
    cli_do(&(struct cli_run){                                                                      \
        .h = (house_), with_, .words = (const char *const[]){__VA_ARGS__, NULL}})

/* Never to be shown from now on. Copied; at most 16. */
void cli_secret(const char *text);
/* "id:s name:s n:n on:b args:o list:a note:s?": exactly these fields, of these types (string,
 * number, boolean, object, array; ?: or null). json: an object, or an array of such that is not
 * empty. */
void cli_fields(const cJSON *json, const char *what);
/* A field as text; the test fails when it is not a string. */
const char *cli_text(const struct cli *c, const char *path);
/* Which verbs were done in neither or only one of the two shapes; "" when all were. Static. */
const char *cli_missing(void);

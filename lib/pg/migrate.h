/* migrate.h - the schema's numbered steps (schema/NNNN_name.sql, compiled in), applied in order
 * under an advisory lock, each in one transaction, each recorded with its SHA-256. A step once
 * landed never changes: a different checksum is SCHEMA. */
#pragma once
#include "pg/pg.h"

struct migration {
    int number;
    const char *name, *text, *sha256;
};
extern const struct migration migrations[];
extern const size_t migration_count;

/* Applies what is missing; *ret_applied counts. */
rc migrate_run(struct cx *cx, struct pg *db, int *ret_applied) MW_PARKS;
/* OK when the database is exactly at the last step this program knows; SCHEMA with the sentence
 * that says what to run ("run 'mihwar db migrate'") or that the program is older than the schema.
 */
rc migrate_check(struct cx *cx, struct pg *db) MW_PARKS;
/* Calls row for each known or recorded step, in order. state: "applied", "missing", "changed"
 * (another checksum was applied), "unknown" (recorded by a newer release); at: RFC 3339, NULL when
 * missing. */
rc migrate_status(struct cx *cx, struct pg *db,
                  void (*row)(int number, const char *name, const char *state, const char *at,
                              void *arg),
                  void *arg) MW_PARKS;

/* For main(), before a supervisor forks: 0 when the schema fits, or cannot be asked for right now
 * (a warning is logged); 1 when it is one that this program does not know; the reason and what to
 * run are on stderr. Blocks for at most 5 s. */
int migrate_gate(const char *database_url, const char *program);

/* idempotency.h - the first answer again, for POSTs other than orders (those carry their key
 * themselves).
 *
 *     find -> (first time) do the work, store the answer -> (lost a race: CONFLICT) find again
 *
 * A crash between the work and the answer lets the work be done again: what is made must have a
 * name of its own that refuses a second one (a job's id is derived from the key). */
#pragma once
#include "pg/pg.h"

struct idempotency_answer {
    int http_status;
    const char *body; /* JSON; cx's arena */
};
/* *ret_found = false: not seen before. IDEMPOTENCY_MISMATCH: seen with another body_hash. Parks. */
rc idempotency_find(struct cx *cx, struct pg *db, const char *tenant_id, const char *route,
                    const char *key, const char *body_hash, bool *ret_found,
                    struct idempotency_answer *ret) MW_PARKS;
/* CONFLICT: another one with this key was first; roll back and find. Parks. */
rc idempotency_store(struct cx *cx, struct pg_tx *tx, const char *tenant_id, const char *route,
                     const char *key, const char *body_hash, int http_status,
                     const char *body) MW_PARKS;

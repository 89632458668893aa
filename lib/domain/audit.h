/* audit.h - what people did by hand, append-only. Written in the transaction of the deed: no deed
 * without its line. */
#pragma once
#include "pg/pg.h"

struct audit {
    int64_t id, at_ms;     /* out */
    const char *tenant_id; /* NULL: the house's */
    const char *actor;     /* "cli:root@host", "key:<name>" */
    const char *action;    /* "order.resolve", "key.revoke", "dlq.replay": [a-z_.]+ */
    const char *object_type, *object_id;
    const char *detail; /* JSON object text, no secrets; NULL: {} */
};
rc audit_write(struct cx *cx, struct pg_tx *tx, const struct audit *a) MW_PARKS;
/* The same in a transaction of its own, for deeds that are not in PostgreSQL. Parks. */
rc audit_note(struct cx *cx, struct pg *db, const struct audit *a) MW_PARKS;
/* Newest first. object_type, object_id NULL: any. Parks. */
rc audit_list(struct cx *cx, struct pg *db, const char *object_type, const char *object_id,
              int limit, struct audit **ret, size_t *ret_n) MW_PARKS;

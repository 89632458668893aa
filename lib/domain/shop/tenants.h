/* tenants.h - the shops. Everything that is sold, ordered or asked for belongs to one. */
#pragma once
#include "pg/pg.h"
#include "secure/seal.h"

#define TENANT_NAME_MAX 120

struct tenant {
    const char *id, *name;
    bool enabled;
    int64_t created_ms;
};

/* Makes a tenant with a callback secret of its own. Audited. ALREADY_EXISTS, INVALID_FIELD. Parks.
 */
rc tenant_add(struct cx *cx, struct pg *db, const struct seal_keys *seal, const char *actor,
              const char *name, struct tenant *ret) MW_PARKS;
/* by: id or name. NOT_FOUND. Texts are in cx's arena. Parks. */
rc tenant_get(struct cx *cx, struct pg *db, const char *by, struct tenant *ret) MW_PARKS;
rc tenant_list(struct cx *cx, struct pg *db, struct tenant **ret, size_t *ret_n) MW_PARKS;
/* The opened secret that signs this tenant's callbacks (secure/digest.h webhook_sign). NOT_FOUND,
 * CRYPTO. Parks. */
rc tenant_webhook_secret(struct cx *cx, struct pg *db, const struct seal_keys *seal,
                         const char *tenant_id, const char **ret) MW_PARKS;

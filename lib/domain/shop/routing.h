/* routing.h - which good of which provider a package is, and who is asked first.
 *
 *   package ── mapping ──> (integration, product, kupur)        one per integration
 *      `────── route ────> primary integration, fallback        both must be mapped
 *
 * The fallback is asked only after a certain refusal by the primary, never out of doubt
 * (order_flow.h). */
#pragma once
#include "pg/pg.h"

struct mapping {
    const char *package_id, *integration_id, *integration; /* integration: its name */
    const char *product, *kupur; /* the provider's words; kupur "" for none */
};
/* Sets or replaces. Ids must belong to the tenant (NOT_FOUND). A (product, kupur) that means more
 * than one good in the imported catalogue is CONFLICT unless sure is set: the provider could
 * deliver either. Audited. Parks. */
rc mapping_set(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
               const struct mapping *m, bool sure) MW_PARKS;
/* package_id NULL: of all the tenant's packages. Parks. */
rc mapping_list(struct cx *cx, struct pg *db, const char *tenant_id, const char *package_id,
                struct mapping **ret, size_t *ret_n) MW_PARKS;
/* NOT_FOUND. Parks. */
rc mapping_get(struct cx *cx, struct pg *db, const char *package_id, const char *integration_id,
               struct mapping *ret) MW_PARKS;

struct route {
    const char *package_id, *package, *primary_id, *primary, *fallback_id,
        *fallback; /* names beside ids; NULL: no fallback */
};
/* Sets or replaces; fallback_id NULL: none. UNROUTED_PACKAGE when one of them has no mapping,
 * INVALID_FIELD when they are the same. Audited. Parks. */
rc route_set(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
             const char *package_id, const char *primary_id, const char *fallback_id) MW_PARKS;
rc route_list(struct cx *cx, struct pg *db, const char *tenant_id, struct route **ret,
              size_t *ret_n) MW_PARKS;

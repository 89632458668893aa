/* catalog.h - what a shop sells (products and their packages), and what its providers offered at
 * their last import. */
#pragma once
#include "pg/pg.h"

#define CATALOG_NAME_MAX 255

struct product {
    const char *id, *tenant_id, *name;
    bool enabled;
    int64_t created_ms;
};
struct package {
    const char *id, *tenant_id, *product_id, *product, *name; /* product: its name */
    bool enabled;
    bool routed; /* a route exists whose primary is mapped and enabled */
    int64_t created_ms;
};

/* ALREADY_EXISTS for a name in use, INVALID_FIELD. Audited. Texts are in cx's arena. Parks. */
rc product_add(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
               const char *name, struct product *ret) MW_PARKS;
/* by: id or name within the tenant. Parks. */
rc product_get(struct cx *cx, struct pg *db, const char *tenant_id, const char *by,
               struct product *ret) MW_PARKS;
rc product_list(struct cx *cx, struct pg *db, const char *tenant_id, struct product **ret,
                size_t *ret_n) MW_PARKS;
rc package_add(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
               const char *product_id, const char *name, struct package *ret) MW_PARKS;
/* by: id, or "product/package" names, or a package name that is unique in the tenant (CONFLICT
 * otherwise). Parks. */
rc package_get(struct cx *cx, struct pg *db, const char *tenant_id, const char *by,
               struct package *ret) MW_PARKS;
/* product_id NULL: of all. Parks. */
rc package_list(struct cx *cx, struct pg *db, const char *tenant_id, const char *product_id,
                struct package **ret, size_t *ret_n) MW_PARKS;
rc package_enable(struct cx *cx, struct pg *db, const char *actor, const char *package_id,
                  bool enabled) MW_PARKS;

/* One good of a provider. `product` and `kupur` are what the provider wants to be told (znet:
 * oyun_bilgi_id and kupur, the ZDK family: the product id and ""); they need not be unique at a
 * provider, external_id (its row id) is. */
struct catalogue_item {
    const char *external_id, *product, *kupur, *name, *game; /* kupur, game: "" for none */
    const char *price;                                       /* decimal, NULL: not told */
    const char *raw;                                         /* JSON, as it came */
    int64_t seen_ms;                                         /* out */
    bool collides; /* out: another row has the same (product, kupur) */
};
/* After a successful import: upserts all, in one transaction, with one time. Goods not seen keep
 * their old seen_at. Rows that share an external_id: the last counts. *ret_collisions: rows whose
 * (product, kupur) is not unique now. Parks. */
rc catalogue_put(struct cx *cx, struct pg *db, const char *integration_id,
                 const struct catalogue_item *items, size_t n, int64_t *ret_collisions) MW_PARKS;
/* By name; match: part of name, game or external id, NULL for all. Parks. */
rc catalogue_list(struct cx *cx, struct pg *db, const char *integration_id, const char *match,
                  int limit, struct catalogue_item **ret, size_t *ret_n) MW_PARKS;

/* reseal.h - rotation: every sealed value of the house under the key that seals today.
 *
 *     put the new key first, restart ──► reseal ──► no value under the old key ──► drop the old key
 *
 * Values are credentials of integrations, callback secrets of tenants, PINs of orders and of their
 * placements. A batch is one statement, and a value is replaced only if it still is what was read:
 * the house goes on meanwhile, and a rotation that was cut short is simply run again. */
#pragma once
#include "pg/pg.h"
#include "secure/seal.h"

struct sealed_count {
    const char *place, *key; /* "integrations.credentials"; the id of the key */
    int64_t values;
};
/* How many values are sealed under which key; needs no keys. Texts are in cx's arena. Parks. */
rc sealed_count(struct cx *cx, struct pg *db, struct sealed_count **ret, size_t *ret_n) MW_PARKS;

#define RESEAL_BATCH 500
struct reseal_result {
    int64_t resealed;   /* under the first key now */
    int64_t unreadable; /* could not be opened (logged as seal.unreadable), and left alone */
};
/* All of them, RESEAL_BATCH at a time. Audited when it begins and when it has ended. Parks. */
rc reseal(struct cx *cx, struct pg *db, const struct seal_keys *seal, const char *actor,
          struct reseal_result *ret) MW_PARKS;

/* revoked.h - ids that must not run: in memory as in Celery (50 000, three hours), and in the broker, so that a worker
 * that starts later knows them, too. */
#pragma once
#include "celery/claims.h"

#define REVOKED_MAX     50000
#define REVOKED_LIFE_MS (3 * 3600 * 1000)

struct revoked_id {
    char *id;
    int64_t at_ms; /* wall */
};
struct revoked {
    struct revoked_id *ids; /* sorted by id */
    size_t n;
};
void revoked_add(struct revoked *r, const char *id, int64_t at_ms);
bool revoked_has(const struct revoked *r, const char *id, int64_t now_ms);
void revoked_release(struct revoked *r);
/* Those that stand in the broker. Parks. */
rc revoked_load(struct cx *cx, struct revoked *r, struct celery *c) MW_PARKS;
/* Writes one there. Parks. */
rc revoked_keep(struct cx *cx, struct celery *c, const char *id) MW_PARKS;
/* {"id": seconds, …} */
void revoked_json(const struct revoked *r, struct buf *b);

/* leader.h - one of several beats leads; when it dies another does.
 *
 *      standby --take (the office is vacant)--> leading --resign--> gone, the others are told
 *         ^                                        |
 *         `---- the term was lost, or may be ------'
 *
 * The office is a row with an end (schema/0007_beat.sql). The leader moves the end on at each third
 * of the lease, and counts its own end from before it asked: so it stops before anybody else can
 * begin, as long as clocks run at the same rate. What it fires is fenced besides (one firing per
 * due time, by key). */
#pragma once
#include "base/id.h"
#include "pg/pg.h"

struct leader_opts {
    struct pg *db;
    const char *role;
    int64_t lease_ms;
    /* Runs on a fiber of its own while we lead; it is cancelled when that ends, and started again
     * with the next term. */
    rc (*lead)(struct cx *cx, void *arg);
    void *arg;
};
struct leader;
struct leader *leader_new(const struct leader_opts *o);
struct leader *leader_free(struct leader *l);

/* Stands by, leads, stands by ... until the fiber is cancelled (returns CANCELLED). Survives the
 * loss of PostgreSQL. Parks. */
rc leader_run(struct cx *cx, struct leader *l) MW_PARKS;
/* Is the office certainly ours at this moment? */
bool leader_holds(const struct leader *l);
/* After leader_run returned: leave the office, so that another need not wait for its end. Nothing
 * to do when we do not lead. Parks. */
rc leader_resign(struct cx *cx, struct leader *l) MW_PARKS;
/* "host:pid:random" */
const char *leader_name(const struct leader *l);

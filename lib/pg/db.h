/* db.h - the connections of one process, inside lib/pg only.
 *
 *   lanes   reads  [ ][ ]        statements that stand alone, pipelined, many fibers on each
 *           writes [ ][ ][ ][ ]  apart from the reads, so that a row lock which a write waits for
 *                                does not hold up a read; wider, because each connection waits for
 *                                the disk once a request, and the server joins such waits
 *   pool    [ ][ ][ ][ ]         one transaction each; fibers queue in front of the gate */
#pragma once
#include "pg/conn.h"

#define LANE_INFLIGHT       256 /* requests on one connection; more can still be withdrawn outside */
#define CONNECT_WAIT_MS     5000  /* how long a caller waits for a connection that is not there */
#define CONNECT_WAIT_MIN_MS 1000  /* the same, when there has been none for long */
#define POOL_WAIT_MS        30000 /* how long for its turn, when its context has no deadline */
#define BEHIND_MS           20    /* a commit that takes longer may hang: nobody is put behind it */
#define TRIES               5

enum lane { LANE_READS, LANE_WRITES, LANES };
#define LANE_WIDTH 4 /* of the widest */

struct lane_of {
    int width;
    struct pg_conn conns[LANE_WIDTH];
    struct waitq wait; /* for a connection with room */
};

struct pg {
    char *conninfo;
    char *listen_conninfo;  /* NULL: the same */
    int nhosts, first_host; /* of the connection string; the one that an attempt begins with */
    enum pg_prepare prepare;
    bool pooler_seen, deaf_told;
    struct lane_of lanes[LANES];
    struct pg_conn *pool;
    struct gate gate; /* limit: connections in pool */
    bool down;        /* the last attempt to connect failed */
    int64_t down_since_mono_ms;
    char why[200]; /* its words */
};

/* A READY connection of the lane with room; soon (or NULL): preferably one that has just begun to commit a request with the same.
 * STORE_DOWN, OVERLOADED, CANCELLED. Parks. */
rc lane_take(struct cx *cx, struct pg *db, enum lane lane, const struct pg_soon *soon,
             struct pg_conn **ret) MW_PARKS;
/* A READY connection that nobody else uses until pool_give. STORE_DOWN, OVERLOADED, CANCELLED.
 * Parks. */
rc pool_take(struct cx *cx, struct pg *db, struct pg_conn **ret) MW_PARKS;
void pool_give(struct pg *db, struct pg_conn *c);
/* BUFFER_FULL when a parameter is larger than its ceiling. */
rc pg_check_args(struct cx *cx, const struct pg_step *steps, size_t n);
/* Before running something again: grows with the number of tries, with full jitter. Parks. */
rc retry_pause(struct cx *cx, int tries) MW_PARKS;

/* What to do about an error that the server reported: nothing of the transaction was kept in any
 * case. */
enum verdict {
    VERDICT_FINAL, /* the caller's */
    VERDICT_AGAIN, /* serialization failure or deadlock: run it again */
    VERDICT_STALE, /* this connection is not fit (a statement is unknown, a plan outdated, a
                      standby): again on another */
};
/* Writes the failure into cx->err with code, words and constraint; q may be NULL. */
rc pg_failure(struct cx *cx, const PGresult *error, const struct sql *q, enum verdict *ret);

/* replica.h - more of PostgreSQL: a streaming standby, and PgBouncer in transaction mode, both real.
 *
 *     test ──► 127.0.0.1:pg_port  primary ──WAL, synchronous──► 127.0.0.1:replica.port  standby
 *     test ──► 127.0.0.1:pooler.port  pgbouncer ──4 connections──► primary (its unix socket) */
#pragma once
#include "tests/support/stores.h"

struct replica {
    int port;
    char own_url[192];  /* the standby alone */
    char both_url[192]; /* both, whichever writes */
    struct proc *postgres;
};
/* Of stores that were started with pg_tcp. Every commit of the primary waits for it from now on. */
void replica_start(struct stores *s, struct replica *r);
/* The primary must be dead. Returns when it writes. */
void replica_promote(struct stores *s, struct replica *r);
void replica_stop(struct replica *r);

struct pooler {
    int port, servers; /* connections to the server, per database; 0: four */
    char url[128];
    struct proc *pgbouncer;
};
/* The first time, or after pooler_kill: on the same port. */
void pooler_up(const struct stores *s, struct pooler *p);
void pooler_kill(struct pooler *p);
void pooler_stop(struct pooler *p);

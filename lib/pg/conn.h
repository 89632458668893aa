/* conn.h - one connection to PostgreSQL, inside lib/pg only.
 *
 *   CLOSED --conn_want, after the back-off--> OPENING --settings accepted--> READY
 *      ^------------- lost, refused, stale and drained --------'---------------'
 *
 * Always in libpq's pipeline mode. What is sent is a request: some statements and one Sync, the
 * bounds of one implicit transaction (unless a BEGIN opened a larger one). Requests are answered in
 * the order in which they were sent; an error in 2 skips to its Sync and leaves 3 alone:
 *
 *   libpq's buffer   [prepare A][A][Sync] [B][Sync] [C][D][Sync]
 *   c->head ------->  request 1 --------> request 2 -> request 3
 *
 * Invariants
 *   - c->pq is NULL exactly when CLOSED; c->head is NULL then
 *   - a request's waiter lives as long as rq->fiber is set; who gives up sets it to NULL, and the
 *     late answer ends in request_free
 *   - while the answer to a Prepare is out, the same statement goes by its text: a Prepare that is
 *     refused fails nobody else
 *   - nothing here parks but request_wait and conn_ready */
#pragma once
#include "pg/pg.h"
#include "rt/waitq.h"
#include <libpq-fe.h>

struct event;
struct pg_conn;

enum conn_state { CONN_CLOSED, CONN_OPENING, CONN_READY };

/* Statements that a connection knows, by name. */
enum prepared { PREPARED_NOT, PREPARED_ASKED, PREPARED_YES };
struct name_slot {
    const char *name;
    enum prepared is;
};
struct names {
    struct name_slot *slots;
    size_t cap, used;
};

enum request_state { RQ_WAITING, RQ_ANSWERED, RQ_LOST };

struct request_item {
    const struct sql *q;
    bool prepare; /* the answer to a Prepare; otherwise the statement's own */
    PGresult *result;
};

struct request {
    struct request *next;
    struct fiber *fiber;                                 /* who waits; NULL: nobody */
    void (*done)(struct pg_conn *c, struct request *rq); /* instead of a fiber; may be NULL */
    enum request_state state;
    struct pg_soon soon;        /* fn NULL: nobody wants to hear of the commit */
    int64_t committing_mono_ms; /* since when; 0: nobody has heard of it */
    bool broken;                /* libpq refused to take a part of it */
    const PGresult *error;      /* the first one, owned by its item or by at_sync; or NULL */
    const struct sql *error_q;  /* the statement that failed; NULL: the commit at Sync */
    PGresult *at_sync;
    bool at_sync_ended;
    size_t n, at, max; /* items put, items answered, room */
    struct request_item items[];
};

struct pg_conn {
    struct pg *db;
    enum conn_state state;
    PGconn *pq;
    struct event *io, *write, *timer;
    struct request *head, **tail;
    size_t inflight; /* requests */
    struct names names;
    bool stale;           /* takes no new requests; closed when the last answer is in */
    bool dying;           /* the server has said that it ends this connection */
    bool unsynced;        /* a commit was not confirmed by the standby that it has to wait for */
    bool pooled;          /* there is a pooler between us and the server */
    bool by_text;         /* statements have no names on it */
    bool taken;           /* by a transaction */
    const char *conninfo; /* another server than db's; NULL: db's */
    const char *at_host;  /* libpq's, of the host that is being tried */
    unsigned failures;    /* since the last READY */
    int64_t retry_at_mono_ms;
    struct waitq ready;
    void (*on_change)(struct pg_conn *c); /* became READY or CLOSED, or has room; must not call back
                                             into conn.c but conn_want */
    void (*on_notify)(struct pg_conn *c, const PGnotify *n);
    void *owner;
};

void conn_init(struct pg_conn *c, struct pg *db, void (*on_change)(struct pg_conn *c));
/* Be READY soon: opens from the loop, not before the back-off allows it. Idempotent. */
void conn_want(struct pg_conn *c);
/* Waits until c is READY, at most `ms` and until cx's deadline: STORE_DOWN in the words of the last
 * refusal. Parks. */
rc conn_ready(struct cx *cx, struct pg_conn *c, int64_t ms) MW_PARKS;
/* Close; every request in flight becomes RQ_LOST. */
void conn_close(struct pg_conn *c, const char *why);
/* Close while a statement may be running: asks the server to cancel it. */
void conn_abort(struct pg_conn *c);
/* Read what has come, so that an end which the loop has not seen yet is known. */
void conn_look(struct pg_conn *c);
void conn_release(struct pg_conn *c); /* close and free everything inside */
/* No new requests on this connection; a fresh one replaces it. */
void conn_retire(struct pg_conn *c);

/* Write a request: begin, put each statement, end. No park in between. request_end gives NULL (and
 * the connection is closed) when nothing of it can have been carried out. Without a waiter the
 * answer is dropped, and so is the pointer. */
struct request *request_begin(struct fiber *waiter, size_t max_statements);
void request_put(struct pg_conn *c, struct request *rq, const struct sql *q,
                 const struct pg_arg *args);
struct request *request_end(struct pg_conn *c, struct request *rq);
/* Waits for the answer. OK: look at rq->state; otherwise DEADLINE or CANCELLED and rq is no longer
 * the caller's. Parks. */
rc request_wait(struct cx *cx, struct request *rq) MW_PARKS;
void request_free(struct request *rq);
/* The i-th statement's result, given to the caller. */
PGresult *request_take(struct request *rq, size_t i);

extern const struct sql SQL_MW_BEGIN, SQL_MW_COMMIT, SQL_MW_ROLLBACK;

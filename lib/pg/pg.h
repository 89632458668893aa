/* pg.h - PostgreSQL without blocking: a pool, pipelined single statements, transactions that retry.
 *
 *   pg_query   one statement, one implicit transaction; many fibers share the pipelined connections
 *   pg_batch   several, kept or refused together, in one round trip
 *   pg_tx_run  BEGIN ... COMMIT on a connection of its own; fn may run again after a serialization
 *              failure or deadlock (40001, 40P01) and after a lost connection, but only while
 *              COMMIT had not been sent
 *
 * Statements are named queries of .sql files (struct sql, made by the build), prepared once per
 * connection. Parameters and results are text. What may have happened is never called a failure: a
 * connection lost, or a caller that gave up, after a write was sent (or at COMMIT) is STORE_DOUBT,
 * and the caller must look. Works through PgBouncer (README.md, "A pooler"). */
#pragma once
#include "base/cx.h"

struct pg;
struct pg_result; /* rows; free with pg_result_freep */
struct pg_tx;

/* Statements get names on their connection: always, never, or unless a pooler stands before the server. */
enum pg_prepare { PG_PREPARE_AUTO, PG_PREPARE_ON, PG_PREPARE_OFF };

struct sql {
    const char *name; /* order_get */
    const char *text;
    int nparams;
    bool reads; /* no FOR UPDATE, no writing CTE: repeated by itself after a lost connection */
};

/* A parameter: pg_s("text"), pg_s(NULL) is NULL, pg_i(5), pg_b(true), pg_t(ms) (timestamptz),
 * pg_bytes(p, n) (bytea). */
struct pg_arg {
    const char *s;
    size_t len;
    char num[40];
    bool bytes;
    bool too_big; /* an array past its ceiling (pg_array.h): its query fails with BUFFER_FULL */
    bool unfit;   /* an array with an element that is not of its type: PG */
};
struct pg_arg pg_s(const char *s);
struct pg_arg pg_i(int64_t n);
struct pg_arg pg_b(bool b);
struct pg_arg pg_t(int64_t ms); /* 0: NULL */
struct pg_arg pg_bytes(const void *p, size_t n);
#define PG_ARGS(...) ((struct pg_arg[]){__VA_ARGS__})
#define PG_NO_ARGS   ((struct pg_arg *)NULL)

/* conninfo: a libpq URI or keywords; multi-host and target_session_attrs work. pool: connections
 * for transactions; up to six more carry what stands alone. Opens nothing yet: connections are
 * made when somebody needs them, after the fork. Errors: CONFIG. */
rc pg_new(struct cx *cx, const char *conninfo, int pool, struct pg **ret);
/* The same with what the settings say: database_url, database_pool, database_listen_url, database_prepare. CONFIG. */
struct settings;
rc pg_from_settings(struct cx *cx, const struct settings *s, struct pg **ret);
/* Is what the settings say of connections right? CONFIG. */
rc pg_check_settings(struct cx *cx, const struct settings *s);
/* Nobody may be waiting any more; before loop_free. */
struct pg *pg_free(struct pg *db);

/* The number of args must be q->nparams. ret may be NULL. Parks. Errors:
 *   STORE_DOWN     never sent, or certainly not kept (no connection within 5 s, server going down)
 *   STORE_DOUBT    a write that was sent and whose end is not known, also when the caller gave up
 *   PG_UNIQUE, PG_CONSTRAINT   refused by pg_constraint(); RAISE in a trigger is PG_CONSTRAINT
 *   PG_RETRY       serialization failure or deadlock five times over, or a lock not had within 5 s
 *   DEADLINE       of the context (a read), or the server's statement_timeout
 *   CANCELLED, OVERLOADED, BUFFER_FULL, PG (any other error of the server)
 * Not inside fn of pg_tx_run: it would wait for rows that the transaction itself holds. */
rc pg_query(struct cx *cx, struct pg *db, const struct sql *q, struct pg_result **ret,
            const struct pg_arg *args) MW_PARKS;
/* pg_query of a write that says when its rows are here and its commit is under way: `fn` is called, once a try, from the loop; it
 * must not park. Not when the statement failed, nor when the caller has given up. It is a hint: the commit can still fail, and
 * what pg_query returns decides. A write that is sent with the same `arg` within the next moments (20 ms) goes right behind, on the
 * same connection, so that the server finds it there when it has committed. */
struct pg_soon {
    void (*fn)(void *arg);
    void *arg;
};
rc pg_query_soon(struct cx *cx, struct pg *db, const struct sql *q, struct pg_result **ret,
                 const struct pg_arg *args,
                 const struct pg_soon *soon) MW_PARKS; /* NULL: pg_query */
#define pg_do(cx, db, q, ret, ...) pg_query((cx), (db), &(q), (ret), PG_ARGS(__VA_ARGS__))

/* fn's failure rolls back and is returned; after a serialization failure, a deadlock or a
 * connection lost before COMMIT fn runs again, at most 5 times with jitter. fn must not touch
 * anything outside the transaction that it cannot do again, and must free the results of a run that
 * failed. Transactions queue for the pool first come, first served, and are not nested. When the
 * caller gives up inside, the server's statement is cancelled and the connection closed. Parks. */
rc pg_tx_run(struct cx *cx, struct pg *db, rc (*fn)(struct cx *cx, struct pg_tx *tx, void *arg),
             void *arg) MW_PARKS;
rc pg_tx_query(struct cx *cx, struct pg_tx *tx, const struct sql *q, struct pg_result **ret,
               const struct pg_arg *args) MW_PARKS;
#define pg_tx_do(cx, tx, q, ret, ...) pg_tx_query((cx), (tx), &(q), (ret), PG_ARGS(__VA_ARGS__))
/* Several statements sent in one write inside the transaction; the first failure fails all, and all
 * results are NULL then. Parks. */
struct pg_step {
    const struct sql *q;
    const struct pg_arg *args;
    struct pg_result *result; /* out, the caller's */
};
rc pg_tx_steps(struct cx *cx, struct pg_tx *tx, struct pg_step *steps, size_t n) MW_PARKS;
/* steps in one transaction and one round trip, when nothing must be looked at in between. Errors as
 * of pg_query; results are NULL after a failure. Parks. */
rc pg_batch(struct cx *cx, struct pg *db, struct pg_step *steps, size_t n) MW_PARKS;

int pg_rows(const struct pg_result *r);
int64_t pg_affected(const struct pg_result *r); /* rows that an INSERT/UPDATE/DELETE touched */
/* NULL for NULL; lives as long as r. */
const char *pg_text(const struct pg_result *r, int row, int col);
/* Bytes of a row's values. */
size_t pg_row_bytes(const struct pg_result *r, int row);
/* By column name; asserts that it exists. */
const char *pg_col(const struct pg_result *r, int row, const char *name);
int64_t pg_int(const struct pg_result *r, int row, int col);
bool pg_bool(const struct pg_result *r, int row, int col);
int64_t pg_ms(const struct pg_result *r, int row, int col); /* timestamptz -> ms; 0 for NULL */
/* bytea -> bytes in cx's arena. */
const unsigned char *pg_get_bytes(struct cx *cx, const struct pg_result *r, int row, int col,
                                  size_t *ret_len);
void pg_result_freep(struct pg_result **r); /* for _cleanup_ */
/* The constraint named by the last PG_UNIQUE / PG_CONSTRAINT of this context, or "". */
const char *pg_constraint(const struct cx *cx);

/* LISTEN on a connection of its own that reconnects by itself; fn runs on the loop. on_gap (may be
 * NULL) runs each time that listening begins, the first time too: what was said before was not
 * heard. channel: [a-z0-9_]+. pg_listen_free may be called from both. */
struct pg_listen;
struct pg_listen *pg_listen(struct pg *db, const char *channel,
                            void (*fn)(const char *payload, void *arg), void (*on_gap)(void *arg),
                            void *arg);
struct pg_listen *pg_listen_free(struct pg_listen *l);
/* Would a notification sent now be heard? False before the first on_gap and while the connection is
 * lost (a network that went silent is noticed later). */
bool pg_listening(const struct pg_listen *l);

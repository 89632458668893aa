/* pg.h - PostgreSQL without blocking: a pool, pipelined single statements, transactions that retry.
 *
 *   pg_query   one statement, one implicit transaction; many fibers share the pipelined connections
 *   pg_tx      BEGIN … COMMIT on a connection of its own; fn may run again after a serialization failure or deadlock
 *              (40001, 40P01) and after a lost connection, but only while COMMIT had not been sent
 *
 * Statements are named queries of .sql files (struct sql, made by the build), prepared once per connection. Parameters and
 * results are text. A lost connection after a write was sent, outside or at COMMIT, is STORE_DOUBT: the caller must look.
 * Works through PgBouncer in session mode.
 */
#pragma once
#include "base/cx.h"

struct pg;
struct pg_result; /* rows; free with pg_result_freep */
struct pg_tx;

struct sql {
    const char *name; /* order_get */
    const char *text;
    int nparams;
    bool reads; /* SELECT without FOR UPDATE or a writing CTE: repeated by itself after a lost connection */
};

/* A parameter: pg_s("text"), pg_s(NULL) is NULL, pg_i(5), pg_b(true), pg_t(ms) (timestamptz), pg_bytes(p, n) (bytea). */
struct pg_arg {
    const char *s;
    size_t len;
    char num[40];
    bool bytes;
    bool too_big; /* an array that hit its ceiling (pg_array.h): the query that gets it fails with BUFFER_FULL */
};
struct pg_arg pg_s(const char *s);
struct pg_arg pg_i(int64_t n);
struct pg_arg pg_b(bool b);
struct pg_arg pg_t(int64_t ms); /* 0: NULL */
struct pg_arg pg_bytes(const void *p, size_t n);
#define PG_ARGS(...)  ((struct pg_arg[]){__VA_ARGS__})
#define PG_NO_ARGS    ((struct pg_arg *)NULL)

/* conninfo: a libpq URI or keywords; multi-host and target_session_attrs work. Opens nothing yet. */
rc pg_new(struct cx *cx, const char *conninfo, int pool, struct pg **ret);
struct pg *pg_free(struct pg *db);

/* Errors: STORE_DOWN (never sent), STORE_DOUBT, PG_UNIQUE / PG_CONSTRAINT (constraint name: pg_constraint()), PG_RETRY, PG,
 * DEADLINE, CANCELLED. The server's statement is cancelled when the waiter gives up inside a transaction. Parks.
 * The number of args must be q->nparams. */
rc pg_query(struct cx *cx, struct pg *db, const struct sql *q, struct pg_result **ret,
            const struct pg_arg *args) MW_PARKS;
#define pg_do(cx, db, q, ret, ...) pg_query((cx), (db), &(q), (ret), PG_ARGS(__VA_ARGS__))

/* fn's failure rolls back and is returned (PG_RETRY and a connection lost before COMMIT: fn runs again, at most 5 times
 * with jitter). fn must not touch anything outside the transaction that it cannot do again. Parks. */
rc pg_tx_run(struct cx *cx, struct pg *db, rc (*fn)(struct cx *cx, struct pg_tx *tx, void *arg),
             void *arg) MW_PARKS;
rc pg_tx_query(struct cx *cx, struct pg_tx *tx, const struct sql *q, struct pg_result **ret,
               const struct pg_arg *args) MW_PARKS;
#define pg_tx_do(cx, tx, q, ret, ...) pg_tx_query((cx), (tx), &(q), (ret), PG_ARGS(__VA_ARGS__))
/* Several statements sent in one write inside the transaction; the first failure fails all. results may be NULL. Parks. */
struct pg_step {
    const struct sql *q;
    const struct pg_arg *args;
    struct pg_result *result; /* out, the caller's */
};
rc pg_tx_steps(struct cx *cx, struct pg_tx *tx, struct pg_step *steps, size_t n) MW_PARKS;
/* BEGIN + steps + COMMIT in one round trip when nothing must be looked at in between. Parks. */
rc pg_batch(struct cx *cx, struct pg *db, struct pg_step *steps, size_t n) MW_PARKS;

int pg_rows(const struct pg_result *r);
int64_t pg_affected(const struct pg_result *r); /* rows that an INSERT/UPDATE/DELETE touched */
const char *pg_text(const struct pg_result *r, int row, int col); /* NULL for NULL; lives as long as r */
const char *pg_col(const struct pg_result *r, int row, const char *name); /* by column name; asserts that it exists */
int64_t pg_int(const struct pg_result *r, int row, int col);
bool pg_bool(const struct pg_result *r, int row, int col);
int64_t pg_ms(const struct pg_result *r, int row, int col); /* timestamptz -> ms; 0 for NULL */
/* bytea -> bytes in cx's arena. */
const unsigned char *pg_get_bytes(struct cx *cx, const struct pg_result *r, int row, int col, size_t *ret_len);
void pg_result_freep(struct pg_result **r); /* for _cleanup_ */
/* The constraint named by the last PG_UNIQUE / PG_CONSTRAINT of this context, or "". */
const char *pg_constraint(const struct cx *cx);

/* LISTEN on a connection of its own that reconnects by itself; fn runs on the loop. on_gap: reconnected, something may have
 * been missed. Free with pg_listen_free. */
struct pg_listen;
struct pg_listen *pg_listen(struct pg *db, const char *channel, void (*fn)(const char *payload, void *arg),
                            void (*on_gap)(void *arg), void *arg);
struct pg_listen *pg_listen_free(struct pg_listen *l);

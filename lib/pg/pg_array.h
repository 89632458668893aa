/* pg_array.h - many rows in one statement: array parameters for unnest.
 *
 *     INSERT INTO product_orders (id, note) SELECT * FROM unnest($1::uuid[], $2::text[])
 *
 *     _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(MiB(1)), notes = PG_ARRAY(MiB(1));
 *     for (i = 0; i < n; i++) {
 *         pg_array_s(&ids, o[i].id);
 *         pg_array_s(&notes, o[i].note);
 *     }
 *     try(pg_do(cx, db, SQL_ORDER_INSERT, &res, pg_a(&ids), pg_a(&notes)));
 *
 * An array of texts, uuids or integers for a statement that is sent often is told so (PG_ARRAY_OF): it travels in
 * PostgreSQL's binary form, which the server reads in half the time. Which type it is must be what the statement's cast says.
 *
 * Otherwise text is always quoted, so that no value can end its element, become another one, or read as NULL.
 * The element type is what the statement's cast says; jsonb, uuid, numeric, enums go in through
 * pg_array_s. An array past its ceiling makes the query that gets it fail with BUFFER_FULL: nothing
 * needs to be checked in between. */
#pragma once
#include "base/buf.h"
#include "pg/pg.h"

enum pg_array_of {
    PG_LITERAL = 0,
    PG_INT4S = 23,
    PG_TEXTS = 25,
    PG_UUIDS = 2950
}; /* OIDs of elements */

struct pg_array {
    struct buf b;
    size_t n;    /* elements */
    bool closed; /* pg_a was called: nothing may be added */
    bool nulls;  /* there are some */
    bool
        unfit; /* an element is not of the type: the query fails with PG, as it would with a literal */
    enum pg_array_of of;
};
#define PG_ARRAY(max_)         ((struct pg_array){.b = BUF(max_)})
#define PG_ARRAY_OF(of_, max_) ((struct pg_array){.b = BUF(max_), .of = (of_)})

void pg_array_s(struct pg_array *a, const char *s); /* UTF-8; NULL is NULL */
void pg_array_sn(struct pg_array *a, const char *s, size_t n);
void pg_array_i(struct pg_array *a, int64_t n);
/* The rest is for literals only. */
void pg_array_b(struct pg_array *a, bool b);
void pg_array_t(struct pg_array *a, int64_t ms);                  /* timestamptz; 0: NULL */
void pg_array_bytes(struct pg_array *a, const void *p, size_t n); /* bytea; p NULL: NULL */
void pg_array_null(struct pg_array *a);                           /* of any */
/* A parameter of a single statement, no bytea. */
void pg_array_arg(struct pg_array *a, const struct pg_arg *arg);

/* The array as a parameter; borrows a's memory. May be called again. */
struct pg_arg pg_a(struct pg_array *a);
void pg_array_release(struct pg_array *a); /* for _cleanup_ */

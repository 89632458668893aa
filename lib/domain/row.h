/* row.h - reads one row of a result from left to right, into the arena: the order of the columns is
 * the query's.
 *
 *     struct row r = ROW(cx, res, 0);
 *     o->id = row_text(&r);
 *     o->created_ms = row_ms(&r); */
#pragma once
#include "pg/pg.h"

struct row {
    struct cx *cx;
    const struct pg_result *res;
    int row, col;
};
#define ROW(cx_, res_, row_) ((struct row){.cx = (cx_), .res = (res_), .row = (row_)})

static inline const char *row_text(struct row *r) /* NULL for NULL */
{
    return arena_strdup(&r->cx->arena, pg_text(r->res, r->row, r->col++));
}
static inline int64_t row_int(struct row *r)
{
    return pg_int(r->res, r->row, r->col++);
}
static inline bool row_bool(struct row *r)
{
    return pg_bool(r->res, r->row, r->col++);
}
static inline int64_t row_ms(struct row *r) /* 0 for NULL */
{
    return pg_ms(r->res, r->row, r->col++);
}

/* An array for the rows of a result; never NULL. */
#define rows_alloc(cx, res, type)                                                                  \
    ((type *)arena_alloc(&(cx)->arena, ((size_t)pg_rows(res) + 1) * sizeof(type)))

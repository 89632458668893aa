/* audit.c - one line per deed, in the deed's own transaction. */
#include "domain/audit.h"
#include "domain/audit.sql.h"
#include "domain/row.h"

#define AUDIT_ARGS(a)                                                                              \
    pg_s((a)->tenant_id), pg_s((a)->actor), pg_s((a)->action), pg_s((a)->object_type),             \
        pg_s((a)->object_id), pg_s((a)->detail)

rc audit_write(struct cx *cx, struct pg_tx *tx, const struct audit *a)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    return pg_tx_do(cx, tx, SQL_AUDIT_WRITE, &res, AUDIT_ARGS(a));
}

rc audit_note(struct cx *cx, struct pg *db, const struct audit *a)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    return pg_do(cx, db, SQL_AUDIT_WRITE, &res, AUDIT_ARGS(a));
}

rc audit_list(struct cx *cx, struct pg *db, const char *object_type, const char *object_id,
              int limit, struct audit **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_AUDIT_LIST, &res, pg_s(object_type), pg_s(object_id), pg_i(limit)));
    struct audit *list = rows_alloc(cx, res, struct audit);
    for (int i = 0; i < pg_rows(res); i++) {
        struct row r = ROW(cx, res, i);
        struct audit *a = &list[i];
        a->id = row_int(&r);
        a->at_ms = row_ms(&r);
        a->tenant_id = row_text(&r);
        a->actor = row_text(&r);
        a->action = row_text(&r);
        a->object_type = row_text(&r);
        a->object_id = row_text(&r);
        a->detail = row_text(&r);
    }
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

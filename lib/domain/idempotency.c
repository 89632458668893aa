/* idempotency.c - answers kept under the key of their request. */
#include "domain/idempotency.h"
#include "base/text.h"
#include "domain/idempotency.sql.h"
#include "domain/row.h"

rc idempotency_find(struct cx *cx, struct pg *db, const char *tenant_id, const char *route,
                    const char *key, const char *body_hash, bool *ret_found,
                    struct idempotency_answer *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_IDEMPOTENCY_FIND, &res, pg_s(tenant_id), pg_s(route), pg_s(key)));
    *ret_found = pg_rows(res) > 0;
    if (!*ret_found)
        return OK;
    struct row r = ROW(cx, res, 0);
    if (!str_eq(row_text(&r), body_hash))
        return fail(cx, IDEMPOTENCY_MISMATCH, "this Idempotency-Key was used with another body");
    ret->http_status = (int)row_int(&r);
    ret->body = row_text(&r);
    return OK;
}

rc idempotency_store(struct cx *cx, struct pg_tx *tx, const char *tenant_id, const char *route,
                     const char *key, const char *body_hash, int http_status, const char *body)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_tx_do(cx, tx, SQL_IDEMPOTENCY_STORE, &res, pg_s(tenant_id), pg_s(route), pg_s(key),
                 pg_s(body_hash), pg_i(http_status), pg_s(body)));
    if (pg_affected(res) == 0)
        return fail(cx, CONFLICT, "another request with this Idempotency-Key was first");
    return OK;
}

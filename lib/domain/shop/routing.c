/* routing.c - mappings and routes. Foreign keys do the judging: a route cannot name a provider
 * without a mapping. */
#include "domain/shop/routing.h"
#include "base/text.h"
#include "domain/row.h"
#include "domain/shop/routing.sql.h"
#include <string.h>

#define EXTERNAL_MAX 120

static rc check_external(struct cx *cx, const char *pointer, const char *s, bool required)
{
    if (required && str_empty(s))
        return fail_at(cx, INVALID_FIELD, pointer, "must not be empty");
    if (s && (!utf8_valid(s, strlen(s)) || utf8_len(s) > EXTERNAL_MAX))
        return fail_at(cx, INVALID_FIELD, pointer, "must have at most %d characters", EXTERNAL_MAX);
    return OK;
}

static void mapping_read(struct cx *cx, const struct pg_result *res, int row, struct mapping *m)
{
    struct row r = ROW(cx, res, row);

    m->package_id = row_text(&r);
    m->integration_id = row_text(&r);
    m->integration = row_text(&r);
    m->product = row_text(&r);
    m->kupur = row_text(&r);
}

rc mapping_set(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
               const struct mapping *m, bool sure)
{
    _cleanup_(pg_result_freep) struct pg_result *count = NULL, *res = NULL;
    const char *kupur = m->kupur ? m->kupur : "";

    try(check_external(cx, "/product", m->product, /* required= */ true));
    try(check_external(cx, "/kupur", kupur, /* required= */ false));
    try(pg_do(cx, db, SQL_MAPPING_AMBIGUOUS, &count, pg_s(m->integration_id), pg_s(m->product),
              pg_s(kupur)));
    if (!sure && pg_int(count, 0, 0) > 1)
        return fail(cx, CONFLICT,
                    "%d goods of this provider are called (%s, %s): it could deliver any of them",
                    (int)pg_int(count, 0, 0), m->product, kupur);
    try(pg_do(cx, db, SQL_MAPPING_SET, &res, pg_s(tenant_id), pg_s(m->package_id),
              pg_s(m->integration_id), pg_s(m->product), pg_s(kupur), pg_s(actor)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "this shop has no such package or no such integration");
    return OK;
}

rc mapping_list(struct cx *cx, struct pg *db, const char *tenant_id, const char *package_id,
                struct mapping **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_MAPPING_LIST, &res, pg_s(tenant_id), pg_s(package_id)));
    struct mapping *list = rows_alloc(cx, res, struct mapping);
    for (int i = 0; i < pg_rows(res); i++)
        mapping_read(cx, res, i, &list[i]);
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

rc mapping_get(struct cx *cx, struct pg *db, const char *package_id, const char *integration_id,
               struct mapping *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_MAPPING_GET, &res, pg_s(package_id), pg_s(integration_id)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "the package is not mapped at this provider");
    mapping_read(cx, res, 0, ret);
    return OK;
}

rc route_set(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
             const char *package_id, const char *primary_id, const char *fallback_id)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    if (str_eq(primary_id, fallback_id))
        return fail_at(cx, INVALID_FIELD, "/fallback", "the fallback must be another provider");
    rc r = pg_do(cx, db, SQL_ROUTE_SET, &res, pg_s(tenant_id), pg_s(package_id), pg_s(primary_id),
                 pg_s(fallback_id), pg_s(actor));
    if (r == E_PG_CONSTRAINT)
        return fail(cx, UNROUTED_PACKAGE, "map the package at the provider first");
    try(r);
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "this shop has no such package");
    return OK;
}

rc route_list(struct cx *cx, struct pg *db, const char *tenant_id, struct route **ret,
              size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_ROUTE_LIST, &res, pg_s(tenant_id)));
    struct route *list = rows_alloc(cx, res, struct route);
    for (int i = 0; i < pg_rows(res); i++) {
        struct row r = ROW(cx, res, i);
        struct route *t = &list[i];
        t->package_id = row_text(&r);
        t->package = row_text(&r);
        t->primary_id = row_text(&r);
        t->primary = row_text(&r);
        t->fallback_id = row_text(&r);
        t->fallback = row_text(&r);
    }
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

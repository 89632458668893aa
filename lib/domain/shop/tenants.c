/* tenants.c - the shops. A callback secret is born with each, and sealed under the tenant's id. */
#include "domain/shop/tenants.h"
#include "base/id.h"
#include "base/text.h"
#include "domain/row.h"
#include "domain/shop/tenants.sql.h"
#include <string.h>

#define SECRET_BYTES 32

static void tenant_read(struct cx *cx, const struct pg_result *res, int row, struct tenant *t)
{
    struct row r = ROW(cx, res, row);

    t->id = row_text(&r);
    t->name = row_text(&r);
    t->enabled = row_bool(&r);
    t->created_ms = row_ms(&r);
}

static const char *secret_context(struct cx *cx, const char *tenant_id)
{
    return arena_printf(&cx->arena, "webhook_secret:%s", tenant_id);
}

rc tenant_add(struct cx *cx, struct pg *db, const struct seal_keys *seal, const char *actor,
              const char *name, struct tenant *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1], secret[2 * SECRET_BYTES + 1];
    unsigned char bytes[SECRET_BYTES];
    const char *sealed;

    if (str_empty(name) || !utf8_valid(name, strlen(name)) || utf8_len(name) > TENANT_NAME_MAX)
        return fail_at(cx, INVALID_FIELD, "/name", "must have 1 to %d characters", TENANT_NAME_MAX);
    random_bytes(bytes, sizeof(bytes));
    id_new(id);
    rc sealing = seal_text(cx, seal, secret_context(cx, id),
                           hex_encode(bytes, sizeof(bytes), secret), &sealed);
    explicit_bzero(secret, sizeof(secret));
    explicit_bzero(bytes, sizeof(bytes));
    try(sealing);
    try(pg_do(cx, db, SQL_TENANT_ADD, &res, pg_s(id), pg_s(name), pg_s(sealed), pg_s(actor)));
    if (pg_rows(res) == 0)
        return fail_at(cx, ALREADY_EXISTS, "/name", "there is a tenant '%s' already", name);
    tenant_read(cx, res, 0, ret);
    return OK;
}

rc tenant_get(struct cx *cx, struct pg *db, const char *by, struct tenant *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1];
    bool is_id = id_parse(by, id);

    try(pg_do(cx, db, SQL_TENANT_GET, &res, pg_s(is_id ? id : NULL), pg_s(is_id ? NULL : by)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no tenant '%s'", by);
    tenant_read(cx, res, 0, ret);
    return OK;
}

rc tenant_list(struct cx *cx, struct pg *db, struct tenant **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_query(cx, db, &SQL_TENANT_LIST, &res, PG_NO_ARGS));
    struct tenant *list = rows_alloc(cx, res, struct tenant);
    for (int i = 0; i < pg_rows(res); i++)
        tenant_read(cx, res, i, &list[i]);
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

rc tenant_webhook_secret(struct cx *cx, struct pg *db, const struct seal_keys *seal,
                         const char *tenant_id, const char **ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_TENANT_SECRET, &res, pg_s(tenant_id)));
    if (pg_rows(res) == 0 || !pg_text(res, 0, 0))
        return fail(cx, NOT_FOUND, "tenant %s has no callback secret", tenant_id);
    return open_text(cx, seal, secret_context(cx, tenant_id), pg_text(res, 0, 0), ret);
}

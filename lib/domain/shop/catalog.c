/* catalog.c - products, packages, and the goods of providers. */
#include "domain/shop/catalog.h"
#include "base/id.h"
#include "base/text.h"
#include "domain/row.h"
#include "domain/shop/catalog.sql.h"
#include "pg/pg_array.h"
#include <string.h>

static rc check_name(struct cx *cx, const char *name)
{
    if (str_empty(name) || !utf8_valid(name, strlen(name)) || utf8_len(name) > CATALOG_NAME_MAX)
        return fail_at(cx, INVALID_FIELD, "/name", "must have 1 to %d characters",
                       CATALOG_NAME_MAX);
    return OK;
}

static const char *id_or_null(struct cx *cx, const char *s)
{
    char id[ID_LEN + 1];
    return s && id_parse(s, id) ? arena_strdup(&cx->arena, id) : NULL;
}

/* ---------------------------------------------------------------- products */

static void product_read(struct cx *cx, const struct pg_result *res, int row, struct product *p)
{
    struct row r = ROW(cx, res, row);

    p->id = row_text(&r);
    p->tenant_id = row_text(&r);
    p->name = row_text(&r);
    p->enabled = row_bool(&r);
    p->created_ms = row_ms(&r);
}

rc product_add(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
               const char *name, struct product *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1];

    try(check_name(cx, name));
    rc r = pg_do(cx, db, SQL_PRODUCT_ADD, &res, pg_s(id_new(id)), pg_s(tenant_id), pg_s(name),
                 pg_s(actor));
    if (r == E_PG_UNIQUE)
        return fail_at(cx, ALREADY_EXISTS, "/name", "there is a product '%s' already", name);
    try(r);
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no such tenant");
    product_read(cx, res, 0, ret);
    return OK;
}

rc product_get(struct cx *cx, struct pg *db, const char *tenant_id, const char *by,
               struct product *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    const char *id = id_or_null(cx, by);

    try(pg_do(cx, db, SQL_PRODUCT_LIST, &res, pg_s(tenant_id), pg_s(id), pg_s(id ? NULL : by)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no product '%s'", by);
    product_read(cx, res, 0, ret);
    return OK;
}

rc product_list(struct cx *cx, struct pg *db, const char *tenant_id, struct product **ret,
                size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_PRODUCT_LIST, &res, pg_s(tenant_id), pg_s(NULL), pg_s(NULL)));
    struct product *list = rows_alloc(cx, res, struct product);
    for (int i = 0; i < pg_rows(res); i++)
        product_read(cx, res, i, &list[i]);
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

/* ---------------------------------------------------------------- packages */

static void package_read(struct cx *cx, const struct pg_result *res, int row, struct package *p)
{
    struct row r = ROW(cx, res, row);

    p->id = row_text(&r);
    p->tenant_id = row_text(&r);
    p->product_id = row_text(&r);
    p->product = row_text(&r);
    p->name = row_text(&r);
    p->enabled = row_bool(&r);
    p->routed = row_bool(&r);
    p->created_ms = row_ms(&r);
}

rc package_add(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
               const char *product_id, const char *name, struct package *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1];
    const char *product = id_or_null(cx, product_id);

    try(check_name(cx, name));
    rc r = pg_do(cx, db, SQL_PACKAGE_ADD, &res, pg_s(id_new(id)), pg_s(tenant_id), pg_s(product),
                 pg_s(name), pg_s(actor));
    if (r == E_PG_UNIQUE)
        return fail_at(cx, ALREADY_EXISTS, "/name", "the product has a package '%s' already", name);
    try(r);
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no such product");
    package_read(cx, res, 0, ret);
    return OK;
}

rc package_get(struct cx *cx, struct pg *db, const char *tenant_id, const char *by,
               struct package *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    const char *id = id_or_null(cx, by), *name = id ? NULL : by;

    try(pg_do(cx, db, SQL_PACKAGE_LIST, &res, pg_s(tenant_id), pg_s(id), pg_s(NULL), pg_s(name),
              pg_s(NULL)));
    const char *slash = name ? strchr(name, '/') : NULL;
    if (pg_rows(res) == 0 && slash) {
        pg_result_freep(&res);
        res = NULL;
        try(pg_do(cx, db, SQL_PACKAGE_LIST, &res, pg_s(tenant_id), pg_s(NULL), pg_s(NULL),
                  pg_s(slash + 1), pg_s(arena_strndup(&cx->arena, name, (size_t)(slash - name)))));
    }
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no package '%s'", by);
    if (pg_rows(res) > 1)
        return fail(cx, CONFLICT, "there are %d packages '%s': say product/package", pg_rows(res),
                    by);
    package_read(cx, res, 0, ret);
    return OK;
}

rc package_list(struct cx *cx, struct pg *db, const char *tenant_id, const char *product_id,
                struct package **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_PACKAGE_LIST, &res, pg_s(tenant_id), pg_s(NULL), pg_s(product_id),
              pg_s(NULL), pg_s(NULL)));
    struct package *list = rows_alloc(cx, res, struct package);
    for (int i = 0; i < pg_rows(res); i++)
        package_read(cx, res, i, &list[i]);
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

rc package_enable(struct cx *cx, struct pg *db, const char *actor, const char *package_id,
                  bool enabled)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_PACKAGE_ENABLE, &res, pg_s(id_or_null(cx, package_id)), pg_b(enabled),
              pg_s(actor)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no such package");
    return OK;
}

/* ---------------------------------------------------------------- goods of providers */

struct goods { /* the parameters of catalogue_put, after the integration */
    struct pg_array external_id, product, kupur, name, game, price, raw;
};

static void goods_release(struct goods *g)
{
    struct pg_array *a = &g->external_id;
    for (size_t i = 0; i < sizeof(*g) / sizeof(*a); i++)
        pg_array_release(&a[i]);
}

static void goods_init(struct goods *g)
{
    struct pg_array *a = &g->external_id;
    for (size_t i = 0; i < sizeof(*g) / sizeof(*a); i++)
        a[i] = PG_ARRAY(MiB(32));
}

static const char *price_or_null(const char *s)
{
    return s && strlen(s) <= 14 && decimal_valid(s, 8) ? s : NULL;
}

rc catalogue_put(struct cx *cx, struct pg *db, const char *integration_id,
                 const struct catalogue_item *items, size_t n, int64_t *ret_collisions)
{
    _cleanup_(goods_release) struct goods g;
    _cleanup_(pg_result_freep) struct pg_result *put = NULL, *count = NULL;

    goods_init(&g);
    for (size_t i = 0; i < n; i++) {
        pg_array_s(&g.external_id, items[i].external_id);
        pg_array_s(&g.product, items[i].product);
        pg_array_s(&g.kupur, items[i].kupur ? items[i].kupur : "");
        pg_array_s(&g.name, items[i].name);
        pg_array_s(&g.game, items[i].game ? items[i].game : "");
        pg_array_s(&g.price, price_or_null(items[i].price));
        pg_array_s(&g.raw, items[i].raw);
    }
    if (n)
        try(pg_do(cx, db, SQL_CATALOGUE_PUT, &put, pg_s(integration_id), pg_a(&g.external_id),
                  pg_a(&g.product), pg_a(&g.kupur), pg_a(&g.name), pg_a(&g.game), pg_a(&g.price),
                  pg_a(&g.raw)));
    try(pg_do(cx, db, SQL_CATALOGUE_COLLISIONS, &count, pg_s(integration_id)));
    *ret_collisions = pg_int(count, 0, 0);
    return OK;
}

rc catalogue_list(struct cx *cx, struct pg *db, const char *integration_id, const char *match,
                  int limit, struct catalogue_item **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_CATALOGUE_LIST, &res, pg_s(integration_id), pg_s(match), pg_i(limit)));
    struct catalogue_item *list = rows_alloc(cx, res, struct catalogue_item);
    for (int i = 0; i < pg_rows(res); i++) {
        struct row r = ROW(cx, res, i);
        struct catalogue_item *c = &list[i];
        c->external_id = row_text(&r);
        c->product = row_text(&r);
        c->kupur = row_text(&r);
        c->name = row_text(&r);
        c->game = row_text(&r);
        c->price = row_text(&r);
        c->raw = row_text(&r);
        c->seen_ms = row_ms(&r);
        c->collides = row_bool(&r);
    }
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

/* catalog.c - what a shop sells: products and their packages. */
#include "domain/shop/catalog.h"
#include "ops/table.h"
#include "ops/tenant.h"
#include "ops/verbs.h"

static struct table *product_table(struct cx *cx, const struct product *p, size_t n)
{
    struct table *t = table_new("id", "name", "enabled?", "created_at", NULL);

    for (size_t i = 0; i < n; i++)
        table_row(t, p[i].id, p[i].name, p[i].enabled ? "yes" : "no", when(cx, p[i].created_ms));
    return t;
}

static struct table *package_table(struct cx *cx, const struct package *p, size_t n)
{
    struct table *t = table_new("id", "product", "name", "enabled?", "routed?", "created_at", NULL);

    for (size_t i = 0; i < n; i++)
        table_row(t, p[i].id, p[i].product, p[i].name, p[i].enabled ? "yes" : "no",
                  p[i].routed ? "yes" : "no", when(cx, p[i].created_ms));
    return t;
}

rc verb_product_add(struct cx *cx, struct ops *o)
{
    struct tenant t;
    struct product p;

    try(tenant_named(cx, o, &t));
    try(product_add(cx, o->db, o->actor, t.id, o->argv[0], &p));
    table_print_one(product_table(cx, &p, 1), o->json);
    return OK;
}

rc verb_product_ls(struct cx *cx, struct ops *o)
{
    struct tenant t;
    struct product *p;
    size_t n;

    try(tenant_named(cx, o, &t));
    try(product_list(cx, o->db, t.id, &p, &n));
    table_print(product_table(cx, p, n), o->json);
    return OK;
}

rc verb_package_add(struct cx *cx, struct ops *o)
{
    struct tenant t;
    struct product p;
    struct package k;

    try(tenant_named(cx, o, &t));
    try(product_get(cx, o->db, t.id, o->argv[0], &p));
    try(package_add(cx, o->db, o->actor, t.id, p.id, o->argv[1], &k));
    table_print_one(package_table(cx, &k, 1), o->json);
    return OK;
}

rc verb_package_show(struct cx *cx, struct ops *o)
{
    struct tenant t;
    struct package k;

    try(tenant_named(cx, o, &t));
    try(package_get(cx, o->db, t.id, o->argv[0], &k));
    table_print_one(package_table(cx, &k, 1), o->json);
    return OK;
}

static rc set_enabled(struct cx *cx, struct ops *o, bool enabled)
{
    struct tenant t;
    struct package k;

    try(tenant_named(cx, o, &t));
    try(package_get(cx, o->db, t.id, o->argv[0], &k));
    try(package_enable(cx, o->db, o->actor, k.id, enabled));
    try(package_get(cx, o->db, t.id, k.id, &k));
    table_print_one(package_table(cx, &k, 1), o->json);
    return OK;
}

rc verb_package_enable(struct cx *cx, struct ops *o)
{
    return set_enabled(cx, o, true);
}

rc verb_package_disable(struct cx *cx, struct ops *o)
{
    return set_enabled(cx, o, false);
}

rc verb_package_ls(struct cx *cx, struct ops *o)
{
    struct tenant t;
    struct product p = {0};
    struct package *k;
    size_t n;

    try(tenant_named(cx, o, &t));
    if (o->argc)
        try(product_get(cx, o->db, t.id, o->argv[0], &p));
    try(package_list(cx, o->db, t.id, p.id, &k, &n));
    table_print(package_table(cx, k, n), o->json);
    return OK;
}

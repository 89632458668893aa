/* route.c - which good of which provider a package is, and who is asked first. */
#include "domain/shop/catalog.h"
#include "domain/shop/integrations.h"
#include "domain/shop/routing.h"
#include "ops/table.h"
#include "ops/tenant.h"
#include "ops/verbs.h"
#include <stdio.h>

rc verb_route_ls(struct cx *cx, struct ops *o)
{
    struct tenant t;
    struct route *r;
    struct mapping *m;
    struct table *tab;
    size_t n, nm;

    try(tenant_named(cx, o, &t));
    try(route_list(cx, o->db, t.id, &r, &n));
    if (!opt(o, "mappings")) {
        tab = table_new("package", "primary", "fallback", "package_id", NULL);
        for (size_t i = 0; i < n; i++)
            table_row(tab, r[i].package, r[i].primary, r[i].fallback, r[i].package_id);
    } else {
        try(mapping_list(cx, o->db, t.id, NULL, &m, &nm));
        tab = table_new("package_id", "provider", "product", "kupur", NULL);
        for (size_t i = 0; i < nm; i++)
            table_row(tab, m[i].package_id, m[i].integration, m[i].product, m[i].kupur);
    }
    table_print(tab, o->json);
    return OK;
}

rc verb_route_map(struct cx *cx, struct ops *o)
{
    struct tenant t;
    struct package k;
    struct integration p;
    struct mapping m = {0};

    try(tenant_named(cx, o, &t));
    try(package_get(cx, o->db, t.id, o->argv[0], &k));
    try(integration_get(cx, o->db, NULL, t.id, o->argv[1], &p));
    try(opt_needed(cx, o, "product", &m.product));
    m.kupur = opt(o, "kupur") ? opt(o, "kupur") : "";
    m.package_id = k.id;
    m.integration_id = p.id;
    try(mapping_set(cx, o->db, o->actor, t.id, &m, opt(o, "sure") != NULL));
    if (o->json)
        printf("{\"mapped\":true}\n");
    else
        printf("%s is product %s%s%s at %s\n", k.name, m.product, *m.kupur ? ", kupur " : "",
               m.kupur, p.name);
    return OK;
}

rc verb_route_set(struct cx *cx, struct ops *o)
{
    struct tenant t;
    struct package k;
    struct integration primary, fallback = {0};
    const char *name;

    try(tenant_named(cx, o, &t));
    try(package_get(cx, o->db, t.id, o->argv[0], &k));
    try(opt_needed(cx, o, "primary", &name));
    try(integration_get(cx, o->db, NULL, t.id, name, &primary));
    if (opt(o, "fallback"))
        try(integration_get(cx, o->db, NULL, t.id, opt(o, "fallback"), &fallback));
    try(route_set(cx, o->db, o->actor, t.id, k.id, primary.id, fallback.id));
    if (o->json)
        printf("{\"routed\":true}\n");
    else
        printf("%s goes to %s%s%s\n", k.name, primary.name,
               fallback.id ? ", after a certain refusal to " : "",
               fallback.id ? fallback.name : "");
    return OK;
}

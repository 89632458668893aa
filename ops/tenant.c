/* tenant.c - verbs about shops. */
#include "ops/tenant.h"
#include "base/clock.h"
#include "domain/audit.h"
#include "ops/table.h"
#include "ops/verbs.h"

rc tenant_named(struct cx *cx, struct ops *o, struct tenant *ret)
{
    const char *name = opt(o, "tenant");
    struct tenant *all;
    size_t n;

    if (name)
        return tenant_get(cx, o->db, name, ret);
    try(tenant_list(cx, o->db, &all, &n));
    if (n == 0)
        return fail(cx, NOT_FOUND,
                    "there is no tenant yet; make one with 'mihwar tenant add NAME'");
    if (n > 1)
        return fail(cx, USAGE, "there are %zu tenants; say which with --tenant NAME", n);
    *ret = all[0];
    return OK;
}

rc tenant_if_named(struct cx *cx, struct ops *o, const char **ret_id)
{
    struct tenant t;

    *ret_id = NULL;
    if (!opt(o, "tenant"))
        return OK;
    try(tenant_named(cx, o, &t));
    *ret_id = t.id;
    return OK;
}

const char *when(struct cx *cx, int64_t ms)
{
    char text[CLOCK_TEXT_LEN + 1];

    return ms ? arena_strdup(&cx->arena, clock_format(ms, text)) : NULL;
}

static void print_tenants(struct cx *cx, const struct tenant *t, size_t n, bool json, bool one)
{
    struct table *tab = table_new("id", "name", "enabled?", "created_at", NULL);

    for (size_t i = 0; i < n; i++)
        table_row(tab, t[i].id, t[i].name, t[i].enabled ? "yes" : "no", when(cx, t[i].created_ms));
    (one ? table_print_one : table_print)(tab, json);
}

rc verb_tenant_add(struct cx *cx, struct ops *o)
{
    struct tenant t;

    try(tenant_add(cx, o->db, o->keys, o->actor, o->argv[0], &t));
    print_tenants(cx, &t, 1, o->json, true);
    return OK;
}

rc verb_tenant_ls(struct cx *cx, struct ops *o)
{
    struct tenant *t;
    size_t n;

    try(tenant_list(cx, o->db, &t, &n));
    print_tenants(cx, t, n, o->json, false);
    return OK;
}

/* The receiver of callbacks needs it to check signatures. Whoever looked is on record. */
rc verb_tenant_secret(struct cx *cx, struct ops *o)
{
    struct tenant t;
    struct table *tab;
    const char *secret;

    try(tenant_named(cx, o, &t));
    try(tenant_webhook_secret(cx, o->db, o->keys, t.id, &secret));
    try(audit_note(cx, o->db,
                   &(struct audit){.tenant_id = t.id,
                                   .actor = o->actor,
                                   .action = "tenant.secret",
                                   .object_type = "tenant",
                                   .object_id = t.id}));
    tab = table_new("tenant", "webhook_secret", NULL);
    table_row(tab, t.name, secret);
    table_print_one(tab, o->json);
    return OK;
}

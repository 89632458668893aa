/* role.c - what may be done, under a name: permissions, and which commands may be sent. */
#include "domain/access/roles.h"
#include "ops/table.h"
#include "ops/tenant.h"
#include "ops/verbs.h"
#include <stdio.h>

static void print_roles(struct cx *cx, const struct role *list, size_t n, bool json, bool one)
{
    struct table *t = table_new("name", "permissions", "commands", "holders#", "updated_at", "id+",
                                "tenant_id+", NULL);

    for (size_t i = 0; i < n; i++)
        table_row(t, list[i].name, commas(cx, list[i].permissions), commas(cx, list[i].commands),
                  number(cx, list[i].holders), when(cx, list[i].updated_ms), list[i].id,
                  list[i].tenant_id);
    (one ? table_print_one : table_print)(t, json);
}

rc verb_role_add(struct cx *cx, struct ops *o)
{
    const char *permissions;
    struct tenant t;
    struct role made;

    try(opt_needed(cx, o, "permissions", &permissions));
    try(tenant_named(cx, o, &t));
    try(role_add(cx, o->db, o->actor, t.id, o->argv[0], permissions, opt(o, "commands"), &made));
    print_roles(cx, &made, 1, o->json, true);
    return OK;
}

rc verb_role_set(struct cx *cx, struct ops *o)
{
    const char *permissions = opt(o, "permissions"), *commands = opt(o, "commands");
    struct tenant t;
    struct role now;

    if (!permissions && !commands)
        return fail(cx, USAGE, "say what changes: --permissions, --commands");
    try(tenant_named(cx, o, &t));
    try(role_set(cx, o->db, o->actor, t.id, o->argv[0], permissions, commands, &now));
    print_roles(cx, &now, 1, o->json, true);
    return OK;
}

rc verb_role_rm(struct cx *cx, struct ops *o)
{
    struct tenant t;

    try(tenant_named(cx, o, &t));
    try(role_remove(cx, o->db, o->actor, t.id, o->argv[0]));
    printf(o->json ? "{\"removed\":true}\n" : "removed\n");
    return OK;
}

rc verb_role_ls(struct cx *cx, struct ops *o)
{
    const char *tenant;
    struct role *list;
    size_t n;

    try(tenant_if_named(cx, o, &tenant));
    try(role_list(cx, o->db, tenant, &list, &n));
    print_roles(cx, list, n, o->json, false);
    return OK;
}

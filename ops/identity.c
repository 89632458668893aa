/* identity.c - the names of certificates that may come in, and as whom. */
#include "domain/access/identities.h"
#include "ops/table.h"
#include "ops/tenant.h"
#include "ops/verbs.h"
#include <stdio.h>

static void print_identities(struct cx *cx, const struct identity_row *list, size_t n, bool json,
                             bool one)
{
    struct table *t = table_new("name", "roles", "agent_id", "enabled?", "created_at",
                                "last_used_at", "id+", "tenant_id+", NULL);

    for (size_t i = 0; i < n; i++)
        table_row(t, list[i].name, commas(cx, list[i].roles), list[i].agent_id,
                  list[i].enabled ? "yes" : "no", when(cx, list[i].created_ms),
                  when(cx, list[i].last_used_ms), list[i].id, list[i].tenant_id);
    (one ? table_print_one : table_print)(t, json);
}

rc verb_identity_add(struct cx *cx, struct ops *o)
{
    struct identity_row made;
    struct tenant t;

    try(tenant_named(cx, o, &t));
    try(identity_add(cx, o->db, o->actor, t.id, o->argv[0], opt(o, "agent"), opt(o, "role"),
                     &made));
    print_identities(cx, &made, 1, o->json, true);
    return OK;
}

rc verb_identity_set(struct cx *cx, struct ops *o)
{
    bool enabled = opt(o, "enable") != NULL;
    struct identity_change change = {.agent_id = opt(o, "agent"), .roles = opt(o, "role")};
    struct identity_row now;
    struct tenant t;

    if (enabled && opt(o, "disable"))
        return fail(cx, USAGE, "--enable or --disable, not both");
    if (enabled || opt(o, "disable"))
        change.enabled = &enabled;
    if (!change.agent_id && !change.roles && !change.enabled)
        return fail(cx, USAGE, "say what changes: --role, --agent, --enable, --disable");
    try(tenant_named(cx, o, &t));
    try(identity_set(cx, o->db, o->actor, t.id, o->argv[0], &change, &now));
    print_identities(cx, &now, 1, o->json, true);
    return OK;
}

rc verb_identity_rm(struct cx *cx, struct ops *o)
{
    struct tenant t;

    try(tenant_named(cx, o, &t));
    try(identity_remove(cx, o->db, o->actor, t.id, o->argv[0]));
    printf(o->json ? "{\"removed\":true}\n" : "removed\n");
    return OK;
}

rc verb_identity_ls(struct cx *cx, struct ops *o)
{
    struct identity_row *list;
    const char *tenant;
    size_t n;

    try(tenant_if_named(cx, o, &tenant));
    try(identity_list(cx, o->db, tenant, &list, &n));
    print_identities(cx, list, n, o->json, false);
    return OK;
}

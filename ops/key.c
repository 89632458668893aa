/* key.c - API keys: shown once when they are made, then only by prefix. */
#include "base/clock.h"
#include "base/text.h"
#include "domain/access/keys.h"
#include "ops/table.h"
#include "ops/tenant.h"
#include "ops/verbs.h"
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

/* What a shop's front end needs; operators' keys are made with --role operator. */
#define SHOP_PERMISSIONS "orders:read,orders:write,jobs:read,jobs:write"
#define TOKEN_START      "mwk_" /* then the prefix that names the row */

static const char *words_of(struct cx *cx, uint64_t bits)
{
    const char *out = "";

    for (int p = 0; p < PERM_COUNT; p++) {
        if (bits & PERM_BIT(p))
            out = arena_printf(&cx->arena, "%s%s%s", out, *out ? "," : "",
                               permission_word((enum permission)p));
    }
    return out;
}

static const char *permission_list(struct cx *cx, uint64_t bits)
{
    return bits == PERM_ALL ? "*" : bits ? words_of(cx, bits) : NULL;
}

static rc read_permissions(struct cx *cx, const char *list, uint64_t *ret)
{
    char *words = arena_strdup(&cx->arena, list), *save = NULL;

    *ret = 0;
    for (char *w = strtok_r(words, ", ", &save); w; w = strtok_r(NULL, ", ", &save)) {
        uint64_t bits = permission_bits(w);
        if (!bits)
            return fail(cx, USAGE, "there is no permission '%s'; there are %s and *", w,
                        words_of(cx, PERM_ALL));
        *ret |= bits;
    }
    if (!*ret)
        return fail(cx, USAGE, "--permissions is empty; leave it out for %s", SHOP_PERMISSIONS);
    return OK;
}

rc verb_key_add(struct cx *cx, struct ops *o)
{
    const char *list = opt(o, "permissions"), *roles = opt(o, "role");
    struct tenant t;
    struct key k;
    uint64_t bits = 0;
    int64_t in_ms;
    char text[TOKEN_TEXT_LEN + 1];
    struct table *tab;

    if (list || !roles)
        try(read_permissions(cx, list ? list : SHOP_PERMISSIONS, &bits));
    try(opt_duration(cx, o, "expires", 0, &in_ms));
    try(tenant_named(cx, o, &t));
    try(key_create(cx, o->db, o->actor, t.id, o->argv[0], bits, roles,
                   in_ms ? clock_ms() + in_ms : 0, &k, text));
    tab = table_new("id", "tenant", "name", "permissions", "roles", "expires_at", "key", NULL);
    table_row(tab, k.id, t.name, k.name, permission_list(cx, k.permissions), commas(cx, k.roles),
              when(cx, k.expires_ms), text);
    table_print_one(tab, o->json);
    OPENSSL_cleanse(text, sizeof text);
    if (!o->json)
        hint("Keep the key: it is not shown again.");
    return OK;
}

rc verb_key_ls(struct cx *cx, struct ops *o)
{
    const char *tenant;
    struct table *tab;
    struct key *k;
    size_t n;

    try(tenant_if_named(cx, o, &tenant));
    try(key_list(cx, o->db, tenant, &k, &n));
    tab = table_new("prefix", "name", "permissions", "roles", "created_at", "last_used_at",
                    "expires_at", "revoked_at", "id+", "tenant_id+", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(tab, k[i].prefix, k[i].name, permission_list(cx, k[i].permissions),
                  commas(cx, k[i].roles), when(cx, k[i].created_ms), when(cx, k[i].last_used_ms),
                  when(cx, k[i].expires_ms), when(cx, k[i].revoked_ms), k[i].id, k[i].tenant_id);
    table_print(tab, o->json);
    return OK;
}

rc verb_key_revoke(struct cx *cx, struct ops *o)
{
    const char *by = o->argv[0];

    if (starts_with(by, TOKEN_START)) /* as it leaked */
        by = arena_strndup(&cx->arena, by + strlen(TOKEN_START),
                           strnlen(by + strlen(TOKEN_START), TOKEN_PREFIX_LEN));
    try(key_revoke(cx, o->db, o->actor, by));
    if (o->json)
        printf("{\"revoked\":true}\n");
    else
        printf("revoked; every hub refuses it from now on\n");
    return OK;
}

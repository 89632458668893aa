/* ca.c - a certificate authority in a folder: no store is asked, and its index is its record. */
#include "secure/ca.h"
#include "base/clock.h"
#include "ops/table.h"
#include "ops/verbs.h"

#define CA_DAYS    3650
#define LEAF_DAYS  365
#define CRL_DAYS   30
#define DAYS_MAX   36500
#define DAY_MS     86400000
#define DEFAULT_CN "Mihwar CA"

static const char *dir_of(const struct ops *o)
{
    const char *dir = opt(o, "dir");

    return dir ? dir : "ca";
}

/* --days from now. */
static rc until(struct cx *cx, const struct ops *o, int64_t def, int64_t *ret_ms)
{
    int64_t days;

    try(opt_int(cx, o, "days", 1, DAYS_MAX, def, &days));
    *ret_ms = clock_ms() + days * DAY_MS;
    return OK;
}

static const char *file(struct cx *cx, const struct ops *o, const char *name)
{
    return arena_printf(&cx->arena, "%s/%s", dir_of(o), name);
}

static const char *state_of(const struct ca_issued *c)
{
    return c->revoked_ms ? "revoked" : c->until_ms <= clock_ms() ? "expired" : "good";
}

rc verb_ca_init(struct cx *cx, struct ops *o)
{
    struct ca_issued ca;
    int64_t until_ms;
    struct table *t;

    try(until(cx, o, CA_DAYS, &until_ms));
    try(ca_init(cx, dir_of(o), o->argc ? o->argv[0] : DEFAULT_CN, until_ms,
                clock_ms() + (int64_t)CRL_DAYS * DAY_MS, &ca));
    t = table_new("name", "serial", "not_after", "certificate", "crl", NULL);
    table_row(t, ca.name, ca.serial, when(cx, ca.until_ms), file(cx, o, "ca.crt"),
              file(cx, o, "ca.crl"));
    table_print_one(t, o->json);
    if (!o->json)
        hint("Keep %s where nobody else reads it; no door needs it.", file(cx, o, "ca.key"));
    return OK;
}

rc verb_ca_issue(struct cx *cx, struct ops *o)
{
    const char *kind = opt(o, "kind");
    struct ca_request q = {.name = o->argv[0],
                           .kind = CA_CLIENT,
                           .dns = opt(o, "dns"),
                           .uri = opt(o, "uri"),
                           .ip = opt(o, "ip")};
    struct ca_issued c;
    struct table *t;

    if (kind && !ca_kind_parse(kind, &q.kind))
        return fail(cx, USAGE, "--kind is client, agent or server");
    try(until(cx, o, LEAF_DAYS, &q.until_ms));
    try(ca_issue(cx, dir_of(o), &q, &c));
    t = table_new("name", "kind", "names", "serial", "not_after", "certificate", "key", NULL);
    table_row(t, c.name, ca_kind_word(c.kind), c.names, c.serial, when(cx, c.until_ms),
              arena_printf(&cx->arena, "%s/issued/%s.crt", dir_of(o), c.name),
              arena_printf(&cx->arena, "%s/issued/%s.key", dir_of(o), c.name));
    table_print_one(t, o->json);
    return OK;
}

rc verb_ca_revoke(struct cx *cx, struct ops *o)
{
    struct ca_issued c;
    int64_t until_ms;
    struct table *t;

    try(until(cx, o, CRL_DAYS, &until_ms));
    try(ca_revoke(cx, dir_of(o), o->argv[0], until_ms, &c));
    t = table_new("name", "serial", "revoked_at", "crl", "next_update", NULL);
    table_row(t, c.name, c.serial, when(cx, c.revoked_ms), file(cx, o, "ca.crl"),
              when(cx, until_ms));
    table_print_one(t, o->json);
    if (!o->json)
        hint("Bring the list to the doors.");
    return OK;
}

rc verb_ca_ls(struct cx *cx, struct ops *o)
{
    struct ca_issued *c;
    struct table *t;
    size_t n;

    try(ca_list(cx, dir_of(o), &c, &n));
    t = table_new("name", "kind", "names", "state", "not_after", "revoked_at", "serial",
                  "issued_at+", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(t, c[i].name, ca_kind_word(c[i].kind), c[i].names, state_of(&c[i]),
                  when(cx, c[i].until_ms), when(cx, c[i].revoked_ms), c[i].serial,
                  when(cx, c[i].issued_ms));
    table_print(t, o->json);
    return OK;
}

rc verb_ca_crl(struct cx *cx, struct ops *o)
{
    int64_t until_ms;
    struct table *t;
    size_t n;

    try(until(cx, o, CRL_DAYS, &until_ms));
    try(ca_crl(cx, dir_of(o), until_ms, &n));
    t = table_new("crl", "revoked#", "next_update", NULL);
    table_row(t, file(cx, o, "ca.crl"), number(cx, (int64_t)n), when(cx, until_ms));
    table_print_one(t, o->json);
    return OK;
}

/* provider.c - a shop's accounts at providers.
 *
 * Talking to a provider is the workers' business: `provider test` and `catalogue import` enqueue
 * the job that does it and wait for its end, so that the command sees what the workers would see
 * (their network, their address, their limits). */
#include "base/clock.h"
#include "base/text.h"
#include "domain/catalog.h"
#include "domain/integrations.h"
#include "ops/table.h"
#include "ops/tenant.h"
#include "ops/verbs.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WAIT_MS 60000

static rc named(struct cx *cx, struct ops *o, struct integration *ret)
{
    struct tenant t;

    try(tenant_named(cx, o, &t));
    return integration_get(cx, o->db, NULL, t.id, o->argv[0], ret);
}

static const char *pause_text(struct cx *cx, const struct integration *i)
{
    return i->paused_until_ms == PAUSED_FOR_EVER ? "until resumed" : when(cx, i->paused_until_ms);
}

static struct table *provider_table(struct cx *cx, const struct integration *p, size_t n)
{
    struct table *t = table_new("name", "kind", "base_url", "enabled?", "breaker", "paused_until",
                                "balance", "balance_at", "may_resend?", "settings{}", "id", NULL);

    for (size_t i = 0; i < n; i++)
        table_row(t, p[i].name, provider_kind_word(p[i].kind), p[i].base_url,
                  p[i].enabled ? "yes" : "no", breaker_word(p[i].breaker), pause_text(cx, &p[i]),
                  p[i].balance, when(cx, p[i].balance_ms), p[i].may_resend ? "yes" : "no",
                  p[i].settings, p[i].id);
    return t;
}

/* A value, or the contents of a file ("@path"; "@-": stdin), so that a secret need not stand on the
 * command line. */
static rc value_or_file(struct cx *cx, const char *value, const char **ret)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(256));
    char chunk[4096];
    size_t n;
    FILE *f;

    *ret = value;
    if (!value || value[0] != '@')
        return OK;
    f = strcmp(value, "@-") == 0 ? stdin : fopen(value + 1, "re");
    if (!f)
        return fail(cx, USAGE, "%s cannot be read: %s", value + 1, strerror(errno));
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_append(&b, chunk, n);
    if (f != stdin)
        fclose(f);
    if (!buf_ok(&b))
        return fail(cx, USAGE, "%s is larger than 256 KiB", value + 1);
    *ret = arena_strdup(&cx->arena, str_trim(b.p ? b.p : (char[]){0}));
    return OK;
}

/* --credentials JSON|@FILE, or what the known providers ask for: --kod and --sifre, --token. */
static rc credentials(struct cx *cx, struct ops *o, const char **ret)
{
    static const char *const names[] = {"kod", "sifre", "token"};
    _cleanup_(buf_release) struct buf b = BUF(KiB(16));

    try(value_or_file(cx, opt(o, "credentials"), ret));
    for (size_t i = 0; i < COUNT(names); i++) {
        const char *value;
        try(value_or_file(cx, opt(o, names[i]), &value));
        if (!value)
            continue;
        buf_printf(&b, "%s\"%s\":", b.len ? "," : "{", names[i]);
        buf_json_str(&b, value);
    }
    if ((*ret != NULL) == (b.len > 0))
        return fail(cx, USAGE,
                    "say either --credentials JSON or --kod and --sifre (znet), --token (json); "
                    "@FILE reads a value from a file");
    buf_puts(&b, "}");
    if (!*ret)
        *ret = arena_strdup(&cx->arena, buf_str(&b));
    return OK;
}

rc verb_provider_add(struct cx *cx, struct ops *o)
{
    const char *kind = opt(o, "kind");
    struct integration_new n = {.name = o->argv[0]};
    struct integration made;
    struct tenant t;

    if (!provider_kind_parse(kind ? kind : "znet", &n.kind))
        return fail(cx, USAGE, "--kind is znet or json");
    try(opt_needed(cx, o, "url", &n.base_url));
    try(credentials(cx, o, &n.credentials));
    try(value_or_file(cx, opt(o, "settings"), &n.settings));
    try(tenant_named(cx, o, &t));
    n.tenant_id = t.id;
    try(integration_add(cx, o->db, o->keys, o->actor, &n, &made));
    table_print_one(provider_table(cx, &made, 1), o->json);
    return OK;
}

rc verb_provider_ls(struct cx *cx, struct ops *o)
{
    const char *tenant;
    struct integration *p;
    size_t n;

    try(tenant_if_named(cx, o, &tenant));
    try(integration_list(cx, o->db, tenant, /* enabled_only= */ false, &p, &n));
    table_print(provider_table(cx, p, n), o->json);
    return OK;
}

/* Enqueues a task about this provider, unless one is under way, and waits for its end. */
static rc run_task(struct cx *cx, struct ops *o, const char *task, const char **ret_result)
{
    struct integration p;
    struct job_new j = {.task = task, .durable = true, .priority = JOB_PRIORITY};

    try(named(cx, o, &p));
    j.args = arena_printf(&cx->arena, "{\"integration_id\":\"%s\"}", p.id);
    j.unique_key = arena_printf(&cx->arena, "%s:%s", task, p.id);
    j.subject = p.id;
    j.tenant_id = p.tenant_id;
    try(engine_enqueue(cx, o->engine, &j, 1));
    return job_wait(cx, o, j.id, WAIT_MS, ret_result);
}

rc verb_provider_test(struct cx *cx, struct ops *o)
{
    const char *result;
    struct integration p;

    try(run_task(cx, o, "provider.balance", &result));
    try(named(cx, o, &p));
    table_print_one(provider_table(cx, &p, 1), o->json);
    return OK;
}

rc verb_catalogue_import(struct cx *cx, struct ops *o)
{
    const char *result;

    try(run_task(cx, o, "provider.catalogue", &result));
    printf("%s\n", result ? result : "{}");
    return OK;
}

rc verb_catalogue_ls(struct cx *cx, struct ops *o)
{
    struct integration p;
    struct catalogue_item *c;
    struct table *t;
    int64_t limit;
    size_t n;

    try(opt_int(cx, o, "limit", 1, 10000, 100, &limit));
    try(named(cx, o, &p));
    try(catalogue_list(cx, o->db, p.id, opt(o, "match"), (int)limit, &c, &n));
    t = table_new("external_id", "product", "kupur", "name", "game", "price", "seen_at",
                  "collides?", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(t, c[i].external_id, c[i].product, c[i].kupur, c[i].name, c[i].game, c[i].price,
                  when(cx, c[i].seen_ms), c[i].collides ? "yes" : "no");
    table_print(t, o->json);
    return OK;
}

static rc pause_until(struct cx *cx, struct ops *o, int64_t until_ms)
{
    struct integration p;

    try(named(cx, o, &p));
    try(integration_pause(cx, o->db, o->actor, p.id, until_ms));
    try(named(cx, o, &p));
    table_print_one(provider_table(cx, &p, 1), o->json);
    return OK;
}

rc verb_provider_pause(struct cx *cx, struct ops *o)
{
    const char *text = opt(o, "for");
    int64_t ms = 0;

    if (text && (!parse_duration_ms(text, &ms) || ms == 0))
        return fail(cx, USAGE, "--for must be a duration such as 30m");
    return pause_until(cx, o, text ? clock_ms() + ms : PAUSED_FOR_EVER);
}

rc verb_provider_resume(struct cx *cx, struct ops *o)
{
    return pause_until(cx, o, 0);
}

rc verb_provider_breaker(struct cx *cx, struct ops *o)
{
    const char *state = o->argc > 1 ? o->argv[1] : NULL;
    struct integration p;
    int64_t ms = 60000;

    try(named(cx, o, &p));
    if (state) {
        if (strcmp(state, "close") == 0)
            try(integration_breaker(cx, o->db, p.id, BREAKER_CLOSED, 0, 0));
        else if (strcmp(state, "open") != 0)
            return fail(cx, USAGE, "the breaker can be set to 'open' or 'close'");
        else if (opt(o, "for") && !parse_duration_ms(opt(o, "for"), &ms))
            return fail(cx, USAGE, "--for must be a duration such as 5m");
        else
            try(integration_breaker(cx, o->db, p.id, BREAKER_OPEN, p.breaker_failures,
                                    clock_ms() + ms));
        try(named(cx, o, &p));
    }
    table_print_one(provider_table(cx, &p, 1), o->json);
    return OK;
}

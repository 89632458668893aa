/* provider.c - a shop's accounts at providers.
 *
 * Talking to a provider is the workers' business: `provider test` and `catalogue import` enqueue
 * the job that does it and wait for its end, so that the command sees what the workers would see
 * (their network, their address, their limits). */
#include "base/clock.h"
#include "base/json.h"
#include "domain/audit.h"
#include "domain/shop/catalog.h"
#include "domain/shop/integrations.h"
#include "ops/table.h"
#include "ops/tenant.h"
#include "ops/verbs.h"
#include <stdio.h>
#include <string.h>

#define WAIT_MS    60000 /* for a worker, unless --wait says otherwise */
#define BREAKER_MS 60000

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
                                "balance", "balance_at", "may_resend?", "settings{}+", "id+", NULL);

    for (size_t i = 0; i < n; i++)
        table_row(t, p[i].name, provider_kind_word(p[i].kind), p[i].base_url,
                  p[i].enabled ? "yes" : "no", breaker_word(p[i].breaker), pause_text(cx, &p[i]),
                  p[i].balance, when(cx, p[i].balance_ms), p[i].may_resend ? "yes" : "no",
                  p[i].settings, p[i].id);
    return t;
}

/* --credentials JSON, or what the known providers ask for: --kod and --sifre, --token. NULL when
 * none was given. */
static rc credentials(struct cx *cx, struct ops *o, const char **ret)
{
    static const char *const names[] = {"kod", "sifre", "token"};
    _cleanup_(buf_release) struct buf b = BUF(KiB(16));

    try(opt_text(cx, o, "credentials", ret));
    for (size_t i = 0; i < COUNT(names); i++) {
        const char *value;
        try(opt_text(cx, o, names[i], &value));
        if (!value)
            continue;
        buf_printf(&b, "%s\"%s\":", b.len ? "," : "{", names[i]);
        buf_json_str(&b, value);
    }
    buf_puts(&b, b.len ? "}" : "");
    if (!buf_ok(&b))
        return fail(cx, USAGE, "the credentials are too long");
    if (*ret && b.len)
        return fail(cx, USAGE, "say either --credentials, or --kod and --sifre, or --token");
    if (b.len)
        *ret = arena_strdup(&cx->arena, buf_str(&b));
    if (b.p)
        explicit_bzero(b.p, b.len);
    return OK;
}

/* What each kind cannot do without: found here, and not at the first order. */
static rc check_credentials(struct cx *cx, enum provider_kind kind, const char *text)
{
    cJSON *c;

    if (!text)
        return fail(cx, USAGE,
                    "say --kod and --sifre (znet), --token (json), or --credentials JSON; @FILE "
                    "reads a value from a file");
    try(json_parse(cx, text, strlen(text), KiB(32), &c));
    if (kind == PROVIDER_ZNET && (!cJSON_GetObjectItemCaseSensitive(c, "kod") ||
                                  !cJSON_GetObjectItemCaseSensitive(c, "sifre")))
        return fail(cx, USAGE, "znet wants both --kod and --sifre");
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
    try(check_credentials(cx, n.kind, n.credentials));
    try(opt_text(cx, o, "settings", &n.settings));
    try(tenant_named(cx, o, &t));
    n.tenant_id = t.id;
    try(integration_add(cx, o->db, o->keys, o->actor, &n, &made));
    table_print_one(provider_table(cx, &made, 1), o->json);
    return OK;
}

static rc print_now(struct cx *cx, struct ops *o)
{
    struct integration p;

    try(named(cx, o, &p));
    table_print_one(provider_table(cx, &p, 1), o->json);
    return OK;
}

/* Replaces what is named and leaves the rest. Credentials are replaced as a whole. */
rc verb_provider_change(struct cx *cx, struct ops *o)
{
    const char *secret, *settings, *url = opt(o, "url");
    struct integration p;

    try(credentials(cx, o, &secret));
    try(opt_text(cx, o, "settings", &settings));
    if (!secret && !settings && !url)
        return fail(cx, USAGE,
                    "say what to change: --url, --settings, --credentials, --kod and "
                    "--sifre, --token");
    try(named(cx, o, &p));
    if (secret)
        try(check_credentials(cx, p.kind, secret));
    try(integration_change(cx, o->db, o->keys, o->actor, p.id, secret, settings, url));
    return print_now(cx, o);
}

static rc set_enabled(struct cx *cx, struct ops *o, bool enabled)
{
    struct integration p;

    try(named(cx, o, &p));
    try(integration_enable(cx, o->db, o->actor, p.id, enabled));
    return print_now(cx, o);
}

rc verb_provider_enable(struct cx *cx, struct ops *o)
{
    return set_enabled(cx, o, true);
}

rc verb_provider_disable(struct cx *cx, struct ops *o)
{
    return set_enabled(cx, o, false);
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
static rc run_task(struct cx *cx, struct ops *o, const struct integration *p, const char *task,
                   const char **ret_result)
{
    struct job_new j = {.task = task, .durable = true, .priority = JOB_PRIORITY};
    int64_t wait_ms;

    try(opt_duration(cx, o, "wait", WAIT_MS, &wait_ms));
    if (!p->enabled || p->paused_until_ms)
        return fail(cx, CONFLICT, "%s is %s, so nobody asks it; 'mihwar provider %s %s' ends that",
                    p->name, p->enabled ? "paused" : "disabled", p->enabled ? "resume" : "enable",
                    p->name);
    j.args = arena_printf(&cx->arena, "{\"integration_id\":\"%s\"}", p->id);
    j.unique_key = arena_printf(&cx->arena, "%s:%s", task, p->id);
    j.subject = p->id;
    j.tenant_id = p->tenant_id;
    try(engine_enqueue(cx, o->engine, &j, 1));
    return job_wait(cx, o, j.id, wait_ms, ret_result);
}

rc verb_provider_test(struct cx *cx, struct ops *o)
{
    const char *result;
    struct integration p;

    try(named(cx, o, &p));
    try(run_task(cx, o, &p, "provider.balance", &result));
    return print_now(cx, o);
}

static int64_t result_int(const cJSON *result, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(result, name);

    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : 0;
}

rc verb_catalogue_import(struct cx *cx, struct ops *o)
{
    struct integration p;
    const char *text = NULL;
    cJSON *result;

    try(named(cx, o, &p));
    try(run_task(cx, o, &p, "provider.catalogue", &text));
    text = text ? text : "{}";
    try(json_parse(cx, text, strlen(text), MiB(1), &result));
    try(audit_note(cx, o->db,
                   &(struct audit){.tenant_id = p.tenant_id,
                                   .actor = o->actor,
                                   .action = "catalogue.import",
                                   .object_type = "integration",
                                   .object_id = p.id,
                                   .detail = cJSON_IsObject(result) ? text : NULL}));
    if (o->json) {
        printf("%s\n", text);
        return OK;
    }
    printf("%lld goods read, %lld passed over as unreadable\n",
           (long long)result_int(result, "rows"), (long long)result_int(result, "skipped"));
    if (result_int(result, "collisions"))
        hint("%lld of them share their name at the provider with another; 'mihwar catalogue ls' "
             "marks them",
             (long long)result_int(result, "collisions"));
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
    if (n == (size_t)limit)
        hint("perhaps more: --limit, --match");
    return OK;
}

static rc pause_until(struct cx *cx, struct ops *o, int64_t until_ms)
{
    struct integration p;

    try(named(cx, o, &p));
    try(integration_pause(cx, o->db, o->actor, p.id, until_ms));
    return print_now(cx, o);
}

rc verb_provider_pause(struct cx *cx, struct ops *o)
{
    int64_t ms;

    try(opt_duration(cx, o, "for", 0, &ms));
    return pause_until(cx, o, ms ? clock_ms() + ms : PAUSED_FOR_EVER);
}

rc verb_provider_resume(struct cx *cx, struct ops *o)
{
    return pause_until(cx, o, 0);
}

static rc set_breaker(struct cx *cx, struct ops *o, const char *state)
{
    struct integration p;
    int64_t ms;
    bool open = strcmp(state, "open") == 0;

    if (!open && strcmp(state, "close") != 0)
        return fail(cx, USAGE, "the breaker can be set to 'open' or 'close'");
    try(opt_duration(cx, o, "for", BREAKER_MS, &ms));
    try(named(cx, o, &p));
    try(integration_breaker(cx, o->db, p.id, open ? BREAKER_OPEN : BREAKER_CLOSED,
                            open ? p.breaker_failures : 0, open ? clock_ms() + ms : 0));
    return audit_note(
        cx, o->db,
        &(struct audit){.tenant_id = p.tenant_id,
                        .actor = o->actor,
                        .action = "integration.breaker",
                        .object_type = "integration",
                        .object_id = p.id,
                        .detail = open ? "{\"set\":\"open\"}" : "{\"set\":\"closed\"}"});
}

rc verb_provider_breaker(struct cx *cx, struct ops *o)
{
    if (o->argc > 1)
        try(set_breaker(cx, o, o->argv[1]));
    return print_now(cx, o);
}

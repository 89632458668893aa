/* integrations.c - accounts at providers: what people set, and what the house learned about them.
 */
#include "domain/shop/integrations.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "domain/row.h"
#include "domain/shop/integrations.sql.h"
#include <assert.h>
#include <string.h>

#define JSON_MAX KiB(32)

static const char *const kinds[] = {[PROVIDER_ZNET] = "znet", [PROVIDER_JSON] = "json"};
static const char *const breakers[] = {
    [BREAKER_CLOSED] = "closed", [BREAKER_OPEN] = "open", [BREAKER_HALF_OPEN] = "half_open"};

const char *provider_kind_word(enum provider_kind k)
{
    assert(k < COUNT(kinds));
    return kinds[k];
}

bool provider_kind_parse(const char *word, enum provider_kind *ret)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (str_eq(word, kinds[i])) {
            *ret = (enum provider_kind)i;
            return true;
        }
    }
    return false;
}

const char *breaker_word(enum breaker_state b)
{
    assert(b < COUNT(breakers));
    return breakers[b];
}

static const char *credentials_context(struct cx *cx, const char *id)
{
    return arena_printf(&cx->arena, "integration_credentials:%s", id);
}

/* ---------------------------------------------------------------- settings */

static bool is_currency(const char *s)
{
    return strlen(s) == 3 && strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 3;
}

/* Reads what the house itself understands of the settings; i->kind must be known. */
static rc read_settings(struct cx *cx, const char *text, struct integration *i)
{
    cJSON *s;
    int64_t concurrency = 0;

    i->currency = "TRY";
    try(json_parse(cx, text, strlen(text), JSON_MAX, &s));
    if (!cJSON_IsObject(s))
        return fail_at(cx, INVALID_FIELD, "/settings", "must be an object");
    /* Only of the ZDK family is it known that duplicates are merged; of any other its owner must say so. */
    const cJSON *preset = cJSON_GetObjectItemCaseSensitive(s, "preset");
    i->may_resend = i->kind == PROVIDER_JSON && str_eq(cJSON_GetStringValue(preset), "zdk");
    try(json_bool_opt(cx, s, "may_resend", &i->may_resend));
    try(json_int_opt(cx, s, "concurrency", 0, 100000, &concurrency));
    const char *currency = NULL;
    try(json_str_opt(cx, s, "currency", 3, &currency));
    if (currency && !is_currency(currency))
        return fail_at(cx, INVALID_FIELD, "/settings/currency", "must be three capital letters");
    const cJSON *rate = cJSON_GetObjectItemCaseSensitive(s, "requests_per_s");
    if (rate && (!cJSON_IsNumber(rate) || rate->valuedouble < 0 || rate->valuedouble > 1e6))
        return fail_at(cx, INVALID_FIELD, "/settings/requests_per_s",
                       "must be a number from 0 to 1000000");
    i->currency = currency ? currency : i->currency;
    i->concurrency = (int)concurrency;
    i->requests_per_s = rate ? rate->valuedouble : 0;
    return OK;
}

/* A flat object of strings: anything else is somebody's mistake, found here and not at the first
 * call. */
static rc check_credentials(struct cx *cx, const char *text)
{
    cJSON *c;

    if (str_empty(text))
        return fail_at(cx, INVALID_FIELD, "/credentials", "must not be empty");
    try(json_parse(cx, text, strlen(text), JSON_MAX, &c));
    if (!cJSON_IsObject(c) || !c->child)
        return fail_at(cx, INVALID_FIELD, "/credentials", "must be an object of strings");
    for (const cJSON *v = c->child; v; v = v->next) {
        if (!cJSON_IsString(v))
            return fail_at(cx, INVALID_FIELD, "/credentials", "must be an object of strings");
    }
    return OK;
}

static rc check_url(struct cx *cx, const char *url, const char **ret)
{
    size_t n = url ? strlen(url) : 0;

    while (n > 0 && url[n - 1] == '/')
        n--;
    const char *cut = n ? arena_strndup(&cx->arena, url, n) : "";
    if (!(starts_with(cut, "http://") || starts_with(cut, "https://")) || n > 1024 ||
        strpbrk(cut, " ?#@\"<>\\\r\n\t"))
        return fail_at(cx, INVALID_FIELD, "/base_url", "must be http(s)://host[:port][/path]");
    *ret = cut;
    return OK;
}

static rc check_name(struct cx *cx, const char *name)
{
    size_t n = name ? strlen(name) : 0;

    if (n < 1 || n > 64 ||
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") != n)
        return fail_at(cx, INVALID_FIELD, "/name",
                       "must be 1 to 64 of letters, digits, '_', '.', '-'");
    return OK;
}

/* ---------------------------------------------------------------- read */

static rc integration_read(struct cx *cx, const struct pg_result *res, int row,
                           const struct seal_keys *seal, struct integration *ret)
{
    struct row r = ROW(cx, res, row);
    struct integration i = {0};

    i.id = row_text(&r);
    i.tenant_id = row_text(&r);
    i.name = row_text(&r);
    const char *kind = row_text(&r);
    if (!provider_kind_parse(kind, &i.kind))
        return fail(cx, SCHEMA, "integration %s is of the unknown kind '%s'", i.name, kind);
    i.base_url = row_text(&r);
    const char *sealed = row_text(&r);
    if (seal)
        try(open_text(cx, seal, credentials_context(cx, i.id), sealed, &i.credentials));
    i.settings = row_text(&r);
    try(read_settings(cx, i.settings, &i));
    i.enabled = row_bool(&r);
    bool for_ever = row_bool(&r);
    int64_t until_ms = row_ms(&r);
    i.paused_until_ms = for_ever ? PAUSED_FOR_EVER : until_ms > clock_ms() ? until_ms : 0;
    const char *breaker = row_text(&r);
    for (size_t b = 0; b < COUNT(breakers); b++)
        i.breaker = str_eq(breaker, breakers[b]) ? (enum breaker_state)b : i.breaker;
    i.breaker_failures = (int)row_int(&r);
    i.breaker_until_ms = row_ms(&r);
    i.balance = row_text(&r);
    i.debt = row_text(&r);
    i.balance_ms = row_ms(&r);
    i.created_ms = row_ms(&r);
    i.account_ms = row_ms(&r);
    *ret = i;
    return OK;
}

rc integration_get(struct cx *cx, struct pg *db, const struct seal_keys *seal,
                   const char *tenant_id, const char *by, struct integration *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1];
    bool is_id = id_parse(by, id);

    if (!is_id && !tenant_id)
        return fail(cx, NOT_FOUND, "'%s' is not an integration's id", by);
    try(pg_do(cx, db, SQL_INTEGRATION_LIST, &res, pg_s(tenant_id), pg_s(is_id ? id : NULL),
              pg_s(is_id ? NULL : by), pg_b(false)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no integration '%s'", by);
    return integration_read(cx, res, 0, seal, ret);
}

rc integration_list(struct cx *cx, struct pg *db, const char *tenant_id, bool enabled_only,
                    struct integration **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_INTEGRATION_LIST, &res, pg_s(tenant_id), pg_s(NULL), pg_s(NULL),
              pg_b(enabled_only)));
    struct integration *list = rows_alloc(cx, res, struct integration);
    for (int i = 0; i < pg_rows(res); i++)
        try(integration_read(cx, res, i, NULL, &list[i]));
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

/* ---------------------------------------------------------------- write */

rc integration_add(struct cx *cx, struct pg *db, const struct seal_keys *seal, const char *actor,
                   const struct integration_new *n, struct integration *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct integration probe = {.kind = n->kind};
    const char *settings = n->settings ? n->settings : "{}", *url, *sealed;
    char id[ID_LEN + 1];

    try(check_name(cx, n->name));
    try(check_url(cx, n->base_url, &url));
    try(read_settings(cx, settings, &probe));
    try(check_credentials(cx, n->credentials));
    try(seal_text(cx, seal, credentials_context(cx, id_new(id)), n->credentials, &sealed));
    rc r = pg_do(cx, db, SQL_INTEGRATION_ADD, &res, pg_s(id), pg_s(n->tenant_id), pg_s(n->name),
                 pg_s(provider_kind_word(n->kind)), pg_s(url), pg_s(sealed), pg_s(settings),
                 pg_s(actor));
    if (r == E_PG_UNIQUE)
        return fail_at(cx, ALREADY_EXISTS, "/name", "there is an integration '%s' already",
                       n->name);
    try(r);
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no such tenant");
    return integration_read(cx, res, 0, NULL, ret);
}

rc integration_change(struct cx *cx, struct pg *db, const struct seal_keys *seal, const char *actor,
                      const char *id, const char *credentials, const char *settings,
                      const char *base_url)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct integration now, probe;
    const char *sealed = NULL, *url = NULL;

    try(integration_get(cx, db, NULL, NULL, id, &now));
    probe = now;
    if (settings)
        try(read_settings(cx, settings, &probe));
    if (base_url)
        try(check_url(cx, base_url, &url));
    if (credentials) {
        try(check_credentials(cx, credentials));
        try(seal_text(cx, seal, credentials_context(cx, now.id), credentials, &sealed));
    }
    return pg_do(cx, db, SQL_INTEGRATION_CHANGE, &res, pg_s(now.id), pg_s(sealed), pg_s(settings),
                 pg_s(url), pg_s(actor));
}

static rc found(struct cx *cx, const struct pg_result *res)
{
    return pg_rows(res) ? OK : fail(cx, NOT_FOUND, "there is no such integration");
}

rc integration_enable(struct cx *cx, struct pg *db, const char *actor, const char *id, bool enabled)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_INTEGRATION_ENABLE, &res, pg_s(id), pg_b(enabled), pg_s(actor)));
    return found(cx, res);
}

rc integration_pause(struct cx *cx, struct pg *db, const char *actor, const char *id,
                     int64_t until_ms)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    bool for_ever = until_ms == PAUSED_FOR_EVER;

    try(pg_do(cx, db, SQL_INTEGRATION_PAUSE, &res, pg_s(id), pg_t(for_ever ? 0 : until_ms),
              pg_b(for_ever), pg_s(actor)));
    return found(cx, res);
}

rc integration_breaker(struct cx *cx, struct pg *db, const char *id, enum breaker_state state,
                       int failures, int64_t until_ms)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    return pg_do(cx, db, SQL_INTEGRATION_BREAKER, &res, pg_s(id), pg_s(breaker_word(state)),
                 pg_i(failures), pg_t(until_ms));
}

rc integration_balance(struct cx *cx, struct pg *db, const char *id, const char *balance,
                       const char *debt)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    if (!balance || !decimal_valid(balance, 8) || (debt && !decimal_valid(debt, 8)))
        return fail_at(cx, INVALID_FIELD, "/balance", "is not a decimal number");
    return pg_do(cx, db, SQL_INTEGRATION_BALANCE, &res, pg_s(id), pg_s(balance), pg_s(debt));
}

/* integrations.h - a tenant's accounts at providers.
 *
 * Credentials are a flat JSON object ({"kod","sifre"} for znet, {"token"} for the generic adapter),
 * sealed at rest and bound to the row; they are opened only for those who hand over the keys.
 * Settings are a JSON object that people may read:
 *
 *   may_resend      bool: the provider refuses or merges a reference it knows; default true for
 *                   json with the preset "zdk", false for everything else
 *   currency        default "TRY"
 *   requests_per_s  default 0: no limit
 *   concurrency     default 0: no limit
 *   …               anything else belongs to the adapter (for kind json: generic_config.h)
 *
 * The breaker's and the pause's states are kept here so that every process and the CLI see the
 * same; the one who decides (the worker's provider pool) writes changes only. */
#pragma once
#include "base/json.h"
#include "pg/pg.h"
#include "secure/seal.h"

enum provider_kind { PROVIDER_ZNET, PROVIDER_JSON };
enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };
const char *provider_kind_word(enum provider_kind k);
bool provider_kind_parse(const char *word, enum provider_kind *ret);
const char *breaker_word(enum breaker_state b);

#define PAUSED_FOR_EVER INT64_MAX

struct integration {
    const char *id, *tenant_id, *name;
    enum provider_kind kind;
    const char *base_url;    /* no trailing slash */
    const char *credentials; /* opened JSON text; NULL when no keys were given */
    const char *settings;    /* JSON text */
    /* read out of settings */
    bool may_resend;
    const char *currency;
    double requests_per_s;
    int concurrency;

    bool enabled;
    int64_t paused_until_ms; /* 0: not paused (or over); PAUSED_FOR_EVER */
    enum breaker_state breaker;
    int breaker_failures;
    int64_t breaker_until_ms;   /* open: until then; 0: none */
    const char *balance, *debt; /* decimals; NULL: never asked */
    int64_t balance_ms, created_ms;
    /* when base_url or credentials changed last: another account, perhaps; 0: never */
    int64_t account_ms;
};

struct integration_new {
    const char *tenant_id, *name; /* [A-Za-z0-9_.-]{1,64}, unique in the tenant */
    enum provider_kind kind;
    const char *base_url;    /* http(s)://…; a trailing slash is cut */
    const char *credentials; /* JSON object of strings */
    const char *settings;    /* JSON object; NULL: {} */
};
/* Audited (without credentials). INVALID_FIELD, ALREADY_EXISTS, NOT_FOUND (tenant). *ret as loaded
 * without keys. Parks. */
rc integration_add(struct cx *cx, struct pg *db, const struct seal_keys *seal, const char *actor,
                   const struct integration_new *n, struct integration *ret) MW_PARKS;
/* seal NULL: credentials stay closed. by: id, or a name within the tenant; tenant_id NULL: by must
 * be an id. NOT_FOUND, CRYPTO. Texts are in cx's arena. Parks. */
rc integration_get(struct cx *cx, struct pg *db, const struct seal_keys *seal,
                   const char *tenant_id, const char *by, struct integration *ret) MW_PARKS;
/* tenant_id NULL: of all; by name. enabled_only: for beat's balance and catalogue rounds. Parks. */
rc integration_list(struct cx *cx, struct pg *db, const char *tenant_id, bool enabled_only,
                    struct integration **ret, size_t *ret_n) MW_PARKS;
/* Replaces credentials and/or settings and/or base_url (NULL: leave). Audited. Parks. */
rc integration_change(struct cx *cx, struct pg *db, const struct seal_keys *seal, const char *actor,
                      const char *id, const char *credentials, const char *settings,
                      const char *base_url) MW_PARKS;
rc integration_enable(struct cx *cx, struct pg *db, const char *actor, const char *id,
                      bool enabled) MW_PARKS;
/* until_ms 0: resume; PAUSED_FOR_EVER. Audited. Parks. */
rc integration_pause(struct cx *cx, struct pg *db, const char *actor, const char *id,
                     int64_t until_ms) MW_PARKS;
/* Called when the breaker changes its state; until_ms is needed for OPEN. Parks. */
rc integration_breaker(struct cx *cx, struct pg *db, const char *id, enum breaker_state state,
                       int failures, int64_t until_ms) MW_PARKS;
/* Decimals with at most 4 places; debt NULL: not told. Parks. */
rc integration_balance(struct cx *cx, struct pg *db, const char *id, const char *balance,
                       const char *debt) MW_PARKS;

/* test_shop.c - a shop set up from nothing and changed: tenants, keys, catalogue, routes,
 * integrations, schedules, answers under their keys, what is old. Each test on a database of its
 * own making. */
#include "base/clock.h"
#include "base/text.h"
#include "domain/access/keys.h"
#include "domain/audit.h"
#include "domain/clock/schedules.h"
#include "domain/idempotency.h"
#include "domain/retention.h"
#include "domain/shop/catalog.h"
#include "domain/shop/integrations.h"
#include "domain/shop/routing.h"
#include "domain/shop/tenants.h"
#include "shop.h"
#include <string.h>

static struct stores stores;
static struct pg *db;
static struct seal_keys *seal;

#define SIDE(...)     pg_one(stores.database_url, __VA_ARGS__)
#define SIDE_INT(...) pg_one_int(stores.database_url, __VA_ARGS__)
#define NOBODY        "01900000-0000-7000-8000-0000000000ff"
#define NINA          "cli:nina"

static rc with_stores(struct cx *cx, rc (*fn)(struct cx *cx))
{
    try(pg_new(cx, stores.database_url, 2, &db));
    try(seal_keys_load(cx, "k1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
                       &seal));
    rc r = fn(cx);
    seal_keys_free(seal);
    pg_free(db);
    return r;
}

#define SHOP_TEST(name) FIBER_TEST_IN(name, with_stores)

#define ck_at(cx_, pointer_) ck_assert_str_eq((cx_)->err.pointer, (pointer_))

/* The latest line of the audit log: "actor action type". */
static const char *last_deed(void)
{
    return SIDE("SELECT actor || ' ' || action || ' ' || object_type FROM audit_log ORDER BY id "
                "DESC LIMIT 1");
}

/* ---------------------------------------------------------------- tenants and keys */

SHOP_TEST(tenants_have_their_secret)
{
    struct tenant t, by_name, by_id, *list;
    size_t n;
    const char *secret, *again;

    ck_ok(tenant_add(cx, db, seal, NINA, "متجر النجوم", &t));
    ck_assert_str_eq(last_deed(), NINA " tenant.add tenant");
    ck_ok(tenant_get(cx, db, "متجر النجوم", &by_name));
    ck_ok(tenant_get(cx, db, t.id, &by_id));
    ck_assert_str_eq(by_name.id, t.id);
    ck_assert_str_eq(by_id.name, "متجر النجوم");
    ck_rc(tenant_add(cx, db, seal, NINA, "متجر النجوم", &by_id), E_ALREADY_EXISTS);
    ck_rc(tenant_add(cx, db, seal, NINA, "", &by_id), E_INVALID_FIELD);
    ck_rc(tenant_get(cx, db, "nobody", &by_id), E_NOT_FOUND);
    ck_ok(tenant_list(cx, db, &list, &n));
    ck_assert_uint_eq(n, 3);

    ck_ok(tenant_webhook_secret(cx, db, seal, t.id, &secret));
    ck_ok(tenant_webhook_secret(cx, db, seal, t.id, &again));
    ck_assert_uint_eq(strlen(secret), 64);
    ck_assert_str_eq(secret, again);
    ck_assert_int_eq(
        SIDE_INT("SELECT count(*) FROM tenants WHERE webhook_secret LIKE '%%%s%%'", secret), 0);
    ck_rc(tenant_webhook_secret(cx, db, seal, NOBODY, &secret), E_NOT_FOUND);
    ck_rc(tenant_webhook_secret(cx, db, seal, TENANT, &secret),
          E_NOT_FOUND); /* made by hand, without one */
    return OK;
}

SHOP_TEST(keys_are_shown_once_and_revoked_for_ever)
{
    struct key k, *list;
    struct identity who;
    size_t n;
    struct token_row row;
    char text[TOKEN_TEXT_LEN + 1], prefix[TOKEN_PREFIX_LEN + 1];
    bool ok;
    uint64_t some = PERM_BIT(PERM_ORDERS_READ) | PERM_BIT(PERM_ORDERS_WRITE);

    ck_ok(key_create(cx, db, NINA, TENANT, "front", some, NULL, 0, &k, text));
    ck_assert(token_read(&TOKEN_KEY, text, prefix));
    ck_assert_str_eq(prefix, k.prefix);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM api_keys WHERE hash LIKE '%%%s%%'", text), 0);
    ck_ok(key_load(cx, db, prefix, &row, &who));
    ck_assert_int_eq(row.state, TOKEN_GOOD);
    ck_ok(token_verify(cx, text, row.hash, &ok));
    ck_assert(ok);
    ck_assert_str_eq(who.tenant_id, TENANT);
    ck_assert_str_eq(who.key_id, k.id);
    ck_assert_str_eq(who.name, "front");
    ck_assert(identity_may(&who, PERM_ORDERS_WRITE) && !identity_may(&who, PERM_DLQ_WRITE));
    ck_assert(who.permissions == some && who.expires_ms == 0);

    ck_ok(key_touch(cx, db, (const char *[]){k.id}, 1));
    ck_ok(key_list(cx, db, TENANT, &list, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert(list[0].last_used_ms > 0 && list[0].revoked_ms == 0 && list[0].permissions == some);

    ck_ok(key_revoke(cx, db, NINA, prefix));
    ck_assert_str_eq(last_deed(), NINA " key.revoke api_key");
    int64_t deeds = SIDE_INT("SELECT count(*) FROM audit_log");
    ck_ok(key_revoke(cx, db, NINA, k.id));
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM audit_log"), deeds);
    ck_ok(key_load(cx, db, prefix, &row, &who));
    ck_assert_int_eq(row.state, TOKEN_REVOKED);
    ck_rc(key_load(cx, db, "abcdefghijkl", &row, &who), E_NOT_FOUND);
    ck_rc(key_revoke(cx, db, NINA, "abcdefghijkl"), E_NOT_FOUND);
    return OK;
}

SHOP_TEST(keys_expire_and_go_with_their_tenant)
{
    struct key k;
    struct identity who;
    struct token_row row;
    char text[TOKEN_TEXT_LEN + 1];

    ck_ok(key_create(cx, db, NINA, TENANT, "old", PERM_ALL, NULL, clock_ms() - 1000, &k, text));
    ck_assert(k.permissions == PERM_ALL);
    ck_assert_str_eq(SIDE("SELECT permissions::text FROM api_keys WHERE id = '%s'", k.id), "{*}");
    ck_ok(key_load(cx, db, k.prefix, &row, &who));
    ck_assert_int_eq(row.state, TOKEN_EXPIRED);
    ck_ok(key_create(cx, db, NINA, TENANT, "new", PERM_ALL, NULL, clock_ms() + 60000, &k, text));
    ck_ok(key_load(cx, db, k.prefix, &row, &who));
    ck_assert_int_eq(row.state, TOKEN_GOOD);
    SIDE("UPDATE tenants SET enabled = false");
    ck_ok(key_load(cx, db, k.prefix, &row, &who));
    ck_assert_int_eq(row.state, TOKEN_DISABLED);
    SIDE("UPDATE tenants SET enabled = true");

    ck_rc(key_create(cx, db, NINA, NOBODY, "x", PERM_ALL, NULL, 0, &k, text), E_NOT_FOUND);
    ck_rc(key_create(cx, db, NINA, TENANT, "", PERM_ALL, NULL, 0, &k, text), E_INVALID_FIELD);
    ck_rc(key_create(cx, db, NINA, TENANT, "x", 0, NULL, 0, &k, text), E_INVALID_FIELD);
    ck_at(cx, "/permissions");
    ck_assert(permission_bits("orders:fly") == 0 && permission_bits("*") == PERM_ALL);
    for (int p = 0; p < PERM_COUNT; p++)
        ck_assert(permission_bits(permission_word((enum permission)p)) == PERM_BIT(p));
    return OK;
}

/* ---------------------------------------------------------------- goods and routes */

SHOP_TEST(products_and_packages)
{
    struct product p, got, *products;
    struct package a, b, *packages;
    size_t n;

    ck_ok(product_add(cx, db, NINA, TENANT, "Free Fire", &p));
    ck_rc(product_add(cx, db, NINA, TENANT, "Free Fire", &got), E_ALREADY_EXISTS);
    ck_rc(product_add(cx, db, NINA, NOBODY, "x", &got), E_NOT_FOUND);
    ck_ok(product_get(cx, db, TENANT, "Free Fire", &got));
    ck_assert_str_eq(got.id, p.id);
    ck_rc(product_get(cx, db, TENANT2, p.id, &got), E_NOT_FOUND);
    ck_ok(product_list(cx, db, TENANT, &products, &n));
    ck_assert_uint_eq(n, 2);

    ck_ok(package_add(cx, db, NINA, TENANT, p.id, "100 gems", &a));
    ck_assert_str_eq(a.product, "Free Fire");
    ck_assert(a.enabled && !a.routed);
    ck_rc(package_add(cx, db, NINA, TENANT2, p.id, "x", &b), E_NOT_FOUND);
    ck_rc(package_add(cx, db, NINA, TENANT, p.id, "100 gems", &b), E_ALREADY_EXISTS);
    ck_ok(package_add(cx, db, NINA, TENANT, PRODUCT, "100 gems", &b));
    ck_rc(package_get(cx, db, TENANT, "100 gems", &b), E_CONFLICT);
    ck_ok(package_get(cx, db, TENANT, "Free Fire/100 gems", &b));
    ck_assert_str_eq(b.id, a.id);
    ck_rc(package_get(cx, db, TENANT, "Free Fire/1 gem", &b), E_NOT_FOUND);
    ck_ok(package_get(cx, db, TENANT, PACKAGE, &b));
    ck_assert(b.routed);
    ck_ok(package_enable(cx, db, NINA, a.id, false));
    ck_ok(package_list(cx, db, TENANT, p.id, &packages, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert(!packages[0].enabled);
    ck_rc(package_enable(cx, db, NINA, NOBODY, false), E_NOT_FOUND);
    return OK;
}

SHOP_TEST(a_catalogue_is_imported_twice)
{
    static const struct catalogue_item first[] = {
        {.external_id = "2",
         .product = "1",
         .kupur = "325",
         .name = "PUBG 325 UC",
         .game = "PUBG",
         .price = "35.00",
         .raw = "{\"id\":\"2\"}"},
        {.external_id = "3",
         .product = "1",
         .kupur = "325",
         .name = "PUBG 60 UC",
         .game = "PUBG",
         .price = "nonsense",
         .raw = "{}"},
        {.external_id = "4",
         .product = "9",
         .kupur = NULL,
         .name = "ببجي",
         .game = NULL,
         .price = NULL,
         .raw = "{}"},
        {.external_id = "4",
         .product = "9",
         .kupur = "",
         .name = "the last counts",
         .price = "1",
         .raw = "{}"},
    };
    static const struct catalogue_item second[] = {
        {.external_id = "2",
         .product = "1",
         .kupur = "326",
         .name = "PUBG 326 UC",
         .game = "PUBG",
         .price = "36",
         .raw = "{}"},
    };
    struct catalogue_item *list;
    struct mapping m = {
        .package_id = UNROUTED, .integration_id = ALPHA, .product = "1", .kupur = "325"};
    int64_t collisions;
    size_t n;

    ck_ok(catalogue_put(cx, db, ALPHA, first, COUNT(first), &collisions));
    ck_assert_int_eq(collisions, 2);
    ck_ok(catalogue_list(cx, db, ALPHA, "pubg", 10, &list, &n));
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(list[0].external_id, "2");
    ck_assert_str_eq(list[0].price, "35");
    ck_assert(list[0].collides && list[1].collides && !list[1].price);
    ck_ok(catalogue_list(cx, db, ALPHA, "4", 10, &list, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(list[0].name, "the last counts");
    ck_assert(!list[0].collides);

    /* The provider could deliver either: only somebody who is sure may map it. */
    ck_rc(mapping_set(cx, db, NINA, TENANT, &m, /* sure= */ false), E_CONFLICT);
    ck_ok(mapping_set(cx, db, NINA, TENANT, &m, /* sure= */ true));

    ck_ok(catalogue_put(cx, db, ALPHA, second, 1, &collisions));
    ck_assert_int_eq(collisions, 0);
    ck_ok(catalogue_list(cx, db, ALPHA, NULL, 10, &list, &n));
    ck_assert_uint_eq(n, 3);
    ck_ok(catalogue_put(cx, db, ALPHA, NULL, 0, &collisions));
    return OK;
}

SHOP_TEST(routes_need_mappings)
{
    struct mapping m = {.package_id = UNROUTED, .integration_id = BETA, .product = "60"}, got,
                   *mappings;
    struct route *routes;
    size_t n;

    SIDE("DELETE FROM package_mappings WHERE package_id = '" UNROUTED "'");
    ck_rc(route_set(cx, db, NINA, TENANT, UNROUTED, BETA, NULL), E_UNROUTED_PACKAGE);
    ck_ok(mapping_set(cx, db, NINA, TENANT, &m, false));
    ck_assert_str_eq(last_deed(), NINA " mapping.set package");
    ck_ok(mapping_get(cx, db, UNROUTED, BETA, &got));
    ck_assert_str_eq(got.product, "60");
    ck_assert_str_eq(got.kupur, "");
    ck_assert_str_eq(got.integration, "beta");
    ck_rc(mapping_get(cx, db, UNROUTED, ALPHA, &got), E_NOT_FOUND);
    ck_ok(route_set(cx, db, NINA, TENANT, UNROUTED, BETA, NULL));
    ck_rc(route_set(cx, db, NINA, TENANT, UNROUTED, BETA, ALPHA), E_UNROUTED_PACKAGE);
    ck_rc(route_set(cx, db, NINA, TENANT, UNROUTED, BETA, BETA), E_INVALID_FIELD);
    ck_rc(route_set(cx, db, NINA, TENANT2, UNROUTED, BETA, NULL), E_NOT_FOUND);
    ck_ok(route_set(cx, db, NINA, TENANT, PACKAGE, BETA, ALPHA));
    ck_ok(route_list(cx, db, TENANT, &routes, &n));
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(routes[0].package, "PUBG/325 UC");
    ck_assert_str_eq(routes[0].primary, "beta");
    ck_assert_str_eq(routes[0].fallback, "alpha");
    ck_assert_ptr_null(routes[1].fallback);
    ck_ok(route_set(cx, db, NINA, TENANT, PACKAGE, ALPHA, BETA));
    ck_ok(mapping_list(cx, db, TENANT, NULL, &mappings, &n));
    ck_assert_uint_eq(n, 3);
    ck_ok(mapping_list(cx, db, TENANT, UNROUTED, &mappings, &n));
    ck_assert_uint_eq(n, 1);
    m.product = "";
    ck_rc(mapping_set(cx, db, NINA, TENANT, &m, false), E_INVALID_FIELD);
    m.product = "1";
    ck_rc(mapping_set(cx, db, NINA, TENANT2, &m, false), E_NOT_FOUND);
    return OK;
}

/* ---------------------------------------------------------------- integrations */

static const struct {
    const char *title, *name, *url, *credentials, *settings, *pointer; /* pointer NULL: taken */
} integrations[] = {
    {"plain", "znet-1", "https://bayi.example/", "{\"kod\":\"5\",\"sifre\":\"s\"}", NULL, NULL},
    {"an empty name", "", "https://x", "{\"a\":\"b\"}", NULL, "/name"},
    {"a name with a space", "a b", "https://x", "{\"a\":\"b\"}", NULL, "/name"},
    {"no scheme", "a", "bayi.example", "{\"a\":\"b\"}", NULL, "/base_url"},
    {"a query", "a", "https://x/?a=1", "{\"a\":\"b\"}", NULL, "/base_url"},
    {"a user", "a", "https://u@x", "{\"a\":\"b\"}", NULL, "/base_url"},
    {"no credentials", "a", "https://x", "", NULL, "/credentials"},
    {"credentials as a list", "a", "https://x", "[\"a\"]", NULL, "/credentials"},
    {"nested credentials", "a", "https://x", "{\"a\":{\"b\":\"c\"}}", NULL, "/credentials"},
    {"settings as text", "a", "https://x", "{\"a\":\"b\"}", "\"fast\"", "/settings"},
    {"a currency in words", "a", "https://x", "{\"a\":\"b\"}", "{\"currency\":\"try\"}",
     "/settings/currency"},
    {"a negative rate", "a", "https://x", "{\"a\":\"b\"}", "{\"requests_per_s\":-1}",
     "/settings/requests_per_s"},
};

SHOP_TEST(integrations_are_checked)
{
    for (size_t i = 0; i < COUNT(integrations); i++) {
        struct integration got;
        const struct integration_new n = {.tenant_id = TENANT,
                                          .name = integrations[i].name,
                                          .kind = PROVIDER_ZNET,
                                          .base_url = integrations[i].url,
                                          .credentials = integrations[i].credentials,
                                          .settings = integrations[i].settings};
        rc r = integration_add(cx, db, seal, NINA, &n, &got);
        if (!integrations[i].pointer)
            ck_assert_msg(r == OK, "%s: %s", integrations[i].title, cx_words(cx, r));
        else
            ck_assert_msg(r == E_INVALID_FIELD &&
                              strcmp(cx->err.pointer, integrations[i].pointer) == 0,
                          "%s: %d at %s", integrations[i].title, r, cx->err.pointer);
    }
    return OK;
}

/* Sent again only where it is known, or said, that duplicates are merged. */
static rc settings_change(struct cx *cx, const char *id)
{
    struct integration i;

    ck_ok(integration_change(cx, db, seal, NINA, id, NULL, "{\"preset\":\"zdk\"}", NULL));
    ck_ok(integration_get(cx, db, seal, NULL, id, &i));
    ck_assert(i.may_resend);
    ck_ok(integration_change(cx, db, seal, NINA, id, NULL, "{\"may_resend\":true}", NULL));
    ck_ok(integration_get(cx, db, seal, NULL, id, &i));
    ck_assert(i.may_resend);
    ck_assert(i.account_ms == 0); /* settings alone make no other account */
    ck_ok(integration_change(cx, db, seal, NINA, id, "{\"token\":\"new\"}",
                             "{\"preset\":\"zdk\",\"may_resend\":false}", NULL));
    ck_ok(integration_get(cx, db, seal, NULL, id, &i));
    ck_assert_str_eq(i.credentials, "{\"token\":\"new\"}");
    ck_assert(!i.may_resend);
    ck_assert(i.account_ms >= i.created_ms);
    ck_assert_str_eq(i.currency, "TRY");
    ck_rc(integration_change(cx, db, seal, NINA, id, NULL, "{\"currency\":1}", NULL),
          E_INVALID_FIELD);
    return OK;
}

static rc pause_and_resume(struct cx *cx, const char *id)
{
    struct integration i;

    ck_ok(integration_pause(cx, db, NINA, id, PAUSED_FOR_EVER));
    ck_ok(integration_get(cx, db, NULL, NULL, id, &i));
    ck_assert(i.paused_until_ms == PAUSED_FOR_EVER);
    int64_t until_ms = clock_ms() + 60000;
    ck_ok(integration_pause(cx, db, NINA, id, until_ms));
    ck_ok(integration_get(cx, db, NULL, NULL, id, &i));
    ck_assert(i.paused_until_ms == until_ms);
    ck_ok(integration_pause(cx, db, NINA, id, 0));
    ck_assert_str_eq(last_deed(), NINA " integration.resume integration");
    ck_ok(integration_get(cx, db, NULL, NULL, id, &i));
    ck_assert(i.paused_until_ms == 0);
    return OK;
}

static rc health_is_kept(struct cx *cx, const char *id)
{
    struct integration i;
    int64_t until_ms = clock_ms() + 60000;

    ck_ok(integration_breaker(cx, db, id, BREAKER_OPEN, 5, until_ms));
    ck_ok(integration_balance(cx, db, id, "12755.2300", NULL));
    ck_ok(integration_get(cx, db, NULL, NULL, id, &i));
    ck_assert(i.breaker == BREAKER_OPEN && i.breaker_failures == 5 &&
              i.breaker_until_ms == until_ms);
    ck_assert_str_eq(i.balance, "12755.23");
    ck_assert(!i.debt && i.balance_ms > 0);
    ck_rc(integration_balance(cx, db, id, "much", NULL), E_INVALID_FIELD);
    ck_ok(integration_breaker(cx, db, id, BREAKER_CLOSED, 0, 0));
    return OK;
}

static rc disabled_is_not_listed(struct cx *cx, const char *id)
{
    struct integration *list;
    size_t n;

    ck_ok(integration_list(cx, db, TENANT, true, &list, &n));
    size_t before = n;
    ck_ok(integration_enable(cx, db, NINA, id, false));
    ck_ok(integration_list(cx, db, TENANT, true, &list, &n));
    ck_assert_uint_eq(n, before - 1);
    ck_rc(integration_enable(cx, db, NINA, NOBODY, false), E_NOT_FOUND);
    return OK;
}

SHOP_TEST(integrations_live)
{
    struct integration i;
    struct integration_new z = {
        .tenant_id = TENANT,
        .name = "kart",
        .kind = PROVIDER_JSON,
        .base_url = "http://k.example///",
        .credentials = "{\"token\":\"hush\"}",
        .settings = "{\"currency\":\"USD\",\"requests_per_s\":2.5,\"concurrency\":8,\"place\":{}}"};

    ck_ok(integration_add(cx, db, seal, NINA, &z, &i));
    ck_assert_str_eq(last_deed(), NINA " integration.add integration");
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM audit_log WHERE detail::text LIKE '%%hush%%'"),
                     0);
    ck_assert_int_eq(
        SIDE_INT("SELECT count(*) FROM integrations WHERE credentials LIKE '%%hush%%'"), 0);
    ck_assert_str_eq(i.base_url, "http://k.example");
    ck_assert_str_eq(i.currency, "USD");
    ck_assert(!i.may_resend && i.requests_per_s > 2.4 && i.concurrency == 8 && i.enabled &&
              !i.credentials);
    ck_rc(integration_add(cx, db, seal, NINA, &z, &i), E_ALREADY_EXISTS);

    ck_ok(integration_get(cx, db, seal, TENANT, "kart", &i));
    ck_assert_str_eq(i.credentials, "{\"token\":\"hush\"}");
    ck_rc(integration_get(cx, db, seal, TENANT2, "kart", &i), E_NOT_FOUND);
    ck_rc(integration_get(cx, db, seal, NULL, "kart", &i), E_NOT_FOUND);
    ck_ok(integration_get(cx, db, NULL, NULL, i.id, &i));

    try(settings_change(cx, i.id));
    try(pause_and_resume(cx, i.id));
    try(health_is_kept(cx, i.id));
    try(disabled_is_not_listed(cx, i.id));

    /* Sealed credentials are bound to their row. */
    SIDE("UPDATE integrations SET credentials = (SELECT credentials FROM integrations WHERE name = "
         "'kart') WHERE name = 'alpha'");
    ck_rc(integration_get(cx, db, seal, TENANT, "alpha", &i), E_CRYPTO);
    return OK;
}

/* ---------------------------------------------------------------- schedules */

SHOP_TEST(schedules_are_kept_and_fired_once)
{
    struct schedule s, got, stale, *list;
    size_t n;
    bool mine;
    int64_t due = clock_ms() / 1000 * 1000, next;
    const struct schedule want = {.name = "nightly",
                                  .task = "orders.sweep",
                                  .cron = "0 3 * * *",
                                  .timezone = "Asia/Riyadh",
                                  .enabled = true,
                                  .priority = 5};
    struct job_new job = {
        .task = "orders.sweep", .queue = "default", .durable = true, .priority = 5};

    ck_ok(schedule_add(cx, db, NINA, &want, &s));
    ck_assert_str_eq(last_deed(), NINA " schedule.add schedule");
    ck_assert_str_eq(s.misfire, "once");
    ck_assert_str_eq(s.args, "{}");
    ck_rc(schedule_add(cx, db, NINA, &want, &got), E_ALREADY_EXISTS);
    ck_ok(schedule_ensure(cx, db, &want));
    ck_ok(schedule_get(cx, db, NULL, "nightly", &got));
    ck_assert_str_eq(got.id, s.id);

    ck_ok(schedules_due(cx, db, clock_ms(), 10, &list, &n)); /* its due time is not known yet */
    ck_assert_uint_eq(n, 1);
    ck_ok(schedule_set_due(cx, db, &s, due));
    ck_ok(schedules_next(cx, db, &next));
    ck_assert(next == due);
    ck_ok(schedules_due(cx, db, due - 1, 10, &list, &n));
    ck_assert_uint_eq(n, 0);

    struct job_new again = job;
    ck_ok(schedule_fire(cx, db, &s, due, due + 60000, &job, &mine));
    ck_assert(mine);
    ck_ok(schedule_fire(cx, db, &s, due, due + 60000, &again, &mine));
    ck_assert(!mine);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM jobs WHERE task = 'orders.sweep'"), 1);
    ck_assert_int_eq(
        SIDE_INT("SELECT count(*) FROM schedule_firings f JOIN jobs j ON j.id = f.job_id"), 1);
    ck_ok(schedule_fire(cx, db, &s, due + 1, 0, NULL, &mine)); /* skipped: on record, no job */
    ck_assert(mine);
    ck_ok(schedule_get(cx, db, NULL, s.id, &got));
    ck_assert(got.next_due_ms == due + 60000 && got.last_fired_ms > 0);

    stale = got;
    got.enabled = false;
    ck_ok(schedule_change(cx, db, NINA, &got, &got));
    ck_assert(got.next_due_ms == 0 && !got.enabled);
    ck_rc(schedule_change(cx, db, NINA, &stale, &got), E_CONFLICT);
    ck_ok(schedule_fire(cx, db, &stale, due + 2, 0, NULL,
                        &mine)); /* not the schedule that was read */
    ck_assert(!mine);
    ck_ok(schedules_due(cx, db, clock_ms(), 10, &list, &n));
    ck_assert_uint_eq(n, 0);

    _cleanup_(buf_release) struct buf b = BUF(KiB(4));
    ck_ok(schedule_json(cx, &got, &b));
    ck_assert_ptr_nonnull(strstr(
        buf_str(&b),
        "\"cron\":\"0 3 * * *\",\"every\":null,\"timezone\":\"Asia/Riyadh\",\"enabled\":false"));
    ck_ok(schedule_remove(cx, db, NINA, s.id));
    ck_rc(schedule_get(cx, db, NULL, "nightly", &got), E_NOT_FOUND);
    ck_rc(schedule_remove(cx, db, NINA, s.id), E_NOT_FOUND);
    return OK;
}

static const struct {
    const char *title;
    struct schedule s;
    const char *pointer;
} bad_schedules[] = {
    {"no name", {.task = "t", .every_ms = 1000}, "/name"},
    {"a name with a space", {.name = "a b", .task = "t", .every_ms = 1000}, "/name"},
    {"no rule", {.name = "a", .task = "t"}, "/cron"},
    {"two rules", {.name = "a", .task = "t", .cron = "* * * * *", .every_ms = 1000}, "/every"},
    {"too often", {.name = "a", .task = "t", .every_ms = 99}, "/every"},
    {"an unknown misfire",
     {.name = "a", .task = "t", .every_ms = 1000, .misfire = "twice"},
     "/misfire"},
    {"a negative jitter",
     {.name = "a", .task = "t", .every_ms = 1000, .jitter_ms = -1},
     "/jitter_ms"},
    {"no task", {.name = "a", .every_ms = 1000}, "/task"},
    {"args that are no JSON", {.name = "a", .task = "t", .every_ms = 1000, .args = "{"}, "/args"},
};

SHOP_TEST(bad_schedules_are_named)
{
    for (size_t i = 0; i < COUNT(bad_schedules); i++) {
        rc r = schedule_check(cx, &bad_schedules[i].s);
        ck_assert_msg(r != OK && strcmp(cx->err.pointer, bad_schedules[i].pointer) == 0,
                      "%s: %d at '%s'", bad_schedules[i].title, r, cx->err.pointer);
    }
    return OK;
}

/* ---------------------------------------------------------------- answers, audit, what is old */

struct store_args {
    const char *key, *hash;
};

static rc store_tx(struct cx *cx, struct pg_tx *tx, void *arg)
{
    const struct store_args *a = arg;
    return idempotency_store(cx, tx, TENANT, "POST /v1/jobs", a->key, a->hash, 201,
                             "{\"id\":\"x\"}");
}

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

SHOP_TEST(answers_are_found_again)
{
    struct idempotency_answer a;
    struct store_args first = {"k", HASH_A};
    bool found;

    ck_ok(idempotency_find(cx, db, TENANT, "POST /v1/jobs", "k", HASH_A, &found, &a));
    ck_assert(!found);
    ck_ok(pg_tx_run(cx, db, store_tx, &first));
    ck_ok(idempotency_find(cx, db, TENANT, "POST /v1/jobs", "k", HASH_A, &found, &a));
    ck_assert(found && a.http_status == 201);
    ck_assert_str_eq(a.body, "{\"id\":\"x\"}");
    ck_rc(idempotency_find(cx, db, TENANT, "POST /v1/jobs", "k", HASH_B, &found, &a),
          E_IDEMPOTENCY_MISMATCH);
    ck_ok(idempotency_find(cx, db, TENANT, "POST /v1/schedules", "k", HASH_B, &found, &a));
    ck_assert(!found);
    ck_ok(idempotency_find(cx, db, TENANT2, "POST /v1/jobs", "k", HASH_B, &found, &a));
    ck_assert(!found);
    ck_rc(pg_tx_run(cx, db, store_tx, &first), E_CONFLICT);
    return OK;
}

SHOP_TEST(deeds_are_listed)
{
    struct audit *list;
    size_t n;

    ck_ok(audit_note(cx, db,
                     &(struct audit){.actor = NINA,
                                     .action = "queue.purge",
                                     .object_type = "queue",
                                     .object_id = "orders",
                                     .detail = "{\"jobs\": 3}"}));
    ck_ok(audit_note(cx, db,
                     &(struct audit){.actor = NINA,
                                     .action = "queue.pause",
                                     .object_type = "queue",
                                     .object_id = "orders"}));
    ck_ok(audit_list(cx, db, "queue", "orders", 10, &list, &n));
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(list[0].action, "queue.pause");
    ck_assert_str_eq(list[1].detail, "{\"jobs\": 3}");
    ck_assert_ptr_null(list[1].tenant_id);
    ck_ok(audit_list(cx, db, "queue", "nothing", 10, &list, &n));
    ck_assert_uint_eq(n, 0);
    return OK;
}

SHOP_TEST(what_is_old_goes)
{
    struct retention_counts c;
    bool more;

    SIDE("INSERT INTO jobs (id, queue, task, state, finished_at) SELECT gen_random_uuid(), 'old', "
         "'t', 'completed',"
         " now() - interval '40 days' FROM generate_series(1, 15)");
    SIDE("INSERT INTO jobs (id, queue, task, state, finished_at) VALUES (gen_random_uuid(), 'old', "
         "'t', 'dead', now())");
    SIDE("INSERT INTO jobs (id, queue, task, created_at) VALUES (gen_random_uuid(), 'old', 't', "
         "now() - interval '90 days')");
    SIDE("INSERT INTO job_attempts (job_id, generation, attempt, outcome, started_at) SELECT id, "
         "1, 1, 'completed', now()"
         " FROM jobs WHERE queue = 'old'");
    SIDE("INSERT INTO dead_letters (job_id, queue, task, args, died_at, replayed_at) VALUES"
         " (gen_random_uuid(), 'old', 't', '', now() - interval '90 days', NULL),"
         " (gen_random_uuid(), 'old', 't', '', now() - interval '90 days', now() - interval '80 "
         "days')");
    SIDE("INSERT INTO idempotency_keys (tenant_id, route, idempotency_key, body_hash, http_status, "
         "body, created_at) VALUES"
         " ('" TENANT "', 'r', 'young', repeat('a', 64), 201, '', now() - interval '23 hours'),"
         " ('" TENANT "', 'r', 'old', repeat('a', 64), 201, '', now() - interval '25 hours')");

    ck_ok(retention_prune(cx, db, clock_ms() - INT64_C(30) * 86400 * 1000, 10, &c, &more));
    ck_assert(c.jobs == 10 && c.attempts == 10 && c.dead_letters == 1 && c.keys == 0 && more);
    ck_ok(retention_prune(cx, db, clock_ms() - INT64_C(30) * 86400 * 1000, 10, &c, &more));
    ck_assert(c.jobs == 5 && c.attempts == 5 && !more);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM jobs WHERE queue = 'old'"), 2);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM dead_letters WHERE queue = 'old'"), 1);
    /* keys live 24 hours whatever was asked for */
    ck_ok(retention_prune(cx, db, clock_ms() + 1000, 10, &c, &more));
    ck_assert_str_eq(
        SIDE("SELECT string_agg(idempotency_key, ' ') FROM idempotency_keys WHERE route = 'r'"),
        "young");
    return OK;
}

static Suite *suite(void)
{
    Suite *s = suite_create("shop");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, tenants_have_their_secret);
    tcase_add_test(tc, keys_are_shown_once_and_revoked_for_ever);
    tcase_add_test(tc, keys_expire_and_go_with_their_tenant);
    tcase_add_test(tc, products_and_packages);
    tcase_add_test(tc, a_catalogue_is_imported_twice);
    tcase_add_test(tc, routes_need_mappings);
    tcase_add_test(tc, integrations_are_checked);
    tcase_add_test(tc, integrations_live);
    tcase_add_test(tc, schedules_are_kept_and_fired_once);
    tcase_add_test(tc, bad_schedules_are_named);
    tcase_add_test(tc, answers_are_found_again);
    tcase_add_test(tc, deeds_are_listed);
    tcase_add_test(tc, what_is_old_goes);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, shop_make, suite);
}

/* test_access.c - roles, identities and what keys hold of them; security events. */
#include "base/clock.h"
#include "base/text.h"
#include "domain/access/identities.h"
#include "domain/access/roles.h"
#include "domain/access/security_events.h"
#include "shop.h"
#include <string.h>

static struct stores stores;

#define SIDE(...)     pg_one(stores.database_url, __VA_ARGS__)
#define SIDE_INT(...) pg_one_int(stores.database_url, __VA_ARGS__)
#define NINA          "cli:nina"
static struct pg *db;

static rc with_stores(struct cx *cx, rc (*fn)(struct cx *cx))
{
    try(pg_new(cx, stores.database_url, 2, &db));
    rc r = fn(cx);
    db = pg_free(db);
    return r;
}

#define ACCESS_TEST(name) FIBER_TEST_IN(name, with_stores)

#define ck_at(cx_, pointer_) ck_assert_str_eq((cx_)->err.pointer, (pointer_))

static const char *last_deed(void)
{
    return SIDE("SELECT actor || ' ' || action || ' ' || object_id FROM audit_log ORDER BY id DESC "
                "LIMIT 1");
}

/* NULL when the statement was taken, else the server's words. */
static const char *refused(const char *sql)
{
    const char *words = NULL;

    pg_try(stores.database_url, &words, "%s", sql);
    return words && words[0] ? words : NULL;
}

/* ---------------------------------------------------------------- words and patterns */

#define A32  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A128 A32 A32 A32 A32

static const struct {
    const char *title, *permissions, *commands;
    const char *pointer; /* NULL: good */
} role_words[] = {
    {"one of each", "requests:write", "get_*", NULL},
    {"several, separated somehow", "requests:*, orders:read  jobs:read", "a,b c", NULL},
    {"all", "*", NULL, NULL},
    {"no command at all", "requests:write", "", NULL},
    {"the longest pattern", "*", A128, NULL},
    {"no permission", "", "*", "/permissions"},
    {"nothing but commas", " , ,", "*", "/permissions"},
    {"an unknown word", "orders:fly", "*", "/permissions"},
    {"a glob that gives nothing", "teapots:*", "*", "/permissions"},
    {"a pattern too long", "*", A128 "a", "/commands"},
    {"patterns too long together", "*", A128 "," A128 "," A128 "," A128, "/commands"},
    {"another sign than '*'", "*", "get_?", "/commands"},
    {"a path", "*", "/bin/sh", "/commands"},
};

ACCESS_TEST(roles_hold_words_that_mean_something)
{
    for (size_t i = 0; i < COUNT(role_words); i++) {
        const char *name = arena_printf(&cx->arena, "r%zu", i);
        struct role made;
        rc r = role_add(cx, db, NINA, TENANT, name, role_words[i].permissions,
                        role_words[i].commands, &made);
        ck_assert_msg((r == OK) == !role_words[i].pointer, "case: %s: %s", role_words[i].title,
                      cx_words(cx, r));
        if (r)
            ck_at(cx, role_words[i].pointer);
    }
    return OK;
}

ACCESS_TEST(roles_are_made_changed_and_removed)
{
    struct role r, *list;
    size_t n;

    ck_ok(role_list(cx, db, TENANT, &list, &n)); /* born with the shop */
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM roles WHERE tenant_id = '" TENANT "' AND name "
                              "IN ('operator', 'requester', 'front', 'auditor', 'agent')"),
                     5);
    ck_ok(role_add(cx, db, NINA, TENANT, "reader", "requests:*", "get_*", &r));
    ck_assert_str_eq(r.commands, "get_*");
    ck_assert_str_eq(last_deed(), NINA " role.add reader");
    ck_rc(role_add(cx, db, NINA, TENANT, "reader", "*", NULL, &r), E_ALREADY_EXISTS);
    ck_ok(role_add(cx, db, NINA, TENANT2, "reader", "*", NULL, &r)); /* another shop's */
    ck_rc(role_add(cx, db, NINA, TENANT, "Reader", "*", NULL, &r), E_INVALID_FIELD);
    ck_at(cx, "/name");

    ck_ok(role_set(cx, db, NINA, TENANT, "reader", NULL, "get_*,show_*", &r));
    ck_assert_str_eq(r.permissions, "requests:*");
    ck_assert_str_eq(r.commands, "get_* show_*");
    ck_assert_str_eq(last_deed(), NINA " role.set reader");
    ck_rc(role_set(cx, db, NINA, TENANT, "nobody", "*", NULL, &r), E_NOT_FOUND);

    ck_ok(role_remove(cx, db, NINA, TENANT2, "reader"));
    ck_assert_str_eq(last_deed(), NINA " role.remove reader");
    ck_rc(role_remove(cx, db, NINA, TENANT2, "reader"), E_NOT_FOUND);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM roles WHERE name = 'reader'"), 1);
    return OK;
}

/* ---------------------------------------------------------------- identities and keys */

#define FRONT "urn:test:front-1"

ACCESS_TEST(identities_are_loaded_with_what_their_roles_give)
{
    struct identity_row row, *list;
    struct identity who;
    struct role r;
    bool enabled, no = false;
    size_t n;

    ck_ok(role_add(cx, db, NINA, TENANT, "getter", "requests:write", "get_*", &r));
    ck_ok(identity_add(cx, db, NINA, TENANT, FRONT, NULL, "getter, agent,getter", &row));
    ck_assert_str_eq(row.roles, "agent getter");
    ck_assert_str_eq(last_deed(), arena_printf(&cx->arena, NINA " identity.add %s", row.id));
    ck_ok(identity_load(cx, db, FRONT, &who, &enabled));
    ck_assert(enabled && who.kind == IDENTITY_CERT);
    ck_assert_str_eq(who.tenant_id, TENANT);
    ck_assert_str_eq(who.id, row.id);
    ck_assert_str_eq(who.key_id, "");
    ck_assert_str_eq(who.agent_id, "");
    ck_assert(who.permissions == (PERM_BIT(PERM_REQUESTS_WRITE) | PERM_BIT(PERM_AGENTS_CONNECT)));
    /* role agent says commands '*', but gives no requests:write: it adds none */
    ck_assert(identity_may_command(&who, "get_status") && !identity_may_command(&who, "reboot"));

    ck_ok(identity_set(cx, db, NINA, TENANT, FRONT, &(struct identity_change){.agent_id = "core-1"},
                       &row));
    ck_assert_str_eq(row.roles, "agent getter"); /* as they were */
    ck_ok(identity_set(cx, db, NINA, TENANT, row.id,
                       &(struct identity_change){.roles = "operator", .enabled = &no}, &row));
    ck_assert_str_eq(row.roles, "operator");
    ck_assert_str_eq(row.agent_id, "core-1");
    ck_ok(identity_load(cx, db, FRONT, &who, &enabled));
    ck_assert(!enabled && who.permissions == PERM_ALL);
    ck_assert_str_eq(who.agent_id, "core-1");
    ck_assert(identity_may_command(&who, "reboot"));
    ck_ok(identity_set(cx, db, NINA, TENANT, FRONT,
                       &(struct identity_change){.agent_id = "", .roles = ""}, &row));
    ck_assert(!row.agent_id && row.roles[0] == '\0' && !row.enabled);
    ck_ok(identity_load(cx, db, FRONT, &who, &enabled));
    ck_assert(who.permissions == 0 && !identity_may_command(&who, "get_status"));

    ck_ok(identity_touch(cx, db, (const char *[]){row.id}, 1));
    ck_ok(identity_list(cx, db, TENANT, &list, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert(list[0].last_used_ms > 0);
    ck_rc(identity_load(cx, db, "urn:test:nobody", &who, &enabled), E_NOT_FOUND);

    ck_rc(identity_add(cx, db, NINA, TENANT2, FRONT, NULL, NULL, &row), E_ALREADY_EXISTS);
    ck_rc(identity_add(cx, db, NINA, TENANT, "x", NULL, "pilot", &row), E_NOT_FOUND);
    ck_rc(identity_add(cx, db, NINA, TENANT, "", NULL, NULL, &row), E_INVALID_FIELD);
    ck_at(cx, "/name");
    ck_rc(identity_add(cx, db, NINA, TENANT, "x", "a b", NULL, &row), E_INVALID_FIELD);
    ck_at(cx, "/agent_id");
    ck_rc(identity_set(cx, db, NINA, TENANT2, FRONT, &(struct identity_change){.roles = ""}, &row),
          E_NOT_FOUND); /* another shop's is none */
    ck_rc(identity_remove(cx, db, NINA, TENANT2, FRONT), E_NOT_FOUND);
    ck_ok(identity_remove(cx, db, NINA, TENANT, FRONT));
    ck_rc(identity_load(cx, db, FRONT, &who, &enabled), E_NOT_FOUND);
    return OK;
}

ACCESS_TEST(keys_have_what_their_roles_give_besides_their_own)
{
    struct token_row token;
    struct identity who;
    struct role r;
    struct key k;
    char text[TOKEN_TEXT_LEN + 1];

    ck_ok(role_add(cx, db, NINA, TENANT, "shower", "requests:write", "show_*", &r));
    ck_ok(
        key_create(cx, db, NINA, TENANT, "both", PERM_BIT(PERM_JOBS_READ), "shower", 0, &k, text));
    ck_assert_str_eq(k.roles, "shower");
    ck_assert(k.permissions == PERM_BIT(PERM_JOBS_READ));
    ck_ok(key_load(cx, db, k.prefix, &token, &who));
    ck_assert(who.permissions == (PERM_BIT(PERM_JOBS_READ) | PERM_BIT(PERM_REQUESTS_WRITE)));
    ck_assert(identity_may_command(&who, "show_all") && !identity_may_command(&who, "reboot"));
    ck_rc(role_remove(cx, db, NINA, TENANT, "shower"), E_CONFLICT);

    ck_ok(key_create(cx, db, NINA, TENANT, "role only", 0, "front", 0, &k, text));
    ck_ok(key_load(cx, db, k.prefix, &token, &who));
    ck_assert(who.permissions == (PERM_BIT(PERM_ORDERS_READ) | PERM_BIT(PERM_ORDERS_WRITE)));
    ck_assert(!identity_may_command(&who, "show_all"));
    ck_ok(
        key_create(cx, db, NINA, TENANT, "own", PERM_BIT(PERM_REQUESTS_WRITE), NULL, 0, &k, text));
    ck_ok(key_load(cx, db, k.prefix, &token, &who));
    ck_assert(identity_may_command(&who, "reboot"));
    ck_rc(key_create(cx, db, NINA, TENANT, "x", 0, "", 0, &k, text), E_INVALID_FIELD);
    ck_rc(key_create(cx, db, NINA, TENANT, "x", 0, "pilot", 0, &k, text), E_NOT_FOUND);
    return OK;
}

/* ---------------------------------------------------------------- what the database holds */

static const struct {
    const char *title, *sql, *words; /* words NULL: taken */
} rules[] = {
    {"a role of another shop",
     "INSERT INTO identities (id, tenant_id, name) VALUES ('" PRODUCT "', '" TENANT "', 'stray');"
     "INSERT INTO identity_roles SELECT '" TENANT "', '" PRODUCT
     "', id FROM roles WHERE tenant_id = '" TENANT2 "' AND name = 'agent'",
     "foreign key"},
    {"an empty name",
     "INSERT INTO identities (id, tenant_id, name) VALUES ('" PACKAGE "', '" TENANT "', '')",
     "check constraint"},
    {"a command that is a path", "UPDATE roles SET commands = '{get_*,/bin/sh}'",
     "check constraint"},
    {"a nameless permission", "UPDATE roles SET permissions = '{orders:read,NULL}'",
     "check constraint"},
    {"a shop without roles is not born",
     "INSERT INTO tenants (id, name) VALUES ('" ALPHA
     "', 'new'); SELECT 1 / count(*) FROM roles WHERE "
     "tenant_id = '" ALPHA "'",
     NULL},
    {"an event changed", "UPDATE security_events SET times = 2", "append-only"},
    {"a young event deleted", "DELETE FROM security_events WHERE kind = 'young'", "append-only"},
    {"an old event deleted", "DELETE FROM security_events WHERE kind = 'old'", NULL},
    {"all events gone", "TRUNCATE security_events", "append-only"},
    {"a kind with a space", "INSERT INTO security_events (kind, door) VALUES ('a b', 'web')",
     "check constraint"},
    {"a third door", "INSERT INTO security_events (kind, door) VALUES ('a', 'back')",
     "check constraint"},
};

START_TEST(the_schema_holds)
{
    SIDE("INSERT INTO security_events (at, kind, door) VALUES (now() - interval '2 days', 'old', "
         "'web'), (now(), 'young', 'web') RETURNING 1");
    for (size_t i = 0; i < COUNT(rules); i++) {
        const char *words = refused(rules[i].sql);
        ck_assert_msg(rules[i].words ? words && strstr(words, rules[i].words) : !words,
                      "case: %s: %s", rules[i].title, words ? words : "taken");
    }
}
END_TEST

/* Ids made by the database are in the order of their making, and of version 7. */
START_TEST(ids_of_the_database)
{
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM roles WHERE id::text !~ "
                              "'^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-'"),
                     0);
    ck_assert_str_eq(SIDE("SELECT (to_timestamp(('x' || left(replace(uuid_v7()::text, '-', ''), "
                          "12))::bit(48)::bigint / 1000.0) BETWEEN now() - interval '1 minute' AND "
                          "now() + interval '1 minute')::text"),
                     "true");
}
END_TEST

/* ---------------------------------------------------------------- who hears of changes */

struct ear {
    int notices, gaps;
    struct fiber *fiber;
};

static void on_notice(const char *payload, void *arg)
{
    struct ear *e = arg;

    (void)payload;
    e->notices++;
    fiber_wake(e->fiber);
}

static void on_gap(void *arg)
{
    struct ear *e = arg;

    e->gaps++;
    fiber_wake(e->fiber);
}

static const struct {
    const char *title, *sql;
    bool heard;
} changes[] = {
    {"a role changed", "UPDATE roles SET permissions = '{*}' WHERE name = 'front'", true},
    {"an identity made",
     "INSERT INTO identities (id, tenant_id, name) VALUES ('" UNROUTED "', '" TENANT "', 'urn:n')",
     true},
    {"an identity used", "UPDATE identities SET last_used_at = now()", false},
    {"an identity disabled", "UPDATE identities SET enabled = false WHERE name = 'urn:n'", true},
    {"a role given",
     "INSERT INTO identity_roles SELECT '" TENANT "', '" UNROUTED
     "', id FROM roles WHERE tenant_id = '" TENANT "' AND name = 'agent'",
     true},
    {"an identity removed", "DELETE FROM identities WHERE name = 'urn:n'", true},
    {"a key used", "UPDATE api_keys SET last_used_at = now()", false},
    {"a key revoked", "UPDATE api_keys SET revoked_at = now()", true},
    {"a shop closed", "UPDATE tenants SET enabled = false WHERE name = 'other'", true},
};

ACCESS_TEST(changes_are_heard_of_and_uses_are_not)
{
    struct ear ear = {.fiber = cx->fiber};
    struct pg_listen *l = pg_listen(db, "mw_access", on_notice, on_gap, &ear);

    ck_assert(!pg_listening(l));
    while (!ear.gaps)
        try(fiber_park(cx));
    ck_assert(pg_listening(l));
    for (size_t i = 0; i < COUNT(changes); i++) {
        int before = ear.notices;
        SIDE("%s RETURNING 1", changes[i].sql);
        SIDE("NOTIFY mw_access, 'mark'"); /* in order: what came before the mark is there by then */
        while (ear.notices < before + (changes[i].heard ? 2 : 1))
            try(fiber_park(cx));
        ck_assert_msg(ear.notices == before + (changes[i].heard ? 2 : 1), "case: %s",
                      changes[i].title);
    }
    SIDE("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE "
         "'LISTEN%%'");
    while (ear.gaps < 2)
        try(fiber_park(cx));
    pg_listen_free(l);
    return OK;
}

/* ---------------------------------------------------------------- what was refused */

ACCESS_TEST(events_are_kept_and_found)
{
    const struct security_event e[] = {
        {.at_ms = 1767607872000,
         .kind = "no_credentials",
         .door = "web",
         .source = "10.1.2.3",
         .route = "GET /v1/orders",
         .times = 3},
        {.at_ms = 1767607873000,
         .tenant_id = TENANT,
         .kind = "forbidden",
         .door = "mtls",
         .identity = "cert:x",
         .source = "2001:db8::7",
         .detail = "lacks \"dlq:read\"",
         .times = 1},
        {.at_ms = 1767607874000,
         .tenant_id = TENANT2,
         .kind = "forbidden",
         .door = "mtls",
         .identity = "cert:y",
         .source = "no address",
         .times = 1},
    };
    struct security_event *list;
    size_t n;

    ck_ok(security_events_add(cx, db, e, COUNT(e)));
    ck_ok(security_event_list(
        cx, db, &(struct security_filter){.since_ms = 1767607872000, .limit = 9}, &list, &n));
    ck_assert_uint_ge(n, 3);
    ck_ok(security_event_list(cx, db, &(struct security_filter){.tenant_id = TENANT, .limit = 9},
                              &list, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(list[0].identity, "cert:x");
    ck_assert_str_eq(list[0].source, "2001:db8::7");
    ck_assert(list[0].at_ms == 1767607873000 && list[0].times == 1 && !list[0].route);
    ck_ok(security_event_list(
        cx, db,
        &(struct security_filter){.source = "10.0.0.0/8", .kind = "no_credentials", .limit = 9},
        &list, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert(list[0].times == 3 && !list[0].tenant_id);
    ck_ok(security_event_list(cx, db, &(struct security_filter){.tenant_id = TENANT2, .limit = 9},
                              &list, &n));
    ck_assert(n == 1 && !list[0].source);
    int64_t id = list[0].id;
    ck_ok(security_event_list(
        cx, db, &(struct security_filter){.tenant_id = TENANT2, .after = id, .limit = 9}, &list,
        &n));
    ck_assert_uint_eq(n, 0);
    ck_rc(security_event_list(
              cx, db, &(struct security_filter){.source = "10.0.0.0/33", .limit = 9}, &list, &n),
          E_INVALID_FIELD);
    return OK;
}

static Suite *suite(void)
{
    Suite *s = suite_create("access");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, roles_hold_words_that_mean_something);
    tcase_add_test(tc, roles_are_made_changed_and_removed);
    tcase_add_test(tc, identities_are_loaded_with_what_their_roles_give);
    tcase_add_test(tc, keys_have_what_their_roles_give_besides_their_own);
    tcase_add_test(tc, the_schema_holds);
    tcase_add_test(tc, ids_of_the_database);
    tcase_add_test(tc, changes_are_heard_of_and_uses_are_not);
    tcase_add_test(tc, events_are_kept_and_found);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, shop_make, suite);
}

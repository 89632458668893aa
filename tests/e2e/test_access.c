/* test_access.c - who asks and may they, on both doors of a real hub: what callers hear, what stands on
 * record, how soon a change counts, and what a flood of wrong keys can do. Two hub programs beside each
 * other, each one process with memories and buckets of its own. */
#include "tests/e2e/mtls.h"

static struct mtls m;
static int port_b; /* the mTLS door of HUB_B */

#define DB   m.house.stores.database_url
#define SOON 12000 /* well before a row would be read again anyway (15 s) */

/* ---------------------------------------------------------------- callers */

static int web_status(enum part hub, const char *key, const char *path)
{
    _cleanup_(freep) char *url = xasprintf("%s%s", house_hub_url(&m.house, hub), path);
    _cleanup_(web_reply_release) struct web_reply r = web(.url = url, .bearer = key);
    return r.status;
}

struct answer {
    int status;
    char text[600];
};

/* Through the mTLS door on `port` with NAME's certificate; more: further words for curl. */
static struct answer tls_ask(int port, const char *name, const char *path, const char *const *more)
{
    _cleanup_(freep) char *url = xasprintf("https://127.0.0.1:%d%s", port, path);
    const char *words[16] = {url, "-w", "\n%{http_code}"};
    struct answer a = {0};
    size_t n = 3;
    int status;

    for (; more && *more; more++)
        words[n++] = *more;
    _cleanup_(freep) char *out = mtls_curl(&m, name, &status, words);
    size_t code = strlen(out); /* behind the last line feed */
    while (code > 0 && out[code - 1] != '\n')
        code--;
    ck_assert_msg(status == 0 && code > 0, "curl: %d %s", status, out);
    a.status = atoi(out + code);
    snprintf(a.text, sizeof a.text, "%.*s", (int)code - 1, out);
    return a;
}

static int tls_status(enum part hub, const char *name, const char *path)
{
    return tls_ask(hub == HUB ? m.port : port_b, name, path, NULL).status;
}

#define CLI(...) ck_assert_int_eq(house_cli(&m.house, NULL, __VA_ARGS__, NULL), 0)

static void new_key(char out[200], const char *name, const char *permissions)
{
    snprintf(out, 200, "%s",
             house_cli_field(&m.house, "key", "key", "add", name, "--tenant", "demo",
                             "--permissions", permissions, "--json", NULL));
}

/* How many refusals like this are on record. */
static int64_t on_record(const char *where)
{
    return pg_one_int(DB, "SELECT coalesce(sum(times), 0) FROM security_events WHERE %s", where);
}

/* ---------------------------------------------------------------- what callers hear */

static char good[200], wrong[200], expired[200], revoked[200];

static const struct {
    const char *title, *bearer; /* NULL: none */
    const char *where;
} strangers[] = {
    {"no credentials", NULL, "kind = 'no_credentials' AND identity IS NULL"},
    {"no token at all", "hello", "kind = 'bad_credentials' AND detail LIKE 'not in the form%'"},
    {"an unknown prefix", "mwk_abcdefghijkl_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
     "kind = 'bad_credentials' AND identity = 'key:abcdefghijkl' AND tenant_id IS NULL"},
    {"the wrong secret", wrong,
     "kind = 'bad_credentials' AND identity LIKE 'key:%:good' AND detail LIKE 'known prefix%' AND "
     "tenant_id IS NOT NULL"},
    {"expired", expired, "kind = 'expired' AND identity LIKE 'key:%:expired'"},
    {"revoked", revoked, "kind = 'revoked' AND identity LIKE 'key:%:revoked'"},
};

START_TEST(strangers_hear_the_same)
{
    if (!good[0]) {
        new_key(good, "good", "orders:read");
        new_key(expired, "expired", "orders:read");
        new_key(revoked, "revoked", "orders:read");
        snprintf(wrong, sizeof wrong, "%s", good);
        wrong[20] = wrong[20] == 'A' ? 'B' : 'A';
        CLI("key", "revoke", revoked);
        pg_one(DB, "UPDATE api_keys SET expires_at = now() WHERE name = 'expired' RETURNING 1");
    }
    _cleanup_(freep) char *url = xasprintf("%s/v1/orders", m.house.url);
    _cleanup_(web_reply_release) struct web_reply r =
        web(.url = url, .bearer = strangers[_i].bearer);
    ck_assert_msg(r.status == 401, "case: %s: %d %s", strangers[_i].title, r.status, r.body);
    ck_assert_str_eq(web_text(&r, "code"), "unauthenticated");
    ck_assert_ptr_nonnull(web_header(&r, "WWW-Authenticate"));
    if (strangers[_i].bearer) /* nobody learns which of them it was */
        ck_assert_str_eq(web_text(&r, "detail"), "the token is not known here");
    _cleanup_(freep) char *where =
        xasprintf("door = 'web' AND route = 'GET /v1/orders' AND source = '127.0.0.1' AND %s",
                  strangers[_i].where);
    ck_assert_msg(wait_until(on_record(where) == 1, LONG_MS), "case: %s: %lld rows",
                  strangers[_i].title, (long long)on_record(where));
    ck_assert_int_eq(on_record("to_jsonb(security_events)::text LIKE '%AAECAwQFBgc%'"), 0);
}
END_TEST

START_TEST(a_certificate_that_nobody_knows)
{
    _cleanup_(freep) char *key = xasprintf("Authorization: Bearer %s", m.house.key);
    const char *const with_key[] = {"-H", key, NULL};

    struct answer a = tls_ask(m.port, "stranger", "/v1/orders", NULL);
    ck_assert_msg(a.status == 403 && strstr(a.text, "this certificate may do nothing here"), "%s",
                  a.text);
    /* here the certificate says who asks: a key is not looked at */
    ck_assert_int_eq(tls_ask(m.port, "stranger", "/v1/orders", with_key).status, 403);
    ck_assert_int_eq(tls_ask(m.port, "stranger", "/healthz", NULL).status, 200);
    ck_wait(on_record(
                "kind = 'unknown_identity' AND door = 'mtls' AND identity = 'cert:stranger' "
                "AND route = 'GET /v1/orders' AND source = '127.0.0.1' AND tenant_id IS NULL") == 2,
            LONG_MS);
}
END_TEST

START_TEST(no_certificate_at_all)
{
    const char *const words[] = {"-tls1_3", NULL};
    int status;

    _cleanup_(freep) char *out =
        mtls_s_client(m.port, folder_path(&m.ca, "ca.crt"), "", &status, words);
    ck_wait(on_record("kind = 'handshake' AND door = 'mtls' AND source = '127.0.0.1' AND detail "
                      "LIKE '%did not return a certificate%' AND route IS NULL") >= 1,
            LONG_MS);
}
END_TEST

/* ---------------------------------------------------------------- permissions */

START_TEST(a_certificate_may_do_what_its_roles_give)
{
    CLI("identity", "add", "shop-1", "--role", "front", "--tenant", "demo");
    ck_wait(tls_status(HUB, "shop-1", "/v1/orders") == 200, SOON);
    struct answer a = tls_ask(m.port, "shop-1", "/v1/dlq", NULL);
    ck_assert_msg(a.status == 403 && strstr(a.text, "lacks the permission 'dlq:read'"), "%s",
                  a.text);
    _cleanup_(freep) char *where = xasprintf(
        "kind = 'forbidden' AND door = 'mtls' AND identity = 'cert:shop-1' AND source = "
        "'127.0.0.1' AND route = 'GET /v1/dlq' AND detail = 'lacks dlq:read' AND tenant_id = '%s'",
        m.house.tenant);
    ck_wait(on_record(where) == 1, LONG_MS);

    /* the tenant sees it; another one does not, nor what belongs to nobody */
    _cleanup_(web_reply_release) struct web_reply ours =
        house_get(&m.house, "/v1/security_events?kind=forbidden&limit=1");
    ck_assert_int_eq(ours.status, 200);
    ck_assert_str_eq(web_text(&ours, "data.0.identity"), "cert:shop-1");
    ck_assert_str_eq(web_text(&ours, "data.0.detail"), "lacks dlq:read");
    ck_assert_ptr_nonnull(web_text(&ours, "next"));
    _cleanup_(web_reply_release) struct web_reply nobodys =
        house_get(&m.house, "/v1/security_events?kind=no_credentials");
    ck_assert_str_eq(nobodys.body, "{\"data\":[],\"next\":null}");
    CLI("tenant", "add", "other");
    char theirs[200];
    snprintf(theirs, sizeof theirs, "%s",
             house_cli_field(&m.house, "key", "key", "add", "theirs", "--tenant", "other", "--role",
                             "auditor", "--json", NULL));
    _cleanup_(freep) char *url = xasprintf("%s/v1/security_events", m.house.url);
    _cleanup_(web_reply_release) struct web_reply r = web(.url = url, .bearer = theirs);
    ck_assert_str_eq(r.body, "{\"data\":[],\"next\":null}");
    ck_assert_int_eq(web_status(HUB, good, "/v1/security_events"), 403);
}
END_TEST

static int send_command(const char *command, char *text, size_t size)
{
    _cleanup_(freep) char *body =
        xasprintf("{\"command\":\"%s\",\"agent_type\":\"cpe\",\"timeout_ms\":60000}", command);
    const char *const more[] = {"-H", "Content-Type: application/json", "--data", body, NULL};
    struct answer a = tls_ask(m.port, "shop-2", "/v1/requests", more);

    snprintf(text, size, "%s", a.text);
    return a.status;
}

START_TEST(commands_by_pattern)
{
    char text[600];

    CLI("role", "add", "getter", "--permissions", "requests:*", "--commands", "get_*,ping",
        "--tenant", "demo");
    CLI("identity", "add", "shop-2", "--role", "getter", "--tenant", "demo");
    ck_wait(tls_status(HUB, "shop-2", "/v1/requests") == 200, SOON);
    ck_assert_int_eq(send_command("get_status", text, sizeof text), 202);
    ck_assert_int_eq(send_command("ping", text, sizeof text), 202);
    ck_assert_int_eq(send_command("pingpong", text, sizeof text), 403);
    ck_assert_int_eq(send_command("reboot", text, sizeof text), 403);
    ck_assert_msg(strstr(text, "\"pointer\":\"/command\"") && strstr(text, "reboot"), "%s", text);
    ck_wait(on_record("kind = 'forbidden' AND identity = 'cert:shop-2' AND route = 'POST "
                      "/v1/requests' AND detail LIKE '%reboot%'") == 1,
            LONG_MS);
    CLI("role", "set", "getter", "--commands", "reboot", "--tenant", "demo");
    ck_wait(send_command("reboot", text, sizeof text) == 202, SOON);
    ck_assert_int_eq(send_command("get_status", text, sizeof text), 403);
}
END_TEST

/* ---------------------------------------------------------------- agents */

#define SESSION "/v1/agent/session?agent_id="

static void new_token(char out[200], const char *agent)
{
    snprintf(out, 200, "%s",
             house_cli_field(&m.house, "token", "agent", "token", "add", agent, "--json", NULL));
}

/* Two answers to "who asks". */
static int two_headers(const char *key, const char *token)
{
    _cleanup_(freep) char *url = xasprintf("%s/v1/orders", m.house.url);
    _cleanup_(freep) char *second = xasprintf("Authorization: Bearer %s", token);
    const char *const headers[] = {second, NULL};
    _cleanup_(web_reply_release) struct web_reply r =
        web(.url = url, .bearer = key, .headers = headers);

    return r.status;
}

static int session_status(enum part hub, const char *name, const char *agent, const char *token)
{
    _cleanup_(freep) char *path = xasprintf(SESSION "%s", agent);
    _cleanup_(freep) char *header = xasprintf("Authorization: Bearer %s", token ? token : "");
    const char *const more[] = {"-H", header, NULL};

    if (!name)
        return web_status(hub, token, path);
    return tls_ask(hub == HUB ? m.port : port_b, name, path, token ? more : NULL).status;
}

/* 426: let in, and told to speak WebSocket. */
START_TEST(agents_show_their_token)
{
    char one[200], two[200], old[200];

    CLI("agent", "add", "core-1", "--type", "switch", "--tenant", "demo");
    CLI("agent", "add", "core-2", "--type", "switch", "--tenant", "demo");
    new_token(one, "core-1");
    new_token(two, "core-2");
    new_token(old, "core-1");
    CLI("identity", "add", "cpe-1", "--role", "agent", "--agent", "core-1", "--tenant", "demo");
    ck_wait(session_status(HUB, "cpe-1", "core-1", one) == 426, SOON);
    ck_assert_int_eq(session_status(HUB, NULL, "core-1", one), 426);
    ck_assert_int_eq(session_status(HUB, NULL, "core-2", two), 426);
    ck_assert_int_eq(session_status(HUB, NULL, "core-2", one), 403);
    ck_assert_int_eq(session_status(HUB, NULL, "core-1", m.house.key),
                     401);                                     /* an API key is none */
    ck_assert_int_eq(web_status(HUB, one, "/v1/orders"), 401); /* nor the other way */
    ck_assert_int_eq(two_headers(m.house.key, one), 401);
    ck_assert_int_eq(two_headers(m.house.key, m.house.key), 401);

    ck_assert_int_eq(session_status(HUB, "cpe-1", "core-1", NULL), 401); /* the token as well */
    ck_assert_int_eq(session_status(HUB, "cpe-1", "core-2", two), 403);  /* bound to core-1 */
    ck_assert_int_eq(session_status(HUB, "shop-1", "core-1", one), 403); /* no agents:connect */
    ck_assert_int_eq(session_status(HUB, "stranger", "core-1", one), 403);
    ck_wait(
        on_record("kind = 'forbidden' AND identity = 'cert:cpe-1' AND detail LIKE 'bound to agent "
                  "_core-1_, token of _core-2_'") == 1,
        LONG_MS);
    ck_wait(on_record("kind = 'forbidden' AND identity = 'cert:shop-1' AND detail = 'lacks "
                      "agents:connect' AND route = 'GET /v1/agent/session'") == 1,
            LONG_MS);
    ck_wait(on_record("kind = 'no_credentials' AND identity = 'cert:cpe-1'") == 1, LONG_MS);
    ck_wait(on_record(
                "kind = 'forbidden' AND identity = 'agent:core-1' AND tenant_id IS NOT NULL") == 1,
            LONG_MS);

    ck_wait(session_status(HUB_B, NULL, "core-1", old) == 426, SOON);
    CLI("agent", "token", "revoke", "core-1", "--all");
    for (int b = 0; b < 2; b++)
        ck_wait(session_status(b ? HUB_B : HUB, NULL, "core-1", old) == 401, SOON);
    ck_wait(on_record("kind = 'revoked' AND identity LIKE 'agent:%:core-1'") > 0, LONG_MS);
    CLI("agent", "disable", "core-2");
    ck_wait(session_status(HUB, NULL, "core-2", two) == 401, SOON);
    ck_wait(on_record("kind = 'disabled' AND identity LIKE 'agent:%:core-2'") > 0, LONG_MS);
    CLI("agent", "enable", "core-2");
    ck_wait(session_status(HUB, NULL, "core-2", two) == 426, SOON);
}
END_TEST

/* ---------------------------------------------------------------- how soon */

#define BOTH(expr_of_hub, want)                                                                    \
    do {                                                                                           \
        for (int b_ = 0; b_ < 2; b_++) {                                                           \
            enum part hub = b_ ? HUB_B : HUB;                                                      \
            ck_wait((expr_of_hub) == (want), SOON);                                                \
        }                                                                                          \
    } while (0)

/* Warm in both hubs, then changed: no process goes on with what it knew. */
START_TEST(a_change_counts_everywhere_at_once)
{
    char key[200], by_role[200];

    new_key(key, "changing", "orders:read");
    snprintf(by_role, sizeof by_role, "%s",
             house_cli_field(&m.house, "key", "key", "add", "by role", "--tenant", "demo", "--role",
                             "front", "--json", NULL));
    BOTH(web_status(hub, key, "/v1/orders"), 200);
    BOTH(web_status(hub, by_role, "/v1/orders"), 200);
    BOTH(web_status(hub, by_role, "/v1/dlq"), 403);
    BOTH(tls_status(hub, "shop-1", "/v1/orders"), 200);
    BOTH(tls_status(hub, "shop-1", "/v1/dlq"), 403);

    CLI("role", "set", "front", "--permissions", "dlq:read", "--tenant", "demo");
    BOTH(tls_status(hub, "shop-1", "/v1/dlq"), 200);
    BOTH(tls_status(hub, "shop-1", "/v1/orders"), 403);
    BOTH(web_status(hub, by_role, "/v1/dlq"), 200);
    CLI("identity", "set", "shop-1", "--role", "agent", "--tenant", "demo");
    BOTH(tls_status(hub, "shop-1", "/v1/dlq"), 403);
    CLI("identity", "set", "shop-1", "--role", "front", "--disable", "--tenant", "demo");
    BOTH(tls_status(hub, "shop-1", "/v1/dlq"), 403);
    ck_wait(on_record("kind = 'disabled' AND identity = 'cert:shop-1' AND tenant_id IS NOT NULL") >
                0,
            LONG_MS);
    CLI("identity", "set", "shop-1", "--enable", "--tenant", "demo");
    BOTH(tls_status(hub, "shop-1", "/v1/dlq"), 200);
    CLI("role", "set", "front", "--permissions", "orders:*", "--tenant", "demo");

    CLI("key", "revoke", key);
    BOTH(web_status(hub, key, "/v1/orders"), 401);
    pg_one(DB, "UPDATE tenants SET enabled = false WHERE name = 'demo' RETURNING 1");
    BOTH(web_status(hub, by_role, "/v1/orders"), 401);
    BOTH(tls_status(hub, "shop-1", "/v1/orders"), 403);
    pg_one(DB, "UPDATE tenants SET enabled = true WHERE name = 'demo' RETURNING 1");
    BOTH(web_status(hub, by_role, "/v1/orders"), 200);
    BOTH(tls_status(hub, "shop-1", "/v1/orders"), 200);
}
END_TEST

/* The notice is lost with the connection that would have brought it. */
START_TEST(a_change_that_nobody_could_hear)
{
    char key[200];

    new_key(key, "deaf", "orders:read");
    BOTH(web_status(hub, key, "/v1/orders"), 200);
    BOTH(tls_status(hub, "shop-1", "/v1/orders"), 200);
    pg_one(DB,
           "WITH cut AS (SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE query "
           "LIKE 'LISTEN mw_access%%') SELECT count(*) FROM cut");
    pg_one(DB, "UPDATE api_keys SET revoked_at = now() WHERE name = 'deaf' RETURNING 1");
    pg_one(DB, "UPDATE identities SET enabled = false WHERE name = 'shop-1' RETURNING 1");
    BOTH(web_status(hub, key, "/v1/orders"), 401);
    BOTH(tls_status(hub, "shop-1", "/v1/orders"), 403);
    pg_one(DB, "UPDATE identities SET enabled = true WHERE name = 'shop-1' RETURNING 1");
    BOTH(tls_status(hub, "shop-1", "/v1/orders"), 200);
}
END_TEST

/* limit=0 is refused after the interceptor and before PostgreSQL: 422 says that the caller was known. */
START_TEST(known_ones_go_on_without_postgresql)
{
    char fresh[200];

    new_key(fresh, "never seen", "orders:read");
    ck_wait(web_status(HUB, m.house.key, "/v1/orders?limit=0") == 422, SOON);
    ck_wait(tls_status(HUB, "shop-1", "/v1/orders?limit=0") == 422, SOON);
    house_kill(&m.house, PG);
    ck_assert_int_eq(web_status(HUB, m.house.key, "/v1/orders?limit=0"), 422);
    ck_assert_int_eq(tls_status(HUB, "shop-1", "/v1/orders?limit=0"), 422);
    ck_assert_int_eq(web_status(HUB, fresh, "/v1/orders?limit=0"), 503);
    ck_assert_int_eq(tls_status(HUB, "stranger", "/v1/orders?limit=0"), 503);
    int64_t before = 0; /* what is refused meanwhile is written later */
    ck_assert_int_eq(web_status(HUB, NULL, "/v1/dlq"), 401);
    house_up(&m.house, PG);
    ck_wait(on_record("kind = 'no_credentials' AND route = 'GET /v1/dlq'") == before + 1, LONG_MS);
    ck_wait(web_status(HUB, fresh, "/v1/orders?limit=0") == 422, LONG_MS);
    ck_wait(tls_status(HUB, "stranger", "/v1/orders?limit=0") == 403, LONG_MS);
}
END_TEST

/* ---------------------------------------------------------------- floods */

static void random_key(char out[80], int i)
{
    snprintf(out, 80, "mwk_%012d_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", i);
}

START_TEST(a_flood_of_wrong_keys)
{
    char first[200], fresh[200], text[80];
    int unknown = 0, limited = 0;

    new_key(first, "verified", "orders:read");
    new_key(fresh, "fresh", "orders:read");
    house_down(&m.house, HUB);
    house_set(&m.house, "MIHWAR_REFUSALS_BURST=5");
    house_up(&m.house, HUB);
    m.port = port_from_file(folder_path(&m.ca, "port"), m.house.procs[HUB], LONG_MS);
    ck_assert_int_eq(web_status(HUB, first, "/v1/orders"), 200);
    int64_t rows = pg_one_int(DB, "SELECT count(*) FROM security_events");

    for (int i = 0; i < 100; i++) {
        random_key(text, i);
        _cleanup_(freep) char *url = xasprintf("%s/v1/orders", m.house.url);
        _cleanup_(web_reply_release) struct web_reply r = web(.url = url, .bearer = text);
        ck_assert_msg(r.status == 401 || r.status == 429, "%d %s", r.status, r.body);
        unknown += r.status == 401;
        limited += r.status == 429;
        if (r.status == 429) {
            const char *wait = web_header(&r, "Retry-After");
            ck_assert_msg(wait && atoi(wait) == 1, "Retry-After: %s", wait ? wait : "none");
            ck_assert_str_eq(web_text(&r, "code"), "rate_limited");
        }
        if (i % 10 == 9) /* who was verified is served all the while */
            ck_assert_int_eq(web_status(HUB, first, "/v1/orders"), 200);
    }
    ck_assert_msg(unknown >= 5 && limited > 0, "%d unknown, %d limited", unknown, limited);
    /* a key not seen before shows a known prefix: it is looked at, too */
    for (int i = 0; web_status(HUB, NULL, "/v1/orders") != 429; i++)
        ck_assert_int_lt(i, 100);
    ck_assert_int_eq(web_status(HUB, fresh, "/v1/orders"), 200);
    /* and no credentials at all is not the way around */
    ck_wait(on_record("kind = 'rate_limited' AND route = 'GET /v1/orders' AND source = "
                      "'127.0.0.1'") >= limited,
            LONG_MS);
    ck_assert_int_ge(on_record("kind = 'bad_credentials'"), unknown);
    int64_t added = pg_one_int(DB, "SELECT count(*) FROM security_events") - rows;
    ck_assert_msg(added < limited, "%lld rows for %d refusals", (long long)added, limited);
    ck_assert(mtls_metric(&m, "mihwar_hub_refused_rate_total") >= limited);
    /* after the time that it was told, somebody is looked at again */
    ck_wait(web_status(HUB, wrong, "/v1/orders") == 401, LONG_MS);
}
END_TEST

/* The test's own address is trusted as a proxy on HUB_B: it says whom it heard, and who writes more is not believed. */
START_TEST(behind_a_proxy)
{
    house_down(&m.house, HUB_B);
    house_set(&m.house, "MIHWAR_TRUSTED_PROXIES=127.0.0.1");
    house_up(&m.house, HUB_B);
    for (int door = 0; door < 2; door++) {
        const char *const headers[] = {"X-Forwarded-For: 198.51.100.1",
                                       "X-Forwarded-For: 198.51.100.2, 203.0.113.77", NULL};
        _cleanup_(freep) char *url =
            xasprintf("%s/v1/schedules", house_hub_url(&m.house, door ? HUB : HUB_B));
        for (int i = 0; i < 10; i++) {
            _cleanup_(web_reply_release) struct web_reply r = web(.url = url, .headers = headers);
            ck_assert_msg(r.status == 401 || r.status == 429, "%d", r.status);
        }
    }
    ck_wait(on_record("route = 'GET /v1/schedules' AND source = '203.0.113.77'") == 10, LONG_MS);
    ck_wait(on_record("route = 'GET /v1/schedules' AND source = '127.0.0.1'") == 10, LONG_MS);
    ck_assert_int_eq(on_record("source <<= '198.51.100.0/24'"), 0);
    ck_assert_int_eq(web_status(HUB_B, NULL, "/v1/orders"), 401); /* another bucket than theirs */
}
END_TEST

/* Somebody knows a prefix and guesses secrets: its own bucket, and the verified one goes on. */
START_TEST(a_flood_on_one_prefix)
{
    char key[200], guess[200];
    int limited = 0;

    new_key(key, "guessed", "orders:read");
    ck_assert_int_eq(web_status(HUB, key, "/v1/orders"), 200);
    for (int i = 0; i < 40; i++) {
        snprintf(guess, sizeof guess, "%s", key);
        guess[20 + i] = guess[20 + i] == 'A' ? 'B' : 'A';
        limited += web_status(HUB, guess, "/v1/orders") == 429;
    }
    ck_assert_int_gt(limited, 0);
    ck_assert_int_eq(web_status(HUB, key, "/v1/orders"), 200);
}
END_TEST

/* Through the proxy of HUB_B, from this address. */
static int status_from(const char *address, const char *agent, const char *token)
{
    _cleanup_(freep) char *url =
        xasprintf("%s" SESSION "%s", house_hub_url(&m.house, HUB_B), agent);
    _cleanup_(freep) char *from = xasprintf("X-Forwarded-For: %s", address);
    const char *const headers[] = {from, NULL};
    _cleanup_(web_reply_release) struct web_reply r =
        web(.url = url, .bearer = token, .headers = headers);

    return r.status;
}

/* Who knows the prefix of a token that no process has seen yet cannot keep its owner out. */
START_TEST(a_flood_on_a_prefix_from_elsewhere)
{
    char token[200], guess[200];
    int limited = 0;

    new_token(token, "core-2");
    for (int i = 0; i < 40; i++) {
        snprintf(guess, sizeof guess, "%s", token);
        guess[20 + i] = guess[20 + i] == 'A' ? 'B' : 'A';
        limited += status_from("203.0.113.90", "core-2", guess) == 429;
    }
    ck_assert_int_gt(limited, 0);
    ck_assert_int_eq(status_from("203.0.113.91", "core-2", token), 426);
}
END_TEST

/* From one address: a token that was never seen here is looked at while wrong ones are not. */
START_TEST(a_flood_of_wrong_tokens)
{
    char token[200], text[80];
    int limited = 0;

    new_token(token, "core-2");
    for (int i = 0; i < 60; i++) {
        random_key(text, i);
        memcpy(text, "mwa", 3);
        limited += session_status(HUB, NULL, "core-2", text) == 429;
    }
    ck_assert_int_gt(limited, 0);
    ck_assert_int_eq(session_status(HUB, NULL, "core-2", token), 426);
}
END_TEST

/* A known certificate that asks for what it may not, again and again. */
START_TEST(an_identity_that_does_not_give_up)
{
    int forbidden = 0, limited = 0;

    for (int i = 0; i < 30 && !limited; i++) {
        struct answer a = tls_ask(m.port, "shop-1", "/v1/dlq", NULL);
        forbidden += a.status == 403;
        limited += a.status == 429;
    }
    ck_assert_msg(forbidden >= 5 && limited > 0, "%d forbidden, %d limited", forbidden, limited);
    ck_assert_int_eq(tls_status(HUB, "shop-1", "/v1/orders"), 200); /* what it may, it may */
    ck_wait(on_record("kind = 'rate_limited' AND identity = 'cert:shop-1' AND detail LIKE "
                      "'forbidden: lacks dlq:read'") > 0,
            LONG_MS);
}
END_TEST

int main(void)
{
    const struct unit_row rows[] = {
        {"strangers", strangers_hear_the_same, COUNT(strangers)},
        {"an unknown certificate", a_certificate_that_nobody_knows, 0},
        {"no certificate", no_certificate_at_all, 0},
        {"roles", a_certificate_may_do_what_its_roles_give, 0},
        {"commands", commands_by_pattern, 0},
        {"agents", agents_show_their_token, 0},
        {"changes", a_change_counts_everywhere_at_once, 0},
        {"unheard changes", a_change_that_nobody_could_hear, 0},
        {"without postgresql", known_ones_go_on_without_postgresql, 0},
        {"wrong keys", a_flood_of_wrong_keys, 0},
        {"one prefix", a_flood_on_one_prefix, 0},
        {"behind a proxy", behind_a_proxy, 0},
        {"one prefix from elsewhere", a_flood_on_a_prefix_from_elsewhere, 0},
        {"wrong tokens", a_flood_of_wrong_tokens, 0},
        {"one identity", an_identity_that_does_not_give_up, 0},
    };
    const char *const env[] = {"MIHWAR_HUB_PROCESSES=1", NULL};
    Suite *s = suite_create("access");

    for (size_t i = 0; i < COUNT(rows); i++) {
        TCase *tc = tcase_create(rows[i].title);
        tcase_add_loop_test(tc, rows[i].test, 0, rows[i].loops ? (int)rows[i].loops : 1);
        suite_add_tcase(s, tc);
    }
    mtls_open(&m, env);
    folder_issue(&m.ca, "shop-2", CA_CLIENT);
    folder_issue(&m.ca, "stranger", CA_CLIENT);
    folder_issue(&m.ca, "cpe-1", CA_CLIENT);
    _cleanup_(freep) char *file =
        xasprintf("MIHWAR_MTLS_PORT_FILE=%s", folder_path(&m.ca, "port-b"));
    _cleanup_(freep) char *back = xasprintf("MIHWAR_MTLS_PORT_FILE=%s", folder_path(&m.ca, "port"));
    house_set(&m.house, file);
    house_up(&m.house, HUB_B);
    port_b = port_from_file(folder_path(&m.ca, "port-b"), m.house.procs[HUB_B], LONG_MS);
    house_set(&m.house, back);
    int failed = suite_run_unforked(s);
    failed += mtls_close(&m);
    return support_end(failed);
}

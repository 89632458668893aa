/* test_order_tasks.c - orders carried out by a real worker against the stand-ins for providers: whatever a provider does, the
 * order ends as the tables say, and nothing is bought twice.
 *
 *   row: a package mapped to a good with switches ("60~place.fault=reset")  -->  one order (or several units)
 *   all rows at once --> one worker --> every order at its end --> states, timelines and the ledgers compared
 *
 * The oracle is the ledger of the stand-ins: what left their house per player, whatever anybody believed. */
#include "base/clock.h"
#include "base/text.h"
#include "domain/orders/order_create.h"
#include "domain/orders/order_flow.h"
#include "domain/shop/catalog.h"
#include "domain/shop/integrations.h"
#include "domain/shop/routing.h"
#include "domain/shop/tenants.h"
#include "pg/migrate.h"
#include "tests/e2e/catcher.h"
#include "tests/integration/order_ways.h"
#include "tests/support/fibers.h"
#include "tests/support/stores.h"
#include "tests/support/web.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEAL_KEY "k1:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define ENDS_MS  30000

static struct stores stores;
static char znet_url[64], zdk_url[64];

/* ---------------------------------------------------------------- a shop, by lib/domain */

struct shop {
    char url[192];
    struct proc *worker;
    char ids[COUNT(ways)][ID_LEN + 1]; /* orders */
    char integrations[ATS][ID_LEN + 1];
    char secret[200];
    const char *more_settings; /* of the integrations; NULL: none */
    const struct way *ways;
    size_t n;
    const char *callback;
};

static void player_of(size_t i, char out[32])
{
    snprintf(out, 32, "p-%zu-%d", i, (int)getpid());
}

static rc add_integration(struct cx *cx, struct pg *db, const struct seal_keys *keys,
                          struct shop *s, const char *tenant, enum at at)
{
    static const char *const names[] = {"znet", "merging", "zdk"};
    const char *more = s->more_settings ? s->more_settings : "\"breaker\":false";
    struct integration made;
    struct integration_new n = {
        .tenant_id = tenant,
        .name = names[at],
        .kind = at == ZDK ? PROVIDER_JSON : PROVIDER_ZNET,
        .base_url = at == ZDK ? zdk_url : znet_url,
        .credentials = at == ZDK ? "{\"token\":\"secret-token\"}"
                                 : "{\"kod\":\"5551112233\",\"sifre\":\"secret-word\"}",
        .settings = arena_printf(&cx->arena, "{%s%s}",
                                 at == ZDK       ? "\"preset\":\"zdk\","
                                 : at == MERGING ? "\"may_resend\":true,"
                                                 : "",
                                 more),
    };

    try(integration_add(cx, db, keys, "test", &n, &made));
    snprintf(s->integrations[at], sizeof s->integrations[at], "%s", made.id);
    return OK;
}

static rc map(struct cx *cx, struct pg *db, const char *tenant, const char *package,
              const char *integration, enum at at, const char *good)
{
    bool direct = starts_with(good, "100");

    return mapping_set(cx, db, "test", tenant,
                       &(struct mapping){.package_id = package,
                                         .integration_id = integration,
                                         .product = at == ZDK ? good
                                                    : direct  ? "2"
                                                              : "1",
                                         .kupur = at == ZDK ? "" : good},
                       /* sure= */ true);
}

static rc make_shop(struct cx *cx, void *arg)
{
    struct shop *s = arg;
    struct seal_keys *keys;
    struct pg *db;
    struct tenant t;
    struct product product;
    const char *secret;

    try(pg_new(cx, s->url, 2, &db));
    try(seal_keys_load(cx, SEAL_KEY, &keys));
    try(migrate_run(cx, db, NULL));
    try(tenant_add(cx, db, keys, "test", "shop", &t));
    try(tenant_webhook_secret(cx, db, keys, t.id, &secret));
    snprintf(s->secret, sizeof s->secret, "%s", secret);
    try(product_add(cx, db, "test", t.id, "PUBG", &product));
    for (enum at at = 0; at < ATS; at++)
        try(add_integration(cx, db, keys, s, t.id, at));
    struct order_new *rows = arena_alloc(&cx->arena, s->n * sizeof *rows),
                     **list = arena_alloc(&cx->arena, s->n * sizeof *list);
    for (size_t i = 0; i < s->n; i++) {
        const struct way *w = &s->ways[i];
        struct package p;
        char player[32];
        player_of(i, player);
        try(package_add(cx, db, "test", t.id, product.id,
                        arena_printf(&cx->arena, "%zu %s", i, w->title), &p));
        try(map(cx, db, t.id, p.id, s->integrations[w->at], w->at, w->good));
        if (w->fallback)
            try(map(cx, db, t.id, p.id, s->integrations[ZDK], ZDK, w->fallback));
        try(route_set(cx, db, "test", t.id, p.id, s->integrations[w->at],
                      w->fallback ? s->integrations[ZDK] : NULL));
        rows[i] = (struct order_new){
            .tenant_id = t.id,
            .package_id = p.id,
            .user_identifier = arena_strdup(&cx->arena, player),
            .extra_field = w->extra,
            .quantity = w->quantity ? w->quantity : 1,
            .callback_url = s->callback,
        };
        list[i] = &rows[i];
        try(order_new_check(cx, &rows[i]));
    }
    if (s->n)
        try(orders_insert(cx, db, list, s->n, NULL));
    for (size_t i = 0; i < s->n; i++) {
        ck_assert_msg(rows[i].made == ORDER_CREATED, "%s: %s", s->ways[i].title, rows[i].err.text);
        memcpy(s->ids[i], rows[i].id, sizeof s->ids[i]);
    }
    seal_keys_free(keys);
    pg_free(db);
    return OK;
}

static struct proc *living; /* of a test that failed */

static void kill_living(void)
{
    living = proc_free(living);
}

/* more: a further setting, "MIHWAR_NAME=value"; NULL: none. */
static void start_worker(struct shop *s, const char *more)
{
    static int number;
    char name[32], database[256], redis[192];
    const char *argv[] = {built("worker/mihwar-worker"), NULL};
    const char *env[] = {database,
                         redis,
                         "MIHWAR_SEAL_KEYS=" SEAL_KEY,
                         "MIHWAR_CHECK_FIRST=100ms",
                         "MIHWAR_CHECK_BASE=100ms",
                         "MIHWAR_CHECK_CAP=400ms",
                         "MIHWAR_CHECK_RETRIES=1000",
                         "MIHWAR_REVIEW_AFTER=3s",
                         "MIHWAR_ORDER_TIMEOUT=7s",
                         "MIHWAR_PROVIDER_CONNECT=500ms",
                         "MIHWAR_PROVIDER_PLACE=1s",
                         "MIHWAR_PROVIDER_STATUS=1s",
                         "MIHWAR_LEASE=2s",
                         "MIHWAR_WORKER_PROCESSES=1",
                         "MIHWAR_WEBHOOK_ALLOW_PRIVATE=true",
                         "MIHWAR_LOG_LEVEL=info",
                         more,
                         NULL};

    snprintf(name, sizeof name, "worker-%d-%d", (int)getpid(), number++);
    snprintf(database, sizeof database, "MIHWAR_DATABASE_URL=%s", s->url);
    snprintf(redis, sizeof redis, "MIHWAR_REDIS_URL=%s", stores.redis_url);
    s->worker = living = proc_start(&(struct proc_opts){.name = name, .argv = argv, .env = env});
}

static void stop_worker(struct shop *s)
{
    ck_assert_int_eq(proc_stop(s->worker, 20000), 0);
    s->worker = living = proc_free(s->worker);
}

/* A fresh database, a fresh Redis, the orders accepted; nobody works yet. */
static struct shop *new_shop(const struct way *w, size_t n, const char *more_settings,
                             const char *callback)
{
    static int number;
    static struct shop s;
    char name[48];

    s = (struct shop){.ways = w, .n = n, .more_settings = more_settings, .callback = callback};
    redis_one(stores.redis_url, "FLUSHALL");
    snprintf(name, sizeof name, "shop_%d_%d", (int)getpid(), number++);
    stores_new_database(&stores, name, NULL, s.url);
    ck_ok(on_fiber(make_shop, &s));
    return &s;
}

static const char *column(const struct shop *s, size_t i, const char *what)
{
    const char *is =
        pg_one(s->url, "SELECT %s FROM product_orders WHERE id = '%s'", what, s->ids[i]);

    return is ? is : "";
}

static int64_t open_orders(const struct shop *s)
{
    return pg_one_int(s->url, "SELECT count(*) FROM product_orders WHERE status NOT IN "
                              "('completed', 'failed', 'review')");
}

/* Deliveries to this player, by both stand-ins. */
static int delivered(const char *player)
{
    const char *urls[] = {znet_url, zdk_url};
    int count = 0;

    for (size_t i = 0; i < COUNT(urls); i++) {
        char url[128];
        snprintf(url, sizeof url, "%s/_sim/ledger", urls[i]);
        _cleanup_(web_reply_release) struct web_reply r = web(.url = url);
        ck_assert_msg(r.status == 200 && r.json, "%s: %d %s", url, r.status, r.why);
        const cJSON *d;
        cJSON_ArrayForEach(d, cJSON_GetObjectItem(r.json, "deliveries"))
        {
            const char *to = cJSON_GetStringValue(cJSON_GetObjectItem(d, "player"));
            size_t n = strlen(to), k = strlen(player);
            count += n >= k && strcmp(to + n - k, player) == 0 && (n == k || to[n - k - 1] == ' ');
        }
    }
    return count;
}

/* ---------------------------------------------------------------- all rows at once */

static void check_way(const struct shop *s, size_t i)
{
    const struct way *w = &s->ways[i];
    char player[32];
    int units = w->quantity ? w->quantity : 1;

    _cleanup_(freep) char *timeline = pg_table(s->url,
                                               "SELECT unit, kind, status, provider, detail FROM "
                                               "order_events WHERE order_id = '%s' ORDER BY id",
                                               s->ids[i]);
    player_of(i, player);
    ck_assert_msg(strcmp(column(s, i, "status"), w->status) == 0, "%s: %s\n%s", w->title,
                  column(s, i, "status"), timeline);

    /* The strongest first: nothing is delivered twice, whatever the order says. */
    int got = delivered(player);
    ck_assert_msg(got <= units, "%s: BOUGHT %d TIMES for %d units\n%s", w->title, got, units,
                  timeline);
    ck_assert_msg(got == w->delivered, "%s: %d deliveries, not %d\n%s", w->title, got, w->delivered,
                  timeline);

    bool completed = strcmp(w->status, "completed") == 0;
    ck_assert_msg(!completed || strcmp(column(s, i, "provider"), w->by_fallback     ? "zdk"
                                                                 : w->at == ZDK     ? "zdk"
                                                                 : w->at == MERGING ? "merging"
                                                                                    : "znet") == 0,
                  "%s: by %s\n%s", w->title, column(s, i, "provider"), timeline);
    bool pin =
        pg_one_int(
            s->url,
            "SELECT count(*) FROM order_placements WHERE order_id = '%s' AND pin IS NOT NULL",
            s->ids[i]) > 0;
    ck_assert_msg(pin == w->pin, "%s: %s PIN\n%s", w->title, pin ? "a" : "no", timeline);
    const char *note = column(s, i, "note");
    ck_assert_msg(!w->note || strstr(note, w->note), "%s: note '%s'\n%s", w->title, note, timeline);
    int64_t placements = pg_one_int(
        s->url, "SELECT count(*) FROM order_placements WHERE order_id = '%s'", s->ids[i]);
    ck_assert_msg(placements == (w->placements ? w->placements : units), "%s: %d placements\n%s",
                  w->title, (int)placements, timeline);
    /* what the timeline keeps is masked */
    ck_assert_msg(!strstr(timeline, "secret-"), "%s: a credential in the timeline\n%s", w->title,
                  timeline);
}

START_TEST(every_way)
{
    struct shop *s = new_shop(ways, COUNT(ways), NULL, NULL);

    start_worker(s, NULL);
    (void)wait_until(open_orders(s) == 0, ENDS_MS); /* which one is still open is told below */
    for (size_t i = 0; i < COUNT(ways); i++)
        check_way(s, i);

    /* The cost is the provider's own, whatever its form. */
    for (size_t i = 0; i < COUNT(ways); i++) {
        if (starts_with(ways[i].title, "Q7") || strcmp(ways[i].title, "a PIN") == 0) {
            ck_assert_str_eq(column(s, i, "cost_amount::text"), "10.1200");
            ck_assert_str_eq(column(s, i, "cost_currency"), "TRY");
        }
        if (strcmp(ways[i].title, "zdk, three units") == 0)
            ck_assert_str_eq(column(s, i, "array_length(pin_codes, 1)"), "3");
        if (strcmp(ways[i].title, "an extra field goes before the player") == 0) {
            char want[64], player[32];
            player_of(i, player);
            snprintf(want, sizeof want, "654321 %s", player);
            char url[128];
            snprintf(url, sizeof url, "%s/_sim/ledger", znet_url);
            _cleanup_(web_reply_release) struct web_reply r = web(.url = url);
            ck_assert_msg(strstr(r.body, want) != NULL, "nobody called %s", want);
        }
    }
    /* No PIN, credential or player of a whole run in the log; no PIN in a timeline. */
    _cleanup_(freep) char *log = proc_log(s->worker);
    ck_assert_ptr_null(strstr(log, "secret-"));
    ck_assert_ptr_null(strstr(log, "sifre="));
    /* Every dispatch and check has ended or waits for its time; none died. */
    ck_assert_int_eq(pg_one_int(s->url, "SELECT count(*) FROM jobs WHERE state = 'dead'"), 0);
    stop_worker(s);
}
END_TEST

/* What a panel does with a reference that it knows (Q9), or does not know (Q10), decides nothing: a lost answer is asked about,
 * once placed is never placed again, and words about a stranger are no refusal. */
static const struct {
    const char *rule;
    struct way way;
} quirks[] = {
    {"switch?place.duplicate=accept",
     {"Q9 asked, not sent again", ZNET, "60~place.fault=reset*1", "101", 0, NULL, COMPLETED, NULL}},
    {"switch?status.unknown=code3",
     {"Q10 no refusal", ZNET, "60~place.fault=reset*1;place.accepts=no*1", "101", 0, NULL, "review",
      0, false, false, "cannot be decided"}},
};

/* What the stand-in says to a control request. */
static struct web_reply at_znet(const char *path)
{
    char url[128];

    snprintf(url, sizeof url, "%s/_sim/%s", znet_url, path);
    struct web_reply r = web(.url = url);
    ck_assert_msg(r.status == 200, "%s: %d %s", path, r.status, r.body);
    return r;
}

START_TEST(asked_about_never_repeated)
{
    struct shop *s = new_shop(&quirks[_i].way, 1, NULL, NULL);
    _cleanup_(web_reply_release) struct web_reply reset = at_znet("reset"),
                                                  rule = at_znet(quirks[_i].rule);

    start_worker(s, NULL);
    ck_wait(open_orders(s) == 0, ENDS_MS);
    _cleanup_(web_reply_release) struct web_reply calls = at_znet("calls"), end = at_znet("reset");
    check_way(s, 0);
    ck_assert_str_eq(web_text(&calls, "place"), "1");
    ck_assert_int_ge(atoi(web_text(&calls, "status")), 1);
    stop_worker(s);
}
END_TEST

/* ---------------------------------------------------------------- a worker that dies */

static const struct way one_way[] = {{"", ZNET, "60", NULL, 0, NULL, COMPLETED, NULL}};

static const struct {
    const char *inject, *status;
    int delivered;
} deaths[] = {
    /* the reference is stored: asked about, never sent, for a person to decide */
    {"MIHWAR_INJECT=die_before_call", "review", 0},
    /* the answer is in hand: found by asking, bought once */
    {"MIHWAR_INJECT=die_after_call", "completed", 1},
};

START_TEST(dies_around_the_call)
{
    struct shop *s = new_shop(one_way, 1, NULL, NULL);
    char player[32];

    player_of(0, player);
    start_worker(s, deaths[_i].inject);
    ck_wait(strcmp(column(s, 0, "status"), deaths[_i].status) == 0, ENDS_MS);
    ck_assert_int_eq(delivered(player), deaths[_i].delivered);
    ck_assert_int_eq(pg_one_int(s->url, "SELECT count(*) FROM order_placements"), 1);
    ck_assert_int_eq(pg_one_int(s->url, "SELECT calls FROM order_placements"), 1);
    stop_worker(s);
}
END_TEST

/* Redis is emptied while the provider takes its time: the attempt loses its job, its purchase does
 * not lose its answer. The refusal is believed, so the fallback delivers; nobody has to decide. */
START_TEST(emptied_during_the_call)
{
    static const struct way slow[] = {
        {"", ZNET, "60~refuse=stock;place.latency=2500", "101", 0, NULL, FELL_BACK, NULL, 2},
        {"", ZNET, "60~place.latency=2500", "101", 0, NULL, COMPLETED, NULL},
    };
    struct shop *s = new_shop(slow, COUNT(slow), "\"breaker\":false,\"place_ms\":10000", NULL);

    start_worker(s, "MIHWAR_REVIEW_AFTER=20s");
    ck_wait(pg_one_int(s->url, "SELECT count(*) FROM order_placements WHERE status = 'sending'") ==
                (int64_t)COUNT(slow),
            ENDS_MS);
    redis_one(stores.redis_url, "FLUSHALL");
    (void)wait_until(open_orders(s) == 0, ENDS_MS);
    for (size_t i = 0; i < COUNT(slow); i++)
        check_way(s, i);
    ck_assert_int_eq(pg_one_int(s->url, "SELECT max(calls) FROM order_placements"), 1);
    _cleanup_(freep) char *log = proc_log(s->worker);
    ck_assert_msg(strstr(log, "lease.lost"), "no attempt lost its job during the call");
    stop_worker(s);
}
END_TEST

/* ---------------------------------------------------------------- provider out of reach, paused, in a storm */

/* Nobody listens: the order waits as pending under one reference, can be told from doubt, and goes out when somebody does. */
START_TEST(never_reached)
{
    struct shop *s = new_shop(one_way, 1, NULL, NULL);
    char player[32];

    player_of(0, player);
    pg_one(s->url, "UPDATE integrations SET base_url = 'http://127.0.0.1:1'");
    start_worker(s, NULL);
    ck_wait(pg_one_int(s->url, "SELECT attempts FROM product_orders") >= 3, ENDS_MS);
    ck_wait(strcmp(column(s, 0, "status"), "pending") == 0, ENDS_MS);
    ck_assert_int_eq(pg_one_int(s->url, "SELECT count(*) FROM order_placements"), 1);
    pg_one(s->url, "UPDATE integrations SET base_url = '%s' WHERE kind = 'znet'", znet_url);
    ck_wait(strcmp(column(s, 0, "status"), "completed") == 0, ENDS_MS);
    ck_assert_int_eq(delivered(player), 1);
    ck_assert_int_eq(pg_one_int(s->url, "SELECT count(*) FROM order_placements"), 1);
    stop_worker(s);
}
END_TEST

/* Never reached for a whole day: it fails, as an order without an answer does. */
START_TEST(never_reached_for_a_day)
{
    struct shop *s = new_shop(one_way, 1, NULL, NULL);

    pg_one(s->url, "UPDATE integrations SET base_url = 'http://127.0.0.1:1'");
    start_worker(s, NULL);
    ck_wait(strcmp(column(s, 0, "status"), "failed") == 0, ENDS_MS);
    ck_assert_str_eq(column(s, 0, "note"), ORDER_TIMEOUT_NOTE);
    stop_worker(s);
}
END_TEST

/* Settings that make no sense: the order waits, an operator is told, and the repaired settings hold without a restart. */
START_TEST(unusable_then_repaired)
{
    struct shop *s = new_shop(one_way, 1, NULL, NULL);

    pg_one(s->url, "UPDATE integrations SET settings = '{\"phoone\":\"1\"}' WHERE name = 'znet'");
    start_worker(s, NULL);
    _cleanup_(freep) char *log = NULL;
    ck_wait((free(log), (log = proc_log(s->worker)), strstr(log, "provider.unusable") != NULL),
            ENDS_MS);
    ck_assert_msg(strstr(log, "phoone"), "%s", log);
    ck_assert_str_eq(column(s, 0, "status"), "pending");
    pg_one(s->url, "UPDATE integrations SET settings = '{}' WHERE name = 'znet'");
    ck_wait(strcmp(column(s, 0, "status"), "completed") == 0, ENDS_MS);
    stop_worker(s);
}
END_TEST

/* A provider that keeps failing: the breaker opens for every process to see, orders wait without a try, and all end well. */
START_TEST(a_storm_opens_the_breaker)
{
    static struct way many[12];
    static const char settings[] =
        "\"breaker\":{\"min_calls\":4,\"open_ms\":500,\"window_ms\":10000}";

    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = one_way[0];
    struct shop *s = new_shop(many, COUNT(many), settings, NULL);
    pg_one(s->url, "UPDATE integrations SET base_url = 'http://127.0.0.1:1' WHERE name = 'znet'");
    start_worker(s, NULL);
    ck_wait(
        strcmp(pg_one(s->url, "SELECT breaker FROM integrations WHERE name = 'znet'"), "open") == 0,
        ENDS_MS);
    pg_one(s->url, "UPDATE integrations SET base_url = '%s' WHERE name = 'znet'", znet_url);
    ck_wait(open_orders(s) == 0, ENDS_MS);
    for (size_t i = 0; i < COUNT(many); i++) {
        char player[32];
        player_of(i, player);
        ck_assert_str_eq(column(s, i, "status"), "completed");
        ck_assert_int_eq(delivered(player), 1);
    }
    ck_wait(strcmp(pg_one(s->url, "SELECT breaker FROM integrations WHERE name = 'znet'"),
                   "closed") == 0,
            ENDS_MS);
    stop_worker(s);
}
END_TEST

START_TEST(paused)
{
    struct shop *s = new_shop(one_way, 1, NULL, NULL);
    char player[32];

    player_of(0, player);
    pg_one(
        s->url,
        "UPDATE integrations SET paused_until = now() + interval '2 seconds' WHERE name = 'znet'");
    start_worker(s, NULL);
    ck_wait(pg_one_int(s->url, "SELECT count(*) FROM job_attempts WHERE outcome = 'snoozed'") >= 1,
            ENDS_MS);
    ck_assert_int_eq(delivered(player), 0);
    ck_wait(strcmp(column(s, 0, "status"), "completed") == 0, ENDS_MS);
    stop_worker(s);
}
END_TEST

/* One call at a time and ten a second, however many orders wait. */
START_TEST(limits)
{
    static struct way many[8];

    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = one_way[0];
    struct shop *s = new_shop(many, COUNT(many),
                              "\"breaker\":false,\"concurrency\":1,\"requests_per_s\":20", NULL);
    int64_t began = clock_mono_ms();
    start_worker(s, NULL);
    ck_wait(open_orders(s) == 0, ENDS_MS);
    for (size_t i = 0; i < COUNT(many); i++)
        ck_assert_str_eq(column(s, i, "status"), "completed");
    /* 8 placed and asked at least once: 16 calls at 50 ms */
    ck_assert_int_ge(clock_mono_ms() - began, 15 * 50);
    stop_worker(s);
}
END_TEST

/* ---------------------------------------------------------------- balance, catalogue, callbacks */

static void enqueue(struct shop *s, const char *task, const char *integration, char *id)
{
    id_new(id);
    pg_one(s->url,
           "INSERT INTO jobs (id, queue, task, args, state, run_at, max_attempts, subject) VALUES "
           "('%s', 'default', '%s',"
           " '{\"integration_id\":\"%s\"}', 'ready', now(), 3, '%s')",
           id, task, integration, integration);
}

static bool job_is(const struct shop *s, const char *id, const char *state)
{
    return strcmp(pg_one(s->url, "SELECT state FROM jobs WHERE id = '%s'", id), state) == 0;
}

START_TEST(refreshed)
{
    struct shop *s = new_shop(NULL, 0, NULL, NULL);
    char ids[4][ID_LEN + 1];

    enqueue(s, "provider.balance", s->integrations[ZNET], ids[0]);
    enqueue(s, "provider.catalogue", s->integrations[ZNET], ids[1]);
    enqueue(s, "provider.balance", s->integrations[ZDK], ids[2]);
    enqueue(s, "provider.catalogue", s->integrations[ZDK], ids[3]);
    start_worker(s, NULL);
    for (size_t i = 0; i < COUNT(ids); i++)
        ck_wait(job_is(s, ids[i], "completed"), ENDS_MS);
    ck_assert_int_eq(
        pg_one_int(
            s->url,
            "SELECT count(*) FROM integrations WHERE balance > 0 AND name IN ('znet', 'zdk')"),
        2);
    ck_assert_int_ge(pg_one_int(s->url,
                                "SELECT count(*) FROM catalogue_items WHERE integration_id = '%s'",
                                s->integrations[ZNET]),
                     6);
    ck_assert_int_ge(pg_one_int(s->url,
                                "SELECT count(*) FROM catalogue_items WHERE integration_id = '%s'",
                                s->integrations[ZDK]),
                     5);
    ck_assert_str_eq(pg_one(s->url,
                            "SELECT product || '/' || kupur FROM catalogue_items WHERE "
                            "integration_id = '%s' AND kupur = '100'",
                            s->integrations[ZNET]),
                     "2/100");
    stop_worker(s);
}
END_TEST

START_TEST(called_back)
{
    struct catcher c;
    struct caught k;
    char want[DIGEST_HEX_LEN + 1];

    catcher_open(&c);
    struct shop *s = new_shop(one_way, 1, NULL, c.url);
    start_worker(s, NULL);
    ck_assert(catcher_take(&c, 503, ENDS_MS, &k)); /* refused: it comes again */
    caught_release(&k);
    ck_assert(catcher_take(&c, 204, ENDS_MS, &k));
    const char *stamp = caught_header(&k, "Mihwar-Timestamp"),
               *signature = caught_header(&k, "Mihwar-Signature");
    ck_assert_msg(stamp && signature, "%s", k.head);
    webhook_sign(s->secret, atoll(stamp), k.body, k.body_len, want);
    ck_assert_str_eq(signature, want);
    ck_assert_str_eq(caught_header(&k, "Mihwar-Event"), "order.completed");
    ck_assert_str_eq(caught_header(&k, "Content-Type"), "application/json");
    cJSON *body = cJSON_Parse(k.body);
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(body, "id")), s->ids[0]);
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(body, "status")), "completed");
    ck_assert_msg(cJSON_GetStringValue(cJSON_GetObjectItem(body, "pin_code")), "%s", k.body);
    cJSON_Delete(body);
    caught_release(&k);
    catcher_close(&c);
    ck_wait(
        pg_one_int(
            s->url,
            "SELECT count(*) FROM jobs WHERE task = 'webhook.deliver' AND state = 'completed'") ==
            1,
        ENDS_MS);
    stop_worker(s);
}
END_TEST

START_TEST(no_callback_inside)
{
    struct catcher c;
    struct caught k;

    catcher_open(&c);
    struct shop *s = new_shop(one_way, 1, NULL, c.url);
    start_worker(s, "MIHWAR_WEBHOOK_ALLOW_PRIVATE=false");
    ck_wait(pg_one_int(
                s->url,
                "SELECT count(*) FROM jobs WHERE task = 'webhook.deliver' AND state = 'dead'") == 1,
            ENDS_MS);
    ck_assert_str_eq(pg_one(s->url, "SELECT error_code FROM job_attempts a JOIN jobs j ON j.id = "
                                    "a.job_id WHERE j.task = 'webhook.deliver'"),
                     "address_refused");
    ck_assert(!catcher_take(&c, 200, 0, &k));
    catcher_close(&c);
    stop_worker(s);
}
END_TEST

/* ---------------------------------------------------------------- the frame */

static struct proc *start_sim(const char *name, const char *program, char *url)
{
    char file[160];

    snprintf(file, sizeof file, "%s/%s.port", support_dir(), name);
    const char *argv[] = {built(program), "--port",      "0",   "--port-file",
                          file,           "--settle-ms", "250", NULL};
    struct proc *p = proc_start(&(struct proc_opts){.name = name, .argv = argv});
    snprintf(url, 64, "http://127.0.0.1:%d", port_from_file(file, p, 10000));
    return p;
}

int main(void)
{
    const struct {
        const char *title;
        const TTest *test;
        int loops; /* 0: once */
    } rows[] = {
        {"every way", every_way},
        {"asked about, never repeated", asked_about_never_repeated, COUNT(quirks)},
        {"dies around the call", dies_around_the_call, COUNT(deaths)},
        {"emptied during the call", emptied_during_the_call},
        {"never reached", never_reached},
        {"never reached for a day", never_reached_for_a_day},
        {"unusable, repaired", unusable_then_repaired},
        {"a storm", a_storm_opens_the_breaker},
        {"paused", paused},
        {"limits", limits},
        {"refreshed", refreshed},
        {"called back", called_back},
        {"no callback inside", no_callback_inside},
    };
    Suite *suite = suite_create("order_tasks");

    stores_start(&stores, NULL);
    struct proc *znet = start_sim("sim-znet", "tests/sim/sim-znet", znet_url);
    struct proc *zdk = start_sim("sim-zdk", "tests/sim/sim-zdk", zdk_url);
    for (size_t i = 0; i < COUNT(rows); i++) {
        TCase *tc = tcase_create(rows[i].title);
        tcase_add_checked_fixture(tc, NULL, kill_living);
        tcase_add_loop_test(tc, rows[i].test, 0, rows[i].loops ? rows[i].loops : 1);
        suite_add_tcase(suite, tc);
    }
    int failed = suite_run(suite);
    proc_free(zdk);
    proc_free(znet);
    stores_stop(&stores);
    return support_end(failed);
}

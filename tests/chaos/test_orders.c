/* test_orders.c - 200 orders while everything is killed; then the books are compared.
 *
 *   poster ---- POST, the same Idempotency-Key until 201 ----> hub          worker, beat
 *                                                                 \          /
 *   reaper ---- kill -9, a moment, start again ---->  each in turn, Redis, PostgreSQL and the
 *                                                     provider too; FLUSHALL twice
 *
 * At the end, with everything up and quiet, each accepted order is
 *   - completed, and in the provider's ledger exactly once; or
 *   - in review: its reference was stored, its call was cut, the provider does not know it: in the
 *     ledger at most once.
 * Nothing else is in the ledger. Orders in review are listed with their timelines, and what took
 * longest is told.
 *
 * MIHWAR_CHAOS_SEED repeats a run's choices (not its races); MIHWAR_CHAOS_ORDERS changes the
 * number. */
#include "tests/chaos/poster.h"
#include "tests/chaos/trouble.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_MS 120000

static struct house h;

/* ---------------------------------------------------------------- who sends */

/* The goods: at once; answered slowly, so that calls are cut; taken late, so that a cut call may
 * have been lost or may still arrive; refused by the first provider. */
static const char *const goods[4][2] = {
    {"60", NULL},
    {"60~place.latency=150", NULL},
    {"60~accept_after=150;place.latency=250", NULL},
    {"60~place.refuse=balance", "60"},
};

static char packages[COUNT(goods)][40];

static void order_body(int i, char *ret, size_t size)
{
    snprintf(ret, size, "{\"package_id\":\"%s\",\"user_identifier\":\"chaos-%d\"}",
             packages[(size_t)i % COUNT(packages)], i);
}

static struct poster poster = {.path = "/v1/orders",
                               .id_field = "id",
                               .accepted_status = 201,
                               .body = order_body,
                               .pace_ms = 100};

static int64_t accepted(void)
{
    return poster_accepted(&poster);
}

/* ---------------------------------------------------------------- who kills */

static int64_t ended(void)
{
    const char *n =
        pg_try(h.stores.database_url, NULL,
               "SELECT count(*) FROM product_orders WHERE status IN ('completed', 'review')");
    return n ? atoll(n) : -1;
}

static struct troubles troubles = {
    .house = &h, .noun = "order", .ended = ended, .accepted = accepted};

static void round_of_troubles(void)
{
    enum part victims[] = {HUB, WORKER, BEAT, REDIS, PG, SIM};
    trouble_each(&troubles, victims, COUNT(victims));
    trouble_kill_child(&troubles, HUB);
    trouble_kill_child(&troubles, WORKER);
}

/* ---------------------------------------------------------------- the books */

static int64_t unsettled(void)
{
    return pg_one_int(
        h.stores.database_url,
        "SELECT (SELECT count(*) FROM product_orders WHERE status NOT IN ('completed', 'failed', "
        "'cancelled', 'review')) + (SELECT count(*) FROM jobs WHERE live AND task LIKE "
        "'order.%%')");
}

static char *timelines(const char *where)
{
    return pg_table(
        h.stores.database_url,
        "SELECT o.user_identifier, o.status, to_char(o.created_at, 'MI:SS.MS') || ' posted, ' || "
        "string_agg(to_char(e.at, "
        "'MI:SS.MS') || "
        "' ' || e.kind || coalesce(' (' || e.detail || ')', ''), ', ' ORDER BY e.id) FROM "
        "product_orders o "
        "LEFT JOIN order_events e ON e.order_id = o.id WHERE %s GROUP BY o.id ORDER BY o.id",
        where);
}

static int delivered(const cJSON *deliveries, const char *referans_list)
{
    const cJSON *d;
    int n = 0;
    cJSON_ArrayForEach(d, deliveries)
    {
        const char *ref = cJSON_GetStringValue(cJSON_GetObjectItem(d, "reference"));
        n += ref && strstr(referans_list, ref) != NULL;
    }
    return n;
}

static void compare_books(int tries)
{
    const char *db = h.stores.database_url;
    _cleanup_(web_reply_release) struct web_reply ledger = house_sim(&h, "/_sim/ledger");
    const cJSON *deliveries = cJSON_GetObjectItem(ledger.json, "deliveries");
    int completed_n = 0, review_n = 0, in_ledger = 0, wrong = 0;

    ck_assert_msg(deliveries != NULL, "%d %s", ledger.status, ledger.body);
    for (int i = 0; i < poster.n; i++) {
        const char *id = poster.posted[i].id, *status = house_status(&h, id);
        const char *refs = pg_one(db,
                                  "SELECT coalesce(string_agg(referans, ' '), '') FROM "
                                  "order_placements WHERE order_id = '%s'",
                                  id);
        int n = delivered(deliveries, refs);
        bool done = strcmp(status, "completed") == 0, review = strcmp(status, "review") == 0;
        bool cut =
            pg_one_int(
                db,
                "SELECT count(*) FROM order_placements WHERE order_id = '%s' AND status = 'review'",
                id) == 1;
        completed_n += done;
        review_n += review;
        in_ledger += n;
        if ((done && n == 1) || (review && n <= 1 && cut))
            continue;
        wrong++;
        printf("chaos: WRONG: chaos-%d (%s) is %s and in the ledger %d times\n", i, id,
               *status ? status : "LOST", n);
    }
    _cleanup_(freep) char *reviews = timelines("o.status = 'review'");
    _cleanup_(freep) char *slow =
        timelines("o.id IN (SELECT id FROM product_orders WHERE status = 'completed' ORDER BY "
                  "completed_at - created_at DESC LIMIT 3)");
    if (review_n)
        printf("chaos: in review, with a stored reference and a cut call:\n%s", reviews);
    printf("chaos: slowest from POST to PIN:\n%s", slow);
    printf("chaos: %d accepted (%d POSTs), %d completed, %d review, %d in the ledger, %d wrong; "
           "longest wait for the next end: %d ms after %s\n",
           poster.n, tries, completed_n, review_n, in_ledger, wrong, troubles.longest_ms,
           troubles.longest_after);
    fflush(stdout);
    if (wrong) {
        _cleanup_(freep) char *all = timelines("o.status NOT IN ('completed', 'review') OR (SELECT "
                                               "count(*) FROM order_placements p WHERE "
                                               "p.order_id = o.id AND p.status <> 'failed') <> 1");
        printf("%s", all);
    }
    ck_assert_int_eq(wrong, 0);
    ck_assert_int_eq(pg_one_int(db, "SELECT count(*) FROM product_orders"), poster.n);
    ck_assert_int_eq(cJSON_GetArraySize(deliveries), in_ledger);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(ledger.json, "doubles")), 0);
    ck_assert_int_eq(pg_one_int(db, "SELECT count(*) FROM dead_letters WHERE task LIKE 'order.%%'"),
                     0);
}

START_TEST(two_hundred_orders)
{
    const char *n = getenv("MIHWAR_CHAOS_ORDERS");
    troubles_seed("MIHWAR_CHAOS_SEED");
    poster.n = n ? atoi(n) : 200;
    snprintf(poster.urls[0], sizeof(poster.urls[0]), "%s", h.url);
    snprintf(poster.key, sizeof(poster.key), "%s", h.key);
    for (size_t i = 0; i < COUNT(goods); i++)
        snprintf(packages[i], sizeof(packages[i]), "%s",
                 house_package(&h, goods[i][0], goods[i][1]));

    poster_start(&poster);
    ck_wait(accepted() > 3 || poster.broken, 20000);
    for (int round = 0; round < 2 || (accepted() < poster.n && round < 20 && !poster.broken);
         round++)
        round_of_troubles();
    int tries = poster_join(&poster);

    if (!wait_until(unsettled() == 0, SETTLE_MS)) {
        _cleanup_(freep) char *open =
            timelines("o.status NOT IN ('completed', 'failed', 'cancelled', 'review')");
        _cleanup_(freep) char *jobs = pg_table(
            h.stores.database_url,
            "SELECT id, task, state, generation, attempt, run_at, last_error, subject FROM "
            "jobs WHERE live AND task LIKE 'order.%%'");
        printf("chaos: not settled after %d s:\n%s%s", SETTLE_MS / 1000, open, jobs);
    }
    compare_books(tries);
}
END_TEST

int main(void)
{
    static const char *const env[] = {
        "MIHWAR_REVIEW_AFTER=6s",
        /* Small losses besides the kills; each process has its own. */
        "MIHWAR_INJECT=ack_lost:3,push_lost:2,redis_drop_reply:2",
        NULL,
    };
    Suite *s = suite_create("chaos");
    TCase *tc = tcase_create("chaos");
    tcase_add_test(tc, two_hundred_orders);
    suite_add_tcase(s, tc);
    house_start(&h, &(struct stores_opts){.durable = true}, env);
    int failed = suite_run_unforked(s);
    failed += house_stop(&h);
    return support_end(failed);
}

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
#include "tests/chaos/books.h"
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

    if (!wait_until(books_unsettled(&h) == 0, SETTLE_MS)) {
        _cleanup_(freep) char *open =
            books_timelines(&h, "o.status NOT IN ('completed', 'failed', 'cancelled', 'review')");
        _cleanup_(freep) char *jobs = pg_table(
            h.stores.database_url,
            "SELECT id, task, state, generation, attempt, run_at, last_error, subject FROM "
            "jobs WHERE live AND task LIKE 'order.%%'");
        printf("chaos: not settled after %d s:\n%s%s", SETTLE_MS / 1000, open, jobs);
    }
    printf("chaos: longest wait for the next end: %d ms after %s\n", troubles.longest_ms,
           troubles.longest_after);
    books_compare(&h, &poster, tries);
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

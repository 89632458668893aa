/* test_postgres.c - orders while the pooler before PostgreSQL is killed, and while the primary is and its standby takes over.
 *
 *   poster ── POST until 201 ──► hub, worker, beat ──pgbouncer (killed)──► primary ──synchronous──► standby
 *                                        `──────────both hosts───────────► kill -9                 pg_ctl promote
 *
 * Then the books are compared (books.h), on the server that writes now. Nothing that was accepted may be missing, and each
 * attempt of a durable job was completed once.
 *
 * MIHWAR_CHAOS_ORDERS changes the number. */
#include "tests/chaos/books.h"
#include "tests/support/replica.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_MS 120000

static struct house h;
static struct replica replica;
static struct pooler pooler = {.servers = 6};
static char package[40];

static void order_body(int i, char *ret, size_t size)
{
    snprintf(ret, size, "{\"package_id\":\"%s\",\"user_identifier\":\"chaos-%d\"}", package, i);
}

static struct poster poster = {.path = "/v1/orders",
                               .id_field = "id",
                               .accepted_status = 201,
                               .body = order_body,
                               .pace_ms = 40};

static void start_posting(void)
{
    const char *n = getenv("MIHWAR_CHAOS_ORDERS");

    poster.n = n ? atoi(n) : 80;
    snprintf(poster.urls[0], sizeof(poster.urls[0]), "%s", h.url);
    snprintf(poster.key, sizeof(poster.key), "%s", h.key);
    snprintf(package, sizeof(package), "%s", house_package(&h, "60~place.latency=100", NULL));
    poster_start(&poster);
    ck_wait(poster_accepted(&poster) >= poster.n / 8 || poster.broken, 30000);
}

static void settle_and_compare(void)
{
    int tries = poster_join(&poster);

    if (!wait_until(books_unsettled(&h) == 0, SETTLE_MS)) {
        _cleanup_(freep) char *open =
            books_timelines(&h, "o.status NOT IN ('completed', 'review')");
        printf("chaos: not settled:\n%s", open);
    }
    books_compare(&h, &poster, tries);
    ck_assert_int_eq(pg_one_int(h.stores.database_url,
                                "SELECT count(*) FROM (SELECT job_id FROM job_attempts WHERE "
                                "outcome = 'completed' GROUP BY job_id, generation HAVING "
                                "count(*) > 1) AS twice"),
                     0);
}

/* Under load: what is being posted or carried out meanwhile is drained. */
static void move_house(const char *url, const char *listen)
{
    char setting[256];

    snprintf(setting, sizeof(setting), "MIHWAR_DATABASE_URL=%s", url);
    house_set(&h, setting);
    snprintf(setting, sizeof(setting), "MIHWAR_DATABASE_LISTEN_URL=%s", listen);
    house_set(&h, setting);
    for (enum part p = HUB; p <= BEAT; p++)
        if (h.procs[p]) {
            ck_assert(house_down(&h, p));
            house_up(&h, p);
        }
}

/* One more is accepted, or all are. */
static void wait_for_the_next(void)
{
    int before = poster_accepted(&poster);

    ck_wait(poster_accepted(&poster) > before || before == poster.n || poster.broken, 60000);
}

static void kill_the_pooler(void)
{
    pooler_kill(&pooler);
    support_nap(200);
    pooler_up(&h.stores, &pooler);
    wait_for_the_next();
}

static void fail_over(void)
{
    int64_t at = support_now_ms();

    stores_kill_pg(&h.stores);
    replica_promote(&h.stores, &replica);
    int64_t promoted = support_now_ms();
    wait_for_the_next();
    printf("chaos: promoted %d ms after the kill; the next order was accepted %d ms after that\n",
           (int)(promoted - at), (int)(support_now_ms() - promoted));
    snprintf(h.stores.database_url, sizeof(h.stores.database_url), "%s", replica.own_url);
}

static void look_at_the_log(void)
{
    _cleanup_(freep) char *log = support_log("worker");

    ck_assert(strstr(log, "ev=pg.pooler"));
    ck_assert(!strstr(log, "prepared statement"));
    ck_assert(!strstr(log, "ev=pg.deaf"));
}

START_TEST(the_pooler_dies_and_then_the_primary)
{
    pooler_up(&h.stores, &pooler);
    move_house(pooler.url, h.stores.database_url);
    start_posting();
    kill_the_pooler();
    kill_the_pooler();
    move_house(replica.both_url, "");
    fail_over();
    settle_and_compare();
    look_at_the_log();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chaos_postgres");
    TCase *tc = tcase_create("chaos_postgres");

    tcase_add_test(tc, the_pooler_dies_and_then_the_primary);
    suite_add_tcase(s, tc);
    house_start(&h, &(struct stores_opts){.pg_tcp = true}, NULL);
    replica_start(&h.stores, &replica);
    int failed = suite_run_unforked(s);
    failed += house_stop(&h);
    replica_stop(&replica);
    pooler_stop(&pooler);
    return support_end(failed);
}

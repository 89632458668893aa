/* test_engine_worker.c - a real mihwar-worker: what one busy queue, one broken queue or one bad job may not do to the others. */
#include "base/clock.h"
#include "tests/integration/worker_bench.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START(b, ...) START_ON(b, "aa,t,u", __VA_ARGS__)

/* ---------------------------------------------------------------- one queue and the others */

static int64_t in_redis(const char *verb, const char *key, const char *field)
{
    return atol((field ? redis_one(stores.redis_url, "%s %s %s", verb, key, field)
                       : redis_one(stores.redis_url, "%s %s", verb, key))
                    ?: "0");
}

/* A job of `u` ends while `t` keeps the worker busy for long: it is acked all the same, before its lease expires. */
START_TEST(a_flooded_queue_does_not_keep_acks_of_another)
{
    enum { MANY = 30000 };
    struct bench b = new_bench();
    struct job_new *j = xcalloc(MANY, sizeof *j), slow = job('a', "mihwar.sleep", "{\"ms\": 700}");

    slow.queue = "u";
    slow.durable = false;
    for (int i = 0; i < MANY; i++)
        j[i] = (struct job_new){.queue = Q, .task = "mihwar.noop", .priority = 5};
    START(&b, "--lease", "1s", "--worker-concurrency", "8");
    enqueue1(&b, slow);
    ck_wait(in_redis("ZCARD", "mw:{u}:lease", NULL) == 1, 10000);
    enqueue(&b, j, MANY);
    ck_wait(in_redis("HLEN", "mw:{u}:jobs", NULL) == 0, 15000);
    ck_assert_int_gt(in_redis("LLEN", "mw:{t}:ready5", NULL), 0);
    ck_assert_int_eq(in_redis("HGET", "mw:{u}:stats", "expired"), 0);
    ck_assert_int_eq(in_redis("HGET", "mw:{u}:stats", "done"), 1);
    free(j);
    stop_worker(&b);
}
END_TEST

START_TEST(a_broken_queue_does_not_stop_the_others)
{
    struct bench b = new_bench();

    START(&b);
    ck_wait(said(&b, "ev=worker.ready"), 10000);
    redis_one(stores.redis_url, "SET mw:{aa}:lease nonsense");
    ck_wait(said(&b, "ev=claim."), 15000);
    for (const char *c = "abcd"; *c; c++)
        enqueue1(&b, job(*c, "mihwar.noop", NULL));
    ck_wait(state_is(&b, 'a', "completed") && state_is(&b, 'b', "completed") &&
                state_is(&b, 'c', "completed") && state_is(&b, 'd', "completed"),
            15000);
    ck_wait(redis_forgot('a') && redis_forgot('d'), 5000);
    stop_worker(&b);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("engine_worker");
    TCase *tc = tcase_create("engine_worker");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, NULL, kill_living);
    tcase_add_test(tc, a_flooded_queue_does_not_keep_acks_of_another);
    tcase_add_test(tc, a_broken_queue_does_not_stop_the_others);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    stores_start(&stores, NULL);
    int failed = suite_run_unforked(suite());
    stores_stop(&stores);
    return support_end(failed);
}

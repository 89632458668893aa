/* test_engine_safety.c - one bad byte, one full Redis, one late end: what they may not do to the other jobs of the queue. */
#include "base/clock.h"
#include "queue/end.h"
#include "queue/reconcile.h"
#include "queue/retry.h"
#include "tests/integration/queue_state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct job claim1(struct cx *cx, struct qtest *t)
{
    return qonly(qclaim(cx, t, 10));
}

static int64_t epoch_in_pg(struct qtest *t)
{
    return pg_one_int(t->database_url, "SELECT epoch FROM engine_epoch");
}

/* ---------------------------------------------------------------- bytes that are not ours */

/* Its envelope was overwritten while it was leased, and its neighbours' leases expire with its own. */
QTEST(a_spoilt_envelope_expires_alone, true)
{
    struct job_new j[] = {qjob('a', true), qjob('b', true), qjob('c', true)};

    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    struct claim_result c = qclaim(cx, t, 10);
    ck_assert_uint_eq(c.n, 3);
    claim_result_release(&c);
    redis_one(stores.redis_url, "HSET mw:{t}:jobs %s nonsense", qid('b'));
    engine_set_clock(t->e, T0 + 30000);
    c = qclaim(cx, t, 10); /* b is buried, a and c run again */
    ck_assert_uint_eq(c.n, 2);
    ck_assert_str_eq(c.jobs[0].lease.id, qid('a'));
    ck_assert_str_eq(c.jobs[1].lease.id, qid('c'));
    claim_result_release(&c);
    ck_assert_str_eq(pg_one(t->database_url, "SELECT job_id FROM dead_letters"), qid('b'));
    return OK;
}

QTEST(a_spoilt_token_expires_alone, true)
{
    struct job_new j[] = {qjob('a', true), qjob('c', true)};

    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    struct claim_result c = qclaim(cx, t, 10);
    ck_assert_uint_eq(c.n, 2);
    claim_result_release(&c);
    redis_one(stores.redis_url, "HSET mw:{t}:jobs %s 1", "zzz");
    redis_one(stores.redis_url, "ZADD mw:{t}:lease 1 zzz");
    redis_one(stores.redis_url, "ZADD mw:{t}:sched 1 5");
    engine_set_clock(t->e, T0 + 30000);
    c = qclaim(cx, t, 10);
    ck_assert_uint_eq(c.n, 2);
    claim_result_release(&c);
    return OK;
}

/* The parent of a dead worker gives back several leases; one job is unreadable. */
QTEST(a_spoilt_envelope_is_given_back_alone, true)
{
    struct job_new j[] = {qjob('a', true), qjob('b', true), qjob('c', true)};
    struct lease l[3];
    size_t held;

    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    struct claim_result c = qclaim(cx, t, 10);
    ck_assert_uint_eq(c.n, 3);
    for (size_t i = 0; i < 3; i++)
        l[i] = c.jobs[i].lease;
    claim_result_release(&c);
    redis_one(stores.redis_url, "HSET mw:{t}:jobs %s nonsense", qid('b'));
    ck_ok(engine_return(cx, t->e, Q, l, 3, &held));
    ck_assert_uint_eq(held, 3);
    c = qclaim(cx, t, 10);
    ck_assert_uint_eq(c.n, 2);
    claim_result_release(&c);
    return OK;
}

QTEST(a_spoilt_envelope_can_be_cancelled_and_swept, true)
{
    int64_t pushed, dropped;
    bool running;

    qenqueue(cx, t, qjob('a', true));
    qenqueue(cx, t, qjob('b', true));
    redis_one(stores.redis_url, "HSET mw:{t}:jobs %s nonsense", qid('a'));
    redis_one(stores.redis_url, "HSET mw:{t}:jobs foreign nonsense");
    ck_ok(engine_sweep(cx, t->e, 0, &pushed, &dropped));
    ck_ok(engine_cancel(cx, t->e, qid('a'), &running));
    ck_assert(!running);
    struct job b = claim1(cx, t);
    ck_assert_str_eq(b.lease.id, qid('b'));
    job_release(&b);
    return OK;
}

/* A crash costs no attempt, and is known at the next claims of this generation. */
QTEST(a_crash_is_remembered, true)
{
    size_t held;

    qenqueue(cx, t, qjob('a', true));
    for (int i = 0; i < 2; i++) {
        struct job j = claim1(cx, t);
        ck_assert_int_eq(j.crashes, i);
        ck_assert_int_eq(j.attempt, 1);
        ck_ok(engine_crashed(cx, t->e, Q, &j.lease, 1, &held));
        ck_assert_uint_eq(held, 1);
        ck_ok(engine_crashed(cx, t->e, Q, &j.lease, 1, &held)); /* no longer held: not counted */
        ck_assert_uint_eq(held, 0);
        job_release(&j);
    }
    ck_state(
        "crashed a:1=2\nepoch 1\njobs a=1.5\nready5 a:1.3.2\nstats pushed=1 released=2\nwait m");
    ck_assert_int_gt(atoi(redis_one(stores.redis_url, "TTL mw:{t}:crashed")), 3000);
    return OK;
}

/* ---------------------------------------------------------------- Redis is full */

static rc full_body(struct cx *cx, struct qtest *t)
{
    struct job_new j[] = {qjob('a', true), qjob('b', true), qjob('c', true), qjob('d', true)};
    bool lost[1], wished[1], running;
    size_t refused;

    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    struct claim_result c = qclaim(cx, t, 10);
    ck_assert_uint_eq(c.n, 4);
    redis_one(stores.redis_url, "CONFIG SET maxmemory 1");
    qenqueue(cx, t, qjob('e', true)); /* kept in PostgreSQL, the push is put off */
    ck_ok(engine_extend(cx, t->e, Q, &c.jobs[0].lease, 1, 60000, lost, wished));
    ck_assert(!lost[0]);
    ck_ok(engine_ack(cx, t->e, Q, &c.jobs[1].lease, 1, &refused));
    ck_ok(engine_reschedule(cx, t->e, Q, &c.jobs[2].lease, T0, true));
    ck_ok(engine_release(cx, t->e, Q, &c.jobs[3].lease, 1));
    ck_ok(engine_cancel(cx, t->e, qid('a'), &running));
    ck_assert(running);
    ck_ok(engine_pause(cx, t->e, Q, true));
    ck_ok(engine_pause(cx, t->e, Q, false));
    claim_result_release(&c);
    for (int i = 0; i < 4; i++)
        ck_ok(engine_epoch_advance(cx, t->e));
    c = qclaim(cx, t, 10);
    ck_assert(!c.lost);
    ck_assert_uint_eq(c.n, 2);
    claim_result_release(&c);
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT max(generation) FROM jobs"), 1);
    return OK;
}

START_TEST(a_full_redis_lets_go_what_it_has)
{
    qtest_run(true, full_body);
}
END_TEST

/* A Redis that cannot take the epoch must not look old afterwards. */
QTEST(the_epoch_waits_for_every_queue, true)
{
    struct job_new u = qjob('b', true);

    u.queue = "u";
    qenqueue(cx, t, qjob('a', true));
    redis_one(stores.redis_url, "SET mw:{u}:epoch 1");
    qenqueue(cx, t, u);
    redis_one(stores.redis_url, "DEL mw:{u}:epoch");
    redis_one(stores.redis_url, "LPUSH mw:{u}:epoch x");
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(engine_epoch_advance(cx, t->e), E_REDIS);
    ck_assert_int_eq(epoch_in_pg(t), 1);
    struct job a = claim1(cx, t);
    ck_assert_int_eq(a.lease.generation, 1);
    job_release(&a);
    return OK;
}

/* ---------------------------------------------------------------- generations */

/* It died, and was brought back before the worker's ack of its death came. */
QTEST(a_late_ack_does_not_take_the_next_generation, true)
{
    size_t refused;

    qenqueue(cx, t, qjob('a', true));
    struct job j = claim1(cx, t);
    ck_ok(engine_end(cx, t->e, &j, &(struct job_end){.outcome = JOB_DEAD, .error_code = "x"}));
    engine_set_clock(t->e, clock_ms() + 1000);
    ck_ok(engine_retry_now(cx, t->e, qid('a')));
    ck_ok(engine_ack(cx, t->e, Q, &j.lease, 1, &refused));
    ck_assert_uint_eq(refused, 1);
    job_release(&j);
    j = claim1(cx, t);
    ck_assert_int_eq(j.lease.generation, 2);
    job_release(&j);
    return OK;
}

/* The wish to cancel lay in Redis and in PostgreSQL; Redis is lost. */
QTEST(a_wish_to_cancel_survives_the_rebuild, true)
{
    struct claim_check check;
    bool running;

    qenqueue(cx, t, qjob('a', true));
    struct job j = claim1(cx, t);
    ck_ok(engine_cancel(cx, t->e, qid('a'), &running));
    ck_assert(running);
    job_release(&j);
    redis_one(stores.redis_url, "FLUSHALL");
    engine_set_clock(t->e, clock_ms() + 1000);
    ck_ok(engine_recover(cx, t->e, NULL));
    j = claim1(cx, t);
    check = (struct claim_check){.job = &j};
    ck_assert(engine_wants_look(&j));
    ck_ok(engine_confirm(cx, t->e, &check, 1));
    ck_assert_int_eq(check.verdict, CLAIM_CANCEL);
    job_release(&j);
    return OK;
}

/* An old snapshot says paused; since then the queue went on. */
QTEST(an_old_pause_ends_with_the_rebuild, true)
{
    qenqueue(cx, t, qjob('a', true));
    ck_ok(engine_pause(cx, t->e, Q, true));
    ck_ok(engine_pause(cx, t->e, Q, false));
    redis_one(stores.redis_url, "SET mw:{t}:gate p");
    pg_one(t->database_url,
           "WITH x AS (UPDATE engine_epoch SET epoch = 9 RETURNING 1) SELECT count(*) FROM x");
    engine_set_clock(t->e, clock_ms() + 1000);
    ck_ok(engine_recover(cx, t->e, NULL));
    struct job j = claim1(cx, t);
    job_release(&j);
    return OK;
}

/* ---------------------------------------------------------------- one bad queue */

QTEST(a_broken_queue_does_not_keep_others_lost, true)
{
    struct job_new b = qjob('b', true);

    b.queue = "aa"; /* before t in every walk */
    qenqueue(cx, t, qjob('a', true));
    qenqueue(cx, t, b);
    redis_one(stores.redis_url, "FLUSHALL");
    redis_one(stores.redis_url, "LPUSH mw:{aa}:jobs x");
    engine_set_clock(t->e, clock_ms() + 1000);
    ck_rc(engine_recover(cx, t->e, NULL), E_REDIS);
    struct job j = claim1(cx, t);
    ck_assert_str_eq(j.lease.id, qid('a'));
    job_release(&j);
    return OK;
}

static void empty_again(void)
{
    redis_one(stores.redis_url, "CONFIG SET maxmemory 0");
}

static Suite *suite(void)
{
    Suite *s = suite_create("engine_safety");
    TCase *tc = tcase_create("engine_safety");

    tcase_add_checked_fixture(tc, NULL, empty_again);
    tcase_add_test(tc, a_spoilt_envelope_expires_alone);
    tcase_add_test(tc, a_spoilt_token_expires_alone);
    tcase_add_test(tc, a_spoilt_envelope_is_given_back_alone);
    tcase_add_test(tc, a_spoilt_envelope_can_be_cancelled_and_swept);
    tcase_add_test(tc, a_crash_is_remembered);
    tcase_add_test(tc, a_full_redis_lets_go_what_it_has);
    tcase_add_test(tc, the_epoch_waits_for_every_queue);
    tcase_add_test(tc, a_late_ack_does_not_take_the_next_generation);
    tcase_add_test(tc, a_wish_to_cancel_survives_the_rebuild);
    tcase_add_test(tc, an_old_pause_ends_with_the_rebuild);
    tcase_add_test(tc, a_broken_queue_does_not_keep_others_lost);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, NULL, suite);
}

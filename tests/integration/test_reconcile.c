/* test_reconcile.c - Redis emptied, aged, or short of a job: what claims see, what is rebuilt,
 * who is stale afterwards. */
#include "base/clock.h"
#include "base/inject.h"
#include "queue/end.h"
#include "queue/internal.h"
#include "queue/reconcile.h"
#include "tests/integration/queue_state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct job claim1(struct cx *cx, struct qtest *t)
{
    return qonly(qclaim(cx, t, 10));
}

/* PostgreSQL's clock is the real one: what it calls due is due for Redis too. */
static void real_clock(struct qtest *t)
{
    engine_set_clock(t->e, clock_ms() + 1000);
}

/* "a2.0 b1.1": generation.attempt of every job. */
static const char *rows(struct qtest *t)
{
    return pg_one(t->database_url, "SELECT coalesce(string_agg(right(id::text, 1) || generation || "
                                   "'.' || attempt, ' ' ORDER BY id), '')"
                                   " FROM jobs");
}

/* ---------------------------------------------------------------- all of it */

QTEST(an_emptied_redis_is_noticed_and_rebuilt, true)
{
    struct job_new j[] = {qjob('a', true), qjob('b', true), qjob('c', true), qjob('d', false)};
    int64_t jobs;
    size_t refused;

    j[1].run_at_ms = INT64_C(4000000000000);
    j[1].priority = 9;
    j[0].options = &(struct job_options){.limit_key = "znet:7"};
    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    struct claim_result held = qclaim(cx, t, 10);
    ck_assert_uint_eq(held.n, 3); /* a c d */
    ck_ok(engine_end(cx, t->e, &held.jobs[1], &(struct job_end){.outcome = JOB_COMPLETED})); /* c */
    redis_one(stores.redis_url, "FLUSHALL");
    real_clock(t);

    struct claim_result c = qclaim(cx, t, 10);
    ck_assert(c.lost);
    ck_assert_uint_eq(c.n, 0);
    ck_ok(engine_recover(cx, t->e, &jobs));
    ck_assert_int_eq(jobs, 2);
    ck_assert_str_eq(rows(t), "a2.0 b2.0 c1.1");
    ck_state("epoch 1\njobs a=2.5 b=2.9\nready5 a:2.1.0\nsched 9b:2.1.0@4000000000000\nstats "
             "pushed=2\nwait m");
    ck_assert_str_eq(redis_one(stores.redis_url, "SMEMBERS mw:queues"), Q);

    /* Who held the job before is stale in both stores. */
    ck_rc(engine_end(cx, t->e, &held.jobs[0], &(struct job_end){.outcome = JOB_COMPLETED}),
          E_STALE_ATTEMPT);
    ck_ok(engine_ack(cx, t->e, Q, &held.jobs[0].lease, 1, &refused));
    ck_assert_uint_eq(refused, 1);
    ck_rc(engine_reschedule(cx, t->e, Q, &held.jobs[0].lease, T0, false), E_STALE_ATTEMPT);
    claim_result_release(&held);
    struct job again = claim1(cx, t);
    ck_assert_str_eq(again.lease.id, qid('a'));
    ck_assert_str_eq(again.options->limit_key, "znet:7");
    ck_ok(engine_end(cx, t->e, &again, &(struct job_end){.outcome = JOB_COMPLETED}));
    job_release(&again);
    return OK;
}

QTEST(attempts_and_snoozes_survive_the_rebuild, true)
{
    qenqueue(cx, t, qjob('a', true));
    struct job j = claim1(cx, t);
    ck_ok(engine_end(cx, t->e, &j,
                     &(struct job_end){.outcome = JOB_RETRY, .run_at_ms = 1, .error_code = "x"}));
    ck_ok(engine_reschedule(cx, t->e, Q, &j.lease, T0, false));
    job_release(&j);
    j = claim1(cx, t);
    ck_ok(engine_end(cx, t->e, &j, &(struct job_end){.outcome = JOB_SNOOZED, .run_at_ms = 1}));
    job_release(&j);
    redis_one(stores.redis_url, "FLUSHALL");
    ck_ok(engine_recover(cx, t->e, NULL));
    j = claim1(cx, t);
    ck_assert_int_eq(j.lease.generation, 2);
    ck_assert_int_eq(j.lease.claim, 3);
    ck_assert_int_eq(j.lease.snoozes, 1);
    ck_assert_int_eq(j.attempt, 2);
    job_release(&j);
    return OK;
}

QTEST(a_pause_survives_the_rebuild, true)
{
    qenqueue(cx, t, qjob('a', true));
    ck_ok(engine_pause(cx, t->e, Q, true));
    redis_one(stores.redis_url, "FLUSHALL");
    ck_ok(engine_recover(cx, t->e, NULL));
    struct claim_result c = qclaim(cx, t, 10);
    ck_assert(c.paused && c.n == 0);
    return OK;
}

QTEST(an_old_redis_is_not_trusted, true)
{
    struct job_new j[] = {qjob('a', true), qjob('b', false)};

    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    /* What an old snapshot may hold: a job that has ended since, and one under an old claim. */
    redis_one(stores.redis_url, "ZADD mw:{t}:lease 9999999999999 %s:1.1.0", qid('c'));
    pg_one(t->database_url,
           "WITH x AS (UPDATE engine_epoch SET epoch = 3 RETURNING 1) SELECT count(*) FROM x");
    struct claim_result c = qclaim(cx, t, 10);
    ck_assert(c.lost); /* 1 is two behind 3 */
    real_clock(t);
    ck_ok(engine_recover(cx, t->e, NULL));
    ck_assert_str_eq(rows(t), "a2.0");
    ck_state("epoch 3\njobs a=2.5 b=0.5\nready5 b:0.1.0 a:2.1.0\nstats pushed=3\nwait m");
    return OK;
}

/* ARGV: prefix, how many. Every second job of each place is durable; nobody in PostgreSQL knows it. */
static const char FILL[] =
    "local function id(place, i) return string.format('00000000-0000-7000-%04d-%012d', place, i) "
    "end "
    "local n = 0 "
    "for place, key in ipairs({'ready5', 'sched', 'lane5:-', 'held:some one', 'lease'}) do "
    "  for i = 1, tonumber(ARGV[2]) do "
    "    local g = i % 2 "
    "    local token = id(place, i) .. ':' .. g .. '.1.0' "
    "    redis.call('HSET', ARGV[1] .. 'jobs', id(place, i), '1 ' .. g .. ' 5 0 0 1 1 0 0 0 "
    "0\\nt') "
    "    if key == 'sched' then redis.call('ZADD', ARGV[1] .. key, 4000000000000 + i, '5' .. "
    "token) "
    "    elseif key == 'lease' then redis.call('ZADD', ARGV[1] .. key, 4000000000000, token) "
    "    else redis.call('RPUSH', ARGV[1] .. key, token) end "
    "  end "
    "end "
    "redis.call('ZADD', ARGV[1] .. 'ring', 0, '-') "
    "redis.call('ZADD', ARGV[1] .. 'held', 4000000000000, 'some one')";

/* What of it there still is: of each place how many, how many of them durable, and whether those that lie in a row are in order. */
static const char LEFT[] =
    "local out = {} "
    "local function tell(name, tokens, from) "
    "  local durable, order, last = 0, 'in order', '' "
    "  for _, t in ipairs(tokens) do "
    "    t = string.sub(t, from) "
    "    if string.sub(t, 38, 39) ~= '0.' then durable = durable + 1 end "
    "    if t <= last then order = 'mixed' end "
    "    last = t "
    "  end "
    "  out[#out + 1] = name .. ' ' .. #tokens .. ' ' .. durable .. ' ' .. order "
    "end "
    "for _, k in ipairs({'ready5', 'lane5:-', 'held:some one'}) do "
    "  tell(k, redis.call('LRANGE', ARGV[1] .. k, 0, -1), 1) "
    "end "
    "tell('sched', redis.call('ZRANGE', ARGV[1] .. 'sched', 0, -1), 2) "
    "tell('lease', redis.call('ZRANGE', ARGV[1] .. 'lease', 0, -1), 1) "
    "local durable = 0 "
    "for _, body in ipairs(redis.call('HVALS', ARGV[1] .. 'jobs')) do "
    "  if string.sub(body, 3, 3) ~= '0' then durable = durable + 1 end "
    "end "
    "out[#out + 1] = 'jobs ' .. redis.call('HLEN', ARGV[1] .. 'jobs') .. ' ' .. durable "
    "return table.concat(out, '; ')";

static const char *left(void)
{
    return redis_one(stores.redis_url, "EVAL %s 0 mw:{t}:", LEFT);
}

static int64_t drop_steps(void)
{
    const char *stats = redis_one(stores.redis_url, "INFO commandstats"),
               *at = stats ? strstr(stats, "cmdstat_lpop:calls=") : NULL;

    return at ? atoll(at + strlen("cmdstat_lpop:calls=")) : 0;
}

/* Redis is never held up for longer than a thousand jobs take; what stays keeps its place. */
QTEST(a_long_queue_is_dropped_step_by_step, true)
{
    static const char before[] =
        "ready5 2500 1250 in order; lane5:- 2500 1250 in order; held:some one 2500 1250 in order; "
        "sched 2500 1250 in order; lease 2500 1250 in order; jobs 12500 6250";
    int64_t jobs;

    redis_try(stores.redis_url, "EVAL %s 0 mw:{t}: 2500", FILL);
    redis_one(stores.redis_url, "SADD mw:queues " Q);
    ck_assert_str_eq(left(), before);
    pg_one(t->database_url,
           "WITH x AS (UPDATE engine_epoch SET epoch = 3 RETURNING 1) SELECT count(*) FROM x");
    redis_one(stores.redis_url, "CONFIG RESETSTAT");
    ck_ok(engine_recover(cx, t->e, &jobs));
    ck_assert_int_eq(jobs, 0);
    ck_assert_str_eq(
        left(), "ready5 1250 0 in order; lane5:- 1250 0 in order; held:some one 1250 0 in order; "
                "sched 1250 0 in order; lease 1250 0 in order; jobs 6250 0");
    ck_assert_int_ge(drop_steps(), 3 * 2500 / 1000);
    ck_assert_str_eq(redis_one(stores.redis_url, "GET mw:{t}:epoch"), "3");
    return OK;
}

/* Whoever stood still between two steps has lost the lock, and somebody else has rebuilt it. */
QTEST(what_was_rebuilt_meanwhile_is_not_dropped, true)
{
    static const char *const steps[] = {"sched 0", "list 0 ", "jobs 0"};
    const struct queue_keys *k;

    qenqueue(cx, t, qjob('a', true));
    ck_ok(engine_keys(cx, t->e, Q, &k));
    for (size_t i = 0; i < COUNT(steps); i++) {
        _cleanup_(redis_reply_freep) redisReply *reply = NULL;
        _cleanup_(call_release) struct call c = {0};
        call_begin(&c, t->e, &SCRIPT_DROP, k,
                   KEYS_OF(QK_JOBS, QK_LEASE, QK_SCHED, QK_EPOCH, QK_CANCEL), true, 1);
        call_str(&c, steps[i]);
        ck_rc(call_run(cx, &c, REDIS_REPLY_ARRAY, &reply), E_REDIS);
    }
    struct job j = claim1(cx, t);
    ck_assert_int_eq(j.lease.generation, 1);
    job_release(&j);
    return OK;
}

QTEST(one_step_behind_is_trusted, true)
{
    qenqueue(cx, t, qjob('a', true));
    pg_one(t->database_url,
           "WITH x AS (UPDATE engine_epoch SET epoch = 2 RETURNING 1) SELECT count(*) FROM x");
    struct job j = claim1(cx, t);
    ck_assert_int_eq(j.lease.generation, 1);
    job_release(&j);
    return OK;
}

static rc recover_once(struct cx *cx, void *arg)
{
    return engine_recover(cx, ((struct qtest *)arg)->e, NULL);
}

QTEST(many_rebuild_at_once_and_one_does_it, true)
{
    struct fiber *f[4];
    rc result;

    for (const char *c = "abcdef"; *c; c++)
        qenqueue(cx, t, qjob(*c, true));
    redis_one(stores.redis_url, "FLUSHALL");
    real_clock(t);
    for (size_t i = 0; i < COUNT(f); i++)
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "rebuild", .inherit = cx}, recover_once, t);
    for (size_t i = 0; i < COUNT(f); i++) {
        ck_ok(fiber_join(cx, f[i], &result));
        ck_ok(result);
    }
    ck_assert_str_eq(rows(t), "a2.0 b2.0 c2.0 d2.0 e2.0 f2.0");
    ck_assert_str_eq(redis_one(stores.redis_url, "LLEN mw:{t}:ready5"), "6");
    return OK;
}

QTEST(a_push_without_an_epoch_waits_for_the_rebuild, true)
{
    struct job_new j[] = {qjob('a', true), qjob('b', false)};

    redis_one(stores.redis_url, "FLUSHALL");
    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    ck_assert(!j[0].existed && !j[1].existed);
    ck_state("jobs b=0.5\nready5 b:0.1.0\nstats pushed=1\nwait m");
    real_clock(t);
    ck_ok(engine_recover(cx, t->e, NULL));
    ck_state("epoch 1\njobs a=2.5 b=0.5\nready5 b:0.1.0 a:2.1.0\nstats pushed=2\nwait m");
    return OK;
}

QTEST(the_epoch_advances_in_both_stores, true)
{
    qenqueue(cx, t, qjob('a', true));
    ck_ok(engine_epoch_advance(cx, t->e));
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT epoch FROM engine_epoch"), 2);
    ck_assert_str_eq(redis_one(stores.redis_url, "GET mw:{t}:epoch"), "2");
    /* A beat that died between the stores: the next one goes on. */
    pg_one(t->database_url,
           "WITH x AS (UPDATE engine_epoch SET epoch = 3 RETURNING 1) SELECT count(*) FROM x");
    ck_ok(engine_epoch_advance(cx, t->e));
    ck_assert_str_eq(redis_one(stores.redis_url, "GET mw:{t}:epoch"), "4");
    ck_assert_str_eq(rows(t), "a1.0");
    /* An emptied Redis is rebuilt by the advance itself. */
    redis_one(stores.redis_url, "FLUSHALL");
    real_clock(t);
    ck_ok(engine_epoch_advance(cx, t->e));
    ck_assert_str_eq(rows(t), "a2.0");
    ck_state("epoch 5\njobs a=2.5\nready5 a:2.1.0\nstats pushed=1\nwait m");
    return OK;
}

QTEST(the_epoch_stands_still_while_redis_is_away, true)
{
    struct redis *nowhere;

    ck_ok(redis_new(cx, "unix:/nonexistent/redis.sock", &nowhere));
    struct engine *e = engine_new(nowhere, t->db);
    {
        _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, 200);
        ck_assert(engine_epoch_advance(cx, e) != OK);
    }
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT epoch FROM engine_epoch"), 1);
    engine_free(e);
    redis_free(nowhere);
    return OK;
}

/* ---------------------------------------------------------------- one of them */

QTEST(a_lost_push_is_found, true)
{
    int64_t pushed, dropped;

    ck_assert(inject_arm("push_lost", 1));
    qenqueue(cx, t, qjob('a', true));
    qenqueue(cx, t, qjob('b', true));
    ck_state("epoch 1\njobs b=1.5\nready5 b:1.1.0\nstats pushed=1\nwait m");
    real_clock(t);
    ck_ok(engine_sweep(cx, t->e, 60000, &pushed, &dropped)); /* too young to be missed */
    ck_assert_int_eq(pushed, 0);
    ck_ok(engine_sweep(cx, t->e, 0, &pushed, &dropped));
    ck_assert_int_eq(pushed, 1);
    ck_assert_int_eq(dropped, 0);
    ck_assert_str_eq(rows(t), "a2.0 b1.0");
    ck_state("epoch 1\njobs a=2.5 b=1.5\nready5 b:1.1.0 a:2.1.0\nstats pushed=2\nwait m");
    ck_ok(engine_sweep(cx, t->e, 0, &pushed, &dropped));
    ck_assert_int_eq(pushed + dropped, 0);
    return OK;
}

QTEST(what_has_ended_is_dropped, true)
{
    struct job_new j[] = {qjob('a', true), qjob('b', true), qjob('c', false)};
    int64_t pushed, dropped;

    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    pg_one(t->database_url,
           "WITH x AS (UPDATE jobs SET state = 'completed', finished_at = now() WHERE id = '%s' "
           "RETURNING 1)"
           " SELECT count(*) FROM x",
           qid('a'));
    ck_ok(engine_sweep(cx, t->e, 0, &pushed, &dropped));
    ck_assert_int_eq(pushed, 0);
    ck_assert_int_eq(dropped, 1);
    struct claim_result c = qclaim(cx, t, 10);
    ck_assert_uint_eq(c.n, 2); /* its token was dropped on the way */
    claim_result_release(&c);
    ck_state(
        "epoch 1\njobs b=1.5 c=0.5\nlease b:1.1.0@1030000 c:0.1.0@1030000\nstats pushed=3\nwait m");
    return OK;
}

QTEST(the_sweep_walks_many_pages, true)
{
    enum { MANY = 1700 };
    struct job_new *j = xcalloc(MANY, sizeof *j);
    int64_t pushed, dropped;

    for (int i = 0; i < MANY; i++)
        j[i] = (struct job_new){
            .queue = i % 2 ? Q : "u", .task = "mihwar.noop", .durable = true, .priority = 5};
    ck_assert(inject_arm("push_lost", 2));
    ck_ok(engine_enqueue(cx, t->e, j, 1000));
    ck_ok(engine_enqueue(cx, t->e, j + 1000, MANY - 1000));
    redis_one(stores.redis_url, "SET mw:{u}:epoch 1");
    ck_ok(engine_sweep(cx, t->e, 0, &pushed, &dropped));
    ck_assert_int_eq(pushed, MANY);
    ck_assert_str_eq(redis_one(stores.redis_url, "HLEN mw:{t}:jobs"), "850");
    ck_assert_str_eq(redis_one(stores.redis_url, "HLEN mw:{u}:jobs"), "850");
    redis_one(stores.redis_url, "FLUSHALL");
    int64_t jobs;
    ck_ok(engine_recover(cx, t->e, &jobs));
    ck_assert_int_eq(jobs, MANY);
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM jobs WHERE generation = 3"),
                     MANY);
    free(j);
    return OK;
}

/* ---------------------------------------------------------------- at a claim */

static const struct {
    const char *title, *sql; /* what happened to the row while the job lay under an expired lease */
    enum claim_verdict want;
} verdicts[] = {
    {"nothing happened", "SELECT 1", CLAIM_RUN},
    {"it ended, the ack was lost",
     "UPDATE jobs SET state = 'completed', finished_at = now(), attempt = 1", CLAIM_ENDED},
    {"it was cancelled", "UPDATE jobs SET state = 'cancelled', finished_at = now()", CLAIM_ENDED},
    {"it will be pushed again", "UPDATE jobs SET generation = 2", CLAIM_ENDED},
    {"the row is gone", "DELETE FROM jobs", CLAIM_ENDED},
    {"its retry is due later",
     "UPDATE jobs SET state = 'scheduled', attempt = 1, run_at = now() + interval '1 hour'",
     CLAIM_LATER},
    {"its retry is due", "UPDATE jobs SET attempt = 1, run_at = now()", CLAIM_RUN},
    {"somebody wants it cancelled", "UPDATE jobs SET cancel_requested = true", CLAIM_CANCEL},
};
static int verdict_case;

static rc verdict_body(struct cx *cx, struct qtest *t)
{
    qenqueue(cx, t, qjob('a', true));
    struct job first = claim1(cx, t);
    struct claim_check check = {.job = &first};
    engine_set_clock(t->e, T0 + 30000);
    struct job second = claim1(cx, t);
    if (strncmp(verdicts[verdict_case].sql, "SELECT", 6) != 0)
        pg_one(t->database_url, "WITH x AS (%s RETURNING 1) SELECT count(*) FROM x",
               verdicts[verdict_case].sql);
    ck_ok(engine_confirm(cx, t->e, &check, 1));
    ck_assert_int_eq(check.verdict, CLAIM_RUN); /* a first claim is not asked about */
    check.job = &second;
    ck_ok(engine_confirm(cx, t->e, &check, 1));
    ck_assert_msg(check.verdict == verdicts[verdict_case].want, "case: %s: %d",
                  verdicts[verdict_case].title, check.verdict);
    job_release(&first);
    job_release(&second);
    return OK;
}

START_TEST(a_second_claim_asks)
{
    verdict_case = _i;
    qtest_run(true, verdict_body);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("reconcile");
    TCase *tc = tcase_create("reconcile");

    tcase_add_test(tc, an_emptied_redis_is_noticed_and_rebuilt);
    tcase_add_test(tc, attempts_and_snoozes_survive_the_rebuild);
    tcase_add_test(tc, a_pause_survives_the_rebuild);
    tcase_add_test(tc, an_old_redis_is_not_trusted);
    tcase_add_test(tc, a_long_queue_is_dropped_step_by_step);
    tcase_add_test(tc, what_was_rebuilt_meanwhile_is_not_dropped);
    tcase_add_test(tc, one_step_behind_is_trusted);
    tcase_add_test(tc, many_rebuild_at_once_and_one_does_it);
    tcase_add_test(tc, a_push_without_an_epoch_waits_for_the_rebuild);
    tcase_add_test(tc, the_epoch_advances_in_both_stores);
    tcase_add_test(tc, the_epoch_stands_still_while_redis_is_away);
    tcase_add_test(tc, a_lost_push_is_found);
    tcase_add_test(tc, what_has_ended_is_dropped);
    tcase_add_test(tc, the_sweep_walks_many_pages);
    tcase_add_loop_test(tc, a_second_claim_asks, 0, COUNT(verdicts));
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, NULL, suite);
}

/* test_engine_worker.c - a real mihwar-worker: what one busy queue, one broken queue or one bad job may not do to the others. */
#include "base/clock.h"
#include "base/text.h"
#include "queue/shape/policy.h"
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

/* ---------------------------------------------------------------- one queue that changes */

enum { BATCHES = 12, BATCH = 200 };

static rc change_and_fill(struct cx *cx, void *arg)
{
    const struct queue_policy plain = {0}, shaped = {.weighted = true,
                                                     .weights = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
                                                     .fair = true};
    const char *const tenants[] = {NULL, arena_strdup(&cx->arena, qid('a')),
                                   arena_strdup(&cx->arena, qid('b'))};
    struct job_new *j = arena_alloc(&cx->arena, BATCH * sizeof *j);
    struct bench *b = arg;
    struct redis *redis;
    struct pg *db;

    ck_ok(redis_new(cx, stores.redis_url, &redis));
    ck_ok(pg_new(cx, b->url, 2, &db));
    struct engine *e = engine_new(redis, db);
    for (int n = 0; n < BATCHES; n++) {
        for (int i = 0; i < BATCH; i++)
            j[i] = (struct job_new){.queue = Q,
                                    .task = "mihwar.sleep",
                                    .args = "{\"ms\": 5}",
                                    .durable = i % 2,
                                    .priority = i % 10,
                                    .tenant_id = tenants[i % 3],
                                    .run_at_ms = i % 7 ? 0 : clock_ms() + 300};
        ck_ok(engine_enqueue(cx, e, j, BATCH));
        ck_ok(engine_policy_set(cx, e, Q, n % 2 ? &plain : &shaped));
    }
    engine_free(e);
    pg_free(db);
    redis_free(redis);
    return OK;
}

/* Fair and weighted, plain, and back, while two workers are busy with it and more comes: nothing is lost, nothing runs twice. */
START_TEST(a_queue_changes_its_shape_under_its_workers)
{
    struct bench b = new_bench();

    START(&b, "--worker-processes", "2", "--worker-concurrency", "20");
    ck_ok(on_fiber(change_and_fill, &b));
    ck_wait(in_redis("HLEN", "mw:{t}:jobs", NULL) == 0, 60000);
    ck_assert_int_eq(in_redis("HGET", "mw:{t}:stats", "done"), BATCHES * BATCH);
    ck_assert_int_eq(in_redis("HGET", "mw:{t}:stats", "expired"), 0);
    ck_assert_int_eq(in_redis("HGET", "mw:{t}:stats", "refused"), 0);
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE state = 'completed'"),
                     BATCHES * BATCH / 2);
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM job_attempts"), BATCHES * BATCH / 2);
    stop_worker(&b);
}
END_TEST

/* ---------------------------------------------------------------- one job and the others */

static int started(const struct bench *b, char c)
{
    _cleanup_(freep) char *log = proc_log(b->worker);
    char mark[64];
    int n = 0;

    snprintf(mark, sizeof mark, " job=%s task=", qid(c));
    for (char *at = log; (at = strstr(at, "ev=job.started"));) {
        char *end = strchr(at, '\n');
        if (end)
            *end = 0;
        n += strstr(at, mark) != NULL;
        if (!end)
            break;
        at = end + 1;
    }
    return n;
}

static const struct {
    const char *title, *subject, *lease, *stuck, *says, *words;
} poisons[] = {
    {"it crashes", "crash", "1h", "20s", "child.died",
     "ev=child.aborted err=\"fiber mihwar.noop aborted\""},
    {"it computes for ever", "spin", "3s", "20s", "ev=loop.stuck err=\"fiber mihwar.noop",
     "(CPU time limit exceeded)"},
    {"it sleeps in the kernel", "block", "1h", "1s", "ev=child.stuck", "signal 6 (Aborted)"},
};

/* The child that began job a. */
static pid_t who_runs(const struct bench *b, char c)
{
    _cleanup_(freep) char *log = proc_log(b->worker);
    char mark[64];

    snprintf(mark, sizeof mark, " job=%s task=", qid(c));
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, "ev=job.started") && strstr(line, mark))
            return (pid_t)atoi(strstr(line, " pid=") + 5);
    return 0;
}

/* Stopped for longer than its lease: another one carries the job out, and what the frozen one still
 * does when it goes on changes nothing. */
START_TEST(a_frozen_child_comes_back_too_late)
{
    struct bench b = new_bench();

    START(&b, "--lease", "1s", "--worker-processes", "2");
    ck_wait(said(&b, "ev=worker.ready"), 10000);
    enqueue1(&b, job('a', "mihwar.sleep", "{\"ms\": 1500}"));
    ck_wait(started(&b, 'a') == 1, 10000);
    pid_t frozen = who_runs(&b, 'a');
    ck_assert_int_gt(frozen, 1);
    kill(frozen, SIGSTOP);
    ck_wait(state_is(&b, 'a', "completed"), 20000);
    kill(frozen, SIGCONT);
    ck_wait(said(&b, "ev=lease.lost") || said(&b, "ev=attempt.stale"), 10000);
    ck_assert_str_eq(pg_one(b.url, "SELECT string_agg(attempt || outcome, ' ') FROM job_attempts"),
                     "2completed");
    ck_wait(in_redis("HGET", "mw:{t}:stats", "refused") > 0, 10000); /* and it is counted */
    ck_wait(in_redis("HGET", "mw:{t}:stats", "done") == 1, 10000);
    enqueue1(&b, job('b', "mihwar.noop", NULL)); /* and the frozen one is well again */
    ck_wait(state_is(&b, 'b', "completed") && redis_forgot('b'), 10000);
    ck_assert(!said(&b, "ev=child.died"));
    stop_worker(&b);
}
END_TEST

/* Its neighbours have one attempt only: a crash uses none. */
START_TEST(a_poisonous_job_takes_nobody_down_twice)
{
    struct bench b = new_bench();
    struct job_new j[4], poison = job('f', "mihwar.noop", NULL);

    for (int i = 0; i < 4; i++) {
        j[i] = job((char)('a' + i), "mihwar.sleep", "{\"ms\": 600}");
        j[i].max_attempts = 1;
    }
    j[3].durable = false;
    poison.subject = poisons[_i].subject;
    poison.priority = 9;
    poison.max_attempts = 9;
    setenv("MIHWAR_INJECT", "task_crash:9", 1);
    START(&b, "--lease", poisons[_i].lease, "--worker-stuck-after", poisons[_i].stuck);
    unsetenv("MIHWAR_INJECT");
    ck_wait(said(&b, "ev=worker.ready"), 10000);
    enqueue(&b, j, COUNT(j));
    ck_wait(started(&b, 'a') && started(&b, 'b') && started(&b, 'c') && started(&b, 'd'), 10000);
    enqueue1(&b, poison);
    ck_wait(state_is(&b, 'f', "dead"), 90000);
    ck_wait(state_is(&b, 'a', "completed") && state_is(&b, 'b', "completed") &&
                state_is(&b, 'c', "completed") && redis_forgot('d'),
            15000);
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM dead_letters"), 1);
    const char *error = pg_one(b.url, "SELECT error FROM dead_letters");
    ck_assert_msg(
        starts_with(error, "2 workers crashed while they carried it out; the last one: signal "),
        "%s", error);
    ck_assert_msg(strstr(error, poisons[_i].words) && strstr(error, ", peak memory "), "%s", error);
    ck_assert_int_eq(started(&b, 'f'), 3); /* twice for real, once to be told that it is dead */
    for (char c = 'a'; c <= 'd'; c++)
        ck_assert_int_le(started(&b, c), 2);
    ck_assert(said(&b, poisons[_i].says));
    stop_worker(&b);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("engine_worker");
    TCase *tc = bench_case(s, "engine_worker", 60);

    tcase_add_test(tc, a_flooded_queue_does_not_keep_acks_of_another);
    tcase_add_test(tc, a_broken_queue_does_not_stop_the_others);
    tcase_add_test(tc, a_queue_changes_its_shape_under_its_workers);
    tcase_add_test(tc, a_frozen_child_comes_back_too_late);
    tcase_add_loop_test(tc, a_poisonous_job_takes_nobody_down_twice, 0, COUNT(poisons));
    return s;
}

int main(void)
{
    return stores_main_unforked(&stores, NULL, NULL, suite);
}

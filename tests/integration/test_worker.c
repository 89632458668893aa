/* test_worker.c - a real mihwar-worker on real stores: who runs what, how it ends, what a death
 * leaves behind. */
#include "base/clock.h"
#include "queue/flow/flow.h"
#include "tests/integration/worker_bench.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START(b, ...) START_ON(b, Q, __VA_ARGS__)

/* generation.claim.outcome of every attempt, in order. */
static const char *attempts(const struct bench *b, char c)
{
    return pg_one(b->url,
                  "SELECT coalesce(string_agg(generation || '.' || attempt || '.' || outcome, ' ' "
                  "ORDER BY generation, attempt), '')"
                  " FROM job_attempts WHERE job_id = '%s'",
                  qid(c));
}

static bool leased(int n)
{
    return atoi(redis_one(stores.redis_url, "ZCARD mw:{t}:lease")) == n;
}

/* Has a child begun this attempt? From then on its parent knows of the lease too. */
static bool begun(const struct bench *b, int attempt)
{
    char line[64];

    snprintf(line, sizeof line, "task=mihwar.sleep attempt=%d\n", attempt);
    return said(b, line);
}

/* The same of this job: what is leased may still be on its way. */
static bool has_begun(const struct bench *b, char c)
{
    char line[96];

    snprintf(line, sizeof line, " job=%s task=mihwar.sleep attempt=1\n", qid(c));
    return said(b, line);
}

/* ---------------------------------------------------------------- what it runs */

START_TEST(runs_the_builtin_tasks)
{
    struct bench b = new_bench();
    struct job_new j[] = {job('a', "mihwar.noop", NULL), job('b', "mihwar.echo", "{\"x\": [1, 2]}"),
                          job('c', "mihwar.sleep", "{\"ms\": 50}"), job('d', "mihwar.noop", NULL)};

    j[3].durable = false;
    START(&b);
    enqueue(&b, j, COUNT(j));
    ck_wait(state_is(&b, 'a', "completed") && state_is(&b, 'b', "completed") &&
                state_is(&b, 'c', "completed"),
            10000);
    ck_assert_str_eq(pg_one(b.url, "SELECT result FROM jobs WHERE id = '%s'", qid('b')),
                     "{\"x\": [1, 2]}");
    ck_assert_str_eq(attempts(&b, 'a'), "1.1.completed");
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM job_attempts WHERE worker LIKE "
                                       "'%%:%%' AND finished_at >= started_at"),
                     3);
    ck_wait(redis_forgot('a') && redis_forgot('b') && redis_forgot('c') && redis_forgot('d') &&
                leased(0),
            5000);
    ck_assert_str_eq(redis_one(stores.redis_url, "HGET mw:{t}:stats done"), "4");
    stop_worker(&b);
}
END_TEST

START_TEST(finds_what_waited_before_it_started)
{
    struct bench b = new_bench();

    enqueue1(&b, job('a', "mihwar.noop", NULL)); /* Redis has no epoch yet: the worker rebuilds */
    START(&b);
    ck_wait(state_is(&b, 'a', "completed"), 10000);
    stop_worker(&b);
}
END_TEST

START_TEST(a_failure_is_tried_again_and_then_dead)
{
    struct bench b = new_bench();
    struct job_new j[] = {job('a', "mihwar.echo", "{\"fail\": \"upstream_unclear\"}"),
                          job('b', "mihwar.echo", "{\"fail\": \"invalid_field\"}"),
                          job('c', "mihwar.sleep", "{\"ms\": 60000}"),
                          job('d', "mihwar.echo", "{\"fail\": \"overloaded\"}")};

    j[0].max_attempts = 2;
    j[2].max_attempts = 1;
    j[2].timeout_ms = 100;
    j[3].durable = false;
    j[3].max_attempts = 1;
    START(&b);
    enqueue(&b, j, COUNT(j));
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM dead_letters") == 4, 10000);
    ck_assert_str_eq(attempts(&b, 'a'), "1.1.retry 1.2.dead");
    ck_assert_str_eq(attempts(&b, 'b'), "1.1.dead");
    ck_assert_str_eq(attempts(&b, 'c'), "1.1.dead");
    ck_assert_str_eq(
        pg_one(b.url, "SELECT string_agg(error_code, ' ' ORDER BY job_id) FROM dead_letters"),
        "upstream_unclear invalid_field deadline overloaded");
    ck_assert_str_eq(
        pg_one(b.url, "SELECT string_agg(attempts || '/' || json_array_length(errors), ' ' ORDER "
                      "BY job_id) FROM dead_letters"),
        "2/2 1/1 1/1 1/1");
    ck_assert_str_eq(
        pg_one(b.url, "SELECT string_agg(durable::text, ' ' ORDER BY job_id) FROM dead_letters"),
        "true true true false");
    ck_wait(redis_forgot('a') && redis_forgot('b') && redis_forgot('c') && redis_forgot('d'), 5000);
    ck_assert_str_eq(redis_one(stores.redis_url, "HGET mw:{t}:stats died"), "4");
    stop_worker(&b);
}
END_TEST

START_TEST(an_unknown_task_stays)
{
    struct bench b = new_bench();

    START(&b);
    enqueue1(&b, job('a', "somebody.elses", NULL));
    ck_wait(said(&b, "ev=task.unknown"), 10000);
    ck_wait(atoi(redis_one(stores.redis_url, "ZCARD mw:{t}:sched")) == 1, 5000);
    ck_assert_str_eq(attempts(&b, 'a'), "");
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM dead_letters"), 0);
    stop_worker(&b);
}
END_TEST

START_TEST(a_scheduled_job_is_on_time)
{
    struct bench b = new_bench();
    struct job_new j = job('a', "mihwar.noop", NULL);

    START(&b);
    ck_wait(said(&b, "ev=worker.ready"), 10000);
    j.run_at_ms = clock_ms() + 700;
    enqueue1(&b, j);
    ck_wait(state_is(&b, 'a', "completed"), 10000);
    int late = (int)pg_one_int(
        b.url, "SELECT (extract(epoch FROM started_at) * 1000)::bigint - %lld FROM job_attempts",
        (long long)j.run_at_ms);
    ck_assert_msg(late >= 0 && late < 2000, "%d ms late", late);
    stop_worker(&b);
}
END_TEST

/* A lease of an hour: only the notice can end them in time. A worker that hears none sees the stored wish when it extends. */
static const struct {
    const char *title, *lease, *listen;
    bool cut; /* the connection that would bring the notice ends before it */
} ears[] = {
    {"it is told", "1h", NULL, false},
    {"its ear is cut off, and looks when it hears again", "1h", NULL, true},
    {"it is deaf", "600ms", "postgresql:///x?host=/nowhere/at/all", false},
};

static void cancel_running(const struct bench *b, char c)
{
    struct enqueue cancel = {.url = b->url, .cancel = qid(c)};

    ck_ok(on_fiber(enqueue_body, &cancel));
    ck_assert(cancel.running);
}

START_TEST(a_running_job_can_be_cancelled)
{
    struct bench b = new_bench();
    struct job_new j[] = {job('a', "mihwar.sleep", "{\"ms\": 60000}"),
                          job('b', "mihwar.sleep", "{\"ms\": 60000}"),
                          job('c', "mihwar.sleep", "{\"ms\": 60000}")};

    j[1].durable = false;
    START(&b, "--lease", ears[_i].lease, "--database-listen-url",
          ears[_i].listen ? ears[_i].listen : "");
    enqueue(&b, j, COUNT(j));
    ck_wait(leased(3), 10000);
    if (ears[_i].cut) {
        ck_wait(pg_one_int(b.url, "SELECT count(*) FROM pg_stat_activity WHERE datname = "
                                  "current_database() AND query = 'LISTEN mihwar_cancelled'") == 1,
                10000);
        pg_one(b.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
                      "current_database() AND query = 'LISTEN mihwar_cancelled'");
    }
    cancel_running(&b, 'a');
    cancel_running(&b, 'b');
    ck_wait(state_is(&b, 'a', "cancelled"), 30000);
    ck_assert_str_eq(attempts(&b, 'a'), "1.1.cancelled");
    ck_wait(redis_forgot('a') && redis_forgot('b') && leased(1), 30000);
    ck_assert(!redis_forgot('c'));
    cancel_running(&b, 'c');
    ck_wait(leased(0), 30000);
    stop_worker(&b);
}
END_TEST

/* Nobody listened when it was said, and when somebody did again the job was handed out and not yet aboard. */
START_TEST(a_cancel_that_nobody_heard_is_asked_for)
{
    struct bench b = new_bench();
    char word[96], armed[80], ear[192];

    snprintf(armed, sizeof armed, "%s/claim_unread", support_dir());
    snprintf(word, sizeof word, "claim_unread@%s", armed);
    snprintf(ear, sizeof ear, "postgresql://ear%s", strchr(b.url, '@'));
    pg_one(b.url, "CREATE ROLE ear LOGIN");
    setenv("MIHWAR_INJECT", word, 1);
    START(&b, "--lease", "1h", "--worker-concurrency", "3", "--worker-stuck-after", "10m",
          "--database-listen-url", ear);
    unsetenv("MIHWAR_INJECT");
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'ear' AND "
                              "query = 'LISTEN mihwar_cancelled'") == 1,
            30000);
    pg_one(b.url, "ALTER ROLE ear NOLOGIN");
    ck_wait(pg_one_int(b.url, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "
                              "usename = 'ear'") == 0,
            30000);
    fclose(fopen(armed, "w"));
    enqueue1(&b, job('a', "mihwar.sleep", "{\"ms\": 600000}"));
    ck_wait(leased(1) && access(armed, F_OK) != 0, 30000);
    cancel_running(&b, 'a');
    pg_one(b.url, "ALTER ROLE ear LOGIN");
    ck_wait(state_is(&b, 'a', "cancelled") && leased(0), 30000);
    stop_worker(&b);
    pg_one(b.url, "DROP ROLE ear");
}
END_TEST

static rc group_cancelled(struct cx *cx, void *arg)
{
    enum { MANY = 250 }; /* more than one notice has room for */
    struct bench *b = arg;
    struct redis *redis;
    struct pg *db;

    ck_ok(redis_new(cx, stores.redis_url, &redis));
    ck_ok(pg_new(cx, b->url, 1, &db));
    struct engine *e = engine_new(redis, db);
    struct flow *f = flow_new(cx);
    struct flow_node *all = flow_group(f, NULL, FLOW_FAIL);
    for (int i = 0; i < MANY; i++)
        flow_job(f, all,
                 &(struct job_new){.queue = Q, .task = "mihwar.sleep", .args = "{\"ms\": 600000}"});
    ck_ok(flow_start(cx, e, f));
    ck_wait(leased(MANY), 30000);
    ck_ok(flow_cancel(cx, e, f->id, NULL));
    ck_wait(leased(0), 30000);
    engine_free(e);
    pg_free(db);
    redis_free(redis);
    return OK;
}

START_TEST(a_running_workflow_can_be_cancelled)
{
    struct bench b = new_bench();

    START(&b, "--lease", "1h", "--worker-concurrency", "300");
    ck_ok(on_fiber(group_cancelled, &b));
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE state <> 'cancelled'"), 0);
    stop_worker(&b);
}
END_TEST

/* ---------------------------------------------------------------- what a death leaves behind */

START_TEST(a_killed_child_gives_its_leases_back)
{
    struct bench b = new_bench();
    pid_t child;

    START(&b, "--lease", "1h");
    enqueue1(&b, job('a', "mihwar.sleep", "{\"ms\": 1500}"));
    ck_wait(begun(&b, 1), 10000);
    ck_assert_uint_eq(proc_children(proc_pid(b.worker), &child, 1), 1);
    kill(child, SIGKILL);
    ck_wait(state_is(&b, 'a', "completed"), 15000); /* the lease alone would hold it for an hour */
    ck_assert_str_eq(attempts(&b, 'a'), "1.2.completed");
    ck_assert(said(&b, "ev=leases.returned"));
    stop_worker(&b);
}
END_TEST

START_TEST(a_job_that_kills_every_worker_dies)
{
    struct bench b = new_bench();
    struct job_new j = job('a', "mihwar.sleep", "{\"ms\": 60000}");

    j.max_attempts = 2;
    START(&b);
    enqueue1(&b, j);
    for (int i = 1; i <= 2; i++) {
        pid_t child = 0;
        ck_wait(begun(&b, i) && proc_children(proc_pid(b.worker), &child, 1) == 1, 15000);
        kill(child, SIGKILL);
    }
    ck_wait(state_is(&b, 'a', "dead"), 15000);
    ck_assert_str_eq(attempts(&b, 'a'), "1.3.dead");
    stop_worker(&b);
}
END_TEST

START_TEST(an_ack_that_was_lost_runs_nothing_twice)
{
    struct bench b = new_bench();

    setenv("MIHWAR_INJECT", "ack_lost", 1);
    START(&b, "--lease", "600ms");
    unsetenv("MIHWAR_INJECT");
    enqueue1(&b, job('a', "mihwar.noop", NULL));
    ck_wait(state_is(&b, 'a', "completed"), 10000);
    ck_assert(!redis_forgot('a'));
    ck_wait(redis_forgot('a') && leased(0), 10000);
    ck_assert_str_eq(attempts(&b, 'a'), "1.1.completed");
    ck_assert(said(&b, "ev=job.ended_already"));
    stop_worker(&b);
}
END_TEST

START_TEST(an_emptied_redis_is_rebuilt)
{
    struct bench b = new_bench();
    struct job_new j[] = {job('a', "mihwar.sleep", "{\"ms\": 3000}"),
                          job('b', "mihwar.noop", NULL)};

    START(&b, "--lease", "600ms");
    ck_wait(said(&b, "ev=worker.ready"), 10000);
    j[1].run_at_ms = clock_ms() + 2000;
    enqueue(&b, j, COUNT(j));
    ck_wait(leased(1), 10000);
    redis_one(stores.redis_url, "FLUSHALL");
    ck_wait(state_is(&b, 'a', "completed") && state_is(&b, 'b', "completed"), 20000);
    ck_assert_int_eq(pg_one_int(b.url, "SELECT min(generation) FROM jobs"), 2);
    ck_assert_str_eq(attempts(&b, 'b'), "2.1.completed");
    ck_assert(said(&b, "ev=queue.recovered"));
    stop_worker(&b);
}
END_TEST

/* Killed at any moment, also over the answer to a claim: no lease of an hour is left behind. */
START_TEST(a_busy_child_killed_at_any_moment_leaves_nothing_leased)
{
    enum { MANY = 3000 };
    struct bench b = new_bench();
    struct job_new *j = xcalloc(MANY, sizeof *j);

    for (int i = 0; i < MANY; i++)
        j[i] = (struct job_new){.queue = Q,
                                .task = "mihwar.sleep",
                                .args = "{\"ms\": 5}",
                                .priority = 5,
                                .max_attempts = 9};
    START(&b, "--lease", "1h", "--worker-concurrency", "20");
    enqueue(&b, j, MANY);
    for (int i = 0; i < 5; i++) {
        pid_t child = 0;
        long done = atol(redis_one(stores.redis_url, "HGET mw:{t}:stats done") ?: "0");
        ck_wait(atol(redis_one(stores.redis_url, "HGET mw:{t}:stats done") ?: "0") > done + 50 &&
                    proc_children(proc_pid(b.worker), &child, 1) == 1,
                15000);
        kill(child, SIGKILL);
    }
    ck_wait(atoi(redis_one(stores.redis_url, "HLEN mw:{t}:jobs")) == 0, 20000);
    ck_assert(leased(0));
    free(j);
    stop_worker(&b);
}
END_TEST

/* ---------------------------------------------------------------- start and stop */

START_TEST(drains)
{
    struct bench b = new_bench();
    struct job_new j[] = {job('a', "mihwar.sleep", "{\"ms\": 700}"),
                          job('b', "mihwar.sleep", "{\"ms\": 600000}")};

    START(&b, "--shutdown-grace", "3s");
    enqueue(&b, j, COUNT(j));
    ck_wait(has_begun(&b, 'a') && has_begun(&b, 'b'), 30000);
    proc_signal(b.worker, SIGTERM);
    ck_assert_int_eq(proc_wait(b.worker, 10000), 0);
    ck_assert(state_is(&b, 'a', "completed"));
    ck_assert(state_is(&b, 'b', "ready"));
    ck_assert_str_eq(attempts(&b, 'b'), "");
    ck_assert(leased(0));
    ck_assert_ptr_nonnull(
        strstr(redis_one(stores.redis_url, "LRANGE mw:{t}:ready5 0 -1"), ":1.2.1"));
    b.worker = living = proc_free(b.worker);
}
END_TEST

static int run_worker(const char *database_url, char **ret_err, const char *option,
                      const char *value)
{
    const char *argv[] = {built("worker/mihwar-worker"), option, value, NULL};
    char database[256];
    const char *env[] = {database, NULL};

    snprintf(database, sizeof database, "MIHWAR_DATABASE_URL=%s", database_url);
    return proc_run(&(struct proc_opts){.name = "once", .argv = argv, .env = env}, NULL, 10000,
                    NULL, ret_err);
}

START_TEST(refuses_an_unknown_schema)
{
    _cleanup_(freep) char *err = NULL;
    char url[192];

    stores_new_database(&stores, "empty", NULL, url);
    ck_assert_int_eq(run_worker(url, &err, NULL, NULL), 1);
    ck_assert_msg(strstr(err, "mihwar db migrate") != NULL, "%s", err);
}
END_TEST

START_TEST(checks_its_settings)
{
    _cleanup_(freep) char *err = NULL, *bad = NULL;

    ck_assert_int_eq(run_worker("postgresql:///x", &err, "--check-config", NULL), 0);
    ck_assert_int_eq(run_worker("postgresql:///x", &bad, "--worker-queues", "a:b"), 2);
    ck_assert_msg(strstr(bad, "worker_queues") != NULL, "%s", bad);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("worker");
    TCase *tc = bench_case(s, "worker", 60);

    tcase_add_test(tc, runs_the_builtin_tasks);
    tcase_add_test(tc, finds_what_waited_before_it_started);
    tcase_add_test(tc, a_failure_is_tried_again_and_then_dead);
    tcase_add_test(tc, an_unknown_task_stays);
    tcase_add_test(tc, a_scheduled_job_is_on_time);
    tcase_add_loop_test(tc, a_running_job_can_be_cancelled, 0, COUNT(ears));
    tcase_add_test(tc, a_cancel_that_nobody_heard_is_asked_for);
    tcase_add_test(tc, a_running_workflow_can_be_cancelled);
    tcase_add_test(tc, a_killed_child_gives_its_leases_back);
    tcase_add_test(tc, a_job_that_kills_every_worker_dies);
    tcase_add_test(tc, an_ack_that_was_lost_runs_nothing_twice);
    tcase_add_test(tc, an_emptied_redis_is_rebuilt);
    tcase_add_test(tc, a_busy_child_killed_at_any_moment_leaves_nothing_leased);
    tcase_add_test(tc, drains);
    tcase_add_test(tc, refuses_an_unknown_schema);
    tcase_add_test(tc, checks_its_settings);
    return s;
}

int main(void)
{
    return stores_main_unforked(&stores, NULL, NULL, suite);
}

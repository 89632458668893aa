/* test_tasks.c - tasks of others in a real worker: plug-ins, and what their functions may do. */
#include "queue/flow/flow.h"
#include "tests/integration/worker_bench.h"
#include <check.h>

static const char *plug(const char *name)
{
    static char path[512];

    snprintf(path, sizeof path, "%s", built(name));
    return path;
}

/* A line of somebody's log, or a progress; % stands for anything. */
static bool told(const struct bench *b, const char *body)
{
    return pg_one_int(b->url, "SELECT count(*) FROM job_events WHERE body LIKE '%s'", body) > 0;
}

static bool leased(int n)
{
    return atoi(redis_one(stores.redis_url, "ZCARD mw:{t}:lease")) == n;
}

START_TEST(a_plug_in_runs)
{
    struct bench b = new_bench();
    struct job_new j[] = {
        job('a', "plug.greet", "{\"n\": 1}"),
        job('b', "plug.fragile", NULL),
        job('c', "plug.fragile", "{\"never\": true}"),
        job('d', "plug.later", NULL),
        job('e', "plug.mother", NULL),
        job('f', "plug.nap", NULL),
        job('0', "plug.fragile", "\"silent\""),
        job('1', "plug.fragile", "\"nonsense\""),
    };

    START_ON(&b, Q, "--load", plug("tests/integration/plug/libplug.so"));
    enqueue(&b, j, COUNT(j));
    ck_wait(state_is(&b, 'a', "completed") && state_is(&b, 'b', "completed") &&
                state_is(&b, 'c', "dead") && state_is(&b, 'd', "completed") &&
                state_is(&b, 'e', "completed") && state_is(&b, 'f', "dead") &&
                state_is(&b, '0', "dead") && state_is(&b, '1', "dead"),
            30000);
    ck_assert_str_eq(job_says(&b, 'a', "result ->> 'token' = id || ':1.1.0'"), "t");
    ck_assert_str_eq(job_says(&b, 'a', "result -> 'args' ->> 'n'"), "1");
    ck_assert_str_eq(job_outcomes(&b, 'b'), "retry:mail_down completed");
    ck_assert_str_eq(job_outcomes(&b, 'c'), "dead:no_such_customer");
    ck_assert_str_eq(job_says(&b, 'c', "last_error"), "customer 7 is not there");
    ck_assert_str_eq(job_outcomes(&b, 'd'), "snoozed completed");
    ck_assert_str_eq(job_outcomes(&b, 'e'), "retry:again completed");
    ck_assert_str_eq(job_outcomes(&b, 'f'), "dead:deadline");
    ck_assert_str_eq(job_outcomes(&b, '0'), "retry:task_failed dead:task_failed");
    ck_assert_str_eq(job_outcomes(&b, '1'), "dead:bad_json");
    /* Of the mother's two attempts one left a child. */
    ck_wait(pg_one_int(b.url,
                       "SELECT count(*) FROM jobs WHERE args ->> 'from' = 'mother' AND state "
                       "= 'completed'") == 1,
            10000);
    ck_assert_int_eq(
        pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE args ->> 'from' = 'mother'"), 1);
    ck_wait(told(&b, "attempt 1 of 5") && told(&b, "{\"percent\":50}"), 10000);
    stop_worker(&b);
}
END_TEST

#define APART "tests/integration/plug/libapart.so"

/* Both kinds do what a fiber's task does, from where they are. */
START_TEST(apart_is_like_aboard)
{
    static const char *const names[] = {"apart.thread", "apart.child"};
    const char *task = names[_i];
    struct bench b = new_bench();
    struct job_new j[] = {
        job('0', task, "\"plain\""),  job('1', task, "\"fail\""),  job('2', task, "\"refuse\""),
        job('3', task, "\"snooze\""), job('4', task, "\"nap\""),   job('5', task, "\"ask\""),
        job('6', task, "\"heeds\""),  job('7', task, "\"heeds\""),
    };

    j[4].timeout_ms = 300;
    j[4].max_attempts = j[6].max_attempts = 1;
    START_ON(&b, Q, "--load", plug(APART), "--lease", "1h");
    enqueue(&b, j, COUNT(j));
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE live AND task LIKE 'apart.%%'") == 2,
            30000);
    for (const char *c = "67"; *c; c++)
        ck_ok(on_fiber(enqueue_body, &(struct enqueue){.url = b.url, .cancel = qid(*c)}));
    ck_wait(state_is(&b, '6', "cancelled") && state_is(&b, '7', "cancelled"), 30000);
    ck_assert_str_eq(job_says(&b, '0',
                              "result ->> 'token' = id || ':1.1.0' AND result ->> 'job' = id::text"
                              " AND result ->> 'task' = task AND (result ->> 'left')::bool"),
                     "t");
    ck_assert_str_eq(job_outcomes(&b, '1'), "retry:own_code completed");
    ck_assert_str_eq(job_outcomes(&b, '2'), "dead:too_bad");
    ck_assert_str_eq(job_outcomes(&b, '3'), "snoozed completed");
    ck_assert_str_eq(job_outcomes(&b, '4'), "dead:deadline");
    ck_assert_str_eq(job_outcomes(&b, '5'), "completed");
    ck_assert_str_eq(job_outcomes(&b, '6'), "cancelled:was_asked");
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE task = 'mihwar.noop' AND state = "
                              "'completed' AND unique_key LIKE 'mihwar.noop:%%'") == 1,
            10000);
    ck_wait(told(&b, "pid % says hello") && told(&b, "{\"percent\":50}"), 10000);
    stop_worker(&b);
}
END_TEST

START_TEST(a_child_may_crash)
{
    struct bench b = new_bench();
    struct job_new j[] = {
        job('a', "apart.child", "\"crash\""),       job('b', "apart.child", "\"leave\""),
        job('c', "apart.child", "\"spin\""),        job('d', "apart.child", "\"print\""),
        job('e', "mihwar.sleep", "{\"ms\": 1000}"), job('f', "apart.child", "\"freeze\"")};

    j[2].timeout_ms = j[5].timeout_ms = 500;
    j[2].max_attempts = j[5].max_attempts = 1;
    START_ON(&b, Q, "--load", plug(APART), "--lease", "3s");
    enqueue(&b, j, COUNT(j));
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE live") == 0, 30000);
    ck_assert_str_eq(job_outcomes(&b, 'a'), "retry:task_died dead:task_died");
    ck_assert_str_eq(job_outcomes(&b, 'b'), "retry:task_died dead:task_died");
    ck_assert_str_eq(job_outcomes(&b, 'c'), "dead:deadline");
    ck_assert_str_eq(job_outcomes(&b, 'd'), "completed");
    ck_assert_str_eq(job_outcomes(&b, 'e'), "completed"); /* a neighbour, undisturbed */
    ck_assert_str_eq(job_outcomes(&b, 'f'), "dead:deadline");
    ck_assert_msg(strstr(job_says(&b, 'f', "last_error"), "killed at its time limit of 500 ms"),
                  "%s", job_says(&b, 'f', "last_error"));
    ck_assert_msg(strstr(job_says(&b, 'a', "last_error"), "by signal 6 (Aborted); peak memory "),
                  "%s", job_says(&b, 'a', "last_error"));
    ck_assert_msg(strstr(job_says(&b, 'b', "last_error"), "exit status 7"), "%s",
                  job_says(&b, 'b', "last_error"));
    ck_assert_msg(strstr(job_says(&b, 'c', "last_error"), "killed at its time limit of 500 ms"),
                  "%s", job_says(&b, 'c', "last_error"));
    ck_wait(told(&b, "printed to stdout") && told(&b, "and to stderr"), 10000);
    ck_assert(!said(&b, "ev=child.died"));
    stop_worker(&b);
}
END_TEST

START_TEST(a_thread_that_blocks_keeps_its_lease)
{
    struct bench b = new_bench();
    struct job_new j[] = {job('a', "apart.thread", "\"long\""), job('b', "mihwar.noop", NULL)};

    START_ON(&b, Q, "--load", plug(APART), "--lease", "2s", "--worker-threads", "1");
    enqueue1(&b, j[0]);
    ck_wait(leased(1), 10000);
    enqueue1(&b, j[1]);
    ck_wait(state_is(&b, 'b', "completed"), 10000); /* nobody waits for the thread */
    ck_wait(state_is(&b, 'a', "completed"), 30000);
    ck_assert_str_eq(job_outcomes(&b, 'a'), "completed");
    ck_assert_str_eq(redis_one(stores.redis_url, "HGET mw:{t}:stats expired") ? "expired" : "none",
                     "none");
    stop_worker(&b);
}
END_TEST

START_TEST(threads_that_never_come_back)
{
    struct bench b = new_bench();
    struct job_new j[] = {job('a', "apart.thread", "\"stuck\""),
                          job('b', "apart.thread", "\"plain\"")};

    j[0].timeout_ms = 300;
    j[0].max_attempts = 1;
    START_ON(&b, Q, "--load", plug(APART), "--worker-threads", "1");
    enqueue(&b, j, COUNT(j));
    ck_wait(state_is(&b, 'a', "dead") && state_is(&b, 'b', "completed"), 30000);
    ck_assert_str_eq(job_outcomes(&b, 'a'), "dead:deadline");
    ck_assert(said(&b, "ev=worker.threads_held"));
    stop_worker(&b);
}
END_TEST

/* Each with its word as arguments, one behind the other. */
static rc begin_chain(struct cx *cx, void *arg)
{
    struct bench *b = arg;
    struct redis *redis;
    struct pg *db;

    ck_ok(redis_new(cx, stores.redis_url, &redis));
    ck_ok(pg_new(cx, b->url, 2, &db));
    struct engine *e = engine_new(redis, db);
    struct flow *f = flow_new(cx);
    struct flow_node *all = flow_chain(f, NULL);
    flow_job(f, all,
             &(struct job_new){.queue = Q, .task = "mihwar.echo", .args = "{\"n\":[1,\"two\"]}"});
    flow_job(f, all, &(struct job_new){.queue = Q, .task = "apart.child", .args = "\"heir\""});
    flow_job(f, all, &(struct job_new){.queue = Q, .task = "apart.thread", .args = "\"heir\""});
    rc r = flow_start(cx, e, f);
    engine_free(e);
    pg_free(db);
    redis_free(redis);
    return r;
}

START_TEST(apart_sees_what_stood_before_it)
{
    struct bench b = new_bench();

    START_ON(&b, Q, "--load", plug(APART));
    ck_ok(on_fiber(begin_chain, &b));
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM workflows WHERE state = 'completed'") == 1,
            30000);
    ck_assert_str_eq(pg_one(b.url, "SELECT string_agg(result::text, ' ' ORDER BY step) FROM "
                                   "workflow_steps WHERE task LIKE 'apart.%%'"),
                     "{\"n\":[1,\"two\"]} {\"n\":[1,\"two\"]}");
    stop_worker(&b);
}
END_TEST

static rc begin_flow(struct cx *cx, void *arg)
{
    struct bench *b = arg;
    struct redis *redis;
    struct pg *db;

    ck_ok(redis_new(cx, stores.redis_url, &redis));
    ck_ok(pg_new(cx, b->url, 2, &db));
    struct engine *e = engine_new(redis, db);
    struct flow *f = flow_new(cx);
    struct flow_node *all = flow_chain(f, NULL), *both = flow_group(f, all, FLOW_FAIL);
    flow_job(f, both, &(struct job_new){.queue = Q, .task = "plug.heir"});
    flow_job(f, both, &(struct job_new){.queue = Q, .task = "plug.greet"});
    flow_job(f, all, &(struct job_new){.queue = Q, .task = "plug.heir"});
    rc r = flow_start(cx, e, f);
    engine_free(e);
    pg_free(db);
    redis_free(redis);
    return r;
}

START_TEST(a_task_sees_what_stood_before_it)
{
    struct bench b = new_bench();

    START_ON(&b, Q, "--load", plug("tests/integration/plug/libplug.so"));
    ck_ok(on_fiber(begin_flow, &b));
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM workflows WHERE state = 'completed'") == 1,
            30000);
    ck_assert_str_eq(pg_one(b.url, "SELECT (result ->> 0) || (result -> 1 ->> 'args') FROM "
                                   "workflow_steps WHERE step = 5"),
                     "nothing{}");
    stop_worker(&b);
}
END_TEST

START_TEST(a_program_without_a_loop_asks)
{
    struct bench b = new_bench();
    const char *argv[] = {built("tests/integration/plug/plug_client"), Q, NULL};
    _cleanup_(freep) char *database = xasprintf("MIHWAR_DATABASE_URL=%s", b.url);
    _cleanup_(freep) char *redis = xasprintf("MIHWAR_REDIS_URL=%s", stores.redis_url);
    _cleanup_(freep) char *err = NULL;
    const char *env[] = {database, redis, NULL};

    START_ON(&b, Q);
    int status = proc_run(&(struct proc_opts){.name = "client", .argv = argv, .env = env}, NULL,
                          60000, NULL, &err);
    ck_assert_msg(status == 0, "%d: %s", status, err);
    stop_worker(&b);
}
END_TEST

/* Two workers on one queue, each with tasks that the other does not know. */
START_TEST(a_mixed_fleet)
{
    struct bench b = new_bench(), other = b;
    struct job_new j[200];

    for (size_t i = 0; i < COUNT(j); i++) {
        j[i] = job('a', i % 2 ? "plug.greet" : "apart.thread", "\"plain\"");
        id_new(j[i].id);
    }
    START_ON(&b, Q, "--load", plug("tests/integration/plug/libplug.so"));
    struct proc *first = b.worker;
    START_ON(&other, Q, "--load", plug(APART));
    enqueue(&b, j, COUNT(j));
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE state = 'completed'") == COUNT(j),
            60000);
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM job_attempts WHERE outcome <> "
                                       "'completed'"),
                     0);
    stop_worker(&other);
    ck_assert_int_eq(proc_stop(first, 20000), 0);
    proc_free(first);
}
END_TEST

/* A worker that is expected to refuse what it is given; its stderr. */
static char *refused(int status, const char *option, const char *value)
{
    const char *argv[] = {built("worker/mihwar-worker"), option, value, NULL};
    const char *env[] = {"MIHWAR_DATABASE_URL=postgresql:///x", NULL};
    char *err = NULL;

    ck_assert_int_eq(proc_run(&(struct proc_opts){.name = "refused", .argv = argv, .env = env},
                              NULL, 20000, NULL, &err),
                     status);
    return err;
}

START_TEST(what_is_no_plug_in_is_refused)
{
    _cleanup_(freep) char *twice =
        xasprintf("--load=%s", plug("tests/integration/plug/libplug.so"));
    _cleanup_(freep) char *old = refused(2, "--load", plug("tests/integration/plug/libold.so"));
    _cleanup_(freep) char *none = refused(2, "--load", "/nowhere.so");
    _cleanup_(freep) char *other = refused(2, "--load", "libz.so.1");
    _cleanup_(freep) char *again = refused(2, twice, twice);

    ck_assert_msg(strstr(old, "was compiled for version 2 of the interface, this worker has 1"),
                  "%s", old);
    ck_assert_msg(strstr(none, "/nowhere.so"), "%s", none);
    ck_assert_msg(strstr(other, "libz.so.1"), "%s", other);
    ck_assert_msg(strstr(again, "two tasks of the name plug.greet"), "%s", again);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tasks");
    TCase *tc = bench_case(s, "tasks", 60);

    tcase_add_test(tc, a_plug_in_runs);
    tcase_add_test(tc, a_task_sees_what_stood_before_it);
    tcase_add_test(tc, apart_sees_what_stood_before_it);
    tcase_add_loop_test(tc, apart_is_like_aboard, 0, 2);
    tcase_add_test(tc, a_child_may_crash);
    tcase_add_test(tc, a_thread_that_blocks_keeps_its_lease);
    tcase_add_test(tc, threads_that_never_come_back);
    tcase_add_test(tc, a_program_without_a_loop_asks);
    tcase_add_test(tc, a_mixed_fleet);
    tcase_add_test(tc, what_is_no_plug_in_is_refused);
    return s;
}

int main(void)
{
    return stores_main_unforked(&stores, NULL, NULL, suite);
}

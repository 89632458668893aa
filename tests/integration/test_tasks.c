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

static const char *of_job(const struct bench *b, char c, const char *what)
{
    return pg_one(b->url, "SELECT %s FROM jobs WHERE id = '%s'", what, qid(c));
}

/* outcome:code of every attempt, in order. */
static const char *attempts(const struct bench *b, char c)
{
    return pg_one(
        b->url,
        "SELECT coalesce(string_agg(outcome || coalesce(':' || error_code, ''), ' ' ORDER BY "
        "attempt), '') FROM job_attempts WHERE job_id = '%s'",
        qid(c));
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
    ck_assert_str_eq(of_job(&b, 'a', "result ->> 'token' = id || ':1.1.0'"), "t");
    ck_assert_str_eq(of_job(&b, 'a', "result -> 'args' ->> 'n'"), "1");
    ck_assert_str_eq(attempts(&b, 'b'), "retry:mail_down completed");
    ck_assert_str_eq(attempts(&b, 'c'), "dead:no_such_customer");
    ck_assert_str_eq(of_job(&b, 'c', "last_error"), "customer 7 is not there");
    ck_assert_str_eq(attempts(&b, 'd'), "snoozed completed");
    ck_assert_str_eq(attempts(&b, 'e'), "retry:again completed");
    ck_assert_str_eq(attempts(&b, 'f'), "dead:deadline");
    ck_assert_str_eq(attempts(&b, '0'), "retry:task_failed dead:task_failed");
    ck_assert_str_eq(attempts(&b, '1'), "dead:bad_json");
    /* Of the mother's two attempts one left a child. */
    ck_wait(pg_one_int(b.url,
                       "SELECT count(*) FROM jobs WHERE args ->> 'from' = 'mother' AND state "
                       "= 'completed'") == 1,
            10000);
    ck_assert_int_eq(
        pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE args ->> 'from' = 'mother'"), 1);
    ck_assert(said(&b, "line=\"attempt 1 of 5\""));
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
    TCase *tc = tcase_create("tasks");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, NULL, kill_living);
    tcase_add_test(tc, a_plug_in_runs);
    tcase_add_test(tc, a_task_sees_what_stood_before_it);
    tcase_add_test(tc, what_is_no_plug_in_is_refused);
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

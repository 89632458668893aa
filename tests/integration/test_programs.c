/* test_programs.c - programs as tasks: what they are given, how their end is judged, and that none is left behind. */
#include "base/text.h"
#include "queue/flow/flow.h"
#include "tests/integration/worker_bench.h"
#include <check.h>
#include <signal.h>
#include <sys/stat.h>

static char program[512]; /* "test.program=PATH" */

static const char *error_of(const struct bench *b, char c)
{
    return job_says(b, c, "last_error");
}

static struct job_new ask(char c, const char *what)
{
    struct job_new j = job(c, "test.program", what);

    j.max_attempts = 2;
    return j;
}

/* The number that a program left in the tests' folder; 0: none yet. */
static pid_t pid_in(const char *name)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", support_dir(), name);
    FILE *f = fopen(path, "r");
    int pid = 0;

    if (f && fscanf(f, "%d", &pid) != 1)
        pid = 0;
    if (f)
        fclose(f);
    return pid;
}

static void forget(const char *name)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", support_dir(), name);

    remove(path);
}

/* Dead; what is orphaned comes to us, and stays a zombie for as long as this program lives. */
static bool gone(pid_t pid)
{
    _cleanup_(freep) char *path = xasprintf("/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    char state = 0;

    if (!f)
        return true;
    bool read = fscanf(f, "%*d (%*[^)]) %c", &state) == 1;
    fclose(f);
    return !read || state == 'Z';
}

START_TEST(what_a_program_makes_of_its_job)
{
    struct bench b = new_bench();
    struct job_new j[] = {
        ask('0', "\"json\""),  ask('1', "\"text\""),  ask('2', "\"silent\""),
        ask('3', "\"dead\""),  ask('4', "\"again\""), ask('5', "\"later\""),
        ask('6', "\"crash\""), ask('7', "\"clean\""), ask('8', "\"leaves\""),
        ask('9', "\"big\""),
    };

    forget("later");
    forget("left");
    START_ON(&b, Q, "--exec", program);
    enqueue(&b, j, COUNT(j));
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE live") == 0, 60000);

    ck_assert_str_eq(
        job_says(&b, '0', "result ->> 'token' = id || ':1.1.0' AND result ->> 'job' = id::text"),
        "t");
    ck_assert_str_eq(job_says(&b, '0', "result ->> 'args'"), "json");
    ck_assert_str_eq(job_says(&b, '1', "result"), "\"hello \\\"world\\\"\"");
    ck_wait(pg_one_int(b.url,
                       "SELECT count(*) FROM job_events WHERE job_id = '%s' AND body IN ('one line "
                       "of log', '{\"percent\":10}')",
                       qid('1')) == 2,
            10000);
    ck_assert_str_eq(job_says(&b, '2', "state || ':' || coalesce(result::text, 'none')"),
                     "completed:none");
    ck_assert_str_eq(job_outcomes(&b, '3'), "dead:task_refused");
    ck_assert_msg(starts_with(error_of(&b, '3'), "exit status 65; peak memory ") &&
                      strstr(error_of(&b, '3'), "; last lines: customer 7 is not there"),
                  "%s", error_of(&b, '3'));
    ck_assert_str_eq(job_outcomes(&b, '4'), "retry:task_failed completed");
    ck_assert_str_eq(job_outcomes(&b, '5'), "snoozed completed");
    ck_assert_str_eq(job_outcomes(&b, '6'), "retry:task_died dead:task_died");
    ck_assert_msg(strstr(error_of(&b, '6'), "ended by signal 11 (Segmentation fault)") != NULL,
                  "%s", error_of(&b, '6'));
    ck_assert_str_eq(pg_one(b.url, "SELECT error FROM dead_letters WHERE job_id = '%s'", qid('6')),
                     error_of(&b, '6'));
    ck_assert_str_eq(
        job_says(&b, '7', "result::text"),
        "{\"ours\":\"0\",\"signals\":\"00000000000000000000000000000000\",\"keys\":\"\","
        "\"leader\":true}");
    ck_assert_str_eq(job_says(&b, '8', "result"), "\"left\"");
    ck_wait(gone(pid_in("left")), 10000);
    ck_assert_str_eq(
        job_says(&b, '9',
                 "state || ' ' || (result ->> 'truncated') || ' ' || (result ->> 'bytes') "
                 "|| ' ' || length(result ->> 'head')"),
        "completed true 10000000 4096");
    stop_worker(&b);
}
END_TEST

START_TEST(time_is_over)
{
    struct bench b = new_bench();
    struct job_new j[] = {ask('a', "\"stubborn\""), ask('b', "\"family\""), ask('c', "\"text\""),
                          job('d', "mihwar.sleep", "{\"ms\": 3000}"), ask('e', "\"freeze\"")};

    forget("freeze");
    forget("stubborn");
    forget("family1");
    forget("family2");
    j[0].timeout_ms = j[1].timeout_ms = j[4].timeout_ms = 4000;
    j[0].max_attempts = j[1].max_attempts = j[4].max_attempts = 1;
    START_ON(&b, Q, "--exec", program, "--lease", "3s");
    enqueue(&b, j, COUNT(j));
    ck_wait(state_is(&b, 'a', "dead") && state_is(&b, 'b', "dead"), 30000);
    ck_assert_str_eq(job_outcomes(&b, 'a'), "dead:deadline");
    ck_assert_msg(strstr(error_of(&b, 'a'), "killed at its time limit of 4000 ms; peak memory "),
                  "%s", error_of(&b, 'a'));
    ck_assert(gone(pid_in("stubborn")));
    ck_wait(state_is(&b, 'e', "dead"), 30000); /* stopped: no SIGTERM reaches it */
    ck_assert_str_eq(job_outcomes(&b, 'e'), "dead:deadline");
    ck_assert(pid_in("freeze") > 0 && gone(pid_in("freeze")));
    ck_wait(gone(pid_in("family1")), 10000);
    ck_wait(state_is(&b, 'c', "completed") && state_is(&b, 'd', "completed"), 30000);
    ck_assert_str_eq(job_outcomes(&b, 'd'), "completed");
    /* The one that left its group goes with the worker. */
    ck_assert(pid_in("family2") > 0 && !gone(pid_in("family2")));
    stop_worker(&b);
    ck_assert(gone(pid_in("family2")));
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
    struct flow_node *all = flow_chain(f, NULL);
    flow_job(f, all, &(struct job_new){.queue = Q, .task = "test.program", .args = "\"first\""});
    flow_job(f, all, &(struct job_new){.queue = Q, .task = "test.program", .args = "\"heir\""});
    rc r = flow_start(cx, e, f);
    engine_free(e);
    pg_free(db);
    redis_free(redis);
    return r;
}

START_TEST(what_stood_before_it)
{
    struct bench b = new_bench();

    START_ON(&b, Q, "--exec", program);
    ck_ok(on_fiber(begin_flow, &b));
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM workflows WHERE state = 'completed'") == 1,
            30000);
    ck_assert_str_eq(pg_one(b.url, "SELECT result::text FROM workflow_steps WHERE step = 3"),
                     "{\"given\":{\"n\":[1,\"two\"]},\"again\":{\"n\":[1,\"two\"]}}");
    stop_worker(&b);
}
END_TEST

START_TEST(cancelled)
{
    struct bench b = new_bench();
    struct job_new j[] = {ask('a', "\"polite\""), ask('b', "\"stubborn\"")};

    forget("polite");
    forget("stubborn");
    START_ON(&b, Q, "--exec", program, "--lease", "1h", "--worker-kill-grace", "500ms");
    enqueue(&b, j, COUNT(j));
    ck_wait(pid_in("polite") && pid_in("stubborn"), 30000);
    for (const char *c = "ab"; *c; c++)
        ck_ok(on_fiber(enqueue_body, &(struct enqueue){.url = b.url, .cancel = qid(*c)}));
    ck_wait(state_is(&b, 'a', "cancelled") && state_is(&b, 'b', "cancelled"), 30000);
    ck_assert_msg(strstr(error_of(&b, 'a'), "exit status 3;") &&
                      strstr(error_of(&b, 'a'), "asked to end"),
                  "%s", error_of(&b, 'a'));
    ck_assert_msg(strstr(error_of(&b, 'b'), "killed by signal 9 (Killed)") != NULL, "%s",
                  error_of(&b, 'b'));
    ck_assert(gone(pid_in("polite")) && gone(pid_in("stubborn")));
    stop_worker(&b);
}
END_TEST

START_TEST(a_drain_ends_programs_and_gives_their_jobs_back)
{
    struct bench b = new_bench();

    forget("stubborn");
    START_ON(&b, Q, "--exec", program, "--shutdown-grace", "2s");
    enqueue1(&b, ask('a', "\"stubborn\""));
    ck_wait(pid_in("stubborn"), 30000);
    stop_worker(&b);
    ck_assert(gone(pid_in("stubborn")));
    ck_assert_str_eq(job_says(&b, 'a', "live"), "t");
    ck_assert_str_eq(job_outcomes(&b, 'a'), "");
}
END_TEST

START_TEST(a_worker_killed_leaves_nobody_behind)
{
    struct bench b = new_bench();
    pid_t child, of_group, of_none;

    forget("family1");
    forget("family2");
    START_ON(&b, Q, "--exec", program, "--shutdown-grace", "2s");
    enqueue1(&b, ask('a', "\"family\""));
    ck_wait(pid_in("family1") && pid_in("family2"), 30000);
    of_group = pid_in("family1");
    of_none = pid_in("family2");
    forget("family1");
    ck_assert_int_eq(proc_children(proc_pid(b.worker), &child, 1), 1);
    kill(child, SIGKILL);
    ck_wait(gone(of_group) && gone(of_none), 10000);
    ck_wait(pid_in("family1"), 30000); /* again, elsewhere */
    stop_worker(&b);
    ck_wait(gone(pid_in("family1")), 10000);
}
END_TEST

/* The pid of the worker process' own child, its nursery. */
static pid_t nursery_of(const struct bench *b)
{
    pid_t child = 0, nursery = 0;

    if (proc_children(proc_pid(b->worker), &child, 1) == 1)
        proc_children(child, &nursery, 1);
    return nursery;
}

START_TEST(a_nursery_killed_is_replaced)
{
    struct bench b = new_bench();

    forget("pair");
    START_ON(&b, Q, "--exec", program, "--shutdown-grace", "2s");
    enqueue1(&b, ask('a', "\"pair\""));
    ck_wait(pid_in("pair"), 30000);
    pid_t before = pid_in("pair"), nursery = nursery_of(&b);
    forget("pair");
    ck_assert_int_gt(nursery, 0);
    kill(nursery, SIGKILL);
    ck_wait(gone(before), 10000);
    ck_wait(pid_in("pair"), 30000); /* again, in the next worker process */
    ck_assert(said(&b, "ev=nursery.died"));
    stop_worker(&b);
}
END_TEST

START_TEST(more_programs_than_places)
{
    struct bench b = new_bench();
    struct job_new j[40];

    for (size_t i = 0; i < COUNT(j); i++) {
        j[i] = job('a', "test.program", "\"silent\"");
        id_new(j[i].id);
        j[i].timeout_ms = 20000;
    }
    START_ON(&b, Q, "--exec", program, "--worker-children", "2");
    enqueue(&b, j, COUNT(j));
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM jobs WHERE state = 'completed'") == COUNT(j),
            60000);
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM job_attempts"), COUNT(j));
    stop_worker(&b);
}
END_TEST

static int refused(const char *value, char **ret_err)
{
    const char *argv[] = {built("worker/mihwar-worker"), "--exec", value, NULL};
    const char *env[] = {"MIHWAR_DATABASE_URL=postgresql:///x", NULL};

    return proc_run(&(struct proc_opts){.name = "refused", .argv = argv, .env = env}, NULL, 20000,
                    NULL, ret_err);
}

START_TEST(what_is_no_program_is_refused)
{
    static const struct {
        const char *value, *says;
    } cases[] = {
        {"x=/nowhere", "'/nowhere' is no program"},
        {"x=/etc/passwd", "'/etc/passwd' is no program"},
        {"/nowhere", "neither NAME=PATH nor a folder"},
        {"a b=/bin/true", "no name of a task"},
        {"x=/bin/true,x=/bin/false", "two tasks of the name x"},
    };
    _cleanup_(freep) char *err = NULL;

    ck_assert_int_eq(refused(cases[_i].value, &err), 2);
    ck_assert_msg(strstr(err, cases[_i].says) != NULL, "%s: %s", cases[_i].value, err);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("programs");
    TCase *tc = bench_case(s, "programs", 120);

    tcase_add_test(tc, what_a_program_makes_of_its_job);
    tcase_add_test(tc, time_is_over);
    tcase_add_test(tc, what_stood_before_it);
    tcase_add_test(tc, cancelled);
    tcase_add_test(tc, a_drain_ends_programs_and_gives_their_jobs_back);
    tcase_add_test(tc, a_worker_killed_leaves_nobody_behind);
    tcase_add_test(tc, a_nursery_killed_is_replaced);
    tcase_add_test(tc, more_programs_than_places);
    tcase_add_loop_test(tc, what_is_no_program_is_refused, 0, 5);
    return s;
}

int main(void)
{
    snprintf(program, sizeof program, "test.program=%s", PROGRAM);
    setenv("MIHWAR_TEST_DIR", support_dir(), 1);
    setenv("MIHWAR_SEAL_KEYS",
           "k1:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", 1);
    return stores_main_unforked(&stores, NULL, NULL, suite);
}

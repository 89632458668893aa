/* test_engine_worker.c - a real mihwar-worker: what one busy queue, one broken queue or one bad job may not do to the others. */
#include "base/clock.h"
#include "pg/migrate.h"
#include "tests/integration/queue_state.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- a worker and its stores */

struct bench {
    char url[192];
    struct proc *worker;
};
static struct proc *living; /* of a test that failed, for the next one's sake */

static void kill_living(void)
{
    living = proc_free(living);
}

static rc migrate_body(struct cx *cx, void *arg)
{
    struct pg *db;
    int applied;

    ck_ok(pg_new(cx, arg, 1, &db));
    ck_ok(migrate_run(cx, db, &applied));
    pg_free(db);
    return OK;
}

/* A fresh Redis and a fresh, migrated database. */
static struct bench new_bench(void)
{
    static int number;
    struct bench b = {0};
    char name[32];

    redis_one(stores.redis_url, "FLUSHALL");
    snprintf(name, sizeof name, "w%d_%d", (int)getpid(), number++);
    stores_new_database(&stores, name, NULL, b.url);
    ck_ok(on_fiber(migrate_body, b.url));
    return b;
}

/* options: words after the program's name, NULL-terminated. */
static void start_worker(struct bench *b, const char *const *options)
{
    static int number;
    char name[32], database[256], redis[192];
    const char *argv[32] = {built("worker/mihwar-worker"), "--worker-processes", "1",
                            "--worker-queues", "aa,t,u"};
    const char *env[] = {database, redis, "MIHWAR_LOG_LEVEL=debug", NULL};
    size_t n = 5;

    for (; options && *options; options++)
        argv[n++] = *options;
    snprintf(name, sizeof name, "worker%d", number++);
    snprintf(database, sizeof database, "MIHWAR_DATABASE_URL=%s", b->url);
    snprintf(redis, sizeof redis, "MIHWAR_REDIS_URL=%s", stores.redis_url);
    b->worker = living = proc_start(&(struct proc_opts){.name = name, .argv = argv, .env = env});
    /* From then on a push is taken as it is. */
    ck_wait(atoi(redis_one(stores.redis_url, "EXISTS mw:{t}:epoch")) == 1, 10000);
}
#define START(b, ...) start_worker((b), (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void stop_worker(struct bench *b)
{
    ck_assert_int_eq(proc_stop(b->worker, 20000), 0);
    b->worker = living = proc_free(b->worker);
}

static bool said(const struct bench *b, const char *words)
{
    _cleanup_(freep) char *log = proc_log(b->worker);

    return strstr(log, words) != NULL;
}

/* ---------------------------------------------------------------- jobs, from outside */

struct enqueue {
    const char *url;
    struct job_new *jobs;
    size_t n;
    const char *cancel; /* an id to cancel instead */
    bool running;
};

static rc enqueue_body(struct cx *cx, void *arg)
{
    struct enqueue *q = arg;
    struct redis *redis;
    struct pg *db;

    ck_ok(redis_new(cx, stores.redis_url, &redis));
    ck_ok(pg_new(cx, q->url, 1, &db));
    struct engine *e = engine_new(redis, db);
    if (q->cancel)
        ck_ok(engine_cancel(cx, e, q->cancel, &q->running));
    else
        ck_ok(engine_enqueue(cx, e, q->jobs, q->n));
    engine_free(e);
    pg_free(db);
    redis_free(redis);
    return OK;
}

static void enqueue(struct bench *b, struct job_new *jobs, size_t n)
{
    ck_ok(on_fiber(enqueue_body, &(struct enqueue){.url = b->url, .jobs = jobs, .n = n}));
}

static struct job_new job(char c, const char *task, const char *args)
{
    struct job_new j = qjob(c, true);

    j.task = task;
    j.args = args;
    return j;
}

static void enqueue1(struct bench *b, struct job_new j)
{
    enqueue(b, &j, 1);
}

static bool state_is(const struct bench *b, char c, const char *want)
{
    const char *is = pg_one(b->url, "SELECT state FROM jobs WHERE id = '%s'", qid(c));

    return is && strcmp(is, want) == 0;
}

static bool redis_forgot(char c)
{
    return strcmp(redis_one(stores.redis_url, "HEXISTS mw:{t}:jobs %s", qid(c)), "0") == 0;
}

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

/* worker_bench.h - a real mihwar-worker on stores of its own, and its jobs seen from outside.
 *
 *     struct bench b = new_bench();
 *     START_ON(&b, "t", "--lease", "1s");
 *     enqueue1(&b, job('a', "mihwar.noop", NULL));
 *     ck_wait(state_is(&b, 'a', "completed"), 5000);
 *     stop_worker(&b);
 */
#pragma once
#include "tests/integration/queue_state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- a worker and its stores */

struct bench {
    char url[192];
    struct proc *worker;
};
static struct proc *living; /* of a test that failed, for the next one's sake */

static inline void kill_living(void)
{
    living = proc_free(living);
}

/* A fresh Redis and a fresh, migrated database. */
static inline struct bench new_bench(void)
{
    static int number;
    struct bench b = {0};
    char name[32];

    redis_one(stores.redis_url, "FLUSHALL");
    snprintf(name, sizeof name, "w%d_%d", (int)getpid(), number++);
    stores_new_database(&stores, name, NULL, b.url);
    stores_migrate(b.url);
    return b;
}

/* options: words after the program's name, NULL-terminated. */
static inline void start_worker(struct bench *b, const char *queues, const char *const *options)
{
    static int number;
    char name[32], database[256], redis[192];
    const char *argv[32] = {built("worker/mihwar-worker"), "--worker-processes", "1",
                            "--worker-queues", queues};
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
#define START_ON(b, queues, ...)                                                                   \
    start_worker((b), (queues), (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static inline void stop_worker(struct bench *b)
{
    ck_assert_int_eq(proc_stop(b->worker, 20000), 0);
    b->worker = living = proc_free(b->worker);
}

static inline bool said(const struct bench *b, const char *words)
{
    _cleanup_(freep) char *log = proc_log(b->worker);

    return strstr(log, words) != NULL;
}

/* For a suite of such tests. */
static inline TCase *bench_case(Suite *s, const char *name, int timeout_s)
{
    TCase *tc = tcase_create(name);

    tcase_set_timeout(tc, timeout_s);
    tcase_add_checked_fixture(tc, NULL, kill_living);
    suite_add_tcase(s, tc);
    return tc;
}

/* ---------------------------------------------------------------- jobs, from outside */

struct enqueue {
    const char *url;
    struct job_new *jobs;
    size_t n;
    const char *cancel; /* an id to cancel instead */
    bool running;
};

static inline rc enqueue_body(struct cx *cx, void *arg)
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

static inline void enqueue(struct bench *b, struct job_new *jobs, size_t n)
{
    ck_ok(on_fiber(enqueue_body, &(struct enqueue){.url = b->url, .jobs = jobs, .n = n}));
}

static inline struct job_new job(char c, const char *task, const char *args)
{
    struct job_new j = qjob(c, true);

    j.task = task;
    j.args = args;
    return j;
}

static inline void enqueue1(struct bench *b, struct job_new j)
{
    enqueue(b, &j, 1);
}

static inline bool state_is(const struct bench *b, char c, const char *want)
{
    const char *is = pg_one(b->url, "SELECT state FROM jobs WHERE id = '%s'", qid(c));

    return is && strcmp(is, want) == 0;
}

static inline bool redis_forgot(char c)
{
    return strcmp(redis_one(stores.redis_url, "HEXISTS mw:{t}:jobs %s", qid(c)), "0") == 0;
}

/* An expression over its row. */
static inline const char *job_says(const struct bench *b, char c, const char *what)
{
    return pg_one(b->url, "SELECT %s FROM jobs WHERE id = '%s'", what, qid(c));
}

/* outcome:code of every attempt, in order. */
static inline const char *job_outcomes(const struct bench *b, char c)
{
    return pg_one(
        b->url,
        "SELECT coalesce(string_agg(outcome || coalesce(':' || error_code, ''), ' ' ORDER BY "
        "attempt), '') FROM job_attempts WHERE job_id = '%s'",
        qid(c));
}

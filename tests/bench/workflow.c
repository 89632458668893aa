/* workflow.c - a chord: a group of jobs that do nothing, and one behind them that has all their results.
 *
 *   bench_workflow [--jobs 9999] [--processes 2] [--concurrency 1000]
 *
 * From just before the workflow is written (one transaction) until the callback has ended, with a real mihwar-worker. Every
 * step is looked at afterwards. Private stores. One line of JSON. */
#include "base/clock.h"
#include "base/log.h"
#include "queue/flow/flow.h"
#include "tests/bench/bench.h"
#include "tests/bench/options.h"
#include "tests/support/on_fiber.h"
#include "tests/support/proc.h"
#include "tests/support/stores.h"

#define Q "bench"

static struct stores stores;
static int jobs = 9999, processes = 2, concurrency = 1000;
static int64_t written_us; /* it is in both stores */

static rc begin(struct cx *cx, void *arg)
{
    struct redis *redis;
    struct pg *db;

    (void)arg;
    cx->deadline_mono_ms = 0;
    try(redis_new(cx, stores.redis_url, &redis));
    try(pg_new(cx, stores.database_url, 2, &db));
    struct engine *e = engine_new(redis, db);
    struct flow *f = flow_new(cx);
    struct flow_node *all = flow_chain(f, NULL), *members = flow_group(f, all, FLOW_FAIL);
    for (int i = 0; i < jobs; i++)
        flow_job(f, members, &(struct job_new){.queue = Q, .task = "mihwar.noop"});
    flow_job(f, all, &(struct job_new){.queue = Q, .task = "mihwar.noop"});
    rc r = flow_start(cx, e, f);
    written_us = clock_mono_us();
    engine_free(e);
    redis_free(redis);
    pg_free(db);
    return r;
}

static long done(void)
{
    const char *n = redis_one(stores.redis_url, "HGET mw:{" Q "}:stats done");

    return n ? atol(n) : 0;
}

static struct proc *start_worker(void)
{
    char many[16], how_many[16];

    snprintf(many, sizeof many, "%d", concurrency);
    snprintf(how_many, sizeof how_many, "%d", processes);
    const char *argv[] = {built("worker/mihwar-worker"),
                          "--worker-processes",
                          how_many,
                          "--worker-queues",
                          Q,
                          "--worker-concurrency",
                          many,
                          NULL};
    const char *env[] = {"MIHWAR_LOG_LEVEL=warn", NULL};
    struct proc *worker =
        proc_start(&(struct proc_opts){.name = "worker", .argv = argv, .env = env});
    if (!wait_until(atoi(redis_one(stores.redis_url, "EXISTS mw:{" Q "}:epoch")) == 1, 10000))
        die("workflow", "the worker did not start");
    return worker;
}

static const struct option_row options[] = {
    {"jobs", .number = &jobs, .least = 1, .most = 9999},
    {"processes", .number = &processes, .least = 1, .most = 16},
    {"concurrency", .number = &concurrency, .least = 1, .most = 20000},
};

int main(int argc, char **argv)
{
    options_read(argc, argv, options, COUNT(options));
    stores_start(&stores, NULL);
    log_setup(stderr, LOG_WARN, LOG_LOGFMT);
    setenv("MIHWAR_REDIS_URL", stores.redis_url, 1);
    setenv("MIHWAR_DATABASE_URL", stores.database_url, 1);
    stores_migrate(stores.database_url);
    struct proc *worker = start_worker();
    int64_t start = clock_mono_us();

    if (on_fiber(begin, NULL) != OK)
        die("workflow", "it was not taken");
    while (done() < jobs + 1) {
        support_nap(2);
        if (!proc_alive(worker) || clock_mono_us() - start > 120 * INT64_C(1000000))
            die("workflow", "it did not end");
    }
    double took = (double)(clock_mono_us() - start) / 1e6;
    if (proc_stop(worker, 20000) != 0)
        die("workflow", "the worker did not end well");
    proc_free(worker);
    if (strcmp(pg_one(stores.database_url, "SELECT state FROM workflows"), "completed") != 0 ||
        pg_one_int(stores.database_url,
                   "SELECT count(*) FROM workflow_steps WHERE state <> 'done'") != 0 ||
        pg_one_int(stores.database_url,
                   "SELECT count(*) FROM job_attempts WHERE outcome = 'completed'") != jobs + 1)
        die("workflow", "not every member was completed once");
    printf("{\"case\":\"workflow\",\"value\":%.0f,\"unit\":\"members/s\",\"members\":%d,\"s\":%.3f,"
           "\"begun_s\":%.3f}\n",
           jobs / took, jobs, took, (double)(written_us - start) / 1e6);
    fflush(stdout);
    stores_stop(&stores);
    return support_end(0);
}

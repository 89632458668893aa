/* workflow.c - a chord: a group of jobs that do nothing, and one behind them that has all their results.
 *
 *   bench_workflow [--jobs 9999] [--processes 2] [--concurrency 1000]
 *
 * From just before the workflow is written (one transaction) until the callback has ended, with a real mihwar-worker. Every
 * step is looked at afterwards. Private stores. One line of JSON. */
#include "base/clock.h"
#include "queue/flow/flow.h"
#include "tests/bench/engine.h"
#include "tests/bench/options.h"
#include "tests/support/on_fiber.h"

#define Q "bench"

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

static const struct option_row options[] = {
    {"jobs", .number = &jobs, .least = 1, .most = 9999},
    {"processes", .number = &processes, .least = 1, .most = 16},
    {"concurrency", .number = &concurrency, .least = 1, .most = 20000},
};

int main(int argc, char **argv)
{
    options_read(argc, argv, options, COUNT(options));
    engine_bench_begin(&(struct stores_opts){.durable = true});
    struct proc *worker = engine_bench_worker("workflow", Q, processes, concurrency);
    int64_t start = clock_mono_us();

    if (on_fiber(begin, NULL) != OK)
        die("workflow", "it was not taken");
    while (engine_bench_done(Q) < jobs + 1) {
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

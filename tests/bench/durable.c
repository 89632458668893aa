/* durable.c - the whole life of durable jobs: row and push, claim, fenced end with its attempt's record, ack.
 *
 *   bench_durable [--jobs 60000] [--clients 2] [--batch 256] [--processes 2] [--concurrency 1000]
 *
 * `clients` processes enqueue mihwar.noop in batches (one transaction each) while a real mihwar-worker carries them out. From
 * the first enqueue until PostgreSQL has the last end. Every row is looked at afterwards: completed once, by one attempt.
 * Private stores that keep what they promise: fsync, an append-only file. One line of JSON. */
#include "base/clock.h"
#include "queue/queue.h"
#include "tests/bench/engine.h"
#include "tests/bench/options.h"
#include "tests/support/on_fiber.h"
#include <unistd.h>

#define Q "bench"

static int jobs = 60000, clients = 2, batch = 256, processes = 2, concurrency = 1000;

static rc enqueue_all(struct cx *cx, void *arg)
{
    int n = *(int *)arg;
    struct redis *redis;
    struct pg *db;
    struct job_new *j = xcalloc((size_t)batch, sizeof *j);

    cx->deadline_mono_ms = 0;
    try(redis_new(cx, stores.redis_url, &redis));
    try(pg_new(cx, stores.database_url, 2, &db));
    struct engine *e = engine_new(redis, db);
    rc r = OK;
    for (int done = 0; r == OK && done < n; done += batch) {
        for (int i = 0; i < batch; i++)
            j[i] = (struct job_new){.queue = Q,
                                    .task = "mihwar.noop",
                                    .args = args_200,
                                    .priority = JOB_PRIORITY,
                                    .durable = true};
        r = engine_enqueue(cx, e, j, (size_t)MIN(batch, n - done));
    }
    free(j);
    engine_free(e);
    redis_free(redis);
    pg_free(db);
    return r;
}

static long count(const char *sql)
{
    return atol(pg_one(stores.database_url, "%s", sql));
}

static const struct option_row options[] = {
    {"jobs", .number = &jobs, .least = 1, .most = 100000000},
    {"clients", .number = &clients, .least = 1, .most = 64},
    {"batch", .number = &batch, .least = 1, .most = QUEUE_BATCH},
    {"processes", .number = &processes, .least = 1, .most = 16},
    {"concurrency", .number = &concurrency, .least = 1, .most = 20000},
};

int main(int argc, char **argv)
{
    options_read(argc, argv, options, COUNT(options));
    engine_bench_begin(&(struct stores_opts){.durable = true});
    struct proc *worker = engine_bench_worker("durable", Q, processes, concurrency);
    int each = jobs / clients;
    double mine = children_cpu_us(), redis = info_cpu_us(redis_one(stores.redis_url, "INFO cpu"));
    int64_t start = clock_mono_us();

    for (int i = 0; i < clients; i++)
        if (fork() == 0)
            _exit(on_fiber(enqueue_all, &each) == OK ? 0 : 1);
    clients_end(clients, "durable");
    double enqueued = (double)(clock_mono_us() - start) / 1e6;
    jobs = each * clients;
    while (engine_bench_done(Q) < jobs) {
        support_nap(2);
        if (!proc_alive(worker) || clock_mono_us() - start > 120 * INT64_C(1000000))
            die("durable", "the worker did not finish");
    }
    double took = (double)(clock_mono_us() - start) / 1e6;
    redis = info_cpu_us(redis_one(stores.redis_url, "INFO cpu")) - redis;
    if (proc_stop(worker, 20000) != 0)
        die("durable", "the worker did not end well");
    proc_free(worker);
    if (count("SELECT count(*) FROM jobs WHERE state = 'completed'") != jobs ||
        count("SELECT count(*) FROM job_attempts WHERE outcome = 'completed'") != jobs)
        die("durable", "not every job was completed once");
    printf("{\"case\":\"durable\",\"value\":%.0f,\"unit\":\"jobs/"
           "s\",\"enqueue\":%.0f,\"redis_us_per_job\":%.2f,\"ours_us_per_job\":%.2f}\n",
           (double)jobs / took, (double)jobs / enqueued, redis / (double)jobs,
           (children_cpu_us() - mine) / (double)jobs);
    fflush(stdout);
    stores_stop(&stores);
    return support_end(0);
}

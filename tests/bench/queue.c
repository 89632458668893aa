/* queue.c - what the engine and the worker reach with jobs that do nothing.
 *
 *   bench_queue [--jobs 300000] [--clients 2] [--batch 128] [--probes 2000] [--concurrency 1000] [--scheduled 0]
 *
 *   enqueue   `clients` processes push broker jobs of 200 bytes in batches through engine_push
 *   drain     a real mihwar-worker with two processes carries them out (mihwar.noop); the queue
 *             was paused until it was ready
 *   scheduled jobs for tomorrow wait in the same queue meanwhile
 *   latency   one idle worker process; jobs come one by one; the task's first instruction reads
 *             the clock
 *
 * Private stores. One line of JSON per case. */
#include "base/clock.h"
#include "queue/internal.h"
#include "rt/supervisor.h"
#include "tests/bench/engine.h"
#include "tests/bench/options.h"
#include "tests/support/on_fiber.h"
#include "worker/pool.h"
#include "worker/tasks/builtin.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define Q "bench"

static int jobs = 300000, probes = 2000, clients = 2, batch = 128, concurrency = 1000, scheduled;

static double redis_cpu_us(void)
{
    return info_cpu_us(redis_one(stores.redis_url, "INFO cpu"));
}

static long counter(const char *name)
{
    const char *n = redis_one(stores.redis_url, "HGET mw:{" Q "}:stats %s", name);

    return n ? atol(n) : 0;
}

/* ---------------------------------------------------------------- enqueue */

struct share {
    int n;
    int64_t run_at_ms; /* 0: now */
};

static rc push_all(struct cx *cx, void *arg)
{
    const struct share *share = arg;
    int n = share->n;
    struct redis *redis;
    struct job_new *j = xcalloc((size_t)batch, sizeof *j);
    rc r = redis_new(cx, stores.redis_url, &redis);
    struct engine *e = engine_new(redis, NULL);

    cx->deadline_mono_ms = 0;
    for (int done = 0; r == OK && done < n; done += batch) {
        for (int i = 0; i < batch; i++)
            j[i] =
                (struct job_new){.queue = Q,
                                 .task = "mihwar.noop",
                                 .args = args_200,
                                 .priority = JOB_PRIORITY,
                                 .run_at_ms = share->run_at_ms ? share->run_at_ms + done + i : 0};
        r = engine_push(cx, e, j, (size_t)MIN(batch, n - done));
    }
    free(j);
    engine_free(e);
    redis_free(redis);
    return r;
}

static void push_by_clients(int n, int64_t run_at_ms, const char *what)
{
    struct share share = {n / clients, run_at_ms};

    for (int i = 0; i < clients; i++)
        if (fork() == 0)
            _exit(on_fiber(push_all, &share) == OK ? 0 : 1);
    clients_end(clients, what);
}

static void bench_enqueue(void)
{
    double redis = redis_cpu_us(), mine = children_cpu_us();
    int64_t start = clock_mono_us();

    jobs -= jobs % clients;
    push_by_clients(jobs, 0, "enqueue");
    double took = (double)(clock_mono_us() - start) / 1e6;
    printf("{\"case\":\"enqueue\",\"value\":%.0f,\"unit\":\"jobs/"
           "s\",\"batch\":%d,\"redis_us_per_job\":%.2f,"
           "\"client_us_per_job\":%.2f}\n",
           (double)jobs / took, batch, (redis_cpu_us() - redis) / (double)jobs,
           (children_cpu_us() - mine) / (double)jobs);
    fflush(stdout);
}

/* ---------------------------------------------------------------- drain */

static void bench_drain(void)
{
    double mine = children_cpu_us();
    /* Ready, and both children have looked at the paused queue. */
    struct proc *worker = engine_bench_worker("drain", Q, 2, concurrency);
    support_nap(500);
    if (counter("done") > 0)
        die("drain", "the worker claimed from a paused queue");
    pg_one(stores.database_url,
           "UPDATE queue_states SET paused = false WHERE queue = '" Q "' RETURNING 1");
    double redis = redis_cpu_us();
    int64_t start = clock_mono_us();
    redis_one(stores.redis_url, "DEL mw:{" Q "}:gate");
    redis_one(stores.redis_url, "ZADD mw:{" Q "}:wait 0 m");
    while (counter("done") < jobs) {
        support_nap(2);
        if (!proc_alive(worker) || clock_mono_us() - start > 60 * 1000000)
            die("drain", "the worker did not finish");
    }
    double took = (double)(clock_mono_us() - start) / 1e6;
    redis = redis_cpu_us() - redis;
    if (proc_stop(worker, 20000) != 0)
        die("drain", "the worker did not end well");
    proc_free(worker);
    printf("{\"case\":\"drain\",\"value\":%.0f,\"unit\":\"jobs/"
           "s\",\"redis_us_per_job\":%.2f,\"worker_us_per_job\":%.2f}\n",
           (double)jobs / took, redis / (double)jobs, (children_cpu_us() - mine) / (double)jobs);
    fflush(stdout);
}

/* ---------------------------------------------------------------- latency */

struct probes {
    volatile long started;
    int64_t took_us[];
};
static struct probes *seen;

static rc probe(struct cx *cx, struct job *job)
{
    seen->took_us[seen->started] = clock_mono_us() - atoll(job->args);
    seen->started++;
    return OK;
}

static int idle_worker(void)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("bench");
    struct settings s;
    struct pool pool = {0};

    task_noop.run = probe;
    if (settings_load(&cx, &s, NULL) != OK ||
        settings_set(&cx, &s, "worker_queues", Q, "bench") != OK || loop_init(&cx) != OK)
        return 1;
    registry_init(&s);
    if (pool_open(&cx, &s, held_new(1, HELD_SLOTS(s.worker_concurrency)), 0, &pool) != OK)
        return 1;
    child_signals(pool_drain, NULL, &pool);
    pool_start(&pool);
    loop_run();
    return 0;
}

static rc send_probes(struct cx *cx, void *arg)
{
    struct redis *redis;

    cx->deadline_mono_ms = 0;
    try(redis_new(cx, stores.redis_url, &redis));
    struct engine *e = engine_new(redis, NULL);
    rc r = OK;
    for (long i = 0; r == OK && i < probes; i++) {
        char at[24];
        struct job_new j = {
            .queue = Q, .task = "mihwar.noop", .args = at, .priority = JOB_PRIORITY};
        snprintf(at, sizeof at, "%lld", (long long)clock_mono_us());
        r = engine_push(cx, e, &j, 1);
        while (r == OK && seen->started <= i)
            r = fiber_sleep(cx, 1);
        if (r == OK)
            r = fiber_sleep(cx, 2); /* it acks and goes back to sleep */
    }
    engine_free(e);
    redis_free(redis);
    return r;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void bench_latency(void)
{
    int status;

    seen = mmap(NULL, sizeof *seen + (size_t)probes * sizeof(int64_t), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (seen == MAP_FAILED)
        die("latency", "no memory");
    redis_one(stores.redis_url, "FLUSHALL");
    pid_t worker = fork();
    if (worker == 0)
        _exit(idle_worker());
    if (!wait_until(atoi(redis_one(stores.redis_url, "EXISTS mw:{" Q "}:epoch")) == 1, 10000))
        die("latency", "the worker did not start");
    support_nap(200);
    if (on_fiber(send_probes, NULL) != OK)
        die("latency", "a probe could not be sent");
    kill(worker, SIGTERM);
    waitpid(worker, &status, 0);
    qsort(seen->took_us, (size_t)probes, sizeof(int64_t), by_size);
    printf("{\"case\":\"latency_p50\",\"value\":%.3f,\"unit\":\"ms\"}\n{\"case\":\"latency_p99\","
           "\"value\":%.3f,\"unit\":\"ms\"}\n",
           (double)seen->took_us[probes / 2] / 1000,
           (double)seen->took_us[probes * 99 / 100] / 1000);
}

static const struct option_row options[] = {
    {"jobs", .number = &jobs, .least = 1, .most = 100000000},
    {"clients", .number = &clients, .least = 1, .most = 64},
    {"batch", .number = &batch, .least = 1, .most = QUEUE_BATCH},
    {"probes", .number = &probes, .least = 0, .most = 1000000},
    {"concurrency", .number = &concurrency, .least = 1, .most = 100000},
    {"scheduled", .number = &scheduled, .least = 0, .most = 100000000},
};

int main(int argc, char **argv)
{
    options_read(argc, argv, options, COUNT(options));
    engine_bench_begin(NULL);
    /* Paused in both stores: the worker's rebuild asks PostgreSQL. */
    pg_one(stores.database_url,
           "INSERT INTO queue_states (queue, paused) VALUES ('" Q "', true) RETURNING 1");
    redis_one(stores.redis_url, "SET mw:{" Q "}:gate p{}");
    /* As in a house that is in use, Redis has an epoch before it has jobs: the first worker would look through all of them. */
    struct proc *first = engine_bench_worker("queue", Q, 1, 1);
    if (proc_stop(first, 20000) != 0)
        die("queue", "the first worker did not end well");
    proc_free(first);
    if (scheduled > 0)
        push_by_clients(scheduled, clock_ms() + 86400000, "scheduled");
    bench_enqueue();
    bench_drain();
    if (probes > 0)
        bench_latency();
    stores_stop(&stores);
    return support_end(0);
}

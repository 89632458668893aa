/* engine.h - what durable.c, workflow.c and queue.c have in common: stores of their own, which the programs they start find too, the
 * arguments of their jobs, and a real worker. */
#pragma once
#include "base/log.h"
#include "tests/bench/bench.h"
#include "tests/support/proc.h"
#include "tests/support/stores.h"
#include <stdlib.h>
#include <string.h>

static struct stores stores;
static char args_200[201]; /* a JSON number */

static inline void engine_bench_begin(const struct stores_opts *opts)
{
    memset(args_200, '1', sizeof args_200 - 1);
    stores_start(&stores, opts);
    log_setup(stderr, LOG_WARN, LOG_LOGFMT);
    setenv("MIHWAR_REDIS_URL", stores.redis_url, 1);
    setenv("MIHWAR_DATABASE_URL", stores.database_url, 1);
    stores_migrate(stores.database_url);
}

/* Jobs of the queue that were acknowledged. */
static inline long engine_bench_done(const char *queue)
{
    const char *n = redis_one(stores.redis_url, "HGET mw:{%s}:stats done", queue);

    return n ? atol(n) : 0;
}

/* mihwar-worker on one queue; it is ready. `bench` names who could not go on. */
static inline struct proc *engine_bench_worker(const char *bench, const char *queue, int processes,
                                               int concurrency)
{
    char many[16], how_many[16];

    snprintf(many, sizeof many, "%d", concurrency);
    snprintf(how_many, sizeof how_many, "%d", processes);
    const char *argv[] = {built("worker/mihwar-worker"),
                          "--worker-processes",
                          how_many,
                          "--worker-queues",
                          queue,
                          "--worker-concurrency",
                          many,
                          NULL};
    const char *env[] = {"MIHWAR_LOG_LEVEL=warn", NULL};
    struct proc *worker =
        proc_start(&(struct proc_opts){.name = "worker", .argv = argv, .env = env});
    if (!wait_until(atoi(redis_one(stores.redis_url, "EXISTS mw:{%s}:epoch", queue)) == 1, 10000))
        die(bench, "the worker did not start");
    return worker;
}

/* engine.h - where durable.c and queue.c begin: stores of their own, which the programs they start find too, and the arguments of
 * their jobs. */
#pragma once
#include "base/log.h"
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

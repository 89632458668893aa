/* pg_world.h - what the tests of lib/pg stand on: one server, a table t and a child, and a few
 * statements.
 *
 * Every test gets the tables empty. SIDE speaks to the server past lib/pg, as another client would.
 */
#pragma once
#include "base/clock.h"
#include "pg/pg_array.h"
#include "tests/support/fibers.h"
#include "tests/support/stores.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct stores stores;

#define SIDE(...)     pg_one(stores.database_url, __VA_ARGS__)
#define SIDE_INT(...) pg_one_int(stores.database_url, __VA_ARGS__)

static inline void table_setup(void)
{
    SIDE("DROP TABLE IF EXISTS child, t");
    SIDE("CREATE TABLE t (id bigint PRIMARY KEY, n bigint NOT NULL DEFAULT 0 CONSTRAINT n_positive "
         "CHECK (n >= 0),"
         " note text, at timestamptz, b bytea, j jsonb, yes boolean)");
    SIDE("CREATE TABLE child (parent bigint CONSTRAINT child_parent REFERENCES t (id) DEFERRABLE "
         "INITIALLY DEFERRED)");
}

/* Backends of lib/pg that are in a transaction right now. */
static inline int64_t open_transactions(void)
{
    return SIDE_INT("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'test_pg%%'"
                    " AND state <> 'idle' AND pid <> pg_backend_pid()");
}

#define OTHERS                                                                                     \
    " FROM pg_stat_activity WHERE application_name LIKE 'test_pg%%' AND pid <> pg_backend_pid()"

static const struct sql GET = {"t_get", "SELECT n, note, at, b, j, yes FROM t WHERE id = $1", 1,
                               true};
static const struct sql PUT = {"t_put", "INSERT INTO t (id, n) VALUES ($1, $2)", 2, false};
static const struct sql PUT_ALL = {
    "t_put_all", "INSERT INTO t (id, n, note, at, b, j, yes) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    7, false};
static const struct sql ADD = {"t_add", "UPDATE t SET n = n + $2 WHERE id = $1", 2, false};
static const struct sql ECHO = {"t_echo", "SELECT $1::bigint + 1", 1, true};
static const struct sql DIVIDE = {"t_divide", "SELECT 10 / $1::bigint", 1, true};
static const struct sql UNKNOWN = {"t_unknown", "SELECT nothing FROM nowhere", 0, true};
static const struct sql NAP = {"t_nap", "SELECT pg_sleep($1::text::float8)", 1, true};
static const struct sql PUT_NAP = {
    "t_put_nap", "INSERT INTO t (id, note) SELECT $1, pg_sleep($2::text::float8)::text", 2, false};
static const struct sql PID = {"t_pid", "SELECT pg_backend_pid()", 0, true};
static const struct sql CHILD = {"t_child", "INSERT INTO child VALUES ($1)", 1, false};
static const struct sql REPEATABLE = {"t_repeatable",
                                      "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", 0, false};

/* Every body gets a database of its own making and gives it back, so that leaks and open waits
 * show. */
static inline rc with_db(struct cx *cx, int pool, rc (*fn)(struct cx *cx, struct pg *db))
{
    struct pg *db;

    try(pg_new(cx, stores.database_url, pool, &db));
    rc r = fn(cx, db);
    pg_free(db);
    return r;
}

#define PG_TEST(name, pool)                                                                        \
    static rc name##_body(struct cx *cx, struct pg *db);                                           \
    static rc name##_fiber(struct cx *cx, void *arg)                                               \
    {                                                                                              \
        return with_db(cx, (pool), name##_body);                                                   \
    }                                                                                              \
    START_TEST(name)                                                                               \
    {                                                                                              \
        ck_ok(on_fiber(name##_fiber, NULL));                                                       \
    }                                                                                              \
    END_TEST                                                                                       \
    static rc name##_body(struct cx *cx, struct pg *db)

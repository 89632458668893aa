/* test_doctor.c - each thing that the doctor looks for is found when it is there.
 *
 * What a server would need hours for (an old transaction, dead rows, a clock that is wrong) is shown to the doctor's own
 * connection by a schema that stands before pg_catalog and public. */
#include "base/clock.h"
#include "domain/doctor.h"
#include "queue/workers.h"
#include "tests/integration/queue_state.h"
#include "tests/support/proc.h"
#include <stdio.h>
#include <string.h>

static const struct finding *worst(const struct finding *f, size_t n, const char *check)
{
    const struct finding *bad = NULL;

    for (size_t i = 0; i < n; i++)
        if (strcmp(f[i].check, check) == 0 && (!bad || f[i].level > bad->level))
            bad = &f[i];
    return bad;
}

static void expect(struct cx *cx, struct qtest *t, struct pg *db, const char *title,
                   const char *check, enum finding_level level, const char *words)
{
    struct settings settings = {.epoch_every = 5000};
    const struct doctor d = {.settings = &settings, .db = db, .redis = t->redis, .engine = t->e};
    struct finding *f;
    size_t n;

    ck_ok(doctor_look(cx, &d, &f, &n));
    const struct finding *found = worst(f, n, check);
    ck_assert_msg(found != NULL, "%s: nothing is said of %s", title, check);
    ck_assert_msg(found->level == level, "%s: %s is %s: %s", title, check,
                  finding_word(found->level), found->found);
    ck_assert_msg(!words || strstr(found->found, words), "%s: %s", title, found->found);
    ck_assert_msg((found->todo != NULL) == (level != FINDING_OK), "%s", title);
}

/* ---------------------------------------------------------------- PostgreSQL */

#define SETTING(name, value)                                                                       \
    "CREATE FUNCTION mock.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT CASE $1 "   \
    "WHEN '" name "' THEN '" value "' ELSE pg_catalog.current_setting($1) END $$"
#define CLOCK(off)                                                                                 \
    "CREATE FUNCTION mock.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "                  \
    "$$ SELECT pg_catalog.clock_timestamp() + interval '" off "' $$"
#define ACTIVITY(age, rows)                                                                        \
    "CREATE VIEW mock.pg_stat_activity AS SELECT 7 AS pid, 'till'::text AS application_name, "     \
    "'idle in transaction'::text AS state, now() - interval '" age "' AS xact_start, "             \
    "'client backend'::text AS backend_type FROM generate_series(1, " rows ")"
#define TABLES(dead, live)                                                                         \
    "CREATE VIEW mock.pg_stat_user_tables AS SELECT 'jobs'::name AS relname, " dead                \
    "::bigint AS n_dead_tup, " live "::bigint AS n_live_tup, NULL::timestamptz AS last_autovacuum"
#define FROZEN(age)                                                                                \
    "CREATE FUNCTION mock.age(xid) RETURNS integer LANGUAGE sql AS $$ SELECT " age " $$"

static const struct {
    const char *title, *there, *check;
    enum finding_level level;
    const char *words;
} pg_rows_[] = {
    {"a quiet server", "SELECT 1", "pg-transactions", FINDING_OK, NULL},
    {"many dead rows", TABLES("20000", "50000"), "pg-dead-rows", FINDING_WARN,
     "jobs has 20000 dead rows beside 50000 living; vacuumed last: never"},
    {"more dead than living", TABLES("200000", "50000"), "pg-dead-rows", FINDING_BAD, NULL},
    {"few among many", TABLES("20000", "5000000"), "pg-dead-rows", FINDING_OK, NULL},
    {"what may not be asked", TABLES("(1/(random() * 0)::integer)", "1"), "pg-dead-rows",
     FINDING_WARN, "could not be looked at"},
    {"a transaction of ten minutes", ACTIVITY("10 minutes", "1"), "pg-transactions", FINDING_WARN,
     "began 600 s ago: 7 (till, idle in transaction)"},
    {"a transaction of two hours", ACTIVITY("2 hours", "1"), "pg-transactions", FINDING_BAD, NULL},
    {"connections run out", ACTIVITY("1 second", "current_setting('max_connections')::integer"),
     "pg-connections", FINDING_BAD, "connections are taken"},
    {"no autovacuum", SETTING("autovacuum", "off"), "pg-autovacuum", FINDING_BAD,
     "autovacuum is off"},
    {"no fsync", SETTING("fsync", "off"), "pg-durability", FINDING_WARN, "fsync is off"},
    {"rows to be frozen", FROZEN("600000000"), "pg-wraparound", FINDING_WARN, NULL},
    {"the end is near", FROZEN("1600000000"), "pg-wraparound", FINDING_BAD, "1600000000"},
    {"a clock that is ahead", CLOCK("5 seconds"), "clock-postgresql", FINDING_WARN, "ahead of"},
    {"a clock that is behind", CLOCK("-1 minute"), "clock-postgresql", FINDING_BAD, "behind"},
    {"no partitions",
     "CREATE FUNCTION mock.to_regclass(text) RETURNS regclass LANGUAGE sql AS $$ SELECT CASE WHEN "
     "$1 LIKE 'command_history%' THEN NULL ELSE pg_catalog.to_regclass($1) END $$",
     "history-partitions", FINDING_BAD, "for 0 of this and the next two months"},
    {"rows of no partition", "CREATE VIEW mock.command_history_default AS SELECT 1 AS id",
     "history-partitions", FINDING_WARN, "rows lie in the default one"},
    {"a schema of tomorrow or of yesterday",
     "CREATE VIEW mock.schema_steps AS SELECT * FROM public.schema_steps WHERE number < 20",
     "pg-schema", FINDING_BAD, NULL},
    {"an epoch that stands",
     "CREATE VIEW mock.engine_epoch AS SELECT now() - interval '10 minutes' AS advanced_at",
     "epoch", FINDING_BAD, "600 s ago"},
    {"jobs that Redis does not know",
     "CREATE VIEW mock.jobs AS SELECT gen_random_uuid() AS id, 't'::text AS queue, true AS live, "
     "now() - interval '2 minutes' AS updated_at FROM generate_series(1, 3)",
     "jobs-unpushed", FINDING_BAD, "3 of the 3 oldest"},
};

QTEST(postgresql, true)
{
    const char *url = arena_printf(&cx->arena, "%s&options=-csearch_path%%3Dmock,pg_catalog,public",
                                   t->database_url);

    for (size_t i = 0; i < COUNT(pg_rows_); i++) {
        struct pg *db;
        pg_one(t->database_url, "DROP SCHEMA IF EXISTS mock CASCADE");
        pg_one(t->database_url, "CREATE SCHEMA mock");
        pg_one(t->database_url, "%s", pg_rows_[i].there);
        ck_ok(pg_new(cx, url, 1, &db));
        expect(cx, t, db, pg_rows_[i].title, pg_rows_[i].check, pg_rows_[i].level,
               pg_rows_[i].words);
        pg_free(db);
    }
    return OK;
}

/* ---------------------------------------------------------------- Redis, and what it knows */

static void theirs(struct cx *cx, struct qtest *t)
{
    (void)cx, (void)t;
    redis_one(stores.redis_url, "SET theirs 1");
}
static void theirs_for_a_while(struct cx *cx, struct qtest *t)
{
    (void)cx, (void)t;
    redis_one(stores.redis_url, "SET theirs 1 EX 1000");
}
/* The directory it writes to is gone. */
static void cannot_save(struct cx *cx, struct qtest *t)
{
    _cleanup_(redis_reply_freep) redisReply *r = NULL;

    ck_ok(redis_cmd(cx, t->redis, &r, "CONFIG GET dir"));
    ck_assert_int_eq(
        proc_run(
            &(struct proc_opts){.name = "rm",
                                .argv = (const char *[]){"rm", "-r", r->element[1]->str, NULL}},
            NULL, 10000, NULL, NULL),
        0);
    redis_one(stores.redis_url, "BGSAVE");
    ck_wait(strstr(redis_one(stores.redis_url, "INFO persistence"), "rdb_last_bgsave_status:err"),
            30000);
}
static void card(struct cx *cx, struct qtest *t, const char *json)
{
    bool drain;

    ck_ok(workers_beat(cx, t->e, &(struct worker_beat){.name = "host:1", .card = json}, &drain));
}
static void worker(struct cx *cx, struct qtest *t)
{
    card(cx, t,
         "{\"kind\":\"worker\",\"queues\":[{\"name\":\"t\"}],\"tasks\":[],\"concurrency\":1}");
}
static void silent(struct cx *cx, struct qtest *t)
{
    worker(cx, t);
    redis_one(stores.redis_url, "ZADD mw:{:workers}:seen %lld host:1",
              (long long)(clock_ms() - 60000));
}
static void duty(struct cx *cx, struct qtest *t)
{
    card(cx, t,
         "{\"kind\":\"beat\",\"duties\":[{\"name\":\"beat.history\",\"error\":\"no disk\"}]}");
}
static void beat(struct cx *cx, struct qtest *t)
{
    card(cx, t, "{\"kind\":\"beat\",\"duties\":[{\"name\":\"beat.history\",\"error\":null}]}");
}
static void waiting(struct cx *cx, struct qtest *t)
{
    qenqueue(cx, t, qjob('a', false));
}
static void served(struct cx *cx, struct qtest *t)
{
    waiting(cx, t);
    worker(cx, t);
}
static void paused(struct cx *cx, struct qtest *t)
{
    served(cx, t);
    ck_ok(engine_pause(cx, t->e, Q, true));
}

static const struct {
    const char *title, *memory, *policy;
    void (*before)(struct cx *cx, struct qtest *t);
    const char *check;
    enum finding_level level;
    const char *words;
} redis_rows[] = {
    {"no ceiling", "0", "noeviction", NULL, "redis-memory", FINDING_WARN, "no maxmemory"},
    {"a ceiling", "1gb", "noeviction", NULL, "redis-memory", FINDING_OK, "of 1024 MB"},
    {"it would forget jobs", "0", "allkeys-lru", NULL, "redis-eviction", FINDING_WARN,
     "maxmemory-policy is allkeys-lru"},
    {"it forgets jobs", "1gb", "allkeys-lru", NULL, "redis-eviction", FINDING_BAD, NULL},
    {"it forgets none", "1gb", "noeviction", NULL, "redis-eviction", FINDING_OK, NULL},
    {"keys of others", "0", "noeviction", theirs, "redis-keys", FINDING_WARN, "such as 'theirs'"},
    {"keys of others that expire", "0", "noeviction", theirs_for_a_while, "redis-keys", FINDING_OK,
     NULL},
    {"its clock", "0", "noeviction", NULL, "clock-redis", FINDING_OK, NULL},
    {"nobody works", "0", "noeviction", NULL, "workers", FINDING_BAD, "0 worker processes claim"},
    {"somebody works", "0", "noeviction", worker, "workers", FINDING_OK, "1 worker processes"},
    {"a process fell silent", "0", "noeviction", silent, "worker-heartbeat", FINDING_WARN,
     "1 processes"},
    {"a duty fails", "0", "noeviction", duty, "duties", FINDING_BAD,
     "beat.history failed: no disk"},
    {"no duty fails", "0", "noeviction", beat, "duties", FINDING_OK, "1 beat"},
    {"a queue without workers", "0", "noeviction", waiting, "queue-workers", FINDING_BAD,
     "nobody works on queue 't': 1 jobs are ready"},
    {"a queue with workers", "0", "noeviction", served, "queue-workers", FINDING_OK, NULL},
    {"a paused queue", "0", "noeviction", paused, "queue-paused", FINDING_WARN,
     "queue 't' is paused, 1 jobs are ready"},
    {"full", "1mb", "noeviction", NULL, "redis-memory", FINDING_BAD, "of 1 MB"},
    {"snapshots", "0", "noeviction", NULL, "redis-persistence", FINDING_OK, NULL},
    {"it cannot write", "0", "noeviction", cannot_save, "redis-persistence", FINDING_BAD,
     "could not write"},
};

QTEST(redis, true)
{
    for (size_t i = 0; i < COUNT(redis_rows); i++) {
        redis_one(stores.redis_url, "CONFIG SET maxmemory 0");
        redis_one(stores.redis_url, "FLUSHALL");
        redis_one(stores.redis_url, "SET mw:{t}:epoch 1");
        if (redis_rows[i].before)
            redis_rows[i].before(cx, t);
        redis_one(stores.redis_url, "CONFIG SET maxmemory %s", redis_rows[i].memory);
        redis_one(stores.redis_url, "CONFIG SET maxmemory-policy %s", redis_rows[i].policy);
        expect(cx, t, t->db, redis_rows[i].title, redis_rows[i].check, redis_rows[i].level,
               redis_rows[i].words);
    }
    return OK;
}

static Suite *suite(void)
{
    Suite *s = suite_create("doctor");
    TCase *tc = tcase_create("doctor");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, postgresql);
    tcase_add_test(tc, redis); /* its last row leaves it without a directory */
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, NULL, suite);
}

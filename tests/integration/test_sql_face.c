/* test_sql_face.c - mw_enqueue, mw_complete, mw_cancel as an application calls them: its own transactions, its own user,
 * and what becomes of it in Redis. */
#include "base/clock.h"
#include "queue/options.h"
#include "queue/outbox.h"
#include "tests/integration/worker_bench.h"

static const char *url;

static void fresh(void)
{
    static char own[192];
    static int number;
    char name[32];

    snprintf(name, sizeof name, "sql%d_%d", (int)getpid(), number++);
    stores_new_database(&stores, name, NULL, own);
    stores_migrate(own);
    url = own;
    redis_one(stores.redis_url, "FLUSHALL");
}

/* ---------------------------------------------------------------- what it takes */

static const struct {
    const char *title, *call, *want; /* want NULL: taken; else words of the refusal */
} calls[] = {
    {"a task alone", "'mail.send'", NULL},
    {"positional", "'t', '{\"a\":[1]}', 'mail'", NULL},
    {"everything",
     "'t', args => '{}', queue => 'q', run_at => now() + interval '1h', priority => 9, "
     "max_attempts => 3, "
     "timeout_ms => 5000, unique_key => 'k', unique_until => 'start', expires_at => now() + "
     "interval '2h', "
     "soft_timeout_ms => 4000, result_ttl_ms => 60000, limit_key => 'a:b@c', subject => 's', "
     "tenant_id => '00000000-0000-7000-8000-00000000000a', trace => 'x'",
     NULL},
    {"a window", "'t', unique_key => 'k', unique_for_ms => 1000", NULL},
    {"nulls", "'t', NULL, NULL, priority => NULL", NULL},
    {"no task", "NULL", "a task's name"},
    {"a task with a blank", "'a b'", "a task's name"},
    {"129 characters", "repeat('t', 129)", "a task's name"},
    {"a queue in capitals", "'t', queue => 'Mail'", "a queue's name"},
    {"a queue with a newline", "'t', queue => E'mail\\n'", "a queue's name"},
    {"too many arguments", "'t', json_build_array(repeat('x', 262200))", "262144 bytes"},
    {"no JSON", "'t', 'x'", "invalid input syntax for type json"},
    {"priority 10", "'t', priority => 10", "priority is 0 to 9, not 10"},
    {"priority -1", "'t', priority => -1", "priority is 0 to 9"},
    {"no attempts", "'t', max_attempts => 0", "max_attempts is 1 to 1000"},
    {"eight days", "'t', timeout_ms => 691200000", "timeout_ms is 1 to 604800000"},
    {"before 1970", "'t', run_at => '1969-12-31'", "before 1970"},
    {"never", "'t', run_at => 'infinity'", "or never"},
    {"a key with a tab", "'t', unique_key => E'a\\tb'", "control characters"},
    {"an empty key", "'t', unique_key => ''", "1 to 255 bytes"},
    {"256 bytes of key", "'t', unique_key => repeat('k', 256)", "1 to 255 bytes"},
    {"a mode without a key", "'t', unique_until => 'start'", "what shall be unique"},
    {"an unknown mode", "'t', unique_key => 'k', unique_until => 'end'", "start or finish"},
    {"two modes", "'t', unique_key => 'k', unique_until => 'start', unique_for_ms => 5",
     "not both"},
    {"a limit's key with a blank", "'t', limit_key => 'a b'", "a limit's key"},
    {"a ttl of two years", "'t', result_ttl_ms => 63072000000", "result_ttl_ms is 1 to"},
    {"a subject of 129", "'t', subject => repeat('s', 129)", "1 to 128 bytes"},
};

START_TEST(takes_what_c_takes)
{
    const char *words = NULL;

    if (_i == 0)
        fresh();
    const char *id = pg_try(url, &words, "SELECT mw_enqueue(%s)", calls[_i].call);
    ck_assert_msg((id == NULL) == (calls[_i].want != NULL), "case: %s: %s", calls[_i].title,
                  id ? id : words);
    ck_assert_msg(id || strstr(words, calls[_i].want), "case: %s: %s", calls[_i].title, words);
}
END_TEST

/* What it stores is read by C as it was meant. */
static rc options_body(struct cx *cx, void *arg)
{
    const struct job_options *o = job_options_parse(cx, arg);

    ck_assert_ptr_nonnull(o);
    ck_assert_int_eq(o->soft_ms, 4000);
    ck_assert_int_eq(o->result_ttl_ms, 60000);
    ck_assert_int_eq(o->unique, JOB_UNIQUE_START);
    ck_assert_str_eq(o->limit_key, "a:b@c");
    ck_assert_int_eq(o->expires_at_ms, INT64_C(1795248000123));
    return OK;
}

START_TEST(options_are_those_of_c)
{
    char text[1024];

    fresh();
    pg_one(url, "SELECT mw_enqueue('t', unique_key => 'k', unique_until => 'start', "
                "soft_timeout_ms => 4000, result_ttl_ms => 60000, "
                "limit_key => 'a:b@c', expires_at => to_timestamp(1795248000.123))");
    snprintf(text, sizeof text, "%s", pg_one(url, "SELECT options FROM jobs"));
    ck_ok(on_fiber(options_body, text));
    ck_assert_str_eq(pg_one(url, "SELECT substr(mw_enqueue('t')::text, 15, 1)"), "7");
    ck_assert_int_eq(pg_one_int(url, "SELECT count(*) FROM jobs WHERE options IS NULL"), 1);
}
END_TEST

/* ---------------------------------------------------------------- transactions */

static struct proc *psql(const char *text)
{
    const char *argv[] = {"/usr/lib/postgresql/15/bin/psql",
                          "-X",
                          "-q",
                          "-v",
                          "ON_ERROR_STOP=1",
                          "-d",
                          url,
                          "-c",
                          text,
                          NULL};

    return proc_start(&(struct proc_opts){.name = "psql", .argv = argv});
}

static int status_of(struct proc *p)
{
    int status = proc_wait(p, 30000);

    proc_free(p);
    return status;
}

static rc empty_body(struct cx *cx, void *arg)
{
    struct redis *redis;
    struct pg *db;

    ck_ok(redis_new(cx, stores.redis_url, &redis));
    ck_ok(pg_new(cx, url, 2, &db));
    struct engine *e = engine_new(redis, db);
    ck_ok(outbox_empty(cx, e, arg));
    engine_free(e);
    pg_free(db);
    redis_free(redis);
    return OK;
}

static int64_t empty_outbox(void)
{
    int64_t pushed = 0;

    ck_ok(on_fiber(empty_body, &pushed));
    ck_assert_int_eq(pg_one_int(url, "SELECT count(*) FROM job_outbox"), 0);
    return pushed;
}

START_TEST(a_transaction_is_kept_as_a_whole)
{
    fresh();
    ck_assert_int_eq(status_of(psql("BEGIN; SELECT mw_enqueue('t'); ROLLBACK")), 0);
    ck_assert_int_eq(pg_one_int(url, "SELECT count(*) FROM jobs"), 0);
    ck_assert_int_eq(
        status_of(psql(
            "BEGIN; SELECT mw_enqueue('t', queue => 't') FROM generate_series(1, 1000); COMMIT")),
        0);
    empty_outbox(); /* a queue that Redis has never heard of: rebuilt on the way */
    ck_assert_str_eq(redis_one(stores.redis_url, "HLEN mw:{t}:jobs"), "1000");
    ck_assert_int_eq(
        status_of(psql(
            "BEGIN; SELECT mw_enqueue('t', queue => 't') FROM generate_series(1, 1000); COMMIT")),
        0);
    ck_assert_int_eq(empty_outbox(), 1000);
    ck_assert_str_eq(redis_one(stores.redis_url, "HLEN mw:{t}:jobs"), "2000");
    ck_assert_int_eq(empty_outbox(), 0);
}
END_TEST

/* Eight sessions at once: one job per key and per id, everybody hears the first's id. */
START_TEST(sessions_at_once_agree)
{
    static const char *const ways[] = {"unique_key => 'k'",
                                       "unique_key => 'w', unique_for_ms => 600000",
                                       "id => '00000000-0000-7000-8000-000000000001'"};
    struct proc *p[8];

    fresh();
    pg_one(url, "CREATE TABLE heard (way int, id uuid); SELECT 1");
    for (size_t w = 0; w < COUNT(ways); w++) {
        char text[300];
        snprintf(text, sizeof text,
                 "BEGIN; INSERT INTO heard SELECT %zu, mw_enqueue('t', %s); SELECT pg_sleep(0.05); "
                 "COMMIT",
                 w, ways[w]);
        for (size_t i = 0; i < COUNT(p); i++)
            p[i] = psql(text);
        for (size_t i = 0; i < COUNT(p); i++)
            ck_assert_int_eq(status_of(p[i]), 0);
    }
    ck_assert_str_eq(pg_one(url, "SELECT string_agg(n || '/' || ids, ' ') FROM (SELECT count(*) AS "
                                 "n, count(DISTINCT id) AS ids FROM heard GROUP BY way) x"),
                     "8/1 8/1 8/1");
    ck_assert_int_eq(pg_one_int(url, "SELECT count(*) FROM jobs"), 3);
}
END_TEST

/* ---------------------------------------------------------------- who may */

START_TEST(execute_is_enough_and_needed)
{
    const char *words = NULL;
    static const char as_app[] = "SET ROLE sql_app; SELECT mw_enqueue('t')";

    fresh();
    pg_one(url, "DROP ROLE IF EXISTS sql_app; CREATE ROLE sql_app; SELECT 1");
    ck_assert_int_ne(status_of(psql(as_app)), 0);
    pg_one(url,
           "GRANT EXECUTE ON FUNCTION mw_enqueue, mw_complete, mw_cancel TO sql_app; SELECT 1");
    ck_assert_int_eq(status_of(psql(as_app)), 0);
    ck_assert_int_ne(status_of(psql("SET ROLE sql_app; SELECT * FROM jobs")), 0);
    /* what lies in a temporary table of the caller is not what the function writes */
    ck_assert_int_eq(
        status_of(
            psql("SET ROLE sql_app; CREATE TEMP TABLE jobs (id uuid); SELECT mw_enqueue('t')")),
        0);
    ck_assert_int_eq(pg_one_int(url, "SELECT count(*) FROM jobs"), 2);
    (void)words;
    pg_one(url, "DROP OWNED BY sql_app; DROP ROLE sql_app; SELECT 1");
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("sql_face");
    TCase *tc = tcase_create("sql_face");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, takes_what_c_takes, 0, COUNT(calls));
    tcase_add_test(tc, options_are_those_of_c);
    tcase_add_test(tc, a_transaction_is_kept_as_a_whole);
    tcase_add_test(tc, sessions_at_once_agree);
    tcase_add_test(tc, execute_is_enough_and_needed);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main_unforked(&stores, NULL, NULL, suite); /* the cases share a database */
}

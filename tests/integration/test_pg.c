/* test_pg.c - lib/pg against a real PostgreSQL: values, failures, pipelines, transactions, losses.
 *
 * Every test gets an empty table t and child; `side` speaks to the server past lib/pg, as another
 * client would. */
#include "base/clock.h"
#include "base/inject.h"
#include "pg/pg_array.h"
#include "rt/waitq.h"
#include "tests/support/fibers.h"
#include "tests/support/stores.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct stores stores;

#define SIDE(...)     pg_one(stores.database_url, __VA_ARGS__)
#define SIDE_INT(...) pg_one_int(stores.database_url, __VA_ARGS__)

static void table_setup(void)
{
    SIDE("DROP TABLE IF EXISTS child, t");
    SIDE("CREATE TABLE t (id bigint PRIMARY KEY, n bigint NOT NULL DEFAULT 0 CONSTRAINT n_positive "
         "CHECK (n >= 0),"
         " note text, at timestamptz, b bytea, j jsonb, yes boolean)");
    SIDE("CREATE TABLE child (parent bigint CONSTRAINT child_parent REFERENCES t (id) DEFERRABLE "
         "INITIALLY DEFERRED)");
}

/* Backends of lib/pg that are in a transaction right now. */
static int64_t open_transactions(void)
{
    return SIDE_INT("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test_pg'"
                    " AND state <> 'idle' AND pid <> pg_backend_pid()");
}

#define OTHERS                                                                                     \
    " FROM pg_stat_activity WHERE application_name = 'test_pg' AND pid <> pg_backend_pid()"

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
static rc with_db(struct cx *cx, int pool, rc (*fn)(struct cx *cx, struct pg *db))
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

/* ---------------------------------------------------------------- values */

PG_TEST(values_come_and_go, 1)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    unsigned char all[256];
    size_t n;
    int64_t at;

    for (int i = 0; i < 256; i++)
        all[i] = (unsigned char)i;
    ck_assert(clock_parse("2026-01-05T10:11:12.345Z", &at));
    ck_ok(pg_do(cx, db, PUT_ALL, &r, pg_i(INT64_MIN), pg_i(INT64_MAX), pg_s("محور \\ ' \" $1"),
                pg_t(at), pg_bytes(all, sizeof all), pg_s("{\"a\": [1, null]}"), pg_b(true)));
    ck_assert_int_eq(pg_affected(r), 1);
    pg_result_freep(&r);

    ck_ok(pg_do(cx, db, GET, &r, pg_i(INT64_MIN)));
    ck_assert_int_eq(pg_rows(r), 1);
    ck_assert(pg_int(r, 0, 0) == INT64_MAX);
    ck_assert_str_eq(pg_col(r, 0, "note"), "محور \\ ' \" $1");
    ck_assert(pg_ms(r, 0, 2) == at);
    const unsigned char *b = pg_get_bytes(cx, r, 0, 3, &n);
    ck_assert_uint_eq(n, sizeof all);
    ck_assert_mem_eq(b, all, n);
    ck_assert_str_eq(pg_text(r, 0, 4), "{\"a\": [1, null]}");
    ck_assert(pg_bool(r, 0, 5));
    return OK;
}

PG_TEST(null_is_null, 1)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    size_t n = 7;

    ck_ok(pg_do(cx, db, PUT_ALL, NULL, pg_i(1), pg_i(0), pg_s(NULL), pg_t(0), pg_bytes(NULL, 0),
                pg_s(NULL), pg_s(NULL)));
    ck_ok(pg_do(cx, db, GET, &r, pg_i(1)));
    ck_assert_ptr_null(pg_text(r, 0, 1));
    ck_assert(pg_ms(r, 0, 2) == 0);
    ck_assert_ptr_null(pg_get_bytes(cx, r, 0, 3, &n));
    ck_assert_uint_eq(n, 0);
    ck_assert(!pg_bool(r, 0, 5));
    ck_assert_int_eq(SIDE_INT("SELECT num_nulls(note, at, b, j, yes) FROM t"), 5);
    pg_result_freep(&r);

    ck_ok(pg_do(cx, db, PUT_ALL, NULL, pg_i(2), pg_i(0), pg_s(""), pg_t(0), pg_bytes("", 0),
                pg_s(NULL), pg_b(false)));
    ck_ok(pg_do(cx, db, GET, &r, pg_i(2)));
    ck_assert_str_eq(pg_text(r, 0, 1), "");
    ck_assert_ptr_nonnull(pg_get_bytes(cx, r, 0, 3, &n));
    ck_assert_uint_eq(n, 0);
    pg_result_freep(&r);
    ck_ok(pg_do(cx, db, GET, &r, pg_i(3)));
    ck_assert_int_eq(pg_rows(r), 0);
    return OK;
}

static const char *const nasty[] = {
    "plain",
    "",
    "NULL",
    NULL,
    "a,b",
    "{x}",
    "\"",
    "\\",
    "\\\"",
    " space ",
    "line\nbreak",
    "محور",
    "','); DROP TABLE t; --",
};

PG_TEST(arrays_keep_every_value, 1)
{
    static const struct sql put = {"a_put",
                                   "INSERT INTO t (id, n, note, at, b, j, yes)"
                                   " SELECT * FROM unnest($1::int8[], $2::int8[], $3::text[], "
                                   "$4::timestamptz[], $5::bytea[], $6::jsonb[],"
                                   " $7::bool[])",
                                   7, false};
    _cleanup_(pg_array_release) struct pg_array id = PG_ARRAY(KiB(64)), n = PG_ARRAY(KiB(64)),
                                                note = PG_ARRAY(KiB(64)), at = PG_ARRAY(KiB(64)),
                                                b = PG_ARRAY(KiB(64)), j = PG_ARRAY(KiB(64)),
                                                yes = PG_ARRAY(KiB(64));
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;

    for (size_t i = 0; i < COUNT(nasty); i++) {
        pg_array_i(&id, (int64_t)i);
        pg_array_i(&n, INT64_MAX - (int64_t)i);
        pg_array_s(&note, nasty[i]);
        pg_array_t(&at, i % 2 ? 0 : 1767607872345);
        pg_array_bytes(&b, i ? nasty[i] : NULL, nasty[i] ? strlen(nasty[i]) : 0);
        pg_array_s(&j, i % 2 ? "{\"k\": \"a\\\"b,}\"}" : NULL);
        pg_array_b(&yes, i % 2);
    }
    ck_ok(pg_do(cx, db, put, &r, pg_a(&id), pg_a(&n), pg_a(&note), pg_a(&at), pg_a(&b), pg_a(&j),
                pg_a(&yes)));
    ck_assert_int_eq(pg_affected(r), (int64_t)COUNT(nasty));
    for (size_t i = 0; i < COUNT(nasty); i++) {
        size_t len;

        pg_result_freep(&r);
        ck_ok(pg_do(cx, db, GET, &r, pg_i((int64_t)i)));
        ck_assert(pg_int(r, 0, 0) == INT64_MAX - (int64_t)i);
        ck_assert_pstr_eq(pg_text(r, 0, 1), nasty[i]);
        ck_assert(pg_ms(r, 0, 2) == (i % 2 ? 0 : 1767607872345));
        const unsigned char *bytes = pg_get_bytes(cx, r, 0, 3, &len);
        ck_assert(!bytes == (i == 0 || !nasty[i]));
        if (bytes)
            ck_assert_mem_eq(bytes, nasty[i], len);
        ck_assert_pstr_eq(pg_text(r, 0, 4), i % 2 ? "{\"k\": \"a\\\"b,}\"}" : NULL);
        ck_assert(pg_bool(r, 0, 5) == (i % 2));
    }
    return OK;
}

PG_TEST(arrays_end, 1)
{
    static const struct sql count = {"a_count", "SELECT cardinality($1::text[])", 1, true};
    _cleanup_(pg_array_release) struct pg_array none = PG_ARRAY(16), big = PG_ARRAY(16);
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;

    ck_ok(pg_do(cx, db, count, &r, pg_a(&none)));
    ck_assert_int_eq(pg_int(r, 0, 0), 0);
    pg_array_s(&big, "sixteen and more characters");
    ck_rc(pg_do(cx, db, count, NULL, pg_a(&big)), E_BUFFER_FULL);
    return OK;
}

PG_TEST(sessions_are_bounded, 1)
{
    static const struct {
        struct sql q;
        const char *want;
    } cases[] = {
        {{"s1", "SELECT current_setting('statement_timeout')", 0, true}, "30s"},
        {{"s2", "SELECT current_setting('lock_timeout')", 0, true}, "5s"},
        {{"s3", "SELECT current_setting('idle_in_transaction_session_timeout')", 0, true}, "30s"},
        {{"s4", "SELECT current_setting('TimeZone')", 0, true}, "UTC"},
        {{"s5", "SELECT current_setting('application_name')", 0, true}, "test_pg"},
        {{"s6", "SELECT current_setting('client_encoding')", 0, true}, "UTF8"},
        {{"s7", "SELECT current_setting('synchronous_commit')", 0, true}, "on"},
        {{"s8", "SELECT current_setting('client_connection_check_interval')", 0, true}, "2s"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        _cleanup_(pg_result_freep) struct pg_result *r = NULL;

        ck_ok(pg_query(cx, db, &cases[i].q, &r, PG_NO_ARGS));
        ck_assert_str_eq(pg_text(r, 0, 0), cases[i].want);
    }
    return OK;
}

/* ---------------------------------------------------------------- failures */

static const struct {
    const char *title;
    struct sql q;
    rc want;
    const char *rule;
} failures[] = {
    {"a key twice", {"f1", "INSERT INTO t (id) VALUES (1)", 0, false}, E_PG_UNIQUE, "t_pkey"},
    {"a check",
     {"f2", "INSERT INTO t (id, n) VALUES (2, -1)", 0, false},
     E_PG_CONSTRAINT,
     "n_positive"},
    {"a reference, at commit",
     {"f3", "INSERT INTO child VALUES (99)", 0, false},
     E_PG_CONSTRAINT,
     "child_parent"},
    {"not null", {"f4", "INSERT INTO t (id, n) VALUES (3, NULL)", 0, false}, E_PG_CONSTRAINT, ""},
    {"a trigger's words",
     {"f5", "DO $$ BEGIN RAISE EXCEPTION 'no way'; END $$", 0, false},
     E_PG_CONSTRAINT,
     ""},
    {"division by zero", {"f6", "SELECT 1/0", 0, true}, E_PG, ""},
    {"no such table", {"f7", "SELECT 1 FROM nowhere", 0, true}, E_PG, ""},
    {"bad syntax", {"f8", "SELEKT 1", 0, true}, E_PG, ""},
    {"a serialization failure that stays",
     {"f9", "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$", 0, false},
     E_PG_RETRY,
     ""},
    {"cancelled by somebody",
     {"f10", "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '57014'; END $$", 0, false},
     E_DEADLINE,
     ""},
    {"disk full",
     {"f11", "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '53100'; END $$", 0, false},
     E_STORE_DOWN,
     ""},
    {"a lock that is held too long",
     {"f12", "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '55P03'; END $$", 0, false},
     E_PG_RETRY,
     ""},
};

static rc failure_body(struct cx *cx, struct pg *db)
{
    for (size_t i = 0; i < COUNT(failures); i++) {
        _cleanup_(pg_result_freep) struct pg_result *r = NULL;
        rc got = pg_query(cx, db, &failures[i].q, &r, PG_NO_ARGS);

        ck_assert_msg(got == failures[i].want && !r, "case: %s: %s", failures[i].title,
                      cx_words(cx, got));
        ck_assert_msg(strcmp(pg_constraint(cx), failures[i].rule) == 0, "case: %s: %s",
                      failures[i].title, pg_constraint(cx));
        ck_assert_msg(strstr(cx->err.text, failures[i].q.name) || strstr(cx->err.text, "commit"),
                      "case: %s: %s", failures[i].title, cx->err.text);
        ck_ok(pg_do(cx, db, ECHO, &r, pg_i(1)));
    }
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 1);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM child"), 0);
    return OK;
}

PG_TEST(failures_have_codes, 1)
{
    SIDE("INSERT INTO t (id) VALUES (1)");
    return failure_body(cx, db);
}

PG_TEST(values_stay_out_of_words, 1)
{
    static const struct sql uuid = {"t_uuid", "SELECT $1::text::uuid", 1, true};

    ck_rc(pg_do(cx, db, uuid, NULL, pg_s("hunter2")), E_PG);
    ck_assert_msg(!strstr(cx->err.text, "hunter2"), "%s", cx->err.text);
    return OK;
}

static rc wrong_string(struct cx *cx, void *arg)
{
    struct pg *db = NULL;

    ck_rc(pg_new(cx, arg, 1, &db), E_CONFIG);
    ck_assert_ptr_null(db);
    ck_assert_msg(!strstr(cx->err.text, "hunter2"), "%s", cx->err.text);
    return OK;
}

START_TEST(connection_strings_are_read)
{
    static const char *const wrong[] = {"", "hunter2", "postgresql://u:hunter2@[h/",
                                        "passwort=hunter2"};

    for (size_t i = 0; i < COUNT(wrong); i++) {
        char text[64];

        strcpy(text, wrong[i]);
        ck_ok(on_fiber(wrong_string, text));
    }
}
END_TEST

static rc nobody_there(struct cx *cx, void *arg)
{
    struct pg *db;
    int64_t start = clock_mono_ms();
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 400);

    ck_ok(pg_new(cx, "postgresql:///x?host=/nonexistent", 1, &db));
    ck_rc(pg_do(cx, db, PUT, NULL, pg_i(1), pg_i(1)), E_STORE_DOWN);
    ck_assert_msg(strstr(cx->err.text, "nonexistent") != NULL, "%s", cx->err.text);
    ck_assert_int_ge(clock_mono_ms() - start, 390);
    ck_assert_int_lt(clock_mono_ms() - start, 2000);
    pg_free(db);
    return OK;
}

START_TEST(an_absent_server_is_store_down)
{
    ck_ok(on_fiber(nobody_there, NULL));
}
END_TEST

static rc second_host(struct cx *cx, void *arg)
{
    char url[256];
    struct pg *db;

    snprintf(url, sizeof url,
             "user=postgres dbname=mihwar host=/nonexistent,%s/run target_session_attrs=read-write",
             stores.dir);
    ck_ok(pg_new(cx, url, 1, &db));
    ck_ok(pg_do(cx, db, PUT, NULL, pg_i(1), pg_i(1)));
    pg_free(db);
    return OK;
}

START_TEST(the_second_host_serves)
{
    ck_ok(on_fiber(second_host, NULL));
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 1);
}
END_TEST

/* ---------------------------------------------------------------- pipelines */

struct crowd {
    struct pg *db;
    int i, failed;
};

static rc ask_ten(struct cx *cx, void *arg)
{
    struct crowd *me = arg;

    for (int k = 0; k < 10; k++) {
        _cleanup_(pg_result_freep) struct pg_result *r = NULL;

        try(pg_do(cx, me->db, ECHO, &r, pg_i(me->i * 1000 + k)));
        if (pg_int(r, 0, 0) != me->i * 1000 + k + 1)
            me->failed++;
        try(pg_do(cx, me->db, PUT, NULL, pg_i(me->i * 1000 + k), pg_i(k)));
    }
    return OK;
}

static rc crowd_run(struct cx *cx, struct pg *db, fiber_fn fn)
{
    enum { CROWD = 100 };
    struct fiber *f[CROWD];
    struct crowd who[CROWD];

    for (int i = 0; i < CROWD; i++) {
        who[i] = (struct crowd){.db = db, .i = i};
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "crowd", .inherit = cx}, fn, &who[i]);
    }
    for (int i = 0; i < CROWD; i++) {
        rc r;

        ck_ok(fiber_join(cx, f[i], &r));
        ck_assert_msg(r == OK && who[i].failed == 0, "fiber %d: %s", i, cx_words(cx, r));
    }
    return OK;
}

PG_TEST(a_crowd_shares_few_connections, 1)
{
    ck_ok(crowd_run(cx, db, ask_ten));
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 1000);
    ck_assert_int_le(SIDE_INT("SELECT count(*)" OTHERS), 6);
    return OK;
}

static rc ask_and_err(struct cx *cx, void *arg)
{
    struct crowd *me = arg;

    for (int k = 0; k < 10; k++) {
        _cleanup_(pg_result_freep) struct pg_result *r = NULL;
        rc got;

        switch ((me->i + k) % 4) {
        case 0:
            got = pg_do(cx, me->db, DIVIDE, NULL, pg_i(0));
            me->failed += got != E_PG || !strstr(cx->err.text, "division by zero");
            break;
        case 1:
            me->failed += pg_query(cx, me->db, &UNKNOWN, NULL, PG_NO_ARGS) != E_PG;
            break;
        case 2:
            me->failed += pg_do(cx, me->db, PUT, NULL, pg_i(-1), pg_i(-1)) != E_PG_CONSTRAINT;
            break;
        default:
            try(pg_do(cx, me->db, ECHO, &r, pg_i(me->i)));
            me->failed += pg_int(r, 0, 0) != me->i + 1;
            try(pg_do(cx, me->db, PUT, NULL, pg_i(me->i * 1000 + k), pg_i(k)));
        }
    }
    return OK;
}

PG_TEST(errors_leave_the_neighbours_alone, 1)
{
    ck_ok(crowd_run(cx, db, ask_and_err));
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 250);
    ck_assert_int_eq(open_transactions(), 0);
    return OK;
}

struct nap {
    struct pg *db;
    int64_t within_ms;
    rc want;
    const struct sql *q;
};

static rc give_up(struct cx *cx, void *arg)
{
    struct nap *me = arg;
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, me->within_ms);
    rc r = me->q == &NAP ? pg_do(cx, me->db, NAP, NULL, pg_s("0.4"))
                         : pg_do(cx, me->db, PUT_NAP, NULL, pg_i(1), pg_s("0.4"));

    ck_rc(r, me->want);
    return OK;
}

PG_TEST(who_gives_up_leaves_its_slot, 1)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct nap naps[] = {{db, 80, E_DEADLINE, &NAP}, {db, 80, E_STORE_DOUBT, &PUT_NAP}};

    for (size_t i = 0; i < COUNT(naps); i++) {
        struct fiber *f = fiber_spawn(&(struct fiber_opts){.name = "nap"}, give_up, &naps[i]);

        fiber_sleep(cx, 20);
        ck_ok(pg_do(cx, db, ECHO, &r, pg_i(41)));
        ck_assert_int_eq(pg_int(r, 0, 0), 42);
        pg_result_freep(&r);
        ck_ok(fiber_join(cx, f, NULL));
        ck_ok(pg_do(cx, db, PUT, NULL, pg_i(10 + (int64_t)i), pg_i(0)));
    }
    ck_assert(wait_until(SIDE_INT("SELECT count(*) FROM t WHERE id = 1") == 1,
                         3000)); /* the doubt was right to be one */
    return OK;
}

static rc ask_once(struct cx *cx, void *arg)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct crowd *me = arg;

    try(pg_do(cx, me->db, ECHO, &r, pg_i(me->i)));
    me->failed += pg_int(r, 0, 0) != me->i + 1;
    return OK;
}

/* Twice what both lanes for reads take at once; a third gives up while it waits outside. */
PG_TEST(more_than_the_lanes_take, 1)
{
    enum { MANY = 1200 };
    struct fiber **f = arena_alloc(&cx->arena, MANY * sizeof *f);
    struct crowd *who = arena_alloc(&cx->arena, MANY * sizeof *who);

    for (int i = 0; i < MANY; i++) {
        who[i] = (struct crowd){.db = db, .i = i};
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "many", .inherit = cx}, ask_once, &who[i]);
    }
    ck_ok(fiber_sleep(cx, 0));
    for (int i = 0; i < MANY; i += 3)
        fiber_cancel(f[i]);
    for (int i = 0; i < MANY; i++) {
        rc r, want = i % 3 ? OK : E_CANCELLED;

        ck_ok(fiber_join(cx, f[i], &r));
        ck_rc(r, want);
        ck_assert_int_eq(who[i].failed, 0);
    }
    return OK;
}

struct holder {
    struct pg *db;
    bool holds, let_go;
};

static rc hold(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct holder *h = arg;

    try(pg_tx_do(cx, tx, ADD, NULL, pg_i(1), pg_i(1)));
    h->holds = true;
    while (!h->let_go)
        try(fiber_sleep(cx, 5));
    return OK;
}

static rc hold_fiber(struct cx *cx, void *arg)
{
    struct holder *h = arg;

    return pg_tx_run(cx, h->db, hold, h);
}

static rc add_fiber(struct cx *cx, void *arg)
{
    return pg_do(cx, arg, ADD, NULL, pg_i(1), pg_i(10));
}

PG_TEST(a_row_lock_holds_up_no_read, 1)
{
    struct holder h = {.db = db};
    struct fiber *holder, *adder;
    rc r;

    SIDE("INSERT INTO t (id) VALUES (1)");
    holder = fiber_spawn(&(struct fiber_opts){.name = "hold", .inherit = cx}, hold_fiber, &h);
    while (!h.holds)
        ck_ok(fiber_sleep(cx, 5));
    adder = fiber_spawn(&(struct fiber_opts){.name = "add", .inherit = cx}, add_fiber, db);
    while (SIDE_INT("SELECT count(*)" OTHERS " AND wait_event_type = 'Lock'") < 1)
        ck_ok(fiber_sleep(cx, 5));
    for (int i = 0; i < 20; i++)
        ck_ok(pg_do(cx, db, ECHO, NULL, pg_i(i)));
    ck_assert_int_eq(SIDE_INT("SELECT n FROM t"), 0); /* the lock was held all the while */
    h.let_go = true;
    ck_ok(fiber_join(cx, holder, &r));
    ck_ok(r);
    ck_ok(fiber_join(cx, adder, &r));
    ck_ok(r);
    ck_assert_int_eq(SIDE_INT("SELECT n FROM t"), 11);
    return OK;
}

PG_TEST(a_plan_that_is_outdated_is_made_anew, 1)
{
    static const struct sql star = {"t_star", "SELECT * FROM t", 0, true};
    static const struct sql forget = {"t_forget", "DEALLOCATE ALL", 0, true};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;

    ck_ok(pg_query(cx, db, &star, NULL, PG_NO_ARGS));
    SIDE("ALTER TABLE t ADD COLUMN more text DEFAULT 'x'");
    SIDE("INSERT INTO t (id) VALUES (1)");
    ck_ok(pg_query(cx, db, &star, &r, PG_NO_ARGS));
    ck_assert_str_eq(pg_col(r, 0, "more"), "x");
    pg_result_freep(&r);

    ck_ok(pg_query(cx, db, &forget, NULL, PG_NO_ARGS));
    ck_ok(pg_query(cx, db, &star, &r, PG_NO_ARGS));
    ck_assert_int_eq(pg_rows(r), 1);
    return OK;
}

PG_TEST(a_server_that_became_read_only_is_left, 1)
{
    static const struct sql lock = {"t_ro", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                                    0, false};

    ck_ok(pg_query(cx, db, &lock, NULL, PG_NO_ARGS));
    ck_ok(pg_do(cx, db, PUT, NULL, pg_i(1), pg_i(1)));
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 1);
    return OK;
}

/* ---------------------------------------------------------------- batches */

static rc batch(struct cx *cx, struct pg *db, int64_t second, int64_t parent)
{
    struct pg_step steps[] = {{.q = &PUT, .args = PG_ARGS(pg_i(1), pg_i(1))},
                              {.q = &PUT, .args = PG_ARGS(pg_i(2), pg_i(second))},
                              {.q = &CHILD, .args = PG_ARGS(pg_i(parent))},
                              {.q = &GET, .args = PG_ARGS(pg_i(1))}};
    rc r = pg_batch(cx, db, steps, COUNT(steps));

    for (size_t i = 0; i < COUNT(steps); i++) {
        bool has = steps[i].result != NULL, want = r == OK;

        ck_assert(has == want);
        if (r == OK && i == 3)
            ck_assert_int_eq(pg_int(steps[i].result, 0, 0), 1);
        pg_result_freep(&steps[i].result);
    }
    return r;
}

PG_TEST(a_batch_is_kept_or_refused_as_one, 1)
{
    ck_rc(batch(cx, db, -1, 1), E_PG_CONSTRAINT);
    ck_assert_str_eq(pg_constraint(cx), "n_positive");
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 0);
    ck_rc(batch(cx, db, 2, 99), E_PG_CONSTRAINT); /* deferred: only the commit finds it */
    ck_assert_str_eq(pg_constraint(cx), "child_parent");
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 0);
    ck_ok(batch(cx, db, 2, 1));
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 2);
    ck_rc(batch(cx, db, 2, 1), E_PG_UNIQUE);
    ck_assert_int_eq(open_transactions(), 0);
    return OK;
}

PG_TEST(a_batch_cut_off_is_in_doubt, 1)
{
    ck_assert(inject_arm("pg_drop_commit", 1));
    ck_rc(batch(cx, db, 2, 1), E_STORE_DOUBT);
    ck_assert(wait_until(SIDE_INT("SELECT count(*) FROM t") == 2, 2000));
    ck_rc(batch(cx, db, 2, 1), E_PG_UNIQUE);
    return OK;
}

/* ---------------------------------------------------------------- transactions */

struct story {
    int runs;
    rc end_with;
    const struct sql *also;
    struct pg *db;
};

static rc tell(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct story *s = arg;

    s->runs++;
    try(pg_tx_do(cx, tx, PUT, NULL, pg_i(1), pg_i(1)));
    try(pg_tx_do(cx, tx, ADD, NULL, pg_i(1), pg_i(5)));
    if (s->also)
        try(pg_tx_query(cx, tx, s->also, NULL, PG_ARGS(pg_i(99))));
    if (s->end_with != OK)
        return fail_rc(cx, s->end_with, "as told");
    return OK;
}

static const struct {
    const char *title;
    rc end_with;
    const struct sql *also;
    rc want;
    int64_t rows;
} stories[] = {
    {"fn's own failure", E_NOT_FOUND, NULL, E_NOT_FOUND, 0},
    {"a statement's failure", OK, &UNKNOWN, E_PG, 0},
    {"the commit's failure", OK, &CHILD, E_PG_CONSTRAINT, 0},
    {"fn's word for a stale attempt", E_STALE_ATTEMPT, NULL, E_STALE_ATTEMPT, 0},
    {"no failure", OK, NULL, OK, 1},
};

PG_TEST(transactions_end_as_fn_says, 1)
{
    for (size_t i = 0; i < COUNT(stories); i++) {
        struct story s = {.end_with = stories[i].end_with, .also = stories[i].also};
        rc r = pg_tx_run(cx, db, tell, &s);

        ck_assert_msg(r == stories[i].want && s.runs == 1, "case: %s: %s", stories[i].title,
                      cx_words(cx, r));
        ck_assert_msg(SIDE_INT("SELECT count(*) FROM t WHERE n = 6") == stories[i].rows, "case: %s",
                      stories[i].title);
        ck_assert(wait_until(open_transactions() == 0, 1000));
        SIDE("DELETE FROM t");
    }
    return OK;
}

static rc swallow(struct cx *cx, struct pg_tx *tx, void *arg)
{
    try(pg_tx_do(cx, tx, PUT, NULL, pg_i(1), pg_i(1)));
    ck_rc(pg_tx_do(cx, tx, DIVIDE, NULL, pg_i(0)), E_PG);
    ck_rc(pg_tx_do(cx, tx, ECHO, NULL, pg_i(0)), E_PG);
    return OK;
}

static rc two_and_read(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct pg_step steps[] = {{.q = &PUT, .args = PG_ARGS(pg_i(1), pg_i(7))},
                              {.q = &GET, .args = PG_ARGS(pg_i(1))},
                              {.q = &DIVIDE, .args = PG_ARGS(pg_i(*(int *)arg))}};
    rc r = pg_tx_steps(cx, tx, steps, COUNT(steps));

    if (r == OK)
        ck_assert_int_eq(pg_int(steps[1].result, 0, 0), 7);
    for (size_t i = 0; i < COUNT(steps); i++)
        pg_result_freep(&steps[i].result);
    return r;
}

PG_TEST(a_swallowed_failure_is_not_committed, 1)
{
    int zero = 0, one = 1;

    ck_rc(pg_tx_run(cx, db, swallow, NULL), E_PG);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 0);
    ck_rc(pg_tx_run(cx, db, two_and_read, &zero), E_PG);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 0);
    ck_ok(pg_tx_run(cx, db, two_and_read, &one));
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 1);
    return OK;
}

static rc read_then_add(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct story *s = arg;

    try(pg_tx_query(cx, tx, &REPEATABLE, NULL, PG_NO_ARGS));
    try(pg_tx_do(cx, tx, GET, NULL, pg_i(1)));
    if (s->runs++ == 0)
        SIDE("UPDATE t SET n = n + 1 WHERE id = 1"); /* behind the snapshot's back */
    return pg_tx_do(cx, tx, ADD, NULL, pg_i(1), pg_i(10));
}

PG_TEST(a_serialization_failure_is_run_again, 1)
{
    struct story s = {0};

    SIDE("INSERT INTO t (id) VALUES (1)");
    ck_ok(pg_tx_run(cx, db, read_then_add, &s));
    ck_assert_int_eq(s.runs, 2);
    ck_assert_int_eq(SIDE_INT("SELECT n FROM t"), 11);
    return OK;
}

static rc always_conflict(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct story *s = arg;

    s->runs++;
    return pg_tx_query(cx, tx, &failures[8].q, NULL, PG_NO_ARGS);
}

PG_TEST(retries_are_bounded, 1)
{
    struct story s = {0};

    ck_rc(pg_tx_run(cx, db, always_conflict, &s), E_PG_RETRY);
    ck_assert_int_eq(s.runs, 5);
    return OK;
}

struct crossing {
    struct pg *db;
    int first, second, runs;
    struct crossing *other;
    bool holds;
};

static rc cross(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct crossing *me = arg;

    me->runs++;
    try(pg_tx_do(cx, tx, ADD, NULL, pg_i(me->first), pg_i(1)));
    me->holds = true;
    while (!me->other->holds)
        try(fiber_sleep(cx, 5));
    return pg_tx_do(cx, tx, ADD, NULL, pg_i(me->second), pg_i(1));
}

static rc cross_fiber(struct cx *cx, void *arg)
{
    struct crossing *me = arg;

    return pg_tx_run(cx, me->db, cross, me);
}

PG_TEST(a_deadlock_is_run_again, 2)
{
    struct crossing a = {db, 1, 2, 0, NULL, false}, b = {db, 2, 1, 0, &a, false};
    rc ra, rb;

    a.other = &b;
    SIDE("INSERT INTO t (id) VALUES (1), (2)");
    struct fiber *fa =
        fiber_spawn(&(struct fiber_opts){.name = "a", .inherit = cx}, cross_fiber, &a);
    struct fiber *fb =
        fiber_spawn(&(struct fiber_opts){.name = "b", .inherit = cx}, cross_fiber, &b);
    ck_ok(fiber_join(cx, fa, &ra));
    ck_ok(fiber_join(cx, fb, &rb));
    ck_ok(ra);
    ck_ok(rb);
    ck_assert_int_eq(a.runs + b.runs, 3);
    ck_assert_int_eq(SIDE_INT("SELECT sum(n) FROM t"), 4);
    return OK;
}

static rc lose_once(struct cx *cx, struct pg_tx *tx, void *arg)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    struct story *s = arg;

    try(pg_tx_do(cx, tx, PUT, NULL, pg_i(1), pg_i(1)));
    try(pg_tx_query(cx, tx, &PID, &r, PG_NO_ARGS));
    if (s->runs++ == 0)
        SIDE("SELECT pg_terminate_backend(%lld, 2000)", (long long)pg_int(r, 0, 0));
    return s->also ? pg_tx_query(cx, tx, s->also, NULL, PG_ARGS(pg_i(1))) : OK;
}

PG_TEST(a_loss_before_commit_is_run_again, 1)
{
    struct story in_the_middle = {.also = &ECHO}, before_commit = {0};

    ck_ok(pg_tx_run(cx, db, lose_once, &in_the_middle));
    ck_assert_int_eq(in_the_middle.runs, 2);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 1);
    SIDE("DELETE FROM t");
    ck_ok(pg_tx_run(cx, db, lose_once, &before_commit));
    ck_assert_int_eq(before_commit.runs, 2);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 1);
    return OK;
}

PG_TEST(a_loss_at_commit_is_in_doubt, 1)
{
    struct story s = {0};

    ck_assert(inject_arm("pg_drop_commit", 1));
    ck_rc(pg_tx_run(cx, db, tell, &s), E_STORE_DOUBT);
    ck_assert_int_eq(s.runs, 1);
    ck_assert(wait_until(SIDE_INT("SELECT count(*) FROM t") == 1, 2000));
    s.runs = 0;
    ck_rc(pg_tx_run(cx, db, tell, &s), E_PG_UNIQUE);
    ck_assert_int_eq(s.runs, 1);
    return OK;
}

static rc nap_inside(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct story *s = arg;

    s->runs++;
    try(pg_tx_do(cx, tx, PUT, NULL, pg_i(1), pg_i(1)));
    return pg_tx_do(cx, tx, NAP, NULL, pg_s("20"));
}

static rc nap_fiber(struct cx *cx, void *arg)
{
    struct story *s = arg;

    return pg_tx_run(cx, s->db, nap_inside, s);
}

PG_TEST(giving_up_inside_leaves_nothing_open, 1)
{
    for (int by_deadline = 0; by_deadline <= 1; by_deadline++) {
        struct story s = {.db = db};
        struct fiber_opts o = {.name = "nap", .timeout_ms = by_deadline ? 300 : 0};
        rc want = by_deadline ? E_DEADLINE : E_CANCELLED;
        struct fiber *f = fiber_spawn(&o, nap_fiber, &s);
        int64_t start = clock_mono_ms();
        rc r;

        ck_ok(fiber_sleep(cx, 150));
        ck_assert_int_eq(open_transactions(), 1);
        if (!by_deadline)
            fiber_cancel(f);
        ck_ok(fiber_join(cx, f, &r));
        ck_rc(r, want);
        ck_assert_int_eq(s.runs, 1);
        while (open_transactions() > 0)
            ck_ok(fiber_sleep(cx, 10));
        ck_assert_int_lt(clock_mono_ms() - start, 1500);
        ck_ok(pg_tx_run(
            cx, db, tell,
            &(struct story){0})); /* the row is not locked, the pool not short of a place */
        SIDE("DELETE FROM t");
    }
    return OK;
}

struct turn {
    struct pg *db;
    int me, *next;
    bool in_order;
    rc got;
};

static rc take_turn(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct turn *t = arg;

    t->in_order = t->me == (*t->next)++;
    return pg_tx_do(cx, tx, NAP, NULL, pg_s("0.02"));
}

static rc turn_fiber(struct cx *cx, void *arg)
{
    struct turn *t = arg;

    return t->got = pg_tx_run(cx, t->db, take_turn, t);
}

PG_TEST(transactions_queue_in_order, 1)
{
    enum { N = 6, GIVES_UP = 3 };
    struct fiber *f[N];
    struct turn turns[N];
    int next = 0;

    for (int i = 0; i < N; i++) {
        turns[i] = (struct turn){db, i < GIVES_UP ? i : i - 1, &next, false, OK};
        f[i] =
            fiber_spawn(&(struct fiber_opts){.name = "turn", .inherit = cx}, turn_fiber, &turns[i]);
    }
    ck_ok(fiber_sleep(cx, 5));
    fiber_cancel(f[GIVES_UP]);
    for (int i = 0; i < N; i++) {
        ck_ok(fiber_join(cx, f[i], NULL));
        ck_assert_int_eq(turns[i].got, i == GIVES_UP ? E_CANCELLED : OK);
        ck_assert_int_eq(turns[i].in_order, i != GIVES_UP);
    }
    return OK;
}

static rc nothing(struct cx *cx, struct pg_tx *tx, void *arg)
{
    return OK;
}

PG_TEST(who_has_given_up_sends_nothing, 1)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 30);

    ck_rc(fiber_sleep(cx, 60), E_DEADLINE);
    ck_rc(pg_do(cx, db, PUT, NULL, pg_i(1), pg_i(1)), E_DEADLINE);
    ck_rc(pg_tx_run(cx, db, nothing, NULL), E_DEADLINE);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t"), 0);
    return OK;
}

/* ---------------------------------------------------------------- listen */

struct heard {
    int gaps, notes;
    char last[64];
    struct fiber *waiter;
    struct pg_listen *free_in_fn, *l;
};

static void on_note(const char *payload, void *arg)
{
    struct heard *h = arg;

    h->notes++;
    snprintf(h->last, sizeof h->last, "%s", payload);
    if (h->free_in_fn)
        h->free_in_fn = pg_listen_free(h->free_in_fn);
    fiber_wake(h->waiter);
}

static void on_gap(void *arg)
{
    struct heard *h = arg;

    h->gaps++;
    fiber_wake(h->waiter);
}

PG_TEST(notifications_are_heard_over_a_loss, 1)
{
    struct heard h = {.waiter = cx->fiber};
    struct pg_listen *l = pg_listen(db, "mw_test", on_note, on_gap, &h);

    while (h.gaps < 1)
        ck_ok(fiber_park(cx));
    SIDE("SELECT pg_notify('mw_test', 'one')");
    while (h.notes < 1)
        ck_ok(fiber_park(cx));
    ck_assert_str_eq(h.last, "one");
    SIDE("SELECT pg_terminate_backend(pid)" OTHERS);
    while (h.gaps < 2)
        ck_ok(fiber_park(cx));
    SIDE("SELECT pg_notify('mw_test', 'two')");
    while (h.notes < 2)
        ck_ok(fiber_park(cx));
    ck_assert_str_eq(h.last, "two");
    h.free_in_fn = l;
    SIDE("SELECT pg_notify('mw_test', 'three')");
    while (h.notes < 3)
        ck_ok(fiber_park(cx));
    ck_ok(fiber_sleep(cx, 20));
    return OK;
}

/* ---------------------------------------------------------------- kill -9 */

static rc read_over_a_crash(struct cx *cx, void *arg)
{
    return pg_do(cx, arg, NAP, NULL, pg_s("0.3"));
}

static rc write_over_a_crash(struct cx *cx, void *arg)
{
    return pg_do(cx, arg, PUT_NAP, NULL, pg_i(5), pg_s("5"));
}

static rc tx_over_a_crash(struct cx *cx, void *arg)
{
    struct story *s = arg;

    return pg_tx_run(cx, s->db, tell, s);
}

PG_TEST(the_server_is_killed_and_comes_back, 2)
{
    struct story s = {.db = db};
    rc reads, writes, tx;

    ck_ok(pg_do(cx, db, PUT, NULL, pg_i(7), pg_i(7)));
    struct fiber *fr =
        fiber_spawn(&(struct fiber_opts){.name = "r", .inherit = cx}, read_over_a_crash, db);
    struct fiber *fw =
        fiber_spawn(&(struct fiber_opts){.name = "w", .inherit = cx}, write_over_a_crash, db);
    ck_ok(fiber_sleep(cx, 100)); /* both are with the server now */
    stores_kill_pg(&stores);
    ck_ok(fiber_join(cx, fw, &writes));
    ck_rc(writes, E_STORE_DOUBT);
    {
        _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 200);
        ck_rc(pg_do(cx, db, PUT, NULL, pg_i(8), pg_i(8)), E_STORE_DOWN);
    }
    struct fiber *ft =
        fiber_spawn(&(struct fiber_opts){.name = "tx", .inherit = cx}, tx_over_a_crash, &s);
    stores_up_pg(&stores);
    ck_ok(fiber_join(cx, fr, &reads));
    ck_ok(reads);
    ck_ok(fiber_join(cx, ft, &tx));
    ck_ok(tx);
    ck_assert_str_eq(SIDE("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t"), "1 7");
    return OK;
}

/* ---------------------------------------------------------------- */

static Suite *forked(void)
{
    Suite *s = suite_create("pg");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, table_setup, NULL);
    tcase_add_test(tc, values_come_and_go);
    tcase_add_test(tc, null_is_null);
    tcase_add_test(tc, arrays_keep_every_value);
    tcase_add_test(tc, arrays_end);
    tcase_add_test(tc, sessions_are_bounded);
    tcase_add_test(tc, failures_have_codes);
    tcase_add_test(tc, values_stay_out_of_words);
    tcase_add_test(tc, connection_strings_are_read);
    tcase_add_test(tc, an_absent_server_is_store_down);
    tcase_add_test(tc, the_second_host_serves);
    tcase_add_test(tc, a_crowd_shares_few_connections);
    tcase_add_test(tc, errors_leave_the_neighbours_alone);
    tcase_add_test(tc, who_gives_up_leaves_its_slot);
    tcase_add_test(tc, more_than_the_lanes_take);
    tcase_add_test(tc, a_row_lock_holds_up_no_read);
    tcase_add_test(tc, a_plan_that_is_outdated_is_made_anew);
    tcase_add_test(tc, a_server_that_became_read_only_is_left);
    tcase_add_test(tc, a_batch_is_kept_or_refused_as_one);
    tcase_add_test(tc, a_batch_cut_off_is_in_doubt);
    tcase_add_test(tc, transactions_end_as_fn_says);
    tcase_add_test(tc, a_swallowed_failure_is_not_committed);
    tcase_add_test(tc, a_serialization_failure_is_run_again);
    tcase_add_test(tc, retries_are_bounded);
    tcase_add_test(tc, a_deadlock_is_run_again);
    tcase_add_test(tc, a_loss_before_commit_is_run_again);
    tcase_add_test(tc, a_loss_at_commit_is_in_doubt);
    tcase_add_test(tc, giving_up_inside_leaves_nothing_open);
    tcase_add_test(tc, transactions_queue_in_order);
    tcase_add_test(tc, who_has_given_up_sends_nothing);
    tcase_add_test(tc, notifications_are_heard_over_a_loss);
    suite_add_tcase(s, tc);
    return s;
}

/* The server belongs to this process: who kills it must not be a fork. */
static Suite *unforked(void)
{
    Suite *s = suite_create("pg killed");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, table_setup, NULL);
    tcase_add_test(tc, the_server_is_killed_and_comes_back);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    stores_start(&stores, &(struct stores_opts){.no_redis = true});
    int failed = suite_run(forked()) + suite_run_unforked(unforked());
    stores_stop(&stores);
    return support_end(failed);
}

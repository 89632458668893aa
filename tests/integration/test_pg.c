/* test_pg.c - values in and out, failures and their codes, servers that are not there. */
#include "tests/integration/pg_world.h"

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

/* The same values in the binary form; what is not of its type fails as a literal would. */
PG_TEST(typed_arrays_keep_every_value, 1)
{
    static const struct sql same = {"a_same",
                                    "SELECT t, n, u FROM unnest($1::text[], $2::int[], $3::uuid[])"
                                    " WITH ORDINALITY AS a (t, n, u, ord) ORDER BY ord",
                                    3, true};
    static const char uuid[] = "0190a1b2-C3d4-7e5f-8a9b-0c1d2e3f4a5b";
    _cleanup_(pg_array_release) struct pg_array t = PG_ARRAY_OF(PG_TEXTS, KiB(64)),
                                                n = PG_ARRAY_OF(PG_INT4S, KiB(64)),
                                                u = PG_ARRAY_OF(PG_UUIDS, KiB(64));
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;

    for (size_t i = 0; i < COUNT(nasty); i++) {
        pg_array_s(&t, nasty[i]);
        pg_array_i(&n, i % 2 ? INT32_MIN : INT32_MAX - (int64_t)i);
        pg_array_s(&u, i % 3 ? uuid : NULL);
    }
    ck_ok(pg_do(cx, db, same, &r, pg_a(&t), pg_a(&n), pg_a(&u)));
    ck_assert_int_eq(pg_rows(r), (int)COUNT(nasty));
    for (int i = 0; i < (int)COUNT(nasty); i++) {
        ck_assert_pstr_eq(pg_text(r, i, 0), nasty[i]);
        ck_assert(pg_int(r, i, 1) == (i % 2 ? INT32_MIN : INT32_MAX - (int64_t)i));
        ck_assert_pstr_eq(pg_text(r, i, 2), i % 3 ? "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b" : NULL);
    }
    return OK;
}

static const struct {
    enum pg_array_of of;
    const char *text; /* NULL: the number */
    int64_t number;
} unfit[] = {
    {PG_UUIDS, "", 0},
    {PG_UUIDS, "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5", 0},
    {PG_UUIDS, "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5bc", 0},
    {PG_UUIDS, "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5g", 0},
    {PG_UUIDS, "0190a1b2c-3d4-7e5f-8a9b-0c1d2e3f4a5b", 0},
    {PG_INT4S, NULL, (int64_t)INT32_MAX + 1},
    {PG_INT4S, NULL, (int64_t)INT32_MIN - 1},
    {PG_TEXTS, "\xff\xfe", 0}, /* not UTF-8: the server's word */
};

PG_TEST(typed_arrays_refuse_what_does_not_fit, 1)
{
    static const struct sql counts[] = {{"c_int", "SELECT cardinality($1::int[])", 1, true},
                                        {"c_text", "SELECT cardinality($1::text[])", 1, true},
                                        {"c_uuid", "SELECT cardinality($1::uuid[])", 1, true}};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;

    for (size_t i = 0; i < COUNT(unfit); i++) {
        _cleanup_(pg_array_release) struct pg_array a = PG_ARRAY_OF(unfit[i].of, KiB(1));
        const struct sql *q = &counts[unfit[i].of == PG_INT4S   ? 0
                                      : unfit[i].of == PG_TEXTS ? 1
                                                                : 2];

        if (unfit[i].text)
            pg_array_s(&a, unfit[i].text);
        else
            pg_array_i(&a, unfit[i].number);
        ck_rc(pg_query(cx, db, q, NULL, PG_ARGS(pg_a(&a))), E_PG);
    }
    _cleanup_(pg_array_release) struct pg_array none = PG_ARRAY_OF(PG_UUIDS, 64),
                                                big = PG_ARRAY_OF(PG_TEXTS, 64);
    ck_ok(pg_do(cx, db, counts[2], &r, pg_a(&none)));
    ck_assert_int_eq(pg_int(r, 0, 0), 0);
    pg_array_s(&big, "with its head and its length it has more than sixty-four bytes");
    ck_rc(pg_do(cx, db, counts[1], NULL, pg_a(&big)), E_BUFFER_FULL);
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

static Suite *suite(void)
{
    Suite *s = suite_create("pg");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, table_setup, NULL);
    tcase_add_test(tc, values_come_and_go);
    tcase_add_test(tc, null_is_null);
    tcase_add_test(tc, arrays_keep_every_value);
    tcase_add_test(tc, typed_arrays_keep_every_value);
    tcase_add_test(tc, typed_arrays_refuse_what_does_not_fit);
    tcase_add_test(tc, arrays_end);
    tcase_add_test(tc, sessions_are_bounded);
    tcase_add_test(tc, failures_have_codes);
    tcase_add_test(tc, values_stay_out_of_words);
    tcase_add_test(tc, connection_strings_are_read);
    tcase_add_test(tc, an_absent_server_is_store_down);
    tcase_add_test(tc, the_second_host_serves);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, NULL, suite);
}

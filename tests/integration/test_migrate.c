/* test_migrate.c - the schema's steps on an empty database, on one that is behind, ahead, or not
 * ours. */
#include "base/log.h"
#include "pg/migrate.h"
#include "tests/support/fibers.h"
#include "tests/support/stores.h"
#include <stdlib.h>
#include <string.h>

static struct stores stores;
static char url[192];
static int made;

#define SIDE(...)     pg_one(url, __VA_ARGS__)
#define SIDE_INT(...) pg_one_int(url, __VA_ARGS__)

static void database_setup(void)
{
    char name[32];

    snprintf(name, sizeof name, "m%d_%d", (int)getpid(), made++);
    stores_new_database(&stores, name, NULL, url);
}

struct call {
    enum { RUN, CHECK, STATUS } what;
    int applied;
    char words[400];
    char table[4000];
};

static void add_row(int number, const char *name, const char *state, const char *at, void *arg)
{
    struct call *c = arg;
    size_t n = strlen(c->table);

    snprintf(c->table + n, sizeof c->table - n, "%d|%s|%s|%s\n", number, name, state,
             at ? "at" : "-");
}

static rc call_fiber(struct cx *cx, void *arg)
{
    struct call *c = arg;
    struct pg *db;
    rc r;

    try(pg_new(cx, url, 2, &db));
    if (c->what == RUN)
        r = migrate_run(cx, db, &c->applied);
    else if (c->what == CHECK)
        r = migrate_check(cx, db);
    else
        r = migrate_status(cx, db, add_row, c);
    snprintf(c->words, sizeof c->words, "%s", r == OK ? "" : cx_words(cx, r));
    pg_free(db);
    return r;
}

static int run(void)
{
    struct call c = {.what = RUN};

    ck_ok(on_fiber(call_fiber, &c));
    return c.applied;
}

/* The words with which CHECK (or RUN) refuses. */
static const char *refusal(int what)
{
    static struct call c;

    c = (struct call){.what = what};
    ck_rc(on_fiber(call_fiber, &c), E_SCHEMA);
    return c.words;
}

#define ck_says(text, part) ck_assert_msg(strstr((text), (part)) != NULL, "%s", (text))

START_TEST(an_empty_database_gets_every_step)
{
    struct call c = {.what = CHECK};

    ck_says(refusal(CHECK), "run 'mihwar db migrate'");
    ck_assert_int_eq(run(), (int)migration_count);
    ck_ok(on_fiber(call_fiber, &c));
    ck_assert_int_eq(run(), 0);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM schema_steps"), (int)migration_count);
    for (size_t i = 0; i < migration_count; i++) {
        ck_assert_int_eq(migrations[i].number, (int)i + 1);
        ck_assert_str_eq(SIDE("SELECT sha256 FROM schema_steps WHERE number = %d", (int)i + 1),
                         migrations[i].sha256);
        ck_assert_str_eq(migrations[i].sha256,
                         SIDE("SELECT encode(sha256(convert_to($mw$%s$mw$, 'UTF8')), 'hex')",
                              migrations[i].text));
    }
}
END_TEST

/* Back to before the last step, by hand: what it made is removed with everything else. */
static void one_step_behind(void)
{
    ck_assert_int_eq(run(), (int)migration_count);
    SIDE("DELETE FROM schema_steps WHERE number = %d", (int)migration_count);
}

START_TEST(a_database_behind_is_refused)
{
    char want[64];

    one_step_behind();
    snprintf(want, sizeof want, "at step %d of %d: run 'mihwar db migrate'",
             (int)migration_count - 1, (int)migration_count);
    ck_says(refusal(CHECK), want);
}
END_TEST

START_TEST(a_step_that_fails_leaves_nothing)
{
    one_step_behind(); /* what it makes is there, what it removes is not: it must fail */
    int64_t tables = SIDE_INT("SELECT count(*) FROM pg_class");

    const char *words = refusal(RUN);
    ck_says(words, "failed and was undone");
    ck_says(words, migrations[migration_count - 1].name);
    ck_says(words, "(SQLSTATE 427"); /* 42704, 42710: it is not there, it is there already */
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM pg_class"), tables);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM schema_steps"), (int)migration_count - 1);
}
END_TEST

START_TEST(a_newer_schema_is_refused)
{
    run();
    SIDE("INSERT INTO schema_steps (number, name, sha256, took_ms) VALUES (%d, 'tomorrow', 'x', 1)",
         (int)migration_count + 1);
    ck_says(refusal(CHECK), "older than the schema");
    ck_says(refusal(CHECK), "tomorrow");
    ck_says(refusal(RUN), "run a newer release");
}
END_TEST

START_TEST(a_changed_step_is_refused)
{
    run();
    SIDE("UPDATE schema_steps SET sha256 = repeat('0', 64) WHERE number = 2");
    ck_says(refusal(CHECK), "step 2");
    ck_says(refusal(CHECK), "checksum");
    ck_says(refusal(RUN), "checksum");
}
END_TEST

START_TEST(a_hole_is_refused)
{
    run();
    SIDE("DELETE FROM schema_steps WHERE number = 1");
    ck_says(refusal(CHECK), "step 1 is missing");
    ck_says(refusal(RUN), "changed by hand");
}
END_TEST

START_TEST(status_lists_what_is_known_and_what_was_found)
{
    struct call c = {.what = STATUS};
    char want[4000] = "";

    ck_ok(on_fiber(call_fiber, &c));
    for (size_t i = 0; i < migration_count; i++)
        snprintf(want + strlen(want), sizeof want - strlen(want), "%d|%s|missing|-\n",
                 migrations[i].number, migrations[i].name);
    ck_assert_str_eq(c.table, want);

    run();
    SIDE("UPDATE schema_steps SET sha256 = 'x' WHERE number = 1");
    SIDE("INSERT INTO schema_steps (number, name, sha256, took_ms) VALUES (%d, 'tomorrow', 'x', 1)",
         (int)migration_count + 1);
    c.table[0] = want[0] = 0;
    ck_ok(on_fiber(call_fiber, &c));
    for (size_t i = 0; i < migration_count; i++)
        snprintf(want + strlen(want), sizeof want - strlen(want), "%d|%s|%s|at\n",
                 migrations[i].number, migrations[i].name, i ? "applied" : "changed");
    snprintf(want + strlen(want), sizeof want - strlen(want), "%d|tomorrow|unknown|at\n",
             (int)migration_count + 1);
    ck_assert_str_eq(c.table, want);
}
END_TEST

/* ---------------------------------------------------------------- many at once */

static rc run_fiber(struct cx *cx, void *arg)
{
    struct call *c = arg;
    struct pg *db;

    try(pg_new(cx, url, 1, &db));
    rc r = migrate_run(cx, db, &c->applied);
    pg_free(db);
    return r;
}

static rc all_at_once(struct cx *cx, void *arg)
{
    enum { RUNNERS = 4 };
    struct call c[RUNNERS] = {0};
    struct fiber *f[RUNNERS];
    int sum = 0;

    for (int i = 0; i < RUNNERS; i++)
        f[i] =
            fiber_spawn(&(struct fiber_opts){.name = "migrate", .inherit = cx}, run_fiber, &c[i]);
    for (int i = 0; i < RUNNERS; i++) {
        rc r;

        ck_ok(fiber_join(cx, f[i], &r));
        ck_ok(r);
        sum += c[i].applied;
    }
    ck_assert_int_eq(sum, (int)migration_count);
    return OK;
}

START_TEST(runners_do_not_meet)
{
    ck_ok(on_fiber(all_at_once, NULL));
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM schema_steps"), (int)migration_count);
}
END_TEST

/* ---------------------------------------------------------------- before the fork */

START_TEST(the_gate_lets_in_who_fits)
{
    ck_assert_int_eq(migrate_gate(url, "mihwar-test"), 1); /* no schema yet */
    run();
    ck_assert_int_eq(migrate_gate(url, "mihwar-test"), 0);
    SIDE("UPDATE schema_steps SET sha256 = 'x' WHERE number = 1");
    ck_assert_int_eq(migrate_gate(url, "mihwar-test"), 1);
    ck_assert_int_eq(migrate_gate("postgresql:///x?host=/nonexistent", "mihwar-test"),
                     0); /* cannot be asked: waits later */
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("migrate");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 20); /* the gate waits 5 s for a server that is not there */
    tcase_add_checked_fixture(tc, database_setup, NULL);
    tcase_add_test(tc, an_empty_database_gets_every_step);
    tcase_add_test(tc, a_database_behind_is_refused);
    tcase_add_test(tc, a_step_that_fails_leaves_nothing);
    tcase_add_test(tc, a_newer_schema_is_refused);
    tcase_add_test(tc, a_changed_step_is_refused);
    tcase_add_test(tc, a_hole_is_refused);
    tcase_add_test(tc, status_lists_what_is_known_and_what_was_found);
    tcase_add_test(tc, runners_do_not_meet);
    tcase_add_test(tc, the_gate_lets_in_who_fits);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, NULL, suite);
}

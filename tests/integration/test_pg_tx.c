/* test_pg_tx.c - transactions: their ends, what is run again, what is in doubt; LISTEN; kill -9 of
 * the server. */
#include "base/id.h"
#include "base/inject.h"
#include "tests/integration/pg_world.h"

static const struct sql CONFLICT = {
    "t_conflict", "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$", 0, false};

/* From a fiber, for what the server will surely do; a fault is told here, not by the end of the program's time. */
#define until(cx, cond)                                                                            \
    do {                                                                                           \
        int64_t end_ = clock_mono_ms() + 60000;                                                    \
        while (!(cond)) {                                                                          \
            ck_assert_msg(clock_mono_ms() < end_, "never came: %s", #cond);                        \
            ck_ok(fiber_sleep((cx), 10));                                                          \
        }                                                                                          \
    } while (0)

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
    return pg_tx_query(cx, tx, &CONFLICT, NULL, PG_NO_ARGS);
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
    until(cx, me->other->holds);
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

/* ---------------------------------------------------------------- a standby that does not answer */

static rc put_and_wait(struct cx *cx, void *arg)
{
    return pg_do(cx, (struct pg *)arg, PUT, NULL, pg_i(7), pg_i(7));
}

static rc put_in_tx(struct cx *cx, struct pg_tx *tx, void *arg)
{
    (void)arg;
    return pg_tx_do(cx, tx, PUT, NULL, pg_i(8), pg_i(8));
}

static rc tx_and_wait(struct cx *cx, void *arg)
{
    return pg_tx_run(cx, (struct pg *)arg, put_in_tx, NULL);
}

/* Somebody cuts the wait for the standby short: it is committed here, and gone if another server is promoted. */
static rc cut_short(struct cx *cx, fiber_fn fn, struct pg *db)
{
    struct fiber *f = fiber_spawn(&(struct fiber_opts){.name = "commit", .inherit = cx}, fn, db);
    rc r = OK;

    until(cx, SIDE_INT("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") != 0);
    SIDE("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    ck_ok(fiber_join(cx, f, &r));
    return r;
}

PG_TEST(a_commit_without_its_standby_is_in_doubt, 2)
{
    SIDE("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    SIDE("SELECT pg_reload_conf()");
    until(cx, strcmp(SIDE("SHOW synchronous_standby_names"), "nobody") == 0);
    rc alone = cut_short(cx, put_and_wait, db), inside = cut_short(cx, tx_and_wait, db);
    SIDE("ALTER SYSTEM RESET synchronous_standby_names");
    SIDE("SELECT pg_reload_conf()");
    ck_rc(alone, E_STORE_DOUBT);
    ck_rc(inside, E_STORE_DOUBT);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM t WHERE id IN (7, 8)"), 2);
    until(cx, strcmp(SIDE("SHOW synchronous_standby_names"), "") == 0);
    return pg_do(cx, db, PUT, NULL, pg_i(9), pg_i(9)); /* and all is well again */
}

PG_TEST(giving_up_inside_leaves_nothing_open, 1)
{
    for (int by_deadline = 0; by_deadline <= 1; by_deadline++) {
        struct story s = {.db = db};
        struct fiber_opts o = {.name = "nap", .timeout_ms = by_deadline ? 1500 : 0};
        struct fiber *f = fiber_spawn(&o, nap_fiber, &s);
        rc r, want = by_deadline ? E_DEADLINE : E_CANCELLED;

        until(cx, SIDE_INT("SELECT count(*)" OTHERS " AND wait_event = 'PgSleep'") >= 1);
        if (!by_deadline)
            fiber_cancel(f);
        ck_ok(fiber_join(cx, f, &r));
        ck_rc(r, want);
        ck_assert_int_eq(s.runs, 1);
        int64_t start = clock_mono_ms();
        until(cx, open_transactions() == 0);
        ck_assert_int_lt(clock_mono_ms() - start, 1500); /* of the 20 s that it would have slept */
        /* the row is not locked, the pool not short of a place */
        ck_ok(pg_tx_run(cx, db, tell, &(struct story){0}));
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
    until(cx, SIDE_INT("SELECT count(*)" OTHERS " AND wait_event = 'PgSleep'") >= 2);
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

/* ---------------------------------------------------------------- what was said must hold */

enum { SAYERS = 24, ROUNDS = 3 };
enum said { NOTHING, KEPT, NOT_KEPT, DOUBT };

struct sayer {
    struct pg *db;
    int me, saying;
    bool *stop;
    enum said said[20000];
};

static rc say_two(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct sayer *s = arg;
    int64_t id = s->me * 100000 + s->saying;

    try(pg_tx_do(cx, tx, PUT, NULL, pg_i(id), pg_i(1)));
    return pg_tx_do(cx, tx, PUT, NULL, pg_i(-1 - id), pg_i(1));
}

static rc say_once(struct cx *cx, struct sayer *s, int64_t id)
{
    /* some have too little time, so that giving up is mixed with losing */
    _cleanup_(cx_deadline_restore) struct cx_deadline d =
        cx_deadline_within(cx, random_below(10) ? 8000 : 1 + (int64_t)random_below(20));
    struct pg_step steps[] = {{.q = &PUT, .args = PG_ARGS(pg_i(id), pg_i(1))},
                              {.q = &PUT, .args = PG_ARGS(pg_i(-1 - id), pg_i(1))}};

    if (s->me % 2)
        return pg_tx_run(cx, s->db, say_two, s);
    rc r = pg_batch(cx, s->db, steps, COUNT(steps));
    pg_result_freep(&steps[0].result);
    pg_result_freep(&steps[1].result);
    return r;
}

static rc say(struct cx *cx, void *arg)
{
    struct sayer *s = arg;

    for (s->saying = 0; !*s->stop && s->saying < (int)COUNT(s->said); s->saying++) {
        rc r = say_once(cx, s, s->me * 100000 + s->saying);

        s->said[s->saying] = r == OK ? KEPT : r == E_STORE_DOUBT ? DOUBT : NOT_KEPT;
        ck_assert_msg(r != E_PG_UNIQUE, "%d was sent again although it had been kept", s->saying);
        ck_ok(fiber_sleep(cx, 1));
    }
    return OK;
}

static void compare(const struct sayer *s, int64_t count[4])
{
    for (int i = 0; i < s->saying; i++) {
        int64_t id = s->me * 100000 + i;
        int64_t rows =
            SIDE_INT("SELECT count(*) FROM t WHERE id IN (%" PRId64 ", %" PRId64 ")", id, -1 - id);

        count[s->said[i]]++;
        ck_assert_msg(rows == 0 || rows == 2, "half of %" PRId64, id);
        ck_assert_msg(s->said[i] != KEPT || rows == 2, "%" PRId64 " was said to be kept", id);
        ck_assert_msg(s->said[i] != NOT_KEPT || rows == 0, "%" PRId64 " was said not to be kept",
                      id);
    }
}

PG_TEST(what_was_said_holds_over_three_crashes, 3)
{
    struct sayer *s = xcalloc(SAYERS, sizeof *s);
    struct fiber *f[SAYERS];
    int64_t count[4] = {0};
    bool stop = false;

    for (int i = 0; i < SAYERS; i++) {
        s[i].db = db;
        s[i].me = i;
        s[i].stop = &stop;
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "sayer"}, say, &s[i]);
    }
    for (int i = 0; i < ROUNDS; i++) {
        ck_ok(fiber_sleep(cx, 400));
        stores_kill_pg(&stores);
        ck_ok(fiber_sleep(cx, 150));
        stores_up_pg(&stores);
    }
    ck_ok(fiber_sleep(cx, 300));
    stop = true;
    for (int i = 0; i < SAYERS; i++)
        ck_ok(fiber_join(cx, f[i], NULL));
    until(cx, open_transactions() == 0);
    for (int i = 0; i < SAYERS; i++)
        compare(&s[i], count);
    printf("kept %d, not kept %d, in doubt %d\n", (int)count[KEPT], (int)count[NOT_KEPT],
           (int)count[DOUBT]);
    ck_assert_int_gt(count[KEPT], 100);
    ck_assert_int_gt(count[NOT_KEPT] + count[DOUBT], 0);
    free(s);
    return OK;
}

static Suite *suite(void)
{
    Suite *s = suite_create("pg tx");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, table_setup, NULL);
    tcase_add_test(tc, transactions_end_as_fn_says);
    tcase_add_test(tc, a_swallowed_failure_is_not_committed);
    tcase_add_test(tc, a_serialization_failure_is_run_again);
    tcase_add_test(tc, retries_are_bounded);
    tcase_add_test(tc, a_deadlock_is_run_again);
    tcase_add_test(tc, a_loss_before_commit_is_run_again);
    tcase_add_test(tc, a_loss_at_commit_is_in_doubt);
    tcase_add_test(tc, a_commit_without_its_standby_is_in_doubt);
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
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, the_server_is_killed_and_comes_back);
    tcase_add_test(tc, what_was_said_holds_over_three_crashes);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    stores_start(&stores, &(struct stores_opts){.no_redis = true});
    int failed = suite_run(suite()) + suite_run_unforked(unforked());
    stores_stop(&stores);
    return support_end(failed);
}

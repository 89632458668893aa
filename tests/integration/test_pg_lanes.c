/* test_pg_lanes.c - many fibers on few connections: pipelines, neighbours, batches, outdated plans.
 */
#include "base/inject.h"
#include "tests/integration/pg_world.h"

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
    ck_ok(pg_do(cx, db, ECHO, NULL, pg_i(1))); /* both lanes are open */
    ck_ok(pg_do(cx, db, PUT, NULL, pg_i(9), pg_i(0)));
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

static Suite *suite(void)
{
    Suite *s = suite_create("pg lanes");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, table_setup, NULL);
    tcase_add_test(tc, a_crowd_shares_few_connections);
    tcase_add_test(tc, errors_leave_the_neighbours_alone);
    tcase_add_test(tc, who_gives_up_leaves_its_slot);
    tcase_add_test(tc, more_than_the_lanes_take);
    tcase_add_test(tc, a_row_lock_holds_up_no_read);
    tcase_add_test(tc, a_plan_that_is_outdated_is_made_anew);
    tcase_add_test(tc, a_server_that_became_read_only_is_left);
    tcase_add_test(tc, a_batch_is_kept_or_refused_as_one);
    tcase_add_test(tc, a_batch_cut_off_is_in_doubt);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, NULL, suite);
}

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

/* ---------------------------------------------------------------- a commit under way */

static const struct sql CHILD_PID = {
    "t_child_pid", "INSERT INTO child VALUES ($1) RETURNING pg_backend_pid()", 1, false};

static const struct sql PUT_NAP_MS = {
    "t_put_nap_ms", "INSERT INTO t (id, note) SELECT $1, pg_sleep($2::float8 / 1000)::text", 2,
    false};

struct hears {
    struct pg *db;
    const struct sql *q;
    int64_t id, n, within_ms;
    bool wants;        /* to hear of the commit */
    struct hears *arg; /* as whom; NULL: itself */
    rc got;
    int times;
    int64_t told_ms, done_ms, pid;
};

static void told(void *arg)
{
    struct hears *h = arg;

    h->times++;
    h->told_ms = clock_mono_ms();
}

static rc put_and_hear(struct cx *cx, void *arg)
{
    struct hears *h = arg;
    struct pg_soon soon = {told, h->arg ? h->arg : h};
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    _cleanup_(cx_deadline_restore) struct cx_deadline d =
        cx_deadline_within(cx, h->within_ms ? h->within_ms : 20000);

    h->got =
        pg_query_soon(cx, h->db, h->q, &r,
                      h->q == &CHILD_PID ? PG_ARGS(pg_i(h->id)) : PG_ARGS(pg_i(h->id), pg_i(h->n)),
                      h->wants ? &soon : NULL);
    h->done_ms = clock_mono_ms();
    if (h->got == OK && h->q == &CHILD_PID)
        h->pid = pg_int(r, 0, 0);
    return OK;
}

static struct fiber *hear(struct cx *cx, struct hears *h)
{
    return fiber_spawn(&(struct fiber_opts){.name = "hears", .inherit = cx}, put_and_hear, h);
}

static rc open_all(struct cx *cx, struct pg *db)
{
    for (int i = 0; i < 50 && SIDE_INT("SELECT count(*)" OTHERS) < 6; i++) {
        SIDE("DELETE FROM t");
        ck_ok(crowd_run(cx, db, ask_ten));
    }
    ck_assert_int_ge(SIDE_INT("SELECT count(*)" OTHERS), 6);
    return OK;
}

/* The commit of a child takes 0.3 s, and that of number 7 fails then. */
static void slow_child(void)
{
    SIDE("CREATE OR REPLACE FUNCTION child_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
         "PERFORM pg_sleep(0.3); IF NEW.parent = 7 THEN RAISE EXCEPTION 'not 7'; END IF; RETURN "
         "NULL; END $$");
    SIDE("CREATE CONSTRAINT TRIGGER child_slow AFTER INSERT ON child DEFERRABLE INITIALLY DEFERRED "
         "FOR EACH ROW "
         "EXECUTE FUNCTION child_slow()");
}

/* The rows are here and the commit takes 0.3 s: who asks to hear of it hears at once, and what is sent with the same wish
 * stands right behind; others take another connection. */
PG_TEST(a_commit_under_way_is_heard_of, 1)
{
    struct hears first = {.db = db, .q = &CHILD_PID, .id = 1, .wants = true};
    struct hears behind = first, other = first;
    struct fiber *f[3];

    other.wants = false;
    ck_ok(open_all(cx, db));
    SIDE("INSERT INTO t (id) VALUES (1) ON CONFLICT DO NOTHING");
    slow_child();
    f[0] = hear(cx, &first);
    while (first.times == 0 && first.done_ms == 0)
        ck_ok(fiber_sleep(cx, 1));
    ck_assert_int_eq(first.times, 1);
    ck_assert_int_eq(first.done_ms, 0);
    behind.arg = &first; /* the same caller */
    f[1] = hear(cx, &behind);
    f[2] = hear(cx, &other);
    for (int i = 0; i < 3; i++)
        ck_ok(fiber_join(cx, f[i], NULL));
    ck_ok(first.got);
    ck_ok(behind.got);
    ck_ok(other.got);
    ck_assert(behind.pid == first.pid && other.pid != first.pid);
    ck_assert(first.times == 2 && other.times == 0); /* it hears of both */
    return OK;
}

/* Nobody is put behind a commit that takes long, nor behind one whose caller has given up. */
PG_TEST(nobody_stands_behind_a_slow_commit, 1)
{
    struct hears first = {.db = db, .q = &CHILD_PID, .id = 1, .wants = true};
    struct hears later = first, gone = first, after = first;
    struct fiber *f;

    ck_ok(open_all(cx, db));
    SIDE("INSERT INTO t (id) VALUES (1) ON CONFLICT DO NOTHING");
    slow_child();
    f = hear(cx, &first);
    while (first.times == 0)
        ck_ok(fiber_sleep(cx, 1));
    while (clock_mono_ms() - first.told_ms < 30)
        ck_ok(fiber_sleep(cx, 1));
    ck_ok(fiber_join(cx, hear(cx, &later), NULL));
    ck_ok(fiber_join(cx, f, NULL));
    ck_assert(later.pid != 0 && later.pid != first.pid);

    gone.arg = after.arg = &gone;
    f = hear(cx, &gone);
    while (gone.times == 0)
        ck_ok(fiber_sleep(cx, 1));
    fiber_cancel(f);
    ck_ok(fiber_join(cx, f, NULL));
    ck_rc(gone.got, E_STORE_DOUBT);
    int64_t busy = SIDE_INT("SELECT pid" OTHERS " AND state <> 'idle'");
    ck_ok(fiber_join(cx, hear(cx, &after), NULL));
    ck_assert(after.pid != 0 && after.pid != busy);
    return OK;
}

/* What is heard is not the outcome: the commit may fail. A statement that failed commits nothing, and who has given up hears
 * nothing. */
PG_TEST(a_commit_under_way_may_fail, 1)
{
    struct hears commit = {.db = db, .q = &CHILD_PID, .id = 99, .wants = true},
                 statement = {.db = db, .q = &PUT, .id = 1, .n = -1, .wants = true},
                 gave_up = {.db = db,
                            .q = &PUT_NAP_MS,
                            .id = 2,
                            .n = 400,
                            .wants = true,
                            .within_ms = 100};

    ck_ok(fiber_join(cx, hear(cx, &commit), NULL));
    ck_rc(commit.got, E_PG_CONSTRAINT);
    ck_assert_int_eq(commit.times, 1);
    ck_ok(fiber_join(cx, hear(cx, &statement), NULL));
    ck_rc(statement.got, E_PG_CONSTRAINT);
    ck_assert_int_eq(statement.times, 0);
    ck_ok(fiber_join(cx, hear(cx, &gave_up), NULL));
    ck_rc(gave_up.got, E_STORE_DOUBT);
    while (SIDE_INT("SELECT count(*) FROM t WHERE id = 2") == 0)
        ck_ok(fiber_sleep(cx, 5));
    ck_ok(pg_do(cx, db, PUT, NULL, pg_i(3),
                pg_i(3))); /* its answer stands behind that one's, or the loop has turned */
    ck_assert_int_eq(gave_up.times, 0);
    return OK;
}

/* Who stands behind a commit that fails is not touched by it; when the connection is lost in it, both are in doubt. */
PG_TEST(a_commit_fails_and_somebody_stands_behind, 1)
{
    static const struct {
        const char *title;
        int64_t id;
        bool cut;
        rc first, behind;
        int kept;
    } rows[] = {
        {"the commit fails", 7, false, E_PG_CONSTRAINT, OK, 1},
        {"the connection is lost", 1, true, E_STORE_DOUBT, E_STORE_DOUBT, 0},
    };

    ck_ok(open_all(cx, db));
    SIDE("INSERT INTO t (id) VALUES (1), (7) ON CONFLICT DO NOTHING");
    slow_child();
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct hears first = {.db = db, .q = &CHILD_PID, .id = rows[i].id, .wants = true};
        struct hears behind = {.db = db, .q = &CHILD_PID, .id = 1, .wants = true, .arg = &first};
        struct fiber *f[2];

        SIDE("DELETE FROM child");
        f[0] = hear(cx, &first);
        while (first.times == 0)
            ck_ok(fiber_sleep(cx, 1));
        f[1] = hear(cx, &behind);
        ck_ok(fiber_sleep(cx, 0)); /* it is sent now, while who stands behind may */
        int64_t busy = SIDE_INT("SELECT pid" OTHERS " AND state <> 'idle'");
        if (rows[i].cut)
            SIDE("SELECT pg_terminate_backend(%d)", (int)busy);
        ck_ok(fiber_join(cx, f[0], NULL));
        ck_ok(fiber_join(cx, f[1], NULL));
        ck_assert_msg(first.got == rows[i].first && behind.got == rows[i].behind, "%s: %d and %d",
                      rows[i].title, (int)first.got, (int)behind.got);
        ck_assert(behind.got != OK || behind.pid == busy);
        ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM child"), rows[i].kept);
    }
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
    tcase_add_test(tc, a_commit_under_way_is_heard_of);
    tcase_add_test(tc, nobody_stands_behind_a_slow_commit);
    tcase_add_test(tc, a_commit_under_way_may_fail);
    tcase_add_test(tc, a_commit_fails_and_somebody_stands_behind);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, NULL, suite);
}

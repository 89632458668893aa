/* test_order_safety.c - can an order be bought twice, lost, or left lying? The races of order_flow.h, move by move, against a
 * real PostgreSQL: who was slow, who came twice, who was told in doubt.
 *
 * Each call below is one transaction; `mine`, `theirs` are what two callers hold in their hands. */
#include "base/text.h"
#include "domain/orders/order_create.h"
#include "domain/orders/order_flow.h"
#include "domain/orders/order_sweep.h"
#include "shop.h"
#include <string.h>

static struct stores stores;

#define SIDE(...) pg_one(stores.database_url, __VA_ARGS__)
#define ORDER_ID  "01900000-0000-7000-8000-0000000000aa"
#define LATER     (INT64_C(4102444800000)) /* 2100: nothing here looks at the clock */

/* ---------------------------------------------------------------- one step, one transaction */

struct world {
    struct cx *cx;
    struct pg *db;
};

struct call {
    enum {
        BEGIN,
        PLACED,
        REFUSED,
        UNCLEAR,
        UNSENT,
        DONE,
        REJECTED,
        RESEND,
        REVIEW,
        GIVE_UP,
        NOT_LET_IN,
        SETTLED,
        LEFT
    } what;
    int unit;
    struct placement *p;
    enum order_begun begun;
    enum order_next next;
    int left;
};

static rc one_step(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct call *c = arg;
    const struct order_step step = {.tx = tx, .actor = "test"}, *st = &step;
    const struct provider_words w = {.note = "said"};

    switch (c->what) {
    case BEGIN:
        return order_begin(cx, st, ORDER_ID, c->unit, ALPHA, REFERANS_DIGITS, c->p, &c->begun);
    case PLACED:
        return order_placed(cx, st, c->p, &w, LATER);
    case REFUSED:
        return order_refused(cx, st, c->p, &w, LATER, &c->next);
    case UNCLEAR:
        return order_unclear(cx, st, c->p, &w, LATER);
    case UNSENT:
        return order_unsent(cx, st, c->p, &w, LATER);
    case DONE:
        return order_answer_done(cx, st, c->p, &w, NULL);
    case REJECTED:
        return order_answer_rejected(cx, st, c->p, &w, &c->next);
    case RESEND:
        return order_resend(cx, st, c->p, c->p, &c->begun);
    case REVIEW:
        return order_to_review(cx, st, c->p, "who knows");
    case NOT_LET_IN:
        return order_not_let_in(cx, st, c->p, &w, LATER, &c->next);
    case GIVE_UP:
        return order_give_up(cx, st, ORDER_ID, c->unit, "nobody");
    case SETTLED:
        return order_dispatched(cx, st, ORDER_ID);
    case LEFT:
        return order_check_left(cx, st, ORDER_ID, &c->left);
    }
    return OK;
}

static rc run(struct world *w, struct call *c)
{
    return pg_tx_run(w->cx, w->db, one_step, c);
}
#define DO(w, what_, p_) ck_ok(run((w), &(struct call){.what = (what_), .p = (p_)}))

static void begin(struct world *w, int unit, struct placement *p)
{
    struct call c = {.what = BEGIN, .unit = unit, .p = p};

    ck_ok(run(w, &c));
    ck_assert_int_eq(c.begun, BEGUN);
}

static struct order_plan plan(struct world *w)
{
    struct order_plan p;

    ck_ok(order_plan(w->cx, w->db, ORDER_ID, &p));
    return p;
}

static const char *placements(void)
{
    return SIDE("SELECT coalesce(string_agg(concat_ws(' ', unit, status, calls), '; ' ORDER BY "
                "unit, id), '') FROM order_placements");
}

static const char *order_is(void)
{
    return SIDE("SELECT status FROM product_orders");
}

static int64_t jobs(const char *task)
{
    return pg_one_int(stores.database_url, "SELECT count(*) FROM jobs WHERE live AND task = '%s'",
                      task);
}

/* ---------------------------------------------------------------- the races */

/* "Not a byte left us" was stored, but its commit was in doubt, so it is stored again, and by then another attempt is calling
 * under the same reference: the word of the older call says nothing about the newer. */
static void unsent_comes_again(struct world *w)
{
    struct placement mine, theirs;

    begin(w, 1, &mine);
    DO(w, UNSENT, &mine);
    begin(w, 1, &theirs);
    ck_assert_str_eq(mine.referans, theirs.referans);
    DO(w, UNSENT, &mine);
    ck_assert_str_eq(placements(), "1 sending 1");
    ck_assert_int_eq(plan(w).what, PLAN_DOUBT); /* never PLAN_PLACE: a third call */
    DO(w, UNSENT, &theirs);
    ck_assert_str_eq(placements(), "1 unsent 1");
}

/* The doubt of somebody who saw the older call does not touch the newer one, whose caller lives. */
static void doubt_of_an_older_call(struct world *w)
{
    struct placement mine, theirs;

    begin(w, 1, &mine);
    struct order_plan seen = plan(w);
    ck_assert_int_eq(seen.what, PLAN_DOUBT);
    DO(w, UNSENT, &mine);
    begin(w, 1, &theirs);
    DO(w, UNCLEAR, &seen.doubt);
    ck_assert_str_eq(placements(), "1 sending 1");
    seen = plan(w);
    DO(w, UNCLEAR, &seen.doubt); /* who saw the newer one, and died with it */
    ck_assert_str_eq(placements(), "1 unconfirmed 1");
    ck_assert_int_eq(jobs(ORDER_CHECK_TASK), 1);
}

/* Sent again where duplicates are merged: the first caller was only slow. None of his words ends the unit or frees it. */
static void slow_caller_against_resend(struct world *w)
{
    struct placement mine, theirs;

    begin(w, 1, &mine);
    struct order_plan seen = plan(w);
    DO(w, UNCLEAR, &seen.doubt);
    theirs = seen.doubt;
    DO(w, RESEND, &theirs);
    ck_assert_int_eq(theirs.calls, 2);
    struct call refused = {.what = REFUSED, .p = &mine};
    ck_ok(run(w, &refused));
    ck_assert_int_eq(refused.next, NEXT_ASK);
    DO(w, UNSENT, &mine);
    DO(w, UNCLEAR, &mine);
    ck_assert_str_eq(placements(), "1 sending 2");
    DO(w, UNSENT, &theirs);
    ck_assert_str_eq(placements(), "1 unconfirmed 2");
    ck_assert_int_eq(plan(w).what, PLAN_NOTHING);
}

/* A unit that nobody can be asked for, while others are under way: it waits for them, without a word each time. */
static void unplaced_waits_for_the_others(struct world *w)
{
    struct placement p;

    begin(w, 1, &p);
    DO(w, PLACED, &p);
    SIDE("UPDATE integrations SET enabled = false");
    int64_t events = pg_one_int(stores.database_url, "SELECT count(*) FROM order_events");
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(plan(w).what, PLAN_UNROUTED);
        ck_rc(run(w, &(struct call){.what = GIVE_UP, .unit = 2}), E_CONFLICT);
    }
    ck_assert_str_eq(order_is(), "sent");
    ck_assert_int_eq(pg_one_int(stores.database_url, "SELECT count(*) FROM order_events"), events);
    DO(w, DONE, &p);
    ck_ok(run(w, &(struct call){.what = GIVE_UP, .unit = 2}));
    ck_assert_str_eq(order_is(), "review"); /* a part was delivered */
}

/* The same when the other unit is before a person already: the order is, too. */
static void unplaced_beside_a_review(struct world *w)
{
    struct placement p;

    begin(w, 1, &p);
    DO(w, UNCLEAR, &p);
    DO(w, REVIEW, &p);
    ck_assert_str_eq(order_is(), "sent"); /* the other unit can still be placed */
    SIDE("UPDATE integrations SET enabled = false");
    ck_assert_int_eq(plan(w).what, PLAN_UNROUTED);
    ck_ok(run(w, &(struct call){.what = GIVE_UP, .unit = 2}));
    ck_assert_str_eq(order_is(), "review");
    ck_assert_int_eq(plan(w).what, PLAN_NOTHING);
}

/* A unit without a provider hides no dead caller behind it. */
static void doubt_comes_first(struct world *w)
{
    struct placement p;

    begin(w, 2, &p);
    SIDE("UPDATE integrations SET enabled = false");
    struct order_plan next = plan(w);
    ck_assert_int_eq(next.what, PLAN_DOUBT);
    ck_assert_int_eq(next.unit, 2);
}

/* A dispatch that saw nothing to do, and a cancellation there that finds the dispatch still alive and makes no other: whoever
 * ends last sees it. */
static void a_dispatch_ends_only_when_nothing_is_left(struct world *w)
{
    struct placement p;

    begin(w, 1, &p);
    DO(w, PLACED, &p);
    ck_assert_int_eq(plan(w).what, PLAN_NOTHING);
    ck_ok(run(w, &(struct call){.what = SETTLED}));
    DO(w, REJECTED, &p);
    ck_rc(run(w, &(struct call){.what = SETTLED}), E_CONFLICT);
    ck_assert_str_eq(order_is(), "pending");
}

/* A pending order of two whose first unit an operator calls delivered: it waits for the second. */
static void one_unit_decided_before_anything(struct world *w)
{
    struct placement p;
    struct order o;

    begin(w, 1, &p);
    DO(w, UNSENT, &p);
    ck_ok(order_resolve(w->cx, w->db, NULL, NULL, "cli:test", ORDER_ID, 1, DECIDE_COMPLETED, NULL,
                        "by hand", &o));
    ck_assert_int_eq(o.status, ORDER_SENT);
    ck_assert_int_eq(plan(w).what, PLAN_PLACE);
}

/* Shut out: somebody else, at once and once; the last one is waited for. A repeated call that is shut out proves nothing. */
static void shut_out(struct world *w)
{
    struct placement p;
    struct call out = {.what = NOT_LET_IN, .p = &p};

    begin(w, 1, &p);
    ck_ok(run(w, &out));
    ck_assert_int_eq(out.next, NEXT_FALLBACK);
    ck_assert_str_eq(order_is(), "pending");
    ck_assert_str_eq(plan(w).integration_id, BETA);
    SIDE("UPDATE package_routing SET fallback_id = NULL");
    SIDE("DELETE FROM order_events");
    SIDE("DELETE FROM order_placements");
    begin(w, 1, &p);
    ck_ok(run(w, &out));
    ck_assert_int_eq(out.next, NEXT_END);
    ck_assert_str_eq(placements(), "1 unsent 1");
    SIDE("UPDATE package_routing SET fallback_id = '" BETA "'");
    begin(w, 1, &p);
    DO(w, UNCLEAR, &p);
    DO(w, RESEND, &p);
    ck_ok(run(w, &out));
    ck_assert_int_eq(out.next, NEXT_ASK);
    ck_assert_str_eq(placements(), "1 unconfirmed 2");
}

/* One unit waits for a provider that is paused, the other's check has ended with its questions used up: the dispatch that lives
 * asks nobody, so the sweep brings a check. */
static void a_waiting_dispatch_is_no_check(struct world *w)
{
    struct order_unchecked *u;
    struct placement p;
    char after[ID_LEN + 1] = "";
    size_t n;

    begin(w, 1, &p);
    DO(w, PLACED, &p);
    DO(w, LEFT, NULL); /* the second unit: a dispatch */
    ck_assert_int_eq(jobs(ORDER_DISPATCH_TASK), 1);
    ck_ok(orders_unchecked(w->cx, w->db, LATER, after, &u, &n));
    ck_assert_uint_eq(n, 0);
    SIDE("UPDATE jobs SET state = 'completed', finished_at = now() WHERE task = 'order.check'");
    ck_ok(orders_unchecked(w->cx, w->db, LATER, after, &u, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(u[0].task, ORDER_CHECK_TASK);
}

static const struct {
    const char *title;
    int quantity;
    void (*play)(struct world *w);
} races[] = {
    {"unsent comes again", 1, unsent_comes_again},
    {"doubt of an older call", 1, doubt_of_an_older_call},
    {"slow caller against resend", 1, slow_caller_against_resend},
    {"unplaced waits for the others", 2, unplaced_waits_for_the_others},
    {"unplaced beside a review", 2, unplaced_beside_a_review},
    {"doubt comes first", 2, doubt_comes_first},
    {"a dispatch ends only when nothing is left", 1, a_dispatch_ends_only_when_nothing_is_left},
    {"shut out", 1, shut_out},
    {"a waiting dispatch is no check", 2, a_waiting_dispatch_is_no_check},
    {"one unit decided before anything", 2, one_unit_decided_before_anything},
};

static rc race_fiber(struct cx *cx, void *arg)
{
    void (*const *play)(struct world *) = arg;
    struct world w = {.cx = cx};

    try(pg_new(cx, stores.database_url, 2, &w.db));
    (*play)(&w);
    pg_free(w.db);
    return OK;
}

START_TEST(race)
{
    SIDE("TRUNCATE product_orders, order_placements, order_events, jobs CASCADE");
    SIDE("UPDATE integrations SET enabled = true");
    SIDE("INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, "
         "quantity) VALUES"
         " ('" ORDER_ID "', '" TENANT "', '" PRODUCT "', '" PACKAGE "', '123', %d)",
         races[_i].quantity);
    ck_ok(on_fiber(race_fiber, (void *)&races[_i].play));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("order_safety");
    TCase *tc = tcase_create("races");

    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, race, 0, COUNT(races));
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, shop_make, suite);
}

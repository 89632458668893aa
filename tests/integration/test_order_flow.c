/* test_order_flow.c - an order's steps against a real PostgreSQL, told as short scripts: what is
 * called, and what stands in every table afterwards. Each word of a script is one transaction. */
#include "base/text.h"
#include "domain/orders/order_create.h"
#include "domain/orders/order_flow.h"
#include "shop.h"
#include <stdlib.h>
#include <string.h>

static struct stores stores;

#define SIDE(...) pg_one(stores.database_url, __VA_ARGS__)
#define ORDER_ID  "01900000-0000-7000-8000-0000000000aa"
#define CHECK_AT  (INT64_C(4102444800000)) /* 2100: nothing here looks at the clock */

/* ---------------------------------------------------------------- the words of a script */

struct play {
    struct pg *db;
    struct seal_keys *seal;
    struct order_plan plan;
    struct placement p; /* the one the words are about: the latest that was planned or begun, or
                           chosen by u1, u2 */
    const char *word, *want; /* "refused", "fallback" of "refused=fallback" */
    int unit;
};

static const struct provider_words said = {
    .external_status = "1", .note = "said", .cost = "-10.12", .currency = "TRY"};

static void want(const struct play *y, const char *got)
{
    ck_assert_msg(y->want && strcmp(y->want, got) == 0, "%s: wanted %s, got %s", y->word,
                  y->want ? y->want : "nothing", got);
}

static const char *begun_word(enum order_begun b)
{
    return b == BEGUN ? "begun" : b == BEGUN_DOUBT ? "doubt" : "ended";
}

static const char *next_word(enum order_next n)
{
    return n == NEXT_FALLBACK ? "fallback" : n == NEXT_ASK ? "ask" : "end";
}

#define WORD(name) static rc name(struct cx *cx, struct pg_tx *tx, void *arg)
#define STEP                                                                                       \
    struct play *y = arg;                                                                          \
    const struct order_step step = {.tx = tx, .seal = y->seal, .actor = "test"}, *st = &step

WORD(begin)
{
    STEP;
    enum order_begun b;
    int unit = y->plan.what == PLAN_PLACE ? y->plan.unit : y->p.unit;
    const char *at = y->plan.what == PLAN_PLACE ? y->plan.integration_id : ALPHA;

    try(order_begin(cx, st, ORDER_ID, unit, at, unit == 1 ? REFERANS_DIGITS : REFERANS_UUID, &y->p,
                    &b));
    want(y, begun_word(b));
    return OK;
}

WORD(placed)
{
    STEP;
    return order_placed(cx, st, &y->p, &said, CHECK_AT);
}

WORD(refused)
{
    STEP;
    enum order_next n;
    try(order_refused(cx, st, &y->p, &said, CHECK_AT, &n));
    want(y, next_word(n));
    return OK;
}

WORD(unclear)
{
    STEP;
    return order_unclear(cx, st, &y->p, &(struct provider_words){.note = "cut"}, CHECK_AT);
}

WORD(unsent)
{
    STEP;
    return order_unsent(cx, st, &y->p, &(struct provider_words){.note = "no route"}, CHECK_AT);
}

WORD(give_up)
{
    STEP;
    return order_give_up(cx, st, ORDER_ID, y->plan.unit, "nobody");
}

WORD(open)
{
    STEP;
    return order_answer_open(cx, st, &y->p, &said);
}

WORD(done)
{
    STEP;
    char pin[32];
    snprintf(pin, sizeof pin, "PIN-%d", y->p.unit);
    return order_answer_done(cx, st, &y->p, &said, y->want ? NULL : pin);
}

WORD(rejected)
{
    STEP;
    enum order_next n;
    try(order_answer_rejected(cx, st, &y->p, &said, &n));
    want(y, next_word(n));
    return OK;
}

WORD(nothing)
{
    STEP;
    return order_answer_nothing(cx, st, &y->p, &(struct provider_words){.note = "HTTP 502"});
}

WORD(resend)
{
    STEP;
    enum order_begun b;
    try(order_resend(cx, st, &y->p, &y->p, &b));
    want(y, begun_word(b));
    return OK;
}

WORD(timeout)
{
    STEP;
    return order_timed_out(cx, st, &y->p);
}

WORD(review)
{
    STEP;
    return order_to_review(cx, st, &y->p, "who knows");
}

WORD(left)
{
    STEP;
    int n;
    char text[16];
    try(order_check_left(cx, st, ORDER_ID, &n));
    snprintf(text, sizeof text, "%d", n);
    want(y, text);
    return OK;
}

/* Words that are no step of their own: they read, or run a transaction themselves. */
static rc plan(struct cx *cx, struct play *y)
{
    static const char *const words[] = {[PLAN_NOTHING] = "nothing",
                                        [PLAN_PLACE] = "place",
                                        [PLAN_DOUBT] = "doubt",
                                        [PLAN_UNROUTED] = "unrouted"};

    try(order_plan(cx, y->db, ORDER_ID, &y->plan));
    want(y, words[y->plan.what]);
    if (y->plan.what == PLAN_DOUBT)
        y->p = y->plan.doubt;
    return OK;
}

static rc choose(struct cx *cx, struct play *y)
{
    struct placement *list;
    size_t n;

    try(placement_list(cx, y->db, ORDER_ID, &list, &n));
    for (size_t i = 0; i < n; i++) {
        if (list[i].unit == atoi(y->word + 1))
            y->p = list[i];
    }
    return OK;
}

static rc cancel(struct cx *cx, struct play *y)
{
    struct order o;
    rc r = order_cancel(cx, y->db, NULL, "test", TENANT, ORDER_ID, &o);

    want(y, r == OK ? order_status_word(o.status) : error_info(r)->code);
    return OK;
}

/* resolve=DECISION,RESULT */
static rc resolve(struct cx *cx, struct play *y)
{
    struct order o;
    const char *comma = strchr(y->want, ',');
    bool completed = starts_with(y->want, "completed"), ask = starts_with(y->want, "ask");
    rc r = order_resolve(cx, y->db, NULL, y->seal, "cli:test", ORDER_ID, y->unit,
                         completed ? DECIDE_COMPLETED
                         : ask     ? DECIDE_ASK
                                   : DECIDE_FAILED,
                         completed && y->p.id ? "PIN-op" : NULL, "by hand", &o);
    const char *got = r == OK ? order_status_word(o.status) : error_info(r)->code;
    ck_assert_msg(comma && strcmp(comma + 1, got) == 0, "resolve=%s, got %s", y->want, got);
    return OK;
}

static rc sql(struct cx *cx, struct play *y)
{
    (void)cx;
    if (str_eq(y->want, "unroute"))
        SIDE("UPDATE integrations SET enabled = false");
    return OK;
}

static const struct {
    const char *word;
    rc (*tx)(struct cx *cx, struct pg_tx *tx, void *arg);
    rc (*fn)(struct cx *cx, struct play *y);
} words[] = {
    {"begin", begin, NULL},       {"placed", placed, NULL}, {"refused", refused, NULL},
    {"unclear", unclear, NULL},   {"unsent", unsent, NULL}, {"give_up", give_up, NULL},
    {"open", open, NULL},         {"done", done, NULL},     {"nothing", nothing, NULL},
    {"rejected", rejected, NULL}, {"resend", resend, NULL}, {"timeout", timeout, NULL},
    {"review", review, NULL},     {"left", left, NULL},     {"plan", NULL, plan},
    {"cancel", NULL, cancel},     {"u1", NULL, choose},     {"u2", NULL, choose},
    {"resolve", NULL, resolve},   {"sql", NULL, sql},
};

static rc speak(struct cx *cx, struct play *y, char *word)
{
    char *eq = strchr(word, '=');

    if (eq)
        *eq = '\0';
    y->word = word;
    y->want = eq ? eq + 1 : NULL;
    for (size_t i = 0; i < COUNT(words); i++) {
        if (strcmp(words[i].word, word) == 0)
            return words[i].tx ? pg_tx_run(cx, y->db, words[i].tx, y) : words[i].fn(cx, y);
    }
    support_die("the script says '%s'", word);
}

/* ---------------------------------------------------------------- scripts */

static const struct flow_case {
    const char *title;
    int quantity;
    const char *script;
    const char *order;      /* status attempts provider cost sent? pin? note */
    const char *placements; /* unit provider status calls asked gave_up; … */
    const char *jobs;       /* live ones */
    const char *events;
} cases[] = {
    {"accepted and delivered", 1, "plan=place begin=begun placed open done left=0",
     "completed 1 alpha 10.12 sent pin said", "1 alpha completed 1 2 f",
     "order.check webhook.deliver", "sending sent completed"},
    {"delivered without a PIN", 1, "plan=place begin=begun placed done=nopin",
     "completed 1 alpha 10.12 sent - said", "1 alpha completed 1 1 f",
     "order.check webhook.deliver", "sending sent completed"},
    {"delivered at once", 1, "plan=place begin=begun done plan=nothing",
     "completed 1 alpha 10.12 sent pin said", "1 alpha completed 1 0 f", "webhook.deliver",
     "sending completed"},
    {"refused, then delivered by the fallback", 1,
     "plan=place begin=begun refused=fallback plan=place begin=begun placed done",
     "completed 2 beta 10.12 sent pin said", "1 alpha failed 1 0 f; 1 beta completed 1 1 f",
     "order.check webhook.deliver", "sending refused sending sent completed"},
    {"refused by both", 1,
     "plan=place begin=begun refused=fallback plan=place begin=begun refused=end plan=nothing",
     "failed 2 beta - - - said", "1 alpha failed 1 0 f; 1 beta failed 1 0 t", "webhook.deliver",
     "sending refused sending refused"},
    {"cancelled there, then delivered by the fallback", 1,
     "plan=place begin=begun placed rejected=fallback plan=place begin=begun placed done",
     "completed 2 beta 10.12 sent pin said", "1 alpha failed 1 1 f; 1 beta completed 1 1 f",
     "order.check order.dispatch webhook.deliver", "sending sent rejected sending sent completed"},
    {"cancelled by both", 1,
     "plan=place begin=begun placed rejected=fallback plan=place begin=begun placed rejected=end",
     "failed 2 beta - sent - said", "1 alpha failed 1 1 f; 1 beta failed 1 1 t",
     "order.check order.dispatch webhook.deliver", "sending sent rejected sending sent rejected"},
    {"unclear, then it turns out to be there", 1,
     "plan=place begin=begun unclear nothing nothing open done",
     "completed 1 alpha 10.12 sent pin said", "1 alpha completed 1 4 f",
     "order.check webhook.deliver", "sending unconfirmed no_answer open completed"},
    {"unclear, never anywhere else", 1,
     "plan=place begin=begun unclear plan=nothing begin=doubt left=1",
     "unconfirmed 1 alpha - sent - cut", "1 alpha unconfirmed 1 0 f", "order.check",
     "sending unconfirmed"},
    {"unclear to the end: a person decides", 1,
     "plan=place begin=begun unclear timeout plan=nothing",
     "review 1 alpha - sent - Timeout: No response after 24h", "1 alpha review 1 0 f",
     "order.check webhook.deliver", "sending unconfirmed review"},
    {"sent and never delivered: failed, and nobody else is tried", 1,
     "plan=place begin=begun placed timeout plan=nothing",
     "failed 1 alpha - sent - Timeout: No response after 24h", "1 alpha failed 1 0 t",
     "order.check webhook.deliver", "sending sent failed"},
    {"the caller died: doubt, no second call", 1,
     "plan=place begin=begun plan=doubt begin=doubt unclear plan=nothing",
     "unconfirmed 1 alpha - sent - cut", "1 alpha unconfirmed 1 0 f", "order.check",
     "sending unconfirmed"},
    {"the caller was only slow: its acceptance counts", 1,
     "plan=place begin=begun plan=doubt unclear placed", "sent 1 alpha 10.12 sent - said",
     "1 alpha sent 1 0 f", "order.check", "sending unconfirmed sent"},
    {"never left us: the same reference again", 1,
     "plan=place begin=begun unsent plan=place begin=begun placed",
     "sent 2 alpha 10.12 sent - said", "1 alpha sent 1 0 f", "order.check",
     "sending unsent sending sent"},
    {"never left us: can be cancelled", 1,
     "plan=place begin=begun unsent cancel=cancelled plan=nothing begin=ended",
     "cancelled 1 alpha - - - no route", "1 alpha failed 1 0 t", "webhook.deliver",
     "sending unsent cancelled"},
    {"cancelled before anything", 1, "cancel=cancelled cancel=cancelled plan=nothing",
     "cancelled 0 - - - - -", "", "webhook.deliver", "cancelled"},
    {"too late while the call is under way", 1, "plan=place begin=begun cancel=too_late",
     "sending 1 alpha - - - -", "1 alpha sending 1 0 f", "", "sending"},
    {"too late once it was sent", 1, "plan=place begin=begun placed cancel=too_late",
     "sent 1 alpha 10.12 sent - said", "1 alpha sent 1 0 f", "order.check", "sending sent"},
    {"too late in doubt", 1, "plan=place begin=begun unclear cancel=too_late",
     "unconfirmed 1 alpha - sent - cut", "1 alpha unconfirmed 1 0 f", "order.check",
     "sending unconfirmed"},
    {"may be cancelled between two providers", 1,
     "plan=place begin=begun refused=fallback cancel=cancelled", "cancelled 1 alpha - - - said",
     "1 alpha failed 1 0 f", "webhook.deliver", "sending refused cancelled"},
    {"sent again where that is safe", 1, "plan=place begin=begun unclear resend=begun placed done",
     "completed 1 alpha 10.12 sent pin said", "1 alpha completed 2 1 f",
     "order.check webhook.deliver", "sending unconfirmed resent sent completed"},
    {"sent again and refused: not certain, the first may have arrived", 1,
     "plan=place begin=begun unclear resend=begun refused=ask plan=nothing",
     "unconfirmed 1 alpha 10.12 sent - said", "1 alpha unconfirmed 2 0 f", "order.check",
     "sending unconfirmed resent unconfirmed"},
    {"sent again and never left us: not certain either", 1,
     "plan=place begin=begun unclear resend=begun unsent cancel=too_late",
     "unconfirmed 1 alpha - sent - no route", "1 alpha unconfirmed 2 0 f", "order.check",
     "sending unconfirmed resent unconfirmed"},
    {"sent again by two: the second is told doubt", 1,
     "plan=place begin=begun unclear u1 resend=begun resend=doubt", "sending 1 alpha - sent - cut",
     "1 alpha sending 2 0 f", "order.check", "sending unconfirmed resent"},
    {"late answers change nothing", 1,
     "plan=place begin=begun placed done open placed refused=end unclear nothing rejected=end "
     "timeout review",
     "completed 1 alpha 10.12 sent pin said", "1 alpha completed 1 1 f",
     "order.check webhook.deliver",
     "sending sent completed late_open late_sent late_refused late_unclear late_nothing "
     "late_rejected late_timeout "
     "late_review"},
    {"an operator says completed", 1,
     "plan=place begin=begun unclear review resolve=completed,completed done",
     "completed 1 alpha - sent pin by hand", "1 alpha completed 1 0 f",
     "order.check webhook.deliver webhook.deliver",
     "sending unconfirmed review resolved_completed late_completed"},
    {"an operator says failed: nobody else is tried", 1,
     "plan=place begin=begun unclear review resolve=failed,failed plan=nothing",
     "failed 1 alpha - sent - by hand", "1 alpha failed 1 0 t",
     "order.check webhook.deliver webhook.deliver", "sending unconfirmed review resolved_failed"},
    {"an operator has it asked again", 1,
     "plan=place begin=begun unclear review resolve=ask,unconfirmed open done",
     "completed 1 alpha 10.12 sent pin said", "1 alpha completed 1 2 f",
     "order.check webhook.deliver webhook.deliver",
     "sending unconfirmed review resolved_ask open completed"},
    {"an operator decides what was never placed", 1, "resolve=completed,completed plan=nothing",
     "completed 0 - - - - by hand", "", "webhook.deliver", "resolved_completed"},
    {"an operator comes too early", 1, "plan=place begin=begun resolve=failed,conflict",
     "sending 1 alpha - - - -", "1 alpha sending 1 0 f", "", "sending"},
    {"an operator comes too late", 1, "cancel=cancelled resolve=completed,conflict",
     "cancelled 0 - - - - -", "", "webhook.deliver", "cancelled"},
    {"the route is gone", 1, "sql=unroute plan=unrouted give_up plan=nothing",
     "failed 0 - - - - nobody", "", "webhook.deliver", "failed"},
    {"the route is gone after it never left us", 1,
     "plan=place begin=begun unsent sql=unroute plan=unrouted give_up",
     "failed 1 alpha - - - nobody", "1 alpha failed 1 0 t", "webhook.deliver",
     "sending unsent failed"},
    {"two units, both delivered", 2,
     "plan=place begin=begun placed plan=place begin=begun placed plan=nothing u1 done u2 done",
     "completed 2 alpha 20.24 sent pin said", "1 alpha completed 1 1 f; 2 alpha completed 1 1 f",
     "order.check webhook.deliver", "sending sent sending sent completed completed"},
    {"two units, one of them refused by all: a person decides", 2,
     "plan=place begin=begun placed plan=place begin=begun refused=fallback plan=place begin=begun "
     "refused=end u1 done",
     "review 3 alpha 10.12 sent - said",
     "1 alpha completed 1 1 f; 2 alpha failed 1 0 f; 2 beta failed 1 0 t",
     "order.check webhook.deliver", "sending sent sending refused sending refused completed"},
    {"a part was delivered: the operator ends the order", 2,
     "plan=place begin=begun done plan=place begin=begun refused=fallback plan=place begin=begun "
     "refused=end "
     "resolve=failed,failed",
     "failed 3 beta 10.12 sent - by hand",
     "1 alpha completed 1 0 f; 2 alpha failed 1 0 f; 2 beta failed 1 0 t",
     "webhook.deliver webhook.deliver",
     "sending completed sending refused sending refused resolved_failed"},
    {"two units, one waits: not to be cancelled, and dispatched again", 2,
     "plan=place begin=begun placed cancel=too_late left=1", "sent 1 alpha 10.12 sent - said",
     "1 alpha sent 1 0 f", "order.check order.dispatch", "sending sent"},
};

static void tables_empty(void)
{
    SIDE("TRUNCATE product_orders, order_placements, order_events, jobs CASCADE");
    SIDE("UPDATE integrations SET enabled = true");
}

static rc play_fiber(struct cx *cx, void *arg)
{
    const struct flow_case *c = arg;
    struct play y = {.p = {.unit = 1}};
    char script[400], *rest = script;

    try(pg_new(cx, stores.database_url, 2, &y.db));
    try(seal_keys_load(cx, "k1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
                       &y.seal));
    snprintf(script, sizeof script, "%s", c->script);
    rc r = OK;
    for (char *word; r == OK && (word = strsep(&rest, " "));)
        r = speak(cx, &y, word);
    seal_keys_free(y.seal);
    pg_free(y.db);
    return r;
}

static void same(const char *title, const char *what, const char *got, const char *expected)
{
    ck_assert_msg(got && strcmp(got, expected) == 0, "%s: %s is\n  '%s', not\n  '%s'", title, what,
                  got ? got : "(nothing)", expected);
}

START_TEST(it_plays)
{
    const struct flow_case *c = &cases[_i];

    tables_empty();
    SIDE("INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, "
         "quantity, callback_url) VALUES"
         " ('" ORDER_ID "', '" TENANT "', '" PRODUCT "', '" PACKAGE
         "', '123', %d, 'https://shop.example/cb')",
         c->quantity);
    ck_assert_msg(on_fiber(play_fiber, (void *)c) == OK, "%s: failed", c->title);

    same(c->title, "the order",
         SIDE("SELECT concat_ws(' ', status, attempts, coalesce(provider, '-'), "
              "coalesce(trim_scale(cost_amount)::text, '-'),"
              " CASE WHEN sent_at IS NULL THEN '-' ELSE 'sent' END, CASE WHEN pin_code IS NULL "
              "THEN '-' ELSE 'pin' END,"
              " coalesce(note, '-')) FROM product_orders"),
         c->order);
    same(c->title, "the placements",
         SIDE("SELECT coalesce(string_agg(concat_ws(' ', unit, i.name, status, calls, asked, "
              "left(gave_up::text, 1)), '; '"
              " ORDER BY unit, p.id), '') FROM order_placements p JOIN integrations i ON i.id = "
              "integration_id"),
         c->placements);
    same(c->title, "the jobs",
         SIDE("SELECT coalesce(string_agg(task, ' ' ORDER BY task), '') FROM jobs WHERE live"),
         c->jobs);
    same(c->title, "the timeline",
         SIDE("SELECT coalesce(string_agg(kind, ' ' ORDER BY id), '') FROM order_events"),
         c->events);
}
END_TEST

/* ---------------------------------------------------------------- what a table cannot tell */

static rc two_pins_fiber(struct cx *cx, void *arg)
{
    struct pg *db;
    struct seal_keys *seal;
    struct order o;
    _cleanup_(buf_release) struct buf b = BUF(KiB(16));

    (void)arg;
    try(pg_new(cx, stores.database_url, 1, &db));
    try(seal_keys_load(cx, "k1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
                       &seal));
    ck_ok(order_load(cx, db, TENANT, ORDER_ID, &o));
    ck_ok(order_json(cx, seal, &o, &b));
    ck_assert_msg(strstr(buf_str(&b), "\"pin_code\":\"PIN-1\",\"pin_codes\":[\"PIN-1\",\"PIN-2\"]"),
                  "%s", buf_str(&b));
    ck_assert_msg(strstr(buf_str(&b), "\"cost\":{\"amount\":\"20.24\",\"currency\":\"TRY\"}"), "%s",
                  buf_str(&b));
    buf_reset(&b);
    ck_ok(order_json(cx, NULL, &o, &b));
    ck_assert_msg(!strstr(buf_str(&b), "PIN-"), "%s", buf_str(&b));

    /* A sealed PIN moved to the other unit does not open. */
    o.pin_sealed = o.pins_sealed[1];
    buf_reset(&b);
    ck_rc(order_json(cx, seal, &o, &b), E_CRYPTO);
    seal_keys_free(seal);
    pg_free(db);
    return OK;
}

START_TEST(each_unit_has_its_pin)
{
    static const struct flow_case c = {
        .title = "two units",
        .script = "plan=place begin=begun placed plan=place begin=begun placed u2 done u1 done",
    };

    tables_empty();
    SIDE("INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, "
         "quantity) VALUES"
         " ('" ORDER_ID "', '" TENANT "', '" PRODUCT "', '" PACKAGE "', '123', 2)");
    ck_ok(on_fiber(play_fiber, (void *)&c));
    ck_assert_int_eq(
        pg_one_int(stores.database_url,
                   "SELECT count(*) FROM product_orders WHERE pin_code LIKE '%%PIN%%'"),
        0);
    ck_assert_int_eq(
        pg_one_int(stores.database_url, "SELECT count(*) FROM jobs WHERE task = 'webhook.deliver'"),
        0);
    ck_ok(on_fiber(two_pins_fiber, NULL));
    ck_assert_str_eq(SIDE("SELECT referans ~ '^[0-9]{18}$' FROM order_placements WHERE unit = 1"),
                     "t");
    ck_assert_str_eq(
        SIDE("SELECT referans ~ '^[0-9a-f-]{36}$' FROM order_placements WHERE unit = 2"), "t");
    ck_assert_str_eq(SIDE("SELECT o.provider_referans = p.referans FROM product_orders o, "
                          "order_placements p WHERE unit = 1"),
                     "t");
}
END_TEST

START_TEST(resolving_is_audited)
{
    static const struct flow_case c = {
        .title = "resolved", .script = "plan=place begin=begun unclear resolve=failed,failed"};

    tables_empty();
    SIDE(
        "INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier) VALUES"
        " ('" ORDER_ID "', '" TENANT "', '" PRODUCT "', '" PACKAGE "', '123')");
    int64_t before = pg_one_int(stores.database_url, "SELECT count(*) FROM audit_log");
    ck_ok(on_fiber(play_fiber, (void *)&c));
    ck_assert_int_eq(pg_one_int(stores.database_url, "SELECT count(*) FROM audit_log"), before + 1);
    ck_assert_str_eq(SIDE("SELECT actor || ' ' || action || ' ' || object_id || ' ' || "
                          "(detail->>'decision') || ' ' ||"
                          " (detail->>'note') FROM audit_log ORDER BY id DESC LIMIT 1"),
                     "cli:test order.resolve " ORDER_ID " failed by hand");
}
END_TEST

/* ---------------------------------------------------------------- at the same time */

enum { RIVALS = 8 };

struct race {
    struct pg *db;
    int begun, doubt, ended, cancelled, too_late;
};

static rc begin_tx(struct cx *cx, struct pg_tx *tx, void *arg)
{
    const struct order_step st = {.tx = tx, .actor = "rival"};
    struct placement p;

    return order_begin(cx, &st, ORDER_ID, 1, ALPHA, REFERANS_DIGITS, &p, arg);
}

static rc begin_rival(struct cx *cx, void *arg)
{
    struct race *r = arg;
    enum order_begun b;

    try(pg_tx_run(cx, r->db, begin_tx, &b));
    r->begun += b == BEGUN;
    r->doubt += b == BEGUN_DOUBT;
    r->ended += b == BEGUN_ENDED;
    return OK;
}

static rc cancel_rival(struct cx *cx, void *arg)
{
    struct race *r = arg;
    struct order o;

    rc result = order_cancel(cx, r->db, NULL, "rival", TENANT, ORDER_ID, &o);
    r->cancelled += result == OK;
    r->too_late += result == E_TOO_LATE;
    return result == E_TOO_LATE ? OK : result;
}

static void run_rivals(struct cx *cx, fiber_fn const *fn, struct race *race)
{
    struct fiber *f[RIVALS];
    rc r;

    tables_empty();
    SIDE(
        "INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier) VALUES"
        " ('" ORDER_ID "', '" TENANT "', '" PRODUCT "', '" PACKAGE "', '123')");
    for (int i = 0; i < RIVALS; i++)
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "rival", .inherit = cx}, fn[i % 2], race);
    for (int i = 0; i < RIVALS; i++) {
        ck_ok(fiber_join(cx, f[i], &r));
        ck_ok(r);
    }
}

static rc one_begins_fiber(struct cx *cx, void *arg)
{
    struct race race = {0};

    (void)arg;
    try(pg_new(cx, stores.database_url, RIVALS, &race.db));
    run_rivals(cx, (fiber_fn[]){begin_rival, begin_rival}, &race);
    ck_assert_int_eq(race.begun, 1);
    ck_assert_int_eq(race.doubt, RIVALS - 1);
    ck_assert_int_eq(pg_one_int(stores.database_url, "SELECT count(*) FROM order_placements"), 1);
    pg_free(race.db);
    return OK;
}

START_TEST(one_of_many_begins)
{
    ck_ok(on_fiber(one_begins_fiber, NULL));
}
END_TEST

static rc cancel_or_begin_fiber(struct cx *cx, void *arg)
{
    struct pg *db;

    (void)arg;
    try(pg_new(cx, stores.database_url, RIVALS, &db));
    for (int i = 0; i < 20; i++) {
        struct race race = {.db = db};
        run_rivals(cx,
                   i % 2 ? (fiber_fn[]){begin_rival, cancel_rival}
                         : (fiber_fn[]){cancel_rival, begin_rival},
                   &race);
        if (race.begun) { /* then nobody was told that it is cancelled */
            ck_assert_int_eq(race.begun, 1);
            ck_assert_int_eq(race.too_late, RIVALS / 2);
        } else {
            ck_assert_int_eq(race.ended, RIVALS / 2);
            ck_assert_int_eq(race.cancelled, RIVALS / 2);
            ck_assert_int_eq(
                pg_one_int(stores.database_url, "SELECT count(*) FROM order_placements"), 0);
        }
    }
    pg_free(db);
    return OK;
}

START_TEST(cancelled_or_begun_never_both)
{
    ck_ok(on_fiber(cancel_or_begin_fiber, NULL));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("order_flow");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, it_plays, 0, COUNT(cases));
    tcase_add_test(tc, each_unit_has_its_pin);
    tcase_add_test(tc, resolving_is_audited);
    tcase_add_test(tc, one_of_many_begins);
    tcase_add_test(tc, cancelled_or_begun_never_both);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, shop_make, suite);
}

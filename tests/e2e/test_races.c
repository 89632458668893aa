/* test_races.c - two hands on one order: a worker that loses its job in the middle of a call, one
 * that sleeps through another's attempt, people who take jobs away. Whatever the provider said is
 * kept, nothing is bought twice, and something always owes an open order an attempt. */
#include "tests/e2e/e2e.h"

static struct house h;

#define ENDS_MS       30000
#define SIDE(...)     pg_one(h.stores.database_url, __VA_ARGS__)
#define COUNT_OF(...) pg_one_int(h.stores.database_url, __VA_ARGS__)

static bool is(const char *order, const char *status)
{
    return strcmp(house_status(&h, order), status) == 0;
}

static char *timeline(const char *order)
{
    return pg_table(h.stores.database_url,
                    "SELECT unit, kind, status, provider, detail FROM order_events WHERE order_id "
                    "= '%s' ORDER BY id",
                    order);
}

static void ends(const char *title, const char *order, const char *status)
{
    bool there = wait_until(is(order, status), ENDS_MS);
    _cleanup_(freep) char *told = timeline(order);
    ck_assert_msg(there, "%s: %s, not %s\n%s", title, house_status(&h, order), status, told);
}

/* ---------------------------------------------------------------- losing the job under a call */

static void empty_redis(const char *order)
{
    (void)order;
    redis_one(h.stores.redis_url, "FLUSHALL");
}

static void cancel_job(const char *order)
{
    const char *job = SIDE(
        "SELECT id FROM jobs WHERE live AND task = 'order.dispatch' AND subject = '%s'", order);
    ck_assert_ptr_nonnull(job);
    ck_assert_int_eq(house_cli(&h, NULL, "job", "cancel", job, NULL), 0);
}

/* The first provider answers after 1.5 s; meanwhile something takes the job away. */
static const struct {
    const char *title, *a, *b;
    void (*take)(const char *order);
    const char *status, *provider;
    int delivered;
} takes[] = {
    {"Redis is emptied, the provider accepts", "60~place.latency=1500", NULL, empty_redis,
     "completed", "znet-a", 1},
    {"Redis is emptied, the provider refuses: certain, not doubt",
     "60~place.latency=1500;place.refuse=stock", NULL, empty_redis, "failed", "znet-a", 0},
    {"Redis is emptied, the provider refuses, the fallback delivers",
     "60~place.latency=1500;place.refuse=stock", "60", empty_redis, "completed", "znet-b", 1},
    {"the job is cancelled, the provider accepts", "60~place.latency=1500", NULL, cancel_job,
     "completed", "znet-a", 1},
};

START_TEST(taken_away)
{
    _cleanup_(freep) char *user = xasprintf("taken-%d", _i);
    const char *order = house_order(&h, house_package(&h, takes[_i].a, takes[_i].b), user, "");
    ck_wait(house_calls(&h, "place", user) == 1, ENDS_MS);
    takes[_i].take(order);
    ends(takes[_i].title, order, takes[_i].status);
    ck_assert_int_eq(house_delivered(&h, user), takes[_i].delivered);
    ck_assert_str_eq(SIDE("SELECT provider FROM product_orders WHERE id = '%s'", order),
                     takes[_i].provider);
    ck_assert_int_eq(
        COUNT_OF("SELECT max(calls) FROM order_placements WHERE order_id = '%s'", order), 1);
}
END_TEST

/* ---------------------------------------------------------------- asleep through another's attempt */

static void each_process(struct proc *p, int sig)
{
    pid_t children[16];
    size_t n = proc_children(proc_pid(p), children, COUNT(children));

    kill(proc_pid(p), sig);
    for (size_t i = 0; i < n; i++)
        kill(children[i], sig);
}

static const struct {
    const char *title, *a, *status;
    int delivered;
} sleeps[] = {
    {"what was accepted is found by asking", "60~place.latency=500", "completed", 1},
    {"what was refused is certain, however late it is told",
     "60~place.latency=500;place.refuse=stock", "failed", 0},
};

/* Frozen in the middle of a call until another worker has taken the job over and doubts; then it
 * wakes up with the answer in hand. */
START_TEST(asleep)
{
    _cleanup_(freep) char *user = xasprintf("asleep-%d", _i);
    const char *package = house_package(&h, sleeps[_i].a, NULL);
    const char *argv[] = {built("worker/mihwar-worker"), NULL};

    const char *order = house_order(&h, package, user, "");
    ck_wait(house_calls(&h, "place", user) == 1, ENDS_MS);
    each_process(h.procs[WORKER], SIGSTOP);
    struct proc *other =
        proc_start(&(struct proc_opts){.name = "other", .argv = argv, .env = h.env});
    ck_wait(is(order, "unconfirmed") || is(order, "completed"), ENDS_MS);
    each_process(h.procs[WORKER], SIGCONT);
    ends(sleeps[_i].title, order, sleeps[_i].status);
    ck_assert_int_eq(house_delivered(&h, user), sleeps[_i].delivered);
    ck_assert_int_eq(house_calls(&h, "place", user), 1);
    ck_assert_int_eq(proc_stop(other, ENDS_MS), 0);
    proc_free(other);
}
END_TEST

/* ---------------------------------------------------------------- not let in */

/* Nothing was bought, for certain: somebody else is asked at once; alone, the order waits until it is let in. */
static const struct {
    const char *title, *a, *b, *provider;
} doors[] = {
    {"the login is refused: the fallback", "60~place.auth=refuse;denied=login", "60", "znet-b"},
    {"the address is refused: the fallback", "60~place.auth=refuse;denied=ip", "60", "znet-b"},
    {"the login is refused once, nobody else", "60~place.auth=refuse*1;denied=login", NULL,
     "znet-a"},
};

START_TEST(not_let_in)
{
    _cleanup_(freep) char *user = xasprintf("door-%d", _i);
    const char *order = house_order(&h, house_package(&h, doors[_i].a, doors[_i].b), user, "");
    ends(doors[_i].title, order, "completed");
    ck_assert_int_eq(house_delivered(&h, user), 1);
    ck_assert_str_eq(SIDE("SELECT provider FROM product_orders WHERE id = '%s'", order),
                     doors[_i].provider);
}
END_TEST

/* ---------------------------------------------------------------- nothing spins, nothing is forgotten */

/* The account is switched off while the first of two units is under way: the second waits, quietly. */
START_TEST(a_unit_without_a_provider)
{
    const char *order =
        house_order(&h, house_package(&h, "60~place.latency=800;settle_ms=-1", NULL), "half-1",
                    ",\"quantity\":2");
    ck_wait(house_calls(&h, "place", "half-1") == 1, ENDS_MS);
    SIDE("UPDATE integrations SET enabled = false");
    ck_wait(COUNT_OF("SELECT count(*) FROM job_attempts a JOIN jobs j ON j.id = a.job_id WHERE "
                     "j.task = 'order.dispatch' AND j.subject = '%s' AND outcome = 'snoozed'",
                     order) >= 3,
            ENDS_MS);
    _cleanup_(freep) char *told = timeline(order);
    ck_assert_msg(is(order, "sent"), "%s\n%s", house_status(&h, order), told);
    ck_assert_msg(COUNT_OF("SELECT count(*) FROM order_events WHERE order_id = '%s'", order) <= 4,
                  "%s", told);
    ck_assert_int_eq(COUNT_OF("SELECT count(*) FROM jobs WHERE state = 'dead'"), 0);
    SIDE("UPDATE integrations SET enabled = true");
    ck_wait(house_calls(&h, "place", "half-1") == 2, ENDS_MS);
    _cleanup_(web_reply_release) struct web_reply r = house_sim(&h, "/_sim/switch?settle_ms=0");
    ck_wait(COUNT_OF("SELECT count(*) FROM order_placements WHERE order_id = '%s' AND status = "
                     "'sent'",
                     order) == 2,
            ENDS_MS);
    _cleanup_(web_reply_release) struct web_reply end = house_sim(&h, "/_sim/settle");
    ends("the account is back", order, "completed");
    ck_assert_int_eq(house_delivered(&h, "half-1"), 2);
    _cleanup_(web_reply_release) struct web_reply again = house_sim(&h, "/_sim/reset");
}
END_TEST

/* The account is switched off for good under an order: not asked, and not forgotten either. */
START_TEST(an_account_switched_off)
{
    const char *order = house_order(&h, house_package(&h, "60~settle_ms=-1", NULL), "off-1", "");
    ck_wait(is(order, "sent"), ENDS_MS);
    SIDE("UPDATE integrations SET enabled = false");
    ck_wait(COUNT_OF("SELECT count(*) FROM jobs WHERE live AND task = 'order.check' AND subject = "
                     "'%s' AND run_at > now() + interval '5 seconds'",
                     order) == 1,
            ENDS_MS);
    SIDE("UPDATE order_placements SET sent_at = now() - interval '49 hours' WHERE order_id = '%s'",
         order);
    const char *job = SIDE("SELECT id FROM jobs WHERE live AND subject = '%s'", order);
    ck_assert_int_eq(house_cli(&h, NULL, "job", "cancel", job, NULL), 0);
    ck_wait(COUNT_OF("SELECT count(*) FROM product_orders WHERE id = '%s' AND created_at < now() - "
                     "interval '2 seconds'",
                     order) == 1,
            ENDS_MS);
    ck_assert_int_eq(house_cli(&h, NULL, "schedule", "run", "order-sweep", NULL), 0);
    ends("nobody may be asked", order, "review");
    SIDE("UPDATE integrations SET enabled = true");
}
END_TEST

/* Sent again where duplicates are merged; but only at the account that was called. */
START_TEST(another_account)
{
    SIDE("UPDATE integrations SET settings = settings || '{\"may_resend\":true}', account_since = "
         "now()");
    const char *order = house_order(
        &h, house_package(&h, "60~place.fault=reset*1;place.accepts=no*1", NULL), "account-1", "");
    ck_wait(COUNT_OF("SELECT count(*) FROM order_placements WHERE order_id = '%s' AND asked_at > "
                     "created_at + interval '4 seconds'",
                     order) == 1,
            ENDS_MS);
    ck_assert_int_eq(house_calls(&h, "place", "account-1"), 1);
    ck_assert(is(order, "unconfirmed"));
    SIDE("UPDATE integrations SET account_since = NULL");
    ends("the account is the one that was called", order, "completed");
    ck_assert_int_eq(house_calls(&h, "place", "account-1"), 2);
    ck_assert_int_eq(house_delivered(&h, "account-1"), 1);
    SIDE("UPDATE integrations SET settings = settings - 'may_resend'");
}
END_TEST

/* Everything that waits is thrown away by hand: the sweep gives each open order its job back. */
START_TEST(purged)
{
    const char *waits =
        house_order(&h, house_package(&h, "60~settle_ms=2500", NULL), "purged-1", "");
    ck_wait(is(waits, "sent"), ENDS_MS);
    ck_assert_int_eq(house_cli(&h, NULL, "queue", "pause", "orders", NULL), 0);
    const char *new = house_order(&h, house_package(&h, "60", NULL), "purged-2", "");
    ck_assert_int_eq(house_cli(&h, NULL, "queue", "purge", "orders", "--yes", NULL), 0);
    ck_assert_int_eq(house_cli(&h, NULL, "queue", "resume", "orders", NULL), 0);
    ck_wait(COUNT_OF("SELECT count(*) FROM product_orders WHERE id = '%s' AND created_at < now() - "
                     "interval '2 seconds'",
                     new) == 1,
            ENDS_MS);
    ck_assert_int_eq(house_cli(&h, NULL, "schedule", "run", "order-sweep", NULL), 0);
    ends("its check was purged", waits, "completed");
    ends("its dispatch was purged", new, "completed");
    ck_assert_int_eq(house_delivered(&h, "purged-1"), 1);
    ck_assert_int_eq(house_delivered(&h, "purged-2"), 1);
}
END_TEST

/* A call outlives a frozen worker here, and doubt is asked about for long. */
static void start(struct house *house, const struct stores_opts *opts, const char *const *env)
{
    static const char *const patient[] = {"MIHWAR_PROVIDER_PLACE=60s", "MIHWAR_REVIEW_AFTER=60s",
                                          NULL};
    (void)env;
    house_start(house, opts, patient);
}

E2E(races, start, {"taken away", taken_away, COUNT(takes)}, {"asleep", asleep, COUNT(sleeps)},
    {"not let in", not_let_in, COUNT(doors)},
    {"a unit without a provider", a_unit_without_a_provider},
    {"an account switched off", an_account_switched_off}, {"another account", another_account},
    {"purged", purged})

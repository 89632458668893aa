/* test_crash.c - one failure at the worst place each: what the order becomes, and what the ledger
 * says.
 *
 *   reference stored | call | answer | stored | ack
 *
 * Each bar is a place to die or to lose something at. */
#include "tests/e2e/e2e.h"
#include <sys/wait.h>

static struct house h;

#define ENDS_MS 30000

static const struct {
    const char *title;
    enum part part;
    const char *inject, *status;
    int delivered, places;
} deaths[] = {
    {"the worker dies before the call: asked, never sent blindly, a person decides", WORKER,
     "die_before_call", "review", 0, 0},
    {"the worker dies after the call: asked, found", WORKER, "die_after_call", "completed", 1, 1},
    {"an ack is lost", WORKER, "ack_lost:3", "completed", 1, 1},
    {"the worker's Redis connection is cut", WORKER, "redis_drop_reply:3", "completed", 1, 1},
    {"the COMMIT that stores the reference is in doubt: it is begun again, and called once", WORKER,
     "pg_drop_commit:1", "completed", 1, 1},
    {"the push to Redis is lost", HUB, "push_lost:1", "completed", 1, 1},
};

static void restart(enum part p, const char *inject)
{
    _cleanup_(freep) char *setting = xasprintf("MIHWAR_INJECT=%s", inject);
    house_kill(&h, p); /* whatever state the last case left it in */
    house_set(&h, setting);
    house_up(&h, p);
    house_set(&h, "MIHWAR_INJECT=");
}

START_TEST(death_and_loss)
{
    _cleanup_(freep) char *user = xasprintf("death-%d", _i);
    const char *package = house_package(&h, "60", NULL);
    restart(deaths[_i].part, deaths[_i].inject);
    const char *order = house_order(&h, package, user, "");
    bool there = wait_until(strcmp(house_status(&h, order), deaths[_i].status) == 0, ENDS_MS);
    _cleanup_(freep) char *timeline = pg_table(
        h.stores.database_url,
        "SELECT kind, status, detail FROM order_events WHERE order_id = '%s' ORDER BY id", order);
    ck_assert_msg(there, "%s: %s, not %s\n%s", deaths[_i].title, house_status(&h, order),
                  deaths[_i].status, timeline);
    ck_assert_msg(house_delivered(&h, user) == deaths[_i].delivered, "%s: %d deliveries\n%s",
                  deaths[_i].title, house_delivered(&h, user), timeline);
    ck_assert_msg(house_calls(&h, "place", user) == deaths[_i].places, "%s: placed %d times\n%s",
                  deaths[_i].title, house_calls(&h, "place", user), timeline);
    restart(deaths[_i].part, "");
}
END_TEST

/* A supervisor that is killed takes nobody's work with it and leaves nobody behind: its children finish and end. */
START_TEST(children_of_a_killed_supervisor)
{
    static const enum part supervised[] = {HUB, WORKER};
    enum part p = supervised[_i];
    pid_t child[16];
    size_t n = proc_children(proc_pid(h.procs[p]), child, COUNT(child)), gone = 0;

    ck_assert_uint_eq(n, 2);
    proc_kill9(h.procs[p]);
    h.procs[p] = proc_free(h.procs[p]);
    for (size_t i = 0; i < n; i++) /* adopted by us */
        gone += wait_until(waitpid(child[i], NULL, WNOHANG) == child[i], 15000);
    ck_assert_uint_eq(gone, n);
    house_up(&h, p);
    const char *order = house_order(&h, house_package(&h, "60", NULL), "orphans", "");
    ck_wait(strcmp(house_status(&h, order), "completed") == 0, ENDS_MS);
}
END_TEST

E2E(crash, house_start, {"death and loss", death_and_loss, COUNT(deaths)},
    {"children of a killed supervisor", children_of_a_killed_supervisor, 2})

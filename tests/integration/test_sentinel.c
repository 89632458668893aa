/* test_sentinel.c - a master, its replica, three sentinels; the master is killed under load.
 *
 *   server 0, 1   master and replica (whichever is which)
 *   server 2..4   sentinels, with a password of their own */
#include "redis/redis.h"
#include "tests/integration/redis_world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SENTINELS = 3, FIRST_SENTINEL = 2 };

static struct world world;

static void up_redis(int n, int master)
{
    char port[16];
    const char *more[] = {"--requirepass",
                          WORLD_PASSWORD,
                          "--masterauth",
                          WORLD_PASSWORD,
                          "--repl-diskless-sync-delay",
                          "0",
                          master < 0 ? NULL : "--replicaof",
                          "127.0.0.1",
                          port,
                          NULL};
    char of[32];

    if (master >= 0) {
        snprintf(of, sizeof of, "127.0.0.1 %d", world.port[master]);
        more[7] = of;
        more[8] = NULL;
    }
    world_server(&world, n, more);
}

static void up_sentinel(int n)
{
    char path[160];
    const char *more[] = {path, "--sentinel", NULL};

    snprintf(path, sizeof path, "%s/sentinel-%d.conf", support_dir(), n);
    FILE *f = fopen(path, "w");
    if (!f)
        support_die("%s cannot be written", path);
    fprintf(f,
            "requirepass " WORLD_PASSWORD "\n"
            "sentinel sentinel-pass " WORLD_PASSWORD "\n"
            "sentinel monitor shop 127.0.0.1 %d 2\n"
            "sentinel auth-pass shop " WORLD_PASSWORD "\n"
            "sentinel down-after-milliseconds shop 300\n"
            "sentinel failover-timeout shop 800\n",
            world.port[0]);
    fclose(f);
    world_server(&world, n, more);
}

static int master_port(int sentinel)
{
    const char *at = world_ask(&world, sentinel, "SENTINEL GET-MASTER-ADDR-BY-NAME shop");
    const char *space = strchr(at, ' ');

    return space ? atoi(space + 1) : 0;
}

static bool all_see_each_other(void)
{
    for (int n = 0; n < SENTINELS; n++)
        if (strstr(world_ask(&world, FIRST_SENTINEL + n, "INFO sentinel"),
                   "slaves=1,sentinels=3") == NULL)
            return false;
    return true;
}

static void set_up(void)
{
    int dead = free_port(); /* the first sentinel of the list is not there */

    up_redis(0, -1);
    up_redis(1, 0);
    for (int n = 0; n < SENTINELS; n++)
        up_sentinel(FIRST_SENTINEL + n);
    snprintf(world.url, sizeof world.url,
             "redis-sentinel://:" WORLD_PASSWORD "@127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d/shop"
             "?sentinel_password=" WORLD_PASSWORD,
             dead, world.port[FIRST_SENTINEL], world.port[FIRST_SENTINEL + 1]);
    if (!wait_until(all_see_each_other(), 30000))
        support_die("the sentinels do not find each other");
}

/* ---------------------------------------------------------------- cases */

static void fail_over(struct cx *cx, struct world *w)
{
    int master = master_port(FIRST_SENTINEL) == w->port[0] ? 0 : 1;
    int64_t began = support_now_ms();

    proc_kill9(w->server[master]);
    world_wait(cx, master_port(FIRST_SENTINEL) == w->port[1 - master], 60000);
    printf("the sentinels chose another master after %d ms\n", (int)(support_now_ms() - began));
    world_goes_on(cx, w, "kill -9 of the master");
    /* The killed one comes back empty, as a replica of the new master. */
    up_redis(master, 1 - master);
    world_wait(cx, strstr(world_ask(w, master, "INFO replication"), "master_link_status:up"),
               60000);
    world_wait(cx, all_see_each_other(), 60000);
}

static rc under_load(struct cx *cx, struct world *w)
{
    world_produce(w);
    world_goes_on(cx, w, "a master and a replica");
    for (int i = 0; i < world_rounds(); i++)
        fail_over(cx, w);
    world_books(cx, w);
    return OK;
}

START_TEST(nothing_is_lost_by_a_failover)
{
    world_programs(&world, NULL);
    world_run(&world, under_load);
    world_end_programs(&world);
}
END_TEST

/* The master hangs: its connections stay open, and only the sentinels tell that there is another. */
static rc frozen(struct cx *cx, struct world *w)
{
    int master = master_port(FIRST_SENTINEL) == w->port[0] ? 0 : 1;

    ck_ok(redis_cmd(cx, w->redis, NULL, "SET who %d", master));
    world_wait(cx, all_see_each_other(), 60000);
    proc_signal(w->server[master], SIGSTOP);
    world_wait(cx, master_port(FIRST_SENTINEL) == w->port[1 - master], 60000);
    rc r;
    do { /* a command that was on its way ends in doubt */
        _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
            cx_deadline_within(cx, 20000);
        r = redis_cmd(cx, w->redis, NULL, "SET who %d", 1 - master);
    } while (r == E_STORE_DOUBT);
    ck_ok(r);
    ck_assert_int_eq(atoi(world_ask(w, 1 - master, "GET who")), 1 - master);
    proc_signal(w->server[master], SIGCONT);
    return OK;
}

START_TEST(a_master_that_hangs_is_left)
{
    world_run(&world, frozen);
}
END_TEST

struct in_vain {
    char url[300];
    const char *words;
};

/* The first tries may end before anybody answered. */
static rc with_url(struct cx *cx, void *arg)
{
    const struct in_vain *v = arg;
    int64_t end = support_now_ms() + 30000;
    struct redis *r;
    bool heard = false;

    ck_ok(redis_new(cx, v->url, &r));
    while (!heard) {
        _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, 200);
        rc result = redis_cmd(cx, r, NULL, "PING");
        ck_rc(result, E_STORE_DOWN);
        ck_assert_ptr_null(strstr(cx_words(cx, result), WORLD_PASSWORD));
        heard = strstr(cx_words(cx, result), v->words) != NULL;
        ck_assert_msg(heard || support_now_ms() < end, "%s", cx_words(cx, result));
    }
    redis_free(r);
    return OK;
}

START_TEST(who_asks_in_vain_hears_why)
{
    static const struct {
        const char *password, *master, *words;
    } cases[] = {
        {WORLD_PASSWORD, "unknown", "no master of the name unknown"},
        {"guess", "shop", "WRONGPASS"},
    };
    struct in_vain v;

    for (size_t i = 0; i < COUNT(cases); i++) {
        v.words = cases[i].words;
        snprintf(v.url, sizeof v.url, "redis-sentinel://127.0.0.1:%d/%s?sentinel_password=%s",
                 world.port[FIRST_SENTINEL], cases[i].master, cases[i].password);
        ck_ok(on_fiber(with_url, &v));
    }
    v.words = "no sentinel can be reached";
    snprintf(v.url, sizeof v.url, "redis-sentinel://127.0.0.1:%d/shop", free_port());
    ck_ok(on_fiber(with_url, &v));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sentinel");
    TCase *tc = tcase_create("sentinel");

    world_open(&world);
    set_up();
    tcase_add_test(tc, nothing_is_lost_by_a_failover);
    tcase_add_test(tc, a_master_that_hangs_is_left);
    tcase_add_test(tc, who_asks_in_vain_hears_why);
    suite_add_tcase(s, tc);
    int failed = suite_run_unforked(s);
    world_close(&world);
    return support_end(failed);
}

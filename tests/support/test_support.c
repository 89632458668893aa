/* test_support.c - the tools that the other tests trust: stores come up, die, come back; nothing is
 * left. */
#include "tests/support/stores.h"
#include "tests/support/web.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct stores stores;

START_TEST(stores_answer)
{
    ck_assert_str_eq(pg_one(stores.database_url, "SELECT %d + 1", 41), "42");
    ck_assert_str_eq(redis_one(stores.redis_url, "SET a %s", "b"), "OK");
    ck_assert_str_eq(redis_one(stores.redis_tcp_url, "GET a"), "b");
    ck_assert_ptr_null(redis_one(stores.redis_url, "GET nobody"));
    ck_assert_ptr_null(pg_one(stores.database_url, "SELECT 1 WHERE false"));
    ck_assert_str_eq(pg_one(stores.database_url, "SELECT NULL"), "");
    _cleanup_(freep) char *t =
        pg_table(stores.database_url, "SELECT n, n * n FROM generate_series(1, 2) n");
    ck_assert_str_eq(t, "1|1\n2|4\n");
}
END_TEST

START_TEST(a_new_database_is_alone)
{
    char url[192];
    stores_new_database(&stores, "other", NULL, url);
    pg_one(url, "CREATE TABLE only_here (n int)");
    ck_assert_ptr_null(pg_try(stores.database_url, NULL, "SELECT count(*) FROM only_here"));
    ck_assert_int_eq(pg_one_int(url, "SELECT count(*) FROM only_here"), 0);
}
END_TEST

START_TEST(killed_stores_come_back)
{
    pg_one(stores.database_url, "CREATE TABLE kept AS SELECT 7 AS n");
    stores_kill_pg(&stores);
    ck_assert_ptr_null(pg_try(stores.database_url, NULL, "SELECT n FROM kept"));
    stores_up_pg(&stores);
    ck_assert_str_eq(pg_one(stores.database_url, "SELECT n FROM kept"), "7");

    redis_one(stores.redis_url, "SET kept 7");
    stores_kill_redis(&stores);
    ck_assert_ptr_null(redis_try(stores.redis_url, "GET kept"));
    stores_up_redis(&stores);
    ck_assert_str_eq(redis_one(stores.redis_url, "GET kept"), "7"); /* durable: append-only */
}
END_TEST

START_TEST(programs_are_run_and_killed)
{
    const char *cat[] = {"cat", NULL}, *sleeper[] = {"sleep", "100", NULL};
    const char *parent[] = {"sh", "-c", "sleep 100 & echo up; wait", NULL};
    struct proc_opts o = {.name = "cat", .argv = cat};
    _cleanup_(freep) char *out = NULL;
    ck_assert_int_eq(proc_run(&o, "hello", 2000, &out, NULL), 0);
    ck_assert_str_eq(out, "hello");

    o = (struct proc_opts){.name = "sleeper", .argv = sleeper};
    ck_assert_int_eq(proc_run(&o, NULL, 50, NULL, NULL), 137);
    struct proc *p = proc_start(&o);
    ck_assert(proc_alive(p));
    ck_assert_int_eq(proc_stop(p, 2000), 128 + SIGTERM);
    proc_free(p);

    pid_t child[4];
    o = (struct proc_opts){.name = "parent", .argv = parent};
    p = proc_start(&o);
    ck_wait(proc_children(proc_pid(p), child, COUNT(child)) == 1, 2000);
    proc_kill9(p);
    ck_assert_int_eq(kill(child[0], 0), 0); /* it lives: ours to end */
    kill(child[0], SIGKILL);
    proc_free(p);
}
END_TEST

START_TEST(a_request_says_why_it_failed)
{
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", free_port());
    _cleanup_(web_reply_release) struct web_reply r = web(.url = url);
    ck_assert_int_eq(r.status, 0);
    ck_assert_str_ne(r.why, "");
    ck_assert_ptr_null(web_text(&r, "code"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("support");
    TCase *tc = tcase_create("support");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, stores_answer);
    tcase_add_test(tc, a_new_database_is_alone);
    tcase_add_test(tc, killed_stores_come_back);
    tcase_add_test(tc, programs_are_run_and_killed);
    tcase_add_test(tc, a_request_says_why_it_failed);
    suite_add_tcase(s, tc);

    stores_start(&stores, &(struct stores_opts){.durable = true});
    int failed = suite_run_unforked(s);
    stores_stop(&stores);
    return support_end(failed);
}

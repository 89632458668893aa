/* test_redis.c - the connection against a real Redis: order, loss, doubt, deadlines, scripts. */
#include "base/clock.h"
#include "base/inject.h"
#include "base/log.h"
#include "base/text.h"
#include "tests/integration/redis_case.h"
#include "tests/integration/redis_test.lua.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- one connection, many fibers */

struct asker {
    struct redis *r;
    int me;
};

static rc ask_fifty(struct cx *cx, void *arg)
{
    const struct asker *a = arg;

    for (int i = 0; i < 50; i++) {
        _cleanup_(redis_reply_freep) redisReply *reply = NULL;
        char mine[32];
        snprintf(mine, sizeof mine, "%d.%d", a->me, i);
        try(redis_cmd(cx, a->r, &reply, "ECHO %s", mine));
        ck_assert_str_eq(reply->str, mine);
    }
    return OK;
}

static rc everybody_gets_his_own(struct cx *cx, void *arg)
{
    _redis_ r = open_url(cx, arg);
    struct asker askers[200];
    struct fiber *f[COUNT(askers)];
    rc result;

    for (size_t i = 0; i < COUNT(askers); i++) {
        askers[i] = (struct asker){r, (int)i};
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "asker", .inherit = cx}, ask_fifty,
                           &askers[i]);
    }
    for (size_t i = 0; i < COUNT(askers); i++) {
        ck_ok(fiber_join(cx, f[i], &result));
        ck_ok(result);
    }
    ck_assert_uint_eq(redis_generation(r), 1);
    return OK;
}

START_TEST(replies_find_their_fibers)
{
    ck_ok(on_fiber(everybody_gets_his_own, stores.redis_url));
    ck_ok(on_fiber(everybody_gets_his_own, stores.redis_tcp_url));
}
END_TEST

static rc types(struct cx *cx, void *arg)
{
    _redis_ r = open_url(cx, stores.redis_url);
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    redisReply *many[4];
    static const char three[] =
        "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nLLEN\r\n$1\r\ns\r\n*1\r\n$4\r\nPING\r\n";

    ck_ok(redis_argv(cx, r, NULL, 3, (const char *[]){"SET", "s", "a\0b"},
                     (const size_t[]){3, 1, 3}));
    ck_ok(redis_cmd(cx, r, &reply, "GET s"));
    ck_assert_uint_eq(reply->len, 3);
    ck_assert_mem_eq(reply->str, "a\0b", 3);

    ck_rc(redis_cmd(cx, r, &reply, "LLEN s"), E_REDIS);
    ck_assert(starts_with(cx_words(cx, E_REDIS), "WRONGTYPE "));
    ck_assert_uint_eq(reply->len, 3); /* untouched by the failure */

    ck_ok(redis_pipeline(cx, r, three, sizeof three - 1, 3, many));
    ck_assert_str_eq(many[0]->str, "PONG");
    ck_assert_int_eq(many[1]->type, REDIS_REPLY_ERROR);
    ck_assert_str_eq(many[2]->str, "PONG");
    for (int i = 0; i < 3; i++)
        redis_reply_freep(&many[i]);
    ck_ok(redis_pipeline(cx, r, NULL, 0, 0, many));
    return OK;
}

START_TEST(replies_and_errors)
{
    ck_ok(on_fiber(types, NULL));
}
END_TEST

START_TEST(big_replies)
{
    ck_ok(on_fiber(big, stores.redis_url));
    ck_ok(on_fiber(big, stores.redis_tcp_url));
}
END_TEST

/* ---------------------------------------------------------------- giving up */

static rc late(struct cx *cx, void *arg)
{
    _redis_ r = open_url(cx, stores.redis_url);
    int64_t began = clock_mono_ms();

    ck_ok(redis_cmd(cx, r, NULL, "SET n 41"));
    redis_one(stores.redis_tcp_url, "CLIENT PAUSE 400 ALL");
    ck_rc(within(cx, 60, r, "INCR n"), E_DEADLINE);
    ck_assert_int_lt(clock_mono_ms() - began, 300);
    ck_assert_int_eq(ask_int(cx, r, "STRLEN n"), 2); /* its own answer, not the late one of INCR */
    ck_assert_int_eq(ask_int(cx, r, "INCR n"), 43);
    ck_assert_uint_eq(redis_generation(r), 1);
    return OK;
}

START_TEST(a_late_reply_is_dropped)
{
    ck_ok(on_fiber(late, NULL));
}
END_TEST

static rc pop(struct cx *cx, void *arg)
{
    return redis_cmd(cx, arg, NULL, "BLPOP nothing 1");
}

static rc cancelled(struct cx *cx, void *arg)
{
    _redis_ r = open_url(cx, stores.redis_url);
    struct fiber *f = fiber_spawn(&(struct fiber_opts){.name = "pop", .inherit = cx}, pop, r);
    rc result;

    ck_ok(fiber_sleep(cx, 50));
    ck_assert(redis_connected(r));
    fiber_cancel(f);
    ck_ok(fiber_join(cx, f, &result));
    ck_rc(result, E_CANCELLED);
    ck_ok(redis_cmd(cx, r, NULL, "PING")); /* behind the BLPOP that nobody waits for */

    f = fiber_spawn(&(struct fiber_opts){.name = "pop", .inherit = cx}, pop, r);
    fiber_cancel(f); /* before it began: nothing is sent */
    ck_ok(fiber_join(cx, f, &result));
    ck_rc(result, E_CANCELLED);
    int64_t began = clock_mono_ms();
    ck_ok(redis_cmd(cx, r, NULL, "PING"));
    ck_assert_int_lt(clock_mono_ms() - began, 500);
    return OK;
}

START_TEST(a_cancelled_fiber_leaves_its_place)
{
    ck_ok(on_fiber(cancelled, NULL));
}
END_TEST

/* PING is answered, BLPOP takes a second, the second PING stands behind it. */
static rc half(struct cx *cx, void *arg)
{
    static const char three[] = "*1\r\n$4\r\nPING\r\n"
                                "*3\r\n$5\r\nBLPOP\r\n$7\r\nnothing\r\n$1\r\n1\r\n"
                                "*1\r\n$4\r\nPING\r\n";
    _redis_ r = open_url(cx, stores.redis_url);
    redisReply *replies[3];
    struct cx_deadline d;

    ck_ok(redis_cmd(cx, r, NULL, "SET n 12345"));
    d = cx_deadline_within(cx, 100);
    ck_rc(redis_pipeline(cx, r, three, sizeof three - 1, 3, replies), E_DEADLINE);
    cx_deadline_restore(&d);
    for (size_t i = 0; i < COUNT(replies); i++)
        ck_assert_ptr_null(replies[i]);
    ck_assert_int_eq(ask_int(cx, r, "STRLEN n"), 5);
    ck_assert(inject_arm("redis_drop_reply", 1));
    ck_rc(redis_pipeline(cx, r, three, sizeof three - 1, 3, replies), E_STORE_DOUBT);
    ck_assert_ptr_null(replies[0]);
    ck_assert_int_eq(ask_int(cx, r, "STRLEN n"), 5);
    return OK;
}

START_TEST(half_a_pipeline_is_none)
{
    ck_ok(on_fiber(half, NULL));
}
END_TEST

static rc freed(struct cx *cx, void *arg)
{
    struct redis *r = open_url(cx, stores.redis_url),
                 *down = open_url(cx, "unix:/nowhere/redis.sock");
    struct fiber *waits = fiber_spawn(&(struct fiber_opts){.name = "pop", .inherit = cx}, pop, r);
    struct fiber *hopes =
        fiber_spawn(&(struct fiber_opts){.name = "pop", .inherit = cx}, pop, down);
    rc result;

    ck_ok(fiber_sleep(cx, 50));
    redis_free(r);
    redis_free(down);
    ck_ok(fiber_join(cx, waits, &result));
    ck_rc(result, E_STORE_DOUBT);
    ck_ok(fiber_join(cx, hopes, &result));
    ck_rc(result, E_STORE_DOWN);
    return OK;
}

START_TEST(freeing_ends_the_waits)
{
    ck_ok(on_fiber(freed, NULL));
}
END_TEST

/* ---------------------------------------------------------------- loss */

static void count(void *arg)
{
    ++*(int *)arg;
}

static rc doubt(struct cx *cx, void *arg)
{
    _redis_ r = open_url(cx, stores.redis_url);
    int connects = 0;

    redis_on_connect(r, count, &connects);
    ck_ok(redis_cmd(cx, r, NULL, "SET n 1"));
    ck_assert(inject_arm("redis_drop_reply", 1));
    ck_rc(redis_cmd(cx, r, NULL, "INCR n"), E_STORE_DOUBT);
    ck_assert(!redis_connected(r));
    ck_assert_int_eq(ask_int(cx, r, "INCR n"), 3); /* it had run */
    ck_assert_uint_eq(redis_generation(r), 2);
    ck_assert_int_eq(connects, 2);
    return OK;
}

START_TEST(a_lost_reply_is_doubt)
{
    ck_ok(on_fiber(doubt, NULL));
}
END_TEST

static rc ping(struct cx *cx, void *arg)
{
    return redis_cmd(cx, arg, NULL, "PING");
}

static rc killed(struct cx *cx, void *arg)
{
    _redis_ r = open_url(cx, arg);
    struct fiber *f;
    rc result;

    ck_ok(redis_cmd(cx, r, NULL, "PING"));
    f = fiber_spawn(&(struct fiber_opts){.name = "pop", .inherit = cx}, pop, r);
    ck_ok(fiber_sleep(cx, 50));
    stores_kill_redis(&stores);
    ck_ok(fiber_join(cx, f, &result));
    ck_rc(result, E_STORE_DOUBT);

    int64_t began = clock_mono_ms();
    ck_rc(within(cx, 200, r, "PING"), E_STORE_DOWN);
    ck_assert_int_ge(clock_mono_ms() - began, 190);
    ck_assert_msg(
        strstr(cx_words(cx, E_STORE_DOWN), arg == stores.redis_url ? "unix:/" : "refused"), "%s",
        cx_words(cx, E_STORE_DOWN));

    f = fiber_spawn(&(struct fiber_opts){.name = "ping", .inherit = cx}, ping,
                    r); /* waits for it to come back */
    ck_ok(fiber_sleep(cx, 50));
    stores_up_redis(&stores);
    ck_ok(fiber_join(cx, f, &result));
    ck_ok(result);
    ck_assert_uint_eq(redis_generation(r), 2);
    return OK;
}

START_TEST(a_killed_redis_is_found_again)
{
    ck_ok(on_fiber(killed, stores.redis_url));
    ck_ok(on_fiber(killed, stores.redis_tcp_url));
}
END_TEST

struct payload {
    struct redis *r;
    char *bytes;
    size_t n;
};

static rc send_payload(struct cx *cx, void *arg)
{
    const struct payload *p = arg;

    return redis_cmd(cx, p->r, NULL, "SET payload %b", p->bytes, p->n);
}

static rc mark(struct cx *cx, void *arg)
{
    return redis_cmd(cx, arg, NULL, "INCR marks");
}

/* A stopped Redis reads nothing: the payload fills the socket, the mark behind it cannot leave. */
static rc behind(struct cx *cx, void *arg)
{
    _redis_ r = open_url(cx, stores.redis_url);
    struct payload p = {r, xcalloc(1, MiB(16)), MiB(16)};
    struct fiber *f[2];
    rc result[2];

    ck_ok(redis_cmd(cx, r, NULL, "PING"));
    proc_signal(stores.redis, SIGSTOP);
    f[0] = fiber_spawn(&(struct fiber_opts){.name = "payload", .inherit = cx}, send_payload, &p);
    ck_ok(fiber_sleep(cx, 20));
    f[1] = fiber_spawn(&(struct fiber_opts){.name = "mark", .inherit = cx}, mark, r);
    ck_ok(fiber_sleep(cx, 20));
    stores_kill_redis(&stores);
    ck_ok(fiber_join(cx, f[0], &result[0]));
    stores_up_redis(&stores);
    ck_ok(fiber_join(cx, f[1], &result[1]));
    ck_rc(result[0], E_STORE_DOUBT);
    ck_ok(result[1]);
    free(p.bytes);
    ck_assert_int_eq(ask_int(cx, r, "INCR marks"), 2);
    return OK;
}

START_TEST(what_never_left_is_sent_again)
{
    ck_ok(on_fiber(behind, NULL));
}
END_TEST

static rc replica(struct cx *cx, void *arg)
{
    _redis_ r = open_url(cx, stores.redis_url);

    ck_ok(redis_cmd(cx, r, NULL, "PING"));
    redis_one(stores.redis_tcp_url, "REPLICAOF 127.0.0.1 1");
    ck_rc(redis_cmd(cx, r, NULL, "SET a b"), E_REDIS);
    ck_assert(starts_with(cx_words(cx, E_REDIS), "READONLY "));
    ck_rc(within(cx, 200, r, "PING"), E_STORE_DOWN);
    ck_assert(strstr(cx_words(cx, E_STORE_DOWN), "replica"));
    redis_one(stores.redis_tcp_url, "REPLICAOF NO ONE");
    ck_ok(redis_cmd(cx, r, NULL, "SET a b"));
    return OK;
}

START_TEST(a_replica_is_not_taken)
{
    ck_ok(on_fiber(replica, NULL));
}
END_TEST

/* ---------------------------------------------------------------- scripts */

static rc add(struct cx *cx, struct redis *r, const char *n, long long want)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;

    try(redis_eval(cx, r, &reply, &SCRIPT_REDIS_ADD, 2, (const char *[]){"sum", n}, NULL));
    ck_assert_int_eq(reply->element[0]->integer, want);
    ck_assert_str_eq(reply->element[1]->str, "mihwar");
    return OK;
}

static rc scripts(struct cx *cx, void *arg)
{
    _redis_ r = open_url(cx, stores.redis_url);

    ck_assert_int_eq(SCRIPT_REDIS_ADD.keys, 1);
    ck_assert_uint_eq(COUNT(SCRIPTS_REDIS_TEST), 1);
    redis_one(stores.redis_url, "SCRIPT FLUSH");
    ck_ok(add(cx, r, "5", 5)); /* loads it */
    ck_assert_str_eq(redis_one(stores.redis_url, "SCRIPT EXISTS %s", SCRIPT_REDIS_ADD.sha1), "1");
    ck_ok(add(cx, r, "6", 11)); /* known */
    redis_one(stores.redis_url, "SCRIPT FLUSH");
    ck_ok(add(cx, r, "1", 12)); /* forgotten: again, once */
    ck_rc(redis_eval(cx, r, NULL, &SCRIPT_REDIS_ADD, 2, (const char *[]){"sum", "x"}, NULL),
          E_REDIS);
    ck_assert_str_eq(cx_words(cx, E_REDIS), "NOTANUMBER \"x\"\\ (in redis_add.lua)");
    ck_ok(add(cx, r, "0", 12));
    return OK;
}

START_TEST(scripts_are_loaded_when_needed)
{
    ck_ok(on_fiber(scripts, NULL));
}
END_TEST
int main(void)
{
    const struct row calm[] = {
        {"replies find their fibers", replies_find_their_fibers},
        {"replies and errors", replies_and_errors},
        {"big replies", big_replies},
        {"a late reply is dropped", a_late_reply_is_dropped},
        {"a cancelled fiber leaves its place", a_cancelled_fiber_leaves_its_place},
        {"half a pipeline is none", half_a_pipeline_is_none},
        {"freeing ends the waits", freeing_ends_the_waits},
        {"a lost reply is doubt", a_lost_reply_is_doubt},
        {"a replica is not taken", a_replica_is_not_taken},
        {"scripts are loaded when needed", scripts_are_loaded_when_needed},
    };
    const struct row kills[] = {
        {"a killed Redis is found again", a_killed_redis_is_found_again},
        {"what never left is sent again", what_never_left_is_sent_again},
    };

    stores_start(&stores, &(struct stores_opts){.no_pg = true});
    log_setup(stderr, LOG_ERROR, LOG_LOGFMT);
    int failed = suite_run(make_suite("redis", calm, COUNT(calm)));
    failed += suite_run_unforked(make_suite("redis, killed", kills, COUNT(kills)));
    stores_stop(&stores);
    return support_end(failed);
}

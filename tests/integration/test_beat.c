/* test_beat.c - two real beats over a real PostgreSQL and Redis: one leads, one firing per due
 * time, what is lost is mended. */
#include "base/id.h"
#include "base/text.h"
#include "tests/support/fibers.h"
#include "tests/support/stores.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct stores stores;
static char url[192];
static struct proc *beats[2];

#define SQL(...)     pg_one(url, __VA_ARGS__)
#define SQL_INT(...) pg_one_int(url, __VA_ARGS__)

/* ---------------------------------------------------------------- the stage */

/* Each test has a migrated database of its own and an empty Redis. */
static void stage_up(void)
{
    static int made;
    char name[32];

    snprintf(name, sizeof(name), "beat%d", ++made);
    stores_new_database(&stores, name, "migrated", url);
    redis_one(stores.redis_url, "FLUSHALL");
}

static struct proc *start_beat(const char *name, const char *lease)
{
    _cleanup_(freep) char *db = xasprintf("MIHWAR_DATABASE_URL=%s", url);
    _cleanup_(freep) char *redis = xasprintf("MIHWAR_REDIS_URL=%s", stores.redis_url);
    const char *argv[] = {built("beat/mihwar-beat"), "--beat-lease", lease,
                          "--epoch-every",           "200ms",        NULL};
    const char *env[] = {db, redis, NULL};

    return proc_start(&(struct proc_opts){.name = name, .argv = argv, .env = env});
}

/* From then on SIGTERM drains it; before, it would just end it. */
static bool started(struct proc *p)
{
    _cleanup_(freep) char *line = xasprintf("ev=beat.started prog=beat pid=%d ", (int)proc_pid(p));
    _cleanup_(freep) char *log = proc_log(p);

    return strstr(log, line) != NULL;
}

static void start_beats(const char *lease)
{
    beats[0] = start_beat("beat-a", lease);
    beats[1] = start_beat("beat-b", lease);
    ck_wait(started(beats[0]) && started(beats[1]), 10000);
}

static void stage_down(void)
{
    for (size_t i = 0; i < COUNT(beats); i++) {
        if (beats[i] && proc_alive(beats[i])) {
            int status = proc_stop(beats[i], 10000);

            ck_assert_msg(status == 0, "beat %zu ended with %d", i, status);
        }
        beats[i] = proc_free(beats[i]);
    }
}

/* Index of the beat that leads now, -1: none (or one that is dead). */
static int leads(void)
{
    const char *pid = pg_try(url, NULL,
                             "SELECT split_part(holder, ':', 2) FROM leaders WHERE role = 'beat' "
                             "AND until > clock_timestamp()");

    for (int i = 0; pid && i < (int)COUNT(beats); i++)
        if (beats[i] && proc_alive(beats[i]) && proc_pid(beats[i]) == atoi(pid))
            return i;
    return -1;
}

static void led(void)
{
    ck_wait(leads() >= 0 && SQL_INT("SELECT count(*) FROM schedules WHERE tenant_id IS NULL AND "
                                    "next_due_at IS NOT NULL") >= 5,
            15000);
}

static const char *add_schedule(const char *name, const char *rule, const char *misfire,
                                const char *next)
{
    return SQL("INSERT INTO schedules (id, name, task, args, %s, misfire, next_due_at) VALUES"
               " (gen_random_uuid(), '%s', 'test.nothing', '{\"a\":1}', %s, '%s', %s) RETURNING id",
               strchr(rule, '*') ? "cron" : "every_ms", name, rule, misfire, next);
}

static int64_t fired(const char *name)
{
    return SQL_INT("SELECT count(*) FROM schedule_firings f JOIN schedules s ON s.id = "
                   "f.schedule_id WHERE s.name = '%s'",
                   name);
}

/* Brings a duty of the house forward, and waits until it was fired. */
static void due_now(const char *name)
{
    int64_t before = fired(name);

    /* The leader writes its duties down one after the other, and then plans them. */
    ck_wait(SQL_INT("SELECT count(*) FROM schedules WHERE name = '%s' AND next_due_at IS NOT NULL",
                    name) == 1,
            30000);
    SQL("UPDATE schedules SET next_due_at = now() WHERE name = '%s'", name);
    ck_wait(fired(name) > before, 10000);
}

/* ---------------------------------------------------------------- who leads */

START_TEST(another_leads_after_a_kill)
{
    start_beats("5s"); /* the default */
    led();
    int first = leads();
    ck_assert_int_eq(SQL_INT("SELECT term FROM leaders"), 1);

    int64_t killed = support_now_ms();
    proc_kill9(beats[first]);
    ck_wait(leads() == !first, 10000);
    printf("another beat leads %d ms after kill -9\n", (int)(support_now_ms() - killed));
    ck_assert_int_eq(SQL_INT("SELECT term FROM leaders"), 2);
}
END_TEST

START_TEST(another_leads_at_once_after_a_stop)
{
    start_beats("30s");
    led();
    int first = leads();

    ck_assert_int_eq(proc_stop(beats[first], 10000), 0);
    ck_wait(leads() == !first, 3000);
}
END_TEST

START_TEST(a_leader_that_slept_too_long_stops)
{
    start_beats("1s");
    led();
    int first = leads();

    proc_signal(beats[first], SIGSTOP);
    ck_wait(leads() == !first, 10000);
    proc_signal(beats[first], SIGCONT);
    ck_wait(({
                _cleanup_(freep) char *log = proc_log(beats[first]);
                strstr(log, "leader.lost") != NULL;
            }),
            10000);
    ck_assert_int_eq(leads(), !first);
}
END_TEST

START_TEST(survives_the_death_of_postgresql)
{
    start_beats("1s");
    led();
    int64_t term = SQL_INT("SELECT term FROM leaders");

    stores_kill_pg(&stores);
    support_nap(1500); /* longer than the lease: the office must be taken anew */
    stores_up_pg(&stores);
    ck_wait(leads() >= 0, 15000);
    ck_assert_int_ge(SQL_INT("SELECT term FROM leaders"), term);
    add_schedule("after", "100", "once", "NULL");
    ck_wait(fired("after") >= 3, 10000);
}
END_TEST

/* ---------------------------------------------------------------- firing */

START_TEST(one_firing_per_due_time)
{
    start_beats("1s");
    led();
    const char *id = add_schedule("often", "100", "all", "NULL");
    char sid[ID_LEN + 1];
    snprintf(sid, sizeof(sid), "%s", id);

    ck_wait(fired("often") >= 10, 10000);
    proc_kill9(beats[leads()]);
    int64_t then = fired("often");
    ck_wait(leads() >= 0 && fired("often") > then + 10, 15000);
    SQL("UPDATE schedules SET enabled = false, version = version + 1 WHERE id = '%s'", sid);

    /* none is missing, none came twice, each has a job of its own */
    ck_assert_str_eq(SQL("SELECT count(*) FILTER (WHERE gap <> interval '100 ms') FROM"
                         " (SELECT due_at - lag(due_at) OVER (ORDER BY due_at) AS gap FROM "
                         "schedule_firings WHERE schedule_id = '%s') g",
                         sid),
                     "0");
    ck_assert_str_eq(SQL("SELECT count(*) = count(DISTINCT job_id) FROM schedule_firings WHERE "
                         "schedule_id = '%s'",
                         sid),
                     "t");
    ck_assert_str_eq(SQL("SELECT (SELECT count(*) FROM jobs WHERE task = 'test.nothing')"
                         " = (SELECT count(*) FROM schedule_firings WHERE schedule_id = '%s')",
                         sid),
                     "t");
    ck_assert_str_eq(SQL("SELECT args FROM jobs WHERE task = 'test.nothing' LIMIT 1"), "{\"a\":1}");
}
END_TEST

/* Ten minutes' rhythm, an hour late (and a bit). */
static const struct {
    const char *misfire;
    int firings, jobs;
} late[] = {
    {"skip", 1, 0},
    {"once", 1, 1},
    {"all", 7, 7},
};

START_TEST(misfires)
{
    start_beats("1s");
    led();
    SQL("INSERT INTO schedules (id, name, task, every_ms, misfire, created_at, next_due_at) SELECT "
        "gen_random_uuid(), 'late', 'test.nothing',"
        " 600000, '%s', t, t + interval '10 minutes' FROM (SELECT now() - interval '75 minutes' AS "
        "t) x RETURNING id",
        late[_i].misfire);
    ck_wait(
        fired("late") >= late[_i].firings &&
            SQL_INT("SELECT count(*) FROM schedules WHERE name = 'late' AND next_due_at > now()") ==
                1,
        10000);
    ck_assert_int_eq(fired("late"), late[_i].firings);
    ck_assert_int_eq(SQL_INT("SELECT count(*) FROM jobs WHERE task = 'test.nothing'"),
                     late[_i].jobs);
    /* back to its rhythm: 5 minutes from now */
    ck_assert_int_eq(SQL_INT("SELECT round(extract(epoch FROM next_due_at - created_at) / 600) * "
                             "10 FROM schedules WHERE name = 'late'"),
                     80);
}
END_TEST

START_TEST(jitter_moves_the_job_not_the_due_time)
{
    start_beats("1s");
    led();
    const char *id = add_schedule("jumpy", "1000", "once", "NULL");
    SQL("UPDATE schedules SET jitter_ms = 60000, version = version + 1 WHERE id = '%s'", id);
    ck_wait(fired("jumpy") >= 4, 10000);
    SQL("UPDATE schedules SET enabled = false WHERE name = 'jumpy'");
    ck_assert_int_ge(SQL_INT("SELECT count(DISTINCT j.run_at - f.due_at) FROM jobs j JOIN "
                             "schedule_firings f ON f.job_id = j.id"),
                     3);
    ck_assert_int_eq(
        SQL_INT("SELECT count(*) FROM jobs j JOIN schedule_firings f ON f.job_id = j.id"
                " WHERE NOT j.run_at - f.due_at BETWEEN interval '0' AND interval '61 s'"),
        0);
}
END_TEST

START_TEST(a_change_is_heard_at_once)
{
    start_beats("1s");
    led();
    add_schedule("yearly", "'0 0 1 1 *'", "once", "NULL");
    ck_wait(
        SQL_INT("SELECT count(*) FROM schedules WHERE name = 'yearly' AND next_due_at > now()") ==
            1,
        2000);
    ck_assert_str_eq(SQL("SELECT to_char(next_due_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI') FROM "
                         "schedules WHERE name = 'yearly'"),
                     "01-01 00:00");
    SQL("UPDATE schedules SET timezone = 'Asia/Riyadh', next_due_at = NULL, version = version + 1 "
        "WHERE name = 'yearly'");
    ck_wait(
        SQL_INT(
            "SELECT count(*) FROM schedules WHERE name = 'yearly' AND next_due_at IS NOT NULL") ==
            1,
        2000);
    ck_assert_str_eq(SQL("SELECT to_char(next_due_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI') FROM "
                         "schedules WHERE name = 'yearly'"),
                     "12-31 21:00");
    proc_signal(beats[leads()], SIGHUP); /* zones are read again */
    SQL("UPDATE schedules SET next_due_at = NULL, version = version + 1 WHERE name = 'yearly'");
    ck_wait(
        SQL_INT(
            "SELECT count(*) FROM schedules WHERE name = 'yearly' AND next_due_at IS NOT NULL") ==
            1,
        2000);
    ck_assert_int_eq(fired("yearly"), 0);
}
END_TEST

START_TEST(a_broken_schedule_harms_no_other)
{
    start_beats("1s");
    led();
    add_schedule("broken", "'61 * * * *'", "once", "NULL");
    add_schedule("never", "'0 0 30 2 *'", "once", "NULL");
    add_schedule("fine", "100", "once", "NULL");
    ck_wait(fired("fine") >= 3, 10000);
    ck_wait(SQL_INT("SELECT count(*) FROM schedules WHERE name IN ('broken', 'never') AND "
                    "next_due_at > now() + interval '50 minutes'") == 2,
            5000);
    ck_assert_int_eq(fired("broken") + fired("never"), 0);
}
END_TEST

/* ---------------------------------------------------------------- duties */

/* A shop with a product, a package and a provider. */
static void make_shop(void)
{
    SQL("WITH t AS (INSERT INTO tenants (id, name) VALUES ('00000000-0000-7000-8000-000000000001', "
        "'shop') RETURNING id),"
        " p AS (INSERT INTO products (id, tenant_id, name) SELECT "
        "'00000000-0000-7000-8000-000000000002', id, 'PUBG' FROM t RETURNING id, tenant_id)"
        " INSERT INTO packages (id, tenant_id, product_id, name) SELECT "
        "'00000000-0000-7000-8000-000000000003', tenant_id, id, '60 UC' FROM p RETURNING id");
    SQL("INSERT INTO integrations (id, tenant_id, name, kind, base_url, credentials) VALUES "
        "('00000000-0000-7000-8000-000000000004',"
        " '00000000-0000-7000-8000-000000000001', 'znet', 'znet', 'http://127.0.0.1:1', 'sealed') "
        "RETURNING id");
}

START_TEST(orders_get_their_job_back)
{
    make_shop();
    /* 250 orders: three batches; one is young, one has its job */
    SQL("INSERT INTO product_orders (id, tenant_id, product_id, package_id, user_identifier, "
        "created_at)"
        " SELECT gen_random_uuid(), '00000000-0000-7000-8000-000000000001', "
        "'00000000-0000-7000-8000-000000000002',"
        " '00000000-0000-7000-8000-000000000003', 'p' || n, now() - CASE WHEN n = 1 THEN interval "
        "'1 s' ELSE interval '2 minutes' END"
        " FROM generate_series(1, 250) n");
    SQL("INSERT INTO jobs (id, queue, task, unique_key, subject) SELECT gen_random_uuid(), "
        "'orders', 'order.dispatch', 'order.dispatch:' || id, id FROM product_orders WHERE "
        "user_identifier = 'p2'");
    start_beats("1s");
    led();
    due_now("order-sweep");
    ck_wait(SQL_INT("SELECT count(*) FROM jobs WHERE task = 'order.dispatch'") == 249, 10000);
    due_now("order-sweep");
    support_nap(300);
    ck_assert_int_eq(SQL_INT("SELECT count(*) FROM jobs WHERE task = 'order.dispatch'"), 249);
    ck_assert_int_eq(
        SQL_INT("SELECT count(DISTINCT subject) FROM jobs WHERE task = 'order.dispatch'"), 249);
}
END_TEST

START_TEST(providers_are_asked)
{
    static const struct {
        const char *schedule, *task;
    } rounds[] = {{"provider-balances", "provider.balance"},
                  {"provider-catalogues", "provider.catalogue"}};

    make_shop();
    start_beats("1s");
    led();
    for (size_t i = 0; i < COUNT(rounds); i++) {
        due_now(rounds[i].schedule);
        ck_wait(SQL_INT("SELECT count(*) FROM jobs WHERE task = '%s'", rounds[i].task) == 1, 5000);
        ck_assert_str_eq(SQL("SELECT args::json ->> 'integration_id' FROM jobs WHERE task = '%s'",
                             rounds[i].task),
                         "00000000-0000-7000-8000-000000000004");
        due_now(rounds[i].schedule); /* the first is still under way */
        support_nap(200);
        ck_assert_int_eq(SQL_INT("SELECT count(*) FROM jobs WHERE task = '%s'", rounds[i].task), 1);
    }
}
END_TEST

static bool redis_knows(const char *id)
{
    const char *all = redis_one(stores.redis_url, "KEYS *");
    _cleanup_(freep) char *keys = xstrdup(all ? all : "");
    char *rest = keys, *key;

    while ((key = strsep(&rest, "\n")))
        if (*key && !strcmp(redis_one(stores.redis_url, "TYPE %s", key), "hash") &&
            redis_one(stores.redis_url, "HGET %s %s", key, id))
            return true;
    return false;
}

START_TEST(lost_jobs_are_pushed)
{
    start_beats("1s");
    led();
    const char *id = SQL("INSERT INTO jobs (id, queue, task, created_at, run_at, updated_at) VALUES"
                         " (gen_random_uuid(), 'default', 'test.nothing', now() - interval '1 "
                         "minute', now() - interval '1 minute',"
                         " now() - interval '1 minute') RETURNING id");
    char job[ID_LEN + 1];

    snprintf(job, sizeof(job), "%s", id);
    due_now("reconcile");
    ck_wait(redis_knows(job), 10000);
    /* and after the loss of everything, without any worker */
    redis_one(stores.redis_url, "FLUSHALL");
    ck_wait(redis_knows(job), 10000);
}
END_TEST

START_TEST(old_things_go)
{
    SQL("INSERT INTO jobs (id, queue, task, state, created_at, updated_at, finished_at) SELECT "
        "gen_random_uuid(), 'default', 'test.nothing',"
        " 'completed', t, t, t FROM (SELECT now() - n * interval '1 day' AS t FROM "
        "generate_series(1, 60) n) x");
    start_beats("1s");
    led();
    due_now("retention");
    ck_wait(SQL_INT("SELECT count(*) FROM jobs WHERE task = 'test.nothing'") <= 30, 10000);
    ck_assert_int_ge(SQL_INT("SELECT count(*) FROM jobs WHERE task = 'test.nothing'"), 29);
}
END_TEST

/* A hub died with an agent's session, a request's job was taken away by hand, and a month has no partition. */
START_TEST(agents_and_requests_are_looked_after)
{
    const char *month =
        "SELECT to_char((now() AT TIME ZONE 'UTC') + interval '2 months', 'YYYYMM')";

    make_shop();
    SQL("INSERT INTO hub_instances (id, host, pid, seen_at) VALUES ('gone', 'h', 1, now() - "
        "interval '1 hour')");
    SQL("INSERT INTO agents (agent_id, tenant_id, agent_type, status, session_id, hub_instance_id, "
        "registered_at) VALUES ('a1', "
        "'00000000-0000-7000-8000-000000000001', 'CPE', 'active', gen_random_uuid(), 'gone', "
        "now())");
    SQL("INSERT INTO requests (request_id, tenant_id, job_id, requested_by_name, command, "
        "agent_id, timeout_ms, deadline, admitted_at) "
        "VALUES (gen_random_uuid(), '00000000-0000-7000-8000-000000000001', gen_random_uuid(), "
        "'x', 'c', 'a1', 1, now() - interval '1 "
        "hour', now())");
    SQL("DROP TABLE command_history_%s", SQL("%s", month));
    start_beats("1s");
    led();
    ck_wait(
        SQL_INT("SELECT count(*) FROM agents WHERE status = 'inactive' AND session_id IS NULL") ==
            1,
        30000);
    ck_wait(SQL_INT("SELECT count(*) FROM hub_instances") == 0, 30000);
    due_now("request-sweep");
    ck_wait(SQL_INT("SELECT count(*) FROM requests WHERE status = 'timeout'") == 1, 30000);
    ck_assert_int_eq(SQL_INT("SELECT count(*) FROM command_history WHERE status = 'timeout'"), 1);
    due_now("history-partitions");
    ck_wait(SQL_INT("SELECT count(*) FROM pg_class WHERE relname = 'command_history_%s'",
                    SQL("%s", month)) == 1,
            30000);
}
END_TEST

START_TEST(an_operator_runs_a_duty)
{
    _cleanup_(freep) char *db = xasprintf("MIHWAR_DATABASE_URL=%s", url);
    _cleanup_(freep) char *redis = xasprintf("MIHWAR_REDIS_URL=%s", stores.redis_url);
    _cleanup_(freep) char *out = NULL, *err = NULL;
    const char *argv[] = {built("ops/mihwar"), "schedule", "run", "retention", NULL};
    const char *env[] = {db, redis, NULL};

    start_beats("1s");
    led();
    int64_t before = fired("retention");
    ck_assert_msg(proc_run(&(struct proc_opts){.name = "mihwar", .argv = argv, .env = env}, NULL,
                           10000, &out, &err) == 0,
                  "%s%s", out, err);
    ck_wait(fired("retention") == before + 1, 5000);
    ck_assert_int_eq(SQL_INT("SELECT count(*) FROM audit_log WHERE action = 'schedule.run'"), 1);
}
END_TEST

START_TEST(an_old_due_time_does_not_spin)
{
    start_beats("1s");
    led();
    add_schedule("slow", "3600000", "once", "NULL");
    ck_wait(
        SQL_INT("SELECT count(*) FROM schedules WHERE name = 'slow' AND next_due_at IS NOT NULL") ==
            1,
        5000);
    SQL("UPDATE schedules SET next_due_at = date_trunc('second', now()) WHERE name = 'slow'");
    ck_wait(fired("slow") == 1, 5000);
    /* a clock was set back: the same due time again */
    SQL("UPDATE schedules SET next_due_at = (SELECT max(due_at) FROM schedule_firings f WHERE "
        "f.schedule_id = id) WHERE name = 'slow'");
    ck_wait(SQL_INT("SELECT count(*) FROM schedules WHERE name = 'slow' AND next_due_at > now() + "
                    "interval '30 minutes'") == 1,
            5000);
    ck_assert_int_eq(fired("slow"), 1);
}
END_TEST

START_TEST(the_epoch_advances)
{
    start_beats("1s");
    led();
    int64_t epoch = SQL_INT("SELECT epoch FROM engine_epoch");
    ck_wait(SQL_INT("SELECT epoch FROM engine_epoch") > epoch + 2, 5000);
}
END_TEST

/* ---------------------------------------------------------------- the program */

static int run(const char *option, const char *value, char **ret_out, char **ret_err)
{
    _cleanup_(freep) char *db = xasprintf("MIHWAR_DATABASE_URL=%s", url);
    const char *argv[] = {built("beat/mihwar-beat"), option, value, NULL};
    const char *env[] = {db, NULL};

    return proc_run(&(struct proc_opts){.name = "beat-once", .argv = argv, .env = env}, NULL, 10000,
                    ret_out, ret_err);
}

START_TEST(says_what_it_is)
{
    static const struct {
        const char *option, *value;
        int status;
    } calls[] = {
        {"--version", NULL, 0},       {"--help", NULL, 0},     {"--check-config", NULL, 0},
        {"--beat-lease", "never", 2}, {"--nonsense", NULL, 2},
    };

    for (size_t i = 0; i < COUNT(calls); i++) {
        _cleanup_(freep) char *out = NULL, *err = NULL;
        int status = run(calls[i].option, calls[i].value, &out, &err);

        ck_assert_msg(status == calls[i].status, "%s: %d: %s%s", calls[i].option, status, out, err);
    }
}
END_TEST

START_TEST(refuses_a_strange_schema)
{
    _cleanup_(freep) char *err = NULL;

    stores_new_database(&stores, "bare", NULL, url);
    ck_assert_int_eq(run("--beat-lease", "1s", NULL, &err), 1);
    ck_assert_msg(strstr(err, "mihwar db migrate"), "%s", err);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("beat");
    TCase *tc = tcase_create("beat");

    tcase_add_checked_fixture(tc, stage_up, stage_down);
    tcase_add_test(tc, another_leads_after_a_kill);
    tcase_add_test(tc, another_leads_at_once_after_a_stop);
    tcase_add_test(tc, a_leader_that_slept_too_long_stops);
    tcase_add_test(tc, survives_the_death_of_postgresql);
    tcase_add_test(tc, one_firing_per_due_time);
    tcase_add_loop_test(tc, misfires, 0, COUNT(late));
    tcase_add_test(tc, jitter_moves_the_job_not_the_due_time);
    tcase_add_test(tc, a_change_is_heard_at_once);
    tcase_add_test(tc, a_broken_schedule_harms_no_other);
    tcase_add_test(tc, orders_get_their_job_back);
    tcase_add_test(tc, providers_are_asked);
    tcase_add_test(tc, lost_jobs_are_pushed);
    tcase_add_test(tc, old_things_go);
    tcase_add_test(tc, agents_and_requests_are_looked_after);
    tcase_add_test(tc, an_operator_runs_a_duty);
    tcase_add_test(tc, an_old_due_time_does_not_spin);
    tcase_add_test(tc, the_epoch_advances);
    tcase_add_test(tc, says_what_it_is);
    tcase_add_test(tc, refuses_a_strange_schema);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    stores_start(&stores, NULL);
    stores_new_database(&stores, "migrated", NULL, url);
    stores_migrate(url);
    int failed = suite_run_unforked(suite());
    stores_stop(&stores);
    return support_end(failed);
}

/* test_restarts.c - workers restarted while jobs flow, gently and with kill -9; and how soon the jobs of the dead run elsewhere.
 *
 *   producer ── durable and broker jobs, all the time ──►  host A: parent, 2 children
 *                                                          host B: parent, 2 children
 *   restarts, one host in turn: SIGTERM and up again | kill -9 of a child | kill -9 of the whole host, up again
 *
 * At the end each durable job was completed by one attempt, each broker job was acked once, and nothing is left in Redis.
 *
 * MIHWAR_CHAOS_RESTARTS: how many (5); MIHWAR_CHAOS_SEED repeats a run's choices. */
#include "base/clock.h"
#include "tests/chaos/trouble.h"
#include "tests/integration/worker_bench.h"
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>

#define HOSTS    2
#define LEASE    "2s"
#define LEASE_MS 2000

static struct bench hosts[HOSTS];

static void up(int host)
{
    START_ON(&hosts[host], Q, "--worker-processes", "2", "--worker-concurrency", "50", "--lease",
             LEASE, "--shutdown-grace", "10s");
    /* Before that SIGTERM would just end it. */
    ck_wait(said(&hosts[host], "ev=worker.ready"), 30000);
}

static void open_hosts(void)
{
    hosts[0] = new_bench();
    hosts[1] = hosts[0];
    for (int i = 0; i < HOSTS; i++)
        up(i);
}

static void close_hosts(void)
{
    for (int i = 0; i < HOSTS; i++)
        stop_worker(&hosts[i]);
}

/* The parent first: it must not give the leases of its children back. */
static void kill_host(struct bench *b)
{
    pid_t child[16];
    size_t n = proc_children(proc_pid(b->worker), child, COUNT(child));

    proc_signal(b->worker, SIGSTOP);
    for (size_t i = 0; i < n; i++)
        kill(child[i], SIGKILL);
    proc_kill9(b->worker);
    for (size_t i = 0; i < n; i++)
        waitpid(child[i], NULL, 0);
    b->worker = proc_free(b->worker);
}

/* ---------------------------------------------------------------- what flows */

static struct {
    pthread_t thread;
    _Atomic int pushed; /* of each kind */
    _Atomic bool stop, broken;
    bool runs;
} flow;

/* Also after a test that failed: its thread has a loop of its own. */
static void stop_flow(void)
{
    flow.stop = true;
    if (flow.runs)
        pthread_join(flow.thread, NULL);
    flow.runs = false;
}

static rc push_some(struct cx *cx, void *arg)
{
    struct redis *redis;
    struct pg *db;

    (void)arg;
    try(redis_new(cx, stores.redis_url, &redis));
    try(pg_new(cx, hosts[0].url, 1, &db));
    struct engine *e = engine_new(redis, db);
    rc r = OK;
    while (r == OK && !flow.stop) {
        struct job_new j[20];
        for (size_t i = 0; i < COUNT(j); i++)
            j[i] = (struct job_new){.queue = Q,
                                    .task = "mihwar.sleep",
                                    .args = "{\"ms\": 30}",
                                    .durable = i % 2 == 0,
                                    .priority = JOB_PRIORITY,
                                    .max_attempts = 1000};
        r = engine_enqueue(cx, e, j, COUNT(j));
        if (r == OK)
            flow.pushed += (int)COUNT(j) / 2;
        if (r == OK)
            r = fiber_sleep(cx, 40);
    }
    engine_free(e);
    pg_free(db);
    redis_free(redis);
    return r;
}

static void *produce(void *arg)
{
    (void)arg;
    flow.broken = on_fiber(push_some, NULL) != OK;
    return NULL;
}

static int64_t stat_of(const char *field)
{
    return atol(redis_one(stores.redis_url, "HGET mw:{t}:stats %s", field) ?: "0");
}

static int64_t ended(void)
{
    return pg_one_int(hosts[0].url, "SELECT count(*) FROM jobs WHERE state = 'completed'");
}

/* ---------------------------------------------------------------- restarts */

static void restart(int i)
{
    struct bench *b = &hosts[i % HOSTS];
    int how = between(0, 2);
    int64_t from = ended();

    if (how == 0) {
        ck_assert_int_eq(proc_stop(b->worker, 30000), 0);
        b->worker = proc_free(b->worker);
        up(i % HOSTS);
    } else if (how == 1) {
        pid_t child[16];
        size_t n = proc_children(proc_pid(b->worker), child, COUNT(child));
        if (n > 0)
            kill(child[between(0, (int)n - 1)], SIGKILL);
    } else {
        kill_host(b);
        up(i % HOSTS);
    }
    ck_wait(ended() > from + 10 || flow.broken, 60000); /* work goes on before the next one */
}

START_TEST(nothing_is_lost_through_restarts)
{
    const char *n = getenv("MIHWAR_CHAOS_RESTARTS");
    int restarts = n ? atoi(n) : 5;
    const char *db;

    troubles_seed("MIHWAR_CHAOS_SEED");
    open_hosts();
    db = hosts[0].url;
    ck_assert_int_eq(pthread_create(&flow.thread, NULL, produce, NULL), 0);
    flow.runs = true;
    ck_wait(flow.pushed > 50 || flow.broken, 20000);
    for (int i = 0; i < restarts && !flow.broken; i++)
        restart(i);
    stop_flow();
    ck_assert(!flow.broken);
    ck_wait(ended() == flow.pushed && atoi(redis_one(stores.redis_url, "HLEN mw:{t}:jobs")) == 0,
            60000);
    printf("chaos: %d restarts, %d durable and %d broker jobs: %d lost; %d expired leases, %d "
           "given back, %d stale acks "
           "refused\n",
           restarts, flow.pushed, flow.pushed, (int)(flow.pushed - ended()),
           (int)stat_of("expired"), (int)stat_of("released"), (int)stat_of("refused"));
    ck_assert_int_eq(stat_of("done"), 2 * flow.pushed);
    ck_assert_int_eq(stat_of("died"), 0);
    ck_assert_int_eq(
        pg_one_int(db, "SELECT count(*) FROM job_attempts WHERE outcome = 'completed'"),
        flow.pushed);
    ck_assert_int_eq(
        pg_one_int(db,
                   "SELECT count(DISTINCT job_id) FROM job_attempts WHERE outcome = 'completed'"),
        flow.pushed);
    ck_assert_int_eq(atoi(redis_one(stores.redis_url, "ZCARD mw:{t}:lease")), 0);
    close_hosts();
}
END_TEST

/* ---------------------------------------------------------------- how soon */

enum { LONG = 30 };

/* Attempts begun on one host, or on all (-1); *ret_pid (may be NULL): by whom, the last one. */
static int begun_on(int host, int attempt, pid_t *ret_pid)
{
    char mark[64];
    int n = 0;

    snprintf(mark, sizeof mark, "task=mihwar.sleep attempt=%d", attempt);
    for (int i = 0; i < HOSTS; i++) {
        if (!hosts[i].worker || (host >= 0 && host != i))
            continue;
        _cleanup_(freep) char *log = proc_log(hosts[i].worker);
        char *save = NULL;
        for (char *line = strtok_r(log, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
            if (!strstr(line, "ev=job.started") || !strstr(line, mark))
                continue;
            n++;
            if (ret_pid)
                *ret_pid = (pid_t)atoi(strstr(line, " pid=") + 5);
        }
    }
    return n;
}

static int begun(int attempt)
{
    return begun_on(-1, attempt, NULL);
}

static int64_t leased(void)
{
    return atoi(redis_one(stores.redis_url, "ZCARD mw:{t}:lease"));
}

static void fill(void)
{
    struct job_new j[LONG];

    for (size_t i = 0; i < LONG; i++)
        j[i] = (struct job_new){.queue = Q,
                                .task = "mihwar.sleep",
                                .args = "{\"ms\": 3000}",
                                .durable = true,
                                .priority = JOB_PRIORITY,
                                .max_attempts = 9};
    enqueue(&hosts[0], j, LONG);
    ck_wait(begun(1) == LONG && leased() == LONG, 30000);
}

/* A child that is killed gives back at once, long before its leases could expire. */
START_TEST(jobs_of_a_killed_child_run_elsewhere_at_once)
{
    pid_t child = 0;

    hosts[0] = hosts[1] = new_bench();
    START_ON(&hosts[0], Q, "--worker-processes", "2", "--lease", "1h");
    fill();
    begun_on(0, 1, &child);
    ck_assert_int_gt(child, 1);
    int64_t at = support_now_ms();
    kill(child, SIGKILL);
    ck_wait(begun(2) > 0 && leased() == LONG, 20000);
    printf("chaos: kill -9 of a child: its jobs (%d) run elsewhere after %d ms\n", begun(2),
           (int)(support_now_ms() - at));
    ck_wait(ended() == LONG, 60000);
    stop_worker(&hosts[0]);
}
END_TEST

/* With its parent nobody is left to give back: the leases expire. */
START_TEST(jobs_of_a_killed_host_run_elsewhere_when_the_lease_is_over)
{
    open_hosts();
    fill();
    int dead = begun_on(0, 1, NULL) > 0 ? 0 : 1;
    int64_t at = support_now_ms();
    kill_host(&hosts[dead]);
    ck_wait(leased() == LONG && stat_of("expired") > 0, 30000);
    int64_t took = support_now_ms() - at;
    printf("chaos: kill -9 of a host: its jobs (%d) run elsewhere after %d ms, with a lease of %d "
           "ms\n",
           (int)stat_of("expired"), (int)took, LEASE_MS);
    ck_assert_int_lt(took, LEASE_MS + 15000);
    ck_wait(ended() == LONG, 60000);
    stop_worker(&hosts[1 - dead]);
}
END_TEST

/* A frozen child acks what is no longer its: refused, and counted. */
START_TEST(a_stale_ack_is_refused_and_counted)
{
    struct job_new j = {.queue = Q,
                        .task = "mihwar.sleep",
                        .args = "{\"ms\": 700}",
                        .priority = JOB_PRIORITY,
                        .max_attempts = 9};
    pid_t child[16];

    hosts[0] = hosts[1] = new_bench();
    START_ON(&hosts[0], Q, "--worker-processes", "1", "--lease", "1s");
    enqueue1(&hosts[0], j);
    ck_wait(leased() == 1, 15000);
    ck_assert_uint_eq(proc_children(proc_pid(hosts[0].worker), child, COUNT(child)), 1);
    kill(child[0], SIGSTOP);
    START_ON(&hosts[1], Q, "--worker-processes", "1", "--lease", "30s");
    ck_wait(stat_of("done") == 1, 20000);
    kill(child[0], SIGCONT);
    ck_wait(stat_of("refused") > 0 || said(&hosts[0], "ev=lease.lost"), 20000);
    ck_assert_int_eq(stat_of("done"), 1);
    stop_worker(&hosts[0]);
    stop_worker(&hosts[1]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chaos_restarts");
    TCase *tc = tcase_create("restarts");

    tcase_add_checked_fixture(tc, NULL, stop_flow);
    tcase_add_test(tc, nothing_is_lost_through_restarts);
    tcase_add_test(tc, jobs_of_a_killed_child_run_elsewhere_at_once);
    tcase_add_test(tc, jobs_of_a_killed_host_run_elsewhere_when_the_lease_is_over);
    tcase_add_test(tc, a_stale_ack_is_refused_and_counted);
    suite_add_tcase(s, tc);
    stores_start(&stores, NULL);
    int failed = suite_run_unforked(s);
    stores_stop(&stores);
    return support_end(failed);
}

/* test_worker_health.c - a real mihwar-worker whose processes are replaced while it works: because they have done enough,
 * because they do nothing, because the settings changed. */
#include "base/clock.h"
#include "tests/integration/worker_bench.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START(b, ...) START_ON(b, Q, __VA_ARGS__)

/* How often the log has these words. */
static int times_said(const struct bench *b, const char *words)
{
    _cleanup_(freep) char *log = proc_log(b->worker);
    int n = 0;

    for (const char *at = log; (at = strstr(at, words)); at++)
        n++;
    return n;
}

/* Nothing that the file says is said by the command line, which would win. */
static void start_with_file(struct bench *b, const char *path)
{
    char database[256], redis[192];
    const char *const argv[] = {built("worker/mihwar-worker"), "--config", path, NULL};
    const char *const env[] = {database, redis, NULL};

    snprintf(database, sizeof database, "MIHWAR_DATABASE_URL=%s", b->url);
    snprintf(redis, sizeof redis, "MIHWAR_REDIS_URL=%s", stores.redis_url);
    b->worker = living =
        proc_start(&(struct proc_opts){.name = "worker_file", .argv = argv, .env = env});
    ck_wait(atoi(redis_one(stores.redis_url, "EXISTS mw:{t}:epoch")) == 1, 10000);
}

static int64_t stat_of(const char *field)
{
    return atol(redis_one(stores.redis_url, "HGET mw:{t}:stats %s", field) ?: "0");
}

static void push_many(struct bench *b, size_t n, const char *task, const char *args, bool durable)
{
    struct job_new *j = xcalloc(n, sizeof *j);

    for (size_t i = 0; i < n; i++)
        j[i] = (struct job_new){.queue = Q,
                                .task = task,
                                .args = args,
                                .priority = JOB_PRIORITY,
                                .durable = durable,
                                .max_attempts = 1};
    enqueue(b, j, n);
    free(j);
}

static int64_t completed(const struct bench *b)
{
    return pg_one_int(b->url, "SELECT count(*) FROM jobs WHERE state = 'completed'");
}

/* ---------------------------------------------------------------- leases */

/* The process extends, not the job: three leases long, and nobody else gets it. */
START_TEST(a_long_job_keeps_its_lease)
{
    struct bench b = new_bench();

    START(&b, "--lease", "600ms", "--worker-processes", "2");
    enqueue1(&b, job('a', "mihwar.sleep", "{\"ms\": 2000}"));
    ck_wait(state_is(&b, 'a', "completed"), 15000);
    ck_assert_int_eq(pg_one_int(b.url, "SELECT attempt FROM job_attempts"), 1);
    ck_assert_int_eq(stat_of("expired"), 0);
    stop_worker(&b);
}
END_TEST

/* ---------------------------------------------------------------- enough done */

/* Each job has one attempt: none may be under way in a process that goes. */
START_TEST(recycled_after_so_many_jobs)
{
    struct bench b = new_bench();

    START(&b, "--worker-recycle-jobs", "50", "--worker-concurrency", "10");
    push_many(&b, 200, "mihwar.sleep", "{\"ms\": 5}", true);
    push_many(&b, 200, "mihwar.sleep", "{\"ms\": 5}", false);
    ck_wait(completed(&b) == 200 && stat_of("done") == 400, 40000);
    ck_assert_int_ge(times_said(&b, "ev=child.weary"), 3);
    ck_assert_int_ge(times_said(&b, "ev=child.replaced"), 2);
    ck_assert_int_eq(times_said(&b, "ev=child.died"), 0);
    ck_assert_int_eq(times_said(&b, "ev=ack.refused"), 0);
    ck_assert_int_eq(
        pg_one_int(b.url, "SELECT count(*) FROM job_attempts WHERE outcome <> 'completed'"), 0);
    ck_assert_int_gt(pg_one_int(b.url, "SELECT count(DISTINCT worker) FROM job_attempts"), 2);
    stop_worker(&b);
}
END_TEST

/* The limit is below what any process needs: each is replaced as soon as it is looked at, and work goes on. */
START_TEST(recycled_after_so_much_memory)
{
    struct bench b = new_bench();

    START(&b, "--worker-recycle-rss", "1000000");
    ck_wait(times_said(&b, "ev=child.replaced") >= 1, 20000);
    ck_assert(said(&b, "why=memory"));
    enqueue1(&b, job('a', "mihwar.noop", NULL));
    ck_wait(state_is(&b, 'a', "completed"), 15000);
    stop_worker(&b);
}
END_TEST

/* ---------------------------------------------------------------- nothing done */

/* It heartbeats, extends its leases and answers signals, and takes no work any more: another process takes over, it says what
 * its fibers wait in, and finishes what it has. */
START_TEST(a_worker_that_takes_no_work_is_replaced)
{
    struct bench b = new_bench();
    char inject[128], once[96];

    snprintf(once, sizeof once, "%s/pump_stops", support_dir());
    snprintf(inject, sizeof inject, "pump_stops@%s:1000", once);
    setenv("MIHWAR_INJECT", inject, 1);
    START(&b, "--worker-stuck-after", "1500ms", "--shutdown-grace", "20s", "--lease", "1h");
    unsetenv("MIHWAR_INJECT");
    enqueue1(&b, job('a', "mihwar.sleep", "{\"ms\": 4000}"));
    ck_wait(times_said(&b, "task=mihwar.sleep attempt=1\n") == 1, 15000);
    close(open(once, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    ck_wait(access(once, F_OK) != 0, 15000);
    enqueue1(&b, job('b', "mihwar.noop",
                     NULL)); /* may be brought by the claim that lay in Redis already */
    ck_wait(state_is(&b, 'b', "completed"), 20000);
    enqueue1(&b, job('c', "mihwar.noop", NULL));
    ck_wait(state_is(&b, 'c', "completed"), 20000);
    ck_assert(said(&b, "what=idle"));
    ck_assert(said(&b, "name=worker.pump state=parked in=pump_fiber"));
    ck_wait(state_is(&b, 'a', "completed"), 20000);
    ck_assert_int_eq(pg_one_int(b.url, "SELECT max(attempt) FROM job_attempts"), 1);
    stop_worker(&b);
}
END_TEST

/* A full worker and one without work are not taken for stuck, nor one whose Redis is away. */
START_TEST(a_well_worker_is_left_alone)
{
    struct bench b = new_bench();

    START(&b, "--worker-stuck-after", "2s", "--worker-concurrency", "1");
    ck_wait(said(&b, "ev=worker.ready"), 10000);
    enqueue1(&b, job('a', "mihwar.sleep", "{\"ms\": 2500}"));
    ck_wait(state_is(&b, 'a', "completed"), 15000);
    stores_kill_redis(&stores);
    ck_wait(said(&b, "ev=claim.failed") || said(&b, "ev=wait.failed"), 15000);
    support_nap(2500);
    stores_up_redis(&stores);
    enqueue1(&b, job('b', "mihwar.noop", NULL));
    ck_wait(state_is(&b, 'b', "completed"), 30000);
    ck_assert(!said(&b, "ev=child.stuck"));
    stop_worker(&b);
}
END_TEST

/* ---------------------------------------------------------------- other settings */

static void write_settings(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

/* A bad file changes nothing; a good one has each child replaced, with the queues and limits of now; what cannot change is
 * named. Work goes on meanwhile. */
START_TEST(settings_are_read_again)
{
    struct bench b = new_bench();
    char path[96];
    struct job_new other = job('b', "mihwar.noop", NULL);

    snprintf(path, sizeof path, "%s/worker.ini", support_dir());
    write_settings(path, "worker_concurrency = 2\nworker_queues = t\nworker_processes = 1\n");
    start_with_file(&b, path);
    push_many(&b, 100, "mihwar.sleep", "{\"ms\": 20}", true);

    write_settings(path, "worker_concurrency = many\n");
    proc_signal(b.worker, SIGHUP);
    ck_wait(said(&b, "ev=settings.refused") && said(&b, "worker_concurrency"), 10000);
    ck_assert(!said(&b, "ev=child.replaced"));

    write_settings(path, "worker_concurrency = 5000\nworker_queues = u,t\nworker_processes = 3\n");
    proc_signal(b.worker, SIGHUP);
    ck_wait(said(&b, "queues=u,t concurrency=5000"), 20000);
    ck_assert(said(&b, "ev=settings.changed") && said(&b, "name=worker_queues"));
    ck_assert(said(&b, "ev=settings.need_restart") && said(&b, "name=worker_processes"));
    other.queue = "u";
    /* Its ids are of long ago: what is written while a new queue is taken into use would wait for beat's sweep. */
    ck_wait(atoi(redis_one(stores.redis_url, "EXISTS mw:{u}:epoch")) == 1, 20000);
    enqueue1(&b, other);
    ck_wait(state_is(&b, 'b', "completed"), 20000);
    ck_wait(completed(&b) == 101, 30000);
    ck_assert_int_eq(times_said(&b, "ev=child.died"), 0);
    stop_worker(&b);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("worker_health");
    TCase *tc = bench_case(s, "worker_health", 60);

    tcase_add_test(tc, a_long_job_keeps_its_lease);
    tcase_add_test(tc, recycled_after_so_many_jobs);
    tcase_add_test(tc, recycled_after_so_much_memory);
    tcase_add_test(tc, a_worker_that_takes_no_work_is_replaced);
    tcase_add_test(tc, a_well_worker_is_left_alone);
    tcase_add_test(tc, settings_are_read_again);
    return s;
}

int main(void)
{
    return stores_main_unforked(&stores, NULL, NULL, suite);
}

/* test_life.c - more than a thousand jobs of every kind through one house, from their birth to the last trace of them.
 *
 *   hub <- POST by the hundred       beat: a schedule       worker: own tasks, two plug-ins, a program
 *
 * Nobody is killed and nothing is emptied here: what counts is that every end is the one that was asked for, and that hub,
 * worker and beat let go of all they held. The sanitizers of the build look at that, or valgrind does (scripts/leaks). */
#include "base/buf.h"
#include "tests/e2e/e2e.h"

static struct house h;

#define ENDS_MS   240000 /* valgrind is fifty times slower */
#define WORKFLOWS 30
#define ORDERS    20
#define FIRINGS   10

static const struct {
    const char *job;
    int n;
} lives[] = {
    {"{\"task\":\"mihwar.echo\",\"args\":{\"x\":[1,2]}}", 150},
    {"{\"task\":\"mihwar.noop\",\"durable\":false,\"priority\":7}", 150},
    {"{\"task\":\"mihwar.echo\",\"args\":[3],\"durable\":false,\"result_ttl_ms\":60000}", 50},
    {"{\"task\":\"plug.greet\",\"args\":{\"a\":1}}", 100},
    {"{\"task\":\"plug.fragile\"}", 100}, /* comes through the second time */
    {"{\"task\":\"plug.fragile\",\"durable\":false}", 40},
    {"{\"task\":\"plug.fragile\",\"args\":{\"never\":1}}", 50},
    {"{\"task\":\"apart.thread\",\"args\":\"plain\"}", 50},
    {"{\"task\":\"apart.thread\",\"args\":\"fail\"}", 10}, /* once */
    {"{\"task\":\"apart.child\",\"args\":\"plain\"}", 40},
    {"{\"task\":\"apart.child\",\"args\":\"refuse\"}", 5},
    {"{\"task\":\"life.program\",\"args\":\"json\"}", 40},
    {"{\"task\":\"life.program\",\"args\":\"dead\"}", 5},
    {"{\"task\":\"mihwar.noop\",\"delay_ms\":3600000}", 40},
    {"{\"task\":\"mihwar.sleep\",\"args\":{\"ms\":3000000},\"timeout_ms\":3600000}", 10},
};
/* What the durable ones among them come to: task, state, how many, attempts of all. */
static const char ends[] = "apart.child completed 40 40\n"
                           "apart.child dead 5 5\n"
                           "apart.thread completed 60 70\n"
                           "life.program completed 40 40\n"
                           "life.program dead 5 5\n"
                           "mihwar.echo completed 150 150\n"
                           "mihwar.noop cancelled 40 0\n"
                           "mihwar.sleep cancelled 10 10\n"
                           "plug.fragile completed 100 200\n"
                           "plug.fragile dead 50 50\n"
                           "plug.greet completed 100 100";

#define JOB(task, args) "{\"task\":\"mihwar." task "\",\"args\":" args "}"
static const char tree[] =
    "{\"chain\":[" JOB("echo", "{\"n\":1}") ",{\"group\":[" JOB("noop", "{}") "," JOB(
        "echo", "{\"n\":2}") "," JOB("previous", "{}") "]}," JOB("previous", "{}") "]}";

static int64_t count(const char *sql)
{
    return pg_one_int(h.stores.database_url, "SELECT count(*) FROM %s", sql);
}

static void post_all(void)
{
    for (size_t k = 0; k < COUNT(lives); k++) {
        _cleanup_(buf_release) struct buf b = BUF(MiB(1));
        for (int i = 0; i < lives[k].n; i++) {
            buf_putc(&b, i ? ',' : '[');
            buf_puts(&b, lives[k].job);
        }
        buf_putc(&b, ']');
        _cleanup_(web_reply_release) struct web_reply r = house_post(&h, "/v1/jobs", buf_str(&b));
        ck_assert_msg(r.status == 201, "%s: %d %s", lives[k].job, r.status, r.body);
    }
}

/* Every live job of a task, one by one, as its owner would. */
static void cancel(const char *task)
{
    const char *id;

    for (;;) {
        id = pg_one(h.stores.database_url,
                    "SELECT id FROM jobs WHERE task = '%s' AND live AND NOT cancel_requested "
                    "LIMIT 1",
                    task);
        if (!id || !*id)
            return;
        _cleanup_(freep) char *path = xasprintf("/v1/jobs/%s/cancel", id);
        _cleanup_(web_reply_release) struct web_reply r = house_post(&h, path, "{}");
        ck_assert_msg(r.status == 200, "%s: %d %s", path, r.status, r.body);
    }
}

static void begin_workflows(void)
{
    for (int i = 0; i < WORKFLOWS; i++) {
        _cleanup_(web_reply_release) struct web_reply r = house_post(&h, "/v1/workflows", tree);
        ck_assert_msg(r.status == 201, "%d %s", r.status, r.body);
    }
}

/* Until it has fired so often. */
static void run_a_schedule(void)
{
    _cleanup_(web_reply_release) struct web_reply r = house_post(
        &h, "/v1/schedules",
        "{\"name\":\"life\",\"task\":\"mihwar.noop\",\"queue\":\"timed\",\"every\":200}");
    ck_assert_msg(r.status == 201, "%d %s", r.status, r.body);
    ck_wait(count("jobs WHERE queue = 'timed' AND state = 'completed'") >= FIRINGS, ENDS_MS);
    _cleanup_(freep) char *url = xasprintf("%s/v1/schedules/%s", h.url, web_text(&r, "id"));
    _cleanup_(web_reply_release) struct web_reply gone =
        web(.url = url, .method = "DELETE", .bearer = h.key, .timeout_ms = 30000);
    ck_assert_msg(gone.status == 204, "%d %s", gone.status, gone.body);
}

#define redis_says(cmd, want) (strcmp(redis_one(h.stores.redis_url, cmd), want) == 0)

START_TEST(a_thousand_mixed_jobs)
{
    _cleanup_(freep) char *package = xstrdup(house_package(&h, "60", NULL)); /* asked for often */
    int64_t broker = 0;

    post_all();
    cancel("mihwar.noop"); /* its time has not come; those of a workflow come later */
    begin_workflows();
    for (int i = 0; i < ORDERS; i++) {
        char user[32];
        snprintf(user, sizeof user, "player-%d", i);
        house_order(&h, package, user, "");
    }
    run_a_schedule();
    ck_wait(count("jobs WHERE live AND task <> 'mihwar.sleep'") == 0, ENDS_MS);
    ck_wait(redis_says("ZCARD mw:{default}:lease", "10"), ENDS_MS);
    cancel("mihwar.sleep"); /* under way */

    ck_wait(count("jobs WHERE live") == 0, ENDS_MS);
    ck_wait(redis_says("HLEN mw:{default}:jobs", "0"), ENDS_MS);
    ck_assert(redis_says("ZCARD mw:{default}:lease", "0"));
    ck_assert_str_eq(
        pg_one(
            h.stores.database_url,
            "SELECT string_agg(task || ' ' || state || ' ' || n || ' ' || a, E'\\n' ORDER BY task, "
            "state) FROM (SELECT task, state, count(*) AS n, sum((SELECT count(*) FROM "
            "job_attempts a WHERE a.job_id = j.id)) AS a FROM jobs j WHERE queue = 'default' AND "
            "task NOT LIKE 'order.%%' AND task NOT LIKE 'webhook.%%' AND NOT EXISTS (SELECT 1 "
            "FROM workflow_steps s WHERE s.job_id = j.id) GROUP BY task, state) x"),
        ends);
    ck_assert_int_eq(count("workflows WHERE state = 'completed'"), WORKFLOWS);
    ck_assert_int_eq(count("product_orders WHERE status = 'completed'"), ORDERS);
    for (size_t k = 0; k < COUNT(lives); k++)
        broker += strstr(lives[k].job, "\"durable\":false") ? lives[k].n : 0;
    printf("%lld durable jobs, %lld attempts, %lld broker jobs\n", (long long)count("jobs"),
           (long long)count("job_attempts"), (long long)broker);
    ck_assert_int_ge(count("jobs") + broker, 1000);
}
END_TEST

int main(void)
{
    char load[600], program[600];

    snprintf(load, sizeof load, "MIHWAR_WORKER_LOAD=%s,%s",
             built("tests/integration/plug/libplug.so"),
             built("tests/integration/plug/libapart.so"));
    snprintf(program, sizeof program, "MIHWAR_WORKER_EXEC=life.program=%s", PROGRAM);
    const char *const env[] = {
        load, program,
        /* under valgrind the house's short times are too short */
        "MIHWAR_LEASE=30s", "MIHWAR_WORKER_STUCK_AFTER=5m", "MIHWAR_PROVIDER_CONNECT=30s",
        "MIHWAR_PROVIDER_PLACE=60s", "MIHWAR_PROVIDER_STATUS=60s", "MIHWAR_REVIEW_AFTER=1h",
        "MIHWAR_BEAT_LEASE=30s", "MIHWAR_WORKER_QUEUES=default,orders,webhooks,timed", NULL};
    Suite *s = suite_create("life");
    TCase *tc = tcase_create("a life");

    tcase_add_test(tc, a_thousand_mixed_jobs);
    suite_add_tcase(s, tc);
    house_start(&h, NULL, env);
    int failed = suite_run_unforked(s);
    failed += house_stop(&h);
    return support_end(failed);
}

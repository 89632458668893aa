/* test_redis_trouble.c - a worker and a beat that come in through TLS, as the user of
 * docs/operations.md, and all that befalls a Redis: connections cut in a loop, emptied, full, a
 * replica for a while, restored from an old snapshot. The books are compared at the end. */
#include "base/clock.h"
#include "base/text.h"
#include "tests/integration/redis_world.h"
#include "tests/support/certs.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_MS 1000

static struct world world;
static struct certs certs;
static int tls_port;

/* ---------------------------------------------------------------- the door */

/* The words behind "ACL SETUSER " in the page that tells people what to write. */
static char *acl_of_the_page(void)
{
    const char *root = getenv("MW_SOURCE"); /* by hand: run from the root */
    _cleanup_(freep) char *path = xasprintf("%s/docs/operations.md", root ? root : ".");
    static char page[200000];
    FILE *f = fopen(path, "r");

    if (!f)
        support_die("%s cannot be read", path);
    page[fread(page, 1, sizeof page - 1, f)] = 0;
    fclose(f);
    char *line = strstr(page, "\nACL SETUSER ");
    if (!line)
        support_die("docs/operations.md has no line ACL SETUSER");
    line += strlen("\nACL SETUSER ");
    char *end = strchr(line, '\n'), *secret = strstr(line, ">SECRET");
    if (!end || !secret || secret > end)
        support_die("its line has no >SECRET");
    return xasprintf("%.*s>hush%.*s", (int)(secret - line), line,
                     (int)(end - secret - (ptrdiff_t)strlen(">SECRET")),
                     secret + strlen(">SECRET"));
}

static void up(void)
{
    _cleanup_(freep) char *user = acl_of_the_page();
    const char *more[80] = {"--requirepass",      WORLD_PASSWORD, "--tls-auth-clients", "yes",
                            "--tls-cert-file",    certs.cert,     "--tls-key-file",     certs.key,
                            "--tls-ca-cert-file", certs.ca};
    char port[16];
    size_t k = 10;

    snprintf(port, sizeof port, "%d", tls_port);
    more[k++] = "--tls-port";
    more[k++] = port;
    more[k++] = "--user";
    for (char *save = NULL, *word = strtok_r(user, " ", &save); word;
         word = strtok_r(NULL, " ", &save))
        more[k++] = word;
    world_server(&world, 0, more);
}

static void set_up(void)
{
    certs_make(&certs, support_dir());
    tls_port = free_port();
    up();
    snprintf(world.url, sizeof world.url, "rediss://mihwar:hush@localhost:%d?ca=%s&cert=%s&key=%s",
             tls_port, certs.ca, certs.cert, certs.key);
}

static rc no_certificate(struct cx *cx, void *arg)
{
    struct redis *r;

    ck_ok(redis_new(cx, arg, &r));
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, 400);
    ck_rc(redis_cmd(cx, r, NULL, "PING"), E_STORE_DOWN);
    redis_free(r);
    return OK;
}

START_TEST(without_a_certificate_nobody_comes_in)
{
    char url[300];

    snprintf(url, sizeof url, "rediss://mihwar:hush@localhost:%d?ca=%s", tls_port, certs.ca);
    ck_ok(on_fiber(no_certificate, url));
}
END_TEST

/* ---------------------------------------------------------------- one life */

static const char *state_of(struct world *w, const char *id)
{
    return pg_one(w->stores.database_url, "SELECT state FROM jobs WHERE id = '%s'", id);
}

static struct job_new job(const char *queue, const char *task, const char *args, int64_t delay_ms)
{
    return (struct job_new){.queue = queue,
                            .task = task,
                            .args = args,
                            .durable = true,
                            .priority = JOB_PRIORITY,
                            .run_at_ms = delay_ms ? clock_ms() + delay_ms : 0};
}

/* What this user may do is all that a job's life needs, and no more. */
static void whole_life(struct cx *cx, struct world *w)
{
    struct job_new plain = job("alpha", "mihwar.echo", "{\"a\":1}", 0),
                   later = job("beta", "mihwar.noop", NULL, 3600 * 1000),
                   first = job("gamma", "mihwar.noop", NULL, 0), second = first;
    struct queue_stats *stats;
    size_t n;
    int64_t purged, jobs;
    bool running;

    ck_ok(engine_enqueue(cx, w->engine, &plain, 1));
    world_wait(cx, str_eq(state_of(w, plain.id), "completed"), 60000);
    ck_ok(engine_enqueue(cx, w->engine, &later, 1));
    ck_ok(engine_cancel(cx, w->engine, later.id, &running));
    ck_ok(engine_retry_now(cx, w->engine, later.id));
    ck_ok(engine_pause(cx, w->engine, "gamma", true));
    first.durable = second.durable = false;
    first.unique_key = second.unique_key = "one";
    ck_ok(engine_enqueue(cx, w->engine, &first, 1));
    ck_ok(engine_enqueue(cx, w->engine, &second, 1));
    ck_assert(second.existed);
    ck_ok(engine_queues(cx, w->engine, &stats, &n));
    ck_assert_uint_ge(n, 3);
    ck_ok(engine_purge(cx, w->engine, "gamma", &purged));
    ck_assert_int_eq(purged, 1);
    ck_ok(engine_pause(cx, w->engine, "gamma", false));
    world_ask(w, 0, "FLUSHALL");
    ck_ok(engine_recover(cx, w->engine, &jobs));
    ck_ok(engine_epoch_advance(cx, w->engine));
    /* The test and beat have no business with these. */
    ck_rc(redis_cmd(cx, w->redis, NULL, "SET other 1"), E_REDIS);
    ck_assert_ptr_nonnull(strstr(cx_words(cx, E_REDIS), "NOPERM"));
    ck_rc(redis_cmd(cx, w->redis, NULL, "FLUSHALL"), E_REDIS);
    ck_rc(redis_cmd(cx, w->redis, NULL, "CONFIG GET requirepass"), E_REDIS);
    ck_rc(redis_cmd(cx, w->redis, NULL, "KEYS *"), E_REDIS);
}

/* ---------------------------------------------------------------- troubles */

/* Every connection is cut, twenty times a second, for a second. Then it goes on at once. */
static void cut(struct cx *cx, struct world *w)
{
    int64_t before = world_done(w);

    for (int i = 0; i < 20; i++) {
        world_ask(w, 0, "CLIENT KILL TYPE normal SKIPME yes");
        ck_ok(fiber_sleep(cx, 50));
    }
    printf("%" PRId64 " jobs while connections were cut\n", world_done(w) - before);
    world_goes_on(cx, w, "connections cut in a loop");
}

/* Producers hear of it; what is aboard ends, and lets go. */
static void full(struct cx *cx, struct world *w)
{
    struct job_new broker = job("alpha", "mihwar.noop", NULL, 0);

    broker.durable = false;
    world_ask(w, 0, "CONFIG SET maxmemory 1");
    ck_rc(engine_enqueue(cx, w->engine, &broker, 1), E_OVERLOADED);
    ck_assert_ptr_nonnull(strstr(cx_words(cx, E_OVERLOADED), "full"));
    world_wait(cx, str_eq(world_ask(w, 0, "ZCARD mw:{alpha}:lease"), "0"), 30000);
    world_ask(w, 0, "CONFIG SET maxmemory 0");
    world_goes_on(cx, w, "a full Redis");
}

static void demoted(struct cx *cx, struct world *w)
{
    world_ask(w, 0, "REPLICAOF 127.0.0.1 1");
    ck_ok(fiber_sleep(cx, 300));
    world_ask(w, 0, "REPLICAOF NO ONE");
    world_goes_on(cx, w, "a replica for a while");
}

static void emptied(struct cx *cx, struct world *w)
{
    world_ask(w, 0, "FLUSHALL");
    world_goes_on(cx, w, "FLUSHALL");
}

static int64_t epoch(struct world *w)
{
    return pg_one_int(w->stores.database_url, "SELECT epoch FROM engine_epoch");
}

/* A snapshot from three steps of the epoch ago, with jobs in it that have ended since. */
static void restored(struct cx *cx, struct world *w)
{
    _cleanup_(freep) char *dump = xasprintf("%s/redis-0/dump.rdb", support_dir());
    _cleanup_(freep) char *old = xasprintf("%s/redis-0/old.rdb", support_dir());

    ck_assert_str_eq(world_ask(w, 0, "SAVE"), "OK");
    ck_assert_int_eq(rename(dump, old), 0);
    int64_t at = epoch(w);
    world_wait(cx, epoch(w) >= at + 3, 60000);
    proc_kill9(w->server[0]);
    ck_assert_int_eq(rename(old, dump), 0);
    up();
    world_goes_on(cx, w, "an old snapshot");
}

static rc troubles(struct cx *cx, struct world *w)
{
    struct job_new late = job("default", "mihwar.noop", NULL, 3 * LEASE_MS);

    whole_life(cx, w);
    ck_ok(engine_enqueue(cx, w->engine, &late, 1));
    world_produce(w);
    world_goes_on(cx, w, "a user of few rights, behind TLS");
    cut(cx, w);
    /* It waited for longer than a lease lasts, and ran once. */
    world_wait(cx, str_eq(state_of(w, late.id), "completed"), 60000);
    ck_assert_str_eq(pg_one(w->stores.database_url,
                            "SELECT string_agg(attempt || outcome, ' ') FROM job_attempts"
                            " WHERE job_id = '%s'",
                            late.id),
                     "1completed");
    full(cx, w);
    demoted(cx, w);
    emptied(cx, w);
    restored(cx, w);
    pg_one(w->stores.database_url,
           "WITH x AS (DELETE FROM jobs WHERE run_at > now() + interval '1 minute' RETURNING 1)"
           " SELECT count(*) FROM x");
    world_books(cx, w);
    return OK;
}

START_TEST(nothing_is_lost_and_nothing_doubled)
{
    world_programs(&world, (const char *[]){"MIHWAR_LEASE=1s", NULL});
    world_run(&world, troubles);
    world_end_programs(&world);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("redis, in trouble");
    TCase *tc = tcase_create("trouble");

    world_open(&world);
    set_up();
    tcase_add_test(tc, without_a_certificate_nobody_comes_in);
    tcase_add_test(tc, nothing_is_lost_and_nothing_doubled);
    suite_add_tcase(s, tc);
    int failed = suite_run_unforked(s);
    world_close(&world);
    return support_end(failed);
}

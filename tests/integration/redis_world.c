/* redis_world.c - see redis_world.h. */
#include "tests/integration/redis_world.h"
#include "base/log.h"
#include "pg/migrate.h"
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define START_MS  30000
#define PRODUCERS 4

void world_open(struct world *w)
{
    *w = (struct world){0};
    log_setup(stderr, LOG_ERROR, LOG_LOGFMT);
    stores_start(&w->stores, &(struct stores_opts){.no_redis = true});
    stores_migrate(w->stores.database_url);
}

/* ---------------------------------------------------------------- servers */

/* A fresh connection for each question: servers die, change their role, and wake again. */
static _printf_(2, 0) const char *ask(int port, const char *fmt, va_list ap)
{
    static char texts[16][4096];
    static unsigned turn;
    char *text = texts[turn++ % COUNT(texts)];
    redisContext *c =
        redisConnectWithTimeout("127.0.0.1", port, (struct timeval){.tv_usec = 500 * 1000});

    text[0] = 0;
    if (c && !c->err) {
        redisSetTimeout(c, (struct timeval){.tv_sec = 5});
        freeReplyObject(redisCommand(c, "AUTH %s", WORLD_PASSWORD));
        redisReply *r = redisvCommand(c, fmt, ap);
        if (r && r->type == REDIS_REPLY_INTEGER)
            snprintf(text, sizeof texts[0], "%lld", r->integer);
        else if (r && r->str)
            snprintf(text, sizeof texts[0], "%s", r->str);
        else if (r && r->type == REDIS_REPLY_ARRAY)
            for (size_t i = 0; i < r->elements; i++)
                snprintf(text + strlen(text), sizeof texts[0] - strlen(text), "%s%s", i ? " " : "",
                         r->element[i]->str ? r->element[i]->str : "");
        freeReplyObject(r);
    }
    redisFree(c);
    return text;
}

const char *world_ask(struct world *w, int n, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    const char *text = ask(w->port[n], fmt, ap);
    va_end(ap);
    return text;
}

/* False when it died instead of answering. */
static bool start_server(struct world *w, int n, const char *name, const char *const *more)
{
    char port[16], bus[16], dir[96];
    const char *argv[100] = {"redis-server"};
    size_t k = 1;

    snprintf(port, sizeof port, "%d", w->port[n]);
    snprintf(bus, sizeof bus, "%d", w->bus[n]);
    snprintf(dir, sizeof dir, "%s/%s", support_dir(), name);
    mkdir(dir, 0700);
    if (more && more[0] && more[0][0] == '/') /* a file of settings comes first */
        argv[k++] = *more++;
    const char *own[] = {"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", ""};
    for (size_t i = 0; i < COUNT(own); i++)
        argv[k++] = own[i];
    if (w->cluster) { /* the usual bus, 10000 above the port, may not exist */
        argv[k++] = "--cluster-port";
        argv[k++] = bus;
    }
    for (; more && *more; more++)
        argv[k++] = *more;
    proc_free(w->server[n]);
    w->server[n] = proc_start(&(struct proc_opts){.name = name, .argv = argv});
    int64_t end = support_now_ms() + START_MS;
    while (strcmp(world_ask(w, n, "PING"), "PONG") != 0) {
        if (!proc_alive(w->server[n]))
            return false;
        if (support_now_ms() > end)
            support_die("%s does not answer: %s", name, world_ask(w, n, "PING"));
        support_nap(10);
    }
    return true;
}

void world_server(struct world *w, int n, const char *const *more)
{
    char name[16];
    bool again = w->port[n] != 0;

    snprintf(name, sizeof name, "redis-%d", n);
    for (int tries = 0; tries < 20; tries++) {
        if (!again)
            w->port[n] = free_port();
        if (!again && w->cluster)
            w->bus[n] = free_port();
        if (start_server(w, n, name, more))
            return;
        support_nap(again ? 100 : 0);
    }
    support_die("%s cannot be started", name);
}

/* ---------------------------------------------------------------- programs */

static struct proc *program(struct world *w, const char *name, const char *path,
                            const char *const *more)
{
    char redis[600], database[256];
    const char *argv[] = {built(path), NULL};
    const char *env[40] = {redis,
                           database,
                           "MIHWAR_WORKER_QUEUES=alpha,beta,gamma,default",
                           "MIHWAR_WORKER_PROCESSES=2",
                           "MIHWAR_WORKER_CONCURRENCY=50",
                           "MIHWAR_LEASE=2s",
                           "MIHWAR_EPOCH_EVERY=500ms",
                           "MIHWAR_BEAT_LEASE=1s",
                           "MIHWAR_SHUTDOWN_GRACE=10s"};
    size_t k = 9;

    snprintf(redis, sizeof redis, "MIHWAR_REDIS_URL=%s", w->url);
    snprintf(database, sizeof database, "MIHWAR_DATABASE_URL=%s", w->stores.database_url);
    for (; more && *more; more++)
        env[k++] = *more;
    return proc_start(&(struct proc_opts){.name = name, .argv = argv, .env = env});
}

void world_programs(struct world *w, const char *const *env)
{
    w->beat = program(w, "beat", "beat/mihwar-beat", env);
    w->worker = program(w, "worker", "worker/mihwar-worker", env);
}

void world_end_programs(struct world *w)
{
    ck_assert_int_eq(proc_stop(w->worker, 20000), 0);
    ck_assert_int_eq(proc_stop(w->beat, 20000), 0);
    w->worker = proc_free(w->worker);
    w->beat = proc_free(w->beat);
}

void world_close(struct world *w)
{
    proc_free(w->worker);
    proc_free(w->beat);
    for (int i = 0; i < WORLD_SERVERS; i++)
        proc_free(w->server[i]);
    stores_stop(&w->stores);
}

/* ---------------------------------------------------------------- work */

struct world_body {
    struct world *w;
    rc (*body)(struct cx *cx, struct world *w);
};

static rc run_body(struct cx *cx, void *arg)
{
    const struct world_body *b = arg;
    struct world *w = b->w;

    w->stop = false;
    w->produced = 0;
    ck_ok(redis_new(cx, w->url, &w->redis));
    ck_ok(pg_new(cx, w->stores.database_url, 2, &w->db));
    w->engine = engine_new(w->redis, w->db);
    rc r = b->body(cx, w);
    w->engine = engine_free(w->engine);
    w->db = pg_free(w->db);
    w->redis = redis_free(w->redis);
    return r;
}

void world_run(struct world *w, rc (*body)(struct cx *cx, struct world *w))
{
    ck_ok(on_fiber(run_body, &(struct world_body){w, body}));
}

static rc produce(struct cx *cx, void *arg)
{
    static const char *const queues[WORLD_QUEUES] = {"alpha", "beta", "gamma", "default"};
    struct world *w = arg;

    while (!w->stop) {
        struct job_new jobs[12] = {0};
        for (size_t i = 0; i < COUNT(jobs); i++)
            jobs[i] = (struct job_new){.queue = queues[i % WORLD_QUEUES],
                                       .task = "mihwar.noop",
                                       .durable = true,
                                       .priority = JOB_PRIORITY};
        {
            _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
                cx_deadline_within(cx, 500);
            if (engine_enqueue(cx, w->engine, jobs, COUNT(jobs)) == OK)
                w->produced += (int64_t)COUNT(jobs);
        }
        try(fiber_sleep(cx, 25));
    }
    w->producing--;
    return OK;
}

void world_produce(struct world *w)
{
    for (w->producing = 0; w->producing < PRODUCERS; w->producing++)
        fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "producer"}, produce, w));
}

int world_rounds(void)
{
    const char *text = getenv("MIHWAR_CHAOS_ROUNDS");
    int rounds = text ? atoi(text) : 1;

    return MAX(rounds, 1);
}

int64_t world_done(struct world *w)
{
    return pg_one_int(w->stores.database_url,
                      "SELECT count(*) FROM jobs WHERE state = 'completed'");
}

void world_goes_on(struct cx *cx, struct world *w, const char *what)
{
    int64_t began = support_now_ms(), before = world_done(w);

    world_wait(cx, world_done(w) >= before + 50, 60000);
    printf("%s: 50 more jobs within %" PRId64 " ms\n", what, support_now_ms() - began);
    fflush(stdout);
}

static int64_t left(struct world *w)
{
    return pg_one_int(w->stores.database_url, "SELECT count(*) FROM jobs WHERE state <> 'completed'"
                                              " AND task = 'mihwar.noop'");
}

/* What beat does every half minute. */
static void sweep(struct cx *cx, struct world *w)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, 5000);
    int64_t pushed = 0, dropped = 0;

    if (engine_sweep(cx, w->engine, 0, &pushed, &dropped) == OK && (pushed || dropped))
        printf("swept: %" PRId64 " pushed, %" PRId64 " dropped\n", pushed, dropped);
}

void world_books(struct cx *cx, struct world *w)
{
    const char *db = w->stores.database_url;

    w->stop = true;
    world_wait(cx, w->producing == 0, 30000); /* the last batches are committed */
    int64_t end = support_now_ms() + 60000;
    for (int64_t swept = 0; left(w) > 0;) {
        ck_assert_msg(support_now_ms() < end, "%" PRId64 " jobs never ended", left(w));
        if (support_now_ms() - swept > 1000) {
            sweep(cx, w);
            swept = support_now_ms();
        }
        ck_ok(fiber_sleep(cx, 50));
    }
    ck_assert_int_ge(pg_one_int(db, "SELECT count(*) FROM jobs WHERE task = 'mihwar.noop'"),
                     w->produced);
    /* An effect is what was written together with the end. */
    ck_assert_int_eq(pg_one_int(db, "SELECT count(*) FROM (SELECT 1 FROM job_attempts"
                                    " WHERE outcome = 'completed' GROUP BY job_id"
                                    " HAVING count(*) > 1) x"),
                     0);
    ck_assert_int_eq(pg_one_int(db, "SELECT count(*) FROM jobs j WHERE j.task = 'mihwar.noop'"
                                    " AND NOT EXISTS (SELECT 1 FROM job_attempts a"
                                    " WHERE a.job_id = j.id AND a.outcome = 'completed')"),
                     0);
    printf("%" PRId64 " jobs, each ended once; claimed twice: %" PRId64 ", pushed again: %" PRId64
           "\n",
           world_done(w), pg_one_int(db, "SELECT count(*) FROM jobs WHERE attempt > 1"),
           pg_one_int(db, "SELECT count(*) FROM jobs WHERE generation > 1"));
    fflush(stdout);
}

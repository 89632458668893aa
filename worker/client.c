/* client.c - asking for jobs from a program that has no loop of its own (mihwar.h).
 *
 *      caller's thread ── ask ── desk ──> loop: a fiber carries it out ── done ──> caller's thread
 *
 * The loop is the one of this process: a worker's when the caller is one of its tasks, else a thread that the first client starts
 * and the last one ends. On a task's fiber the question is asked at once, on that fiber: it parks like any other call. In a
 * program that is not ours nothing of ours stays behind: its signals keep their meaning, and only warnings are written to stderr. */
#include "base/clock.h"
#include "base/log.h"
#include "base/settings.h"
#include "lib/mihwar.h"
#include "queue/await.h"
#include "queue/jobs.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include "worker/desk.h"
#include "worker/face.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 10000

struct mw_client {
    struct settings settings;
    const char *database_url, *redis_url;
    int64_t timeout_ms;
    struct redis *redis;
    struct pg *db;
    struct engine *engine;
    struct await *await;
};

/* ---------------------------------------------------------------- the loop's thread */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    size_t clients;
    bool own; /* the thread is ours to end */
    pthread_t thread;
    enum { DOWN, STARTING, UP, BROKEN } state;
} house = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static void house_is(int state)
{
    pthread_mutex_lock(&house.lock);
    house.state = (unsigned)state;
    pthread_cond_broadcast(&house.moved);
    pthread_mutex_unlock(&house.lock);
}

/* loop_init says for the whole process what becomes of these; here the process is not ours. */
static rc loop_init_quietly(struct cx *cx)
{
    static const int touched[] = {SIGPIPE, SIGSEGV, SIGBUS};
    struct sigaction old[COUNT(touched)];

    for (size_t i = 0; i < COUNT(touched); i++)
        sigaction(touched[i], NULL, &old[i]);
    rc r = loop_init(cx);
    for (size_t i = 0; i < COUNT(touched); i++)
        sigaction(touched[i], &old[i], NULL);
    return r;
}

static void *house_main(void *arg)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("client");

    (void)arg;
    log_setup(NULL, LOG_WARN, LOG_LOGFMT);
    if (loop_init_quietly(&cx) != OK || desk_open(&cx) != OK) {
        house_is(BROKEN);
        return NULL;
    }
    house_is(UP);
    loop_run();
    desk_close();
    offload_free();
    loop_free();
    return NULL;
}

static rc start_house(struct cx *cx)
{
    sigset_t all, old;

    house.state = STARTING;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals, SIGPIPE too, are not for this thread */
    int e = pthread_create(&house.thread, NULL, house_main, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (e) {
        house.state = DOWN;
        return fail(cx, OS, "no thread: %s", strerror(e));
    }
    while (house.state == STARTING)
        pthread_cond_wait(&house.moved, &house.lock);
    if (house.state == UP)
        return OK;
    pthread_join(house.thread, NULL);
    house.state = DOWN;
    return fail(cx, OS, "the event loop cannot be made");
}

static rc enter_house(struct cx *cx)
{
    rc r = OK;

    pthread_mutex_lock(&house.lock);
    if (house.clients == 0 && !desk_is_open()) {
        r = start_house(cx);
        house.own = r == OK;
    }
    house.clients += r == OK;
    pthread_mutex_unlock(&house.lock);
    return r;
}

static void stop_house(void *arg)
{
    (void)arg;
    loop_stop();
}

static void leave_house(void)
{
    pthread_mutex_lock(&house.lock);
    if (--house.clients == 0 && house.own) {
        desk_post(stop_house, NULL);
        pthread_join(house.thread, NULL);
        house.own = false;
        house.state = DOWN;
    }
    pthread_mutex_unlock(&house.lock);
}

/* ---------------------------------------------------------------- a question */

struct ask {
    rc (*fn)(struct cx *cx, void *arg);
    void *arg;
    int64_t timeout_ms;
    struct mw_error error;
    rc result;
    bool done;
    pthread_mutex_t lock;
    pthread_cond_t moved;
};

static rc answer(struct cx *cx, void *arg)
{
    struct ask *a = arg;
    rc r = a->fn(cx, a->arg);

    if (r != OK)
        face_error(&a->error, error_info(r)->code, cx_words(cx, r));
    pthread_mutex_lock(&a->lock);
    a->result = r;
    a->done = true;
    pthread_cond_signal(&a->moved);
    pthread_mutex_unlock(&a->lock);
    return OK;
}

static void begin(void *arg)
{
    struct ask *a = arg;

    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "client", .timeout_ms = a->timeout_ms},
                             answer, a));
}

static int tell(struct mw_error *err, const struct mw_error *why)
{
    if (err)
        *err = *why;
    return -1;
}

static int tell_rc(struct mw_error *err, const struct cx *cx, rc r)
{
    struct mw_error e;

    face_error(&e, error_info(r)->code, cx_words(cx, r));
    return tell(err, &e);
}

/* On a task's fiber: its own cx, so that its deadline and its cancellation hold. */
static int ask_here(struct ask *a, struct mw_error *err)
{
    _cleanup_(cx_release) struct cx plain = CX_PLAIN("client");
    struct fiber *f = fiber_self();

    if (!f)
        return tell_rc(err, &plain, fail(&plain, INTERNAL, "the loop itself cannot wait"));
    struct cx *cx = fiber_cx(f);
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, a->timeout_ms);
    rc r = a->fn(cx, a->arg);
    return r == OK ? 0 : tell_rc(err, cx, r);
}

static int ask(rc (*fn)(struct cx *cx, void *arg), void *arg, int64_t timeout_ms,
               struct mw_error *err)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("client");
    struct ask a = {.fn = fn,
                    .arg = arg,
                    .timeout_ms = timeout_ms,
                    .lock = PTHREAD_MUTEX_INITIALIZER,
                    .moved = PTHREAD_COND_INITIALIZER};

    if (desk_is_mine())
        return ask_here(&a, err);
    if (!desk_post(begin, &a))
        return tell_rc(err, &cx, fail(&cx, CANCELLED, "the process is about to end"));
    pthread_mutex_lock(&a.lock);
    while (!a.done)
        pthread_cond_wait(&a.moved, &a.lock);
    pthread_mutex_unlock(&a.lock);
    return a.result == OK ? 0 : tell(err, &a.error);
}

/* ---------------------------------------------------------------- open, close */

/* A job that nobody has: asked for in both stores. */
static rc both_answer(struct cx *cx, const struct mw_client *c)
{
    struct job_info none;
    char id[ID_LEN + 1];
    rc r = job_load(cx, c->engine, id_new(id), NULL, &none);

    return r == E_NOT_FOUND ? OK : r;
}

static rc open_stores(struct cx *cx, void *arg)
{
    struct mw_client *c = arg;

    try(redis_new(cx, c->redis_url, &c->redis));
    if (*c->database_url)
        try(pg_new(cx, c->database_url, (int)c->settings.database_pool, &c->db));
    c->engine = engine_new(c->redis, c->db);
    c->await = await_new(c->engine);
    return both_answer(cx, c);
}

static rc close_stores(struct cx *cx, void *arg)
{
    struct mw_client *c = arg;

    (void)cx;
    c->await = await_free(c->await);
    c->engine = engine_free(c->engine);
    c->db = pg_free(c->db);
    c->redis = redis_free(c->redis);
    return OK;
}

void mw_client_close(struct mw_client *c)
{
    if (!c)
        return;
    ask(close_stores, c, TIMEOUT_MS, NULL);
    leave_house();
    settings_release(&c->settings);
    free(c);
}

static rc read_options(struct cx *cx, const struct mw_client_options *o, struct mw_client *c)
{
    const char *file = o && o->config ? o->config : getenv("MIHWAR_CONFIG");

    try(settings_load(cx, &c->settings, file));
    c->database_url = o && o->database_url ? o->database_url : c->settings.database_url;
    if (c->database_url != c->settings.database_url)
        try(settings_set(cx, &c->settings, "database_url", c->database_url, "database_url"));
    c->database_url = c->settings.database_url;
    if (o && o->redis_url)
        try(settings_set(cx, &c->settings, "redis_url", o->redis_url, "redis_url"));
    c->redis_url = c->settings.redis_url;
    c->timeout_ms = o && o->timeout_ms > 0 ? o->timeout_ms : TIMEOUT_MS;
    return OK;
}

int mw_client_open(const struct mw_client_options *o, struct mw_client **ret, struct mw_error *err)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("client");
    struct mw_client *c = xcalloc(1, sizeof *c);
    rc r = read_options(&cx, o, c);

    if (r == OK)
        r = enter_house(&cx);
    if (r != OK) {
        settings_release(&c->settings);
        free(c);
        return tell_rc(err, &cx, r);
    }
    if (ask(open_stores, c, c->timeout_ms, err) != 0) {
        mw_client_close(c);
        return -1;
    }
    *ret = c;
    return 0;
}

/* ---------------------------------------------------------------- jobs */

struct batch {
    struct mw_client *client;
    struct job_new *jobs;
    size_t n;
};

static rc enqueue(struct cx *cx, void *arg)
{
    struct batch *b = arg;

    return engine_enqueue(cx, b->client->engine, b->jobs, b->n);
}

static rc read_jobs(struct cx *cx, struct mw_client *c, const struct mw_new *jobs, size_t n,
                    struct wish *wishes, struct job_new *ret)
{
    if (n == 0 || n > MW_ENQUEUE_MAX)
        return fail(cx, INVALID_FIELD, "%zu jobs: 1 to %d go in one call", n, MW_ENQUEUE_MAX);
    for (size_t i = 0; i < n; i++) {
        try(wish_read(cx, &cx->arena, &jobs[i], clock_ms(), &wishes[i]));
        ret[i] = wishes[i].job;
        if (ret[i].durable && !*c->database_url)
            return fail(cx, CONFIG, "a durable job needs a database: this client has none");
    }
    return OK;
}

int mw_enqueue_many(struct mw_client *c, const struct mw_new *jobs, size_t n, struct mw_made *ret,
                    struct mw_error *err)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("client");
    _cleanup_(freep) struct wish *wishes = xcalloc(n + 1, sizeof *wishes);
    struct batch b = {c, NULL, n};
    _cleanup_(freep) struct job_new *made = b.jobs = xcalloc(n + 1, sizeof *made);

    cx.arena.max = MiB(512); /* the caller's own memory: a thousand jobs of the largest size */
    rc r = read_jobs(&cx, c, jobs, n, wishes, made);
    if (r != OK)
        return tell_rc(err, &cx, r);
    if (ask(enqueue, &b, c->timeout_ms, err) != 0)
        return -1;
    for (size_t i = 0; i < n && ret; i++) {
        strcpy(ret[i].id, made[i].id);
        ret[i].existed = made[i].existed;
    }
    return 0;
}

int mw_enqueue(struct mw_client *c, const struct mw_new *job, struct mw_made *ret,
               struct mw_error *err)
{
    return mw_enqueue_many(c, job, 1, ret, err);
}

struct waiting {
    struct mw_client *client;
    const char *id;
    int64_t wait_ms;
    struct mw_outcome *ret;
};

static void fill(struct mw_outcome *o, const struct job_info *j)
{
    *o = (struct mw_outcome){.attempts = j->attempts_used, .result = xstrdup(j->result)};
    snprintf(o->state, sizeof o->state, "%s", j->state);
    o->ended = strcmp(j->state, "completed") == 0 || strcmp(j->state, "dead") == 0 ||
               strcmp(j->state, "cancelled") == 0;
    face_error(&o->error, j->last_error_code ? j->last_error_code : "",
               j->last_error ? j->last_error : "");
}

static rc wait_for_end(struct cx *cx, void *arg)
{
    struct waiting *w = arg;
    struct job_info j;

    if (w->wait_ms > 0)
        try(await_end(cx, w->client->await, w->id, NULL, w->wait_ms));
    try(job_load(cx, w->client->engine, w->id, NULL, &j));
    fill(w->ret, &j);
    return OK;
}

int mw_job_wait(struct mw_client *c, const char *id, int64_t wait_ms, struct mw_outcome *ret,
                struct mw_error *err)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("client");
    char own[ID_LEN + 1];
    struct waiting w = {c, own, MAX(wait_ms, 0), ret};

    *ret = (struct mw_outcome){0};
    if (!id_parse(id, own))
        return tell_rc(err, &cx, fail(&cx, INVALID_FIELD, "'%.40s' is no UUID", id));
    return ask(wait_for_end, &w, MAX(wait_ms, 0) + c->timeout_ms, err);
}

void mw_outcome_release(struct mw_outcome *o)
{
    free(o->result);
    o->result = NULL;
}

struct cancelling {
    struct mw_client *client;
    const char *id;
    bool running;
};

static rc cancel(struct cx *cx, void *arg)
{
    struct cancelling *c = arg;

    return engine_cancel(cx, c->client->engine, c->id, &c->running);
}

int mw_job_cancel(struct mw_client *c, const char *id, int *ret_running, struct mw_error *err)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("client");
    char own[ID_LEN + 1];
    struct cancelling what = {.client = c, .id = own};

    if (!id_parse(id, own))
        return tell_rc(err, &cx, fail(&cx, INVALID_FIELD, "'%.40s' is no UUID", id));
    if (ask(cancel, &what, c->timeout_ms, err) != 0)
        return -1;
    if (ret_running)
        *ret_running = what.running;
    return 0;
}

/* main.c - mihwar-worker, or a worker of somebody's own: a parent that watches, children that carry
 * out jobs.
 *
 *   parent: settings, tasks, shared memory for leases  --fork-->  child: loop, stores, pool
 *
 * SIGTERM: children stop claiming, finish, release the rest and end with 0 inside shutdown_grace.
 * A child that died gives its leases back at once: the parent reads them out of the shared memory
 * and lets a short-lived process return them. */
#include "base/log.h"
#include "base/program.h"
#include "base/text.h"
#include "pg/migrate.h"
#include "rt/http.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include "rt/supervisor.h"
#include "secure/seal.h"
#include "worker/gather.h"
#include "worker/guest.h"
#include "worker/pool.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct program {
    struct settings settings;
    struct held *held;
};

/* ---------------------------------------------------------------- a child */

static int child_main(int index, void *arg)
{
    struct program *p = arg;
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("worker");
    struct pool pool = {0};

    child_raise_files((long)p->settings.worker_concurrency + 512);
    rc r = loop_init(&cx);
    if (r == OK) {
        http_init(/* max_host_connections= */ 0);
        r = pool_open(&cx, &p->settings, p->held, index, &pool);
    }
    if (r != OK) {
        log_fail(LOG_ERROR, "worker.cannot_start", &cx, r);
        return error_info(r)->exit_status;
    }
    child_signals(pool_drain, NULL, &pool);
    pool_start(&pool);
    log_ev(LOG_INFO, "worker.ready", kv_str("worker", pool.worker),
           kv_str("queues", p->settings.worker_queues),
           kv_int("concurrency", p->settings.worker_concurrency));
    loop_run();

    pool_close(&pool);
    http_free();
    offload_free();
    loop_free();
    return 0;
}

/* ---------------------------------------------------------------- after a child's death */

struct returner {
    const struct settings *settings;
    char name[64]; /* of the dead claimer */
    struct held_lease *held;
    size_t n;
    bool crashed; /* of itself: it was not killed */
};

/* What it was known to hold, and what its last claim handed out: it may have died over the answer.
 * The same lease twice is refused the second time. */
static rc return_queue(struct cx *cx, struct engine *e, const struct returner *r, size_t queue,
                       const char *name)
{
    _cleanup_(freep) struct lease *l = xmalloc((r->n + 1) * sizeof *l), *last = NULL;
    _cleanup_(freep) struct lease *idle = xmalloc((r->n + 1) * sizeof *idle);
    size_t n = 0, nidle = 0, nlast, back = 0, unseen = 0;

    for (size_t i = 0; i < r->n; i++)
        if (r->held[i].queue == queue && r->held[i].begun)
            l[n++] = r->held[i].lease;
        else if (r->held[i].queue == queue)
            idle[nidle++] = r->held[i].lease;
    if (n > 0 && r->crashed)
        try(engine_crashed(cx, e, name, l, n, &back));
    else if (n > 0)
        try(engine_return(cx, e, name, l, n, &back));
    if (nidle > 0)
        try(engine_release(cx, e, name, idle, nidle));
    try(engine_last_claim(cx, e, name, r->name, &last, &nlast));
    if (nlast > 0 && r->crashed)
        try(engine_release(cx, e, name, last, nlast));
    else if (nlast > 0)
        try(engine_return(cx, e, name, last, nlast, &unseen));
    if (back + unseen + nidle > 0)
        log_ev(LOG_WARN, "leases.returned", kv_str("queue", name), kv_str("worker", r->name),
               kv_int("jobs", (int64_t)(back + unseen)), kv_int("unseen", (int64_t)unseen),
               kv_int("idle", (int64_t)nidle), kv_bool("crashed", r->crashed));
    return engine_wake(cx, e, name); /* it may have taken a marker with it */
}

static rc return_all(struct cx *cx, const struct returner *r, struct engine *e)
{
    _cleanup_(freep) const char **names = NULL;
    _cleanup_(freep) char *text = NULL;
    size_t n;

    try(queues_parse(cx, r->settings->worker_queues, &text, &names, &n));
    for (size_t i = 0; i < n; i++)
        try(return_queue(cx, e, r, i, names[i]));
    return OK;
}

/* Giving a lease back twice is refused the second time, so a doubt is answered by doing it again,
 * until the fiber's time is over: then they come back when they expire. */
static rc return_leases(struct cx *cx, void *arg)
{
    const struct returner *r = arg;
    struct redis *redis = NULL;
    rc code = redis_new(cx, r->settings->redis_url, &redis);
    struct engine *e = engine_new(redis, NULL);

    if (code == OK)
        code = return_all(cx, r, e);
    while (code == E_STORE_DOWN || code == E_STORE_DOUBT) {
        rc slept = fiber_sleep(cx, 100);
        code = slept == OK ? return_all(cx, r, e) : slept;
    }
    if (code != OK)
        log_fail(LOG_WARN, "leases.not_returned", cx, code, kv_int("held", (int64_t)r->n));
    engine_free(e);
    redis_free(redis);
    loop_stop();
    return OK;
}

static void return_and_leave(struct returner *r)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("worker.returner");

    if (loop_init(&cx) == OK) {
        fiber_detach(
            fiber_spawn(&(struct fiber_opts){.name = "worker.returner", .timeout_ms = 10000},
                        return_leases, r));
        loop_run();
        loop_free();
    }
}

/* The parent has no loop and must not wait: a grandchild does it, orphaned at once so that nobody
 * needs to reap it here. */
static void on_exit_child(int index, int status, void *arg)
{
    struct program *p = arg;
    bool killed =
        WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM);
    struct returner r = {.settings = &p->settings, .crashed = status != 0 && !killed};

    r.n = held_take(p->held, index, &r.held);
    snprintf(r.name, sizeof r.name, "%s", held_name_of(p->held, index));
    if (r.n > 0 || (status != 0 && r.name[0])) {
        pid_t pid = fork();
        if (pid == 0) {
            if (fork() == 0)
                return_and_leave(&r);
            _exit(0);
        }
        if (pid > 0)
            waitpid(pid, NULL, 0);
        else
            log_ev(LOG_ERROR, "leases.not_returned", kv_int("held", (int64_t)r.n));
    }
    free(r.held);
}

/* ---------------------------------------------------------------- the parent */

static rc check_settings(struct cx *cx, const struct settings *s)
{
    _cleanup_(freep) const char **names = NULL;
    _cleanup_(freep) char *text = NULL;
    struct seal_keys *keys = NULL;
    struct mask *mask;
    size_t n;

    if (!*s->database_url)
        return fail(cx, CONFIG, "database_url is not set; set it or MIHWAR_DATABASE_URL");
    if (*s->seal_keys) {
        try(seal_keys_load(cx, s->seal_keys, &keys));
        seal_keys_free(keys);
    }
    try(mask_new(cx, s->history_mask, &mask));
    mask_free(mask);
    return queues_parse(cx, s->worker_queues, &text, &names, &n);
}

/* Ours, those of the program that we are linked into, those of plug-ins. */
static rc know_tasks(struct cx *cx, const struct settings *s, const struct mw_task *tasks, size_t n)
{
    _cleanup_(freep) char *list = xstrdup(s->worker_load);
    char *save = NULL;

    registry_init(s);
    try(guest_add(cx, tasks, n));
    for (char *path = strtok_r(list, ",", &save); path; path = strtok_r(NULL, ",", &save))
        try(guest_load(cx, str_trim(path)));
    return OK;
}

static int run_parent(struct program *p)
{
    http_global_init();
    p->held = held_new((int)p->settings.worker_processes, (size_t)p->settings.worker_concurrency);
    int status = supervisor_run(&(struct supervisor_opts){
        .name = "worker",
        .children = (int)p->settings.worker_processes,
        .grace_ms = p->settings.shutdown_grace,
        .child_main = child_main,
        .arg = p,
        .on_exit = on_exit_child,
    });
    p->held = held_free(p->held);
    return status;
}

int mw_worker_main(int argc, char **argv, const struct mw_task *tasks, size_t n)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("worker");
    _cleanup_(gathered_release) struct gathered words = gather(argc, argv);
    struct program p = {0};
    int status = program_begin(words.argc, words.argv, "mihwar-worker", "carries out jobs",
                               &p.settings, check_settings);

    if (status >= 0)
        return status;
    rc r = know_tasks(&cx, &p.settings, tasks, n);
    if (r != OK) {
        fprintf(stderr, "mihwar-worker: %s\n", cx_words(&cx, r));
        status = 2;
    } else {
        status = migrate_gate(p.settings.database_url, "mihwar-worker");
        if (status == 0)
            status = run_parent(&p);
    }
    registry_free();
    guest_free();
    settings_release(&p.settings);
    return status;
}

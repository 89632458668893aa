/* main.c - mihwar-worker, or a worker of somebody's own: a parent that watches, children that carry
 * out jobs.
 *
 *   parent: settings, tasks, shared memory for leases  --fork-->  child: loop, stores, pool
 *
 * SIGHUP: settings are read again, and each child is replaced by one that has them.
 * SIGTERM: children stop claiming, finish, release the rest and end with 0 inside shutdown_grace.
 * A child that died gives its leases back at once (returner.h); one that is weary is replaced (recycle.h). */
#include "base/log.h"
#include "base/program.h"
#include "base/text.h"
#include "pg/migrate.h"
#include "rt/http.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include "rt/spans.h"
#include "rt/supervisor.h"
#include "secure/seal.h"
#include "worker/desk.h"
#include "worker/gather.h"
#include "worker/guest.h"
#include "worker/nursery.h"
#include "worker/places.h"
#include "worker/pool.h"
#include "worker/program.h"
#include "worker/recycle.h"
#include "worker/returner.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STUCK_MIN_MS    1000
#define CONCURRENCY_MAX 20000 /* of worker_concurrency */

#define THREADS_OF_OURS 2 /* on the offload, beside those that blocking tasks may take */

struct program {
    struct settings settings;
    struct held *held;
};

/* ---------------------------------------------------------------- what only tasks of others need */

/* Before the loop and its threads: the nursery shall know nothing of them. */
static rc helpers_fork(struct cx *cx)
{
    return programs_count() || guest_has(MW_CHILD) ? nursery_start(cx, child_task_main) : OK;
}

static rc helpers_open(struct cx *cx, struct pool *pool)
{
    const struct settings *s = pool->settings;

    if (programs_count() || guest_has(MW_CHILD)) {
        pool->seats[SEAT_PROCESS].gate.limit = (size_t)s->worker_children;
        nursery_open(pool_drain, pool);
    }
    if (guest_has(MW_BLOCKING)) {
        pool->seats[SEAT_THREAD].gate.limit = (size_t)s->worker_threads;
        offload_init((unsigned)s->worker_threads + THREADS_OF_OURS, 0);
    }
    return guest_has(MW_FIBER) || guest_has(MW_BLOCKING) ? desk_open(cx) : OK;
}

/* ---------------------------------------------------------------- a child */

static void count_spans(int64_t sent, int64_t dropped, void *arg)
{
    struct pool *p = arg;

    p->spans_sent += sent;
    p->spans_dropped += dropped;
}

static int child_main(int index, void *arg)
{
    struct program *p = arg;
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("worker");
    struct pool pool = {0};

    child_raise_files((long)p->settings.worker_concurrency + 512);
    rc r = helpers_fork(&cx);
    if (r == OK)
        r = loop_init(&cx);
    if (r == OK) {
        http_init(/* max_host_connections= */ 0);
        spans_init(p->settings.otlp_url, "mihwar-worker", p->settings.trace_sample, count_spans,
                   &pool);
        r = pool_open(&cx, &p->settings, p->held, index, &pool);
    }
    if (r == OK)
        r = helpers_open(&cx, &pool);
    if (r != OK) {
        log_fail(LOG_ERROR, "worker.cannot_start", &cx, r);
        return error_info(r)->exit_status;
    }
    child_signals(pool_drain, NULL, &pool);
    pool_start(&pool);
    log_ev(LOG_INFO, "worker.ready", kv_str("worker", pool.worker),
           kv_str("queues", p->settings.worker_queues),
           kv_int("concurrency", p->settings.worker_concurrency));
    recycle_start(&pool);
    loop_run();

    nursery_close();
    spans_free();
    pool_close(&pool);
    http_free();
    offload_free();
    desk_close();
    loop_free();
    return 0;
}

/* ---------------------------------------------------------------- the parent */

static void on_exit_child(int index, const struct obituary *o, void *arg)
{
    struct program *p = arg;

    returner_start(&p->settings, p->held, index, o);
}

/* Right, and yet not what anybody wants: said, not refused. */
static void warn_of_settings(const struct settings *s)
{
    if (s->shutdown_grace * 8 / 10 < s->provider_place)
        log_ev(LOG_WARN, "settings.doubtful", kv_str("name", "shutdown_grace"),
               kv_int("let_run_ms", s->shutdown_grace * 8 / 10),
               kv_int("provider_place_ms", s->provider_place),
               kv_str("hint", "an order that is being placed at SIGTERM may be cut: it is asked "
                              "about later, and waits for that"));
}

static rc check_settings(struct cx *cx, const struct settings *s)
{
    _cleanup_(freep) const char **names = NULL;
    _cleanup_(freep) char *text = NULL;
    struct seal_keys *keys = NULL;
    struct mask *mask;
    size_t n;

    try(pg_check_settings(cx, s));
    if (*s->seal_keys) {
        try(seal_keys_load(cx, s->seal_keys, &keys));
        seal_keys_free(keys);
    }
    try(mask_new(cx, s->history_mask, &mask));
    mask_free(mask);
    if (s->worker_stuck_after > 0 && s->worker_stuck_after < STUCK_MIN_MS)
        return fail(cx, CONFIG, "worker_stuck_after must be 0 or at least %dms", STUCK_MIN_MS);
    warn_of_settings(s);
    return queues_parse(cx, s->worker_queues, &text, &names, &n);
}

/* Ours, those of the program that we are linked into, those of plug-ins, programs. */
static rc know_tasks(struct cx *cx, const struct settings *s, const struct mw_task *tasks, size_t n)
{
    _cleanup_(freep) char *list = xstrdup(s->worker_load);
    char *save = NULL;

    registry_init(s);
    try(guest_add(cx, tasks, n));
    for (char *path = strtok_r(list, ",", &save); path; path = strtok_r(NULL, ",", &save))
        try(guest_load(cx, str_trim(path)));
    return programs_add(cx, s);
}

/* A queue, a limit or a key is another process's from its start: each child is replaced by one that knows them. What the parent itself
 * holds, and what two generations of children must have alike, waits for a restart. */
static bool may_change(const char *name)
{
    return !setting_in(name, (const char *const[]){"database_listen_url", "database_url",
                                                   "redis_url", "worker_exec", "worker_load",
                                                   "worker_processes", NULL});
}

static enum reload on_reload(void *arg)
{
    struct program *p = arg;

    if (!program_reread(&p->settings, may_change))
        return RELOAD_NOTHING;
    registry_configure(&p->settings);
    supervisor_retime(p->settings.shutdown_grace, p->settings.worker_stuck_after);
    return RELOAD_REPLACE;
}

static int run_parent(struct program *p)
{
    http_global_init();
    p->held = held_new(2 * (int)p->settings.worker_processes, HELD_SLOTS(CONCURRENCY_MAX));
    int status = supervisor_run(&(struct supervisor_opts){
        .name = "worker",
        .children = (int)p->settings.worker_processes,
        .spares = true,
        .grace_ms = p->settings.shutdown_grace,
        .stuck_ms = p->settings.worker_stuck_after,
        .child_main = child_main,
        .arg = p,
        .on_exit = on_exit_child,
        .on_reload = on_reload,
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
    programs_free();
    settings_release(&p.settings);
    return status;
}

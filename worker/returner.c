/* returner.c - see returner.h. Giving a lease back twice is refused the second time, so a doubt is answered by doing it
 * again. */
#include "worker/returner.h"
#include "base/log.h"
#include "celery/claims.h"
#include "queue/shards.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "worker/places.h"
#include "worker/pool.h"
#include "worker/ride.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINES_MAX 5
#define WORDS_MAX 2048
#define RETURN_MS 10000

struct returner {
    const struct settings *settings;
    const char *queues; /* of the dead */
    char name[64];      /* of the dead claimer */
    const struct obituary *obituary;
    struct held_lease *held;
    size_t n;
    bool crashed; /* of itself: it was not killed */
    bool unhurt;  /* ended by its supervisor for no fault of what it did */
};

/* Those of one place, in heaps. */
struct heaps {
    struct lease *begun, *ended, *idle;
    size_t nbegun, nended, nidle;
};

static void heaps_release(struct heaps *h)
{
    free(h->begun);
    free(h->ended);
    free(h->idle);
}

static void sort_out(const struct returner *r, size_t queue, int shard, struct heaps *h)
{
    h->begun = xmalloc((r->n + 1) * sizeof *h->begun);
    h->ended = xmalloc((r->n + 1) * sizeof *h->ended);
    h->idle = xmalloc((r->n + 1) * sizeof *h->idle);
    for (size_t i = 0; i < r->n; i++) {
        if (r->held[i].queue != queue || r->held[i].shard != shard)
            continue;
        if (r->held[i].ended)
            h->ended[h->nended++] = r->held[i].lease;
        else if (r->held[i].begun && !r->unhurt)
            h->begun[h->nbegun++] = r->held[i].lease;
        else
            h->idle[h->nidle++] = r->held[i].lease;
    }
}

/* Before the jobs can be claimed again. */
static rc leave_words(struct cx *cx, struct engine *e, const struct returner *r, const char *queue,
                      const struct lease *l, size_t n)
{
    char **words = arena_alloc(&cx->arena, n * sizeof *words);

    for (size_t i = 0; i < n; i++) {
        _cleanup_(buf_release) struct buf b = BUF(WORDS_MAX);
        obituary_words(r->obituary, &b);
        obituary_lines(r->obituary, l[i].id, LINES_MAX, &b);
        words[i] = arena_strdup(&cx->arena, buf_str(&b));
    }
    return engine_leave_words(cx, e, queue, l, (const char *const *)words, n);
}

/* What a note of its names: handed out, and perhaps never seen. */
static rc return_noted(struct cx *cx, struct engine *e, const struct returner *r, const char *place,
                       const char *name, size_t *unseen)
{
    _cleanup_(freep) struct lease *last = NULL;
    size_t n, back = 0;

    try(engine_last_claim(cx, e, place, name, &last, &n));
    if (n > 0 && (r->crashed || r->unhurt))
        try(engine_release(cx, e, place, last, n));
    else if (n > 0)
        try(engine_return(cx, e, place, last, n, &back));
    *unseen += back;
    return OK;
}

static rc return_place(struct cx *cx, struct engine *e, const struct returner *r, size_t queue,
                       int shard, const char *name)
{
    _cleanup_(heaps_release) struct heaps h = {0};
    size_t back = 0, unseen = 0, ended = 0;
    char ride[RIDE_NAME];

    sort_out(r, queue, shard, &h);
    if (h.nbegun > 0)
        try(leave_words(cx, e, r, name, h.begun, h.nbegun));
    if (h.nbegun > 0 && r->crashed)
        try(engine_crashed(cx, e, name, h.begun, h.nbegun, &back));
    else if (h.nbegun > 0)
        try(engine_return(cx, e, name, h.begun, h.nbegun, &back));
    if (h.nended > 0) /* one claim more: whoever gets it asks whether it has ended */
        try(engine_return(cx, e, name, h.ended, h.nended, &ended));
    if (h.nidle > 0)
        try(engine_release(cx, e, name, h.idle, h.nidle));
    try(return_noted(cx, e, r, name, r->name, &unseen));
    try(return_noted(cx, e, r, name, ride_name(r->name, ride), &unseen));
    if (back + unseen + ended + h.nidle > 0)
        log_ev(LOG_WARN, "leases.returned", kv_str("queue", name), kv_str("worker", r->name),
               kv_int("jobs", (int64_t)(back + unseen + ended)), kv_int("unseen", (int64_t)unseen),
               kv_int("idle", (int64_t)h.nidle), kv_bool("crashed", r->crashed));
    return engine_wake(cx, e, name); /* it may have taken a marker with it */
}

/* Redis says how many shards it has now; what a shard holds that is no longer looked at is nothing. */
static rc return_queue(struct cx *cx, struct engine *e, const struct returner *r, size_t queue,
                       const char *name)
{
    char place[PLACE_NAME_MAX + 1];
    int held;
    rc first = OK;

    try(shards_held(cx, e, name, &held));
    for (int shard = 0; shard < held; shard++) {
        rc code = return_place(cx, e, r, queue, shard, place_name(name, shard, place));
        first = first ? first : code;
    }
    return first;
}

static rc return_all(struct cx *cx, const struct returner *r, struct engine *e)
{
    _cleanup_(freep) const char **names = NULL;
    _cleanup_(freep) char *text = NULL;
    size_t n;

    rc first = OK;

    try(queues_parse(cx, r->queues, &text, &names, &n));
    for (size_t i = 0; i < n; i++) { /* a node that is away keeps nothing from the others */
        rc code = return_queue(cx, e, r, i, names[i]);
        first = first ? first : code;
    }
    return first;
}

/* What it held of Celery's broker. */
static void return_messages(struct cx *cx, const struct returner *r)
{
    struct celery *c = NULL;
    size_t n = 0;
    rc code = celery_open(cx, r->settings, &c);

    if (code == OK)
        code = celery_restore_claimer(cx, c, r->name, &n);
    if (code != OK) /* the others do it when its beats have been missed for long enough */
        log_fail(LOG_WARN, "celery.not_returned", cx, code);
    else if (n > 0)
        log_ev(LOG_WARN, "celery.restored", kv_str("claimer", r->name),
               kv_int("messages", (int64_t)n));
    celery_free(c);
}

/* Until the fiber's time is over: then they come back when they expire. */
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
    if (*r->settings->celery_broker_url)
        return_messages(cx, r);
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
            fiber_spawn(&(struct fiber_opts){.name = "worker.returner", .timeout_ms = RETURN_MS},
                        return_leases, r));
        loop_run();
        loop_free();
    }
}

static void fork_twice(struct returner *r)
{
    pid_t pid = fork();

    if (pid == 0) {
        if (fork() == 0)
            return_and_leave(r);
        _exit(0);
    }
    if (pid > 0)
        waitpid(pid, NULL, 0);
    else
        log_ev(LOG_ERROR, "leases.not_returned", kv_int("held", (int64_t)r->n));
}

void returner_start(const struct settings *s, struct held *held, int child,
                    const struct obituary *o)
{
    struct returner r = {.settings = s,
                         .queues = held_queues_of(held, child),
                         .obituary = o,
                         .crashed = o->status != 0 && !obituary_killed(o),
                         .unhurt = o->stuck == STUCK_IDLE || o->stuck == STUCK_FROZEN};

    r.crashed &= !r.unhurt;
    r.n = held_take(held, child, &r.held);
    snprintf(r.name, sizeof r.name, "%s", held_name_of(held, child));
    if (r.n > 0 || (o->status != 0 && r.name[0]))
        fork_twice(&r);
    free(r.held);
}

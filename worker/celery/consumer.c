/* consumer.c - claims messages while there is room, sleeps while there are none.
 *
 * Waiting. A BRPOP takes the message before it is recorded anywhere: whoever dies in between loses it. So we
 * wait with BLMOVE list list RIGHT RIGHT: it blocks while the list is empty, and when it is not it moves the last
 * message to where it was. Nothing is taken, nobody is disturbed, an idle worker asks twice a minute a list. Each list needs a
 * connection for it (4 steps a queue). Whatever woke us, the claim then is one Lua step. */
#include "worker/celery/consumer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_S       30
#define REST_MIN_MS  1000
#define REST_MAX_MS  10000
#define CLAIM_MAX    100
#define QUEUES_MAX   64
#define ENVELOPE_MAX CELERY_MESSAGE_MAX

static size_t room(const struct consumer *c)
{
    return c->limit - MIN(c->nruns, c->limit);
}

static void wake_pump(struct consumer *c)
{
    if (c->pump && !c->ended)
        fiber_wake(c->pump);
}

/* ---------------------------------------------------------------- runs */

struct celery_run *celery_run_free(struct celery_run *r)
{
    if (!r)
        return NULL;
    run_release(&r->run);
    free(r->text);
    free(r->tag);
    free(r->why);
    arena_release(&r->arena);
    free(r);
    return NULL;
}

void consumer_done(struct consumer *c, struct celery_run *r)
{
    TAILQ_REMOVE(&c->runs, r, link);
    c->suspects -= r->suspect;
    if (c->nruns-- == c->limit || c->draining)
        wake_pump(c);
    celery_run_free(r);
}

void consumer_due(struct consumer *c, int64_t at_ms)
{
    if (at_ms == 0 || (c->due_ms && c->due_ms <= at_ms))
        return;
    c->due_ms = at_ms;
    wake_pump(c);
}

/* The message is read here, so that it is known what it needs; its memory goes with the run. */
static struct celery_run *take_run(struct cx *cx, struct consumer *c,
                                   const struct celery_claimed *item)
{
    struct celery_run *r = xcalloc(1, sizeof *r);
    struct arena kept = cx->arena;

    r->consumer = c;
    r->run.pool = c->pool;
    r->tag = xstrdup(item->tag);
    r->text = xmalloc(item->len + 1);
    memcpy(r->text, item->text, item->len);
    r->text[item->len] = 0;
    r->len = item->len;
    r->list = item->list;
    cx->arena = (struct arena){0};
    r->unread = celery_message_read(cx, r->text, r->len, &r->m);
    r->arena = cx->arena;
    cx->arena = kept;
    if (r->unread != OK)
        r->why = xstrdup(cx_words(cx, r->unread));
    else
        r->run.task = registry_find(r->m.task);
    TAILQ_INSERT_TAIL(&c->runs, r, link);
    c->nruns++;
    return r;
}

/* ---------------------------------------------------------------- claim */

static bool leaves_unknown(const struct consumer *c)
{
    return strcmp(c->settings->celery_unknown, "fail") != 0;
}

/* Somebody else may know it: to the end of its list, never failed. */
static void leave(struct cx *cx, struct consumer *c, struct celery_run *r)
{
    bool held;

    log_ev(LOG_WARN, "celery.task_unknown", kv_str("task", r->m.task), kv_str("id", r->m.id),
           kv_str("queue", c->lists.queues[r->list]), kv_int("again_in_ms", c->rest_ms[r->list]));
    r->leaving = true;
    rc code = celery_move_back(cx, &c->claimer, r->tag, c->lists.keys[r->list], r->text, r->len,
                               /* tail= */ true, &held);
    if (code != OK) { /* its run tries again until Redis answers */
        log_fail(LOG_WARN, "celery.not_put_back", cx, code, kv_str("id", r->m.id));
        r->leaving = false;
        carry_begin(r);
        return;
    }
    consumer_done(c, r);
}

/* A list with nothing but unknown tasks rests, longer each time. */
static void note_rest(struct consumer *c, size_t list, size_t known, size_t unknown)
{
    if (known > 0)
        c->rest_ms[list] = REST_MIN_MS;
    else if (unknown > 0)
        c->rest_mono[list] = clock_mono_ms() + c->rest_ms[list];
    if (known == 0 && unknown > 0)
        c->rest_ms[list] = MIN(c->rest_ms[list] * 2, (int64_t)REST_MAX_MS);
}

static void take_aboard(struct cx *cx, struct consumer *c, const struct celery_claim *claim)
{
    size_t *known = arena_alloc(&cx->arena, c->lists.n * sizeof *known);
    size_t *unknown = arena_alloc(&cx->arena, c->lists.n * sizeof *unknown);

    for (size_t i = 0; i < claim->n; i++) {
        struct celery_run *r = take_run(cx, c, &claim->items[i]);
        size_t list = r->list;
        if (r->unread == OK && !r->run.task && leaves_unknown(c)) {
            unknown[list]++;
            leave(cx, c, r);
        } else {
            known[list]++;
            carry_begin(r);
        }
    }
    for (size_t i = 0; i < c->lists.n; i++)
        note_rest(c, i, known[i], unknown[i]);
}

/* Steps from the most urgent on, within each the queues in turn; without those that rest. */
static size_t order_lists(struct consumer *c, size_t *order)
{
    size_t n = 0, nq = c->nqueues;

    for (size_t i = 0; i < c->lists.n; i++) {
        size_t list = c->celery->names.rotate ? i - i % nq + (i + c->turn) % nq : i;
        if (!c->cancelled[list % nq] && clock_mono_ms() >= c->rest_mono[list])
            order[n++] = list;
    }
    c->turn++;
    return n;
}

static rc claim(struct cx *cx, struct consumer *c)
{
    size_t *order = arena_alloc(&cx->arena, c->lists.n * sizeof *order), n = order_lists(c, order);
    _cleanup_(celery_claim_release) struct celery_claim got = {0};

    c->hot = false; /* what comes while we are parked makes it hot again, or is due */
    c->due_ms = 0;
    rc r =
        celery_claim(cx, &c->claimer, &c->lists, order, n, MIN(room(c), (size_t)CLAIM_MAX), &got);
    if (r != OK) {
        c->hot = true;
        return r;
    }
    consumer_due(c, got.next_due_ms);
    c->hot |= got.more || got.n > 0;
    if (got.set_aside > 0)
        fiber_wake(c->quarantine);
    take_aboard(cx, c, &got);
    return OK;
}

static rc claim_in_arena(struct cx *cx, struct consumer *c)
{
    struct arena kept = cx->arena;

    cx->arena = (struct arena){0};
    rc r = claim(cx, c);
    arena_release(&cx->arena);
    cx->arena = kept;
    return r;
}

/* Until a watcher, a freed slot or the next due time; the lists that rest end their rest by themselves. */
static rc rest(struct cx *cx, struct consumer *c)
{
    int64_t wait = INT64_MAX, now = clock_mono_ms();

    if (room(c) > 0) {
        c->looking = true;
        waitq_wake_all(&c->idle);
        if (c->due_ms)
            wait = c->due_ms - clock_ms();
        for (size_t i = 0; i < c->lists.n; i++)
            if (c->rest_mono[i] > now)
                wait = MIN(wait, c->rest_mono[i] - now);
    }
    if (wait == INT64_MAX)
        return fiber_park(cx);
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, MAX(wait, (int64_t)1));
    rc r = fiber_park(cx);
    if (r != E_DEADLINE)
        return r;
    c->hot = true;
    return OK;
}

static rc farewell(struct cx *cx, struct consumer *c)
{
    c->ended = true;
    fiber_cancel(c->beat);
    fiber_wake(c->post);
    rc r = celery_farewell(cx, &c->claimer);
    if (r != OK)
        log_fail(LOG_WARN, "celery.no_farewell", cx, r);
    rc posted;
    (void)fiber_join(cx, TAKE_PTR(c->post), &posted);
    return OK;
}

static rc pump_fiber(struct cx *cx, void *arg)
{
    struct consumer *c = arg;
    int64_t pause = 50;

    while (!c->draining) {
        rc r = c->hot && room(c) > 0 ? claim_in_arena(cx, c) : rest(cx, c);
        if (r == E_CANCELLED)
            break;
        if (r != OK) {
            log_fail(LOG_WARN, "celery.claim_failed", cx, r, kv_int("again_in_ms", pause));
            if (fiber_sleep(cx, pause) != OK)
                break;
            pause = MIN(pause * 2, (int64_t)2000);
            continue;
        }
        pause = 50;
    }
    while (c->nruns > 0 && fiber_park(cx) == OK)
        continue;
    {
        _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, 2000);
        (void)farewell(cx, c);
    }
    log_ev(LOG_INFO, "celery.left", kv_str("node", c->node));
    c->pump = NULL;
    pool_look(c->pool);
    return OK;
}

/* ---------------------------------------------------------------- watch */

static rc watch_fiber(struct cx *cx, void *arg)
{
    struct watcher *w = arg;
    struct consumer *c = w->consumer;
    const char *key = c->lists.keys[w->list];

    while (!c->draining) {
        _cleanup_(redis_reply_freep) redisReply *reply = NULL;
        while (!c->looking || c->rest_mono[w->list] > clock_mono_ms() ||
               c->cancelled[w->list % c->nqueues])
            try(waitq_wait(cx, &c->idle));
        _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
            cx_deadline_within(cx, (LOOK_S + 15) * 1000);
        rc r = redis_cmd(cx, w->redis, &reply, "BLMOVE %s %s RIGHT RIGHT %d", key, key, LOOK_S);
        cx_deadline_restore(&d);
        if (r == E_CANCELLED)
            return r;
        if (r != OK) {
            log_fail(LOG_WARN, "celery.watch_failed", cx, r,
                     kv_str("queue", c->lists.queues[w->list]));
            try(fiber_sleep(cx, 1000));
        } else if (reply->type == REDIS_REPLY_NIL) {
            continue;
        }
        c->looking = false;
        c->hot = true;
        wake_pump(c);
    }
    return OK;
}

/* ---------------------------------------------------------------- life */

static rc read_queues(struct cx *cx, struct consumer *c)
{
    char *list = arena_strdup(&c->arena, c->settings->celery_queues), *save = NULL;

    c->queues = arena_alloc(&c->arena, QUEUES_MAX * sizeof *c->queues);
    for (char *name = strtok_r(list, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
        name = str_trim(name);
        if (!*name || strlen(name) > CELERY_NAME_MAX || c->nqueues == QUEUES_MAX)
            return fail(cx, CONFIG,
                        "celery_queues must name 1 to %d queues, each in at most %d bytes",
                        QUEUES_MAX, CELERY_NAME_MAX);
        c->queues[c->nqueues++] = name;
    }
    if (c->nqueues == 0)
        return fail(cx, CONFIG, "celery_queues names no queue");
    return OK;
}

static rc open_watchers(struct cx *cx, struct consumer *c)
{
    c->watchers = arena_alloc(&c->arena, c->lists.n * sizeof *c->watchers);
    for (size_t i = 0; i < c->lists.n; i++) {
        c->watchers[i] = (struct watcher){.consumer = c, .list = i};
        try(celery_connect(cx, c->settings, &c->watchers[i].redis));
    }
    return celery_connect(cx, c->settings, &c->sub);
}

static rc open_all(struct cx *cx, struct consumer *c)
{
    char host[64] = "";

    if (!str_eq(c->settings->celery_unknown, "leave") &&
        !str_eq(c->settings->celery_unknown, "fail"))
        return fail(cx, CONFIG, "celery_unknown must be leave or fail");
    try(celery_open(cx, c->settings, &c->celery));
    try(read_queues(cx, c));
    celery_claimer_init(&c->claimer, c->celery, c->pool->claimer, &c->arena);
    celery_lists_make(&c->lists, &c->celery->names, c->queues, c->nqueues, &c->arena);
    c->cancelled = arena_alloc(&c->arena, c->nqueues * sizeof *c->cancelled);
    c->rest_mono = arena_alloc(&c->arena, c->lists.n * sizeof *c->rest_mono);
    c->rest_ms = arena_alloc(&c->arena, c->lists.n * sizeof *c->rest_ms);
    c->counts = arena_alloc(&c->arena, (registry_count() + 1) * sizeof *c->counts);
    for (size_t i = 0; i < c->lists.n; i++)
        c->rest_ms[i] = REST_MIN_MS;
    gethostname(host, sizeof host - 1);
    snprintf(c->node, sizeof c->node, "%.64s-%d@%s", c->settings->celery_node, c->pool->child,
             host);
    return open_watchers(cx, c);
}

rc consumer_open(struct cx *cx, struct pool *p, struct consumer **ret)
{
    *ret = NULL;
    if (!*p->settings->celery_broker_url)
        return OK;
    struct consumer *c = xcalloc(1, sizeof *c);
    TAILQ_INIT(&c->runs);
    c->pool = p;
    c->settings = p->settings;
    c->limit = (size_t)p->settings->celery_concurrency;
    c->started_ms = clock_ms();
    c->hot = c->events_on = true;
    c->events = BUF(MiB(1));
    c->inbox = BUF(MiB(4));
    rc r = open_all(cx, c);
    if (r != OK)
        c = consumer_close(c);
    *ret = c;
    return r;
}

static void is_back(void *arg)
{
    struct consumer *c = arg;

    c->hot = true;
    wake_pump(c);
}

static struct fiber *helper(struct consumer *c, const char *name, fiber_fn fn)
{
    struct fiber *f = fiber_spawn(&(struct fiber_opts){.name = name}, fn, c);

    fiber_detach(f);
    return f;
}

void consumer_start(struct consumer *c)
{
    if (!c)
        return;
    c->post = fiber_spawn(&(struct fiber_opts){.name = "celery.events"}, consumer_post, c);
    c->pump = helper(c, "celery.pump", pump_fiber);
    c->beat = helper(c, "celery.beat", consumer_beat);
    c->control = helper(c, "celery.control", consumer_control);
    c->quarantine = helper(c, "celery.quarantine", consumer_quarantine);
    for (size_t i = 0; i < c->lists.n; i++) {
        c->watchers[i].fiber =
            fiber_spawn(&(struct fiber_opts){.name = "celery.watch"}, watch_fiber, &c->watchers[i]);
        fiber_detach(c->watchers[i].fiber);
    }
    redis_on_connect(c->celery->broker, is_back, c);
    consumer_listen(c);
    log_ev(LOG_INFO, "celery.ready", kv_str("node", c->node),
           kv_str("queues", c->settings->celery_queues), kv_int("concurrency", (int64_t)c->limit));
}

void consumer_drain(struct consumer *c)
{
    if (!c || c->draining)
        return;
    c->draining = true;
    for (size_t i = 0; i < c->lists.n; i++)
        fiber_cancel(c->watchers[i].fiber);
    wake_pump(c);
}

void consumer_cut(struct consumer *c)
{
    struct celery_run *r;

    if (!c)
        return;
    c->cut = true;
    TAILQ_FOREACH(r, &c->runs, link)
    if (r->run.fiber && !r->run.finishing)
        fiber_cancel(r->run.fiber);
}

bool consumer_ended(const struct consumer *c)
{
    return !c || !c->pump;
}

struct consumer *consumer_close(struct consumer *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; c->watchers && i < c->lists.n; i++)
        redis_free(c->watchers[i].redis);
    redis_free(c->sub);
    celery_free(c->celery);
    revoked_release(&c->revoked);
    buf_release(&c->events);
    buf_release(&c->inbox);
    arena_release(&c->arena);
    free(c);
    return NULL;
}

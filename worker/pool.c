/* pool.c - the fibers that keep a worker going; see pool.h. */
#include "worker/pool.h"
#include "base/clock.h"
#include "base/inject.h"
#include "base/log.h"
#include "base/text.h"
#include "domain/orders/order_gather.h"
#include "queue/keys.h"
#include "rt/loop.h"
#include "rt/watchdog.h"
#include "secure/seal.h"
#include "worker/celery/consumer.h"
#include "worker/leases.h"
#include "worker/places.h"
#include "worker/presence.h"
#include "worker/providers/pool.h"
#include "worker/recycle.h"
#include "worker/ride.h"
#include "worker/run.h"
#include "worker/tally.h"
#include "worker/timeline.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_AGAIN_MS                                                                              \
    5000 /* an idle worker looks this often, marker or not: a marker dies with who took it */

#define REFUSED_PAUSE_MS 2000
#define AWAY_PAUSE_MS    200
#define WATCHDOG_MIN_MS  1000
#define SUSPECTS_MAX     32 /* aboard, waiting for their turn */

static size_t room(const struct pool *p)
{
    return p->parked || seats_crowded(p) ? 0 : p->concurrency - p->running - p->ride.promised;
}

static void wake_pump(struct pool *p)
{
    if (!p->ended)
        fiber_wake(p->pump);
}

void pool_look(struct pool *p)
{
    wake_pump(p);
}

void pool_has_room(struct pool *p)
{
    child_working(!p->draining && !p->recovering);
    wake_pump(p);
    waitq_wake_one(&p->room);
}

/* ---------------------------------------------------------------- what ends */

/* Its lease stands in `held` until it is acknowledged: should this process die before, it is not leased to nobody. */
static size_t keep_slot(struct pool *p, struct job_run *run)
{
    if (run->slot == NO_SLOT || p->unacked >= p->concurrency)
        return NO_SLOT;
    held_end(p->held, p->child, run->slot);
    p->unacked++;
    size_t slot = run->slot;
    run->slot = NO_SLOT;
    return slot;
}

/* The first n ends are known to Redis. */
static void acknowledged(struct pool *p, struct pool_queue *q, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (q->slots[i] == NO_SLOT)
            continue;
        held_drop(p->held, p->child, q->slots[i]);
        p->unacked--;
    }
    q->nacks -= n;
    if (q->nacks > 0) {
        memmove(q->acks, q->acks + n, q->nacks * sizeof *q->acks);
        memmove(q->slots, q->slots + n, q->nacks * sizeof *q->slots);
    }
}

void pool_ack(struct pool *p, struct job_run *run)
{
    struct pool_queue *q = run->queue;

    if (q->nacks == q->acks_cap) {
        q->acks_cap = MAX(q->acks_cap * 2, (size_t)256);
        q->acks = xrealloc(q->acks, q->acks_cap * sizeof *q->acks);
        q->slots = xrealloc(q->slots, q->acks_cap * sizeof *q->slots);
    }
    q->acks[q->nacks] = run->job.lease;
    q->slots[q->nacks++] = keep_slot(p, run);
    wake_pump(p);
}

/* Those aboard a worker that crashed are carried out one at a time: whoever crashes the next one is
 * known by it, and takes none of them down twice. What is new runs beside them. */
static void begin(struct pool *p, struct job_run *run)
{
    bool suspect = run->job.crashes > 0 && run->check.verdict == CLAIM_RUN && !run->released;

    run->poisonous = suspect && run->job.crashes >= RUN_CRASHES_MAX;
    if (suspect && !run->poisonous) {
        run->crowded = p->waiting >= SUSPECTS_MAX;
        run->waiting = !run->crowded;
        p->waiting += run->waiting;
        wake_pump(p);
    }
    if (run->waiting)
        return;
    if (!run->crowded && !run->poisonous)
        held_begin(p->held, p->child, run->slot);
    run_begin(run);
}

static struct job_run *take_waiting(struct pool *p)
{
    struct job_run *run;

    TAILQ_FOREACH(run, &p->runs, link)
    if (run->waiting) {
        run->waiting = false;
        p->waiting--;
        return run;
    }
    return NULL;
}

/* The pump does it behind the acks: what has ended is not at stake. */
static void begin_suspect(struct pool *p)
{
    struct job_run *run = p->suspect ? NULL : take_waiting(p);

    if (!run)
        return;
    p->suspect = run;
    held_begin(p->held, p->child, run->slot);
    run_begin(run);
}

void pool_done(struct pool *p, struct job_run *run)
{
    if (run->slot != NO_SLOT)
        held_drop(p->held, p->child, run->slot);
    TAILQ_REMOVE(&p->runs, run, link);
    recycle_count(p);
    if (p->running-- + p->ride.promised == p->concurrency)
        pool_has_room(p);
    if (p->draining && p->running == 0)
        wake_pump(p);
    if (p->suspect == run) {
        p->suspect = NULL;
        wake_pump(p);
    }
    run_free(run);
}

/* ---------------------------------------------------------------- claim */

struct doubtful_batch {
    struct pool *pool;
    size_t n;
    struct job_run *runs[];
};

/* Jobs that were claimed before: PostgreSQL is asked what became of them, all in one question.
 * While it is away they wait. */
static rc confirm_batch(struct cx *cx, void *arg)
{
    _cleanup_(freep) struct doubtful_batch *b = arg;
    struct claim_check *checks = arena_alloc(&cx->arena, b->n * sizeof *checks);
    int64_t pause = 100;

    for (size_t i = 0; i < b->n; i++)
        checks[i].job = &b->runs[i]->job;
    for (;;) {
        rc r = engine_confirm(cx, b->pool->env.engine, checks, b->n);
        if (r == OK)
            break;
        log_fail(LOG_WARN, "claim.not_confirmed", cx, r, kv_int("jobs", (int64_t)b->n));
        if (b->pool->draining || fiber_sleep(cx, pause) != OK) {
            for (size_t i = 0; i < b->n; i++)
                b->runs[i]->released = true;
            break;
        }
        pause = MIN(pause * 2, 1000);
    }
    for (size_t i = 0; i < b->n; i++) {
        b->runs[i]->check = checks[i];
        begin(b->pool, b->runs[i]);
    }
    return OK;
}

static void take_aboard(struct pool *p, struct pool_queue *q, struct claim_result *c)
{
    struct doubtful_batch *doubtful = NULL;

    for (size_t i = 0; i < c->n; i++) {
        struct job_run *run = run_new(p, q, &c->jobs[i]);
        run->slot = held_put(p->held, p->child, q->index, q->shard, &run->job.lease);
        TAILQ_INSERT_TAIL(&p->runs, run, link);
        p->running++;
        if (!engine_wants_look(&run->job)) {
            begin(p, run);
            continue;
        }
        if (!doubtful) {
            doubtful = xmalloc(sizeof *doubtful + c->n * sizeof(struct job_run *));
            *doubtful = (struct doubtful_batch){.pool = p};
        }
        doubtful->runs[doubtful->n++] = run;
    }
    if (doubtful)
        fiber_detach(
            fiber_spawn(&(struct fiber_opts){.name = "worker.confirm"}, confirm_batch, doubtful));
}

void pool_claimed(struct pool *p, struct pool_queue *q, size_t max, uint64_t heard,
                  struct claim_result *c)
{
    if (max > 0)
        q->due_ms = c->next_due_ms;
    q->hot |= max > 0 && c->n == max;
    places_heard(p, q, c->shards);
    take_aboard(p, q, c);
    leases_claimed(p->leases, q, heard);
}

static rc recover(struct cx *cx, struct pool *p)
{
    int64_t jobs = 0;

    log_ev(LOG_WARN, "redis.lost");
    p->recovering = true; /* for as long as it takes */
    child_working(false);
    rc r = engine_recover(cx, p->env.engine, &jobs);
    p->recovering = false;
    try(r);
    for
        EACH_PLACE(p, q)
    q->hot = true;
    return OK;
}

/* A pump whose Redis is away fails and comes round again in time to be seen alive. */
static struct cx_deadline claim_deadline(struct cx *cx, const struct pool *p)
{
    int64_t stuck = p->settings->worker_stuck_after;

    return stuck ? cx_deadline_within(cx, stuck / 3)
                 : (struct cx_deadline){cx, cx->deadline_mono_ms};
}

static rc claim_from(struct cx *cx, struct pool *p, struct pool_queue *q, size_t max)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = claim_deadline(cx, p);
    _cleanup_(claim_result_release) struct claim_result c = {0};
    size_t acked = MIN(q->nacks, (size_t)QUEUE_BATCH), refused = 0;
    _cleanup_(freep) struct lease *acks = acked ? xmalloc(acked * sizeof *acks) : NULL;

    if (q->doubtful) {
        try(leases_return_unseen(cx, p, q, p->claimer));
        q->doubtful = false;
    }
    /* Copied: while we are parked more may be added, and the array may move. */
    if (acked)
        memcpy(acks, q->acks, acked * sizeof *acks);
    if (max > 0)
        q->hot = false; /* a marker that comes while we are parked makes it hot again */
    uint64_t heard = leases_heard(p->leases);
    p->claiming = max > 0;
    rc r = engine_claim(cx, p->env.engine, q->name, max, p->settings->lease, acks, acked, &c,
                        &refused);
    p->claiming = false;
    for (bool unread = c.n > 0 && inject(CLAIM_UNREAD);
         unread && leases_heard(p->leases) == heard && fiber_sleep(cx, 10) == OK;) {
    }
    if (r != OK) {
        q->hot |= max > 0;
        q->doubtful |= max > 0;
        return r;
    }
    acknowledged(p, q, acked);
    if (refused > 0)
        log_ev(LOG_WARN, "ack.refused", kv_str("queue", q->name), kv_int("jobs", (int64_t)refused));
    pool_claimed(p, q, max, heard, &c);
    if (!c.lost)
        return OK;
    cx_deadline_restore(&d);
    r = recover(cx, p);
    q->hot |= r != OK;
    return r;
}

/* Redis answers, but not for this queue; or its node of a cluster is away: the others go on. */
static bool only_this_queue(const struct pool *p, rc r)
{
    return r == E_REDIS || (redis_is_cluster(p->redis) &&
                            (r == E_STORE_DOWN || r == E_STORE_DOUBT || r == E_DEADLINE));
}

/* Said once: a node that is away is looked for again soon. */
static void rest_queue(struct cx *cx, struct pool_queue *q, rc r)
{
    int64_t pause = r == E_REDIS ? REFUSED_PAUSE_MS : AWAY_PAUSE_MS;

    if (r == E_REDIS || !q->resting)
        log_fail(LOG_WARN, "claim.refused", cx, r, kv_str("queue", q->name),
                 kv_int("again_in_ms", pause));
    q->resting = true;
    q->resume_mono_ms = clock_mono_ms() + pause;
}

static rc serve_place(struct cx *cx, struct pool *p, struct pool_queue *q, bool only_acks,
                      bool *ret_worked)
{
    bool look = q->hot || (q->due_ms && q->due_ms <= clock_ms());

    if (clock_mono_ms() < q->resume_mono_ms) /* its acks, too: they are the same step */
        return OK;
    size_t max = look && !only_acks ? MIN(room(p), seats_batch(p)) : 0;
    if (max == 0 && q->nacks == 0)
        return OK;
    *ret_worked = true;
    rc r = claim_from(cx, p, q, max);
    if (only_this_queue(p, r)) {
        rest_queue(cx, q, r);
        return OK;
    }
    q->resting = false;
    return r;
}

/* One pass over the queues, from the most important on; *ret_worked: something was asked of
 * Redis. While there is more in an important queue the others are only acked: a lease that is not
 * acked in time expires, and its job runs again. Shards of one queue are equally important. */
static rc serve(struct cx *cx, struct pool *p, bool *ret_worked)
{
    bool only_acks = p->draining;

    *ret_worked = false;
    for (size_t i = 0; i < p->nqueues; i++) {
        struct pool_queue *first = p->queues[i].turn, *q = first;
        bool more = false;
        p->queues[i].turn = first->next;
        do {
            try(serve_place(cx, p, q, only_acks, ret_worked));
            more |= q->hot && clock_mono_ms() >= q->resume_mono_ms;
        } while ((q = q->next) != first);
        only_acks |= more;
    }
    return OK;
}

/* Until somebody wakes us or the next job is due. */
static rc rest(struct cx *cx, struct pool *p)
{
    bool may_claim = !p->draining && room(p) > 0;
    int64_t wait = INT64_MAX;

    child_working(may_claim);
    for
        EACH_PLACE(p, q)
        {
            int64_t refused = MAX(q->resume_mono_ms - clock_mono_ms(), 0);
            if (refused && (q->nacks > 0 || (q->hot && may_claim)))
                wait = MIN(wait, refused);
            if (q->due_ms && may_claim)
                wait = MIN(wait, MAX(q->due_ms - clock_ms(), refused));
        }
    if (wait == INT64_MAX)
        return fiber_park(cx);
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, MAX(wait, 1));
    rc r = fiber_park(cx);
    return r == E_DEADLINE ? OK : r;
}

static bool all_told(const struct pool *p)
{
    size_t acks = 0;

    for
        EACH_PLACE(p, q)
    acks += q->nacks;
    return p->running == 0 && acks == 0 && !ride_out(p) && consumer_ended(p->celery);
}

static void flush_timeline(struct cx *cx, struct pool *p)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, 1000);
    rc r = timeline_flush(cx, p->env.timeline);

    if (r != OK)
        log_fail(LOG_WARN, "timeline.cut_off", cx, r);
}

static rc pump_fiber(struct cx *cx, void *arg)
{
    struct pool *p = arg;
    int64_t pause = 50;

    while (!(p->draining && all_told(p))) {
        bool worked = false;
        child_turn();
        for (bool stop = inject(PUMP_STOPS); stop && fiber_park(cx) != E_CANCELLED;) {
        }
        rc r = serve(cx, p, &worked);
        if (r == E_CANCELLED)
            break;
        if (r != OK) {
            log_fail(LOG_WARN, "claim.failed", cx, r, kv_int("again_in_ms", pause));
            if (fiber_sleep(cx, pause) != OK)
                break;
            pause = MIN(pause * 2, 1000);
            continue;
        }
        pause = 50;
        begin_suspect(p);
        if (worked)
            continue;
        p->ride.calm = true;
        r = rest(cx, p);
        p->ride.calm = false;
        if (r != OK)
            break;
    }
    /* The last acks may be lost with Redis: their leases expire, and PostgreSQL knows the ends. A
     * marker may have been on its way to our waiter: somebody else should look. */
    for
        EACH_PLACE(p, q)
        {
            _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
                cx_deadline_within(cx, 500);
            if (engine_wake(cx, p->env.engine, q->name) != OK)
                break;
        }
    flush_timeline(cx, p);
    p->ended = true;
    fiber_cancel_all();
    loop_stop();
    return OK;
}

/* ---------------------------------------------------------------- wait */

static void look_everywhere(struct pool *p)
{
    for
        EACH_PLACE(p, q)
    q->hot = true;
    wake_pump(p);
}

/* Until the marker of one of them, or for so long. What it says is for the pump. */
static rc wait_for_marker(struct cx *cx, struct pool *p, const char **names,
                          struct pool_queue **places, size_t n, int64_t ms)
{
    size_t which = n;
    rc r = engine_wait(cx, p->env.engine, p->blocking, names, n, clock_ms() + ms, &which);

    if (r == E_CANCELLED)
        return r;
    if (r != OK) {
        log_fail(LOG_WARN, "wait.failed", cx, r);
        try(fiber_sleep(cx, 500));
    }
    if (r == OK && ride_may(cx, p)) /* the claim itself is quicker than asking the pump for it */
        return ride_go(cx, p, 0);
    if (which == n) {
        look_everywhere(p);
    } else if (room(p) > 0 && !p->draining) {
        places[which]->hot = true;
        wake_pump(p);
    } else { /* full meanwhile: the marker is for somebody else */
        places[which]->hot = true;
        r = engine_wake(cx, p->env.engine, names[which]);
        if (r != OK)
            log_fail(LOG_WARN, "wake.failed", cx, r, kv_str("queue", names[which]));
    }
    return OK;
}

static rc wait_for_ever(struct cx *cx, struct pool *p)
{
    struct pool_queue **places;
    const char **names;
    size_t n = places_list(cx, p, &names, &places);
    int64_t stuck = p->settings->worker_stuck_after;
    int64_t again = stuck ? MIN(stuck / 3, (int64_t)LOOK_AGAIN_MS) : LOOK_AGAIN_MS;

    again =
        MIN(again, MAX(p->settings->lease / 2, 100)); /* leases that expire are seen by a look */

    while (!p->draining) {
        if (n < p->nplaces) /* as often as there are more shards */
            n = places_list(cx, p, &names, &places);
        try(ride_settle(cx, p));
        while (room(p) == 0 && !p->draining)
            try(waitq_wait(cx, &p->room));
        try(ride_may(cx, p) ? ride_go(cx, p, again)
                            : wait_for_marker(cx, p, names, places, n, again));
    }
    return OK;
}

/* It is cancelled for good by the drain, and out of a ride when the pool is parked. */
static rc waiter_fiber(struct cx *cx, void *arg)
{
    struct pool *p = arg;

    while (wait_for_ever(cx, p) != OK && !p->draining && !p->ended)
        cx->cancelled = false;
    ride_leave(cx, p);
    return OK;
}

/* ---------------------------------------------------------------- life */

static void redis_is_back(void *arg)
{
    look_everywhere(arg);
}

static rc open_stores(struct cx *cx, struct pool *p)
{
    const struct settings *s = p->settings;

    if (*s->seal_keys)
        try(seal_keys_load(cx, s->seal_keys, &p->env.seal));
    try(mask_new(cx, s->history_mask, &p->env.mask));
    p->env.end_rules = (struct end_rules){.mask = p->env.mask,
                                          .cooldown_after = (int)s->agent_cooldown_after,
                                          .cooldown_ms = s->agent_cooldown};
    try(redis_new(cx, s->redis_url, &p->redis));
    try(redis_new(cx, s->redis_url, &p->blocking));
    try(pg_from_settings(cx, s, &p->env.db));
    p->env.redis = p->redis;
    p->env.timeline = timeline_new(p->env.db);
    p->env.engine = engine_new(p->redis, p->env.db);
    engine_name(p->env.engine, p->claimer);
    held_name(p->held, p->child, p->claimer, HELD_SLOTS(p->concurrency), s->worker_queues);
    p->env.providers = provider_pool_new(p->env.db, p->env.seal, s);
    p->env.orders = order_gather_new(p->env.db, p->env.engine);
    return OK;
}

rc pool_open(struct cx *cx, const struct settings *s, struct held *held, int child, struct pool *p)
{
    struct pool_queue **places;
    const char **names;
    char host[64] = "";

    *p = (struct pool){
        .settings = s, .held = held, .child = child, .concurrency = (size_t)s->worker_concurrency};
    TAILQ_INIT(&p->runs);
    gethostname(host, sizeof host - 1);
    snprintf(p->worker, sizeof p->worker, "%s:%d", host, (int)getpid());
    id_new(p->claimer);
    ride_name(p->claimer, p->ride.name);
    p->env.settings = s;
    /* Ended while its neighbours' leases still stand, so that it is known who was aboard. */
    try(watchdog_start(cx, MAX(s->lease * 2 / 3, WATCHDOG_MIN_MS)));
    try(places_open(cx, p));
    size_t n = places_list(cx, p, &names, &places);
    p->tally = tally_new(names, n, clock_us());
    try(open_stores(cx, p));
    return consumer_open(cx, p, &p->celery);
}

void pool_start(struct pool *p)
{
    p->pump = fiber_spawn(&(struct fiber_opts){.name = "worker.pump"}, pump_fiber, p);
    p->waiter = fiber_spawn(&(struct fiber_opts){.name = "worker.wait"}, waiter_fiber, p);
    fiber_detach(p->pump);
    fiber_detach(p->waiter);
    p->leases = leases_start(p);
    redis_on_connect(p->redis, redis_is_back, p);
    consumer_start(p->celery);
    p->presence = presence_start(p);
}

void pool_park(struct pool *p, bool parked)
{
    p->parked = parked;
    if (parked && p->ride.promised > 0)
        fiber_cancel(p->waiter);
    if (!parked)
        waitq_wake_one(&p->room);
    look_everywhere(p);
}

/* What is left near the end of the grace is cancelled and released; its supervisor kills at the
 * end of it. */
static rc grace_fiber(struct cx *cx, void *arg)
{
    struct pool *p = arg;
    struct job_run *run;

    try(fiber_sleep(cx, p->settings->shutdown_grace * 8 / 10));
    TAILQ_FOREACH(run, &p->runs, link)
    {
        run->released = true;
        run_cancel(run);
    }
    consumer_cut(p->celery);
    try(fiber_sleep(cx, p->settings->shutdown_grace / 10));
    log_ev(LOG_ERROR, "worker.not_drained", kv_int("jobs", (int64_t)p->running));
    fiber_cancel_all();
    loop_stop();
    return OK;
}

void pool_drain(void *pool)
{
    struct pool *p = pool;

    if (p->draining)
        return;
    p->draining = true;
    log_ev(LOG_INFO, "worker.draining", kv_int("jobs", (int64_t)p->running));
    fiber_cancel(p->waiter);
    consumer_drain(p->celery);
    seats_dismiss(p);
    for (struct job_run *run; (run = take_waiting(p));) {
        run->released = true;
        begin(p, run);
    }
    wake_pump(p);
    presence_now(p->presence);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "worker.grace"}, grace_fiber, p));
}

void pool_close(struct pool *p)
{
    struct job_run *run;

    watchdog_stop();
    p->celery = consumer_close(p->celery);
    while ((run = TAILQ_FIRST(&p->runs))) { /* cut off while they were being confirmed */
        TAILQ_REMOVE(&p->runs, run, link);
        run_free(run);
    }
    places_close(p);
    p->tally = tally_free(p->tally);
    p->presence = presence_free(p->presence);
    p->env.providers = provider_pool_free(p->env.providers);
    p->env.orders = order_gather_free(p->env.orders);
    p->env.timeline = timeline_free(p->env.timeline);
    p->leases = leases_free(p->leases);
    p->env.engine = engine_free(p->env.engine);
    p->env.db = pg_free(p->env.db);
    p->blocking = redis_free(p->blocking);
    p->redis = redis_free(p->redis);
    p->env.mask = mask_free(p->env.mask);
    p->env.seal = seal_keys_free(p->env.seal);
}

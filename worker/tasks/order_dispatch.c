/* order_dispatch.c - place what is not placed yet: unit by unit, each under a reference of its own.
 *
 *   plan --nothing left--> end
 *    | ^--doubt: a caller died between reference and answer; it is asked about, never called again
 *    | ^--nobody to ask: the unit fails, or waits for the others (snooze)
 *    v
 *   provider: let in? (paused, turn, breaker)  --no--> snooze
 *    v
 *   begin: the reference stored as 'sending', committed  --somebody was first--> plan again
 *    v
 *   call, answer stored  --certainly not bought--> snooze, the same reference again
 *    `--> plan again (the next unit, or the fallback after a refusal) */
#include "worker/tasks/order_dispatch.h"
#include "base/clock.h"
#include "base/log.h"
#include "domain/orders/order_create.h"
#include "rt/fiber.h"
#include "worker/tasks/placing.h"

#define BEGIN_TRIES_MS (60 * 1000)
#define CALL_ROOM_MS                                                                               \
    (8 * 60 * 1000) /* a look, the longest call, and a minute to store its answer */
#define ROUNDS 1000 /* units x providers x surprises; more is a fault of ours */

struct begin {
    struct job *job;
    const struct order_plan *plan;
    enum referans_form form;
    struct placement placement;
    enum order_begun begun;
};

static rc begin(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct begin *b = arg;
    struct order_step st = step_of(b->job, tx);

    return order_begin(cx, &st, b->plan->order.id, b->plan->unit, b->plan->integration_id, b->form,
                       &b->placement, &b->begun);
}

static rc doubt(struct cx *cx, const struct order_step *st, void *arg)
{
    const struct order_plan *plan = arg;
    struct provider_words w = {.note = "the worker that sent this order was lost before its answer "
                                       "was stored; the provider is asked"};

    return order_unclear(cx, st, &plan->doubt, &w, clock_ms());
}

struct give_up {
    const struct order_plan *plan;
    const char *why;
};

static rc give_up(struct cx *cx, const struct order_step *st, void *arg)
{
    const struct give_up *g = arg;

    return order_give_up(cx, st, g->plan->order.id, g->plan->unit, g->why);
}

/* While other units are under way their end decides with it: looked at again. */
static rc leave_unplaced(struct cx *cx, struct job *job, const struct order_plan *plan,
                         const char *why, int64_t *ret_later_ms)
{
    rc r = store_fact(cx, job, give_up, &(struct give_up){plan, why});

    if (r != E_CONFLICT)
        return r;
    *ret_later_ms = clock_ms() + job_env(job)->settings->check_base;
    return OK;
}

/* Only an operator can mend these; the order waits meanwhile. */
static bool provider_is_unusable(rc r)
{
    return r == E_NOT_FOUND || r == E_CONFIG || r == E_CRYPTO;
}

static bool among(int64_t token, const int64_t *tokens, size_t n)
{
    while (n > 0 && tokens[n - 1] != token)
        n--;
    return n > 0;
}

/* Stores the reference. When the connection is lost after COMMIT was sent it is begun again: order_begin locks the
 * order's row, so it hears how that commit ended, and does not look before it has. A row that carries the number of one of
 * our own calls is as good as the OK that got lost, for nobody else can have called under it. Any other row is somebody
 * else's doing, or doubt. */
static rc begin_for_sure(struct cx *cx, struct begin *b)
{
    int64_t own[8], until = clock_mono_ms() + BEGIN_TRIES_MS, nap = 100;
    size_t n = 0;

    for (;;) {
        b->placement = (struct placement){0};
        rc r = job_tx(cx, b->job, begin, b);
        const struct placement *p = &b->placement;
        if (r == OK && b->begun == BEGUN_DOUBT && p->status == PLACEMENT_SENDING &&
            among(p->call_token, own, n))
            b->begun = BEGUN;
        if (r == E_STORE_DOUBT && b->begun == BEGUN && n < COUNT(own))
            own[n++] = p->call_token;
        else if (r != E_STORE_DOWN || n == 0)
            return r;
        if (clock_mono_ms() >= until)
            return r;
        log_fail(LOG_WARN, "order.begin_in_doubt", cx, r, kv_str("order", b->plan->order.id),
                 kv_int("again_ms", nap));
        try(fiber_sleep(cx, nap));
        nap = MIN(nap * 2, 5000);
    }
}

/* Enough time for a call and its answer? What is cut off in between is doubt. */
static bool has_room(const struct cx *cx, const struct job *job)
{
    return cx_left_ms(cx) >= MIN(CALL_ROOM_MS, job->timeout_ms / 2);
}

/* The reference, committed; the call; its answer, stored. */
static rc place_now(struct cx *cx, struct job *job, const struct order_plan *plan,
                    struct provider_entry *e, int64_t *ret_later_ms)
{
    struct begin b = {.job = job,
                      .plan = plan,
                      .form =
                          provider_uuid_references(e->provider) ? REFERANS_UUID : REFERANS_DIGITS};

    try(begin_for_sure(cx, &b));
    if (b.begun != BEGUN)
        return OK; /* what is there now is planned for anew */
    return placing_call(cx,
                        &(struct placing){.job = job,
                                          .provider = e->provider,
                                          .entry = e,
                                          .order = &plan->order,
                                          .product = plan->product,
                                          .kupur = plan->kupur,
                                          .placement = b.placement},
                        ret_later_ms);
}

static rc place_at(struct cx *cx, struct job *job, const struct order_plan *plan,
                   struct provider *provider, int64_t *ret_later_ms)
{
    _cleanup_(provider_leave) struct provider_entry e = {0};

    try(provider_enter(cx, provider, &e));
    if (e.later_ms) {
        log_ev(LOG_DEBUG, "order.later", kv_str("order", plan->order.id), kv_str("why", e.why));
        *ret_later_ms = e.later_ms;
        return OK;
    }
    if (!has_room(cx, job)) { /* many units, a slow provider: the rest in a turn of their own */
        *ret_later_ms = clock_ms();
        return OK;
    }
    job_hold(job, true);
    rc r = place_now(cx, job, plan, &e, ret_later_ms);
    job_hold(job, false);
    return r;
}

static rc place(struct cx *cx, struct job *job, const struct order_plan *plan,
                int64_t *ret_later_ms)
{
    _cleanup_(provider_put) struct provider *provider = NULL;
    const struct worker_env *env = job_env(job);

    /* Nobody took it in a whole day, for certain: it fails as an order without an answer does. */
    if (clock_ms() - plan->order.created_ms >= env->settings->order_timeout)
        return leave_unplaced(cx, job, plan, ORDER_TIMEOUT_NOTE, ret_later_ms);
    rc r = provider_get(cx, env->providers, plan->integration_id, &provider);
    if (provider_is_unusable(r)) {
        *ret_later_ms = clock_ms() + env->settings->check_base;
        log_fail(LOG_ERROR, "provider.unusable", cx, r, kv_str("order", plan->order.id),
                 kv_str("integration", plan->integration_id),
                 kv_int("again_ms", env->settings->check_base));
        return OK;
    }
    if (r != OK)
        return r;
    return place_at(cx, job, plan, provider, ret_later_ms);
}

struct ending {
    struct job *job;
    const char *order_id;
};

/* The plan was read without a lock: a check may have found a unit cancelled meanwhile, and this job alive. */
static rc nothing_left(struct cx *cx, struct pg_tx *tx, void *arg)
{
    const struct ending *e = arg;
    struct order_step st = step_of(e->job, tx);

    return order_dispatched(cx, &st, e->order_id);
}

static rc run(struct cx *cx, struct job *job)
{
    char id[ID_LEN + 1];

    try(args_id(cx, job, "order_id", id));
    for (int i = 0; i < ROUNDS; i++) {
        struct order_plan plan;
        int64_t later_ms = 0;

        try(order_plan(cx, job_env(job)->db, id, &plan));
        switch (plan.what) {
        case PLAN_NOTHING: {
            rc r = job_complete(cx, job, nothing_left, &(struct ending){job, id});
            if (r != E_CONFLICT)
                return r;
            break;
        }
        case PLAN_DOUBT:
            try(store_fact(cx, job, doubt, &plan));
            break;
        case PLAN_UNROUTED:
            try(leave_unplaced(cx, job, &plan, "no provider is left to send this order to",
                               &later_ms));
            break;
        case PLAN_PLACE:
            try(place(cx, job, &plan, &later_ms));
            break;
        }
        if (later_ms)
            return job_snooze(cx, job, later_ms, NULL, NULL);
    }
    return fail(cx, INTERNAL, "order %s was planned %d times without an end", id, ROUNDS);
}

struct task task_order_dispatch = {
    .name = ORDER_DISPATCH_TASK,
    .queue = ORDER_QUEUE,
    .run = run,
    .max_attempts = 20,
    .timeout_ms = 30 * 60 * 1000,
    .backoff = {.base_ms = 500, .cap_ms = 60 * 1000, .factor = 2, .jitter = JITTER_EQUAL},
    .durable = true,
};

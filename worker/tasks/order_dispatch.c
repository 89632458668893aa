/* order_dispatch.c - place what is not placed yet: unit by unit, each under a reference of its own.
 *
 *   plan --nothing left--> end
 *    | ^--doubt: a caller died between reference and answer; it is asked about, never called again
 *    | ^--nobody to ask: the unit fails
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
#include "domain/order_create.h"
#include "rt/fiber.h"
#include "worker/tasks/placing.h"

#define LOOK_TRIES_MS (60 * 1000)
#define ROUNDS        1000 /* units x providers x surprises; more is a fault of ours */

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

/* Only an operator can mend these; the order waits meanwhile. */
static bool provider_is_unusable(rc r)
{
    return r == E_NOT_FOUND || r == E_CONFIG || r == E_CRYPTO;
}

/* The connection was lost after COMMIT was sent: was the reference stored? If the row is of our own making (its number is
 * ours alone, and this is its first call), finding it is as good as the OK that got lost, for nobody else can have called.
 * A row that was there before (unsent, tried again) may by now be another attempt's: that stays a doubt. */
static rc look_again(struct cx *cx, struct begin *b)
{
    int64_t until = clock_mono_ms() + LOOK_TRIES_MS, nap = 100;
    struct order_plan now;

    for (;;) {
        rc r = order_plan(cx, job_env(b->job)->db, b->plan->order.id, &now);
        if (r == OK)
            break;
        if (!error_info(r)->retry || clock_mono_ms() >= until)
            return r;
        try(fiber_sleep(cx, nap));
        nap = MIN(nap * 2, 5000);
    }
    bool ours = now.what == PLAN_DOUBT && now.doubt.id == b->placement.id && now.doubt.calls == 1 &&
                b->placement.calls == 1;
    log_ev(LOG_WARN, "order.begin_in_doubt", kv_str("order", b->plan->order.id),
           kv_str("reference", b->placement.referans), kv_bool("stored", ours));
    b->begun = ours ? BEGUN : BEGUN_DOUBT;
    return OK;
}

static rc place_at(struct cx *cx, struct job *job, const struct order_plan *plan,
                   struct provider *provider, int64_t *ret_later_ms)
{
    _cleanup_(provider_leave) struct provider_entry e = {0};
    struct begin b = {.job = job,
                      .plan = plan,
                      .form = provider_uuid_references(provider) ? REFERANS_UUID : REFERANS_DIGITS};

    try(provider_enter(cx, provider, &e));
    if (e.later_ms) {
        log_ev(LOG_DEBUG, "order.later", kv_str("order", plan->order.id), kv_str("why", e.why));
        *ret_later_ms = e.later_ms;
        return OK;
    }
    rc r = job_tx(cx, job, begin, &b);
    if (r == E_STORE_DOUBT && b.begun == BEGUN)
        r = look_again(cx, &b);
    try(r);
    if (b.begun != BEGUN)
        return OK; /* what is there now is planned for anew */
    return placing_call(cx,
                        &(struct placing){.job = job,
                                          .provider = provider,
                                          .entry = &e,
                                          .order = &plan->order,
                                          .product = plan->product,
                                          .kupur = plan->kupur,
                                          .placement = b.placement},
                        ret_later_ms);
}

static rc place(struct cx *cx, struct job *job, const struct order_plan *plan,
                int64_t *ret_later_ms)
{
    _cleanup_(provider_put) struct provider *provider = NULL;
    const struct worker_env *env = job_env(job);

    /* Nobody took it in a whole day, for certain: it fails as an order without an answer does. */
    if (clock_ms() - plan->order.created_ms >= env->settings->order_timeout)
        return store_fact(cx, job, give_up, &(struct give_up){plan, ORDER_TIMEOUT_NOTE});
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

static rc run(struct cx *cx, struct job *job)
{
    char id[ID_LEN + 1];

    try(args_id(cx, job, "order_id", id));
    for (int i = 0; i < ROUNDS; i++) {
        struct order_plan plan;
        int64_t later_ms = 0;

        try(order_plan(cx, job_env(job)->db, id, &plan));
        switch (plan.what) {
        case PLAN_NOTHING:
            return job_complete(cx, job, NULL, NULL);
        case PLAN_DOUBT:
            try(store_fact(cx, job, doubt, &plan));
            break;
        case PLAN_UNROUTED:
            try(store_fact(cx, job, give_up,
                           &(struct give_up){&plan, "no provider is left to send this order to"}));
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

/* order_check.c - ask the providers how an order's placements stand, and come back until each has ended.
 *
 *   for each placement that is sent or unconfirmed:
 *       provider: let in? --no--> later            (no question used up; review when it never is)
 *       status --> verdict (verdict.h) --> a step of order_flow.h
 *       resend: the same reference again, where duplicates are merged (placing.h)
 *   what is left decides: nothing --> end · check_retries questions --> end, the sweep goes on · else snooze, doubling
 *
 * Questions are counted in the placement, not by the job: a snooze is not a failure, and a check that was lost and swept up
 * again goes on where it was. Failures of the stores are the job's own and retried by the engine. */
#include "worker/tasks/order_check.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "domain/orders/order_create.h"
#include "domain/orders/order_gather.h"
#include "domain/shop/routing.h"
#include "rt/frame.h"
#include "worker/tasks/placing.h"
#include "worker/tasks/verdict.h"

struct asking {
    struct job *job;
    const struct order *order;
    const struct placement *placement;
    struct provider *provider;
    struct verdict_rules rules;
    struct answer answer;
    enum verdict verdict;
    struct placement resent; /* RESEND, once it is begun */
    enum order_begun begun;
};

/* What is left to do after the round. */
struct round {
    struct job *job;
    const char *order_id;
    int64_t again_ms;    /* wall; the earliest question to come; 0: none is expected */
    bool spent;          /* check_retries questions were asked: the sweep goes on */
    struct asking *last; /* its step is stored with the job's end; NULL: nothing is left to store */
    int left;
};

/* ---------------------------------------------------------------- an answer, stored */

static rc store_verdict(struct cx *cx, const struct order_step *st, struct asking *a)
{
    struct provider_words w = words_of(cx, a->provider, &a->answer);
    const struct placement *p = a->placement;
    enum order_next next;

    switch (a->verdict) {
    case VERDICT_OPEN:
        return order_answer_open(cx, st, p, &w);
    case VERDICT_DONE:
        return order_answer_done(cx, st, p, &w, pins_of(cx, &a->answer));
    case VERDICT_REJECTED:
        return order_answer_rejected(cx, st, p, &w, &next);
    case VERDICT_OPEN_TIMED_OUT:
        try(order_answer_open(cx, st, p, &w));
        return order_timed_out(cx, st, p);
    case VERDICT_TIMED_OUT:
        try(order_answer_nothing(cx, st, p, &w));
        return order_timed_out(cx, st, p);
    case VERDICT_REVIEW:
        try(order_answer_nothing(cx, st, p, &w));
        return order_to_review(cx, st, p,
                               a->answer.kind == ANSWER_UNKNOWN_REFERENCE
                                   ? "the provider does not know this reference; whether the order "
                                     "arrived cannot be decided from here"
                                   : "the provider never said whether this order arrived");
    case VERDICT_RESEND:
    case VERDICT_NOTHING:
        return order_answer_nothing(cx, st, p, &w);
    }
    return OK;
}

static rc in_job(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct asking *a = arg;
    struct order_step st = step_of(a->job, tx);

    return store_verdict(cx, &st, a);
}

static rc begin_again(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct asking *a = arg;
    struct order_step st = step_of(a->job, tx);

    try(store_verdict(cx, &st, a));
    return order_resend(cx, &st, a->placement, &a->resent, &a->begun);
}

/* The provider does not know the reference and merges duplicates: the same call once more. */
static MW_OWN_FRAME rc resend(struct cx *cx, struct asking *a, struct provider_entry *e,
                              int64_t *ret_later_ms)
{
    struct mapping m;

    rc r = mapping_get(cx, job_env(a->job)->db, a->order->package_id, a->placement->integration_id,
                       &m);
    if (r == E_NOT_FOUND) /* no longer mapped there: it can only be asked about */
        return job_tx(cx, a->job, in_job, a);
    if (r != OK)
        return r;
    job_hold(a->job, true);
    r = job_tx(cx, a->job, begin_again, a);
    if (r == OK && a->begun == BEGUN)
        r = placing_call(cx,
                         &(struct placing){.job = a->job,
                                           .provider = a->provider,
                                           .entry = e,
                                           .order = a->order,
                                           .product = m.product,
                                           .kupur = m.kupur,
                                           .placement = a->resent},
                         ret_later_ms);
    job_hold(a->job, false);
    return r;
}

/* ---------------------------------------------------------------- a question */

static bool goes_on(enum verdict v)
{
    return v == VERDICT_NOTHING || v == VERDICT_OPEN || v == VERDICT_RESEND;
}

static void expect(struct round *r, int64_t at_ms)
{
    r->again_ms = r->again_ms ? MIN(r->again_ms, at_ms) : at_ms;
}

static void expect_next_question(struct round *r, const struct asking *a)
{
    const struct settings *s = job_env(a->job)->settings;
    struct placement p = *a->placement;
    int asked = p.asked + 1;
    uint64_t random;

    if (asked >= s->check_retries) {
        r->spent = true;
        return;
    }
    if (a->verdict == VERDICT_OPEN)
        p.status = PLACEMENT_SENT;
    random_bytes(&random, sizeof random);
    expect(r, ask_again_ms(&p, asked, s->check_base, s->check_cap, &a->rules, clock_ms(), random));
}

static rc unaskable(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct asking *a = arg;
    struct order_step st = step_of(a->job, tx);

    return order_to_review(
        cx, &st, a->placement,
        "the provider may not be asked (switched off, paused, or its settings are "
        "broken), for twice the time that an order may take");
}

/* Not now. But an account that nobody switches on again must not hold its orders for ever without a word. */
static rc ask_later(struct cx *cx, struct asking *a, struct round *round, int64_t at_ms)
{
    const struct placement *p = a->placement;
    int64_t since = p->sent_ms ? p->sent_ms : p->created_ms;

    if (clock_ms() - since >= 2 * job_env(a->job)->settings->order_timeout)
        return job_tx(cx, a->job, unaskable, a);
    expect(round, at_ms);
    return OK;
}

static MW_OWN_FRAME void tell_asked(const struct asking *a)
{
    log_ev(goes_on(a->verdict) ? LOG_DEBUG : LOG_INFO, "order.asked", kv_str("order", a->order->id),
           kv_int("unit", a->placement->unit), kv_str("provider", provider_name(a->provider)),
           kv_str("reference", a->placement->referans),
           kv_str("answer", answer_kind_name(a->answer.kind)), kv_str("row", a->answer.row),
           kv_int("asked", a->placement->asked + 1), kv_int("took_ms", a->answer.took_ms));
}

static rc ask(struct cx *cx, struct asking *a, bool last, struct round *round)
{
    _cleanup_(provider_leave) struct provider_entry e = {0};
    int64_t later_ms = 0;

    try(provider_enter(cx, a->provider, &e));
    if (e.later_ms && e.shut)
        return ask_later(cx, a, round, e.later_ms);
    if (e.later_ms) {
        expect(round, e.later_ms);
        return OK;
    }
    try(provider_status(cx, &e, a->placement->referans, &a->answer));
    a->verdict = verdict_of(a->placement, a->answer.kind, &a->rules, clock_ms());
    tell_asked(a);
    if (goes_on(a->verdict))
        expect_next_question(round, a);
    if (a->verdict == VERDICT_RESEND)
        return resend(cx, a, &e, &later_ms);
    if (!last)
        return job_tx(cx, a->job, in_job, a);
    round->last = a;
    return OK;
}

static rc ask_about(struct cx *cx, struct job *job, const struct order *o,
                    const struct placement *p, bool last, struct round *round, struct asking *a)
{
    const struct worker_env *env = job_env(job);

    *a = (struct asking){.job = job, .order = o, .placement = p};
    rc r = provider_get(cx, env->providers, p->integration_id, &a->provider);
    if (r == E_NOT_FOUND || r == E_CONFIG || r == E_CRYPTO) {
        log_fail(LOG_ERROR, "provider.unusable", cx, r, kv_str("order", o->id),
                 kv_str("integration", p->integration_id));
        return ask_later(cx, a, round, clock_ms() + env->settings->check_base);
    }
    if (r != OK)
        return r;
    a->rules = (struct verdict_rules){
        .may_resend = provider_may_resend(a->provider, p->created_ms),
        .review_after_ms = env->settings->review_after,
        .order_timeout_ms = env->settings->order_timeout,
    };
    r = ask(cx, a, last, round);
    return r;
}

/* ---------------------------------------------------------------- the end of a round */

static rc finish(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct round *r = arg;
    struct order_step st = step_of(r->job, tx);

    if (r->last)
        try(store_verdict(cx, &st, r->last));
    try(order_check_left(cx, &st, r->order_id, &r->left));
    /* A unit that was placed while we asked found this job alive and made no check of its own. */
    if (r->left && !r->again_ms && !r->spent)
        return fail(cx, CONFLICT, "something is left to be asked about");
    return OK;
}

static rc store_gathered(struct cx *cx, const struct job *job, const struct job_end *end, void *arg)
{
    struct round *r = arg;
    struct asking *a = r->last;
    struct provider_words w = words_of(cx, a->provider, &a->answer);
    const struct worker_env *env = job_env(job);

    return order_gather_end(cx, env->orders,
                            &(struct order_ending){
                                .order = a->order,
                                .p = a->placement,
                                .answer = a->verdict == VERDICT_DONE   ? ORDER_ANSWER_DONE
                                          : a->verdict == VERDICT_OPEN ? ORDER_ANSWER_OPEN
                                                                       : ORDER_ANSWER_NOTHING,
                                .w = &w,
                                .pin = a->verdict == VERDICT_DONE ? pins_of(cx, &a->answer) : NULL,
                                .seal = env->seal,
                                .actor = job->task,
                                .job = job,
                                .end = end,
                                .may_leave = r->again_ms || r->spent,
                            });
}

/* Nothing but the last answer is to be written down. */
static bool is_plain(const struct round *r)
{
    return r->last && (r->last->verdict == VERDICT_DONE || r->last->verdict == VERDICT_OPEN ||
                       r->last->verdict == VERDICT_NOTHING);
}

/* Gathered with the ends of other checks where that can be; what cannot (CONFLICT) is written alone. */
static MW_OWN_FRAME rc end_round(struct cx *cx, struct job *job, struct round *r)
{
    if (is_plain(r)) {
        rc result = job_end_gathered(cx, job, r->again_ms, store_gathered, r);
        if (result != E_CONFLICT)
            return result;
    }
    if (!r->again_ms) {
        rc result = job_complete(cx, job, finish, r);
        if (result != E_CONFLICT)
            return result;
        r->again_ms = clock_ms() + job_env(job)->settings->check_base;
    }
    return job_snooze(cx, job, r->again_ms, finish, r);
}

static rc run(struct cx *cx, struct job *job)
{
    struct worker_env *env = job_env(job);
    char id[ID_LEN + 1];
    struct order o;
    struct placement *p;
    size_t n, open = 0, i, k = 0;
    rc r = OK;

    try(args_id(cx, job, "order_id", id));
    try(order_gather_look(cx, env->orders, id, &o, &p, &n));
    if (order_status_final(o.status))
        return job_complete(cx, job, NULL, NULL);
    for (i = 0; i < n; i++)
        open += placement_asking(p[i].status);

    struct round round = {.job = job, .order_id = id};
    struct asking *asked = arena_alloc(&cx->arena, open * sizeof *asked);
    for (i = 0; i < n && r == OK; i++) {
        if (!placement_asking(p[i].status))
            continue;
        r = ask_about(cx, job, &o, &p[i], /* last= */ open == 1, &round, &asked[k]);
        k++;
    }
    if (r == OK)
        r = end_round(cx, job, &round);
    for (i = 0; i < k; i++)
        provider_put(&asked[i].provider);
    return r;
}

void order_check_configure(struct task *t, const struct settings *s)
{
    t->backoff.base_ms = s->check_base;
    t->backoff.cap_ms = s->check_cap;
    t->max_attempts = (int)s->check_retries;
}

struct task task_order_check = {
    .name = ORDER_CHECK_TASK,
    .queue = ORDER_QUEUE,
    .run = run,
    .max_attempts = 20,
    .timeout_ms = 30 * 60 * 1000,
    .backoff = {.base_ms = 30 * 1000, .cap_ms = 600 * 1000, .factor = 2, .jitter = JITTER_EQUAL},
    .durable = true,
};

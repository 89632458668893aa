/* placing.c - see placing.h. */
#include "worker/tasks/placing.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/inject.h"
#include "base/log.h"
#include "base/settings.h"
#include <signal.h>
#include <unistd.h>

#define UNSENT_BASE_MS 1000
#define UNSENT_CAP_MS  60000
#define DOUBT_ASK_MS   5000 /* doubt is asked about sooner than an accepted order */

struct placed {
    const struct placing *p;
    const struct answer *answer;
    int64_t check_at_ms;
    enum order_next next;
};

static rc store(struct cx *cx, const struct order_step *st, void *arg)
{
    struct placed *f = arg;
    const struct answer *a = f->answer;
    const struct placement *p = &f->p->placement;
    struct provider_words w = words_of(cx, f->p->provider, a);

    switch (a->kind) {
    case ANSWER_ACCEPTED:
    case ANSWER_PENDING:
        return order_placed(cx, st, p, &w, f->check_at_ms);
    case ANSWER_DONE:
        return order_answer_done(cx, st, p, &w, pins_of(cx, a));
    case ANSWER_REFUSED:
        return order_refused(cx, st, p, &w, f->check_at_ms, &f->next);
    case ANSWER_TROUBLE:
        if (a->reason == REASON_ACCESS || a->reason == REASON_MAINTENANCE)
            return order_not_let_in(cx, st, p, &w, f->check_at_ms, &f->next);
        return order_unsent(cx, st, p, &w, f->check_at_ms);
    case ANSWER_NOT_SENT:
        return order_unsent(cx, st, p, &w, f->check_at_ms);
    default:
        return order_unclear(cx, st, p, &w, f->check_at_ms);
    }
}

static bool certainly_not_bought(const struct answer *a)
{
    return a->kind == ANSWER_NOT_SENT || a->kind == ANSWER_TROUBLE;
}

/* How long the same call is left alone: not reached, quickly again; not let in, as long as an operator may need. */
static int64_t back_off_ms(const struct job *job, const struct answer *a)
{
    const struct settings *s = job_env(job)->settings;
    struct backoff b = {.base_ms = MIN(UNSENT_BASE_MS, s->check_base),
                        .cap_ms = MIN(UNSENT_CAP_MS, s->check_cap),
                        .factor = 2,
                        .jitter = JITTER_EQUAL};
    uint64_t random;

    if (a->retry_after_ms)
        return MIN(a->retry_after_ms, s->check_cap);
    if (a->kind == ANSWER_TROUBLE)
        b = (struct backoff){
            .base_ms = s->check_base, .cap_ms = s->check_cap, .factor = 2, .jitter = JITTER_EQUAL};
    random_bytes(&random, sizeof random);
    return backoff_delay_ms(&b, job->lease.snoozes + 1, 0, random);
}

static int64_t first_question_ms(const struct job *job, const struct answer *a)
{
    int64_t first = job_env(job)->settings->check_first;

    return clock_ms() + (a->kind == ANSWER_ACCEPTED || a->kind == ANSWER_PENDING
                             ? first
                             : MIN(first, DOUBT_ASK_MS));
}

static void die(void)
{
    kill(getpid(), SIGKILL);
}

/* What cannot be written into a request did not leave us, and never will. */
static rc call(struct cx *cx, const struct placing *p, struct answer *ret)
{
    const struct order *o = p->order;
    rc r = provider_place(cx, p->entry,
                          &(struct place_request){
                              .reference = p->placement.referans,
                              .product = p->product,
                              .kupur = p->kupur,
                              .user_identifier = o->user_identifier,
                              .extra_field = o->extra_field,
                          },
                          ret);

    if (r == E_INVALID_FIELD)
        *ret = (struct answer){.kind = ANSWER_REFUSED,
                               .reason = REASON_OTHER,
                               .row = "unwritable",
                               .note = arena_strdup(&cx->arena, cx_words(cx, r))};
    return r == E_INVALID_FIELD ? OK : r;
}

rc placing_call(struct cx *cx, const struct placing *p, int64_t *ret_later_ms)
{
    const struct order *o = p->order;
    struct answer a = {0};
    struct placed f = {.p = p, .answer = &a, .next = NEXT_ASK};

    *ret_later_ms = 0;
    if (inject(DIE_BEFORE_CALL))
        die();
    try(call(cx, p, &a));
    if (inject(DIE_AFTER_CALL))
        die();
    log_ev(a.kind == ANSWER_UNCLEAR ? LOG_WARN : LOG_INFO, "order.placed", kv_str("order", o->id),
           kv_int("unit", p->placement.unit), kv_str("provider", provider_name(p->provider)),
           kv_str("reference", p->placement.referans), kv_str("answer", answer_kind_name(a.kind)),
           kv_str("row", a.row), kv_str("reason", answer_reason_name(a.reason)),
           kv_int("took_ms", a.took_ms));
    f.check_at_ms = first_question_ms(p->job, &a);
    try(store_fact(cx, p->job, store, &f));
    if (certainly_not_bought(&a) && f.next != NEXT_FALLBACK)
        *ret_later_ms = clock_ms() + back_off_ms(p->job, &a);
    return OK;
}

/* order_answer.c - the steps of a check: what a provider's answer about a placement means.
 *
 *   open      it is there: an unconfirmed one has arrived          done      completed, the PIN sealed
 *   rejected  cancelled there: somebody else, or failed            nothing   counted, asked again later
 *   timed out sent: failed; unconfirmed: a person decides          resend    once more under the same reference */
#include "base/text.h"
#include "domain/orders/order_create.h"
#include "domain/orders/order_flow.h"
#include "domain/orders/order_move.h"

static bool news(const struct placement *now, const struct provider_words *w)
{
    return w &&
           ((!str_empty(w->note) && !str_eq(w->note, now->note)) ||
            (!str_empty(w->external_status) && !str_eq(w->external_status, now->external_status)));
}

struct change answer_change(enum order_answer a, struct placement *now,
                            const struct provider_words *w)
{
    struct change c = {.p = now, .to = now->status, .w = w, .asked = true};

    switch (a) {
    case ORDER_ANSWER_OPEN:
        c.to = PLACEMENT_SENT;
        c.event = now->status != PLACEMENT_SENT || news(now, w) ? "open" : NULL;
        break;
    case ORDER_ANSWER_DONE:
        c.to = PLACEMENT_COMPLETED;
        c.asked = placement_asking(now->status);
        c.event = "completed";
        break;
    case ORDER_ANSWER_NOTHING:
        c.keep_note = true;
        c.event = news(now, w) ? "no_answer" : NULL;
        break;
    }
    return c;
}

static rc answered(struct cx *cx, const struct order_step *st, const struct placement *p,
                   const struct provider_words *w, enum order_answer a, const char *pin,
                   const char *late)
{
    struct move m;
    struct placement *now;

    try(move_take(cx, st, p, w, late, &m, &now));
    if (!now)
        return OK;
    struct change c = answer_change(a, now, w);
    c.pin = pin;
    return move_write(cx, &m, &c);
}

rc order_answer_open(struct cx *cx, const struct order_step *st, const struct placement *p,
                     const struct provider_words *w)
{
    return answered(cx, st, p, w, ORDER_ANSWER_OPEN, NULL, "late_open");
}

rc order_answer_done(struct cx *cx, const struct order_step *st, const struct placement *p,
                     const struct provider_words *w, const char *pin)
{
    return answered(cx, st, p, w, ORDER_ANSWER_DONE, pin, "late_completed");
}

rc order_answer_nothing(struct cx *cx, const struct order_step *st, const struct placement *p,
                        const struct provider_words *w)
{
    return answered(cx, st, p, w, ORDER_ANSWER_NOTHING, NULL, "late_nothing");
}

rc order_answer_rejected(struct cx *cx, const struct order_step *st, const struct placement *p,
                         const struct provider_words *w, enum order_next *ret_next)
{
    struct move m;
    struct placement *now;

    *ret_next = NEXT_END;
    try(move_take(cx, st, p, w, "late_rejected", &m, &now));
    if (!now)
        return OK;
    try(move_lose(cx, &m, now, w, /* asked= */ true, "rejected", ret_next));
    return *ret_next == NEXT_FALLBACK ? move_enqueue(cx, &m, ORDER_DISPATCH_TASK, 0) : OK;
}

rc order_resend(struct cx *cx, const struct order_step *st, const struct placement *p,
                struct placement *ret, enum order_begun *ret_begun)
{
    struct move m;
    struct placement *now;

    *ret_begun = BEGUN_ENDED;
    try(move_take(cx, st, p, NULL, "late_resend", &m, &now));
    if (!now)
        return OK;
    if (now->status != PLACEMENT_UNCONFIRMED || now->calls != p->calls) {
        *ret = *now;
        *ret_begun = BEGUN_DOUBT;
        return OK;
    }
    try(move_write(cx, &m,
                   &(struct change){.p = now,
                                    .to = PLACEMENT_SENDING,
                                    .called = true,
                                    .call_token = call_token_new(),
                                    .event = "resent"}));
    now->calls++;
    *ret = *now;
    *ret_begun = BEGUN;
    return OK;
}

/* ---------------------------------------------------------------- when asking has no end */

static rc review(struct cx *cx, struct move *m, struct placement *now, const char *why)
{
    return move_write(
        cx, m,
        &(struct change){
            .p = now, .to = PLACEMENT_REVIEW, .event = "review", .detail = why, .order_note = why});
}

rc order_timed_out(struct cx *cx, const struct order_step *st, const struct placement *p)
{
    struct move m;
    struct placement *now;

    try(move_take(cx, st, p, NULL, "late_timeout", &m, &now));
    if (!now || now->status == PLACEMENT_REVIEW)
        return OK;
    if (now->status != PLACEMENT_SENT)
        return review(cx, &m, now, ORDER_TIMEOUT_NOTE);
    return move_write(cx, &m,
                      &(struct change){.p = now,
                                       .to = PLACEMENT_FAILED,
                                       .gave_up = true,
                                       .event = "failed",
                                       .detail = ORDER_TIMEOUT_NOTE,
                                       .order_note = ORDER_TIMEOUT_NOTE});
}

rc order_to_review(struct cx *cx, const struct order_step *st, const struct placement *p,
                   const char *why)
{
    struct move m;
    struct placement *now;

    try(move_take(cx, st, p, NULL, "late_review", &m, &now));
    if (!now || now->status == PLACEMENT_REVIEW)
        return OK;
    return review(cx, &m, now, why);
}

rc order_check_left(struct cx *cx, const struct order_step *st, const char *order_id, int *ret_left)
{
    struct move m;
    bool waiting = false;

    *ret_left = 0;
    try(move_lock(cx, st, NULL, order_id, &m));
    for (int u = 1; move_open(&m) && u <= m.o.quantity; u++) {
        const struct placement *p = move_latest(&m, u);
        *ret_left += p && placement_asking(p->status);
        waiting |= unit_waits(p) || p->status == PLACEMENT_SENDING;
    }
    return waiting && m.o.status != ORDER_REVIEW ? move_enqueue(cx, &m, ORDER_DISPATCH_TASK, 0)
                                                 : OK;
}

/* order_flow.h - how an order moves: the transactions that the dispatch and check tasks are made
 * of.
 *
 *     order.dispatch                                             order.check
 *       order_plan ------> nothing left: end                      for each placement asked about:
 *         | place            | doubt: order_unclear                 order_answer_open / _done /
 *       breaker, quota (or snooze)                                  _rejected / _nothing, or
 *       order_begin     reference stored as 'sending', commit       order_timed_out, order_to_review,
 *                                                                   order_resend
 *       ---- the call ----                                        order_check_left: later, or end
 *       order_placed | order_refused | order_unclear | order_unsent | order_answer_done
 *
 * Each step locks the order's row, looks at the placement again, moves it if the move is still
 * possible, settles the order's status out of its units (placements.h), raises the version, writes
 * the timeline, announces the id on ORDER_CHANNEL, and, when the order has become final or needs
 * review and has a callback_url, enqueues webhook.deliver: all in the caller's transaction.
 *
 * A step that comes too late (an operator decided, another attempt was first) changes nothing but
 * the timeline ("late_…") and is OK: the truth is already written. A step never fails for what a
 * provider said; its failures are the store's.
 *
 * What the steps guarantee:
 *   - the reference is committed before the call; one that finds `sending` stored is told DOUBT,
 *     never permission
 *   - another provider is tried only after a certain refusal, each at most once per unit
 *   - a refusal of a repeated call (calls > 1) is not certain: the first may have arrived; it is
 *     treated as unclear
 *   - `unsent` is believed only for the first call of a reference that may have arrived, and only
 *     of that very call (call_token): the word of an older one frees nothing */
#pragma once
#include "domain/orders/placements.h"
#include "queue/queue.h"

#define ORDER_NOTE_MAX     1000 /* characters; longer words are cut */
#define ORDER_TIMEOUT_NOTE "Timeout: No response after 24h"
#define WEBHOOK_TASK                                                                               \
    "webhook.deliver" /* args {"order_id","event":"order.completed"}; render order_json at         \
                         delivery */
#define WEBHOOK_QUEUE "webhooks"

/* The transaction that a step is part of. */
struct order_step {
    struct pg_tx *tx;
    const struct seal_keys *seal; /* needed where a PIN is given */
    const char *actor;            /* "order.dispatch", "cli:root"; for the timeline */
    /* How a job is enqueued: in a task, a wrapper of job_enqueue (it pushes after the commit).
     * NULL: engine_insert; the reconciler or the caller pushes. */
    rc (*enqueue)(struct cx *cx, struct pg_tx *tx, struct job_new *j, void *arg);
    void *arg;
};

/* ---------------------------------------------------------------- dispatch */

enum order_plan_what {
    PLAN_NOTHING, /* every unit is under way or ended, or the order is: end the job */
    PLAN_PLACE,   /* place `unit` at `integration_id` */
    PLAN_DOUBT, /* a caller died between storing the reference and the answer: order_unclear(doubt)
                 */
    PLAN_UNROUTED, /* the route is gone, or nobody is left to try: order_give_up(unit) */
};
struct order_plan {
    enum order_plan_what what;
    int unit;
    const char *integration_id, *product,
        *kupur;             /* PLACE: whom, and the provider's words for the good */
    struct order order;     /* as read now */
    struct placement doubt; /* DOUBT */
};
/* What is to be done next for this order. Reads only; order_begin looks again under the lock.
 * NOT_FOUND. Parks. */
rc order_plan(struct cx *cx, struct pg *db, const char *order_id, struct order_plan *ret) MW_PARKS;

enum referans_form {
    REFERANS_DIGITS,
    REFERANS_UUID
}; /* 13 digits of time + 5 of a sequence; or a UUID */
enum order_begun {
    BEGUN,       /* the reference is stored; commit, then call the provider with ret->referans */
    BEGUN_DOUBT, /* a live placement is there already (ret): never call; order_unclear if it is
                    `sending` */
    BEGUN_ENDED, /* the order is final or in review: stop */
};
/* An `unsent` placement at the same integration keeps its reference; one at another is failed
 * first. Parks. */
rc order_begin(struct cx *cx, const struct order_step *st, const char *order_id, int unit,
               const char *integration_id, enum referans_form form, struct placement *ret,
               enum order_begun *ret_begun) MW_PARKS;

/* What a provider said, beside yes or no. All may be NULL. */
struct provider_words {
    const char *external_id;     /* the provider's own number */
    const char *external_status; /* its word for the state: "1", "wait" */
    const char *note;            /* its text, already masked and in UTF-8 */
    const char *cost;            /* decimal; absolute value is kept */
    const char *currency;        /* three letters; needed with cost */
    const char *verbatim; /* its whole answer, PINs and credentials masked: for the timeline, in
                             place of the note */
};

/* The provider accepted: sent. check_at_ms (wall): order.check is enqueued for then unless one
 * lives; 0: no. Parks. */
rc order_placed(struct cx *cx, const struct order_step *st, const struct placement *p,
                const struct provider_words *w, int64_t check_at_ms) MW_PARKS;

enum order_next {
    NEXT_END,      /* the unit has failed; nothing more to do for it */
    NEXT_FALLBACK, /* another provider can be tried: plan again (dispatch), or a dispatch job was
                      enqueued (check) */
    NEXT_ASK,      /* not certain: it is being asked about */
};
/* The provider refused the call with words that are certain (providers' decision tables).
 * check_at_ms: for NEXT_ASK. Parks. */
rc order_refused(struct cx *cx, const struct order_step *st, const struct placement *p,
                 const struct provider_words *w, int64_t check_at_ms,
                 enum order_next *ret_next) MW_PARKS;
/* It may have arrived: unconfirmed, and asked about from check_at_ms on. Parks. */
rc order_unclear(struct cx *cx, const struct order_step *st, const struct placement *p,
                 const struct provider_words *w, int64_t check_at_ms) MW_PARKS;
/* Not a byte of the call left us: the unit waits for another try, the order can be cancelled again.
 * After an earlier call of the same reference: unclear. Parks. */
rc order_unsent(struct cx *cx, const struct order_step *st, const struct placement *p,
                const struct provider_words *w, int64_t check_at_ms) MW_PARKS;
/* The provider let nobody in (credentials, address, maintenance), so certainly nothing was bought: somebody else is asked, as
 * after a refusal (NEXT_FALLBACK); where there is nobody else the unit waits for this one, as order_unsent (NEXT_END). Parks. */
rc order_not_let_in(struct cx *cx, const struct order_step *st, const struct placement *p,
                    const struct provider_words *w, int64_t check_at_ms,
                    enum order_next *ret_next) MW_PARKS;
/* In the transaction that ends the dispatch: CONFLICT when something is to be done after all (a check that found this job
 * alive made none of its own). Parks. */
rc order_dispatched(struct cx *cx, const struct order_step *st, const char *order_id) MW_PARKS;
/* Nobody to place this unit at: certainly not delivered, so it fails. CONFLICT, with nothing written, while it was never
 * placed and other units are under way: their end decides with it. Parks. */
rc order_give_up(struct cx *cx, const struct order_step *st, const char *order_id, int unit,
                 const char *why) MW_PARKS;

/* ---------------------------------------------------------------- check */

/* What an answer says that needs nothing but writing it down; also many at once (order_gather.h). */
enum order_answer { ORDER_ANSWER_OPEN, ORDER_ANSWER_DONE, ORDER_ANSWER_NOTHING };
/* Still under way there (an unconfirmed one has thereby arrived: sent). Parks. */
rc order_answer_open(struct cx *cx, const struct order_step *st, const struct placement *p,
                     const struct provider_words *w) MW_PARKS;
/* Delivered. pin NULL or "": a success without a PIN; it is sealed here. Parks. */
rc order_answer_done(struct cx *cx, const struct order_step *st, const struct placement *p,
                     const struct provider_words *w, const char *pin) MW_PARKS;
/* Cancelled there, for certain: the fallback (an order.dispatch is enqueued) or failed. Parks. */
rc order_answer_rejected(struct cx *cx, const struct order_step *st, const struct placement *p,
                         const struct provider_words *w, enum order_next *ret_next) MW_PARKS;
/* The question failed or its answer decides nothing: counted; on the timeline only when the words
 * are new. Parks. */
rc order_answer_nothing(struct cx *cx, const struct order_step *st, const struct placement *p,
                        const struct provider_words *w) MW_PARKS;
/* Once more under the same reference, at a provider that refuses or merges duplicates: unconfirmed
 * -> sending. *ret_begun as in order_begin; then call, and go on as after order_begin. Parks. */
rc order_resend(struct cx *cx, const struct order_step *st, const struct placement *p,
                struct placement *ret, enum order_begun *ret_begun) MW_PARKS;
/* order_timeout has passed and the last question brought nothing: sent fails with
 * ORDER_TIMEOUT_NOTE, unconfirmed goes to review. Parks. */
rc order_timed_out(struct cx *cx, const struct order_step *st, const struct placement *p) MW_PARKS;
/* It cannot be decided from here. Parks. */
rc order_to_review(struct cx *cx, const struct order_step *st, const struct placement *p,
                   const char *why) MW_PARKS;
/* In the transaction that ends or postpones the check: how many placements are still to be asked
 * about (0: the job may end). Units that wait for a provider get an order.dispatch. Parks. */
rc order_check_left(struct cx *cx, const struct order_step *st, const char *order_id,
                    int *ret_left) MW_PARKS;

/* ---------------------------------------------------------------- people */

/* A client takes its order back: only while it is certainly nowhere. TOO_LATE otherwise (also when
 * it has ended; cancelled twice is OK), NOT_FOUND. *ret is the order after it. Runs a transaction
 * of its own; the callback that it enqueues is pushed after the commit (engine NULL: left to the
 * reconciler). Parks. */
rc order_cancel(struct cx *cx, struct pg *db, struct engine *engine, const char *actor,
                const char *tenant_id, const char *order_id, struct order *ret) MW_PARKS;

enum order_decision {
    DECIDE_COMPLETED, /* it was delivered (pin NULL: without a PIN) */
    DECIDE_FAILED,    /* it was not, and will not be */
    DECIDE_ASK,       /* back from review: ask the provider again */
};
/* An operator decides about a unit (0: all of the order's that are not ended; a pin needs a unit,
 * or quantity 1). CONFLICT when there is nothing to decide: the order is final, or has no such
 * unit. With several units the order ends when the last one is decided; one of which a part was
 * delivered and a part was not stays in review until it is decided as a whole (unit 0: the decision
 * is then the order's own). Audited. Runs a transaction of its own; what it enqueues is pushed
 * after the commit (engine NULL: left to the reconciler). Parks. */
rc order_resolve(struct cx *cx, struct pg *db, struct engine *engine, const struct seal_keys *seal,
                 const char *actor, const char *order_id, int unit, enum order_decision decision,
                 const char *pin, const char *note, struct order *ret) MW_PARKS;

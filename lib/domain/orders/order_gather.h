/* order_gather.h - many orders at once: what thousands of checks read before they ask, and what they write when they
 * were answered.
 *
 *   check A --.                                            .--> A
 *   check B ---+--> [ gathered ] --- one transaction for all ---> B: stale
 *   check C --'                                            `--> C: not for the many, alone
 *
 * It does for many what order_load, placement_list and the steps of order_flow.h do for one, with the same
 * statements over arrays, the same locks and the same fences. What is not simply written down (an order
 * that somebody moved meanwhile, a unit that waits for a provider, a refusal) is handed back, and
 * goes the one way through order_flow.h. */
#pragma once
#include "domain/orders/order_flow.h"

struct order_gather;
struct order_gather *order_gather_new(struct pg *db, struct engine *engine);
/* Nobody may wait. NULL in, NULL out. */
struct order_gather *order_gather_free(struct order_gather *g);

/* As order_load (of any tenant) and placement_list. NOT_FOUND. Parks. */
rc order_gather_look(struct cx *cx, struct order_gather *g, const char *order_id, struct order *ret,
                     struct placement **ret_placements, size_t *ret_n) MW_PARKS;

/* A check that has its last answer: written down, and its job ended, in one transaction. */
struct order_ending {
    const struct order *order;
    const struct placement *p; /* as it was when the provider was asked */
    enum order_answer answer;
    const struct provider_words *w;
    const char *pin; /* DONE: in clear; NULL or "": none */
    const struct seal_keys *seal;
    const char *actor;
    const struct job *job; /* engine_may_gather */
    const struct job_end *end;
    bool
        may_leave; /* placements that are still to be asked about do not keep the job from this end */
};
/* CONFLICT: not for the many, nothing was written. STALE_ATTEMPT: the job is another attempt's, nothing was
 * written. STORE_DOUBT: it may have been (also when the caller gave up). Failures of the stores. Parks. */
rc order_gather_end(struct cx *cx, struct order_gather *g, const struct order_ending *e) MW_PARKS;

/* For order_look.c. */
struct batcher *order_looks_new(struct pg *db);
rc order_looks_wait(struct cx *cx, struct batcher *looks, const char *order_id, struct order *ret,
                    struct placement **ret_placements, size_t *ret_n) MW_PARKS;

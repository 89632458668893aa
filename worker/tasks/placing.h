/* placing.h - one call that buys, and what its answer means, stored. For order.dispatch and for the resend of order.check.
 *
 *   the reference is committed as 'sending' --> call --> ACCEPTED, DONE      sent, completed
 *                                                        REFUSED             the fallback, or failed
 *                                                        NOT_SENT, TROUBLE   unsent: later, under the same reference;
 *                                                                            not let in: the fallback, if there is one
 *                                                        all else            unconfirmed: it is asked about
 *
 * From the reference to the stored answer the job is held (task.h): whoever loses the lease in between still hears the answer and stores
 * it as a fact. A call that was cut is doubt, and doubt may end before a person. */
#pragma once
#include "worker/tasks/step.h"

struct placing {
    struct job *job;
    struct provider *provider;
    struct provider_entry *entry; /* entered */
    const struct order *order;
    const char *product, *kupur; /* of the package there */
    struct placement placement;  /* 'sending', committed by this very attempt */
};
/* *ret_later_ms: when to try the same again (wall); 0: nothing to wait for. Failures are the store's or CANCELLED; the placement then stays
 * 'sending', which the next attempt reads as doubt. Parks. */
rc placing_call(struct cx *cx, const struct placing *p, int64_t *ret_later_ms) MW_PARKS;

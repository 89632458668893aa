/* order_sweep.h - orders that nobody is looking after: open, old enough, and without a live job. */
#pragma once
#include "domain/orders/orders.h"
#include "queue/queue.h"

#define ORDER_SWEEP_PAGE 500 /* orders looked at in one statement */

struct order_unchecked {
    const char *id, *tenant_id,
        *task; /* task: the job that is missing, ORDER_DISPATCH_TASK or ORDER_CHECK_TASK */
};
/* Of the next page of open orders (pending, sending, sent, unconfirmed; id > after, "": from the
 * start) those created before before_ms with no live dispatch or check. `after` moves to the last
 * one looked at, and becomes "" when there are no more. There is no upper age: what is past
 * order_timeout is ended by its check. Parks. */
rc orders_unchecked(struct cx *cx, struct pg *db, int64_t before_ms, char after[ID_LEN + 1],
                    struct order_unchecked **ret, size_t *ret_n) MW_PARKS;
/* All batches: enqueues the missing jobs (unique keys keep two sweeps from doubling). *ret_count:
 * jobs made. Parks. */
rc orders_sweep(struct cx *cx, struct pg *db, struct engine *e, int64_t min_age_ms,
                int64_t *ret_count) MW_PARKS;

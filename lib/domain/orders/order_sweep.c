/* order_sweep.c - the net under the flow: whatever lost its job (dead letters, a bug, a person)
 * gets one again. */
#include "domain/orders/order_sweep.h"
#include "base/clock.h"
#include "domain/orders/order_create.h"
#include "domain/orders/order_sweep.sql.h"
#include "domain/row.h"

rc orders_unchecked(struct cx *cx, struct pg *db, int64_t before_ms, const char *after,
                    struct order_unchecked **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_ORDERS_UNCHECKED, &res, pg_t(before_ms), pg_s(after),
              pg_i(ORDER_SWEEP_BATCH)));
    struct order_unchecked *list = rows_alloc(cx, res, struct order_unchecked);
    for (int i = 0; i < pg_rows(res); i++) {
        struct row r = ROW(cx, res, i);
        list[i].id = row_text(&r);
        list[i].tenant_id = row_text(&r);
        list[i].task = row_text(&r);
    }
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

static rc enqueue_batch(struct cx *cx, struct engine *e, const struct order_unchecked *o, size_t n,
                        int64_t *count)
{
    struct job_new *jobs = arena_alloc(&cx->arena, n * sizeof(*jobs));

    for (size_t i = 0; i < n; i++) {
        jobs[i] = (struct job_new){
            .queue = ORDER_QUEUE,
            .task = o[i].task,
            .args = arena_printf(&cx->arena, "{\"order_id\":\"%s\"}", o[i].id),
            .durable = true,
            .priority = JOB_PRIORITY,
            .unique_key = arena_printf(&cx->arena, "%s:%s", o[i].task, o[i].id),
            .subject = o[i].id,
            .tenant_id = o[i].tenant_id,
        };
    }
    try(engine_enqueue(cx, e, jobs, n));
    for (size_t i = 0; i < n; i++)
        *count += !jobs[i].existed;
    return OK;
}

rc orders_sweep(struct cx *cx, struct pg *db, struct engine *e, int64_t min_age_ms,
                int64_t *ret_count)
{
    struct order_unchecked *batch;
    size_t n;
    const char *after = NULL;
    int64_t before_ms = clock_ms() - min_age_ms;

    *ret_count = 0;
    do {
        try(orders_unchecked(cx, db, before_ms, after, &batch, &n));
        if (n == 0)
            break;
        try(enqueue_batch(cx, e, batch, n, ret_count));
        after = batch[n - 1].id;
    } while (n == ORDER_SWEEP_BATCH);
    return OK;
}

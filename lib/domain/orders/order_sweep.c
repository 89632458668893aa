/* order_sweep.c - the net under the flow: whatever lost its job (dead letters, a bug, a person)
 * gets one again. */
#include "domain/orders/order_sweep.h"
#include "base/clock.h"
#include "domain/orders/order_create.h"
#include "domain/orders/order_sweep.sql.h"
#include "domain/row.h"
#include <stdio.h>

rc orders_unchecked(struct cx *cx, struct pg *db, int64_t before_ms, char after[ID_LEN + 1],
                    struct order_unchecked **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    size_t n = 0;

    try(pg_do(cx, db, SQL_ORDERS_UNCHECKED, &res, pg_t(before_ms), pg_s(*after ? after : NULL),
              pg_i(ORDER_SWEEP_PAGE)));
    int rows = pg_rows(res);
    struct order_unchecked *list = NULL;
    for (int i = 0; i < rows; i++) {
        struct row r = ROW(cx, res, i);
        if (!pg_text(res, i, 2)) /* the most of them, as a rule */
            continue;
        if (!list)
            list = rows_alloc(cx, res, struct order_unchecked);
        list[n].id = row_text(&r);
        list[n].tenant_id = row_text(&r);
        list[n++].task = row_text(&r);
    }
    snprintf(after, ID_LEN + 1, "%s", rows == ORDER_SWEEP_PAGE ? pg_text(res, rows - 1, 0) : "");
    *ret = list;
    *ret_n = n;
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

/* A page's memory ends with it: there may be a million orders. */
static rc sweep_page(struct cx *cx, struct pg *db, struct engine *e, int64_t before_ms, char *after,
                     int64_t *count)
{
    struct arena kept = cx->arena;
    struct order_unchecked *list;
    size_t n;

    cx->arena = (struct arena){0};
    rc r = orders_unchecked(cx, db, before_ms, after, &list, &n);
    if (r == OK && n > 0)
        r = enqueue_batch(cx, e, list, n, count);
    arena_release(&cx->arena);
    cx->arena = kept;
    return r;
}

rc orders_sweep(struct cx *cx, struct pg *db, struct engine *e, int64_t min_age_ms,
                int64_t *ret_count)
{
    char after[ID_LEN + 1] = "";
    int64_t before_ms = clock_ms() - min_age_ms;

    *ret_count = 0;
    do
        try(sweep_page(cx, db, e, before_ms, after, ret_count));
    while (*after);
    return OK;
}

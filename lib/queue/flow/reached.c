/* reached.c - see reached.h. The trigger of the end leaves a note of the steps that it reached in a
 * setting of the transaction; the statement behind it reads the jobs that begin with them. */
#include "queue/flow/reached.h"
#include "base/log.h"
#include "queue/flow/flow.sql.h"
#include "queue/rows.h"

#define PUSH_MS 2000 /* whoever ended a member waits for it */

rc flow_reached_tx(struct cx *cx, struct pg_tx *tx, struct pg_result **ret)
{
    return pg_tx_query(cx, tx, &SQL_FLOW_REACHED, ret, PG_NO_ARGS);
}

void flow_push_reached(struct cx *cx, struct engine *e, const struct pg_result *res)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, PUSH_MS);
    int64_t pushed;

    if (!res || pg_rows(res) == 0)
        return;
    rc r = engine_push_result(cx, e, res, /* rebuild= */ false, &pushed);
    if (r != OK) /* committed: the sweep pushes what Redis did not take */
        log_fail(LOG_WARN, "push.postponed", cx, r, kv_int("jobs", pg_rows(res)));
}

rc flow_end(struct cx *cx, struct engine *e, const struct sql *q, const struct pg_arg *args,
            struct pg_result **ret)
{
    struct pg_step steps[] = {{.q = q, .args = args}, {.q = &SQL_FLOW_REACHED, .args = PG_NO_ARGS}};

    try(pg_batch(cx, engine_db(e), steps, COUNT(steps)));
    flow_push_reached(cx, e, steps[1].result);
    pg_result_freep(&steps[1].result);
    if (ret)
        *ret = steps[0].result;
    else
        pg_result_freep(&steps[0].result);
    return OK;
}

rc flow_end_many(struct cx *cx, struct engine *e, const struct sql *q, const struct pg_arg *args,
                 struct pg_result **ret, struct pg_result **ret_reached)
{
    struct pg_step steps[] = {{.q = &SQL_FLOW_GATHERED, .args = PG_NO_ARGS},
                              {.q = q, .args = args},
                              {.q = &SQL_FLOW_MEMBERS_ENDED, .args = args},
                              {.q = &SQL_FLOW_REACHED, .args = PG_NO_ARGS}};

    try(pg_batch(cx, engine_db(e), steps, COUNT(steps)));
    pg_result_freep(&steps[0].result);
    pg_result_freep(&steps[2].result);
    *ret = steps[1].result;
    *ret_reached = steps[3].result;
    return OK;
}

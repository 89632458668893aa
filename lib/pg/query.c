/* query.c - statements that stand alone: one, or several that are kept or refused together.
 *
 * Both are one request on a lane, hence one implicit transaction that ends at its Sync: no BEGIN
 * and COMMIT need to be sent, and a failure never leaves a transaction open under the neighbours'
 * requests.
 *
 *   what came back                          a read          a write
 *   never written                           again           again
 *   serialization failure, deadlock         again           again        (the server kept nothing)
 *   the server said FATAL to a statement    again           again        (it kept nothing)
 *   connection lost                         again           STORE_DOUBT
 *   the caller gave up                      its own code    STORE_DOUBT */
#include "base/inject.h"
#include "base/text.h"
#include "pg/db.h"
#include <assert.h>

rc pg_check_args(struct cx *cx, const struct pg_step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (int k = 0; k < steps[i].q->nparams; k++) {
            if (steps[i].args[k].too_big)
                return fail(cx, BUFFER_FULL, "%s: parameter %d is larger than its ceiling",
                            steps[i].q->name, k + 1);
            if (steps[i].args[k].unfit)
                return fail(cx, PG, "%s: parameter %d has an element that is not of its type",
                            steps[i].q->name, k + 1);
        }
    }
    return OK;
}

static bool all_read(const struct pg_step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!steps[i].q->reads)
            return false;
    }
    return true;
}

/* A pooler's own FATAL (class 08: the server is gone) does not tell what became of the statement. */
static bool said_by_server(const PGresult *error)
{
    const char *state = PQresultErrorField(error, PG_DIAG_SQLSTATE);

    return state && !starts_with(state, "08");
}

/* One try. *ret_again: nothing was kept, so the same may be sent once more. */
static rc run_once(struct cx *cx, struct pg_conn *c, struct pg_step *steps, size_t n, bool reads,
                   bool drop, const struct pg_soon *soon, bool *ret_again)
{
    struct request *rq = request_begin(cx->fiber, n);
    enum verdict verdict;
    rc r;

    if (soon)
        rq->soon = *soon;
    for (size_t i = 0; i < n; i++)
        request_put(c, rq, steps[i].q, steps[i].args);
    rq = request_end(c, rq);
    *ret_again = true;
    if (!rq)
        return fail(cx, STORE_DOWN, "%s: the connection to PostgreSQL was lost before it was sent",
                    steps[0].q->name);
    if (drop)
        conn_close(c, "injected");
    r = request_wait(cx, rq);
    if (r != OK) {
        *ret_again = false;
        return reads ? r
                     : fail(cx, STORE_DOUBT, "%s: given up while PostgreSQL was at it (%s)",
                            steps[0].q->name, error_info(r)->code);
    }
    if (rq->state == RQ_LOST) {
        *ret_again = reads || (rq->error && rq->error_q && said_by_server(rq->error));
        r = *ret_again ? fail(cx, STORE_DOWN, "%s: the connection to PostgreSQL was lost",
                              steps[0].q->name)
                       : fail(cx, STORE_DOUBT,
                              "%s: the connection to PostgreSQL was lost before it answered",
                              steps[0].q->name);
    } else if (rq->error) {
        r = pg_failure(cx, rq->error, rq->error_q, &verdict);
        *ret_again = verdict != VERDICT_FINAL;
        if (verdict == VERDICT_STALE)
            conn_retire(c);
    } else {
        for (size_t i = 0; i < n; i++)
            steps[i].result = (struct pg_result *)request_take(rq, i);
    }
    request_free(rq);
    return r;
}

static rc run(struct cx *cx, struct pg *db, struct pg_step *steps, size_t n, bool batch,
              const struct pg_soon *soon)
{
    bool reads = all_read(steps, n), again;
    struct pg_conn *c;
    rc r;

    try(pg_check_args(cx, steps, n));
    for (int tries = 1;; tries++) {
        try(lane_take(cx, db, reads ? LANE_READS : LANE_WRITES, soon, &c));
        r = run_once(cx, c, steps, n, reads, batch && inject(PG_DROP_COMMIT), soon, &again);
        if (r == OK || !again || tries == TRIES)
            return r;
        try(retry_pause(cx, tries));
    }
}

rc pg_query_soon(struct cx *cx, struct pg *db, const struct sql *q, struct pg_result **ret,
                 const struct pg_arg *args, const struct pg_soon *soon)
{
    struct pg_step step = {.q = q, .args = args};

    try(run(cx, db, &step, 1, /* batch= */ false, soon));
    if (ret)
        *ret = step.result;
    else
        pg_result_freep(&step.result);
    return OK;
}

rc pg_query(struct cx *cx, struct pg *db, const struct sql *q, struct pg_result **ret,
            const struct pg_arg *args)
{
    return pg_query_soon(cx, db, q, ret, args, NULL);
}

rc pg_batch(struct cx *cx, struct pg *db, struct pg_step *steps, size_t n)
{
    assert(n > 0);
    for (size_t i = 0; i < n; i++)
        steps[i].result = NULL;
    return run(cx, db, steps, n, /* batch= */ true, NULL);
}

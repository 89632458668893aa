/* tx.c - transactions on a connection of their own.
 *
 *   pool_take --> BEGIN + first statement (one write) --> ... --> COMMIT --> pool_give
 *                      |                                            |
 *       statement or fn failed: ROLLBACK           lost or given up: STORE_DOUBT, never again
 *       lost: nothing was kept, fn runs again      40001, 40P01: nothing was kept, fn runs again
 *       given up: cancel and close
 *
 * Nobody waits for a ROLLBACK: the next user's BEGIN is simply written behind it. */
#include "base/inject.h"
#include "base/text.h"
#include "pg/db.h"
#include <assert.h>

struct pg_tx {
    struct pg *db;
    struct pg_conn *c;
    bool begun;  /* BEGIN was written */
    bool ended;  /* COMMIT was answered, or the connection is gone: nothing to roll back */
    bool failed; /* a statement failed; the server takes only ROLLBACK */
    bool again;  /* nothing was kept and fn may run once more */
};

static rc lost(struct cx *cx, struct pg_tx *tx, const char *what)
{
    tx->ended = true;
    tx->again = true;
    return fail(cx, STORE_DOWN, "%s: the connection to PostgreSQL was lost, nothing was kept",
                what);
}

static rc check_steps(struct cx *cx, const struct pg_tx *tx, const struct pg_step *steps, size_t n)
{
    if (tx->ended)
        return fail(cx, STORE_DOWN, "%s: the transaction is over", steps[0].q->name);
    if (tx->failed)
        return fail(cx, PG, "%s: an earlier statement of the transaction failed", steps[0].q->name);
    if (cx->cancelled)
        return fail(cx, CANCELLED, "%s: cancelled before it was sent", steps[0].q->name);
    if (cx_left_ms(cx) == 0)
        return fail(cx, DEADLINE, "%s: the time was over before it was sent", steps[0].q->name);
    return pg_check_args(cx, steps, n);
}

rc pg_tx_steps(struct cx *cx, struct pg_tx *tx, struct pg_step *steps, size_t n)
{
    struct request *rq;
    enum verdict verdict;
    size_t first = tx->begun ? 0 : 1;
    rc r;

    assert(n > 0);
    for (size_t i = 0; i < n; i++)
        steps[i].result = NULL;
    try(check_steps(cx, tx, steps, n));
    if (tx->c->state != CONN_READY)
        return lost(cx, tx, steps[0].q->name);

    rq = request_begin(cx->fiber, n + first);
    if (first)
        request_put(tx->c, rq, &SQL_MW_BEGIN, NULL);
    for (size_t i = 0; i < n; i++)
        request_put(tx->c, rq, steps[i].q, steps[i].args);
    rq = request_end(tx->c, rq);
    tx->begun = true;
    if (!rq)
        return lost(cx, tx, steps[0].q->name);
    r = request_wait(cx, rq);
    if (r != OK) {
        conn_abort(tx->c);
        tx->ended = true;
        return r;
    }
    if (rq->state == RQ_LOST) {
        r = lost(cx, tx, steps[0].q->name);
    } else if (rq->error) {
        r = pg_failure(cx, rq->error, rq->error_q, &verdict);
        tx->failed = true;
        tx->again = verdict != VERDICT_FINAL;
        if (verdict == VERDICT_STALE) {
            conn_close(tx->c, NULL);
            tx->ended = true;
        }
    } else {
        for (size_t i = 0; i < n; i++)
            steps[i].result = (struct pg_result *)request_take(rq, first + i);
    }
    request_free(rq);
    return r;
}

rc pg_tx_query(struct cx *cx, struct pg_tx *tx, const struct sql *q, struct pg_result **ret,
               const struct pg_arg *args)
{
    struct pg_step step = {.q = q, .args = args};

    try(pg_tx_steps(cx, tx, &step, 1));
    if (ret)
        *ret = step.result;
    else
        pg_result_freep(&step.result);
    return OK;
}

static rc commit_answer(struct cx *cx, struct pg_tx *tx, struct request *rq)
{
    enum verdict verdict;

    if (rq->error) {
        rc r = pg_failure(cx, rq->error, rq->error_q, &verdict);

        tx->again = verdict == VERDICT_AGAIN;
        return r;
    }
    _cleanup_(pg_result_freep) struct pg_result *res = (struct pg_result *)request_take(rq, 0);
    if (!str_eq(PQcmdStatus((PGresult *)res), "COMMIT"))
        return fail(cx, PG, "the transaction had failed and was rolled back instead of committed");
    return OK;
}

static rc commit(struct cx *cx, struct pg_tx *tx)
{
    struct request *rq;
    rc r;

    if (!tx->begun)
        return OK;
    if (tx->failed)
        return fail(cx, PG, "a statement of the transaction failed: it cannot be committed");
    conn_look(tx->c); /* the last chance to find a loss while it is still no doubt */
    if (tx->ended || tx->c->state != CONN_READY)
        return lost(cx, tx, "COMMIT");
    if (cx->cancelled)
        return fail(cx, CANCELLED, "cancelled before COMMIT was sent");
    if (cx_left_ms(cx) == 0)
        return fail(cx, DEADLINE, "the time was over before COMMIT was sent");

    rq = request_begin(cx->fiber, 1);
    request_put(tx->c, rq, &SQL_MW_COMMIT, NULL);
    rq = request_end(tx->c, rq);
    if (!rq)
        return lost(cx, tx, "COMMIT");
    tx->ended = true;
    if (inject(PG_DROP_COMMIT))
        conn_close(tx->c, "injected");
    r = request_wait(cx, rq);
    if (r != OK) /* the answer will be dropped, the connection stays good */
        return fail(cx, STORE_DOUBT, "given up while PostgreSQL was committing (%s)",
                    error_info(r)->code);
    r = rq->state == RQ_LOST
            ? fail(cx, STORE_DOUBT, "the connection to PostgreSQL was lost after COMMIT was sent")
            : commit_answer(cx, tx, rq);
    request_free(rq);
    return r;
}

static void leave(struct pg_tx *tx)
{
    if (tx->begun && !tx->ended && tx->c->state == CONN_READY) {
        struct request *rq = request_begin(NULL, 1);

        request_put(tx->c, rq, &SQL_MW_ROLLBACK, NULL);
        request_end(tx->c, rq);
    }
    pool_give(tx->db, tx->c);
}

rc pg_tx_run(struct cx *cx, struct pg *db, rc (*fn)(struct cx *cx, struct pg_tx *tx, void *arg),
             void *arg)
{
    for (int tries = 1;; tries++) {
        struct pg_tx tx = {.db = db};
        rc r;

        try(pool_take(cx, db, &tx.c));
        r = fn(cx, &tx, arg);
        if (r == OK)
            r = commit(cx, &tx);
        leave(&tx);
        if (r == OK || !tx.again || tries == TRIES)
            return r;
        try(retry_pause(cx, tries));
    }
}

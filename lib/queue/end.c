/* end.c - the end of an attempt in PostgreSQL: one statement inside the transaction of the domain
 * change.
 *
 * The row of jobs moves only while it is live, of this generation, and has not heard of this
 * claim or a later one: of two workers that hold the same job, one commits and the other rolls
 * back with STALE_ATTEMPT. */
#include "queue/end.h"
#include "base/clock.h"
#include "queue/flow/reached.h"
#include "queue/internal.h"
#include "queue/options.h"
#include "queue/queue.sql.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *job_outcome_word(enum job_outcome o)
{
    static const char *const words[] = {
        [JOB_COMPLETED] = "completed", [JOB_RETRY] = "retry",         [JOB_SNOOZED] = "snoozed",
        [JOB_DEAD] = "dead",           [JOB_CANCELLED] = "cancelled",
    };
    assert((size_t)o < COUNT(words));
    return words[o];
}

const char *end_state_after(const struct job_end *end, int64_t now_ms)
{
    switch (end->outcome) {
    case JOB_RETRY:
    case JOB_SNOOZED:
        return end->run_at_ms > now_ms ? "scheduled" : "ready";
    case JOB_DEAD:
        return "dead";
    case JOB_CANCELLED:
        return "cancelled";
    case JOB_COMPLETED:
        break;
    }
    return "completed";
}

/* The one statement, with its arguments kept for as long as it is under way. */
struct end_call {
    struct pg_arg args[12];
    char *error; /* what a provider said may be anything */
};

static void end_call_release(struct end_call *c)
{
    free(c->error);
}

static void end_args(struct end_call *c, const struct job *j, const struct job_end *end)
{
    bool later = end->outcome == JOB_RETRY || end->outcome == JOB_SNOOZED;

    c->error = end->error ? text_cleaned(end->error, strlen(end->error)) : NULL;
    struct pg_arg args[] = {
        pg_s(j->lease.id),
        pg_i(j->lease.generation),
        pg_i(j->lease.claim),
        pg_i(j->lease.snoozes + (end->outcome == JOB_SNOOZED)),
        pg_s(job_outcome_word(end->outcome)),
        pg_s(end_state_after(end, clock_ms())),
        pg_t(later ? MAX(end->run_at_ms, 1) : 0),
        pg_s(end->error_code),
        pg_s(c->error),
        pg_s(end->outcome == JOB_COMPLETED ? end->result : NULL),
        pg_s(end->worker ? end->worker : ""),
        pg_t(end->started_ms ? end->started_ms : clock_ms()),
    };
    _Static_assert(sizeof args == sizeof c->args, "one argument for each parameter");
    memcpy(c->args, args, sizeof args);
}

static rc look(struct cx *cx, const struct job *j, const struct pg_result *res)
{
    if (pg_rows(res) == 1 && pg_int(res, 0, 0) == 1)
        return OK;
    return fail(cx, STALE_ATTEMPT, "job %s has ended or belongs to another attempt than %d.%d",
                j->lease.id, j->lease.generation, j->lease.claim);
}

static rc bury_broker(struct cx *cx, struct pg *db, struct pg_tx *tx, const struct job *j,
                      const struct job_end *end)
{
    _cleanup_(freep) char *error = end->error ? text_cleaned(end->error, strlen(end->error)) : NULL;
    _cleanup_(freep) char *text = text_cleaned(j->args, j->args_len);
    struct pg_arg args[] = {
        pg_s(j->lease.id),
        pg_i(j->lease.generation),
        pg_s(j->queue),
        pg_s(j->task),
        pg_s(text),
        pg_i(j->priority),
        pg_i(j->max_attempts),
        pg_i(j->timeout_ms),
        pg_s(j->subject),
        pg_s(j->tenant_id),
        pg_s(j->trace),
        pg_i(j->attempt),
        pg_s(end->error_code),
        pg_s(error),
        pg_s(end->worker),
        pg_s(job_options_text(cx, j->options)),
    };

    assert((int)COUNT(args) == SQL_DEAD_BROKER_INSERT.nparams);
    return tx ? pg_tx_query(cx, tx, &SQL_DEAD_BROKER_INSERT, NULL, args)
              : pg_query(cx, db, &SQL_DEAD_BROKER_INSERT, NULL, args);
}

rc engine_end_tx(struct cx *cx, struct pg_tx *tx, const struct job *j, const struct job_end *end)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    _cleanup_(end_call_release) struct end_call c = {0};

    if (!j->durable)
        return end->outcome == JOB_DEAD ? bury_broker(cx, NULL, tx, j, end) : OK;
    end_args(&c, j, end);
    try(pg_tx_query(cx, tx, &SQL_JOB_END, &res, c.args));
    return look(cx, j, res);
}

rc engine_end(struct cx *cx, struct engine *e, const struct job *j, const struct job_end *end)
{
    return ends_may_gather(j, end) ? ends_gather(cx, e, j, end) : end_alone(cx, e, j, end);
}

rc end_alone(struct cx *cx, struct engine *e, const struct job *j, const struct job_end *end)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct pg *db = engine_db(e);
    _cleanup_(end_call_release) struct end_call c = {0};

    if (!j->durable)
        return end->outcome == JOB_DEAD && db ? bury_broker(cx, db, NULL, j, end) : OK;
    end_args(&c, j, end);
    if (in_workflow(j))
        try(flow_end(cx, e, &SQL_JOB_END, c.args, &res));
    else
        try(pg_query(cx, db, &SQL_JOB_END, &res, c.args));
    return look(cx, j, res);
}

rc engine_ended_by(struct cx *cx, struct engine *e, const struct job *j, bool *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, engine_db(e), SQL_JOB_ENDED_BY, &res, pg_s(j->lease.id),
              pg_i(j->lease.generation), pg_i(j->lease.claim)));
    *ret = pg_rows(res) == 1;
    return OK;
}

rc engine_fence_tx(struct cx *cx, struct pg_tx *tx, const struct job *j)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    if (!j->durable)
        return OK;
    try(pg_tx_do(cx, tx, SQL_JOB_FENCE, &res, pg_s(j->lease.id), pg_i(j->lease.generation),
                 pg_i(j->lease.claim)));
    if (pg_rows(res) == 0)
        return fail(cx, STALE_ATTEMPT, "job %s belongs to another attempt than %d.%d", j->lease.id,
                    j->lease.generation, j->lease.claim);
    return OK;
}

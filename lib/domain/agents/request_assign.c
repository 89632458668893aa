/* request_assign.c - an agent for a request (request_move.h).
 *
 *   lock the request ── lock the agent it has, or wants ── choose, move, count ── read how things are      one round trip
 *                                                               `-- everybody who fits is held by others just now: again, shortly */
#include "base/text.h"
#include "domain/agents/agents.sql.h"
#include "domain/agents/request_move.h"
#include "domain/agents/request_move.sql.h"
#include "domain/agents/request_row.h"
#include "rt/fiber.h"

#define LOOKED_AT 256 /* of an ordered list; an agent that one of 256 fits is found there */
#define TRIES     6

enum { LOCK, AGENT_LOCK, ASSIGN, STANDING, STEPS };

static enum assign_outcome outcome_of(const struct assigned *a, const struct pg_result *res)
{
    if (request_status_final(a->status))
        return ASSIGN_ENDED;
    if (pg_text(res, 0, 0))
        return pg_bool(res, 0, 0) ? ASSIGN_MOVED : ASSIGN_FOUND;
    return a->status == REQUEST_PENDING ? ASSIGN_WAITING : ASSIGN_STANDS;
}

static rc standing_read(struct cx *cx, const struct pg_step *steps, struct assigned *ret)
{
    struct row r = ROW(cx, steps[STANDING].result, 0);
    const char *status = row_text(&r);

    *ret = (struct assigned){0};
    if (!request_status_parse(status, &ret->status))
        return fail(cx, SCHEMA, "a request has the unknown status '%s'", status);
    ret->agent_id = row_text(&r);
    ret->hub_id = row_text(&r);
    ret->sends = (int)row_int(&r);
    ret->deadline_ms = row_ms(&r);
    ret->left_ms = row_int(&r);
    ret->rest_ms = row_int(&r);
    ret->delivered = row_bool(&r);
    ret->outcome = outcome_of(ret, steps[ASSIGN].result);
    return OK;
}

/* *ret_busy: there are some who fit, and others were choosing all of them at this moment. */
static rc assign(struct cx *cx, struct pg *db, const char *id, struct assigned *ret, bool *ret_busy)
{
    struct pg_step steps[STEPS] = {
        [LOCK] = {.q = &SQL_REQUEST_LOCK, .args = PG_ARGS(pg_s(id))},
        [AGENT_LOCK] = {.q = &SQL_REQUEST_AGENT_LOCK, .args = PG_ARGS(pg_s(id))},
        [ASSIGN] = {.q = &SQL_REQUEST_ASSIGN, .args = PG_ARGS(pg_s(id), pg_i(LOOKED_AT))},
        [STANDING] = {.q = &SQL_REQUEST_STANDING, .args = PG_ARGS(pg_s(id))},
    };
    try(pg_batch(cx, db, steps, STEPS));
    rc r = pg_rows(steps[STANDING].result) > 0 ? standing_read(cx, steps, ret)
                                               : fail(cx, NOT_FOUND, "there is no such request");
    if (r == OK)
        *ret_busy = ret->outcome == ASSIGN_WAITING && pg_int(steps[ASSIGN].result, 0, 1) > 0;
    steps_release(steps, STEPS);
    return r;
}

rc request_assign(struct cx *cx, struct pg *db, const char *request_id, struct assigned *ret)
{
    char id[ID_LEN + 1];
    bool busy = true;

    if (!id_parse(request_id, id))
        return fail(cx, NOT_FOUND, "there is no such request");
    for (int i = 0; i < TRIES && busy; i++) {
        if (i > 0 && cx->fiber)
            try(fiber_sleep(cx, 1 + (int64_t)random_below(UINT64_C(4) << i)));
        try(assign(cx, db, id, ret, &busy));
    }
    return OK;
}

rc request_assign_waiting(struct cx *cx, struct pg *db, const char *agent_id, int limit,
                          const char *const **ret_ids, size_t *ret_n)
{
    struct pg_step steps[] = {
        {.q = &SQL_AGENT_LOCK, .args = PG_ARGS(pg_s(agent_id), pg_s(NULL))},
        {.q = &SQL_REQUEST_ASSIGN_WAITING, .args = PG_ARGS(pg_s(agent_id), pg_i(limit))},
    };
    try(pg_batch(cx, db, steps, COUNT(steps)));
    rc r = ids_read(cx, steps[1].result, ret_ids, ret_n);
    steps_release(steps, COUNT(steps));
    return r;
}

rc requests_open_of(struct cx *cx, struct pg *db, const char *agent_id, int limit,
                    const char *const **ret_ids, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_REQUESTS_OPEN_OF, &res, pg_s(agent_id), pg_i(limit)));
    return ids_read(cx, res, ret_ids, ret_n);
}

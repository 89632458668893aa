/* request_take.c - on its way: stored as sent before a frame is written, and acknowledged. */
#include "domain/agents/request_move.h"
#include "domain/agents/request_move.sql.h"
#include "domain/agents/request_row.h"
#include "pg/pg_array.h"
#include <stdio.h>

static void result_free(void *p)
{
    struct pg_result *res = p;

    pg_result_freep(&res);
}

rc requests_take(struct cx *cx, struct pg *db, const char *hub_id, const char *const *request_ids,
                 size_t n, struct command *ret, size_t *ret_n)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(MiB(8));

    *ret_n = 0;
    if (n == 0)
        return OK;
    for (size_t i = 0; i < n; i++)
        pg_array_s(&ids, request_ids[i]);
    struct pg_step steps[] = {
        {.q = &SQL_REQUESTS_TAKE_LOCK, .args = PG_ARGS(pg_a(&ids))},
        {.q = &SQL_REQUESTS_TAKE, .args = PG_ARGS(pg_a(&ids), pg_s(hub_id))},
    };
    try(pg_batch(cx, db, steps, COUNT(steps)));
    const struct pg_result *res = steps[1].result;
    size_t taken = (size_t)pg_rows(res); /* at most n: a request is taken once */
    for (size_t i = 0; i < taken; i++) {
        struct row r = ROW(cx, res, (int)i);
        struct command *c = &ret[i];
        snprintf(c->request_id, sizeof(c->request_id), "%s", row_text(&r));
        snprintf(c->job_id, sizeof(c->job_id), "%s", row_text(&r));
        snprintf(c->session_id, sizeof(c->session_id), "%s", row_text(&r));
        c->agent_id = row_text(&r);
        c->command = row_text(&r);
        c->payload = pg_text(res, (int)i,
                             r.col++); /* as it lies there: five hundred large ones fill an arena */
        c->left_ms = row_int(&r);
        c->sends = (int)row_int(&r);
    }
    *ret_n = taken;
    arena_defer(&cx->arena, result_free, TAKE_PTR(steps[1].result));
    steps_release(steps, COUNT(steps));
    return OK;
}

rc requests_delivered(struct cx *cx, struct pg *db, const char *const *job_ids,
                      const char *const *agent_ids, size_t n)
{
    _cleanup_(pg_array_release) struct pg_array jobs = PG_ARRAY(MiB(8)), agents = PG_ARRAY(MiB(8));

    if (n == 0)
        return OK;
    for (size_t i = 0; i < n; i++) {
        pg_array_s(&jobs, job_ids[i]);
        pg_array_s(&agents, agent_ids[i]);
    }
    return pg_do(cx, db, SQL_REQUESTS_DELIVERED, NULL, pg_a(&jobs), pg_a(&agents));
}

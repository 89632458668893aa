/* outbox.c - see outbox.h.
 *
 * The rows of jobs are held while they are pushed: a job whose push was not struck out (a crash) may have run
 * meanwhile, and what has ended must not be pushed again. */
#include "queue/outbox.h"
#include "base/log.h"
#include "pg/pg_array.h"
#include "queue/internal.h"
#include "queue/outbox.sql.h"
#include "queue/rows.h"
#include <string.h>

#define CLOSED_MAX 3 /* rebuilds in one go */

rc outbox_note(struct cx *cx, struct engine *e, const struct job_new *jobs, size_t n)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(MiB(4));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    for (size_t i = 0; i < n; i++)
        if (jobs[i].durable && !jobs[i].existed && jobs[i].id[0])
            pg_array_s(&ids, jobs[i].id);
    return ids.n && e->db ? pg_do(cx, e->db, SQL_OUTBOX_NOTE, &res, pg_a(&ids)) : OK;
}

struct page {
    struct engine *e;
    int rows;
    int64_t pushed;
    bool closed; /* a queue had no epoch */
};

static rc push_page(struct cx *cx, struct pg_tx *tx, void *arg)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(MiB(1));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct page *p = arg;

    p->pushed = 0;
    p->closed = false;
    int64_t refusals = p->e->refusals;
    try(pg_tx_query(cx, tx, &SQL_OUTBOX_PUSH, &res, PG_NO_ARGS));
    p->rows = pg_rows(res);
    if (p->rows == 0)
        return OK;
    try(engine_push_result(cx, p->e, res, /* rebuild= */ false, &p->pushed));
    p->closed = p->e->refusals != refusals;
    if (p->closed)
        return OK; /* they stay in the outbox: the rebuild pushes them, the next look strikes them out */
    for (int r = 0; r < p->rows; r++)
        pg_array_s(&ids, pg_text(res, r, 0));
    return pg_tx_do(cx, tx, SQL_OUTBOX_DONE, NULL, pg_a(&ids));
}

static rc cancel_all(struct cx *cx, struct engine *e)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(MiB(1));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_query(cx, e->db, &SQL_OUTBOX_CANCELS, &res, PG_NO_ARGS));
    for (int r = 0; r < pg_rows(res); r++) {
        bool running;
        rc code = engine_cancel(cx, e, pg_text(res, r, 0), &running);
        if (code != OK && code != E_CONFLICT && code != E_NOT_FOUND) /* both: it has ended */
            return code;
        pg_array_s(&ids, pg_text(res, r, 0));
    }
    return ids.n ? pg_do(cx, e->db, SQL_OUTBOX_DONE, NULL, pg_a(&ids)) : OK;
}

rc outbox_empty(struct cx *cx, struct engine *e, int64_t *ret_pushed)
{
    int closed = 0;

    *ret_pushed = 0;
    for (;;) {
        struct page p = {.e = e};
        try(pg_tx_run(cx, e->db, push_page, &p));
        *ret_pushed += p.pushed;
        if (p.rows == 0)
            break;
        if (p.closed && ++closed > CLOSED_MAX)
            return fail(cx, REDIS_LOST, "Redis loses its queues faster than they are rebuilt");
        if (p.closed)
            try(engine_recover(cx, e, NULL));
    }
    try(cancel_all(cx, e));
    return pg_query(cx, e->db, &SQL_OUTBOX_ENDED, NULL, PG_NO_ARGS);
}

/* flow_move.c - the whole of a workflow is taken back or tried again.
 *
 * Both hold the workflow's lock alone for one transaction, so that no end comes in between. A cancel
 * marks there what has not begun, and takes the live jobs out afterwards, a page at a time: their
 * ends need the lock, too. Who dies in between leaves a cancelled workflow with live jobs, and
 * cancelling it again goes on. */
#include "base/text.h"
#include "pg/pg_array.h"
#include "queue/control.sql.h"
#include "queue/flow/flow.h"
#include "queue/flow/flow.sql.h"
#include "queue/internal.h"
#include "queue/rows.h"
#include "queue/shards.h"
#include <string.h>

struct moving {
    const char *id;        /* as it was asked for */
    const char *tenant_id; /* NULL: of any */
    struct pg_result *jobs;
};

static rc load_state(struct cx *cx, struct pg_tx *tx, const struct moving *m,
                     struct pg_result **ret, const char **ret_state)
{
    struct pg_step steps[] = {
        {.q = &SQL_FLOW_LOCK, .args = PG_ARGS(pg_s(m->id))},
        {.q = &SQL_FLOW_STATE, .args = PG_ARGS(pg_s(m->id), pg_s(m->tenant_id))}};

    try(pg_tx_steps(cx, tx, steps, COUNT(steps)));
    pg_result_freep(&steps[0].result);
    *ret = steps[1].result;
    if (pg_rows(*ret) == 0)
        return fail(cx, NOT_FOUND, "workflow %s does not exist", m->id);
    *ret_state = pg_text(*ret, 0, 0);
    return OK;
}

static rc begin(struct cx *cx, struct engine *e, const char *id, char ret[ID_LEN + 1])
{
    if (!engine_db(e))
        return fail(cx, CONFIG, "workflows need PostgreSQL");
    if (!id_parse(id, ret))
        return fail(cx, NOT_FOUND, "there is no such workflow");
    return OK;
}

/* ---------------------------------------------------------------- cancel */

static rc mark_cancelled(struct cx *cx, struct pg_tx *tx, void *arg)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct moving *m = arg;
    const char *state;

    try(load_state(cx, tx, m, &res, &state));
    if (str_eq(state, "cancelled"))
        return OK;
    if (!str_eq(state, "running"))
        return fail(cx, CONFLICT, "workflow %s has ended: %s", m->id, state);
    return pg_tx_do(cx, tx, SQL_FLOW_CANCEL, NULL, pg_s(m->id));
}

/* What a queue says of the rows of a page that are in it: digits[i] of rows[i]. */
static rc take_out(struct cx *cx, struct engine *e, const struct pg_result *page, int from,
                   bool *done, struct pg_array *gone, struct pg_array *wished)
{
    _cleanup_(freep) const char **ids = xmalloc(((size_t)pg_rows(page) + 1) * sizeof *ids);
    _cleanup_(freep) char *digits = xmalloc((size_t)pg_rows(page) + 1);
    const char *queue = pg_text(page, from, 2);
    size_t n = 0;

    for (int r = from; r < pg_rows(page); r++) {
        if (done[r] || !str_eq(pg_text(page, r, 2), queue))
            continue;
        done[r] = true;
        ids[n++] = pg_text(page, r, 1);
    }
    try(shards_digits(cx, e, queue, &SCRIPT_CANCEL_SOME,
                      KEYS_OF(QK_JOBS, QK_LEASE, QK_CANCEL, QK_UNIQUE, QK_UNIQUE_OF), ids, n,
                      digits));
    for (size_t i = 0; i < n; i++)
        pg_array_s(digits[i] == '2' ? wished : gone, ids[i]);
    return OK;
}

static rc cancel_page(struct cx *cx, struct engine *e, const struct pg_result *page)
{
    _cleanup_(pg_array_release) struct pg_array gone = PG_ARRAY(MiB(1)), wished = PG_ARRAY(MiB(1));
    _cleanup_(freep) bool *done = xcalloc((size_t)pg_rows(page) + 1, sizeof *done);

    for (int r = 0; r < pg_rows(page); r++)
        if (!done[r])
            try(take_out(cx, e, page, r, done, &gone, &wished));
    if (wished.n > 0)
        try(pg_do(cx, engine_db(e), SQL_FLOW_WISH, NULL, pg_a(&wished)));
    if (gone.n > 0)
        try(pg_do(cx, engine_db(e), SQL_JOBS_CANCEL, NULL, pg_a(&gone)));
    return OK;
}

rc flow_cancel(struct cx *cx, struct engine *e, const char *id, const char *tenant_id)
{
    struct moving m = {.tenant_id = tenant_id};
    char good[ID_LEN + 1];
    int64_t after = 0;

    try(begin(cx, e, id, good));
    m.id = good;
    try(pg_tx_run(cx, engine_db(e), mark_cancelled, &m));
    for (;;) {
        _cleanup_(pg_result_freep) struct pg_result *page = NULL;
        try(pg_do(cx, engine_db(e), SQL_FLOW_UNFINISHED, &page, pg_s(good), pg_i(after),
                  pg_i(QUEUE_BATCH)));
        if (pg_rows(page) == 0)
            return OK;
        try(cancel_page(cx, e, page));
        after = pg_int(page, pg_rows(page) - 1, 0);
    }
}

/* ---------------------------------------------------------------- retry */

static rc try_again(struct cx *cx, struct pg_tx *tx, void *arg)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL, *counts = NULL;
    struct moving *m = arg;
    const char *state;

    pg_result_freep(&m->jobs); /* of a run that was rolled back */
    try(load_state(cx, tx, m, &res, &state));
    try(pg_tx_do(cx, tx, SQL_FLOW_RETRIABLE, &counts, pg_s(m->id)));
    int64_t failed = pg_int(counts, 0, 0), running = pg_int(counts, 0, 1);
    bool cancelled = str_eq(state, "cancelled"); /* perhaps after its last job was done */
    if (str_eq(state, "completed") || (failed == 0 && !cancelled))
        return fail(cx, CONFLICT, "workflow %s is %s: there is nothing to try again", m->id, state);
    if (cancelled && running > 0)
        return fail(cx, CONFLICT,
                    "%lld jobs of the cancelled workflow %s are still on their way out",
                    (long long)running, m->id);
    return pg_tx_do(cx, tx, SQL_FLOW_RETRY, &m->jobs, pg_s(m->id));
}

rc flow_retry(struct cx *cx, struct engine *e, const char *id, const char *tenant_id)
{
    struct moving m = {.tenant_id = tenant_id};
    char good[ID_LEN + 1];
    int64_t pushed;

    try(begin(cx, e, id, good));
    m.id = good;
    rc r = pg_tx_run(cx, engine_db(e), try_again, &m);
    if (r == OK)
        r = engine_push_result(cx, e, m.jobs, /* rebuild= */ false, &pushed);
    pg_result_freep(&m.jobs);
    return r;
}

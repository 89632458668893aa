/* request_end.c - requests come to their end, many at a time (request_move.h).
 *
 *   lock requests by id ── lock their agents by id ── judge, end, count, archive, tell          one round trip
 *                                                                 `-- the history's head, until the commit
 *
 * If the database refuses the contents of one (a number that jsonb cannot hold), the transaction was for nothing, and they go one by one. */
#include "base/log.h"
#include "base/text.h"
#include "domain/agents/request_end.sql.h"
#include "domain/agents/request_move.h"
#include "domain/agents/request_row.h"
#include "pg/pg_array.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

#define BATCH_MAX   MiB(256)
#define ENDS_MAX    1000
#define SWEEP_BATCH 200

enum { SOON, LOCK, LOCK_AGENTS, END, STEPS };
enum { JOB, AGENT, TENANT, TO, RESPONSE, MASKED, CODE, ERROR, ACTOR, COLUMNS };

struct batch {
    struct pg_array column[COLUMNS];
    struct pg_arg lock_args[1], args[COLUMNS + 3];
    struct pg_step steps[STEPS];
};

static const char *const verdicts[] = {
    [END_DONE] = "done",       [END_LATE] = "late",         [END_STRANGER] = "stranger",
    [END_UNKNOWN] = "unknown", [END_TOO_LATE] = "too_late", [END_EARLY] = "early",
};

static void batch_free(void *p)
{
    struct batch *b = p;

    for (int i = 0; i < COLUMNS; i++)
        pg_array_release(&b->column[i]);
}

static void add(struct batch *b, const struct request_end *e, const char *masked)
{
    pg_array_s(&b->column[JOB], e->job_id);
    pg_array_s(&b->column[AGENT], e->agent_id);
    pg_array_s(&b->column[TENANT], e->tenant_id);
    pg_array_s(&b->column[TO], request_status_word(e->to));
    pg_array_s(&b->column[RESPONSE], e->response);
    pg_array_s(&b->column[MASKED], masked);
    pg_array_s(&b->column[CODE], e->error_code);
    pg_array_s(&b->column[ERROR], e->error);
    pg_array_s(&b->column[ACTOR], e->actor);
}

/* The steps of n ends; they live in the arena, their results are the caller's. */
static rc batch_new(struct cx *cx, const struct end_rules *rules, struct request_end *const *ends,
                    size_t n, struct batch **ret)
{
    struct batch *b = arena_alloc(&cx->arena, sizeof(*b));

    assert(n <= ENDS_MAX);
    for (int i = 0; i < COLUMNS; i++)
        b->column[i] = PG_ARRAY(BATCH_MAX);
    arena_defer(&cx->arena, batch_free, b);
    for (size_t i = 0; i < n; i++) {
        const char *masked = NULL;
        if (ends[i]->response && !numbers_fit(ends[i]->response))
            return fail(cx, BAD_JSON, "the response holds a number that is too large or too small");
        if (ends[i]->response)
            try(mask_text(cx, rules->mask, ends[i]->response, &masked));
        add(b, ends[i], masked);
    }
    for (int i = 0; i < COLUMNS; i++)
        b->args[i] = pg_a(&b->column[i]);
    b->args[COLUMNS] = pg_i(rules->cooldown_after);
    b->args[COLUMNS + 1] = pg_i(rules->cooldown_ms);
    b->args[COLUMNS + 2] = pg_i(END_COOLDOWN_MAX_MS);
    b->lock_args[0] = b->args[JOB];
    b->steps[SOON] = (struct pg_step){.q = &SQL_REQUESTS_END_SOON};
    b->steps[LOCK] = (struct pg_step){.q = &SQL_REQUESTS_END_LOCK, .args = b->lock_args};
    b->steps[LOCK_AGENTS] =
        (struct pg_step){.q = &SQL_REQUESTS_END_LOCK_AGENTS, .args = b->lock_args};
    b->steps[END] = (struct pg_step){.q = &SQL_REQUESTS_END, .args = b->args};
    *ret = b;
    return OK;
}

static void verdict_read(const struct pg_result *res, int row, struct request_end *e)
{
    const char *id = pg_text(res, row, 1);

    for (size_t v = END_DONE; v < COUNT(verdicts); v++) {
        if (str_eq(pg_text(res, row, 0), verdicts[v]))
            e->verdict = (enum end_verdict)v;
    }
    snprintf(e->request_id, sizeof(e->request_id), "%s", id && e->verdict != END_UNKNOWN ? id : "");
}

static void batch_read(struct batch *b, struct request_end *const *ends, size_t n)
{
    const struct pg_result *res = b->steps[END].result;

    assert((size_t)pg_rows(res) == n);
    for (size_t i = 0; i < n; i++)
        verdict_read(res, (int)i, ends[i]);
    steps_release(b->steps, STEPS);
}

static struct request_end **pointers(struct cx *cx, struct request_end *ends, size_t n)
{
    struct request_end **p = arena_alloc(&cx->arena, (n + 1) * sizeof(struct request_end *));

    for (size_t i = 0; i < n; i++)
        p[i] = &ends[i];
    return p;
}

rc requests_end(struct cx *cx, struct pg_tx *tx, const struct end_rules *rules,
                struct request_end *ends, size_t n)
{
    struct request_end **p = pointers(cx, ends, n);
    struct batch *b = NULL;

    if (n == 0)
        return OK;
    try(batch_new(cx, rules, p, n, &b));
    try(pg_tx_steps(cx, tx, b->steps, STEPS));
    batch_read(b, p, n);
    return OK;
}

static rc end_some(struct cx *cx, struct pg *db, const struct end_rules *rules,
                   struct request_end *const *ends, size_t n)
{
    struct batch *b = NULL;

    try(batch_new(cx, rules, ends, n, &b));
    try(pg_batch(cx, db, b->steps + LOCK, STEPS - LOCK));
    batch_read(b, ends, n);
    return OK;
}

/* A failure that the contents of one can bring about; anything else is the store's. */
static bool of_contents(rc r)
{
    return r == E_PG || r == E_PG_CONSTRAINT || r == E_PG_UNIQUE || r == E_BUFFER_FULL ||
           r == E_BAD_JSON || r == E_BAD_UTF8 || r == E_TOO_DEEP || r == E_BODY_TOO_LARGE;
}

rc requests_end_all(struct cx *cx, struct pg *db, const struct end_rules *rules,
                    struct request_end *ends, size_t n)
{
    struct request_end **p = pointers(cx, ends, n);

    if (n == 0)
        return OK;
    rc r = end_some(cx, db, rules, p, n);
    if (!of_contents(r))
        return r;
    if (n > 1)
        log_fail(LOG_WARN, "requests.end_one_by_one", cx, r, kv_int("ends", (int64_t)n));
    for (size_t i = 0; i < n; i++) {
        r = n > 1 ? end_some(cx, db, rules, &p[i], 1) : r;
        if (r == OK)
            continue;
        if (!of_contents(r))
            return r; /* those before it are ended: asked again, they are late */
        ends[i].verdict = END_REFUSED;
        ends[i].err = cx->err;
    }
    return OK;
}

/* ---------------------------------------------------------------- by hand, by the clock */

rc request_cancel(struct cx *cx, struct pg *db, const struct end_rules *rules,
                  const char *tenant_id, const char *request_id, const char *actor,
                  struct command_request *ret)
{
    struct request_end e = {.to = REQUEST_CANCELLED, .tenant_id = tenant_id, .actor = actor};
    struct command_request was;

    try(request_get(cx, db, tenant_id, request_id, &was));
    e.job_id = was.job_id;
    try(requests_end_all(cx, db, rules, &e, 1));
    if (e.verdict == END_REFUSED)
        return fail_rc(cx, e.err.code, "%s", e.err.text);
    try(request_get(cx, db, tenant_id, request_id, ret));
    if (ret->status != REQUEST_CANCELLED)
        return fail(cx, TOO_LATE, "the request is %s: it may have been carried out",
                    request_status_word(ret->status));
    return OK;
}

rc request_timeout(struct cx *cx, struct pg_tx *tx, const struct end_rules *rules,
                   const char *job_id, enum end_verdict *ret)
{
    struct request_end e = {.job_id = job_id, .to = REQUEST_TIMEOUT};

    try(requests_end(cx, tx, rules, &e, 1));
    *ret = e.verdict;
    return OK;
}

static rc sweep_some(struct cx *cx, struct pg *db, const struct end_rules *rules,
                     int64_t *ret_ended, bool *ret_more)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    const char *const *ids;
    size_t n;

    try(pg_do(cx, db, SQL_REQUESTS_OVERDUE, &res, pg_i(REQUEST_OVERDUE_MS), pg_i(SWEEP_BATCH)));
    try(ids_read(cx, res, &ids, &n));
    struct request_end *e = arena_alloc(&cx->arena, (n + 1) * sizeof(*e));
    for (size_t i = 0; i < n; i++)
        e[i] = (struct request_end){.job_id = ids[i], .to = REQUEST_TIMEOUT};
    try(requests_end_all(cx, db, rules, e, n));
    int64_t ended = 0;
    for (size_t i = 0; i < n; i++)
        ended += e[i].verdict == END_DONE;
    *ret_ended += ended;
    *ret_more = n == SWEEP_BATCH && ended > 0;
    return OK;
}

rc requests_sweep(struct cx *cx, struct pg *db, const struct end_rules *rules, int64_t *ret_n)
{
    bool more = true;

    *ret_n = 0;
    while (more)
        try(sweep_some(cx, db, rules, ret_n, &more));
    return OK;
}

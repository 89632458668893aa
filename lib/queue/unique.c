/* unique.c - see unique.h. */
#include "queue/unique.h"
#include "pg/pg_array.h"
#include "queue/unique.sql.h"
#include <inttypes.h>
#include <string.h>

#define REMEMBERED_MS INT64_C(86400000) /* an id of a broker job that its caller chose */

static bool has_window(const struct job_new *j)
{
    return j->unique_key && j->options && j->options->unique == JOB_UNIQUE_WINDOW;
}

/* The places in jobs of those that have no window yet. */
static rc ask_once(struct cx *cx, struct pg_tx *tx, struct job_new **jobs, const size_t *at,
                   size_t n, bool *ret_taken, bool *ret_first)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(MiB(1)), keys = PG_ARRAY(MiB(4)),
                                                ms = PG_ARRAY(MiB(1)), late = PG_ARRAY(MiB(4));
    _cleanup_(pg_result_freep) struct pg_result *taken = NULL, *held = NULL;

    for (size_t i = 0; i < n; i++) {
        pg_array_s(&ids, jobs[at[i]]->id);
        pg_array_s(&keys, jobs[at[i]]->unique_key);
        pg_array_i(&ms, jobs[at[i]]->options->unique_ms);
    }
    try(pg_tx_do(cx, tx, SQL_WINDOW_TAKE, &taken, pg_a(&ids), pg_a(&keys), pg_a(&ms)));
    for (int r = 0; r < pg_rows(taken); r++)
        ret_taken[pg_int(taken, r, 0) - 1] = true;
    for (size_t i = 0; i < n; i++)
        pg_array_s(&late, ret_taken[i] ? NULL : jobs[at[i]]->unique_key);
    try(pg_tx_do(cx, tx, SQL_WINDOW_HOLDERS, &held, pg_a(&late)));
    for (int r = 0; r < pg_rows(held); r++) {
        size_t i = (size_t)pg_int(held, r, 0) - 1;
        memcpy(jobs[at[i]]->id, pg_text(held, r, 1), ID_LEN);
        jobs[at[i]]->existed = ret_first[i] = true;
    }
    return OK;
}

rc windows_take(struct cx *cx, struct pg_tx *tx, struct job_new **jobs, size_t *n)
{
    size_t open = 0, kept = 0, *at = NULL;

    for (size_t i = 0; i < *n; i++)
        if (has_window(jobs[i])) {
            at = at ? at : arena_alloc(&cx->arena, *n * sizeof *at);
            at[open++] = i;
        }
    for (int round = 0; open > 0; round++) {
        bool *taken = arena_alloc(&cx->arena, open * sizeof *taken),
             *first = arena_alloc(&cx->arena, open * sizeof *first);
        size_t left = 0;
        if (round == 5)
            return fail(cx, PG_RETRY, "a unique key changes hands faster than it can be read");
        memset(taken, 0, open * sizeof *taken);
        memset(first, 0, open * sizeof *first);
        try(ask_once(cx, tx, jobs, at, open, taken, first));
        for (size_t i = 0; i < open; i++)
            if (!taken[i] && !first[i])
                at[left++] = at[i];
        open = left;
    }
    for (size_t i = 0; i < *n; i++)
        if (!jobs[i]->existed)
            jobs[kept++] = jobs[i];
    *n = kept;
    return OK;
}

const char *unique_word(struct cx *cx, const struct job_new *j)
{
    if (has_window(j))
        return arena_printf(&cx->arena, "\1%" PRId64 ":k:%s", j->options->unique_ms, j->unique_key);
    if (j->unique_key)
        return j->unique_key;
    return j->remembered ? arena_printf(&cx->arena, "\1%" PRId64 ":i:%s", REMEMBERED_MS, j->id)
                         : "";
}

rc engine_started(struct cx *cx, struct engine *e, const struct job *j)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    if (j->durable)
        return pg_do(cx, e->db, SQL_KEY_FREE, NULL, pg_s(j->lease.id), pg_i(j->lease.generation),
                     pg_i(j->lease.claim));
    try(engine_keys(cx, e, j->place, &k));
    call_begin(&c, e, &SCRIPT_STARTED, k, KEYS_OF(QK_UNIQUE, QK_UNIQUE_OF), false, 1);
    call_bytes(&c, j->lease.id, ID_LEN);
    return call_run(cx, &c, REDIS_REPLY_INTEGER, &reply);
}

rc engine_forget(struct cx *cx, struct engine *e, int64_t *ret_windows, int64_t *ret_results)
{
    _cleanup_(pg_result_freep) struct pg_result *windows = NULL, *results = NULL;

    try(pg_query(cx, e->db, &SQL_WINDOWS_FORGET, &windows, PG_NO_ARGS));
    try(pg_query(cx, e->db, &SQL_RESULTS_FORGET, &results, PG_NO_ARGS));
    *ret_windows = pg_affected(windows);
    *ret_results = pg_affected(results);
    return OK;
}

/* ends.c - ends of attempts in great numbers: one statement for all that came while the last one was under way.
 *
 *   attempt A --.
 *   attempt B ---+--> [ gathered ] --job_end_many--> A, C taken; B stale
 *   attempt C --'
 *
 * Each row has its own fence, so one that is stale says so alone. A batch that fails as a whole (a text
 * that is no JSON, a deadlock with another batch) is done again one by one: only the bad one hears of it. When the
 * connection was lost, all are in doubt, and each asks again as it would alone. Deaths are ended alone: more is written with
 * them. Members of a workflow gather among themselves: what follows is found once for all of them.
 *
 * Whoever gathers the domain's writes of many jobs ends these in his own transaction (engine_end_many_tx): the same
 * statement, the same fences. */
#include "base/clock.h"
#include "base/text.h"
#include "pg/pg_array.h"
#include "queue/end.h"
#include "queue/flow/reached.h"
#include "queue/internal.h"
#include "queue/queue.sql.h"
#include "rt/batcher.h"
#include <stdlib.h>
#include <string.h>

#define ENDS_MAX     256
#define ENDS_AT_ONCE 2
#define ENDS_WORTH   32
#define ENDS_MS      10000

struct ending {
    struct batch_item item;
    struct job job; /* its lease; the texts stay with the attempt */
    struct job_options options;
    struct job_end end;
    char *error_code, *error, *result, *worker;
};

bool ends_may_gather(const struct job *j, const struct job_end *end)
{
    return j->durable && end->outcome != JOB_DEAD;
}

bool engine_may_gather(const struct job *j, const struct job_end *end)
{
    return !j->options && ends_may_gather(j, end);
}

/* Something may follow. */
static bool ends_member(const struct job *j, const struct job_end *end)
{
    return in_workflow(j) && (end->outcome == JOB_COMPLETED || end->outcome == JOB_CANCELLED);
}

static void free_ending(struct batch_item *item)
{
    struct ending *g = (struct ending *)item;

    free(g->error_code);
    free(g->error);
    free(g->result);
    free(g->worker);
    free(g);
}

static char *copy(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

/* The attempt may give up before the batch has ended: what the batch needs is its own. */
static struct ending *ending_new(const struct job *j, const struct job_end *end)
{
    struct ending *g = xcalloc(1, sizeof *g);

    g->job = (struct job){.lease = j->lease, .durable = true};
    if (j->options) {
        g->options = *j->options;
        g->job.options = &g->options;
    }
    g->end = *end;
    g->end.error_code = g->error_code = copy(end->error_code);
    g->end.error = g->error = end->error ? text_cleaned(end->error, strlen(end->error)) : NULL;
    g->end.result = g->result = copy(end->result);
    g->end.worker = g->worker = copy(end->worker);
    return g;
}

/* ---------------------------------------------------------------- the statement */

enum {
    ID,
    GENERATION,
    CLAIM,
    SNOOZES,
    OUTCOME,
    STATE,
    RUN_AT,
    ERROR_CODE,
    ERROR,
    RESULT,
    WORKER,
    STARTED_AT,
    COLUMNS
};

static void put(struct pg_array a[COLUMNS], const struct lease *l, const struct job_end *end,
                int64_t now_ms)
{
    bool later = end->outcome == JOB_RETRY || end->outcome == JOB_SNOOZED;

    pg_array_s(&a[ID], l->id);
    pg_array_i(&a[GENERATION], l->generation);
    pg_array_i(&a[CLAIM], l->claim);
    pg_array_i(&a[SNOOZES], l->snoozes + (end->outcome == JOB_SNOOZED));
    pg_array_s(&a[OUTCOME], job_outcome_word(end->outcome));
    pg_array_s(&a[STATE], end_state_after(end, now_ms));
    pg_array_t(&a[RUN_AT], later ? MAX(end->run_at_ms, 1) : 0);
    pg_array_s(&a[ERROR_CODE], end->error_code);
    pg_array_s(&a[ERROR], end->error);
    pg_array_s(&a[RESULT], end->outcome == JOB_COMPLETED ? end->result : NULL);
    pg_array_s(&a[WORKER], end->worker ? end->worker : "");
    pg_array_t(&a[STARTED_AT], end->started_ms ? end->started_ms : now_ms);
}

static rc end_many(struct cx *cx, struct engine *e, struct batch_item **items, size_t n,
                   struct pg_result **ret, struct pg_result **ret_reached)
{
    const struct ending *first = (const struct ending *)items[0];
    struct pg_array a[COLUMNS];
    struct pg_arg args[COLUMNS];
    int64_t now = clock_ms();

    for (int c = 0; c < COLUMNS; c++)
        a[c] = PG_ARRAY(MiB(64));
    for (size_t i = 0; i < n; i++) {
        const struct ending *g = (struct ending *)items[i];
        put(a, &g->job.lease, &g->end, now);
    }
    for (int c = 0; c < COLUMNS; c++)
        args[c] = pg_a(&a[c]);
    rc r = ends_member(&first->job, &first->end)
               ? flow_end_many(cx, e, &SQL_JOB_END_MANY, args, ret, ret_reached)
               : pg_query(cx, e->db, &SQL_JOB_END_MANY, ret, args);
    for (int c = 0; c < COLUMNS; c++)
        pg_array_release(&a[c]);
    return r;
}

static int by_lease(const void *a, const void *b)
{
    const struct lease *x = ((const struct job_ended *)a)->lease,
                       *y = ((const struct job_ended *)b)->lease;
    int c = memcmp(x->id, y->id, ID_LEN);

    return c ? c : x->claim - y->claim;
}

rc engine_end_many_tx(struct cx *cx, struct pg_tx *tx, struct job_ended *ended, size_t n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct pg_array a[COLUMNS];
    struct pg_arg *args = arena_alloc(&cx->arena, COLUMNS * sizeof *args);
    int64_t now = clock_ms();

    qsort(ended, n, sizeof *ended, by_lease);
    for (int c = 0; c < COLUMNS; c++)
        a[c] = PG_ARRAY(MiB(64));
    for (size_t i = 0; i < n; i++) {
        ended[i].taken = false;
        put(a, ended[i].lease, ended[i].end, now);
    }
    for (int c = 0; c < COLUMNS; c++)
        args[c] = pg_a(&a[c]);
    rc sent = pg_tx_query(cx, tx, &SQL_JOB_END_MANY, &res, args);
    for (int c = 0; c < COLUMNS; c++)
        pg_array_release(&a[c]);
    try(sent);
    for (int r = 0; r < pg_rows(res); r++) {
        struct lease l = {.claim = (int)pg_int(res, r, 1)};
        memcpy(l.id, pg_text(res, r, 0), ID_LEN);
        const struct job_ended key = {.lease = &l};
        struct job_ended *hit = bsearch(&key, ended, n, sizeof *ended, by_lease);
        if (hit)
            hit->taken = true;
    }
    return OK;
}

static int by_id(const void *a, const void *b)
{
    const struct ending *x = *(struct ending *const *)a, *y = *(struct ending *const *)b;
    int c = memcmp(x->job.lease.id, y->job.lease.id, ID_LEN);

    return c ? c : x->job.lease.claim - y->job.lease.claim;
}

/* Sorted: two batches that meet lock their rows in one order, and the answer is found by halves. */
static void tell_each(struct cx *cx, struct batch_item **items, size_t n,
                      const struct pg_result *res)
{
    for (int r = 0; r < pg_rows(res); r++) {
        struct ending key = {.job.lease.claim = (int)pg_int(res, r, 1)}, *k = &key;
        memcpy(key.job.lease.id, pg_text(res, r, 0), ID_LEN);
        struct ending **hit = bsearch(&k, items, n, sizeof(struct ending *), by_id);
        if (hit && !(*hit)->item.done)
            batch_done(&(*hit)->item, OK, NULL);
    }
    for (size_t i = 0; i < n; i++) {
        const struct lease *l = &((struct ending *)items[i])->job.lease;
        if (items[i]->done)
            continue;
        rc stale =
            fail(cx, STALE_ATTEMPT, "job %s has ended or belongs to another attempt than %d.%d",
                 l->id, l->generation, l->claim);
        batch_done(items[i], stale, &cx->err);
    }
}

static bool whole_batch(rc r)
{
    return r == E_STORE_DOWN || r == E_STORE_DOUBT || r == E_DEADLINE || r == E_CANCELLED;
}

static void carry(struct cx *cx, struct batcher *b, void *arg, struct batch_item **items, size_t n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL, *reached = NULL;
    struct engine *e = arg;

    qsort(items, n, sizeof *items, by_id);
    rc r = end_many(cx, e, items, n, &res, &reached);
    batch_on_its_way_back(b);
    if (r == OK) {
        flow_push_reached(cx, e,
                          reached); /* whoever hears of his end finds what follows it in Redis */
        tell_each(cx, items, n, res);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct ending *g = (struct ending *)items[i];
        rc one = whole_batch(r) ? r : end_alone(cx, e, &g->job, &g->end);
        batch_done(items[i], one, &cx->err);
    }
}

/* ---------------------------------------------------------------- who waits */

/* Members of one workflow would wait for each other's transactions: one at a time. */
static struct batcher *gatherer(struct engine *e, bool members)
{
    return batcher_new(&(struct batcher_opts){.name = members ? "jobs.end_members" : "jobs.end",
                                              .max = ENDS_MAX,
                                              .at_once = members ? 1 : ENDS_AT_ONCE,
                                              .worth = ENDS_WORTH,
                                              .timeout_ms = ENDS_MS,
                                              .carry = carry,
                                              .free_item = free_ending,
                                              .arg = e});
}

rc ends_gather(struct cx *cx, struct engine *e, const struct job *j, const struct job_end *end)
{
    struct ending *g = ending_new(j, end);
    bool members = ends_member(j, end), left;
    struct batcher **b = members ? &e->member_ends : &e->ends;

    if (!*b)
        *b = gatherer(e, members);
    rc r = batch_wait(cx, *b, &g->item, &left);
    batch_leave(*b, &g->item);
    if (left)
        return fail_rc(cx, r, "whether job %s has ended is not known: its end was under way",
                       j->lease.id);
    return r;
}

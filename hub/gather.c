/* gather.c - a list that fills while a batch commits.
 *
 *   idle --first row--> committing --rows meanwhile--> committing (the list, 256 at most) ...
 *    ^-------------------------------- list empty -----------------------------------------'
 *
 * Each batch is a fiber of its own, so that its memory ends with it. A row has two owners, the
 * request that waits and the batch that carries it; the last one frees it. The push to Redis
 * happens after the callers were answered and the next batch was started: a slow Redis delays
 * nobody, and a push that fails is the reconciler's. */
#include "hub/gather.h"
#include "base/id.h"
#include "base/log.h"
#include "rt/fiber.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX   256
#define BATCH_MS    10000
#define COMMITS_MAX 4
#define BATCH_WORTH 16 /* rows that may start a commit while another is under way */
#define PUSHES_MAX  16 /* at once: while Redis is away they take their time */

struct waiting {
    struct waiting *next;
    int owners;
    struct arena arena;   /* the texts of `row` */
    void *row;            /* the kind's */
    struct fiber *waiter; /* NULL: gave up, or answered */
    bool done;
    rc result;
    struct err err;
    enum gathered outcome;
    char id[ID_LEN + 1];
    struct buf json;
};

struct gather {
    struct hub *hub;
    const struct gather_kind *kind;
    struct waiting *head, **tail;
    size_t nwaiting;   /* rows in the list */
    size_t committing; /* batches before their commit's end */
    size_t batches;    /* under way, pushes included */
    size_t pushing;
    bool starting; /* one was spawned and has not taken its rows yet */
    bool stopped;
};

struct gather *gather_new(struct hub *hub, const struct gather_kind *kind)
{
    struct gather *g = xcalloc(1, sizeof *g);

    g->hub = hub;
    g->kind = kind;
    g->tail = &g->head;
    return g;
}

struct gather *gather_free(struct gather *g)
{
    if (g) {
        assert(!g->head && g->batches == 0);
        free(g);
    }
    return NULL;
}

/* ------------------------------------------------------------------ a row */

static struct waiting *waiting_new(const struct gather_kind *kind, const void *given)
{
    struct waiting *w = xcalloc(1, sizeof *w);

    w->owners = 2;
    w->json = BUF(kind->max);
    w->row = xcalloc(1, kind->row_size);
    kind->take(&w->arena, w->row, given);
    return w;
}

static void waiting_leave(struct waiting *w)
{
    if (--w->owners > 0)
        return;
    arena_release(&w->arena);
    buf_release(&w->json);
    free(w->row);
    free(w);
}

static rc in_doubt(struct cx *cx, const struct gather *g, rc r)
{
    return fail_rc(cx, r == E_DEADLINE ? r : E_STORE_DOUBT,
                   "the %s was not confirmed in time and may have been accepted; repeat it with "
                   "the same Idempotency-Key to learn which",
                   g->kind->noun);
}

/* The outcome, rendered while the batch's memory still lives. */
static void finish(struct cx *cx, const struct gather *g, struct waiting *w, rc batch)
{
    rc r = batch;

    if (r == OK) {
        w->outcome = g->kind->outcome(cx, w->row, &w->err, w->id, &w->json);
        r = w->outcome == GATHERED_REFUSED ? w->err.code : OK;
    }
    if (r == OK && !buf_ok(&w->json))
        r = fail(cx, BUFFER_FULL, "the %s was accepted and does not fit into the answer",
                 g->kind->noun);
    if (r == E_DEADLINE || r == E_CANCELLED || r == E_STORE_DOUBT) {
        r = in_doubt(cx, g, r);
        w->err = cx->err;
    } else if (r != OK && w->err.code != r) {
        w->err = cx->err;
    }
    w->result = r;
    w->done = true;
    if (w->waiter)
        fiber_wake(w->waiter);
    w->waiter = NULL;
}

/* ------------------------------------------------------------------ a batch */

static void start_if_worth(struct gather *g);

/* The callers have their answers: what is not pushed now is found by the reconciler. */
static void push(struct cx *cx, struct gather *g, void **rows, size_t n)
{
    rc r;

    if (g->pushing >= PUSHES_MAX) {
        r = fail(cx, OVERLOADED, "Redis takes long; %zu pushes wait for it already", g->pushing);
    } else {
        g->pushing++;
        r = g->kind->push(cx, g->hub->engine, rows, n);
        g->pushing--;
    }
    if (r == OK)
        return;
    metric_add(g->hub->metrics, METRIC_PUSH_FAILED, 1);
    log_fail(LOG_WARN, "push.left_to_reconciler", cx, r, kv_str("of", g->kind->noun),
             kv_int("rows", (int64_t)n));
}

static size_t take_rows(struct gather *g, struct waiting **all, void **rows)
{
    size_t n = 0;

    g->starting = false;
    for (; g->head && n < BATCH_MAX; n++) {
        all[n] = g->head;
        rows[n] = g->head->row;
        g->head = g->head->next;
    }
    g->nwaiting -= n;
    if (!g->head)
        g->tail = &g->head;
    return n;
}

static rc run_batch(struct cx *cx, void *arg)
{
    struct gather *g = arg;
    struct waiting **all = arena_alloc(&cx->arena, BATCH_MAX * sizeof(void *));
    void **rows = arena_alloc(&cx->arena, BATCH_MAX * sizeof(void *));
    size_t n = take_rows(g, all, rows), made = 0;
    rc r;

    start_if_worth(g);
    r = g->kind->insert(cx, g->hub->db, rows, n);
    metric_add(g->hub->metrics, g->kind->batches, 1);
    metric_add(g->hub->metrics, g->kind->rows, (int64_t)n);
    for (size_t i = 0; i < n; i++)
        finish(cx, g, all[i], r);
    g->committing--;
    start_if_worth(g);

    for (size_t i = 0; i < n; i++) {
        if (all[i]->outcome == GATHERED_CREATED)
            rows[made++] = all[i]->row;
    }
    if (made)
        push(cx, g, rows, made);
    for (size_t i = 0; i < n; i++)
        waiting_leave(all[i]);
    g->batches--;
    return OK;
}

/* A batch that was spawned takes its rows when it runs: those that arrive in the same turn of the
 * loop ride along. */
static void start_if_worth(struct gather *g)
{
    if (g->stopped || g->nwaiting == 0 || g->starting || g->committing >= COMMITS_MAX ||
        (g->committing > 0 && g->nwaiting < BATCH_WORTH))
        return;
    g->starting = true;
    g->committing++;
    g->batches++;
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = g->kind->name, .timeout_ms = BATCH_MS},
                             run_batch, g));
}

static rc ended(struct cx *cx, const struct gather *g)
{
    return fail(cx, OVERLOADED, "this process ends; the %s was not accepted", g->kind->noun);
}

void gather_stop(struct cx *cx, struct gather *g)
{
    g->stopped = true;
    while (g->head) {
        struct waiting *w = g->head;
        g->head = w->next;
        finish(cx, g, w, ended(cx, g));
        waiting_leave(w);
    }
    g->tail = &g->head;
    g->nwaiting = 0;
}

rc gather_row(struct cx *cx, struct gather *g, const void *row, bool *ret_replayed, char *ret_id,
              struct buf *out)
{
    struct waiting *w;
    rc r = OK;

    if (g->stopped)
        return ended(cx, g);
    w = waiting_new(g->kind, row);
    *g->tail = w;
    g->tail = &w->next;
    g->nwaiting++;
    w->waiter = cx->fiber;
    start_if_worth(g);
    while (!w->done && r == OK)
        r = fiber_park(cx);
    if (!w->done) {
        w->waiter = NULL;
        waiting_leave(w);
        return in_doubt(cx, g, r == E_CANCELLED ? E_STORE_DOUBT : r);
    }
    r = w->result;
    if (r != OK) {
        cx->err = w->err;
    } else {
        *ret_replayed = w->outcome == GATHERED_REPLAYED;
        memcpy(ret_id, w->id, ID_LEN + 1);
        buf_append(out, w->json.p, w->json.len);
    }
    waiting_leave(w);
    return r;
}

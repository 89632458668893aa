/* gather.c - rows of a kind in a batcher (rt/batcher.h).
 *
 * The push to Redis happens after the callers were answered and the next batch was started: a slow
 * Redis delays nobody, and a push that fails is the reconciler's. */
#include "hub/gather.h"
#include "base/id.h"
#include "base/log.h"
#include "rt/batcher.h"
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX   256
#define BATCH_MS    10000
#define COMMITS_MAX 4
#define BATCH_WORTH 16 /* rows: fewer are not divided, and start no second commit */
#define PUSHES_MAX  16 /* at once: while Redis is away they take their time */

struct waiting {
    struct batch_item item;
    struct arena arena; /* the texts of `row` */
    void *row;          /* the kind's */
    enum gathered outcome;
    char id[ID_LEN + 1];
    struct buf json;
};

struct gather {
    struct hub *hub;
    const struct gather_kind *kind;
    struct batcher *batcher;
    size_t pushing;
};

/* ------------------------------------------------------------------ a row */

static struct waiting *waiting_new(const struct gather_kind *kind, const void *given)
{
    struct waiting *w = xcalloc(1, sizeof *w);

    w->json = BUF(kind->max);
    w->row = xcalloc(1, kind->row_size);
    kind->take(&w->arena, w->row, given);
    return w;
}

static void waiting_free(struct batch_item *item)
{
    struct waiting *w = (struct waiting *)item;

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
    struct err err = cx->err;
    rc r = batch;

    if (r == OK) {
        w->outcome = g->kind->outcome(cx, w->row, &err, w->id, &w->json);
        r = w->outcome == GATHERED_REFUSED ? err.code : OK;
    }
    if (r == OK && !buf_ok(&w->json)) {
        r = fail(cx, BUFFER_FULL, "the %s was accepted and does not fit into the answer",
                 g->kind->noun);
        err = cx->err;
    }
    if (r == E_DEADLINE || r == E_CANCELLED || r == E_STORE_DOUBT) {
        r = in_doubt(cx, g, r);
        err = cx->err;
    }
    batch_done(&w->item, r, &err);
}

/* ------------------------------------------------------------------ a batch */

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

/* The order in which things leave matters where cores are few: first what gives PostgreSQL something to do, then what gives
 * the callers something to do, and Redis last. Whoever is out of time goes on at once. */
static void let_others_run(struct cx *cx)
{
    struct err err = cx->err;

    (void)fiber_yield(cx);
    cx->err = err;
}

static void commits(void *arg)
{
    batch_nearly_back(arg);
}

static void carry(struct cx *cx, struct batcher *b, void *arg, struct batch_item **items, size_t n)
{
    struct gather *g = arg;
    void **rows = arena_alloc(&cx->arena, n * sizeof *rows);
    size_t made = 0;

    for (size_t i = 0; i < n; i++)
        rows[i] = ((struct waiting *)items[i])->row;
    rc r = g->kind->insert(cx, g->hub->db, rows, n, &(struct pg_soon){commits, b});
    metric_add(g->hub->metrics, g->kind->batches, 1);
    metric_add(g->hub->metrics, g->kind->rows, (int64_t)n);
    batch_on_its_way_back(b);
    let_others_run(cx); /* the next batch leaves */
    for (size_t i = 0; i < n; i++)
        finish(cx, g, (struct waiting *)items[i], r);
    let_others_run(cx); /* the callers write their answers */

    for (size_t i = 0; i < n; i++) {
        struct waiting *w = (struct waiting *)items[i];
        if (w->outcome == GATHERED_CREATED)
            rows[made++] = w->row;
    }
    if (made)
        push(cx, g, rows, made);
}

struct gather *gather_new(struct hub *hub, const struct gather_kind *kind)
{
    struct gather *g = xcalloc(1, sizeof *g);

    g->hub = hub;
    g->kind = kind;
    g->batcher = batcher_new(&(struct batcher_opts){.name = kind->name,
                                                    .max = BATCH_MAX,
                                                    .at_once = COMMITS_MAX,
                                                    .worth = BATCH_WORTH,
                                                    .turns = true,
                                                    .timeout_ms = BATCH_MS,
                                                    .carry = carry,
                                                    .free_item = waiting_free,
                                                    .arg = g});
    return g;
}

struct gather *gather_free(struct gather *g)
{
    if (g) {
        batcher_free(g->batcher);
        free(g);
    }
    return NULL;
}

void gather_stop(struct cx *cx, struct gather *g)
{
    rc why = fail(cx, OVERLOADED, "this process ends; the %s was not accepted", g->kind->noun);

    batcher_stop(cx, g->batcher, why);
}

rc gather_row(struct cx *cx, struct gather *g, const void *row, bool *ret_replayed, char *ret_id,
              struct buf *out)
{
    struct waiting *w = waiting_new(g->kind, row);
    bool left;
    rc r = batch_wait(cx, g->batcher, &w->item, &left);

    if (left) {
        r = in_doubt(cx, g, r == E_CANCELLED ? E_STORE_DOUBT : r);
    } else if (r == OK) {
        *ret_replayed = w->outcome == GATHERED_REPLAYED;
        memcpy(ret_id, w->id, ID_LEN + 1);
        buf_append(out, w->json.p, w->json.len);
    }
    batch_leave(g->batcher, &w->item);
    return r;
}

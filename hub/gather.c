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
#include "base/log.h"
#include "base/text.h"
#include "hub/metrics.h"
#include "rt/fiber.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX      256
#define BATCH_MS       10000
#define COMMITS_MAX    4
#define BATCH_WORTH    16 /* rows that may start a commit while another is under way */
#define ORDER_JSON_MAX KiB(64)
#define PUSHES_MAX     16 /* at once: while Redis is away they take their time */
#define IN_DOUBT                                                                                   \
    "the order was not confirmed in time and may have been accepted; repeat it with the same "     \
    "Idempotency-Key to learn which"

struct gather_row {
    struct gather_row *next;
    int owners;
    struct arena arena; /* the texts of `row` */
    struct order_new row;
    struct fiber *waiter; /* NULL: gave up, or answered */
    bool done;
    rc result;
    struct err err;
    struct buf json;
};

struct gather {
    struct hub *hub;
    struct gather_row *head, **tail;
    size_t waiting;    /* rows in the list */
    size_t committing; /* batches before their commit's end */
    size_t batches;    /* under way, pushes included */
    size_t pushing;
    bool starting; /* one was spawned and has not taken its rows yet */
    bool stopped;
};

struct gather *gather_new(struct hub *hub)
{
    struct gather *g = xcalloc(1, sizeof *g);

    g->hub = hub;
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

static struct gather_row *row_new(const struct order_new *o)
{
    struct gather_row *w = xcalloc(1, sizeof *w);
    struct arena *a = &w->arena;

    w->owners = 2;
    w->json = BUF(ORDER_JSON_MAX);
    w->row = *o;
    w->row.tenant_id = arena_strdup(a, o->tenant_id);
    w->row.product_id = arena_strdup(a, o->product_id);
    w->row.package_id = arena_strdup(a, o->package_id);
    w->row.user_identifier = arena_strdup(a, o->user_identifier);
    w->row.extra_field = arena_strdup(a, o->extra_field);
    w->row.callback_url = arena_strdup(a, o->callback_url);
    w->row.reference = arena_strdup(a, o->reference);
    w->row.idempotency_key = arena_strdup(a, o->idempotency_key);
    w->row.trace = arena_strdup(a, o->trace);
    return w;
}

static void row_leave(struct gather_row *w)
{
    if (--w->owners > 0)
        return;
    arena_release(&w->arena);
    buf_release(&w->json);
    free(w);
}

/* The outcome, rendered while the batch's memory still lives. */
static void row_finish(struct cx *cx, struct gather_row *w, rc batch)
{
    rc r = batch;

    if (r == OK && w->row.made == ORDER_REFUSED) {
        r = w->row.err.code;
        w->err = w->row.err;
    } else if (r == OK) {
        memcpy(w->row.id, w->row.order.id, ID_LEN + 1); /* of a replay: the first one's */
        r = order_json(cx, NULL, &w->row.order, &w->json);
    }
    if (r == E_DEADLINE || r == E_CANCELLED || r == E_STORE_DOUBT) {
        r = fail_rc(cx, r == E_DEADLINE ? r : E_STORE_DOUBT, IN_DOUBT);
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
static void push(struct cx *cx, struct gather *g, struct order_new **rows, size_t n)
{
    rc r;

    if (g->pushing >= PUSHES_MAX) {
        r = fail(cx, OVERLOADED, "Redis takes long; %zu pushes wait for it already", g->pushing);
    } else {
        g->pushing++;
        r = orders_push(cx, g->hub->engine, rows, n);
        g->pushing--;
    }
    if (r == OK)
        return;
    metric_add(g->hub->metrics, METRIC_PUSH_FAILED, 1);
    log_fail(LOG_WARN, "orders.push_left_to_reconciler", cx, r, kv_int("orders", (int64_t)n));
}

static rc run_batch(struct cx *cx, void *arg)
{
    struct gather *g = arg;
    struct gather_row **rows = arena_alloc(&cx->arena, BATCH_MAX * sizeof(void *));
    struct order_new **news = arena_alloc(&cx->arena, BATCH_MAX * sizeof(void *));
    size_t n = 0, made = 0;
    rc r;

    g->starting = false;
    while (g->head && n < BATCH_MAX) {
        rows[n] = g->head;
        news[n] = &g->head->row;
        g->head = g->head->next;
        n++;
    }
    g->waiting -= n;
    if (!g->head)
        g->tail = &g->head;
    start_if_worth(g);
    r = orders_insert(cx, g->hub->db, news, n);
    metric_add(g->hub->metrics, METRIC_GATHER_BATCHES, 1);
    metric_add(g->hub->metrics, METRIC_GATHER_ORDERS, (int64_t)n);
    for (size_t i = 0; i < n; i++)
        row_finish(cx, rows[i], r);
    g->committing--;
    start_if_worth(g);

    for (size_t i = 0; r == OK && i < n; i++) {
        if (rows[i]->row.made == ORDER_CREATED)
            news[made++] = &rows[i]->row;
    }
    if (made)
        push(cx, g, news, made);
    for (size_t i = 0; i < n; i++)
        row_leave(rows[i]);
    g->batches--;
    return OK;
}

/* A batch that was spawned takes its rows when it runs: those that arrive in the same turn of the
 * loop ride along. */
static void start_if_worth(struct gather *g)
{
    if (g->stopped || g->waiting == 0 || g->starting || g->committing >= COMMITS_MAX ||
        (g->committing > 0 && g->waiting < BATCH_WORTH))
        return;
    g->starting = true;
    g->committing++;
    g->batches++;
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "orders.commit", .timeout_ms = BATCH_MS},
                             run_batch, g));
}

void gather_stop(struct cx *cx, struct gather *g)
{
    g->stopped = true;
    while (g->head) {
        struct gather_row *w = g->head;
        g->head = w->next;
        row_finish(cx, w, fail(cx, OVERLOADED, "this process ends; the order was not accepted"));
        row_leave(w);
    }
    g->tail = &g->head;
    g->waiting = 0;
}

rc gather_order(struct cx *cx, struct gather *g, const struct order_new *row,
                enum order_made *ret_made, char *ret_id, struct buf *out)
{
    struct gather_row *w;
    rc r = OK;

    if (g->stopped)
        return fail(cx, OVERLOADED, "this process ends; the order was not accepted");
    w = row_new(row);
    *g->tail = w;
    g->tail = &w->next;
    g->waiting++;
    w->waiter = cx->fiber;
    start_if_worth(g);
    while (!w->done && r == OK)
        r = fiber_park(cx);
    if (!w->done) {
        w->waiter = NULL;
        row_leave(w);
        return fail_rc(cx, r == E_CANCELLED ? E_STORE_DOUBT : r, IN_DOUBT);
    }
    r = w->result;
    if (r != OK) {
        cx->err = w->err;
    } else {
        *ret_made = w->row.made;
        memcpy(ret_id, w->row.id, ID_LEN + 1);
        buf_append(out, w->json.p, w->json.len);
    }
    row_leave(w);
    return r;
}

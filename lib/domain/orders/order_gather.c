/* order_gather.c - the ends of checks, gathered: one transaction for all that came while the last ones were written.
 *
 *   jobs ended, fenced (who is stale is out) ── orders locked, placements read ── each judged in memory
 *      ── placements ── orders ── timeline ── announced ── callbacks enqueued ── COMMIT ── pushed
 *
 * Locks are taken as everywhere: the job, then its order; many in the order of their ids. If the look under the lock finds one
 * that is more than an answer to be written down, everything is rolled back and done again without it: such are rare,
 * and all of them are found in one look. A batch that is refused as a whole (a text that PostgreSQL does not take, a lock not had
 * in time) hands all of them back, so that only the bad one hears of it. When the connection was lost, all are in doubt. */
#include "domain/orders/order_gather.h"
#include "base/log.h"
#include "base/text.h"
#include "base/trace.h"
#include "domain/orders/order_flow.sql.h"
#include "domain/orders/order_move.h"
#include "domain/orders/order_row.h"
#include "domain/orders/orders.sql.h"
#include "domain/orders/placements.sql.h"
#include "pg/pg_array.h"
#include "queue/end.h"
#include "queue/shape/policy.h"
#include "rt/batcher.h"
#include "rt/spans.h"
#include <stdlib.h>
#include <string.h>

#define ENDS_MAX     128
#define ENDS_AT_ONCE 2
#define ENDS_WORTH   16
#define ENDS_MS      10000
#define PUSH_MS      2000
#define PASSES       3 /* each without those that the one before it found unfit */

struct order_gather {
    struct pg *db;
    struct engine *engine;
    struct batcher *looks, *ends;
};

/* What the batch needs is its own: who waits may give up before it has ended. */
struct ending {
    struct batch_item item;
    struct lease lease;
    struct job_end end;
    char order_id[ID_LEN + 1];
    int64_t placement_id;
    enum order_answer answer;
    struct provider_words w;
    const char *pin_sealed, *actor, *trace;
    bool may_leave;
    bool alone; /* not for the many */
    bool stale;
    char texts[]; /* what the pointers above lead to */
};

/* ---------------------------------------------------------------- an ending, copied */

#define TEXTS 13
static void texts_of(struct ending *g, const char **list[TEXTS])
{
    const char **all[TEXTS] = {
        &g->end.error_code,    &g->end.error, &g->end.result, &g->end.worker, &g->w.external_id,
        &g->w.external_status, &g->w.note,    &g->w.cost,     &g->w.currency, &g->w.verbatim,
        &g->pin_sealed,        &g->actor,     &g->trace,
    };
    memcpy(list, all, sizeof all);
}

static struct ending *ending_copy(struct ending *from)
{
    const char **list[TEXTS];
    size_t size = 0;

    texts_of(from, list);
    for (size_t i = 0; i < TEXTS; i++)
        size += *list[i] ? strlen(*list[i]) + 1 : 0;
    struct ending *g = xmalloc(sizeof *g + size);
    *g = *from;
    texts_of(g, list);
    char *to = g->texts;
    for (size_t i = 0; i < TEXTS; i++) {
        if (!*list[i])
            continue;
        size_t n = strlen(*list[i]) + 1;
        memcpy(to, *list[i], n);
        *list[i] = to;
        to += n;
    }
    return g;
}

static rc ending_new(struct cx *cx, const struct order_ending *e, struct ending **ret)
{
    struct ending g = {
        .lease = e->job->lease,
        .end = *e->end,
        .placement_id = e->p->id,
        .answer = e->answer,
        .w = e->w ? *e->w : (struct provider_words){0},
        .actor = e->actor,
        .may_leave = e->may_leave,
        .trace = cx->trace[0] ? trace_text(cx) : e->job->trace,
    };

    if (!id_parse(e->order->id, g.order_id))
        return fail(cx, NOT_FOUND, "there is no such order");
    if (!str_empty(e->pin)) {
        if (!e->seal)
            return fail(cx, INTERNAL, "a PIN was given without the keys to seal it");
        try(seal_text(cx, e->seal, order_pin_context(cx, g.order_id, e->p->unit), e->pin,
                      &g.pin_sealed));
    }
    *ret = ending_copy(&g);
    return OK;
}

static void free_ending(struct batch_item *item)
{
    free(item);
}

/* ---------------------------------------------------------------- judged under the locks */

/* One pass over those that are not `alone`. */
struct pass {
    struct order_gather *g;
    struct ending **list;
    size_t n;
    struct job_ended *ended; /* sorted by the job's id */
    struct move *moves;      /* of the taken ones, in the order of `ended` */
    struct job_new *callbacks;
    size_t ncallbacks;
    bool unfit; /* one was found that must go alone: roll back */
};

static rc end_jobs(struct cx *cx, struct pg_tx *tx, struct pass *p)
{
    for (size_t i = 0; i < p->n; i++)
        p->ended[i] = (struct job_ended){&p->list[i]->lease, &p->list[i]->end, p->list[i], false};
    try(engine_end_many_tx(cx, tx, p->ended, p->n));
    for (size_t i = 0; i < p->n; i++)
        ((struct ending *)p->ended[i].of)->stale = !p->ended[i].taken;
    return OK;
}

/* Its order and placements out of the rows of all. */
static rc read_move(struct cx *cx, const struct pg_result *orders,
                    const struct pg_result *placements, const struct ending *g, struct move *m,
                    bool *ret_found)
{
    int n, row = rows_of(orders, 0, g->order_id, &n);

    *ret_found = n == 1;
    if (!*ret_found)
        return OK;
    try(order_read(cx, orders, row, &m->o));
    row = rows_of(placements, 1, g->order_id, &n);
    m->np = (size_t)n;
    return placements_read_some(cx, placements, row, n, &m->p);
}

/* What is left to be asked about once it is written; false when a unit waits for a provider, or is being placed. */
static bool look_at_units(struct move *m, int *ret_left)
{
    *ret_left = 0;
    for (int u = 1; move_open(m) && u <= m->o.quantity; u++) {
        const struct placement *p = move_latest(m, u);
        if (unit_waits(p) || p->status == PLACEMENT_SENDING)
            return false;
        *ret_left += placement_asking(p->status);
    }
    return true;
}

/* A row of the arrays for each statement of the change. */
enum { PLACEMENTS, ORDERS, EVENTS, ANNOUNCED, STATEMENTS };
static const struct {
    const struct sql *one, *many;
} statements[STATEMENTS] = {
    [PLACEMENTS] = {&SQL_PLACEMENT_MOVE, &SQL_PLACEMENTS_MOVE},
    [ORDERS] = {&SQL_ORDER_MOVE, &SQL_ORDERS_MOVE},
    [EVENTS] = {&SQL_ORDER_EVENT, &SQL_ORDERS_EVENT},
    [ANNOUNCED] = {&SQL_ORDER_ANNOUNCE, &SQL_ORDERS_ANNOUNCE},
};
#define PARAMS_MAX 13

struct rows {
    struct pg_array column[STATEMENTS][PARAMS_MAX];
    size_t n[STATEMENTS];
};

static void rows_release(struct rows **r)
{
    for (int s = 0; s < STATEMENTS; s++) {
        for (int c = 0; c < PARAMS_MAX; c++)
            pg_array_release(&(*r)->column[s][c]);
    }
}

static struct rows *rows_new(struct cx *cx)
{
    struct rows *r = arena_alloc(&cx->arena, sizeof *r);

    for (int s = 0; s < STATEMENTS; s++) {
        for (int c = 0; c < PARAMS_MAX; c++)
            r->column[s][c] = PG_ARRAY(MiB(16));
    }
    return r;
}

static void rows_add(struct rows *r, const struct pg_step *step)
{
    int s = 0;

    while (!str_eq(statements[s].one->name, step->q->name)) /* each file has its own constants */
        s++;
    for (int c = 0; c < step->q->nparams; c++)
        pg_array_arg(&r->column[s][c], &step->args[c]);
    r->n[s]++;
}

/* Its change among the rows; *ret false: it is more than an answer to be written down. */
static rc judge(struct cx *cx, struct pass *p, const struct ending *g, struct move *m,
                struct rows *rows, bool *ret)
{
    struct placement *now = move_find(m, g->placement_id);
    struct pg_step steps[MOVE_STEPS];
    bool call_back;
    size_t n;
    int left;

    *ret = now && move_takes_answer(m, now);
    if (!*ret)
        return OK;
    struct change c = answer_change(g->answer, now, &g->w);
    c.pin_sealed = g->pin_sealed;
    try(move_steps(cx, m, &c, steps, &n, &call_back));
    *ret = look_at_units(m, &left) && (left == 0 || g->may_leave);
    if (!*ret)
        return OK;
    for (size_t i = 0; i < n; i++)
        rows_add(rows, &steps[i]);
    if (call_back) {
        struct job_new *j = &p->callbacks[p->ncallbacks++];
        *j = *move_callback(cx, m);
        j->trace = g->trace;
    }
    return OK;
}

static rc judge_all(struct cx *cx, struct pass *p, const struct pg_result *orders,
                    const struct pg_result *placements, struct rows *rows)
{
    const char *last = "";

    for (size_t i = 0; i < p->n; i++) {
        struct ending *g = p->ended[i].of;
        struct move *m = arena_alloc(&cx->arena, sizeof *m);
        struct order_step *st = arena_alloc(&cx->arena, sizeof *st);
        bool fit = false;
        if (g->stale)
            continue;
        *st = (struct order_step){.actor = g->actor};
        m->st = st;
        if (!str_eq(last, g->order_id)) /* two jobs of one order: one after the other */
            try(read_move(cx, orders, placements, g, m, &fit));
        if (fit)
            try(judge(cx, p, g, m, rows, &fit));
        g->alone = !fit;
        p->unfit |= !fit;
        last = g->order_id;
    }
    return OK;
}

/* ---------------------------------------------------------------- the transaction */

static rc look_locked(struct cx *cx, struct pg_tx *tx, struct pass *p, struct rows *rows)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(KiB(64));
    struct pg_arg *arg = arena_alloc(&cx->arena, sizeof *arg);

    for (size_t i = 0; i < p->n; i++) {
        const struct ending *g = p->ended[i].of;
        if (!g->stale)
            pg_array_s(&ids, g->order_id);
    }
    if (ids.n == 0)
        return OK;
    *arg = pg_a(&ids);
    struct pg_step steps[] = {{.q = &SQL_ORDERS_LOCK, .args = arg},
                              {.q = &SQL_PLACEMENTS_OF_ORDERS, .args = arg}};
    try(pg_tx_steps(cx, tx, steps, COUNT(steps)));
    rc r = judge_all(cx, p, steps[0].result, steps[1].result, rows);
    pg_result_freep(&steps[0].result);
    pg_result_freep(&steps[1].result);
    return r;
}

static rc write_rows(struct cx *cx, struct pg_tx *tx, struct rows *rows)
{
    struct pg_step steps[STATEMENTS];
    size_t n = 0;

    for (int s = 0; s < STATEMENTS; s++) {
        struct pg_arg *args = arena_alloc(&cx->arena, PARAMS_MAX * sizeof *args);
        if (rows->n[s] == 0)
            continue;
        for (int c = 0; c < statements[s].many->nparams; c++)
            args[c] = pg_a(&rows->column[s][c]);
        steps[n++] = (struct pg_step){.q = statements[s].many, .args = args};
    }
    if (n == 0)
        return OK;
    try(pg_tx_steps(cx, tx, steps, n));
    for (size_t i = 0; i < n; i++)
        pg_result_freep(&steps[i].result);
    return OK;
}

static rc enqueue_callbacks(struct cx *cx, struct pg_tx *tx, struct pass *p)
{
    if (p->ncallbacks == 0)
        return OK;
    try(engine_room(cx, p->g->engine, p->callbacks, p->ncallbacks));
    return engine_insert(cx, tx, p->callbacks, p->ncallbacks);
}

static rc write_all(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct pass *p = arg;
    _cleanup_(rows_release) struct rows *rows = rows_new(cx);

    p->ncallbacks = 0; /* it may be the second time */
    p->unfit = false;
    try(end_jobs(cx, tx, p));
    try(look_locked(cx, tx, p, rows));
    if (p->unfit)
        return fail(cx, CONFLICT, "some of these orders are not for the many");
    try(write_rows(cx, tx, rows));
    return enqueue_callbacks(cx, tx, p);
}

/* ---------------------------------------------------------------- a batch */

static void push_callbacks(struct cx *cx, struct pass *p)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, PUSH_MS);

    if (p->ncallbacks == 0)
        return;
    rc r = engine_push(cx, p->g->engine, p->callbacks, p->ncallbacks);
    if (r != OK) /* committed: the sweep pushes what Redis did not take */
        log_fail(LOG_WARN, "push.postponed", cx, r, kv_int("jobs", (int64_t)p->ncallbacks));
}

static bool whole_batch(rc r)
{
    return r == E_STORE_DOWN || r == E_STORE_DOUBT || r == E_DEADLINE || r == E_CANCELLED;
}

static void tell(struct cx *cx, struct ending *g, rc r)
{
    if (r == OK && g->stale)
        r = fail(cx, STALE_ATTEMPT, "job %s has ended or belongs to another attempt than %d.%d",
                 g->lease.id, g->lease.generation, g->lease.claim);
    batch_done(&g->item, r, &cx->err);
}

/* Those that are not `alone` in one transaction; again while it finds some that are. */
static rc write_batch(struct cx *cx, struct pass *p, struct batch_item **items, size_t n)
{
    rc r = OK;

    for (int pass = 0; pass < PASSES; pass++) {
        p->n = 0;
        for (size_t i = 0; i < n; i++) {
            struct ending *g = (struct ending *)items[i];
            if (!g->alone)
                p->list[p->n++] = g;
        }
        p->ncallbacks = 0;
        r = p->n > 0 ? pg_tx_run(cx, p->g->db, write_all, p) : OK;
        if (r != E_CONFLICT || !p->unfit)
            break;
    }
    return r;
}

static void carry(struct cx *cx, struct batcher *b, void *arg, struct batch_item **items, size_t n)
{
    struct pass p = {.g = arg,
                     .list = arena_alloc(&cx->arena, n * sizeof(struct ending *)),
                     .ended = arena_alloc(&cx->arena, n * sizeof(struct job_ended)),
                     .callbacks = arena_alloc(&cx->arena, n * sizeof(struct job_new))};

    rc r = write_batch(cx, &p, items, n);
    batch_on_its_way_back(b);
    if (r == OK) {
        push_callbacks(cx, &p);
    } else if (!whole_batch(r)) {
        log_fail(LOG_WARN, "orders.not_gathered", cx, r, kv_int("orders", (int64_t)n));
        for (size_t i = 0; i < n; i++)
            ((struct ending *)items[i])->alone = true;
    }
    for (size_t i = 0; i < n; i++) {
        struct ending *g = (struct ending *)items[i];
        tell(cx, g, g->alone ? fail(cx, CONFLICT, "order %s is not for the many", g->order_id) : r);
    }
}

/* ---------------------------------------------------------------- who waits */

/* The span of the callback's enqueue belongs to the check that it comes from. */
static void callback_span(struct cx *cx, struct span *span, const struct order_ending *e)
{
    *span = (struct span){0};
    if (e->answer == ORDER_ANSWER_DONE && e->order->callback_url)
        span_begin(cx, span, SPAN_PRODUCER, "job.enqueue");
}

rc order_gather_end(struct cx *cx, struct order_gather *g, const struct order_ending *e)
{
    struct ending *item = NULL;
    struct span span;
    bool left;

    callback_span(cx, &span, e);
    rc made = ending_new(cx, e, &item);
    if (made != OK) {
        span_end(cx, &span, false, SPAN_FACTS({"job.task", WEBHOOK_TASK}));
        return made;
    }
    rc r = batch_wait(cx, g->ends, &item->item, &left);
    batch_leave(g->ends, &item->item);
    span_end(cx, &span, r == OK, SPAN_FACTS({"job.task", WEBHOOK_TASK}));
    if (left)
        return fail(cx, STORE_DOUBT,
                    "whether the answer about order %s was stored is not known: it was under way",
                    e->order->id);
    return r;
}

rc order_gather_look(struct cx *cx, struct order_gather *g, const char *order_id, struct order *ret,
                     struct placement **ret_placements, size_t *ret_n)
{
    return order_looks_wait(cx, g->looks, order_id, ret, ret_placements, ret_n);
}

struct order_gather *order_gather_new(struct pg *db, struct engine *engine)
{
    struct order_gather *g = xcalloc(1, sizeof *g);

    g->db = db;
    g->engine = engine;
    g->looks = order_looks_new(db);
    g->ends = batcher_new(&(struct batcher_opts){.name = "orders.end",
                                                 .max = ENDS_MAX,
                                                 .at_once = ENDS_AT_ONCE,
                                                 .worth = ENDS_WORTH,
                                                 .timeout_ms = ENDS_MS,
                                                 .carry = carry,
                                                 .free_item = free_ending,
                                                 .arg = g});
    return g;
}

struct order_gather *order_gather_free(struct order_gather *g)
{
    if (!g)
        return NULL;
    batcher_free(g->looks);
    batcher_free(g->ends);
    free(g);
    return NULL;
}

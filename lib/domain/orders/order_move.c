/* order_move.c - locked, moved, settled, told: the write that all steps share.
 *
 *      order row FOR UPDATE ── placements ── route            one round trip
 *                 |
 *      (the step decides)
 *                 |
 *      placement UPDATE ── order UPDATE ── event ── NOTIFY    one round trip
 *                 `── final or review, and somebody wants to be called: webhook.deliver
 *
 * The order's lock is taken first by everybody, so steps of one order never meet each other half
 * way. */
#include "domain/orders/order_move.h"
#include "base/text.h"
#include "base/trace.h"
#include "domain/orders/order_create.h"
#include "domain/orders/order_flow.sql.h"
#include "domain/orders/order_row.h"
#include "domain/orders/orders.sql.h"
#include "domain/orders/placements.sql.h"
#include "domain/row.h"
#include "rt/spans.h"
#include <assert.h>
#include <string.h>

#define CURRENCY_LEN 3

/* ---------------------------------------------------------------- read under the lock */

void route_read(struct cx *cx, const struct pg_result *res, struct route_stop **ret, size_t *ret_n)
{
    struct route_stop *route = rows_alloc(cx, res, struct route_stop);

    for (int i = 0; i < pg_rows(res); i++) {
        struct row r = ROW(cx, res, i);
        route[i].integration_id = row_text(&r);
        route[i].name = row_text(&r);
        route[i].enabled = row_bool(&r);
        route[i].product = row_text(&r);
        route[i].kupur = row_text(&r);
    }
    *ret = route;
    *ret_n = (size_t)pg_rows(res);
}

static void free_results(struct pg_step *steps)
{
    for (size_t i = 0; i < 3; i++)
        pg_result_freep(&steps[i].result);
}

static rc read_all(struct cx *cx, const struct pg_step *steps, const char *order_id, struct move *m)
{
    if (pg_rows(steps[0].result) == 0)
        return fail(cx, NOT_FOUND, "order %s does not exist", order_id);
    try(order_read(cx, steps[0].result, 0, &m->o));
    try(placements_read(cx, steps[1].result, &m->p, &m->np));
    route_read(cx, steps[2].result, &m->route, &m->nroute);
    return OK;
}

rc move_lock(struct cx *cx, const struct order_step *st, const char *tenant_id,
             const char *order_id, struct move *ret)
{
    char uuid[ID_LEN + 1];

    if (!id_parse(order_id, uuid))
        return fail(cx, NOT_FOUND, "there is no such order");
    struct pg_step steps[] = {
        {.q = &SQL_ORDER_LOCK, .args = PG_ARGS(pg_s(uuid), pg_s(tenant_id))},
        {.q = &SQL_PLACEMENTS_OF_ORDER, .args = PG_ARGS(pg_s(uuid))},
        {.q = &SQL_ORDER_ROUTE, .args = PG_ARGS(pg_s(uuid))},
    };
    *ret = (struct move){.st = st};
    rc r = pg_tx_steps(cx, st->tx, steps, COUNT(steps));
    if (r == OK)
        r = read_all(cx, steps, uuid, ret);
    free_results(steps);
    return r;
}

struct placement *move_find(struct move *m, int64_t placement_id)
{
    for (size_t i = 0; i < m->np; i++) {
        if (m->p[i].id == placement_id)
            return &m->p[i];
    }
    return NULL;
}

struct placement *move_latest(struct move *m, int unit)
{
    struct placement *latest = NULL;

    for (size_t i = 0; i < m->np; i++) {
        if (m->p[i].unit == unit)
            latest = &m->p[i];
    }
    return latest;
}

static bool failed_there(const struct placement *p, size_t np, int unit, const char *integration_id)
{
    for (size_t i = 0; i < np; i++) {
        if (p[i].unit == unit && p[i].status == PLACEMENT_FAILED &&
            str_eq(p[i].integration_id, integration_id))
            return true;
    }
    return false;
}

const struct route_stop *route_next(const struct route_stop *route, size_t nroute,
                                    const struct placement *p, size_t np, int unit)
{
    for (size_t i = 0; i < nroute; i++) {
        if (route[i].enabled && !failed_there(p, np, unit, route[i].integration_id))
            return &route[i];
    }
    return NULL;
}

/* ---------------------------------------------------------------- words of a provider, made to fit
 */

static const char *fit(struct cx *cx, const char *s, size_t max_bytes)
{
    if (str_empty(s) || !utf8_valid(s, strlen(s)))
        return NULL;
    return arena_strndup(&cx->arena, s, utf8_cut(s, max_bytes));
}

/* Characters, not bytes: a note in Arabic may be as long as one in English. */
static const char *fit_note(struct cx *cx, const char *s)
{
    if (str_empty(s) || !utf8_valid(s, strlen(s)))
        return NULL;
    size_t end = 0;
    for (size_t chars = 0; s[end] && chars < ORDER_NOTE_MAX; chars++) {
        end++;
        while (((unsigned char)s[end] & 0xc0) == 0x80)
            end++;
    }
    return arena_strndup(&cx->arena, s, end);
}

static bool fit_cost(const struct provider_words *w)
{
    if (!w->cost || !w->currency || strlen(w->cost) > 16 || !decimal_valid(w->cost, 6))
        return false;
    return strlen(w->currency) == CURRENCY_LEN &&
           strspn(w->currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == CURRENCY_LEN &&
           strcspn(w->cost, ".") <= 12;
}

/* ---------------------------------------------------------------- jobs */

static rc enqueue(struct cx *cx, struct move *m, struct job_new *j)
{
    struct span span;

    j->durable = true;
    j->priority = JOB_PRIORITY;
    j->subject = m->o.id;
    j->tenant_id = m->o.tenant_id;
    span_begin(cx, &span, SPAN_PRODUCER, "job.enqueue");
    j->trace = trace_text(cx);
    rc r = m->st->enqueue ? m->st->enqueue(cx, m->st->tx, j, m->st->arg)
                          : engine_insert(cx, m->st->tx, j, 1);
    span_end(cx, &span, r == OK, SPAN_FACTS({"job.task", j->task}));
    return r;
}

rc move_enqueue(struct cx *cx, struct move *m, const char *task, int64_t run_at_ms)
{
    struct job_new *j = arena_alloc(&cx->arena, sizeof(*j)); /* lives until the caller's commit */

    *j = (struct job_new){
        .queue = ORDER_QUEUE,
        .task = task,
        .args = arena_printf(&cx->arena, "{\"order_id\":\"%s\"}", m->o.id),
        .run_at_ms = run_at_ms,
        .unique_key = arena_printf(&cx->arena, "%s:%s", task, m->o.id),
    };
    return enqueue(cx, m, j);
}

struct job_new *move_callback(struct cx *cx, const struct move *m)
{
    struct job_new *j = arena_alloc(&cx->arena, sizeof(*j));

    *j = (struct job_new){
        .queue = WEBHOOK_QUEUE,
        .task = WEBHOOK_TASK,
        .args = arena_printf(&cx->arena, "{\"order_id\":\"%s\",\"event\":\"order.%s\"}", m->o.id,
                             order_status_word(m->o.status)),
        .durable = true,
        .priority = JOB_PRIORITY,
        .unique_key = arena_printf(&cx->arena, WEBHOOK_TASK ":%s:%d", m->o.id, m->o.version),
        .subject = m->o.id,
        .tenant_id = m->o.tenant_id,
    };
    return j;
}

/* ---------------------------------------------------------------- the write */

static const struct provider_words no_words;

/* A struct pg_arg is 64 bytes and a frame is small: the parameters live in the arena. */
static const struct pg_arg *args_keep(struct cx *cx, const struct pg_arg *a, size_t n)
{
    struct pg_arg *kept = arena_alloc(&cx->arena, n * sizeof(*kept));
    memcpy(kept, a, n * sizeof(*kept));
    return kept;
}
#define KEEP(cx, ...) args_keep((cx), PG_ARGS(__VA_ARGS__), COUNT(PG_ARGS(__VA_ARGS__)))

static struct pg_step placement_step(struct cx *cx, const struct change *c, const char *sealed_pin)
{
    const struct provider_words *w = c->w ? c->w : &no_words;
    bool cost = fit_cost(w), arrived = c->to != PLACEMENT_UNSENT && c->to != PLACEMENT_SENDING &&
                                       c->to != PLACEMENT_FAILED;

    return (struct pg_step){
        .q = &SQL_PLACEMENT_MOVE,
        .args = KEEP(cx, pg_i(c->p->id), pg_s(placement_status_word(c->to)),
                     pg_s(fit(cx, w->external_id, 128)), pg_s(fit(cx, w->external_status, 64)),
                     pg_s(fit_note(cx, w->note)), pg_s(cost ? w->cost : NULL),
                     pg_s(cost ? w->currency : NULL), pg_s(sealed_pin), pg_i(c->asked),
                     pg_i(c->called), pg_b(arrived), pg_b(c->gave_up), pg_i(c->call_token)),
    };
}

static struct pg_step order_step_of(struct cx *cx, const struct move *m, const struct change *c,
                                    enum order_status to, const char *sealed_pin)
{
    const struct provider_words *w = c->w ? c->w : &no_words;
    const struct placement *p = c->p;
    const char *note = c->keep_note ? NULL : c->order_note ? c->order_note : w->note;
    bool arrived = to == ORDER_SENT || to == ORDER_UNCONFIRMED || (p && placement_asking(c->to)) ||
                   (p && c->to == PLACEMENT_COMPLETED);

    return (struct pg_step){
        .q = &SQL_ORDER_MOVE,
        .args =
            KEEP(cx, pg_s(m->o.id), pg_s(order_status_word(to)), pg_s(p ? p->integration_id : NULL),
                 pg_s(p ? p->provider : NULL), pg_s(p ? p->referans : NULL),
                 pg_s(fit(cx, w->external_status, 64)), pg_b(arrived), pg_s(fit_note(cx, note)),
                 pg_i(c->begun), pg_i(m->o.quantity), pg_s(sealed_pin), pg_b(p && p->unit == 1)),
    };
}

static struct pg_step event_step(struct cx *cx, const struct move *m, const char *event,
                                 const char *status, const struct placement *p, const char *detail)
{
    return (struct pg_step){
        .q = &SQL_ORDER_EVENT,
        .args = KEEP(cx, pg_s(m->o.id), pg_s(event), pg_s(status), pg_i(p ? p->unit : 0),
                     pg_s(p ? p->provider : NULL), pg_s(p ? p->referans : NULL), pg_s(m->st->actor),
                     pg_s(fit_note(cx, detail))),
    };
}

/* What the timeline keeps of an answer. */
static const char *words_told(const struct provider_words *w)
{
    return !w ? NULL : w->verbatim ? w->verbatim : w->note;
}

static rc seal_pin(struct cx *cx, const struct move *m, const char *pin, int unit, const char **ret)
{
    *ret = NULL;
    if (str_empty(pin))
        return OK;
    if (!m->st->seal)
        return fail(cx, INTERNAL, "a PIN was given without the keys to seal it");
    return seal_text(cx, m->st->seal, order_pin_context(cx, m->o.id, unit), pin, ret);
}

static rc run(struct cx *cx, const struct move *m, struct pg_step *steps, size_t n)
{
    rc r = pg_tx_steps(cx, m->st->tx, steps, n);
    for (size_t i = 0; i < n; i++)
        pg_result_freep(&steps[i].result);
    return r;
}

rc move_steps(struct cx *cx, struct move *m, const struct change *c, struct pg_step *steps,
              size_t *ret_n, bool *ret_call_back)
{
    size_t n = 0;
    const char *pin, *order_pin;

    *ret_call_back = false;
    try(seal_pin(cx, m, c->pin, c->p ? c->p->unit : 1, &pin));
    try(seal_pin(cx, m, c->order_pin, 1, &order_pin));
    if (c->p) {
        if (!c->written)
            steps[n++] = placement_step(cx, c, pin ? pin : c->pin_sealed);
        c->p->status = c->to;
        c->p->gave_up = c->gave_up;
        if (c->call_token)
            c->p->call_token = c->call_token;
    }
    *ret_n = n;
    if (!c->event)
        return OK;

    enum order_status from = m->o.status,
                      to = c->decided ? c->status : placements_settle(m->p, m->np, m->o.quantity);
    const char *said = words_told(c->w);
    steps[n++] = order_step_of(cx, m, c, to, order_pin);
    steps[n++] =
        event_step(cx, m, c->event, order_status_word(to), c->p, c->detail ? c->detail : said);
    steps[n++] = (struct pg_step){.q = &SQL_ORDER_ANNOUNCE, .args = KEEP(cx, pg_s(m->o.id))};
    assert(n <= MOVE_STEPS);
    *ret_n = n;
    m->o.status = to;
    m->o.version++;
    *ret_call_back =
        to != from && m->o.callback_url && (order_status_final(to) || to == ORDER_REVIEW);
    return OK;
}

rc move_write(struct cx *cx, struct move *m, const struct change *c)
{
    struct pg_step steps[MOVE_STEPS];
    size_t n;
    bool call_back;

    try(move_steps(cx, m, c, steps, &n, &call_back));
    if (n > 0)
        try(run(cx, m, steps, n));
    return call_back ? enqueue(cx, m, move_callback(cx, m)) : OK;
}

rc move_note(struct cx *cx, struct move *m, const char *event, const struct placement *p,
             const char *detail)
{
    struct pg_step step = event_step(cx, m, event, NULL, p, detail);
    return run(cx, m, &step, 1);
}

/* ---------------------------------------------------------------- what steps have in common */

bool move_takes_answer(const struct move *m, const struct placement *now)
{
    return move_open(m) && now->status != PLACEMENT_COMPLETED && now->status != PLACEMENT_FAILED &&
           now->status != PLACEMENT_UNSENT;
}

rc move_take(struct cx *cx, const struct order_step *st, const struct placement *p,
             const struct provider_words *w, const char *late, struct move *m,
             struct placement **ret_p)
{
    try(move_lock(cx, st, NULL, p->order_id, m));
    struct placement *now = move_find(m, p->id);
    if (!now)
        return fail(cx, NOT_FOUND, "placement %s is not one of order %s", p->referans, p->order_id);
    *ret_p = now;
    if (move_takes_answer(m, now))
        return OK;
    *ret_p = NULL;
    return move_note(cx, m, late, now, words_told(w));
}

bool move_has_other(struct move *m, struct placement *p)
{
    const enum placement_status was = p->status;

    p->status = PLACEMENT_FAILED;
    const struct route_stop *next = route_next(m->route, m->nroute, m->p, m->np, p->unit);
    p->status = was;
    return next != NULL;
}

rc move_lose(struct cx *cx, struct move *m, struct placement *now, const struct provider_words *w,
             bool asked, const char *event, enum order_next *ret_next)
{
    bool next = move_has_other(m, now);

    *ret_next = next ? NEXT_FALLBACK : NEXT_END;
    return move_write(cx, m,
                      &(struct change){.p = now,
                                       .to = PLACEMENT_FAILED,
                                       .w = w,
                                       .event = event,
                                       .asked = asked,
                                       .gave_up = !next});
}

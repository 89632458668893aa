/* order_decide.c - what people decide about an order: its client takes it back, an operator says
 * how it ended. */
#include "base/log.h"
#include "base/text.h"
#include "domain/audit.h"
#include "domain/orders/order_create.h"
#include "domain/orders/order_flow.h"
#include "domain/orders/order_move.h"

static rc reload(struct cx *cx, struct pg_tx *tx, const char *order_id, struct order *ret)
{
    const struct order_step st = {.tx = tx};
    struct move m;

    try(move_lock(cx, &st, NULL, order_id, &m));
    *ret = m.o;
    return OK;
}

/* ---------------------------------------------------------------- what a decision enqueues */

#define MADE_MAX 8 /* a question and a callback; what is beyond is the reconciler's */
#define PUSH_MS  500

/* Jobs enqueued by the transaction, pushed behind it. */
struct made {
    struct job_new *job[MADE_MAX];
    size_t n;
};

static rc keep_made(struct cx *cx, struct pg_tx *tx, struct job_new *j, void *arg)
{
    struct made *m = arg;

    try(engine_insert(cx, tx, j, 1));
    if (!j->existed && m->n < MADE_MAX)
        m->job[m->n++] = j;
    return OK;
}

/* The decision stands whether Redis takes the jobs or not: the reconciler pushes what it did not. */
static void push_made(struct cx *cx, struct engine *e, const struct made *m)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, PUSH_MS);

    for (size_t i = 0; e && i < m->n; i++) {
        rc failed = engine_push(cx, e, m->job[i], 1);
        if (failed != OK)
            log_fail(LOG_WARN, "push.postponed", cx, failed, kv_str("job", m->job[i]->id));
    }
}

/* ---------------------------------------------------------------- cancel */

struct cancel {
    const char *actor, *tenant_id, *order_id;
    struct order *ret;
    struct made made;
};

/* pending is settled out of the placements: none of them is anywhere. Those that never left us end
 * with the order. */
static rc cancel_tx(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct cancel *c = arg;
    const struct order_step st = {
        .tx = tx, .actor = c->actor, .enqueue = keep_made, .arg = &c->made};
    struct move m;

    c->made.n = 0; /* it may run twice */
    try(move_lock(cx, &st, c->tenant_id, c->order_id, &m));
    *c->ret = m.o;
    if (m.o.status == ORDER_CANCELLED)
        return OK;
    if (m.o.status != ORDER_PENDING)
        return fail(cx, TOO_LATE, "the order is %s and cannot be cancelled any more",
                    order_status_word(m.o.status));
    for (size_t i = 0; i < m.np; i++) {
        if (m.p[i].status == PLACEMENT_UNSENT)
            try(move_write(
                cx, &m, &(struct change){.p = &m.p[i], .to = PLACEMENT_FAILED, .gave_up = true}));
    }
    try(move_write(
        cx, &m,
        &(struct change){.decided = true, .status = ORDER_CANCELLED, .event = "cancelled"}));
    return reload(cx, tx, m.o.id, c->ret);
}

rc order_cancel(struct cx *cx, struct pg *db, struct engine *engine, const char *actor,
                const char *tenant_id, const char *order_id, struct order *ret)
{
    struct cancel c = {.actor = actor, .tenant_id = tenant_id, .order_id = order_id, .ret = ret};

    try(pg_tx_run(cx, db, cancel_tx, &c));
    push_made(cx, engine, &c.made);
    return OK;
}

/* ---------------------------------------------------------------- resolve */

struct resolve {
    const struct seal_keys *seal;
    const char *actor, *order_id, *pin, *note;
    int unit;
    enum order_decision decision;
    struct order *ret;
    struct made made;
};

static const char *const decision_words[] = {
    [DECIDE_COMPLETED] = "completed", [DECIDE_FAILED] = "failed", [DECIDE_ASK] = "ask"};

static bool decides(const struct resolve *r, const struct placement *p)
{
    if (r->unit && p->unit != r->unit)
        return false;
    if (r->decision == DECIDE_ASK)
        return p->status == PLACEMENT_REVIEW;
    return p->status != PLACEMENT_COMPLETED && p->status != PLACEMENT_FAILED;
}

static rc check_resolve(struct cx *cx, const struct resolve *r, const struct move *m)
{
    if (order_status_final(m->o.status))
        return fail(cx, CONFLICT, "the order has ended: %s", order_status_word(m->o.status));
    if (m->o.status == ORDER_SENDING)
        return fail(cx, CONFLICT, "the provider is being called; decide when its answer is known");
    if (r->unit < 0 || r->unit > m->o.quantity)
        return fail(cx, CONFLICT, "the order has no unit %d", r->unit);
    if (r->pin && r->decision != DECIDE_COMPLETED)
        return fail_at(cx, INVALID_FIELD, "/pin", "only a completed order has a PIN");
    if (r->pin && !r->unit && m->o.quantity > 1)
        return fail_at(cx, INVALID_FIELD, "/pin", "say which unit the PIN belongs to");
    return OK;
}

static struct change change_of(const struct resolve *r, struct placement *p)
{
    struct change c = {.p = p, .detail = r->note, .order_note = r->note};

    switch (r->decision) {
    case DECIDE_COMPLETED:
        c.to = PLACEMENT_COMPLETED;
        c.pin = r->pin;
        c.event = "resolved_completed";
        break;
    case DECIDE_FAILED:
        c.to = PLACEMENT_FAILED;
        c.gave_up = true;
        c.event = "resolved_failed";
        break;
    case DECIDE_ASK:
        c.to = PLACEMENT_UNCONFIRMED;
        c.event = "resolved_ask";
        break;
    }
    return c;
}

/* The whole order ends as decided, whatever its units say: the last placement moved, or none,
 * carries it. */
static rc decide_order(struct cx *cx, struct move *m, const struct resolve *r, bool moved)
{
    enum order_status want = r->decision == DECIDE_COMPLETED ? ORDER_COMPLETED : ORDER_FAILED;

    if (r->unit || r->decision == DECIDE_ASK || order_status_final(m->o.status))
        return OK;
    return move_write(cx, m,
                      &(struct change){.decided = true,
                                       .status = want,
                                       .detail = r->note,
                                       .order_note = r->note,
                                       .order_pin = moved ? NULL : r->pin,
                                       .event = want == ORDER_COMPLETED ? "resolved_completed"
                                                                        : "resolved_failed"});
}

static rc resolve_tx(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct resolve *r = arg;
    const struct order_step st = {
        .tx = tx, .seal = r->seal, .actor = r->actor, .enqueue = keep_made, .arg = &r->made};
    struct move m;
    bool moved = false;

    r->made.n = 0; /* it may run twice */

    try(move_lock(cx, &st, NULL, r->order_id, &m));
    try(check_resolve(cx, r, &m));
    for (size_t i = 0; i < m.np; i++) {
        if (!decides(r, &m.p[i]))
            continue;
        const struct change c = change_of(r, &m.p[i]);
        try(move_write(cx, &m, &c));
        moved = true;
    }
    if (!moved && (r->unit || r->decision == DECIDE_ASK))
        return fail(cx, CONFLICT, "there is nothing to decide");
    try(decide_order(cx, &m, r, moved));
    if (r->decision == DECIDE_ASK)
        try(move_enqueue(cx, &m, ORDER_CHECK_TASK, 0));

    _cleanup_(buf_release) struct buf detail = BUF(KiB(16));
    buf_printf(&detail, "{\"decision\":\"%s\",\"unit\":%d,\"status\":\"%s\",\"note\":",
               decision_words[r->decision], r->unit, order_status_word(m.o.status));
    buf_json_str(&detail, r->note);
    buf_putc(&detail, '}');
    if (!buf_ok(&detail))
        return fail_at(cx, INVALID_FIELD, "/note", "is too long");
    try(audit_write(cx, tx,
                    &(struct audit){.tenant_id = m.o.tenant_id,
                                    .actor = r->actor,
                                    .action = "order.resolve",
                                    .object_type = "order",
                                    .object_id = m.o.id,
                                    .detail = buf_str(&detail)}));
    return reload(cx, tx, m.o.id, r->ret);
}

rc order_resolve(struct cx *cx, struct pg *db, struct engine *engine, const struct seal_keys *seal,
                 const char *actor, const char *order_id, int unit, enum order_decision decision,
                 const char *pin, const char *note, struct order *ret)
{
    struct resolve r = {.seal = seal,
                        .actor = actor,
                        .order_id = order_id,
                        .pin = str_empty(pin) ? NULL : pin,
                        .note = note,
                        .unit = unit,
                        .decision = decision,
                        .ret = ret};
    try(pg_tx_run(cx, db, resolve_tx, &r));
    push_made(cx, engine, &r.made);
    return OK;
}

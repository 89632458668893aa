/* order_flow.c - the steps of a dispatch: the reference before the call, and what its answer means.
 *
 * Each step is: lock, look again, move or note that it came too late. See order_flow.h for what
 * they guarantee. */
#include "domain/orders/order_flow.h"
#include "base/id.h"
#include "base/text.h"
#include "domain/orders/order_create.h"
#include "domain/orders/order_flow.sql.h"
#include "domain/orders/order_move.h"
#include "domain/row.h"

/* ---------------------------------------------------------------- before the call */

int64_t call_token_new(void)
{
    return (int64_t)random_below(INT64_MAX - 1) + 1;
}

static rc insert_placement(struct cx *cx, struct move *m, int unit, const struct route_stop *stop,
                           enum referans_form form, int64_t call_token, struct placement *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_tx_do(cx, m->st->tx, SQL_PLACEMENT_BEGIN, &res, pg_s(m->o.id), pg_i(unit),
                 pg_s(stop->integration_id), pg_b(form == REFERANS_UUID), pg_i(call_token)));
    struct row r = ROW(cx, res, 0);
    *ret = (struct placement){
        .order_id = m->o.id, .unit = unit, .integration_id = stop->integration_id};
    ret->provider = stop->name;
    ret->status = PLACEMENT_SENDING;
    ret->calls = 1;
    ret->call_token = call_token;
    ret->id = row_int(&r);
    ret->referans = row_text(&r);
    ret->created_ms = row_ms(&r);
    return OK;
}

/* The placements under the lock with one more, in the list's order: by unit, then by try. */
static struct placement *add_placement(struct cx *cx, struct move *m, const struct placement *p)
{
    struct placement *list = arena_alloc(&cx->arena, (m->np + 1) * sizeof(*list)), *added = NULL;
    size_t n = 0;

    for (size_t i = 0; i < m->np; i++) {
        if (!added && m->p[i].unit > p->unit) {
            added = &list[n++];
            *added = *p;
        }
        list[n++] = m->p[i];
    }
    if (!added) {
        added = &list[n++];
        *added = *p;
    }
    m->p = list;
    m->np = n;
    return added;
}

static const struct route_stop *find_stop(const struct move *m, const char *integration_id)
{
    for (size_t i = 0; i < m->nroute; i++) {
        if (str_eq(m->route[i].integration_id, integration_id))
            return &m->route[i];
    }
    return NULL;
}

/* What may not be begun: nothing to do any more, or something is there that must not be doubled. */
static bool begin_refused(struct move *m, int unit, const char *integration_id,
                          struct placement *ret, enum order_begun *ret_begun)
{
    const struct placement *p = move_latest(m, unit);
    const struct route_stop *stop = find_stop(m, integration_id);

    if (!move_open(m) || m->o.status == ORDER_REVIEW || unit < 1 || unit > m->o.quantity) {
        *ret_begun = BEGUN_ENDED;
        return true;
    }
    bool tried = stop && route_next(stop, 1, m->p, m->np, unit) == NULL;
    if (unit_waits(p) && stop && !tried)
        return false;
    *ret = p ? *p : (struct placement){.order_id = m->o.id, .unit = unit};
    *ret_begun = p ? BEGUN_DOUBT : BEGUN_ENDED;
    return true;
}

rc order_begin(struct cx *cx, const struct order_step *st, const char *order_id, int unit,
               const char *integration_id, enum referans_form form, struct placement *ret,
               enum order_begun *ret_begun)
{
    struct move m;

    try(move_lock(cx, st, NULL, order_id, &m));
    if (begin_refused(&m, unit, integration_id, ret, ret_begun))
        return OK;

    struct placement *p = move_latest(&m, unit);
    if (p && p->status == PLACEMENT_UNSENT && !str_eq(p->integration_id, integration_id)) {
        /* It never left us, and somebody else is asked now. */
        try(move_write(cx, &m, &(struct change){.p = p, .to = PLACEMENT_FAILED}));
        p = NULL;
    } else if (p && p->status == PLACEMENT_FAILED) {
        p = NULL;
    }
    bool fresh = !p;
    int64_t call_token = call_token_new();
    if (fresh) {
        struct placement added;
        try(insert_placement(cx, &m, unit, find_stop(&m, integration_id), form, call_token,
                             &added));
        p = add_placement(cx, &m, &added);
    }
    try(move_write(cx, &m,
                   &(struct change){.p = p,
                                    .to = PLACEMENT_SENDING,
                                    .event = "sending",
                                    .begun = true,
                                    .call_token = call_token,
                                    .written = fresh}));
    *ret = *p;
    *ret_begun = BEGUN;
    return OK;
}

/* ---------------------------------------------------------------- after it */

static rc ask_later(struct cx *cx, struct move *m, int64_t check_at_ms)
{
    return check_at_ms ? move_enqueue(cx, m, ORDER_CHECK_TASK, check_at_ms) : OK;
}

rc order_placed(struct cx *cx, const struct order_step *st, const struct placement *p,
                const struct provider_words *w, int64_t check_at_ms)
{
    struct move m;
    struct placement *now;

    try(move_take(cx, st, p, w, "late_sent", &m, &now));
    if (!now)
        return OK;
    if (now->status == PLACEMENT_SENDING || now->status == PLACEMENT_UNCONFIRMED ||
        now->status == PLACEMENT_REVIEW)
        try(move_write(cx, &m,
                       &(struct change){.p = now, .to = PLACEMENT_SENT, .w = w, .event = "sent"}));
    return ask_later(cx, &m, check_at_ms);
}

/* Is the call under way, or the last one, the one that p knows of? */
static bool same_call(const struct placement *now, const struct placement *p)
{
    return now->call_token == p->call_token;
}

/* A newer call is left to its own caller, who will say what became of it. */
static rc to_unconfirmed(struct cx *cx, struct move *m, struct placement *now,
                         const struct placement *p, const struct provider_words *w,
                         int64_t check_at_ms)
{
    if (now->status == PLACEMENT_SENDING && same_call(now, p))
        try(move_write(cx, m,
                       &(struct change){
                           .p = now, .to = PLACEMENT_UNCONFIRMED, .w = w, .event = "unconfirmed"}));
    return ask_later(cx, m, check_at_ms);
}

rc order_unclear(struct cx *cx, const struct order_step *st, const struct placement *p,
                 const struct provider_words *w, int64_t check_at_ms)
{
    struct move m;
    struct placement *now;

    try(move_take(cx, st, p, w, "late_unclear", &m, &now));
    return now ? to_unconfirmed(cx, &m, now, p, w, check_at_ms) : OK;
}

/* An earlier call under this reference may have arrived; that this one did not says nothing about it. Nor does an older
 * call's word about the one that is under way now. */
static bool certainly_nowhere(const struct placement *now, const struct placement *p)
{
    return now->calls == 1 && now->status == PLACEMENT_SENDING && same_call(now, p);
}

rc order_unsent(struct cx *cx, const struct order_step *st, const struct placement *p,
                const struct provider_words *w, int64_t check_at_ms)
{
    struct move m;
    struct placement *now;

    try(move_take(cx, st, p, w, "late_unsent", &m, &now));
    if (!now)
        return OK;
    if (!certainly_nowhere(now, p))
        return to_unconfirmed(cx, &m, now, p, w, check_at_ms);
    return move_write(
        cx, &m, &(struct change){.p = now, .to = PLACEMENT_UNSENT, .w = w, .event = "unsent"});
}

rc order_not_let_in(struct cx *cx, const struct order_step *st, const struct placement *p,
                    const struct provider_words *w, int64_t check_at_ms, enum order_next *ret_next)
{
    struct move m;
    struct placement *now;

    *ret_next = NEXT_END;
    try(move_take(cx, st, p, w, "late_unsent", &m, &now));
    if (!now)
        return OK;
    if (!certainly_nowhere(now, p)) {
        *ret_next = NEXT_ASK;
        return to_unconfirmed(cx, &m, now, p, w, check_at_ms);
    }
    if (move_has_other(&m, now))
        return move_lose(cx, &m, now, w, /* asked= */ false, "refused", ret_next);
    return move_write(
        cx, &m, &(struct change){.p = now, .to = PLACEMENT_UNSENT, .w = w, .event = "unsent"});
}

rc order_refused(struct cx *cx, const struct order_step *st, const struct placement *p,
                 const struct provider_words *w, int64_t check_at_ms, enum order_next *ret_next)
{
    struct move m;
    struct placement *now;

    *ret_next = NEXT_END;
    try(move_take(cx, st, p, w, "late_refused", &m, &now));
    if (!now)
        return OK;
    bool only_call = now->calls == 1 && p->calls == 1 && same_call(now, p);
    if (only_call && (now->status == PLACEMENT_SENDING || now->status == PLACEMENT_UNCONFIRMED))
        return move_lose(cx, &m, now, w, /* asked= */ false, "refused", ret_next);
    /* A panel may look at the balance before it looks for duplicates: the call before may have used
     * it up. */
    *ret_next = NEXT_ASK;
    return to_unconfirmed(cx, &m, now, p, w, check_at_ms);
}

/* ---------------------------------------------------------------- nobody to ask */

static bool unit_done(const struct placement *p)
{
    return p && p->status == PLACEMENT_COMPLETED;
}

/* Units beside this one: is any under way, is any delivered or before a person? */
static void others(struct move *m, int unit, bool *ret_busy, bool *ret_person)
{
    *ret_busy = *ret_person = false;
    for (int u = 1; u <= m->o.quantity; u++) {
        const struct placement *p = u == unit ? NULL : move_latest(m, u);
        *ret_person |= unit_done(p) || (p && p->status == PLACEMENT_REVIEW);
        *ret_busy |= p && (p->status == PLACEMENT_SENDING || placement_asking(p->status));
    }
}

rc order_give_up(struct cx *cx, const struct order_step *st, const char *order_id, int unit,
                 const char *why)
{
    struct move m;
    bool busy, person;

    try(move_lock(cx, st, NULL, order_id, &m));
    struct placement *p = move_latest(&m, unit);
    if (!move_open(&m) || !unit_waits(p))
        return move_note(cx, &m, "late_give_up", p, why);
    if (p)
        return move_write(cx, &m,
                          &(struct change){.p = p,
                                           .to = PLACEMENT_FAILED,
                                           .gave_up = true,
                                           .event = "failed",
                                           .detail = why,
                                           .order_note = why});
    /* No placement was ever made for the unit, so only the order can say it: once nothing else of
     * it moves. */
    others(&m, unit, &busy, &person);
    if (busy)
        return fail(cx, CONFLICT, "unit %d cannot be placed, and other units are under way", unit);
    return move_write(cx, &m,
                      &(struct change){.decided = true,
                                       .status = person ? ORDER_REVIEW : ORDER_FAILED,
                                       .event = person ? "review" : "failed",
                                       .detail = why,
                                       .order_note = why});
}

/* order_plan.c - what is to be done next for an order, unit by unit.
 *
 *   latest placement of the unit      then
 *   none, unsent                      place it: at the first in the route where it has not failed
 *   failed, others may be tried       the same; nobody left: unrouted
 *   sending                           its caller died before the answer was stored: doubt
 *   sent, unconfirmed, ended, review  nothing to do here
 *
 * Doubts first, then what can be placed, then what cannot. */
#include "domain/orders/order_flow.sql.h"
#include "domain/orders/order_move.h"
#include "domain/orders/order_row.h"
#include "domain/orders/placements.sql.h"
#include "domain/row.h"

bool unit_waits(const struct placement *p)
{
    return !p || p->status == PLACEMENT_UNSENT || (p->status == PLACEMENT_FAILED && !p->gave_up);
}

/* What is more urgent for one unit than for those before it: a unit that nobody can be asked for must not hide a caller that
 * died, or one that can be placed. */
static void plan_unit(struct move *m, int unit, struct order_plan *ret)
{
    const struct placement *p = move_latest(m, unit);

    if (p && p->status == PLACEMENT_SENDING) {
        ret->what = PLAN_DOUBT;
        ret->unit = unit;
        ret->doubt = *p;
        return;
    }
    if (!unit_waits(p) || ret->what == PLAN_PLACE)
        return;
    const struct route_stop *stop = route_next(m->route, m->nroute, m->p, m->np, unit);
    if (!stop && ret->what == PLAN_UNROUTED)
        return;
    ret->what = stop ? PLAN_PLACE : PLAN_UNROUTED;
    ret->unit = unit;
    if (stop) {
        ret->integration_id = stop->integration_id;
        ret->product = stop->product;
        ret->kupur = stop->kupur;
    }
}

/* Orders and placements are read without a lock and not at one moment: order_begin looks again. */
static rc plan_read(struct cx *cx, struct pg *db, const char *order_id, struct move *m)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(order_load(cx, db, NULL, order_id, &m->o));
    try(placement_list(cx, db, m->o.id, &m->p, &m->np));
    try(pg_do(cx, db, SQL_ORDER_ROUTE, &res, pg_s(m->o.id)));
    route_read(cx, res, &m->route, &m->nroute);
    return OK;
}

static void plan_units(struct move *m, struct order_plan *ret)
{
    *ret = (struct order_plan){.what = PLAN_NOTHING, .order = m->o};
    if (!move_open(m) || m->o.status == ORDER_REVIEW)
        return;
    for (int u = 1; u <= m->o.quantity && ret->what != PLAN_DOUBT; u++)
        plan_unit(m, u, ret);
}

rc order_plan(struct cx *cx, struct pg *db, const char *order_id, struct order_plan *ret)
{
    struct move m = {0};

    try(plan_read(cx, db, order_id, &m));
    plan_units(&m, ret);
    return OK;
}

rc order_dispatched(struct cx *cx, const struct order_step *st, const char *order_id)
{
    struct order_plan plan;
    struct move m;

    try(move_lock(cx, st, NULL, order_id, &m));
    plan_units(&m, &plan);
    if (plan.what != PLAN_NOTHING)
        return fail(cx, CONFLICT, "unit %d is to be placed after all", plan.unit);
    return OK;
}

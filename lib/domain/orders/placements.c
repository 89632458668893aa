/* placements.c - what was placed at providers, and what it says about the order. */
#include "domain/orders/placements.h"
#include "base/text.h"
#include "domain/orders/order_row.h"
#include "domain/orders/placements.sql.h"
#include "domain/row.h"
#include <assert.h>

static const char *const status_words[] = {
    [PLACEMENT_UNSENT] = "unsent",       [PLACEMENT_SENDING] = "sending",
    [PLACEMENT_SENT] = "sent",           [PLACEMENT_UNCONFIRMED] = "unconfirmed",
    [PLACEMENT_COMPLETED] = "completed", [PLACEMENT_FAILED] = "failed",
    [PLACEMENT_REVIEW] = "review",
};
_Static_assert(COUNT(status_words) == PLACEMENT_STATUS_COUNT, "a word for each status");

const char *placement_status_word(enum placement_status s)
{
    assert(s < PLACEMENT_STATUS_COUNT);
    return status_words[s];
}

static bool status_parse(const char *word, enum placement_status *ret)
{
    for (size_t i = 0; i < COUNT(status_words); i++) {
        if (str_eq(word, status_words[i])) {
            *ret = (enum placement_status)i;
            return true;
        }
    }
    return false;
}

rc placements_read_some(struct cx *cx, const struct pg_result *res, int first, int n,
                        struct placement **ret)
{
    struct placement *list = arena_alloc(&cx->arena, (size_t)(n + 1) * sizeof *list);

    for (int i = 0; i < n; i++) {
        struct row r = ROW(cx, res, first + i);
        struct placement *p = &list[i];
        p->id = row_int(&r);
        p->order_id = row_text(&r);
        p->unit = (int)row_int(&r);
        p->integration_id = row_text(&r);
        p->provider = row_text(&r);
        p->referans = row_text(&r);
        const char *status = row_text(&r);
        if (!status_parse(status, &p->status))
            return fail(cx, SCHEMA, "placement %s has the unknown status '%s'", p->referans,
                        status);
        p->calls = (int)row_int(&r);
        p->call_token = row_int(&r);
        p->asked = (int)row_int(&r);
        p->gave_up = row_bool(&r);
        p->external_id = row_text(&r);
        p->external_status = row_text(&r);
        p->note = row_text(&r);
        p->cost_amount = row_text(&r);
        p->cost_currency = row_text(&r);
        p->pin_sealed = row_text(&r);
        p->created_ms = row_ms(&r);
        p->sent_ms = row_ms(&r);
        p->asked_ms = row_ms(&r);
        p->ended_ms = row_ms(&r);
    }
    *ret = list;
    return OK;
}

rc placements_read(struct cx *cx, const struct pg_result *res, struct placement **ret,
                   size_t *ret_n)
{
    *ret_n = (size_t)pg_rows(res);
    return placements_read_some(cx, res, 0, pg_rows(res), ret);
}

rc placement_list(struct cx *cx, struct pg *db, const char *order_id, struct placement **ret,
                  size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_PLACEMENTS_OF_ORDER, &res, pg_s(order_id)));
    return placements_read(cx, res, ret, ret_n);
}

enum order_status placements_settle(const struct placement *p, size_t n, int quantity)
{
    int units[PLACEMENT_STATUS_COUNT] = {0}, seen = 0, waiting = 0;

    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && p[i + 1].unit == p[i].unit)
            continue; /* a later try counts */
        seen++;
        if (p[i].status == PLACEMENT_UNSENT || (p[i].status == PLACEMENT_FAILED && !p[i].gave_up))
            waiting++;
        else
            units[p[i].status]++;
    }
    waiting += MAX(quantity - seen, 0);

    if (units[PLACEMENT_SENDING])
        return ORDER_SENDING;
    if (units[PLACEMENT_UNCONFIRMED])
        return ORDER_UNCONFIRMED;
    if (units[PLACEMENT_SENT])
        return ORDER_SENT;
    if (waiting) /* what is done or in review has been sent; a cancel must not pass for safe */
        return units[PLACEMENT_COMPLETED] || units[PLACEMENT_REVIEW] ? ORDER_SENT : ORDER_PENDING;
    if (units[PLACEMENT_REVIEW] || (units[PLACEMENT_COMPLETED] && units[PLACEMENT_FAILED]))
        return ORDER_REVIEW;
    return units[PLACEMENT_COMPLETED] ? ORDER_COMPLETED : ORDER_FAILED;
}

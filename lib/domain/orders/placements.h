/* placements.h - what was placed for an order at providers: one row per unit and try, under a
 * reference of its own.
 *
 *   unsent <--> sending --> sent ------> completed | failed | review
 *                  |  `--> unconfirmed -> (the same, or sent, or sending again where the provider merges duplicates)
 *                  `-----> completed | failed
 *
 * A unit has at most one placement that is not failed (a unique index): that is the rule against
 * buying twice. */
#pragma once
#include "domain/orders/orders.h"

enum placement_status {
    PLACEMENT_UNSENT,      /* certainly never left us: the same reference will be used again */
    PLACEMENT_SENDING,     /* reference stored, call under way, or its caller died */
    PLACEMENT_SENT,        /* the provider knows it */
    PLACEMENT_UNCONFIRMED, /* may or may not have arrived; being asked */
    PLACEMENT_COMPLETED,
    PLACEMENT_FAILED, /* over: refused, cancelled there, given up */
    PLACEMENT_REVIEW, /* a person must decide */
    PLACEMENT_STATUS_COUNT
};
const char *placement_status_word(enum placement_status s);
/* Worth asking the provider about: sent or unconfirmed. */
static inline bool placement_asking(enum placement_status s)
{
    return s == PLACEMENT_SENT || s == PLACEMENT_UNCONFIRMED;
}

struct placement {
    int64_t id;
    const char *order_id;
    int unit; /* 1..quantity */
    const char *integration_id, *provider, *referans;
    enum placement_status status;
    int calls, asked;   /* times sent under this reference; times asked about */
    int64_t call_token; /* of the call under way, or the last: who has another is not its caller */
    bool gave_up;       /* failed, and nobody else is tried for the unit */
    const char *external_id, *external_status, *note;     /* NULL: none */
    const char *cost_amount, *cost_currency, *pin_sealed; /* NULL: none */
    int64_t created_ms, sent_ms, asked_ms,
        ended_ms; /* 0: not yet; sent_ms: accepted, or may have arrived */
};
/* All of an order, by unit and try. Texts in cx's arena. Parks. */
rc placement_list(struct cx *cx, struct pg *db, const char *order_id, struct placement **ret,
                  size_t *ret_n) MW_PARKS;

/* The order's status out of its units' (a unit's is that of its latest placement; pending without
 * one, and while another provider can be tried: failed without gave_up):
 *
 *   any open unit:  sending, else unconfirmed, else sent (also when some are done and others wait), else pending
 *   all completed:  completed          any in review: review
 *   all failed:     failed             some completed, some failed: review (part was delivered)
 *
 * p is in placement_list's order. Pure. */
enum order_status placements_settle(const struct placement *p, size_t n, int quantity);

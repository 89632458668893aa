/* order_move.h - the one way in which an order and its placements are written; for the .c files of
 * order_flow.h.
 *
 *   move_lock   the order's row locked, its placements and its route read under the lock
 *   move_write  placement, order (settled), timeline, announcement in one round trip; webhook when it came to an end */
#pragma once
#include "domain/orders/order_flow.h"

struct route_stop {
    const char *integration_id, *name, *product, *kupur;
    bool enabled;
};

/* All rows of the query order_route. */
void route_read(struct cx *cx, const struct pg_result *res, struct route_stop **ret, size_t *ret_n);

struct move {
    const struct order_step *st;
    struct order o;
    struct placement *p;
    size_t np;
    struct route_stop *route;
    size_t nroute;
};
/* NOT_FOUND. tenant_id NULL: any. */
rc move_lock(struct cx *cx, const struct order_step *st, const char *tenant_id,
             const char *order_id, struct move *ret) MW_PARKS;
/* The placement as it is under the lock; NULL when it is not this order's. */
struct placement *move_find(struct move *m, int64_t placement_id);
/* The latest of a unit; NULL: none. */
struct placement *move_latest(struct move *m, int unit);
/* Waits for a provider: never placed (NULL), certainly not sent, or failed while others may be
 * tried. */
bool unit_waits(const struct placement *latest);
/* Who may be tried (again) for a unit: enabled, and no placement of the unit failed there; NULL:
 * nobody. */
const struct route_stop *route_next(const struct route_stop *route, size_t nroute,
                                    const struct placement *p, size_t np, int unit);
static inline bool move_open(const struct move *m) /* may a placement of it still move it? */
{
    return !order_status_final(m->o.status);
}

struct change {
    struct placement *p; /* whose status is to become `to`; NULL: only the order changes */
    enum placement_status to;
    const struct provider_words *w;
    const char *pin;        /* in clear; sealed here */
    const char *pin_sealed; /* or sealed already */
    bool asked, called, gave_up;
    int64_t call_token;     /* of the call that begins now; 0: none does */
    const char *event;      /* kind, for the timeline; NULL: quiet, only the placement is written */
    const char *detail;     /* NULL: the provider's note */
    const char *order_note; /* NULL: the provider's note */
    bool decided;           /* the order's status is `status` whatever its placements say */
    enum order_status status;
    const char *order_pin; /* decided completed without a placement to hold it */
    bool begun;            /* counts as an attempt */
    bool written;          /* the placement's row says it already */
    bool keep_note;        /* what is said is about the question, not about the order */
};
rc move_write(struct cx *cx, struct move *m, const struct change *c) MW_PARKS;
/* The statements of a change, without running them; the move is then as after them. *ret_n of MOVE_STEPS at most; *ret_call_back:
 * a callback is owed for it (move_callback). Texts in cx's arena. */
#define MOVE_STEPS 4
rc move_steps(struct cx *cx, struct move *m, const struct change *c, struct pg_step *steps,
              size_t *ret_n, bool *ret_call_back);
/* The job that calls back for the order's version as it is now. In cx's arena. */
struct job_new *move_callback(struct cx *cx, const struct move *m);
/* What changes with an answer about the placement, as it is under the lock. */
struct change answer_change(enum order_answer a, struct placement *now,
                            const struct provider_words *w);
/* May an answer still move this placement of the order? */
bool move_takes_answer(const struct move *m, const struct placement *now);
/* A number that no other call has. */
int64_t call_token_new(void);
/* Only a line on the timeline. */
rc move_note(struct cx *cx, struct move *m, const char *event, const struct placement *p,
             const char *detail) MW_PARKS;
/* order.dispatch or order.check for this order, unless one lives. */
rc move_enqueue(struct cx *cx, struct move *m, const char *task, int64_t run_at_ms) MW_PARKS;

/* Lock, and find the placement; *ret_p is NULL when the step comes too late (order or placement
 * ended, or it never left us), which is then on the timeline as `late`. */
rc move_take(struct cx *cx, const struct order_step *st, const struct placement *p,
             const struct provider_words *w, const char *late, struct move *m,
             struct placement **ret_p) MW_PARKS;
/* Can somebody else be tried for the unit once p has failed? */
bool move_has_other(struct move *m, struct placement *p);
/* The placement is over for certain: failed, with NEXT_FALLBACK when somebody else can be tried,
 * else NEXT_END. */
rc move_lose(struct cx *cx, struct move *m, struct placement *now, const struct provider_words *w,
             bool asked, const char *event, enum order_next *ret_next) MW_PARKS;

/* ride.c - see ride.h. */
#include "worker/ride.h"
#include "base/clock.h"
#include "base/inject.h"
#include "base/log.h"
#include "worker/leases.h"
#include "worker/places.h"
#include "worker/pool.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define RIDE_MAX  16
#define SHARE     4 /* of the room: what is promised to a ride */
#define PAUSE_MS  500
#define LEAVE_MS  1000
#define NO_CLIENT INT64_MAX

const char *ride_name(const char *claimer, char out[RIDE_NAME])
{
    snprintf(out, RIDE_NAME, "%s~", claimer);
    return out;
}

bool ride_out(const struct pool *p)
{
    return p->ride.promised > 0 || p->ride.lies || p->ride.doubtful;
}

static struct pool_queue *only_place(const struct pool *p)
{
    return place_after(p, NULL);
}

/* ---------------------------------------------------------------- whether */

static size_t slots(const struct pool *p)
{
    return MIN((p->concurrency - p->running) / SHARE, (size_t)RIDE_MAX);
}

static bool fits(const struct pool *p)
{
    const struct pool_queue *q = only_place(p);

    if (p->nplaces != 1 || redis_is_cluster(p->redis) || p->draining || p->parked)
        return false;
    if (!p->ride.calm || q->hot || q->doubtful || q->nacks > 0 || ride_out(p))
        return false;
    if (p->seats[SEAT_PROCESS].gate.limit || p->seats[SEAT_THREAD].gate.limit)
        return false;
    return slots(p) > 0 && clock_mono_ms() >= q->resume_mono_ms && redis_connected(p->blocking) &&
           redis_client_id(p->blocking) != 0;
}

/* Both connections are of the same user. There is no such client. */
static bool ask(struct cx *cx, struct pool *p)
{
    uint64_t connection = redis_generation(p->redis);
    rc r = redis_cmd(cx, p->redis, NULL, "CLIENT KILL ID %lld", (long long)NO_CLIENT);

    if (r != OK && r != E_REDIS)
        return false;
    if (r != OK)
        log_ev(LOG_INFO, "ride.not_allowed", kv_str("why", cx_words(cx, r)),
               kv_str("hint", "+client|kill lets an idle worker start jobs sooner"));
    p->ride.allowed = r == OK;
    p->ride.asked = connection;
    return true;
}

bool ride_may(struct cx *cx, struct pool *p)
{
    if (!fits(p))
        return false;
    if (p->ride.asked != redis_generation(p->redis) && !ask(cx, p))
        return false;
    return p->ride.allowed && fits(p);
}

/* ---------------------------------------------------------------- when it went wrong */

/* Its answer will not be read any more. Our end is closed here: whatever was still to come on it is nobody's. */
static rc lose_sight(struct cx *cx, struct pool *p)
{
    struct redis *fresh;

    p->ride.lies = true;
    p->ride.client = redis_client_id(p->blocking);
    p->ride.main = redis_generation(p->redis);
    try(redis_new(cx, p->settings->redis_url, &fresh));
    redis_free(p->blocking);
    p->blocking = fresh;
    return OK;
}

static rc end_client(struct cx *cx, struct pool *p)
{
    if (redis_generation(p->redis) != p->ride.main)
        return OK;
    rc r = redis_cmd(cx, p->redis, NULL, "CLIENT KILL ID %lld", (long long)p->ride.client);
    if (r != E_REDIS)
        return r;
    log_fail(LOG_WARN, "ride.not_ended", cx, r); /* our end is closed: Redis hears that by itself */
    p->ride.allowed = false;
    return OK;
}

static rc settle(struct cx *cx, struct pool *p)
{
    struct pool_queue *q = only_place(p);

    if (p->ride.lies)
        try(end_client(cx, p));
    p->ride.lies = false;
    if (p->ride.doubtful)
        try(leases_return_unseen(cx, p, q, p->ride.name));
    p->ride.doubtful = false;
    q->hot = true; /* it may have taken a marker with it */
    pool_look(p);
    return p->parked ? engine_wake(cx, p->env.engine, q->name) : OK;
}

rc ride_settle(struct cx *cx, struct pool *p)
{
    if (!ride_out(p))
        return OK;
    rc r = settle(cx, p);
    if (r == OK || r == E_CANCELLED)
        return r;
    log_fail(LOG_WARN, "ride.not_settled", cx, r);
    return fiber_sleep(cx, PAUSE_MS);
}

void ride_leave(struct cx *cx, struct pool *p)
{
    if (ride_out(p) && !p->ended) {
        _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
            cx_deadline_within(cx, LEAVE_MS);
        cx->cancelled = false;
        rc r = settle(cx, p);
        if (r != OK) /* its jobs, if it has any, come back when their leases expire */
            log_fail(LOG_WARN, "ride.not_settled", cx, r);
    }
    p->ride.lies = p->ride.doubtful = false;
    pool_look(p);
}

static rc went_wrong(struct cx *cx, struct pool *p, rc r)
{
    bool may_lie = r == E_STORE_DOUBT || r == E_DEADLINE || r == E_CANCELLED;

    if (r != E_CANCELLED)
        log_fail(LOG_WARN, "wait.failed", cx, r);
    p->ride.doubtful = r != E_STORE_DOWN;
    p->ride.promised = 0;
    only_place(p)->hot = true;
    pool_look(p);
    if (may_lie)
        try(lose_sight(cx, p)); /* should it fail, what there is to do is noted above */
    if (r == E_CANCELLED)
        return r;
    return r == E_STORE_DOWN ? fiber_sleep(cx, PAUSE_MS) : ride_settle(cx, p);
}

/* ---------------------------------------------------------------- the ride */

/* The drain came while the answer was on its way. Nothing was begun, so no attempt is used. */
static rc turn_back(struct cx *cx, struct pool *p, const struct claim_result *c)
{
    _cleanup_(freep) struct lease *all = xmalloc((c->n + 1) * sizeof *all);

    for (size_t i = 0; i < c->n; i++)
        all[i] = c->jobs[i].lease;
    p->ride.doubtful = c->n > 0; /* until they are back */
    p->ride.promised = 0;
    if (c->n == 0)
        return OK;
    rc r = engine_release(cx, p->env.engine, only_place(p)->name, all, c->n);
    p->ride.doubtful = r != OK; /* then its note says the same */
    return r == E_CANCELLED ? r : OK;
}

rc ride_go(struct cx *cx, struct pool *p, int64_t wait_ms)
{
    _cleanup_(claim_result_release) struct claim_result c = {0};
    struct pool_queue *q = only_place(p);
    size_t max = slots(p);
    uint64_t heard = leases_heard(p->leases);
    bool waited;

    p->ride.promised = max;
    rc r = engine_ride(cx, p->env.engine,
                       &(struct engine_ride){.blocking = p->blocking,
                                             .queue = q->name,
                                             .name = p->ride.name,
                                             .max = max,
                                             .lease_ms = p->settings->lease,
                                             .wait_ms = wait_ms},
                       &c, &waited);
    if (r == OK && inject(RIDE_LOST))
        r = fail(cx, STORE_DOUBT, "lost on purpose");
    if (r != OK)
        return went_wrong(cx, p, r);
    if (p->draining || p->parked)
        return turn_back(cx, p, &c);
    p->ride.promised = 0;
    pool_claimed(p, q, max, heard, &c);
    /* The pump knows what to do. When both claims crossed, who was first is not known: what is due is asked anew. */
    q->hot |= c.lost || c.other || p->claiming;
    pool_look(p); /* also so that it comes round, and hears when it is due */
    return waited ? OK : fiber_sleep(cx, PAUSE_MS);
}

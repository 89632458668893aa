/* pusher.c - what PostgreSQL has committed and Redis has not heard of is told at once.
 *
 *   mw_enqueue, mw_cancel, a push that failed --NOTIFY--> the outbox is emptied
 *   every few seconds: the outbox again, and the jobs that were born just before (a crash between commit and push)
 *
 * Only the leader does it; whoever leads next begins with a look. Safe when two do. */
#include "base/clock.h"
#include "base/log.h"
#include "beat/beat.h"
#include "queue/outbox.h"
#include "rt/fiber.h"

#define LOOK_MS  2000  /* without being told */
#define YOUNG_MS 3000  /* a push that is under way is no loss */
#define PAUSE_MS 5000  /* between two tries at the longest */
#define STEP_MS  60000 /* it may rebuild Redis */

static rc push(struct cx *cx, struct beat *b, int64_t *from_ms)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, STEP_MS);
    int64_t pushed = 0, young = 0, began = clock_ms();

    try(outbox_empty(cx, b->engine, &pushed));
    if (began - *from_ms >= LOOK_MS + YOUNG_MS) {
        try(engine_sweep_young(cx, b->engine, *from_ms, YOUNG_MS, &young));
        *from_ms = began - YOUNG_MS - LOOK_MS / 2; /* a little is looked at twice: clocks differ */
    }
    if (young > 0)
        log_ev(LOG_WARN, "jobs.unpushed", kv_int("pushed", young));
    return OK;
}

static rc wait_for_word(struct cx *cx, struct beat *b)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, LOOK_MS);
    rc r = OK;

    while (r == OK && !b->outbox)
        r = fiber_park(cx);
    return r == E_DEADLINE ? OK : r;
}

rc pusher_run(struct cx *cx, void *arg)
{
    struct beat *b = arg;
    int64_t pause = 100, from_ms = clock_ms() - 60000;

    b->pusher = cx->fiber;
    for (;;) {
        b->outbox = false;
        rc r = leader_holds(b->leader) ? push(cx, b, &from_ms) : OK;
        if (r == E_CANCELLED)
            break;
        if (r != OK) {
            log_fail(LOG_WARN, "outbox.not_emptied", cx, r, kv_int("retry_in_ms", pause));
            if (fiber_sleep(cx, pause) != OK)
                break;
            pause = MIN(pause * 2, PAUSE_MS);
            continue;
        }
        pause = 100;
        if (wait_for_word(cx, b) != OK)
            break;
    }
    b->pusher = NULL;
    return fail(cx, CANCELLED, "the term is over");
}

void pusher_wake(struct beat *b)
{
    b->outbox = true;
    if (b->pusher)
        fiber_wake(b->pusher);
}

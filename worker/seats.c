/* seats.c - see seats.h. */
#include "worker/seats.h"
#include "base/clock.h"
#include "worker/run.h"

static rc stand(struct cx *cx, struct job_run *run, struct seats *s)
{
    struct pool *p = run->pool;

    s->standing++;
    run->standing = true;
    attempt_stands(run, true);
    rc r = gate_enter(cx, &s->gate);
    run->standing = false;
    attempt_stands(run, false);
    bool crowded = seats_crowded(p);
    s->standing--;
    if (crowded && !seats_crowded(p))
        pool_has_room(p);
    return r;
}

rc seat_take(struct cx *cx, struct job *job, enum seat s)
{
    struct pool *p = job->run->pool;
    int64_t given = cx->deadline_mono_ms ? cx_left_ms(cx) : 0;

    cx->deadline_mono_ms = 0;
    try(stand(cx, job->run, &p->seats[s]));
    if (p->draining) {
        gate_leave(&p->seats[s].gate);
        job->run->released = true;
        return fail(cx, CANCELLED, "the worker stops before it was begun");
    }
    job->run->started_ms = clock_ms();
    cx->deadline_mono_ms = given ? clock_mono_ms() + given : 0;
    return OK;
}

void seat_leave(struct pool *p, enum seat s)
{
    gate_leave(&p->seats[s].gate);
}

void seats_dismiss(struct pool *p)
{
    struct job_run *run;

    TAILQ_FOREACH(run, &p->runs, link)
    if (run->standing) {
        run->released = true;
        fiber_cancel(run->fiber);
    }
}

bool seats_crowded(const struct pool *p)
{
    for (size_t i = 0; i < SEATS; i++)
        if (p->seats[i].gate.limit && p->seats[i].standing >= p->seats[i].gate.limit)
            return true;
    return false;
}

size_t seats_batch(const struct pool *p)
{
    size_t batch = CLAIM_BATCH;

    for (size_t i = 0; i < SEATS; i++)
        if (p->seats[i].gate.limit)
            batch = MIN(batch, 2 * p->seats[i].gate.limit);
    return batch;
}

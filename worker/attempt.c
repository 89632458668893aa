/* attempt.c - between the claim and the task's function.
 *
 *   begin     expired? --> its key is free (unique until the start) --> the soft limit runs
 *   soft_ms   every wait of the task returns CANCELLED; job_cleaning lets them work again
 *   timeout   every wait returns DEADLINE: the fiber's own, or the child's end
 *
 * A job that asks for none of it passes here with a few comparisons. */
#include "base/clock.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "worker/run.h"
#include <event2/event.h>
#include <inttypes.h>

static int64_t soft_ms(const struct job_run *run)
{
    int64_t ms = run->job.options && run->job.options->soft_ms ? run->job.options->soft_ms
                                                               : run->task->soft_ms;

    return ms < run->job.timeout_ms ? ms : 0;
}

static void soft_over(evutil_socket_t fd, short what, void *arg)
{
    struct job_run *run = arg;

    (void)fd;
    (void)what;
    if (run->finishing)
        return;
    run->soft_over = true;
    if (!run->held)
        fiber_cancel(run->fiber);
}

static rc soft_start(struct cx *cx, struct job_run *run, int64_t ms)
{
    const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

    run->soft = evtimer_new(loop_base(), soft_over, run);
    if (!run->soft || evtimer_add(run->soft, &tv) != 0)
        return fail(cx, OS, "there is no timer for a soft limit");
    return OK;
}

void attempt_stands(struct job_run *run, bool stands)
{
    int64_t ms = soft_ms(run);
    const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

    if (run->soft && stands)
        evtimer_del(run->soft);
    else if (run->soft)
        evtimer_add(run->soft, &tv);
}

rc attempt_begin(struct cx *cx, struct job_run *run)
{
    const struct job_options *o = run->job.options;
    int64_t soft = soft_ms(run);

    if (o && o->expires_at_ms && o->expires_at_ms <= clock_ms()) {
        run->expired = true;
        return fail(cx, EXPIRED, "its time was over %" PRId64 " ms before it began",
                    clock_ms() - o->expires_at_ms);
    }
    if (o && o->unique == JOB_UNIQUE_START)
        try(engine_started(cx, run->pool->env.engine, &run->job));
    return soft ? soft_start(cx, run, soft) : OK;
}

rc attempt_end(struct cx *cx, struct job_run *run, rc r)
{
    if (run->soft)
        evtimer_del(run->soft);
    if (!run->soft_over || (r != E_CANCELLED && r != E_DEADLINE) || run->lost || run->wished_away ||
        run->released)
        return r;
    return fail(cx, DEADLINE, "its soft limit of %" PRId64 " ms was over", soft_ms(run));
}

bool job_soft_over(const struct job *job)
{
    return job->run->soft_over;
}

void job_cleaning(struct cx *cx)
{
    cx->cancelled = false;
}

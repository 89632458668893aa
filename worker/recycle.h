/* recycle.h - a process that has done enough, or has grown too much, asks to be replaced.
 *
 *     worker_recycle_jobs   jobs that ended here        looked at when one ends
 *     worker_recycle_rss    resident memory             looked at every second
 *
 * Its successor is up before it drains (rt/supervisor.h), so that work does not stand still. */
#pragma once
#include "worker/pool.h"

/* Watches the memory when there is a limit. */
void recycle_start(struct pool *p);
/* One more job has ended. A comparison. */
static inline void recycle_count(struct pool *p)
{
    if (++p->done == p->settings->worker_recycle_jobs)
        child_weary("jobs", p->done);
}

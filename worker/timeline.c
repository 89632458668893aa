/* timeline.c - see timeline.h. The fiber is born with the first event and dies when there is nothing
 * left; while it writes, the next batch gathers. */
#include "worker/timeline.h"
#include "base/clock.h"
#include "base/log.h"
#include "rt/fiber.h"
#include "rt/waitq.h"
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define GATHER_MS    100
#define WRITE_MS     10000
#define PAUSE_MS     5000  /* between two tries at the longest */
#define TELL_LOST_MS 10000 /* between two words about what was lost */

struct told {
    STAILQ_ENTRY(told) link;
    struct job_event ev;
    size_t bytes;
    char body[];
};

struct timeline {
    struct pg *db;
    STAILQ_HEAD(, told) waiting;
    size_t n, bytes;
    int64_t lost, lost_told, told_mono_ms;
    bool hurry; /* do not gather any more */
    struct fiber *fiber;
    struct waitq empty;
};

struct timeline *timeline_new(struct pg *db)
{
    struct timeline *t = xcalloc(1, sizeof *t);

    t->db = db;
    STAILQ_INIT(&t->waiting);
    return t;
}

static void drop_first(struct timeline *t, size_t n)
{
    for (; n > 0; n--) {
        struct told *d = STAILQ_FIRST(&t->waiting);
        STAILQ_REMOVE_HEAD(&t->waiting, link);
        t->n--;
        t->bytes -= d->bytes;
        free(d);
    }
}

struct timeline *timeline_free(struct timeline *t)
{
    if (!t)
        return NULL;
    drop_first(t, t->n);
    free(t);
    return NULL;
}

int64_t timeline_lost(const struct timeline *t)
{
    return t->lost;
}

static void tell_lost(struct timeline *t)
{
    int64_t now = clock_mono_ms();

    if (t->lost == t->lost_told || (t->told_mono_ms && now - t->told_mono_ms < TELL_LOST_MS))
        return;
    log_ev(LOG_WARN, "timeline.lost", kv_int("events", t->lost - t->lost_told),
           kv_int("all", t->lost));
    t->lost_told = t->lost;
    t->told_mono_ms = now;
}

static void lose(struct timeline *t, size_t n)
{
    t->lost += (int64_t)n;
    tell_lost(t);
}

static rc write_some(struct cx *cx, struct timeline *t, size_t *ret_n)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, WRITE_MS);
    _cleanup_(freep) struct job_event *batch =
        xmalloc(MIN(t->n, (size_t)JOB_EVENTS_BATCH) * sizeof *batch);
    const struct told *e;
    size_t n = 0;

    STAILQ_FOREACH(e, &t->waiting, link)
    {
        if (n == JOB_EVENTS_BATCH)
            break;
        batch[n++] = e->ev; /* its texts stay where they are until they are written */
    }
    *ret_n = n;
    return timeline_write(cx, t->db, batch, n);
}

static bool may_come_back(rc r)
{
    return error_info(r)->retry && r != E_CANCELLED;
}

static rc gather(struct cx *cx, const struct timeline *t)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, GATHER_MS);
    rc r = OK;

    while (r == OK && !t->hurry)
        r = fiber_park(cx);
    return r == E_DEADLINE ? OK : r;
}

static rc write_all(struct cx *cx, struct timeline *t)
{
    int64_t pause = 100;

    while (t->n > 0) {
        size_t n = 0;
        if (t->n < JOB_EVENTS_BATCH)
            try(gather(cx, t));
        rc r = write_some(cx, t, &n);
        if (r == E_CANCELLED)
            return r;
        if (r != OK && may_come_back(r)) {
            log_fail(LOG_WARN, "timeline.not_written", cx, r, kv_int("again_in_ms", pause));
            try(fiber_sleep(cx, pause));
            pause = MIN(pause * 2, PAUSE_MS);
            continue;
        }
        pause = 100;
        drop_first(t, n);
        if (r != OK) {
            log_fail(LOG_ERROR, "timeline.refused", cx, r, kv_int("events", (int64_t)n));
            lose(t, n);
        }
    }
    return OK;
}

static rc writer_fiber(struct cx *cx, void *arg)
{
    struct timeline *t = arg;
    rc r = write_all(cx, t);

    t->fiber = NULL;
    t->hurry = false;
    tell_lost(t);
    waitq_wake_all(&t->empty);
    return r;
}

void timeline_put(struct timeline *t, const struct job_event *ev)
{
    size_t len = strlen(ev->body), bytes = sizeof(struct told) + len + 1;

    if (t->n >= TIMELINE_MAX || t->bytes + bytes > TIMELINE_BYTES) {
        lose(t, 1);
        return;
    }
    struct told *d = xmalloc(bytes);
    *d = (struct told){.ev = *ev, .bytes = bytes};
    memcpy(d->body, ev->body, len + 1);
    d->ev.body = d->body;
    STAILQ_INSERT_TAIL(&t->waiting, d, link);
    t->n++;
    t->bytes += bytes;
    if (!t->fiber) {
        t->fiber = fiber_spawn(&(struct fiber_opts){.name = "worker.timeline"}, writer_fiber, t);
        fiber_detach(t->fiber);
    }
}

rc timeline_flush(struct cx *cx, struct timeline *t)
{
    while (t->fiber) {
        t->hurry = true;
        fiber_wake(t->fiber);
        try(waitq_wait(cx, &t->empty));
    }
    return OK;
}

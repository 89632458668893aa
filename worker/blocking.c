/* blocking.c - a task of kind MW_BLOCKING: its function on a thread, its job's fiber waiting.
 *
 *      job's fiber ── call ──> carrier fiber ── offload_run ──> thread: fn(&call->face)
 *        │  waits until it is done,                               │ progress, log: slips on the desk
 *        │  or its hard limit is over                             v
 *        `─ cancelled: call->cancelled, and waits on <──────── returned: the carrier wakes the fiber
 *
 * A thread cannot be ended from outside. When the hard limit is over the attempt fails and the call is
 * abandoned: it keeps its seat among worker_threads, and its memory, until the function returns. When every
 * thread is held by such calls the process drains, and another takes its place. */
#include "base/clock.h"
#include "rt/fiber.h"
#include "rt/offload.h"
#include "worker/desk.h"
#include "worker/guest.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct call {
    struct mw_job face;
    struct arena texts; /* its own: the job may end before the thread */
    const struct mw_task *spec;
    struct pool *pool;
    int refs;        /* the loop's: job's fiber, carrier, slips on their way */
    struct job *job; /* the loop's; NULL: the attempt is over */
    struct fiber *waiter;
    bool done, refused;
    int returned;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t moved;
    bool cancelled;
};

static void call_unref(struct call *c)
{
    if (--c->refs > 0)
        return;
    face_release(&c->face);
    arena_release(&c->texts);
    pthread_cond_destroy(&c->moved);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---------------------------------------------------------------- on the thread */

struct told {
    struct call *call;
    enum log_level level;
    bool progress;
    char *text;
};

/* On the loop. */
static void pass_on(void *arg)
{
    struct told *t = arg;

    if (t->call->job && t->progress)
        job_progress(t->call->job, t->text);
    else if (t->call->job)
        job_log(t->call->job, t->level, "%s", t->text);
    free(t->text);
    free(t);
}

/* The call outlives its slips: carried() clears the desk. */
static void tell(struct mw_job *f, struct told what)
{
    struct told *t = xmalloc(sizeof *t);

    *t = what;
    t->call = f->arg;
    if (!desk_post(pass_on, t)) {
        free(t->text);
        free(t);
    }
}

static void thread_progress(struct mw_job *f, const char *json)
{
    tell(f, (struct told){.progress = true, .text = xstrdup(json)});
}

static void thread_log(struct mw_job *f, enum log_level level, const char *line)
{
    tell(f, (struct told){.level = level, .text = xstrdup(line)});
}

static bool thread_cancelled(struct mw_job *f)
{
    struct call *c = f->arg;

    pthread_mutex_lock(&c->lock);
    bool cancelled = c->cancelled;
    pthread_mutex_unlock(&c->lock);
    return cancelled || (f->deadline_mono_ms && clock_mono_ms() >= f->deadline_mono_ms);
}

static rc thread_sleep(struct mw_job *f, int64_t ms)
{
    struct call *c = f->arg;
    int64_t end = clock_mono_ms() + ms, until = end;

    if (f->deadline_mono_ms)
        until = MIN(end, f->deadline_mono_ms);
    struct timespec t = {until / 1000, until % 1000 * 1000000};
    pthread_mutex_lock(&c->lock);
    while (!c->cancelled && clock_mono_ms() < until)
        pthread_cond_clockwait(&c->moved, &c->lock, CLOCK_MONOTONIC, &t);
    bool cancelled = c->cancelled;
    pthread_mutex_unlock(&c->lock);
    return cancelled ? E_CANCELLED : until < end ? E_DEADLINE : OK;
}

static const struct face_ways thread_ways = {thread_progress, thread_log, thread_sleep,
                                             thread_cancelled};

static void on_thread(void *arg)
{
    struct call *c = arg;

    c->returned = c->spec->run(&c->face);
}

/* ---------------------------------------------------------------- on the loop */

static void carried(struct call *c)
{
    desk_clear(); /* what the thread said before it returned */
    seat_leave(c->pool, SEAT_THREAD);
    c->done = true;
    if (c->waiter)
        fiber_wake(c->waiter);
    else if (!c->refused)
        c->pool->overdue--;
    call_unref(c);
}

static void carried_anyway(void *arg)
{
    carried(arg);
}

/* Has no deadline: it is there as long as the thread is. */
static rc carrier(struct cx *cx, void *arg)
{
    struct call *c = arg;
    rc r = offload_run(cx, on_thread, c, carried_anyway);

    if (r == OK || r == E_OVERLOADED) {
        c->refused = r != OK;
        carried(c);
    }
    return OK;
}

static struct call *call_new(struct cx *cx, struct job *job)
{
    struct call *c = xcalloc(1, sizeof *c);
    struct mw_job *f = &c->face;
    const char **const texts[] = {&f->id,     &f->task,    &f->queue, &f->args,
                                  &f->tenant, &f->subject, &f->trace, &f->previous};

    c->spec = guest_of(job)->spec;
    c->pool = job->run->pool;
    c->job = job;
    c->waiter = cx->fiber;
    c->refs = 2;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->moved, NULL);
    face_init(f, job, cx->deadline_mono_ms, &thread_ways, c);
    for (size_t i = 0; i < COUNT(texts); i++)
        *texts[i] = arena_strdup(&c->texts, *texts[i]);
    return c;
}

static void cancel(struct call *c)
{
    pthread_mutex_lock(&c->lock);
    c->cancelled = true;
    pthread_cond_broadcast(&c->moved);
    pthread_mutex_unlock(&c->lock);
}

static rc wait_for(struct cx *cx, struct call *c)
{
    rc r = OK;

    while (r == OK && !c->done)
        r = fiber_park(cx);
    return c->done ? OK : r;
}

/* Told to end it may clean up until its hard limit; told twice, the process is about to go. */
static rc attend(struct cx *cx, struct call *c)
{
    rc r = wait_for(cx, c);

    if (r != OK)
        cancel(c);
    if (r == E_CANCELLED) {
        cx->cancelled = false;
        r = wait_for(cx, c);
    }
    return r;
}

static rc abandon(struct cx *cx, struct call *c, rc r)
{
    struct pool *p = c->pool;

    c->waiter = NULL;
    log_fail(LOG_WARN, "task.thread_held", cx, r, kv_str("task", c->spec->name),
             kv_int("held", (int64_t)++p->overdue));
    if (p->overdue >= p->seats[SEAT_THREAD].gate.limit && !p->draining) {
        log_ev(LOG_ERROR, "worker.threads_held",
               kv_str("next", "this process drains, another takes its place"));
        pool_drain(p);
    }
    return r;
}

rc blocking_run(struct cx *cx, struct job *job)
{
    struct call *c;

    try(seat_take(cx, job, SEAT_THREAD));
    c = call_new(cx, job);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = c->spec->name}, carrier, c));
    rc r = attend(cx, c);
    if (r != OK)
        r = abandon(cx, c, r);
    else if (c->refused)
        r = fail(cx, OVERLOADED, "no thread is free for it");
    else
        r = guest_end(cx, job, &c->face, c->returned);
    c->job = NULL;
    call_unref(c);
    return r;
}

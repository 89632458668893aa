/* guest.c - see guest.h.
 *
 * Jobs that a task asked for are stored in the transaction that ends it: an attempt that is refused
 * as stale leaves none behind, and one that is carried out twice leaves them once. Broker jobs
 * know no transaction; they are pushed behind it. */
#include "worker/guest.h"
#include "base/clock.h"
#include "base/text.h"
#include "rt/fiber.h"
#include <assert.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS       5
#define TIMEOUT_MS     (60 * 1000)
#define BACKOFF_MS     1000
#define BACKOFF_CAP_MS (10 * 60 * 1000)

static struct {
    struct guest **all;
    size_t n;
} guests;

/* ---------------------------------------------------------------- on a fiber */

static void fiber_progress(struct mw_job *f, const char *json)
{
    job_progress(f->arg, json);
}

static void fiber_log(struct mw_job *f, enum log_level level, const char *line)
{
    job_log(f->arg, level, "%s", line);
}

static rc fiber_nap(struct mw_job *f, int64_t ms)
{
    return fiber_sleep(fiber_cx(fiber_self()), ms);
}

static bool fiber_cancelled(struct mw_job *f)
{
    return fiber_cx(fiber_self())->cancelled;
}

static const struct face_ways fiber_ways = {fiber_progress, fiber_log, fiber_nap, fiber_cancelled};

static rc fiber_run(struct cx *cx, struct job *job)
{
    _cleanup_(face_release) struct mw_job f;

    face_init(&f, job, cx->deadline_mono_ms, &fiber_ways, job);
    return guest_end(cx, job, &f, guest_of(job)->spec->run(&f));
}

/* ---------------------------------------------------------------- how it ends */

struct further {
    struct job *job;
    struct mw_job *f;
};

static rc enqueue_durable(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct further *x = arg;
    struct face_wish *w;

    STAILQ_FOREACH(w, &x->f->wishes, link)
    if (w->wish.job.durable)
        try(job_enqueue(cx, x->job, tx, &w->wish.job));
    return OK;
}

static rc push_broker(struct cx *cx, struct job *job, struct mw_job *f, bool all)
{
    struct face_wish *w;

    STAILQ_FOREACH(w, &f->wishes, link)
    if (all || !w->wish.job.durable)
        try(engine_enqueue(cx, job_env(job)->engine, &w->wish.job, 1));
    return OK;
}

/* A broker job has no transaction of its own: what it asks for comes first, and perhaps twice. */
static rc end_with_wishes(struct cx *cx, struct job *job, struct mw_job *f)
{
    struct further x = {job, f};

    if (!job->durable)
        return push_broker(cx, job, f, /* all= */ true);
    try(push_broker(cx, job, f, /* all= */ false));
    return job_complete(cx, job, enqueue_durable, &x);
}

static rc end_snoozed(struct cx *cx, struct job *job, struct mw_job *f)
{
    struct further x = {job, f};

    try(push_broker(cx, job, f, /* all= */ !job->durable));
    return job_snooze(cx, job, clock_ms() + f->snooze_ms, job->durable ? enqueue_durable : NULL,
                      &x);
}

rc guest_end(struct cx *cx, struct job *job, struct mw_job *f, int returned)
{
    switch (face_end(f, returned)) {
    case FACE_SNOOZED:
        return end_snoozed(cx, job, f);
    case FACE_CUT:
        return fail_rc(cx, f->cut, "%s", f->error.text);
    case FACE_FAILED:
        return job_fail(cx, job, E_TASK_FAILED, f->error.code, f->error.text);
    case FACE_REFUSED:
        return job_fail(cx, job, E_TASK_REFUSED, f->error.code, f->error.text);
    case FACE_SILENT:
        break;
    }
    if (f->result)
        job_result(job, f->result);
    return f->nwishes ? end_with_wishes(cx, job, f) : OK;
}

/* ---------------------------------------------------------------- the table */

const struct guest *guest_of(const struct job *job)
{
    return (const struct guest *)(const void *)((const char *)job->run->task -
                                                offsetof(struct guest, task));
}

static rc add_one(struct cx *cx, const struct mw_task *spec)
{
    static rc (*const run[])(struct cx * cx, struct job * job) = {
        [MW_FIBER] = fiber_run, [MW_BLOCKING] = blocking_run, [MW_CHILD] = child_run};
    struct guest *g;

    if ((size_t)spec->kind >= COUNT(run) || !spec->run)
        return fail(cx, CONFIG, "task %s: its kind or its function is none",
                    spec->name ? spec->name : "without a name");
    if (spec->name && starts_with(spec->name, "mihwar."))
        return fail(cx, CONFIG, "task %s: names that begin with 'mihwar.' are ours", spec->name);
    g = xcalloc(1, sizeof *g);
    *g = (struct guest){
        .spec = spec,
        .task = {.name = spec->name,
                 .queue = spec->queue ? spec->queue : "default",
                 .run = run[spec->kind],
                 .max_attempts = spec->max_attempts ? spec->max_attempts : ATTEMPTS,
                 .timeout_ms = spec->timeout_ms ? spec->timeout_ms : TIMEOUT_MS,
                 .soft_ms = spec->soft_timeout_ms,
                 .backoff = {.base_ms = spec->backoff_ms ? spec->backoff_ms : BACKOFF_MS,
                             .cap_ms = spec->backoff_cap_ms ? spec->backoff_cap_ms : BACKOFF_CAP_MS,
                             .factor = 2,
                             .jitter = JITTER_EQUAL},
                 .durable = !spec->broker,
                 .wants_previous = true,
                 .stack_bytes = spec->kind == MW_FIBER ? spec->stack_bytes : 0}};
    g->task.backoff.cap_ms = MAX(g->task.backoff.cap_ms, g->task.backoff.base_ms);
    rc r = registry_add(cx, &g->task);
    if (r != OK) {
        free(g);
        return r;
    }
    guests.all = xrealloc(guests.all, (guests.n + 1) * sizeof *guests.all);
    guests.all[guests.n++] = g;
    return OK;
}

rc guest_add(struct cx *cx, const struct mw_task *spec, size_t n)
{
    for (size_t i = 0; i < n; i++)
        try(add_one(cx, &spec[i]));
    return OK;
}

bool guest_has(enum mw_kind kind)
{
    for (size_t i = 0; i < guests.n; i++)
        if (guests.all[i]->spec->kind == kind)
            return true;
    return false;
}

size_t guest_number(const struct guest *g)
{
    size_t i = 0;

    while (guests.all[i] != g)
        i++;
    return i;
}

const struct guest *guest_at(size_t number)
{
    assert(number < guests.n);
    return guests.all[number];
}

void guest_free(void)
{
    for (size_t i = 0; i < guests.n; i++)
        free(guests.all[i]);
    free(guests.all);
    guests.all = NULL;
    guests.n = 0;
}

/* ---------------------------------------------------------------- plug-ins */

rc guest_load(struct cx *cx, const char *path)
{
    _cleanup_(freep) char *here = strchr(path, '/') ? xstrdup(path) : xasprintf("./%s", path);
    void *handle = dlopen(here, RTLD_NOW | RTLD_LOCAL);
    const struct mw_plugin *p;

    if (!handle)
        return fail(cx, CONFIG, "the plug-in cannot be loaded: %s", dlerror());
    p = dlsym(handle, "mw_plugin");
    if (!p)
        return fail(cx, CONFIG,
                    "%s is no plug-in of ours: it exports no mw_plugin (MW_PLUGIN in mihwar.h)",
                    path);
    if (p->abi != MW_ABI)
        return fail(cx, CONFIG,
                    "%s was compiled for version %d of the interface, this worker has %d; compile "
                    "it again",
                    path, p->abi, MW_ABI);
    return guest_add(cx, p->tasks, p->n);
}

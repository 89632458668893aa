/* beat.c - keeps the claims fresh, and gives back what others left behind.
 *
 * Each third of a lease: our tags are as fresh as now; those that are not ours any more cancel their runs; claimers
 * that missed their beats for a lease are dead, and what they held goes back. Every 100 s, as Celery does it: what
 * anybody left unacked for longer than visibility_timeout. */
#include "base/clock.h"
#include "base/log.h"
#include "worker/celery/consumer.h"
#include <string.h>

#define OLD_EVERY_MS 100000

static struct celery_run *find_run(struct consumer *c, const char *tag)
{
    struct celery_run *r;

    TAILQ_FOREACH(r, &c->runs, link)
    if (strcmp(r->tag, tag) == 0)
        return r;
    return NULL;
}

static void lose(struct celery_run *r)
{
    r->run.lost = true;
    log_ev(LOG_WARN, "celery.claim_lost", kv_str("task", r->m.task), kv_str("id", r->m.id));
    if (r->run.fiber && !r->run.finishing && !r->run.held)
        fiber_cancel(r->run.fiber);
}

static rc restore_dead(struct cx *cx, struct consumer *c, const char *const *dead, size_t n)
{
    size_t back;

    for (size_t i = 0; i < n; i++) {
        try(celery_restore_claimer(cx, c->celery, dead[i], &back));
        log_ev(LOG_WARN, "celery.restored", kv_str("claimer", dead[i]),
               kv_int("messages", (int64_t)back));
    }
    return OK;
}

static rc beat(struct cx *cx, struct consumer *c)
{
    int64_t due;
    size_t n = 0, ndead;
    const char **tags = arena_alloc(&cx->arena, (c->nruns + 1) * sizeof *tags), **dead;
    bool *lost = arena_alloc(&cx->arena, c->nruns + 1);
    struct celery_run *r;

    TAILQ_FOREACH(r, &c->runs, link)
    if (!r->run.lost && !r->leaving)
        tags[n++] = arena_strdup(&cx->arena, r->tag);
    try(celery_beat(cx, &c->claimer, c->settings->lease, tags, n, lost, &dead, &ndead, &due));
    consumer_due(c, due);
    for (size_t i = 0; i < n; i++)
        if (lost[i] && (r = find_run(c, tags[i])) && !r->leaving)
            lose(r);
    return restore_dead(cx, c, dead, ndead);
}

static rc restore_old(struct cx *cx, struct consumer *c)
{
    size_t n;

    try(celery_restore_old(cx, &c->claimer, &n));
    if (n > 0)
        log_ev(LOG_WARN, "celery.restored_old", kv_int("messages", (int64_t)n));
    return OK;
}

rc consumer_beat(struct cx *cx, void *arg)
{
    struct consumer *c = arg;
    int64_t pause = MAX(MIN(c->settings->lease, c->celery->names.visibility_ms) / 3, (int64_t)10),
            old_at = 0;

    for (;;) {
        struct arena kept = cx->arena;
        cx->arena = (struct arena){0};
        rc r = beat(cx, c);
        if (r == OK && clock_mono_ms() >= old_at && (r = restore_old(cx, c)) == OK)
            old_at = clock_mono_ms() + OLD_EVERY_MS;
        arena_release(&cx->arena);
        cx->arena = kept;
        if (r == E_CANCELLED)
            return r;
        if (r != OK)
            log_fail(LOG_WARN, "celery.beat_failed", cx, r);
        try(fiber_sleep(cx, pause));
    }
}

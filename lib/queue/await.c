/* await.c - see await.h. The order matters: listen, stand in the list, mark, look. What ends behind the mark tells;
 * what ended before it is seen by the look. */
#include "queue/await.h"
#include "base/clock.h"
#include "base/text.h"
#include "queue/internal.h"
#include "queue/jobs.h"
#include "queue/results.h"
#include "queue/view.sql.h"
#include "rt/fiber.h"
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define LOOK_MS 5000 /* without being told: a connection may have been silent */

struct waiter {
    TAILQ_ENTRY(waiter) link;
    struct await *in;
    const char *id;
    struct fiber *fiber;
    bool told;
};

struct await {
    struct engine *e;
    struct pg_listen *listen;
    TAILQ_HEAD(, waiter) waiters;
    size_t n;
    bool stopped;
};

struct await *await_new(struct engine *e)
{
    struct await *a = xcalloc(1, sizeof *a);

    a->e = e;
    TAILQ_INIT(&a->waiters);
    return a;
}

struct await *await_free(struct await *a)
{
    if (!a)
        return NULL;
    pg_listen_free(a->listen);
    free(a);
    return NULL;
}

static void tell(struct await *a, const char *id)
{
    struct waiter *w;

    TAILQ_FOREACH(w, &a->waiters, link)
    if (!id || str_eq(id, w->id)) {
        w->told = true;
        fiber_wake(w->fiber);
    }
}

static void on_ended(const char *payload, void *arg)
{
    tell(arg, payload);
}

/* What was said before was not heard: everybody looks. */
static void on_gap(void *arg)
{
    tell(arg, NULL);
}

size_t await_count(const struct await *a)
{
    return a->n;
}

void await_stop(struct await *a)
{
    a->stopped = true;
    tell(a, NULL);
}

static void leave(struct waiter *w)
{
    w->in->n--;
    TAILQ_REMOVE(&w->in->waiters, w, link);
}

static bool has_ended(const struct job_info *j)
{
    return j->finished_ms != 0;
}

/* Marks it, and looks: after that nothing can end unheard. */
static rc mark(struct cx *cx, struct await *a, const char *id, const char *tenant_id,
               int64_t left_ms, bool *ret_ended)
{
    struct job_info j;

    try(job_load(cx, a->e, id, tenant_id, &j));
    *ret_ended = has_ended(&j);
    if (*ret_ended)
        return OK;
    if (!j.durable && !(j.options && j.options->result_ttl_ms))
        return fail(
            cx, CONFLICT,
            "nothing is left of a broker job when it has ended, unless it has a result_ttl_ms");
    if (j.durable)
        try(pg_do(cx, a->e->db, SQL_JOB_AWAIT, NULL, pg_s(j.id)));
    else
        try(engine_await_result(cx, a->e, j.queue, j.id, left_ms + LOOK_MS));
    try(job_load(cx, a->e, id, tenant_id, &j));
    *ret_ended = has_ended(&j);
    return OK;
}

static rc park(struct cx *cx, struct waiter *w, int64_t ms)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, MAX(ms, 1));
    rc r = OK;

    while (r == OK && !w->told)
        r = fiber_park(cx);
    w->told = false;
    return r == E_DEADLINE ? OK : r;
}

/* What one look needs is given back after it: a wait may last for hours. */
static rc look(struct cx *cx, struct await *a, const char *id, const char *tenant_id,
               int64_t left_ms, bool *ret_ended)
{
    struct arena kept = cx->arena;

    cx->arena = (struct arena){0};
    rc r = mark(cx, a, id, tenant_id, left_ms, ret_ended);
    arena_release(&cx->arena);
    cx->arena = kept;
    return r;
}

rc await_end(struct cx *cx, struct await *a, const char *job_id, const char *tenant_id,
             int64_t wait_ms)
{
    const int64_t until = clock_mono_ms() + wait_ms;
    char id[ID_LEN + 1];
    bool ended = false;

    if (!id_parse(job_id, id))
        return fail(cx, NOT_FOUND, "there is no such job");
    if (a->e->db && !a->listen)
        a->listen = pg_listen(a->e->db, "mihwar_ended", on_ended, on_gap, a);
    _cleanup_(leave) struct waiter w = {.in = a, .id = id, .fiber = cx->fiber};
    TAILQ_INSERT_TAIL(&a->waiters, &w, link);
    a->n++;
    for (;;) {
        int64_t left = until - clock_mono_ms();
        try(look(cx, a, id, tenant_id, MAX(left, 0), &ended));
        if (ended || left <= 0 || a->stopped)
            return OK;
        try(park(cx, &w, MIN(left, LOOK_MS)));
    }
}

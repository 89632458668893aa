/* leader.c - one of several beats leads. */
#include "beat/leader.h"
#include "base/clock.h"
#include "base/log.h"
#include "beat/leader.sql.h"
#include "rt/fiber.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RETRY_MS 500 /* PostgreSQL could not be asked */
#define SLACK_MS 50  /* after the other's end: clocks round */

struct leader {
    struct leader_opts o;
    char name[128];
    int64_t term;          /* 0: standing by */
    int64_t until_mono_ms; /* when our office ends, by our own clock */
    struct fiber *fiber;   /* of leader_run, while it stands by */
    struct pg_listen *listen;
    bool vacant; /* somebody resigned */
};

static void on_resigned(const char *payload, void *arg)
{
    struct leader *l = arg;

    (void)payload;
    l->vacant = true;
    if (l->fiber)
        fiber_wake(l->fiber);
}

static void on_gap(void *arg)
{
    on_resigned("", arg);
}

struct leader *leader_new(const struct leader_opts *o)
{
    struct leader *l = xcalloc(1, sizeof(*l));
    char host[65] = "?";
    unsigned mark;

    l->o = *o;
    gethostname(host, sizeof(host) - 1);
    random_bytes(&mark, sizeof(mark));
    snprintf(l->name, sizeof(l->name), "%s:%d:%08x", host, (int)getpid(), mark);
    l->listen = pg_listen(o->db, "mihwar_leader", on_resigned, on_gap, l);
    return l;
}

struct leader *leader_free(struct leader *l)
{
    if (!l)
        return NULL;
    l->listen = pg_listen_free(l->listen);
    free(l);
    return NULL;
}

const char *leader_name(const struct leader *l)
{
    return l->name;
}

bool leader_holds(const struct leader *l)
{
    return l->term && clock_mono_ms() < l->until_mono_ms;
}

/* Woken, or the time is over: both are fine. Only cancellation comes back. */
static rc nap(struct cx *cx, int64_t ms)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, ms);
    rc r = fiber_park(cx);

    return r == E_CANCELLED ? r : OK;
}

/* One try. *ret_wait_ms: when to try again, if the office is another's. */
static rc take(struct cx *cx, struct leader *l, int64_t *ret_wait_ms)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, l->o.lease_ms);
    _cleanup_(pg_result_freep) struct pg_result *taken = NULL, *other = NULL;
    int64_t asked = clock_mono_ms();

    *ret_wait_ms = RETRY_MS;
    l->vacant = false;
    try(pg_do(cx, l->o.db, SQL_LEADER_TAKE, &taken, pg_s(l->o.role), pg_s(l->name),
              pg_i(l->o.lease_ms)));
    if (pg_rows(taken) > 0) {
        l->term = pg_int(taken, 0, 0);
        l->until_mono_ms = asked + l->o.lease_ms;
        return OK;
    }
    try(pg_do(cx, l->o.db, SQL_LEADER_LOOK, &other, pg_s(l->o.role)));
    if (pg_rows(other) > 0)
        *ret_wait_ms = pg_int(other, 0, 2) + SLACK_MS + (int64_t)random_below(SLACK_MS);
    return OK;
}

static rc stand_by(struct cx *cx, struct leader *l)
{
    bool complained = false;
    int64_t wait_ms;

    while (!l->term) {
        rc r = take(cx, l, &wait_ms);

        if (r == E_CANCELLED)
            return r;
        if (r != OK && !complained)
            log_fail(LOG_WARN, "leader.cannot_ask", cx, r, kv_int("retry_in_ms", wait_ms));
        complained = r != OK;
        if (!l->term && !l->vacant) {
            l->fiber = cx->fiber;
            r = nap(cx, wait_ms);
            l->fiber = NULL;
            if (r != OK)
                return r;
        }
    }
    return OK;
}

/* Moves the end of our office on until that fails for too long, or somebody else has it. */
static rc keep(struct cx *cx, struct leader *l)
{
    int64_t third = l->o.lease_ms / 3;

    while (leader_holds(l)) {
        _cleanup_(pg_result_freep) struct pg_result *kept = NULL;
        int64_t asked, left = l->until_mono_ms - clock_mono_ms();
        rc r;

        try(nap(cx, MAX(MIN(third, left - third), 10)));
        asked = clock_mono_ms();
        {
            _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, third);

            r = pg_do(cx, l->o.db, SQL_LEADER_KEEP, &kept, pg_s(l->o.role), pg_s(l->name),
                      pg_i(l->term), pg_i(l->o.lease_ms));
        }
        if (r == E_CANCELLED)
            return r;
        if (r != OK) {
            log_fail(LOG_WARN, "leader.cannot_renew", cx, r,
                     kv_int("left_ms", l->until_mono_ms - asked));
            try(nap(cx, MIN(third, 100)));
        } else if (pg_rows(kept) == 0) {
            log_ev(LOG_WARN, "leader.taken", kv_int("term", l->term));
            l->until_mono_ms = 0;
        } else
            l->until_mono_ms = asked + l->o.lease_ms;
    }
    return OK;
}

rc leader_run(struct cx *cx, struct leader *l)
{
    for (;;) {
        try(stand_by(cx, l));
        log_ev(LOG_INFO, "leader.leads", kv_str("role", l->o.role), kv_int("term", l->term),
               kv_str("name", l->name));
        struct fiber *duties =
            fiber_spawn(&(struct fiber_opts){.name = "beat.lead"}, l->o.lead, l->o.arg);
        rc r = keep(cx, l), ended;

        /* Cancelled, we cannot wait any more: the loop runs until the last fiber has ended. */
        fiber_cancel(duties);
        if (r != OK) {
            fiber_detach(duties);
            return r;
        }
        log_ev(LOG_WARN, "leader.lost", kv_int("term", l->term));
        l->term = 0;
        try(fiber_join(cx, duties, &ended));
    }
}

rc leader_resign(struct cx *cx, struct leader *l)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    if (!l->term)
        return OK;
    try(pg_do(cx, l->o.db, SQL_LEADER_RESIGN, &res, pg_s(l->o.role), pg_s(l->name), pg_i(l->term)));
    l->term = 0;
    return OK;
}

/* firing.c - fires schedules when they are due.
 *
 *     sleep until the next due time, or until PostgreSQL says that something changed
 *     for each schedule that is due: plan (misfire.c), then one transaction per firing:
 *         schedule_firings (schedule, due_at)   the key that makes it one, however many lead
 *         jobs                                  what is to be done
 *         schedules.next_due_at
 *     push the job to Redis
 *
 * Nothing is polled: between two due times beat asks nobody. The wall clock is looked at again at
 * least each SLEEP_MAX_MS, because it may be set while we sleep. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "beat/beat.h"
#include "domain/clock/cron.h"
#include "rt/fiber.h"
#include <string.h>

#define SLEEP_MAX_MS 30000
#define BATCH        64
#define ASK_MS       10000 /* one question to PostgreSQL */
#define BROKEN_MS                                                                                  \
    ((int64_t)3600000) /* a rule that cannot be read is looked at again after this                 \
                        */

void firing_wake(struct beat *b)
{
    b->changed = true;
    if (b->clock)
        fiber_wake(b->clock);
}

/* The job of one firing, in cx's arena. */
static struct job_new *job_of(struct cx *cx, const struct schedule *s)
{
    struct job_new *j = arena_alloc(&cx->arena, sizeof(*j));

    *j = (struct job_new){
        .queue = s->queue,
        .task = s->task,
        .args = s->args,
        .durable = true,
        .priority = s->priority,
        .tenant_id = s->tenant_id,
    };
    if (s->jitter_ms > 0)
        j->run_at_ms = clock_ms() + (int64_t)random_below((uint64_t)s->jitter_ms + 1);
    return j;
}

/* One due time. *ret_mine: false, when another beat was faster or the schedule changed: then the
 * rest of the plan is void. */
static rc fire(struct cx *cx, struct beat *b, const struct schedule *s, int64_t due_ms,
               int64_t next_ms, bool skip, bool *ret_mine)
{
    bool duty = starts_with(s->task, DUTY_PREFIX);
    struct job_new *j = duty || skip ? NULL : job_of(cx, s);

    if (!leader_holds(b->leader))
        return fail(cx, STORE_DOWN, "the office is not certainly ours");
    try(schedule_fire(cx, b->db, s, due_ms, next_ms, j, ret_mine));
    if (!*ret_mine) /* also when a clock that was set back, or a hand, made an old due time the next
                       one */
        return schedule_set_due(cx, b->db, s, next_ms);
    if (skip)
        return OK;
    log_ev(LOG_DEBUG, "schedule.fired", kv_str("schedule", s->name), kv_int("due_ms", due_ms),
           kv_int("late_ms", clock_ms() - due_ms), kv_str("job", j ? j->id : ""));
    if (duty)
        duty_start(b, s->task,
                   s->jitter_ms > 0 ? (int64_t)random_below((uint64_t)s->jitter_ms + 1) : 0);
    else if (engine_push(cx, b->engine, j, 1) != OK)
        log_fail(LOG_WARN, "schedule.push_failed", cx, cx->err.code, kv_str("schedule", s->name),
                 kv_str("job", j->id));
    return OK;
}

static rc fire_plan(struct cx *cx, struct beat *b, const struct schedule *s,
                    const struct firing_plan *p)
{
    int64_t never = s->next_due_ms + (int64_t)10 * 366 * 86400000, next;
    bool mine = true;

    if (p->passed)
        log_ev(LOG_WARN, "schedule.misfired", kv_str("schedule", s->name),
               kv_str("misfire", s->misfire), kv_int("passed", p->passed),
               kv_int("fired", (int64_t)p->n), kv_int("late_ms", clock_ms() - s->next_due_ms));
    if (p->skip_ms)
        return fire(cx, b, s, p->skip_ms, p->next_ms ? p->next_ms : never, /* skip= */ true, &mine);
    /* each firing moves the due time to the one after it, so that a successor goes on where we stop
     */
    for (size_t i = 0; i < p->n && mine; i++) {
        if (i + 1 < p->n)
            next = p->fire_ms[i + 1];
        else
            next = p->next_ms ? p->next_ms : never;
        try(fire(cx, b, s, p->fire_ms[i], next, /* skip= */ false, &mine));
    }
    return OK;
}

/* One schedule that is due, or whose due time is not known yet. */
static rc attend(struct cx *cx, struct beat *b, const struct schedule *s)
{
    struct firing_plan plan;
    struct due_rule rule;
    int64_t now = clock_ms(), next;
    rc r = due_rule_make(cx, s->cron, s->every_ms, s->timezone, s->created_ms, &rule);

    if (r == OK && !due_next(&rule, now, &next))
        r = fail(cx, INVALID_FIELD, "it is never due");
    if (r != OK) {
        log_fail(LOG_ERROR, "schedule.broken", cx, r, kv_str("schedule", s->name),
                 kv_int("retry_in_ms", BROKEN_MS));
        return schedule_set_due(cx, b->db, s, now + BROKEN_MS);
    }
    if (s->next_due_ms == 0)
        return schedule_set_due(cx, b->db, s, next);
    firing_plan(&rule, s->misfire, s->next_due_ms, now, &plan);
    return fire_plan(cx, b, s, &plan);
}

/* Every schedule that is due now, one after the other: each is one short transaction. A bad one
 * must not keep the others, nor be tried again at once. */
static rc attend_all(struct cx *cx, struct beat *b, bool *ret_more)
{
    struct schedule *list;
    size_t n;

    try(schedules_due(cx, b->db, clock_ms(), BATCH, &list, &n));
    for (size_t i = 0; i < n; i++) {
        _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, ASK_MS);
        rc r = attend(cx, b, &list[i]);

        if (r != OK && r != E_CANCELLED && !error_info(r)->retry) {
            log_fail(LOG_ERROR, "schedule.refused", cx, r, kv_str("schedule", list[i].name),
                     kv_int("retry_in_ms", BROKEN_MS));
            r = schedule_set_due(cx, b->db, &list[i], clock_ms() + BROKEN_MS);
        }
        if (r != OK)
            return r;
    }
    *ret_more = n == BATCH;
    return OK;
}

static rc turn(struct cx *cx, struct beat *b, int64_t *ret_next_ms)
{
    bool more;

    b->changed = false;
    do {
        arena_release(&cx->arena); /* ours alone: what was read in the last round */
        try(attend_all(cx, b, &more));
    } while (more);
    return schedules_next(cx, b->db, ret_next_ms);
}

/* Until next_ms (0: nothing is due) or until something changed. */
static rc sleep_until(struct cx *cx, struct beat *b, int64_t next_ms)
{
    int64_t left;

    while (!b->changed && (left = next_ms ? next_ms - clock_ms() : SLEEP_MAX_MS) > 0) {
        _cleanup_(cx_deadline_restore) struct cx_deadline d =
            cx_deadline_within(cx, MIN(left, SLEEP_MAX_MS));
        rc r;

        b->clock = cx->fiber;
        r = fiber_park(cx);
        b->clock = NULL;
        if (r == E_CANCELLED)
            return r;
    }
    return OK;
}

rc firing_run(struct cx *cx, struct beat *b)
{
    int64_t next_ms, wait_ms = 0;

    for (;;) {
        rc r = turn(cx, b, &next_ms);

        if (r == E_CANCELLED)
            return r;
        if (r != OK) { /* the stores are away: nothing is lost, the due times are written down */
            wait_ms = MIN(MAX(2 * wait_ms, 200), 5000);
            log_fail(LOG_WARN, "firing.failed", cx, r, kv_int("retry_in_ms", wait_ms));
            try(fiber_sleep(cx, wait_ms));
            continue;
        }
        wait_ms = 0;
        try(sleep_until(cx, b, next_ms));
    }
}

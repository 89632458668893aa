/* beat.h - what the rooms of this program share. */
#pragma once
#include "base/settings.h"
#include "beat/leader.h"
#include "domain/clock/schedules.h"
#include "queue/queue.h"

#define BEAT_GRACE_MS                                                                              \
    15000 /* a due time later than this is a misfire: longer than another beat needs to take over  \
           */
#define BEAT_MISFIRE_MAX 100 /* misfire "all": at most so many of the newest are made up for */

struct beat {
    const struct settings *settings;
    struct redis *redis;
    struct pg *db;
    struct engine *engine;
    struct leader *leader;
    struct fiber *clock;  /* of firing_run, while it sleeps */
    bool changed;         /* a schedule may be due earlier than was believed */
    struct fiber *pusher; /* of pusher_run */
    bool outbox;          /* there may be something in it */
};

/* firing.c: fires schedules when they are due, until cancelled. Only the leader runs it. Parks. */
rc firing_run(struct cx *cx, struct beat *b) MW_PARKS;
void firing_wake(struct beat *b);

/* misfire.c: which of the due times up to now are fired? Pure. */
struct due_rule;
struct firing_plan {
    size_t n;
    int64_t fire_ms[BEAT_MISFIRE_MAX]; /* rising */
    int64_t skip_ms;                   /* passed over without a job; 0: none */
    int64_t passed;                    /* due times that are not fired, at least */
    int64_t next_ms;                   /* the first after now; 0: never again */
};
void firing_plan(const struct due_rule *r, const char *misfire, int64_t due_ms, int64_t now_ms,
                 struct firing_plan *ret);

/* pusher.c: tells Redis at once what PostgreSQL has committed, until cancelled. Parks. */
rc pusher_run(struct cx *cx, void *beat) MW_PARKS;
void pusher_wake(struct beat *b);

/* presence.c: in the register of processes until cancelled, then no more. Parks. */
rc presence_run(struct cx *cx, void *beat) MW_PARKS;

/* duties.c: what beat does itself. */
#define DUTY_PREFIX "beat."
/* Makes the rows of schedules that ship with beat, where they are missing. Parks. */
rc duties_ensure(struct cx *cx, struct beat *b) MW_PARKS;
/* Starts the duty of that name (task) on a fiber of its own, after delay_ms; a duty that is still
 * under way is not started again. */
void duty_start(struct beat *b, const char *task, int64_t delay_ms);
void duties_cancel(void);
/* ,"duties":[{"name","error"}]: how each went when it ran last under this leader; error null: well. */
void duties_print(struct buf *out);
/* Advances the epoch of both stores for ever. Parks. */
rc epoch_run(struct cx *cx, void *beat) MW_PARKS;

/* schedules.h - what beat starts by the clock: kept, listed, fired once. What "0 5 * * 1" means is
 * beat's knowledge; here it is text. */
#pragma once
#include "base/buf.h"
#include "base/id.h"
#include "queue/queue.h"

struct schedule {
    const char *id, *tenant_id;      /* tenant_id NULL: the house's own */
    const char *name;                /* unique; [A-Za-z0-9_.:-]{1,120} */
    const char *task, *args, *queue; /* args JSON; queue NULL: the task's */
    int priority;
    const char *cron;     /* NULL when every_ms is set */
    int64_t every_ms;     /* 0 when cron is set */
    const char *timezone; /* IANA name; default "UTC" */
    bool enabled;
    int64_t jitter_ms;
    const char *misfire; /* skip, once, all */
    int64_t next_due_ms; /* 0: beat has not worked it out yet */
    int64_t created_ms, last_fired_ms;
    int version;
};

/* Form of everything but the meaning of cron and timezone: INVALID_FIELD with the pointer. Does not
 * park. */
rc schedule_check(struct cx *cx, const struct schedule *s);
/* args, queue, timezone, misfire NULL: the defaults; priority and enabled are taken as they are;
 * id, next_due_ms, created_ms are made here. ALREADY_EXISTS for the name. Audited unless actor is
 * NULL. *ret in cx's arena. Parks. */
rc schedule_add(struct cx *cx, struct pg *db, const char *actor, const struct schedule *s,
                struct schedule *ret) MW_PARKS;
/* The house's own at start: made if its name is not there; what people changed stays. Parks. */
rc schedule_ensure(struct cx *cx, struct pg *db, const struct schedule *s) MW_PARKS;
/* by: id or name. NOT_FOUND. Parks. */
rc schedule_get(struct cx *cx, struct pg *db, const char *tenant_id, const char *by,
                struct schedule *ret) MW_PARKS;
/* By name; tenant_id NULL: all. after: the last name of the page before, NULL: first. Parks. */
rc schedule_list(struct cx *cx, struct pg *db, const char *tenant_id, const char *after, int limit,
                 struct schedule **ret, size_t *ret_n) MW_PARKS;
/* Writes s (loaded by schedule_get, then changed) if its version still holds (CONFLICT otherwise);
 * next_due_ms is forgotten, so that beat works it out anew. Audited. Parks. */
rc schedule_change(struct cx *cx, struct pg *db, const char *actor, const struct schedule *s,
                   struct schedule *ret) MW_PARKS;
rc schedule_remove(struct cx *cx, struct pg *db, const char *actor, const char *id) MW_PARKS;
/* Due at once, by beat's own hand: for the tasks that beat runs itself (beat.*). CONFLICT when it is paused. Parks. */
rc schedule_due_now(struct cx *cx, struct pg *db, const char *id) MW_PARKS;
rc schedule_json(struct cx *cx, const struct schedule *s, struct buf *out);

/* For beat: enabled ones without a due time or due at now_ms. Parks. */
rc schedules_due(struct cx *cx, struct pg *db, int64_t now_ms, int limit, struct schedule **ret,
                 size_t *ret_n) MW_PARKS;
/* When the next one is due; 0: none. Parks. */
rc schedules_next(struct cx *cx, struct pg *db, int64_t *ret_ms) MW_PARKS;
/* The due time worked out (no firing); lost silently when the schedule changed meanwhile. Parks. */
rc schedule_set_due(struct cx *cx, struct pg *db, const struct schedule *s,
                    int64_t next_due_ms) MW_PARKS;
/* Fires for one due time: the firing row, the job (NULL: skipped as a misfire) and the next due
 * time in one transaction. *ret_mine is false, and nothing is written, when another beat fired it
 * or the schedule changed. Push j with engine_push after an OK that is ours. next_due_ms 0: leave
 * it (more misfires to come). Parks. */
rc schedule_fire(struct cx *cx, struct pg *db, const struct schedule *s, int64_t due_ms,
                 int64_t next_due_ms, struct job_new *j, bool *ret_mine) MW_PARKS;

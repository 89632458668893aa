/* carry.c - one message from its claim to its ack.
 *
 *   not to be read            quarantine
 *   nobody knows the task     NotRegistered (celery_unknown = fail)
 *   revoked, expired          REVOKED
 *   its eta is not yet        to the schedule, out of everybody's way
 *   three workers died of it  WorkerLostError
 *   else it is run, and what the task returned decides:
 *
 *   OK                              SUCCESS, callbacks, next step, chord    ack
 *   may be retried, attempts left   RETRY                                   its next try to the schedule
 *   a store was away                -                                       again in a second, no try counted
 *   any other                       FAILURE, chord, errbacks                ack
 *   the message's own time limit    FAILURE TimeLimitExceeded               ack
 *   terminated                      REVOKED                                 ack
 *   cut off by the drain            -                                       back to its list
 *   claim lost                      -                                       -
 *
 * What was decided is told until the stores have taken it: while they are away the claim is kept fresh. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "celery/outcome.h"
#include "worker/celery/consumer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEATHS_MAX   3
#define AWAY_MS      1000
#define CROWDED_MS   1000
#define PAUSE_MAX_MS 2000

static bool store_is_away(rc r)
{
    return r == E_STORE_DOWN || r == E_STORE_DOUBT || r == E_PG_RETRY || r == E_REDIS_LOST;
}

/* What waiting may mend. */
static bool may_wait(rc r)
{
    return store_is_away(r) || r == E_REDIS || r == E_DEADLINE || r == E_OS;
}

static double now_s(void)
{
    return (double)clock_ms() / 1000;
}

/* ---------------------------------------------------------------- events */

static void event(struct celery_run *r, const char *type, const char *fmt, ...) _printf_(3, 4);
static void event(struct celery_run *r, const char *type, const char *fmt, ...)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(64));
    char more[4096];
    va_list ap;

    if (!r->consumer->events_on)
        return;
    va_start(ap, fmt);
    vsnprintf(more, sizeof more, fmt, ap);
    va_end(ap);
    buf_puts(&b, ",\"uuid\":");
    buf_json_str(&b, r->m.id);
    buf_puts(&b, more);
    consumer_event(r->consumer, type, buf_str(&b));
}

/* A text for people, cut. */
static const char *shown(struct cx *cx, struct raw v, size_t max)
{
    return arena_strndup(&cx->arena, v.n ? v.p : "", v.n <= max ? v.n : utf8_cut(v.p, max));
}

static const char *quoted(struct cx *cx, const char *s)
{
    struct buf b = BUF(KiB(64));

    buf_json_str(&b, s);
    return raw_keep(cx, &b).p;
}

static void event_received(struct cx *cx, struct celery_run *r)
{
    const struct celery_message *m = &r->m;
    struct raw args = raw_get(m->headers, "argsrepr"), kwargs = raw_get(m->headers, "kwargsrepr");
    char eta[40], expires[40];

    if (!r->consumer->events_on)
        return;
    const char *a = raw_is_string(args) ? raw_str(cx, args) : shown(cx, m->args, 400);
    const char *k = raw_is_string(kwargs) ? raw_str(cx, kwargs) : shown(cx, m->kwargs, 400);
    event(r, "task-received",
          ",\"name\":%s,\"args\":%s,\"kwargs\":%s,\"root_id\":%s,\"parent_id\":%s,\"retries\":%d,"
          "\"eta\":%s,"
          "\"expires\":%s",
          quoted(cx, m->task), quoted(cx, a ? arena_strndup(&cx->arena, a, utf8_cut(a, 400)) : ""),
          quoted(cx, k ? arena_strndup(&cx->arena, k, utf8_cut(k, 400)) : ""),
          quoted(cx, m->root_id), quoted(cx, m->parent_id), m->retries,
          quoted(cx, m->eta_ms ? celery_time(m->eta_ms, eta) : NULL),
          quoted(cx, m->expires_ms ? celery_time(m->expires_ms, expires) : NULL));
}

/* ---------------------------------------------------------------- ends */

enum end { END_SUCCESS, END_FAILURE, END_REVOKED, END_RETRY, END_LATER, END_BACK, END_ASIDE };

struct verdict {
    enum end end;
    struct celery_failure failure; /* FAILURE, RETRY; REVOKED: message is the reason */
    struct raw result;             /* SUCCESS */
    int64_t at_ms;                 /* RETRY, LATER: wall */
    bool again; /* LATER: as a new try that does not count; otherwise the message as it is */
};

static rc ack(struct cx *cx, struct celery_run *r, bool *held)
{
    r->leaving = true;
    return celery_ack(cx, &r->consumer->claimer, r->tag, held);
}

static rc move_later(struct cx *cx, struct celery_run *r, const char *text, size_t len,
                     int64_t at_ms, bool *held)
{
    struct consumer *c = r->consumer;

    r->leaving = true;
    try(celery_move_later(cx, &c->claimer, r->tag, c->lists.keys[r->list], text, len, at_ms, held));
    consumer_due(c, at_ms); /* it stands there now: whoever looks finds it */
    return OK;
}

static rc later(struct cx *cx, struct celery_run *r, bool again, bool counted, int64_t at_ms,
                bool *held)
{
    _cleanup_(buf_release) struct buf b = BUF(CELERY_MESSAGE_MAX * 2);

    if (!again)
        return move_later(cx, r, r->text, r->len, at_ms, held);
    celery_message_again(&b, &r->m, counted, at_ms);
    if (!buf_ok(&b))
        return fail(cx, BUFFER_FULL, "the next try of %s is too large", r->m.task);
    return move_later(cx, r, b.p, b.len, at_ms, held);
}

/* What the verdict means, once. */
static rc tell_once(struct cx *cx, struct celery_run *r, const struct verdict *v, bool *held)
{
    struct consumer *c = r->consumer;

    switch (v->end) {
    case END_SUCCESS:
        try(celery_succeed(cx, c->celery, &r->m, v->result));
        return ack(cx, r, held);
    case END_FAILURE:
        try(celery_fail(cx, c->celery, &r->m, &v->failure));
        return ack(cx, r, held);
    case END_REVOKED:
        try(celery_revoke(cx, c->celery, &r->m, v->failure.message));
        return ack(cx, r, held);
    case END_RETRY:
        try(celery_retrying(cx, c->celery, &r->m, &v->failure));
        return later(cx, r, /* again= */ true, /* counted= */ true, v->at_ms, held);
    case END_LATER:
        return later(cx, r, v->again, /* counted= */ false, v->at_ms, held);
    case END_BACK:
        r->leaving = true;
        return celery_move_back(cx, &c->claimer, r->tag, c->lists.keys[r->list], r->text, r->len,
                                /* tail= */ false, held);
    case END_ASIDE:
        r->leaving = true;
        *held = true;
        try(celery_move_aside(cx, &c->claimer, r->tag, c->lists.queues[r->list], r->why, r->text,
                              r->len));
        fiber_wake(c->quarantine);
        return OK;
    }
    return OK;
}

/* What cannot be told (a callback that is none, a result that is too large) becomes a failure; a failure that cannot be
 * told puts its message into the quarantine. */
static void untellable(struct cx *cx, struct celery_run *r, struct verdict *v, rc code,
                       const char *words)
{
    log_fail(LOG_ERROR, "celery.not_told", cx, code, kv_str("task", r->m.task),
             kv_str("id", r->m.id));
    if (v->end == END_FAILURE) {
        v->end = END_ASIDE;
        r->why = xstrdup(words);
        return;
    }
    *v = (struct verdict){
        .end = END_FAILURE,
        .failure = {"CallbackError", "mihwar", arena_strdup(&cx->arena, words), NULL}};
}

/* Until the stores have taken it. */
static bool tell(struct cx *cx, struct celery_run *r, struct verdict *v)
{
    int64_t pause = 100;
    bool held = false;

    for (;;) {
        struct arena kept = cx->arena;
        cx->arena = (struct arena){0};
        rc code = tell_once(cx, r, v, &held);
        _cleanup_(freep) char *words = xstrdup(cx_words(cx, code));
        arena_release(&cx->arena);
        cx->arena = kept;
        if (code == OK)
            break;
        r->leaving = false;
        if (r->run.lost || code == E_CANCELLED)
            return false;
        if (!may_wait(code)) {
            if (v->end == END_ASIDE)
                return false;
            untellable(cx, r, v, code, words);
            continue;
        }
        log_fail(LOG_WARN, "celery.end_waits", cx, code, kv_str("task", r->m.task),
                 kv_str("id", r->m.id), kv_int("again_in_ms", pause));
        if (fiber_sleep(cx, pause) != OK)
            return false;
        pause = MIN(pause * 2, (int64_t)PAUSE_MAX_MS);
    }
    if (!held)
        log_ev(LOG_WARN, "celery.ack_refused", kv_str("task", r->m.task), kv_str("id", r->m.id));
    return held;
}

/* ---------------------------------------------------------------- what the task returned */

/* "not_found" -> "NotFound": the class that Python makes of it. */
static const char *class_of(struct cx *cx, const char *code)
{
    char *text = arena_strdup(&cx->arena, code), *out = text;
    bool upper = true;

    for (const char *p = text; *p; p++) {
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9'))) {
            upper = true;
            continue;
        }
        *out++ = (char)(upper && *p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
        upper = false;
    }
    *out = 0;
    return *text ? text : "Failed";
}

static struct celery_failure failure_of(struct cx *cx, struct celery_run *r, rc code)
{
    const char *word = r->run.error_code ? r->run.error_code : error_info(code)->code;
    const char *text = r->run.error ? r->run.error : arena_strdup(&cx->arena, cx_words(cx, code));

    return (struct celery_failure){
        .type = class_of(cx, word),
        .module = "mihwar",
        .message = text,
        .traceback = arena_printf(
            &cx->arena, "%s: %.2000s\n  task %s, attempt %d, worker %s (%s)\n", word, text,
            r->m.task, r->run.job.attempt, r->consumer->node, r->consumer->pool->worker)};
}

static struct celery_failure limit_failure(struct cx *cx, struct celery_run *r)
{
    const struct celery_message *m = &r->m;
    bool soft = m->soft_ms && (!m->hard_ms || m->soft_ms < m->hard_ms);
    double s = (double)(soft ? m->soft_ms : m->hard_ms) / 1000;

    return (struct celery_failure){.type = soft ? "SoftTimeLimitExceeded" : "TimeLimitExceeded",
                                   .module = "celery.exceptions",
                                   .message = arena_printf(&cx->arena, "%g", s),
                                   .traceback = NULL};
}

static struct verdict judge(struct cx *cx, struct celery_run *r, rc code)
{
    const struct task *t = r->run.task;
    bool own_limit = code == E_DEADLINE && (r->m.hard_ms || r->m.soft_ms);

    if (code == OK && r->run.ended && r->run.end.outcome == JOB_SNOOZED)
        return (struct verdict){.end = END_LATER, .again = true, .at_ms = r->run.end.run_at_ms};
    if (code == OK)
        return (struct verdict){.end = END_SUCCESS,
                                .result = raw_of(r->run.result ? r->run.result : "null")};
    if (r->terminated)
        return (struct verdict){.end = END_REVOKED, .failure = {.message = "terminated"}};
    if (r->consumer->cut)
        return (struct verdict){.end = END_BACK};
    if (store_is_away(code)) {
        log_fail(LOG_WARN, "celery.snoozed", cx, code, kv_str("task", r->m.task),
                 kv_str("id", r->m.id));
        return (struct verdict){.end = END_LATER, .again = true, .at_ms = clock_ms() + AWAY_MS};
    }
    if (own_limit)
        return (struct verdict){.end = END_FAILURE, .failure = limit_failure(cx, r)};
    struct verdict v = {.end = END_FAILURE, .failure = failure_of(cx, r, code)};
    if (error_info(code)->retry && r->run.job.attempt < r->run.job.max_attempts) {
        v.end = END_RETRY;
        v.at_ms = clock_ms() +
                  backoff_delay_ms(&t->backoff, r->run.job.attempt, 0, random_below(UINT64_MAX));
    }
    log_fail(v.end == END_RETRY ? LOG_WARN : LOG_ERROR,
             v.end == END_RETRY ? "celery.retry" : "celery.failed", cx, code,
             kv_str("task", r->m.task), kv_str("id", r->m.id),
             kv_int("attempt", r->run.job.attempt));
    return v;
}

static void report(struct cx *cx, struct celery_run *r, const struct verdict *v)
{
    const char *repr;

    switch (v->end) {
    case END_SUCCESS:
        event(r, "task-succeeded", ",\"result\":%s,\"runtime\":%.6f",
              quoted(cx, shown(cx, v->result, 400)), now_s() - r->started);
        break;
    case END_FAILURE:
    case END_RETRY:
        repr = celery_failure_repr(cx, &v->failure);
        repr = arena_strndup(&cx->arena, repr, utf8_cut(repr, 800));
        event(r, v->end == END_RETRY ? "task-retried" : "task-failed",
              ",\"exception\":%s,\"traceback\":%s", quoted(cx, repr),
              quoted(cx, v->end == END_RETRY || !v->failure.traceback ? "" : repr));
        break;
    case END_REVOKED:
        event(r, "task-revoked", ",\"terminated\":%s,\"signum\":%s,\"expired\":%s",
              r->terminated ? "true" : "false", r->terminated ? "\"SIGTERM\"" : "null",
              str_eq(v->failure.message, "expired") ? "true" : "false");
        break;
    case END_LATER:
    case END_BACK:
    case END_ASIDE:
        break;
    }
}

/* ---------------------------------------------------------------- run */

static void make_job(struct celery_run *r)
{
    struct job *j = &r->run.job;
    struct buf b = BUF(CELERY_MESSAGE_MAX * 2);

    if (!id_parse(r->m.id, j->lease.id))
        id_new(j->lease.id);
    j->lease.generation = 1;
    j->lease.claim = r->m.retries + 1;
    j->queue = r->consumer->lists.queues[r->list];
    j->task = r->m.task;
    buf_puts(&b, "{\"args\":");
    raw_put(&b, r->m.args);
    buf_puts(&b, ",\"kwargs\":");
    raw_put(&b, r->m.kwargs);
    buf_putc(&b, '}');
    j->args_len = b.len;
    j->args = arena_strndup(&r->arena, buf_str(&b), b.len);
    buf_release(&b);
    j->priority = JOB_PRIORITY;
    j->attempt = r->m.retries + 1;
    j->max_attempts = r->run.task->max_attempts;
    j->timeout_ms = r->run.task->timeout_ms;
    if (r->m.hard_ms)
        j->timeout_ms = r->m.hard_ms;
    if (r->m.soft_ms)
        j->timeout_ms = MIN(j->timeout_ms, r->m.soft_ms);
    j->due_ms = clock_ms();
    j->run = &r->run;
    r->run.foreign = true;
    r->run.started_ms = clock_ms();
}

static void count_run(struct celery_run *r)
{
    struct consumer *c = r->consumer;

    c->processed++;
    for (size_t i = 0; i < registry_count(); i++)
        if (registry_at(i) == r->run.task)
            c->counts[i]++;
}

static rc run_task(struct cx *cx, struct celery_run *r)
{
    make_job(r);
    memcpy(cx->subject, r->run.job.lease.id, sizeof r->run.job.lease.id);
    r->begun = true;
    r->started = now_s();
    count_run(r);
    event(r, "task-started", "%s", "");
    log_ev(LOG_DEBUG, "celery.started", kv_str("task", r->m.task), kv_str("id", r->m.id),
           kv_int("attempt", r->run.job.attempt));
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, r->run.job.timeout_ms);
    return r->run.task->run(cx, &r->run.job);
}

/* Whether it is run at all. */
static bool decided_before(struct cx *cx, struct celery_run *r, struct verdict *v)
{
    struct consumer *c = r->consumer;
    int64_t now = clock_ms();

    if (r->unread != OK) {
        v->end = END_ASIDE;
    } else if (!r->run.task && strcmp(c->settings->celery_unknown, "fail") != 0) {
        v->end = END_BACK; /* its put-back met a Redis that was away */
    } else if (revoked_has(&c->revoked, r->m.id, now)) {
        *v = (struct verdict){.end = END_REVOKED, .failure = {.message = "revoked"}};
    } else if (r->m.expires_ms && r->m.expires_ms <= now) {
        *v = (struct verdict){.end = END_REVOKED, .failure = {.message = "expired"}};
    } else if (!r->run.task) {
        *v = (struct verdict){.end = END_FAILURE,
                              .failure = {"NotRegistered", "celery.exceptions", r->m.task, NULL}};
    } else if (r->m.deaths >= DEATHS_MAX) {
        *v = (struct verdict){
            .end = END_FAILURE,
            .failure = {
                "WorkerLostError", "billiard.exceptions",
                arena_printf(&cx->arena, "%d workers died while they carried it out", r->m.deaths),
                NULL}};
    } else if (r->m.eta_ms > now) {
        *v = (struct verdict){.end = END_LATER, .at_ms = r->m.eta_ms};
    } else if (r->m.deaths > 0 && c->suspects > 0) {
        *v = (struct verdict){.end = END_LATER,
                              .at_ms = now + CROWDED_MS + (int64_t)random_below(CROWDED_MS)};
    } else {
        return false;
    }
    return true;
}

static rc carry_fiber(struct cx *cx, void *arg)
{
    struct celery_run *r = arg;
    struct verdict v = {0};

    if (!decided_before(cx, r, &v)) {
        r->suspect = r->m.deaths > 0;
        r->consumer->suspects += r->suspect;
        event_received(cx, r);
        rc code = run_task(cx, r);
        r->run.finishing = true;
        cx->deadline_mono_ms = 0;
        cx->cancelled = false;
        v = judge(cx, r, code);
    } else if (v.end == END_LATER && !r->m.redelivered) {
        event_received(cx, r);
    }
    r->run.finishing = true;
    if (r->run.lost)
        log_ev(LOG_WARN, "celery.stale", kv_str("task", r->m.task), kv_str("id", r->m.id));
    else if (tell(cx, r, &v))
        report(cx, r, &v);
    consumer_done(r->consumer, r);
    return OK;
}

void carry_begin(struct celery_run *r)
{
    const struct task *t = r->run.task;

    r->run.fiber = fiber_spawn(&(struct fiber_opts){.name = t ? t->name : "celery.message",
                                                    .stack_bytes = t ? t->stack_bytes : 0},
                               carry_fiber, r);
    fiber_detach(r->run.fiber);
}

/* run.c - a fiber for each job: run it, end it.
 *
 *   what the task returned            PostgreSQL             Redis
 *   OK                                completed              ack
 *   may be retried, attempts left     retry, run_at          reschedule
 *   may be retried, none left         dead + dead letter     ack
 *   any other failure                 dead + dead letter     ack
 *   a store was away                  snoozed                reschedule, as a snooze
 *   cancelled by wish                 cancelled              ack
 *   cancelled by the drain            -                      release
 *   lease lost                        -                      -
 *   STALE_ATTEMPT                     -                      ack
 *   STALE_ATTEMPT after a doubt       -                      release
 *
 * A store that was away is not the job's fault and costs no attempt. A lost lease is ended by
 * whoever holds it now. After STALE_ATTEMPT PostgreSQL has ended the job or the sweep pushes it
 * anew; after a doubt it means that the doubtful commit had happened, and the next claim asks which
 * it was.
 *
 * An end that meets a store that is away is tried again for END_PATIENCE_MS, under an extended
 * lease. After that the lease expires, and the next holder asks PostgreSQL what became of it
 * (engine_confirm). */
#include "worker/run.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/inject.h"
#include "base/log.h"
#include "base/text.h"
#include "base/trace.h"
#include "queue/end.h"
#include "queue/flow/flow.h"
#include "queue/flow/reached.h"
#include "queue/results.h"
#include "queue/shape/limits.h"
#include "queue/shape/policy.h"
#include "rt/frame.h"
#include "rt/spans.h"
#include "worker/tally.h"
#include "worker/unknown.h"
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define END_PATIENCE_MS 60000
#define CROWDED_MS      3000
#define END_PAUSE_MS    1000
#define AWAY_MS         1000

/* ---------------------------------------------------------------- birth and death */

struct job_run *run_new(struct pool *p, struct pool_queue *q, struct job *job)
{
    struct job_run *run = xcalloc(1, sizeof *run);

    run->pool = p;
    run->queue = q;
    run->job = *job;
    job->storage = NULL;
    run->job.run = run;
    run->task = registry_find(run->job.task);
    run->check = (struct claim_check){.job = &run->job, .verdict = CLAIM_RUN};
    if (run->job.max_attempts == 0 && run->task)
        run->job.max_attempts = run->task->max_attempts;
    if (run->job.timeout_ms == 0 && run->task)
        run->job.timeout_ms = run->task->timeout_ms;
    return run;
}

void run_release(struct job_run *run)
{
    job_release(&run->job);
    free(run->result);
    free(run->error_code);
    free(run->error);
    free(run->token);
    if (run->soft)
        event_free(TAKE_PTR(run->soft));
    free(run->enqueued);
    pg_result_freep(&run->reached);
}

struct job_run *run_free(struct job_run *run)
{
    if (!run)
        return NULL;
    run_release(run);
    free(run);
    return NULL;
}

/* ---------------------------------------------------------------- ends */

static bool store_is_away(rc r)
{
    return r == E_STORE_DOWN || r == E_STORE_DOUBT || r == E_PG_RETRY || r == E_REDIS_LOST;
}

/* Whether to try an end again: a store is away, the lease is still ours, and there is patience
 * left. */
static bool may_wait(struct cx *cx, const struct job_run *run, rc r, int64_t since_mono_ms)
{
    if (!(store_is_away(r) || r == E_DEADLINE) || run->lost || cx->cancelled)
        return false;
    return clock_mono_ms() - since_mono_ms < END_PATIENCE_MS;
}

/* The end in PostgreSQL. */
static rc end_durably(struct cx *cx, struct job_run *run)
{
    int64_t since = clock_mono_ms(), pause = 100;

    for (;;) {
        _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 10000);
        rc r = engine_end(cx, run->pool->env.engine, &run->job, &run->end);
        run->doubtful |= r == E_STORE_DOUBT || r == E_DEADLINE;
        if (r == E_PG && run->end.result) { /* no JSON, perhaps: the end matters more */
            log_fail(LOG_ERROR, "job.result_refused", cx, r, kv_str("job", run->job.lease.id));
            run->end.result = NULL;
            continue;
        }
        if (!may_wait(cx, run, r, since))
            return r;
        cx_deadline_restore(&d);
        try(fiber_sleep(cx, pause));
        pause = MIN(pause * 2, END_PAUSE_MS);
    }
}

static rc postpone(struct cx *cx, struct job_run *run, int64_t run_at_ms, bool snooze)
{
    int64_t since = clock_mono_ms(), pause = 100;

    for (;;) {
        _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 10000);
        rc r = engine_reschedule(cx, run->pool->env.engine, run->job.place, &run->job.lease,
                                 run_at_ms, snooze);
        if (!may_wait(cx, run, r, since))
            return r;
        cx_deadline_restore(&d);
        try(fiber_sleep(cx, pause));
        pause = MIN(pause * 2, END_PAUSE_MS);
    }
}

/* What cannot be put off comes back when its lease expires; a durable job then waits for its time. */
static void put_off(struct cx *cx, struct job_run *run, int64_t run_at_ms, bool snooze)
{
    rc r = postpone(cx, run, run_at_ms, snooze);

    if (r != OK)
        log_fail(LOG_WARN, "job.not_postponed", cx, r, kv_str("job", run->job.lease.id),
                 kv_int("run_at_ms", run_at_ms));
}

/* It has ended, one way or another. */
static void count_end(struct job_run *run, enum count_outcome o)
{
    tally_end(run->pool->tally, run->queue->index, run->task, o, run->began_us, clock_us());
}

static enum count_outcome outcome_counted(enum job_outcome o)
{
    switch (o) {
    case JOB_COMPLETED:
        return COUNT_COMPLETED;
    case JOB_RETRY:
        return COUNT_RETRY;
    case JOB_SNOOZED:
        return COUNT_SNOOZED;
    case JOB_DEAD:
        return COUNT_DEAD;
    case JOB_CANCELLED:
        break;
    }
    return COUNT_CANCELLED;
}

/* For the breaker of its key, if it has one: jobs without a key are not asked about. */
static void tell_limit(struct cx *cx, const struct job_run *run)
{
    const struct job_options *o = run->job.options;
    enum job_outcome outcome = run->end.outcome;
    const char *moved;

    if (!o || !o->limit_key[0] || outcome == JOB_SNOOZED || outcome == JOB_CANCELLED)
        return;
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, 2000);
    rc r = limit_note(cx, run->pool->env.engine, run->job.queue, o->limit_key,
                      outcome == JOB_COMPLETED, &moved);
    if (r != OK) /* one end that its breaker has not heard of */
        log_fail(LOG_WARN, "breaker.not_told", cx, r, kv_str("key", o->limit_key));
    else if (moved)
        log_ev(LOG_WARN, "breaker.moved", kv_str("queue", run->job.queue),
               kv_str("key", o->limit_key), kv_str("to", moved));
}

/* What Redis is told once PostgreSQL knows. */
static void tell_redis(struct cx *cx, struct job_run *run)
{
    bool later = run->end.outcome == JOB_RETRY || run->end.outcome == JOB_SNOOZED;

    count_end(run, outcome_counted(run->end.outcome));
    tell_limit(cx, run);
    if (!later) {
        run->job.lease.died = run->end.outcome == JOB_DEAD;
        if (!(run->job.durable && inject(ACK_LOST)))
            pool_ack(run->pool, run);
        return;
    }
    put_off(cx, run, run->end.run_at_ms, run->end.outcome == JOB_SNOOZED);
}

/* The snooze can be stored only when PostgreSQL is back, so it need not be long; spread, because all
 * that was aboard comes back together. */
static int64_t away_delay_ms(void)
{
    return AWAY_MS / 4 + (int64_t)random_below(AWAY_MS);
}

static int64_t retry_delay_ms(const struct job_run *run)
{
    return backoff_delay_ms(&run->task->backoff, run->job.attempt, 0, random_below(UINT64_MAX));
}

/* The row of the table above for what the task returned. */
static void decide(struct cx *cx, struct job_run *run, rc r)
{
    struct job_end *e = &run->end;
    int64_t delay;

    *e = (struct job_end){.outcome = JOB_COMPLETED,
                          .result = run->result,
                          .worker = run->pool->worker,
                          .started_ms = run->started_ms};
    if (r == OK)
        return;
    e->error_code = run->error_code ? run->error_code : error_info(r)->code;
    e->error = run->error ? run->error : arena_strdup(&cx->arena, cx_words(cx, r));
    if (run->wished_away || run->expired) {
        e->outcome = JOB_CANCELLED;
        log_ev(LOG_INFO, "job.cancelled", kv_str("job", run->job.lease.id),
               kv_str("task", run->job.task));
    } else if (store_is_away(r)) {
        e->outcome = JOB_SNOOZED;
        e->run_at_ms = clock_ms() + (delay = away_delay_ms());
        log_fail(LOG_WARN, "job.snoozed", cx, r, kv_str("job", run->job.lease.id),
                 kv_str("task", run->job.task), kv_int("again_in_ms", delay));
    } else if (error_info(r)->retry && !run->poisonous &&
               run->job.attempt < run->job.max_attempts) {
        e->outcome = JOB_RETRY;
        e->run_at_ms = clock_ms() + (delay = retry_delay_ms(run));
        log_fail(LOG_WARN, "job.retry", cx, r, kv_str("job", run->job.lease.id),
                 kv_str("task", run->job.task), kv_int("attempt", run->job.attempt),
                 kv_int("again_in_ms", delay));
    } else {
        e->outcome = JOB_DEAD;
        log_fail(LOG_ERROR, "job.dead", cx, r, kv_str("job", run->job.lease.id),
                 kv_str("task", run->job.task), kv_int("attempt", run->job.attempt));
    }
}

static void end_stale(struct job_run *run)
{
    count_end(run, COUNT_STALE);
    log_ev(LOG_WARN, "attempt.stale", kv_str("job", run->job.lease.id),
           kv_str("task", run->job.task), kv_int("attempt", run->job.attempt),
           kv_bool("lease_lost", run->lost));
    if (!run->lost)
        pool_ack(run->pool, run);
}

static void give_back(struct cx *cx, struct job_run *run)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, 2000);

    count_end(run, COUNT_RELEASED);
    rc r = engine_release(cx, run->pool->env.engine, run->job.place, &run->job.lease, 1);

    log_fail(r == OK ? LOG_INFO : LOG_WARN, "job.released", cx, r, kv_str("job", run->job.lease.id),
             kv_str("task", run->job.task));
}

/* This very attempt may have ended the job itself, in SQL (mw_complete): then all is well. */
static bool ended_in_sql(struct cx *cx, struct job_run *run)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, 5000);
    bool own = false;

    if (!run->job.durable || run->lost || run->doubtful ||
        engine_ended_by(cx, run->pool->env.engine, &run->job, &own) != OK || !own)
        return false; /* a store that is away: as any stale one, which is acked, too */
    log_ev(LOG_INFO, "job.ended_in_sql", kv_str("job", run->job.lease.id),
           kv_str("task", run->job.task), kv_int("attempt", run->job.attempt));
    pool_ack(run->pool, run);
    return true;
}

static void finish_stale(struct cx *cx, struct job_run *run)
{
    if (ended_in_sql(cx, run))
        return;
    if (run->doubtful && !run->lost)
        give_back(cx, run);
    else
        end_stale(run);
}

/* Of broker jobs that asked for it. */
static void keep_result(struct cx *cx, struct job_run *run)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, 10000);
    rc r = engine_keep_result(cx, run->pool->env.engine, &run->job, &run->end);

    if (r != OK)
        log_fail(LOG_WARN, "job.result_not_kept", cx, r, kv_str("job", run->job.lease.id));
}

static void keep_and_tell(struct cx *cx, struct job_run *run)
{
    if (run->job.options)
        keep_result(cx, run);
    tell_redis(cx, run);
}

static void end_as(struct cx *cx, struct job_run *run, rc r)
{
    decide(cx, run, r);
    rc stored = end_durably(cx, run);
    if (stored == OK)
        keep_and_tell(cx, run);
    else if (stored == E_STALE_ATTEMPT)
        finish_stale(cx, run);
    else /* its lease expires, and the next holder asks PostgreSQL */
        log_fail(LOG_ERROR, "job.end_not_stored", cx, stored, kv_str("job", run->job.lease.id),
                 kv_str("task", run->job.task),
                 kv_str("outcome", job_outcome_word(run->end.outcome)));
}

static MW_OWN_FRAME void finish(struct cx *cx, struct job_run *run, rc r)
{
    /* The task's own deadline and cancellation ended with the task. */
    run->finishing = true;
    cx->deadline_mono_ms = 0;
    cx->cancelled = false;
    if (run->ended)
        keep_and_tell(cx, run);
    else if (run->lost || r == E_STALE_ATTEMPT)
        finish_stale(cx, run);
    else if (run->released && r != OK)
        give_back(cx, run);
    else
        end_as(cx, run, r);
}

/* ---------------------------------------------------------------- what is run */

/* Somebody else may know it. */
static void leave_unknown(struct cx *cx, struct job_run *run)
{
    int64_t now = clock_ms(), ms = unknown_put_off_ms(&run->job, now, random_below(UINT64_MAX));

    unknown_note(&run->job, ms);
    tally_end(run->pool->tally, run->queue->index, NULL, COUNT_UNKNOWN, /* began_us= */ 0,
              clock_us());
    put_off(cx, run, now + ms, /* snooze= */ true);
}

/* So many died over it that it is not begun again. How the last of them died belongs to it, if its parent could say. */
static MW_OWN_FRAME rc give_up(struct cx *cx, struct job_run *run)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, 2000);
    _cleanup_(freep) char *words = NULL;
    rc asked = engine_words(cx, run->pool->env.engine, run->job.place, &run->job.lease, &words);

    if (asked != OK)
        log_fail(LOG_WARN, "job.no_last_words", cx, asked, kv_str("job", run->job.lease.id));
    rc r =
        run->poisonous
            ? fail(cx, INTERNAL, "%d workers crashed while they carried it out", run->job.crashes)
            : fail(cx, INTERNAL,
                   "%d workers in a row died or lost the lease while they carried it out",
                   run->job.max_attempts);
    if (words)
        run->error = xasprintf("%s; the last one: %s", cx_words(cx, r), words);
    return r;
}

static rc carry_out(struct cx *cx, struct job_run *run)
{
    if (run->job.attempt > run->job.max_attempts || run->poisonous)
        return give_up(cx, run);
    if (run->lost)
        return fail(cx, STALE_ATTEMPT, "its lease was lost before it ran");
    if (run->wished_away || run->released)
        return fail(cx, CANCELLED, "cancelled before it ran");
    if (run->task->wants_previous && in_workflow(&run->job))
        try(job_previous(cx, &run->job, &run->job.previous));
    try(attempt_begin(cx, run));
    return attempt_end(cx, run, run->task->run(cx, &run->job));
}

/* The span of one attempt, from the claim to its end in the stores. */
static MW_OWN_FRAME void note_attempt(struct cx *cx, struct span *span, const struct job_run *run)
{
    char attempt[16];

    if (!span->live)
        return;
    snprintf(attempt, sizeof attempt, "%d", run->job.attempt);
    span_end(cx, span, run->end.outcome == JOB_COMPLETED || run->end.outcome == JOB_SNOOZED,
             SPAN_FACTS({"job.id", run->job.lease.id}, {"job.queue", run->job.queue},
                        {"job.attempt", attempt}, {"job.subject", run->job.subject},
                        {"job.outcome", job_outcome_word(run->end.outcome)},
                        {"error.code", run->end.error_code}));
}

static void run_traced(struct cx *cx, struct job_run *run)
{
    struct span span;

    if (!trace_adopt(cx, run->job.trace) && spans_on())
        spans_root(cx);
    span_begin(cx, &span, SPAN_CONSUMER, run->task->name);
    finish(cx, run, carry_out(cx, run));
    note_attempt(cx, &span, run);
}

static rc run_fiber(struct cx *cx, void *arg)
{
    struct job_run *run = arg;

    memcpy(cx->subject, run->job.lease.id, sizeof run->job.lease.id);
    run->began_us = clock_us();
    run->started_ms = run->began_us / 1000;
    if (run->check.verdict == CLAIM_RUN && run->task && !run->crowded)
        tally_begin(run->pool->tally, run->queue->index,
                    run->job.lease.claim == 1 ? run->job.due_ms : run->check.due_ms, run->began_us);
    log_ev(LOG_DEBUG, "job.started", kv_str("job", run->job.lease.id),
           kv_str("task", run->job.task), kv_int("attempt", run->job.attempt));
    switch (run->check.verdict) {
    case CLAIM_ENDED:
        log_ev(LOG_INFO, "job.ended_already", kv_str("job", run->job.lease.id),
               kv_str("task", run->job.task));
        pool_ack(run->pool, run);
        break;
    case CLAIM_LATER:
        put_off(cx, run, run->check.run_at_ms, /* snooze= */ true);
        break;
    case CLAIM_CANCEL:
        run->wished_away = true; /* fall through: it ends as cancelled without running */
        __attribute__((fallthrough));
    case CLAIM_RUN:
        if (run->crowded)
            (void)postpone(cx, run, clock_ms() + CROWDED_MS + (int64_t)random_below(CROWDED_MS),
                           /* snooze= */ true);
        else if (run->task)
            run_traced(cx, run);
        else
            leave_unknown(cx, run);
    }
    pool_done(run->pool, run);
    return OK;
}

void run_begin(struct job_run *run)
{
    const struct fiber_opts o = {
        .name = run->task ? run->task->name : "task.unknown",
        .timeout_ms = run->job.timeout_ms,
        .stack_bytes = run->task ? run->task->stack_bytes : 0,
    };

    run->fiber = fiber_spawn(&o, run_fiber, run);
    fiber_detach(run->fiber);
}

void run_cancel(struct job_run *run)
{
    if (run->fiber && !run->finishing)
        fiber_cancel(run->fiber);
}

/* ---------------------------------------------------------------- what tasks call (task.h) */

struct worker_env *job_env(const struct job *job)
{
    return &job->run->pool->env;
}

void job_hold(struct job *job, bool hold)
{
    struct job_run *run = job->run;

    run->held = hold;
    if (!hold && (run->lost || run->wished_away || run->soft_over))
        fiber_cancel(run->fiber);
}

void job_result(struct job *job, const char *json)
{
    free(job->run->result);
    job->run->result = xstrdup(json);
}

rc job_fail(struct cx *cx, struct job *job, rc code, const char *word, const char *text)
{
    struct job_run *run = job->run;

    free(run->error_code);
    free(run->error);
    run->error_code = xstrdup(word);
    run->error = xstrdup(text);
    return fail_rc(cx, code, "%s", text);
}

rc job_previous(struct cx *cx, struct job *job, const char **ret)
{
    return flow_previous(cx, job->run->pool->env.db, job, ret);
}

struct task_tx {
    struct job_run *run;
    const struct job_end *end; /* NULL: in the middle of the job */
    rc (*fn)(struct cx *cx, struct pg_tx *tx, void *arg);
    void *arg;
};

/* The fence comes first: who is stale writes nothing, and the unique key of an ending job is free
 * for those it enqueues. */
static rc in_task_tx(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct task_tx *t = arg;

    t->run->nenqueued = 0; /* it may be the second time */
    pg_result_freep(&t->run->reached);
    if (t->run->foreign)
        ; /* ends elsewhere; nothing here to fence it with */
    else if (t->end)
        try(engine_end_tx(cx, tx, &t->run->job, t->end));
    else
        try(engine_fence_tx(cx, tx, &t->run->job));
    if (t->fn)
        try(t->fn(cx, tx, t->arg));
    return t->end && in_workflow(&t->run->job) ? flow_reached_tx(cx, tx, &t->run->reached) : OK;
}

static void push_enqueued(struct cx *cx, struct job_run *run)
{
    size_t n = run->nenqueued;
    _cleanup_(freep) struct job_new *jobs = n ? xmalloc(n * sizeof *jobs) : NULL;

    run->nenqueued = 0;
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        jobs[i] = *run->enqueued[i];
    rc r = engine_push(cx, run->pool->env.engine, jobs, n);
    if (r != OK) /* committed: the sweep pushes what Redis did not take */
        log_fail(LOG_WARN, "push.postponed", cx, r, kv_int("jobs", (int64_t)n));
}

static rc run_task_tx(struct cx *cx, struct job_run *run, struct task_tx *t)
{
    if (run->foreign && !t->fn)
        return OK;
    rc r = pg_tx_run(cx, run->pool->env.db, in_task_tx, t);

    if (r != OK) {
        run->nenqueued = 0;
        return r;
    }
    push_enqueued(cx, run);
    flow_push_reached(cx, run->pool->env.engine, run->reached);
    return OK;
}

static void set_end(struct job_run *run, struct job_end end)
{
    end.result = run->result;
    end.worker = run->pool->worker;
    end.started_ms = run->started_ms;
    run->end = end;
}

static rc note_end(struct job_run *run, rc r)
{
    run->ended = r == OK;
    run->doubtful = r == E_STORE_DOUBT;
    return r;
}

static rc end_by_task(struct cx *cx, struct job *job, struct job_end end,
                      rc (*fn)(struct cx *cx, struct pg_tx *tx, void *arg), void *arg)
{
    struct job_run *run = job->run;

    set_end(run, end);
    return note_end(run, run_task_tx(cx, run, &(struct task_tx){run, &run->end, fn, arg}));
}

rc job_end_gathered(struct cx *cx, struct job *job, int64_t run_at_ms,
                    rc (*store)(struct cx *cx, const struct job *job, const struct job_end *end,
                                void *arg),
                    void *arg)
{
    struct job_run *run = job->run;

    set_end(run, (struct job_end){.outcome = run_at_ms ? JOB_SNOOZED : JOB_COMPLETED,
                                  .run_at_ms = run_at_ms});
    if (run->foreign || !engine_may_gather(job, &run->end))
        return fail(cx, CONFLICT, "this job ends alone");
    return note_end(run, store(cx, job, &run->end, arg));
}

rc job_complete(struct cx *cx, struct job *job,
                rc (*fn)(struct cx *cx, struct pg_tx *tx, void *arg), void *arg)
{
    return end_by_task(cx, job, (struct job_end){.outcome = JOB_COMPLETED}, fn, arg);
}

rc job_snooze(struct cx *cx, struct job *job, int64_t run_at_ms,
              rc (*fn)(struct cx *cx, struct pg_tx *tx, void *arg), void *arg)
{
    return end_by_task(cx, job, (struct job_end){.outcome = JOB_SNOOZED, .run_at_ms = run_at_ms},
                       fn, arg);
}

rc job_tx(struct cx *cx, struct job *job, rc (*fn)(struct cx *cx, struct pg_tx *tx, void *arg),
          void *arg)
{
    return run_task_tx(cx, job->run, &(struct task_tx){job->run, NULL, fn, arg});
}

static rc insert_job(struct cx *cx, struct job_run *run, struct pg_tx *tx, struct job_new *j)
{
    if (!j->tenant_id)
        j->tenant_id = run->job.tenant_id;
    try(job_new_check(cx, j));
    try(engine_room(cx, run->pool->env.engine, j, 1));
    return engine_insert(cx, tx, j, 1);
}

rc job_enqueue(struct cx *cx, struct job *job, struct pg_tx *tx, struct job_new *j)
{
    struct job_run *run = job->run;
    struct span span;

    j->durable = true;
    span_begin(cx, &span, SPAN_PRODUCER, "job.enqueue");
    if (!j->trace)
        j->trace = cx->trace[0] ? trace_text(cx) : run->job.trace;
    rc r = insert_job(cx, run, tx, j);
    span_end(cx, &span, r == OK, SPAN_FACTS({"job.task", j->task}));
    try(r);
    run->enqueued = xrealloc(run->enqueued, (run->nenqueued + 1) * sizeof(struct job_new *));
    run->enqueued[run->nenqueued++] = j;
    return OK;
}

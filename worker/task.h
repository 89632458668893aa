/* task.h - a task is a name and a C function; this is what the function sees.
 *
 *     static rc order_check(struct cx *cx, struct job *job)
 *     {
 *         ...                          parks as it likes; cx carries deadline and cancellation
 *         return job_complete(cx, job, save_answer, &a);
 *     }                                domain writes and the job's end in one transaction
 *
 * What it returns decides (error.def): OK = completed; a code that may be retried = retry with
 * back-off while attempts are left, then dead; any other code = dead at once with its words.
 * A store that was away (STORE_DOWN, STORE_DOUBT, PG_RETRY, REDIS_LOST) costs no attempt.
 * job_snooze() postpones without using an attempt. Tasks are written for at least once: read your
 * own state first. */
#pragma once
#include "base/log.h"
#include "domain/agents/request_move.h"
#include "queue/backoff.h"
#include "queue/queue.h"

struct task {
    const char *name, *queue; /* queue: the default one for its jobs */
    rc (*run)(struct cx *cx, struct job *job);
    int max_attempts;
    int64_t timeout_ms; /* of one attempt */
    int64_t soft_ms;    /* cancelled then, and may clean up until timeout_ms; 0: none */
    struct backoff backoff;
    bool durable;
    size_t stack_bytes;  /* of its fiber; 0: FIBER_STACK */
    bool wants_previous; /* job.previous is filled before it runs, for those that cannot ask */
};

/* What every task may use; made once per worker process. */
struct worker_env {
    struct engine *engine;
    struct pg *db;
    struct redis *redis; /* for what is not the engine's: notes to hubs */
    const struct settings *settings;
    struct seal_keys *seal;          /* secure/seal.h */
    struct provider_pool *providers; /* worker/providers */
    struct order_gather *orders;     /* domain/orders/order_gather.h */
    struct mask *mask;               /* of results that are kept; in end_rules too */
    struct end_rules end_rules;
    struct timeline *timeline; /* worker/timeline.h: what jobs tell */
};
struct worker_env *job_env(const struct job *job);

/* Ends the job inside the transaction in which fn(cx, tx, arg) does the domain writes (fn may be
 * NULL; it runs again after a serialization failure). The one way for a durable task to write:
 * stale attempts roll back. Returns OK, STALE_ATTEMPT, or fn's failure (then the job has not
 * ended). Call once, last. Parks. */
rc job_complete(struct cx *cx, struct job *job,
                rc (*fn)(struct cx *cx, struct pg_tx *tx, void *arg), void *arg) MW_PARKS;
/* The same, but the job comes back at run_at_ms (wall): as a snooze (no attempt used). Parks. */
rc job_snooze(struct cx *cx, struct job *job, int64_t run_at_ms,
              rc (*fn)(struct cx *cx, struct pg_tx *tx, void *arg), void *arg) MW_PARKS;
/* The same ends for a task whose writes are gathered with those of others: store(cx, job, end, arg) writes them and the fenced end in one
 * transaction, and returns what job_complete would. run_at_ms 0: completed, else a snooze. CONFLICT, without a
 * call of it, for a job that ends alone (with options, of another broker): job_complete, job_snooze. Parks. */
rc job_end_gathered(struct cx *cx, struct job *job, int64_t run_at_ms,
                    rc (*store)(struct cx *cx, const struct job *job, const struct job_end *end,
                                void *arg),
                    void *arg) MW_PARKS;
/* Inside fn: a durable job enqueued in this transaction, pushed after its commit. `j` and what it
 * points to must live until job_complete/job_snooze/job_tx returns (the arena does). */
rc job_enqueue(struct cx *cx, struct job *job, struct pg_tx *tx, struct job_new *j) MW_PARKS;
/* A transaction in the middle of a job (the reference before the call), refused as STALE_ATTEMPT
 * when the job is no longer this attempt's. Parks. */
rc job_tx(struct cx *cx, struct job *job, rc (*fn)(struct cx *cx, struct pg_tx *tx, void *arg),
          void *arg) MW_PARKS;
/* While a job is held, a lost lease and a wish to cancel do not cut its waits short; they do as soon as it is let go. For the
 * moments in which the answer is dear. The deadline and the end of a drain's grace hold all the same. */
void job_hold(struct job *job, bool hold);
/* Was it cancelled because its soft limit is over? What it returns then counts as `deadline`, and is tried again. */
bool job_soft_over(const struct job *job);
/* After CANCELLED: waits work again until the attempt's deadline, so that a clean-up may park. */
void job_cleaning(struct cx *cx);
/* What GET /v1/jobs/{id} shows as the result: JSON text, written with the job's end. Copied. */
void job_result(struct job *job, const char *json);
/* What stood before this job in its workflow gave (flow_previous): JSON text in cx's arena, *ret NULL:
 * nothing does. Parks. */
rc job_previous(struct cx *cx, struct job *job, const char **ret) MW_PARKS;
/* Fails with a code and a text of the task's own (both copied, the text may be longer than cx->err's):
 * what it returns decides as any other code. */
rc job_fail(struct cx *cx, struct job *job, rc code, const char *word, const char *text);

/* The right to end this attempt, as text: "ID:generation.claim.snoozes". Whoever guards writes of his own with
 * it, or ends the job in SQL (mw_complete), is refused once another attempt has the job. Lives as long
 * as the job. */
const char *job_token(struct job *job);
/* How far it is: JSON text of at most 4096 bytes, the latest one of the attempt stays; what is none is
 * refused, which the log tells. Does not park; written in batches, and lost sooner than that a job
 * waits for it. On the loop's thread. */
void job_progress(struct job *job, const char *json);
/* A line of the attempt's log, at most 1000 bytes of it; the newest 199 of an attempt stay. Secrets of
 * history_mask are masked here, too. Does not park. On the loop's thread. */
void job_log(struct job *job, enum log_level level, const char *fmt, ...) _printf_(3, 4);

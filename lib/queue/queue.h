/* queue.h - the job engine: enqueue, claim, end, mend.
 *
 *                      .------------- retry, snooze --------------.
 *                      v                                          |
 *   enqueue --> scheduled --due--> ready --claim--> leased --end--+--> completed, dead, cancelled
 *        `--------------------------^                 |
 *                                   `--lease expired--'
 *
 * Two kinds of job:
 *   durable  a row in PostgreSQL (the truth) written in the caller's transaction, then pushed to
 *            Redis after the commit; a push that never happens is mended by the reconciler
 *   broker   Redis only: the fastest, and lost when Redis is lost
 *
 * The token. A claim puts "id:generation.claim.snoozes" into the queue's lease set, scored by its
 * expiry. Holding exactly that member is the right to end the job: each end begins by removing
 * it, so a worker that lost its lease is refused.
 *   generation  written to PostgreSQL before the job is pushed again after Redis was lost; old
 *               holders are stale
 *   claim       counts claims; PostgreSQL takes an end only while jobs.attempt < claim
 *   snoozes     how many of the claims ended in a snooze: attempts used = claim - snoozes
 *
 * Everything of one queue lives under mw:{queue}: (one hash slot), or is spread over shards that look
 * the same (shards.h); names are made in keys.c.
 * Times come from Redis TIME.
 */
#pragma once
#include "base/buf.h"
#include "base/id.h"
#include "pg/pg.h"
#include "redis/redis.h"

#define QUEUE_NAME_MAX   64  /* [a-z0-9_.-]+ */
#define TASK_NAME_MAX    128 /* [A-Za-z0-9_.-]+ */
#define UNIQUE_KEY_MAX   255 /* any UTF-8 without control characters */
#define JOB_ARGS_MAX     KiB(256)
#define QUEUE_BATCH      1000 /* jobs in one enqueue or claim */
#define QUEUE_SHARDS_MAX 16   /* of one queue */

struct engine; /* the stores of one process */
/* db NULL: broker jobs only. Borrows both. */
struct engine *engine_new(struct redis *r, struct pg *db);
struct engine *engine_free(struct engine *e);
struct pg *engine_db(struct engine *e); /* NULL: broker jobs only */

/* ---------------------------------------------------------------- enqueue */

/* What most jobs do not have (options.h). */
#define LIMIT_KEY_MAX   64   /* [A-Za-z0-9_.:@-]+ */
#define JOB_OPTIONS_MAX 1024 /* bytes of its JSON */
enum job_unique {
    JOB_UNIQUE_FINISH, /* one live job per key */
    JOB_UNIQUE_START,  /* the key is free again as soon as the job has begun */
    JOB_UNIQUE_WINDOW, /* the key is taken for unique_ms from the enqueueing on, however the job ends */
};
struct job_options {
    int64_t expires_at_ms; /* wall; not begun by then: it ends as cancelled, "expired"; 0: never */
    int64_t
        soft_ms; /* of one attempt: then it is cancelled and may clean up until its timeout_ms; 0: none */
    int64_t
        result_ttl_ms; /* the result is kept so long after the end; 0: as long as the job's row */
    enum job_unique unique;
    int64_t unique_ms;                 /* of JOB_UNIQUE_WINDOW */
    char limit_key[LIMIT_KEY_MAX + 1]; /* whose limits and breaker it counts against; "": none */
    char workflow[ID_LEN + 1];         /* "": none */
    int workflow_step;                 /* its place there */
};

struct job_new {
    char id[ID_LEN + 1]; /* "": made here (written back) */
    const char *queue;   /* NULL: "default" */
    const char *task;
    const char *args; /* JSON text; NULL: {} */
    bool durable;
    int priority;           /* 0..9, higher first; default 5 is written as JOB_PRIORITY */
    int64_t run_at_ms;      /* wall; 0: now */
    int64_t timeout_ms;     /* of one attempt; 0: the task's */
    int max_attempts;       /* 0: the task's */
    const char *unique_key; /* NULL: none. One live job per key: a second enqueue answers with the
                               first's id */
    const char *subject;    /* id of what it is about (an order), NULL: none */
    const char *tenant_id;  /* NULL: none */
    const char *trace;      /* traceparent, NULL: none */
    const struct job_options *options; /* NULL: none */
    bool
        remembered; /* broker: the id is the caller's own, and known for a day after the end, too */
    bool existed;   /* out: unique_key or id was there already; id is the first job's */
};
#define JOB_PRIORITY 5

/* Names and sizes; INVALID_FIELD with the pointer. Everything below assumes that it passed. */
rc job_new_check(struct cx *cx, const struct job_new *j);

/* Durable jobs inside the caller's transaction; call engine_push after its commit. Parks. */
rc engine_insert(struct cx *cx, struct pg_tx *tx, struct job_new *jobs, size_t n) MW_PARKS;
/* Make jobs known to Redis: durable ones after their commit (an id already there is left alone),
 * broker ones at once. One round trip a queue. For durable jobs a failure may be logged and left
 * to the reconciler. Parks. */
rc engine_push(struct cx *cx, struct engine *e, struct job_new *jobs, size_t n) MW_PARKS;
/* insert in a transaction of its own + push; broker jobs are only pushed. Parks. */
rc engine_enqueue(struct cx *cx, struct engine *e, struct job_new *jobs, size_t n) MW_PARKS;

/* ---------------------------------------------------------------- claim */

struct lease {
    char id[ID_LEN + 1];
    int generation, claim, snoozes;
    bool died; /* set before its ack: counted among the dead */
};
struct job {
    struct lease lease;
    const char *queue, *task; /* valid as long as the job */
    const char *place;        /* the queue, or that shard of it that holds the job */
    const char *args;         /* JSON text, NUL-terminated */
    size_t args_len;
    bool durable;
    int priority, max_attempts, attempt; /* attempt = claim - snoozes: 1 for the first */
    int crashes; /* workers that crashed of late while they carried it out, it or a neighbour being why */
    int64_t timeout_ms;
    int64_t due_ms;                          /* wall; when it was due for the first time */
    const char *subject, *tenant_id, *trace; /* NULL: none */
    const struct job_options *options;       /* NULL: none; freed with storage */
    const char *
        previous; /* JSON; what stood before it in its workflow, where its task wants it (worker) */
    struct job_run *run; /* the worker's own (worker/run.h), NULL outside */
    void *storage;       /* what the texts point into; one job's own (job_release) */
};
/* Frees the storage of a job that was copied out of a claim_result (which then must not have it
 * any more). */
void job_release(struct job *j);
struct claim_result {
    size_t n;
    struct job *jobs;    /* array of n; free with claim_result_release. To keep one: copy it and set
                            its storage to NULL */
    int64_t next_due_ms; /* wall; when the next scheduled job or lease expiry of the queue is due;
                            0: none, or n = max */
    bool paused;
    bool lost; /* the epoch is missing or old: nothing was handed out; call engine_recover */
    bool
        other; /* of engine_ride: the queue has become shaped, or plain again; nothing was handed out, and the next
                   engine_claim finds its way */
    int shards; /* how many of the queue's shards may have jobs; 0: it has one (or: not said) */
};
/* Of one place: `queue` is its name, or "QUEUE#K" for another of its shards, here and wherever a lease is
 * given. One call: acks `acks` (may be 0; refused ones are counted in *ret_refused), promotes what is
 * due, returns expired leases, claims up to max. lease_ms > 0. Parks (one round trip, does not
 * wait for jobs). */
rc engine_claim(struct cx *cx, struct engine *e, const char *queue, size_t max, int64_t lease_ms,
                const struct lease *acks, size_t nacks, struct claim_result *ret,
                size_t *ret_refused) MW_PARKS;
void claim_result_release(struct claim_result *c);
/* Names this claimer ("host:pid"; unique among the living): each claim then leaves a note of what it
 * handed out, for as long as those leases can live. */
void engine_name(struct engine *e, const char *name);
/* The leases of a claimer's last claim of a queue, for when its answer was lost or its reader died;
 * some may have ended since (giving those back is refused). *ret is the caller's to free. Parks. */
rc engine_last_claim(struct cx *cx, struct engine *e, const char *queue, const char *name,
                     struct lease **ret, size_t *ret_n) MW_PARKS;
/* Sleeps until one of the queues has a marker (*ret_which; taken away with this call), or
 * until_ms (wall; *ret_which = n). Needs a Redis connection of its own; do not cancel the waiting
 * fiber but for good, a marker may be on its way. Parks. */
rc engine_wait(struct cx *cx, struct engine *e, struct redis *blocking, const char *const *queues,
               size_t n, int64_t until_ms, size_t *ret_which) MW_PARKS;
/* engine_wait for one place and, right behind it in the same write, engine_claim without acks: Redis carries the claim out
 * in the moment in which the wait ends. Its note is left as `name`, which is not the claimer's own. *ret_waited = false: the
 * wait was refused by Redis, the claim was not. Any failure but STORE_DOWN: read the note (engine_last_claim). STORE_DOUBT, DEADLINE,
 * CANCELLED: it may yet be carried out, until Redis gives up that connection (redis_client_id). Not on a cluster. Parks. */
struct engine_ride {
    struct redis *blocking; /* of its own */
    const char *queue, *name;
    size_t max;
    int64_t lease_ms, wait_ms; /* wait_ms 0: claims at once */
};
rc engine_ride(struct cx *cx, struct engine *e, const struct engine_ride *a,
               struct claim_result *ret, bool *ret_waited) MW_PARKS;
/* Sets the marker: for whoever took it and cannot claim now. Parks. */
rc engine_wake(struct cx *cx, struct engine *e, const char *queue) MW_PARKS;

/* ---------------------------------------------------------------- hold and end (Redis side) */

/* Extends leases by lease_ms from now; ret_lost[i] is set for those no longer held, ret_cancel[i]
 * for those whose cancel was asked for. One round trip. Parks. */
rc engine_extend(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                 size_t n, int64_t lease_ms, bool *ret_lost, bool *ret_cancel) MW_PARKS;
rc engine_ack(struct cx *cx, struct engine *e, const char *queue, const struct lease *l, size_t n,
              size_t *ret_refused) MW_PARKS;
/* Back to scheduled (run_at_ms, wall) with the next claim number; snooze = true counts it as a
 * snooze. STALE_ATTEMPT when the lease is lost. Parks. */
rc engine_reschedule(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                     int64_t run_at_ms, bool snooze) MW_PARKS;
/* Gives leases back untouched (drain): ready again at the head, as a snooze. Parks. */
rc engine_release(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                  size_t n) MW_PARKS;
/* The same for a process that was killed: the claim counts as an attempt. *ret_held: how many were
 * still its. Parks. */
rc engine_return(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                 size_t n, size_t *ret_held) MW_PARKS;
/* The same for what was under way in a process that crashed: no attempt is used, but the crash is
 * remembered with each of them for an hour (job.crashes). Parks. */
rc engine_crashed(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                  size_t n, size_t *ret_held) MW_PARKS;
/* How the process died that held them, left for whoever gives one of them up: kept for an hour. Parks. */
rc engine_leave_words(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                      const char *const *words, size_t n) MW_PARKS;
/* The words left for a job; *ret is the caller's to free, NULL: none. Parks. */
rc engine_words(struct cx *cx, struct engine *e, const char *queue, const struct lease *l,
                char **ret) MW_PARKS;

/* ---------------------------------------------------------------- end in PostgreSQL (durable) */

enum job_outcome { JOB_COMPLETED, JOB_RETRY, JOB_SNOOZED, JOB_DEAD, JOB_CANCELLED };
struct job_end {
    enum job_outcome outcome;
    int64_t run_at_ms;      /* RETRY, SNOOZED */
    const char *error_code; /* RETRY, DEAD: stable word */
    const char *error;      /* sentence, masked */
    const char *result;     /* JSON text, NULL: none */
    const char *worker;     /* "host:pid" */
    int64_t started_ms;
};
/* Inside the transaction of the domain change: the job_attempts row, the fenced UPDATE of jobs,
 * the dead letter. STALE_ATTEMPT when generation, claim or state moved: return it, so that
 * everything rolls back. Parks. */
rc engine_end_tx(struct cx *cx, struct pg_tx *tx, const struct job *j,
                 const struct job_end *end) MW_PARKS;

/* A job whose key was to be unique until its start begins: the key is free. Parks. */
rc engine_started(struct cx *cx, struct engine *e, const struct job *j) MW_PARKS;
/* Windows of uniqueness that are over, results whose time to live is: at most a thousand of each. Parks. */
rc engine_forget(struct cx *cx, struct engine *e, int64_t *ret_windows,
                 int64_t *ret_results) MW_PARKS;

/* ---------------------------------------------------------------- control */

/* Queued: cancelled at once (*ret_running = false). Running: the wish is stored and the holder
 * told (NOTIFY mihwar_cancelled); one that does not hear sees it at its next lease extension or claim.
 * NOT_FOUND, CONFLICT when it has ended. Parks. */
rc engine_cancel(struct cx *cx, struct engine *e, const char *job_id, bool *ret_running) MW_PARKS;
/* A dead or cancelled durable job becomes live again: attempts counted anew, generation + 1.
 * CONFLICT otherwise. Parks. */
rc engine_retry_now(struct cx *cx, struct engine *e, const char *job_id) MW_PARKS;
rc engine_pause(struct cx *cx, struct engine *e, const char *queue, bool paused) MW_PARKS;
/* Drops ready and scheduled jobs (durable ones become cancelled); leased ones go on. Parks. */
rc engine_purge(struct cx *cx, struct engine *e, const char *queue, int64_t *ret_count) MW_PARKS;

struct queue_stats {
    char name[QUEUE_NAME_MAX + 1];
    int64_t ready, leased, scheduled, held, dead; /* held: back by a limit */
    int64_t pushed, done, retried, snoozed, died, refused,
        expired;           /* counted since Redis was emptied */
    int64_t oldest_age_ms; /* of the oldest ready job; 0: none */
    double rate_per_s;     /* ends over the last minute */
    int shards;            /* over how many its new jobs go; 1: not spread */
    bool paused, draining;
    int64_t length;                                   /* jobs that have not ended */
    int64_t max_length, max_bytes, tenant_max_length; /* its bounds (shape/policy.h); 0: none */
    int64_t bytes; /* of its jobs; counted where max_bytes is set */
};
/* All queues that were ever used; *ret is in cx's arena. Parks. */
rc engine_queues(struct cx *cx, struct engine *e, struct queue_stats **ret, size_t *ret_n) MW_PARKS;

/* ---------------------------------------------------------------- mend (reconcile.c) */

/* The epoch: advanced by beat in both stores every few seconds (PostgreSQL first, and only while
 * Redis answers). Finds queues that must not be trusted and recovers them. Parks. */
rc engine_epoch_advance(struct cx *cx, struct engine *e) MW_PARKS;
/* After `lost`, for each queue that is: under a lock, drops the durable keys, writes generation +
 * 1 for every live job, pushes them all, sets the epoch. Safe to call from everywhere at once:
 * one does it, the others wait and find it done. ret_jobs may be NULL. Parks. */
rc engine_recover(struct cx *cx, struct engine *e, int64_t *ret_jobs) MW_PARKS;
/* Durable jobs that nobody began by their expires_at end as cancelled, code "expired". Parks. */
rc engine_expire(struct cx *cx, struct engine *e, int64_t *ret_expired) MW_PARKS;
/* The sweep for single losses: live jobs older than min_age_ms are compared with Redis in batches
 * (keyset); missing ones are pushed (generation + 1), known-but-ended ones are dropped from
 * Redis. Parks. */
rc engine_sweep(struct cx *cx, struct engine *e, int64_t min_age_ms, int64_t *ret_pushed,
                int64_t *ret_dropped) MW_PARKS;

/* run.h - one job aboard: from its claim to its end. */
#pragma once
#include "queue/reconcile.h"
#include "worker/pool.h"

struct job_run {
    TAILQ_ENTRY(job_run) link;
    struct pool *pool;
    struct pool_queue *queue;
    struct job job;
    const struct task *task; /* NULL: nobody knows it here */
    struct fiber *fiber;     /* NULL: not begun */
    struct claim_check check;
    size_t slot; /* in pool->held; NO_SLOT: whoever acknowledges it has it */
    int64_t started_ms;
    int64_t began_us;   /* the same moment; wall */
    bool lost;          /* the lease is another's, or expired */
    bool wished_away;   /* its cancel was asked for */
    bool spoken_of;     /* a notice named it: its lease is to be asked about (leases.c) */
    bool released;      /* the drain gives it back */
    bool waiting;       /* a worker crashed over it: it is begun when the one before it has ended */
    bool crowded;       /* too many wait: back in a while */
    bool poisonous;     /* it crashed too many workers */
    bool soft_over;     /* its soft limit: it may only clean up */
    bool expired;       /* its time was over before it began */
    struct event *soft; /* NULL: no soft limit */
    bool standing;      /* it waits for a seat (seats.h) */
    bool held;          /* job_hold: a lost lease or a wish waits until it is let go */
    bool finishing;     /* the task has returned: nothing is cancelled any more */
    bool foreign;       /* another broker's: no row, no lease of the engine (worker/celery) */
    bool ended;         /* job_complete or job_snooze committed `end` */
    bool doubtful;      /* their commit may have happened */
    struct job_end end;
    char *result;              /* of job_result */
    char *error_code, *error;  /* of job_fail; NULL: those of cx */
    char *token;               /* of job_token */
    int64_t told;              /* events of its timeline */
    int64_t lines;             /* of them, log lines */
    struct job_new **enqueued; /* by job_enqueue, pushed after the commit */
    size_t nenqueued;
    struct pg_result *reached; /* what its end in a workflow has begun, pushed after the commit */
};

/* Takes over *job (its storage). Counted, leased, held; begins with run_begin. */
/* So many crashes are enough: dead without being run again. */
#define RUN_CRASHES_MAX 2
struct job_run *run_new(struct pool *p, struct pool_queue *q, struct job *job);
void run_begin(struct job_run *run);
/* Its waits return CANCELLED, unless its task has returned already. */
void run_cancel(struct job_run *run);
struct job_run *run_free(struct job_run *run);
void run_release(struct job_run *run); /* what it holds, without itself */

/* attempt.c: between the claim and the task's function, and what its limits make of its return. */
/* May it begin? EXPIRED when its time was over. Frees a key that is unique until the start; starts the soft limit.
 * Parks only for jobs that ask for such a key. */
rc attempt_begin(struct cx *cx, struct job_run *run) MW_PARKS;
/* It waits for a seat: its soft limit begins anew behind that. */
void attempt_stands(struct job_run *run, bool stands);
/* The soft limit is over with the task: what its cancellation is called from then on. */
rc attempt_end(struct cx *cx, struct job_run *run, rc r);

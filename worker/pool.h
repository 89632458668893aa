/* pool.h - one worker process: what runs, what is to be acked, and the fibers that keep it going.
 *
 *                 marker                     jobs                            outcome
 *     waiter ---------------> pump --claim--------> run fibers --end in PostgreSQL--> acks --.
 *        (blocking            ^  ^ `---------------------------------------------------------'
 *         connection)  due ---'  `-- a slot became free
 *     leases.c: every third of the lease, all leases in one call a queue; some when a cancel is told
 *
 * The pump claims, and a waiter that is idle by a claim that rides behind its wait (ride.h): acks of what ended ride on its next claim, so that a busy worker makes
 * one round trip for a batch, and an idle one acks at once. Queues are served strictly in the
 * order of worker_queues; the shards of one in turn. */
#pragma once
#include "rt/fiber.h"
#include "rt/supervisor.h"
#include "rt/waitq.h"
#include "worker/held.h"
#include "worker/registry.h"
#include "worker/ride.h"
#include "worker/seats.h"
#include <sys/queue.h>

/* Jobs in one claim. Redis writes 64 KiB of an answer (NET_MAX_WRITES_PER_EVENT), then carries out what others ask, and only
 * then writes the rest: two workers whose claims are larger than that have their answers at the same time, and Redis nothing to do
 * until they ask again. This many of 280 bytes of arguments fit. */
#define CLAIM_BATCH 160

/* A queue, or one of its shards (places.h). */
#define NO_SLOT SIZE_MAX
struct pool_queue {
    const char *name;        /* "orders", "orders#1" */
    size_t index;            /* in worker_queues */
    int shard;               /* 0: the queue's first */
    int shards;              /* of shard 0: how many it has */
    struct pool_queue *next; /* the next shard of the same queue; a ring */
    struct pool_queue *turn; /* of shard 0: whom the next pass begins with */
    bool doubtful;           /* the answer to a claim was lost */
    bool hot;                /* there may be something to claim */
    bool resting;            /* its last claim was refused; it is said once that its node is away */
    int64_t resume_mono_ms;  /* Redis refused a claim of this queue: nothing is claimed before */
    int64_t due_ms;          /* wall; look again then; 0: never */
    struct lease *acks;      /* ended, to be told to Redis */
    size_t *slots;           /* theirs in `held`, or NO_SLOT */
    size_t nacks, acks_cap;
};

TAILQ_HEAD(job_run_list, job_run);

struct pool {
    struct worker_env env;
    const struct settings *settings;
    struct held *held;
    int child;       /* index under the supervisor */
    char worker[96]; /* "host:pid" */
    char claimer
        [64]; /* names its claims in Redis: no two processes share it, whatever host and pid say */
    struct redis *redis, *blocking;
    struct pool_queue *queues;
    size_t nqueues, nplaces, concurrency, running;
    size_t unacked; /* slots of jobs that have ended */
    struct job_run_list runs;
    struct job_run *suspect; /* the one under way of those that a worker crashed over */
    size_t waiting;          /* of them, aboard and not begun */
    struct fiber *pump, *waiter;
    struct ride ride;
    struct leases *leases;
    struct waitq room; /* the waiter sleeps here while every slot is taken */
    int64_t done;      /* jobs that ended here */
    struct seats seats[SEATS];
    size_t overdue; /* threads that are held by tasks whose time is over */
    bool recovering, draining, ended;
    bool claiming; /* the pump's claim is under way, and is not only of acks */
    bool parked;   /* by wish: nothing is claimed until somebody wishes otherwise */
    struct tally *tally;
    struct presence *presence;
    int64_t spans_sent, spans_dropped; /* since they were handed in */
    int64_t grace_end_mono_ms;
    struct consumer *celery; /* worker/celery; NULL: not served */
};

/* In the child, after loop_init. CONFIG and the like when something cannot be had. */
rc pool_open(struct cx *cx, const struct settings *s, struct held *held, int child,
             struct pool *ret);
void pool_start(struct pool *p);
/* on_stop of child_signals: stop claiming, let what runs finish, release the rest, end. */
void pool_drain(void *pool);
void pool_close(struct pool *p);
/* Something that the pump waits for while draining may be over. */
void pool_look(struct pool *p);
/* Claim nothing more (what runs goes on, acks go out), or claim again. */
void pool_park(struct pool *p, bool parked);

/* For ride.c: what a claim of at most `max` (0: only acks) was answered. `heard`: leases_heard() before it was sent. */
void pool_claimed(struct pool *p, struct pool_queue *q, size_t max, uint64_t heard,
                  struct claim_result *c);
/* For run.c: a job has ended and its lease may go (ack), or is no longer ours to speak of. */
void pool_ack(struct pool *p, struct job_run *run);
void pool_done(struct pool *p, struct job_run *run);
/* For seats.c: it may claim again. */
void pool_has_room(struct pool *p);

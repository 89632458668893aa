/* policy.h - how a queue shares out its work, and how much it takes.
 *
 * The truth is a row of queue_states in PostgreSQL. What a claim or a push must know of it is copied
 * to Redis as the queue's gate (gate.lua): when it is set, by a rebuild, and by beat from time to
 * time. No gate: a plain queue, which pays for none of this.
 *
 *   who is next   strict: a higher priority always goes first; weighted: each of the ten gets its
 *                 share. fair: between tenants first, by weight, whatever their priorities; then
 *                 strict or weighted within the tenant.
 *   how much      max_length, max_bytes, tenant_max_length count every job that has not ended
 *                 (waiting, scheduled, under way). What does not fit is refused with QUEUE_FULL
 *                 before anything is stored. What is in already stays: retries, replays, rebuilds are
 *                 never refused.
 *   draining      producers are refused, workers go on; resuming ends it.
 *   where         shards: over how many key sets new jobs go (shards.h). */
#pragma once
#include "queue/queue.h"
#include <cjson/cJSON.h>

#define PRIORITY_WEIGHT_MAX 1000
#define TENANT_WEIGHT_MAX   1000
#define TENANT_WEIGHTS_MAX  1000 /* tenants with a weight of their own */

struct tenant_weight {
    char tenant_id[ID_LEN + 1];
    int weight; /* 1 for tenants that are not named */
};
struct queue_policy {
    bool weighted;
    int weights[10]; /* [p]: of priority p */
    bool fair;
    struct tenant_weight *tenants; /* in cx's arena */
    size_t ntenants;
    int64_t max_length, max_bytes, tenant_max_length; /* 0: none */
    int64_t shards;                                   /* 0: one */
};
struct queue_setting {
    struct queue_policy policy;
    bool paused, draining;
    bool limited;    /* it has limits (limits.h): said by who copies, not read from the row */
    int shards_held; /* so many shards may have jobs; more than the policy's after it was lowered */
};

/* {"priorities":"strict"|"weighted","weights":[10 numbers, priority 9 first],"fair":bool,
 *  "tenant_weights":{"TENANT":n},"max_length":n|null,"max_bytes":n|null,"tenant_max_length":n|null,
 *  "shards":1..16};
 * what is missing is plain. INVALID_FIELD with the pointer. */
rc queue_policy_read(struct cx *cx, const cJSON *o, struct queue_policy *ret);
/* The same object, all members written. */
void queue_policy_write(const struct queue_policy *p, struct buf *out);

/* A queue that nobody set anything of is plain. Needs PostgreSQL. Parks. */
rc engine_setting(struct cx *cx, struct engine *e, const char *queue,
                  struct queue_setting *ret) MW_PARKS;
/* Replaces the policy, in PostgreSQL and then in Redis; work under way goes on, nothing is lost. CONFLICT:
 * shards, and a limit of the queue as a whole. Parks. */
rc engine_policy_set(struct cx *cx, struct engine *e, const char *queue,
                     const struct queue_policy *p) MW_PARKS;
/* Refuse producers, let workers empty it; ended by engine_pause(false). Parks. */
rc engine_drain(struct cx *cx, struct engine *e, const char *queue) MW_PARKS;

/* Redis is told once more what PostgreSQL says of one queue, of all that have a row. Parks. */
rc engine_gate_copy(struct cx *cx, struct engine *e, const char *queue) MW_PARKS;
rc engine_gates_copy(struct cx *cx, struct engine *e) MW_PARKS;

/* Do the queues of these jobs take them? QUEUE_FULL. Asks nobody for a queue that is not bounded:
 * which are is read again every two seconds at most. While Redis is away a bound cannot be looked
 * at, and what PostgreSQL takes is kept. Called before the transaction that writes them. Parks. */
rc engine_room(struct cx *cx, struct engine *e, const struct job_new *jobs, size_t n) MW_PARKS;

/* Which queues are full now, written down for those who enqueue in SQL and cannot ask Redis (mw_enqueue): by beat, every
 * few seconds. By length and bytes, not by tenant. Parks. */
rc engine_rooms_note(struct cx *cx, struct engine *e) MW_PARKS;

/* For this room only. As engine_gate_copy, without the lock: while the queue is rebuilt. Parks. */
rc engine_gate_put(struct cx *cx, struct engine *e, const char *queue) MW_PARKS;

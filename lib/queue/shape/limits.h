/* limits.h - how much of one kind of work may be under way, how often it may begin, and when it is left alone.
 *
 * A limit belongs to a queue and a key:
 *
 *   KEY   jobs whose options name it as their limit_key (an account at a provider, a customer, a host)
 *   *     each key of the queue that has no limit of its own, each by itself
 *   =     the queue as a whole, jobs without a key too
 *
 * and says any of: a rate with a burst (GCRA), how many at once, a circuit breaker (error ratio over a
 * sliding window, then pause, then probes). A job must have room under its key's limit and under "=". What has
 * none waits in a list of its key, in its order, and uses no attempt. Limits that are set for several
 * queues at once are shared by them: they count together (not on a Redis Cluster).
 *
 * The truth is in PostgreSQL; a queue with limits is a shaped one (policy.h). The counts live in Redis
 * alone: a Redis that was lost begins to count anew. */
#pragma once
#include "queue/queue.h"
#include <cjson/cJSON.h>

#define LIMIT_ANY        "*"
#define LIMIT_QUEUE      "="
#define LIMIT_QUEUES_MAX 32 /* that share one */

struct limit {
    char key[LIMIT_KEY_MAX + 1];
    int64_t rate, per_ms; /* so many in per_ms; 0: no rate */
    int64_t burst;        /* at least 1: how many of them may begin at once */
    int64_t concurrency;  /* 0: any number */
    int percent;          /* of ends that are errors: opens; 0: no breaker */
    int64_t least;        /* ends in the window before it may */
    int64_t window_ms, open_ms;
    int64_t probes;     /* jobs that may begin half open; all must end well to close it */
    const char *forced; /* "open", "closed": an operator's word; NULL: by itself */
};
struct limit_row {
    const char *queue, *shared; /* shared: its queues with commas, NULL: alone; in cx's arena */
    struct limit limit;
};
/* {"key","rate":{"count","per_ms","burst"}|null,"concurrency":n|null,
 *  "breaker":{"percent","least","window_ms","open_ms","probes","forced"}|null}. INVALID_FIELD with the
 * pointer; a limit that limits nothing is none. */
rc limit_read(struct cx *cx, const cJSON *o, struct limit *ret);
/* The same members, without the braces. */
void limit_write(const struct limit *l, struct buf *out);

/* Sets the limit of a key in one queue, or shared between several. Parks. */
rc limit_set(struct cx *cx, struct engine *e, const char *const *queues, size_t n,
             const struct limit *l) MW_PARKS;
/* NOT_FOUND. A shared one goes from all its queues. Parks. */
rc limit_remove(struct cx *cx, struct engine *e, const char *queue, const char *key) MW_PARKS;
/* "open", "closed", NULL: by itself. NOT_FOUND, CONFLICT when the limit has no breaker. Parks. */
rc limit_force(struct cx *cx, struct engine *e, const char *queue, const char *key,
               const char *forced) MW_PARKS;
/* queue NULL: of all. Parks. */
rc limits_list(struct cx *cx, struct engine *e, const char *queue, struct limit_row **ret,
               size_t *ret_n) MW_PARKS;

/* What a key is doing now. */
struct limit_state {
    int64_t held, under_way;
    int64_t at_once;                 /* so many may be under way; 0: any number */
    int64_t wait_ms;                 /* until its rate lets the next one begin; 0: at once */
    const char *breaker;             /* "" closed, "open", "half" */
    int64_t open_ms;                 /* how long it will be open */
    int64_t ended_well, ended_badly; /* in the breaker's window */
    const char **slots; /* "queue|token" of who is under way, at most 20; in cx's arena */
    size_t nslots;
};
/* Parks. */
rc limit_look(struct cx *cx, struct engine *e, const char *queue, const char *key,
              struct limit_state *ret) MW_PARKS;
/* How a job with a limit_key ended, for the breaker of its key. *ret_moved: "open" or "closed" when this end
 * moved it, else NULL. Parks. */
rc limit_note(struct cx *cx, struct engine *e, const char *queue, const char *key, bool well,
              const char **ret_moved) MW_PARKS;

/* For this room: the copy of a queue's limits. *ret_any: there are some. Parks. */
rc engine_limits_put(struct cx *cx, struct engine *e, struct pg_tx *tx, const char *queue,
                     bool *ret_any) MW_PARKS;

/* keys.h - every name that the engine uses in Redis, and the token. Nothing else spells a key.
 *
 *   mw:{QUEUE}:WORD    all of one queue in one hash slot
 *   mw:{QUEUE#K}:WORD  its other shards (shards.h), each in a slot of its own
 *   mw:queues          the names of the queues ever used (a set)
 *   mw:{:workers}:…    the register of processes
 *   mw:hub:{INSTANCE}  notes to a hub process (a list)
 *
 * A queue's name is [a-z0-9_.-]+: without a colon or a brace it can neither leave its braces nor
 * spell another key, and without a # no other queue's shard. */
#pragma once
#include "queue/queue.h"

#define KEY_QUEUES "mw:queues"

/* The register of processes (workers.h) and what they counted (counts.h): one hash slot, whose name no queue can bear. */
#define KEY_WORKERS_SEEN   "mw:{:workers}:seen"   /* zset   name -> last beat */
#define KEY_WORKERS_WISHES "mw:{:workers}:wishes" /* hash   name -> "drain" */
#define KEY_WORKER_OF      "mw:{:workers}:of:" /* hash   NAME follows: card, batch; kept for an hour */
#define KEY_COUNTS         "mw:{:workers}:counts" /* hash   what all of them counted, ever */

/* mw:hub:{INSTANCE}: notes to a hub process (domain/agents/inbox.h). hub_id: a UUID; returns out. */
#define HUB_KEY_MAX (ID_LEN + 16)
char *hub_key(const char *hub_id, char out[HUB_KEY_MAX]);

enum queue_key {
    QK_JOBS,      /* hash   id -> envelope; what is in here is known to Redis */
    QK_LEASE,     /* zset   token -> expiry: who may end the job */
    QK_SCHED,     /* zset   priority digit + token -> run_at */
    QK_STATS,     /* hash   pushed done retried snoozed died refused expired */
    QK_RATE,      /* hash   ten-second slot -> ends */
    QK_WAIT,      /* zset   "m" while there may be something to claim; workers block on it */
    QK_GATE,      /* string how the queue is to be served (gate.lua); missing: plainly */
    QK_EPOCH,     /* string the epoch that beat advances; missing: Redis was emptied */
    QK_CANCEL,    /* set    ids of running jobs that somebody wants cancelled */
    QK_UNIQUE,    /* hash   unique key -> id (broker jobs; durable ones are unique in PostgreSQL) */
    QK_UNIQUE_OF, /* hash   id -> unique key */
    QK_LAST,      /* string what a claimer was handed out last: ":NAME" follows (engine_name) */
    QK_CRASHED, /* hash   id:generation -> workers that crashed while they carried it out; for an hour */
    QK_TALLY, /* hash   bytes, and each tenant's jobs: in queues that are bounded in them (tally.lua) */
    QK_WEIGHTS, /* hash   tenant -> weight, in queues with fair share (lanes.lua) */
    QK_LIMITS,  /* hash   key -> definition of its limit (admit.lua) */
    QK_HELD,    /* zset   key -> when those held back are looked at (admit.lua) */
    QK_READY,   /* list   tokens, priority 9; the other nine follow, down to 0 */
    QK_WORDS =
        QK_READY +
        10, /* hash   id:generation -> how the last worker died that carried it out; for an hour */
    QK_COUNT,
};

/* A place is where jobs lie: a queue's name means its shard 0, "QUEUE#K" another one. */
#define PLACE_NAME_MAX (QUEUE_NAME_MAX + 3)

struct queue_keys {
    char queue[PLACE_NAME_MAX + 1]; /* the place */
    char base[QUEUE_NAME_MAX + 1];  /* the queue */
    int shard;
    char name[QK_COUNT][QUEUE_NAME_MAX + 32];
    size_t len[QK_COUNT];
    int spread,
        held; /* of shard 0: over how many shards new jobs go, how many may have jobs (shards.h);
                         0: one */
    char scanned_to[32]; /* the sweep's cursor in `jobs`, between two sweeps */
    bool shaped;         /* when last claimed from: claim_shaped.lua is asked first */
};

/* [a-z0-9_.-]+, at most QUEUE_NAME_MAX. */
bool queue_name_valid(const char *s);
/* [A-Za-z0-9_.-]+, at most TASK_NAME_MAX. */
bool task_name_valid(const char *s);
/* The same as an error: INVALID_FIELD. */
rc queue_name_check(struct cx *cx, const char *s);
/* Shard `shard` of a queue; returns out. */
char *place_name(const char *queue, int shard, char out[PLACE_NAME_MAX + 1]);
/* queue: a place. INVALID_FIELD for a name that is none. */
rc queue_keys_make(struct cx *cx, const char *queue, struct queue_keys *ret);

/* "id:generation.claim.snoozes" */
#define TOKEN_MAX (ID_LEN + 3 * 11 + 4)
char *token_format(const struct lease *l, char out[TOKEN_MAX]); /* returns out */
bool token_parse(const char *s, size_t len, struct lease *ret);

/* internal.h - what the files of this room share: the engine's fields, a script call under
 * construction. */
#pragma once
#include "queue/keys.h"
#include "queue/queue.lua.h"

struct engine {
    struct redis *redis;
    struct pg *db;              /* NULL: broker jobs only */
    struct queue_keys **queues; /* every queue this process met; never freed before the engine */
    size_t nqueues;
    int64_t epoch;                      /* the highest one seen; -1: not asked yet */
    int64_t test_now_ms;                /* 0: Redis TIME */
    int64_t refusals;                   /* pushes that met a queue without an epoch */
    struct batcher *ends, *member_ends; /* of attempts, in great numbers: ends.c */
    char name[64];                      /* of this claimer; "": it leaves no note */
    struct bounds *bounds; /* policy.c: the bounded queues, as far as this process has heard */
};

#define QUEUES_MAX 1024 /* a name costs a kilobyte and is never forgotten */
/* The keys of a place (shards.h), made once; they live as long as the engine. */
rc engine_keys(struct cx *cx, struct engine *e, const char *queue, const struct queue_keys **ret);
/* The same queue, to be changed: what this process remembers of it between two calls. */
struct queue_keys *engine_queue(struct engine *e, const struct queue_keys *k);
/* Tests own the clock: what scripts take for Redis TIME; 0 gives it back. */
void engine_set_clock(struct engine *e, int64_t now_ms);

/* A script call: keys, then arguments, then run.
 *
 *     _cleanup_(call_release) struct call c;
 *     call_begin(&c, e, &SCRIPT_ACK, k, 7, (enum queue_key[]){QK_JOBS, ...}, false, 2 + n);
 *     call_now(&c); call_int(&c, died); call_token(&c, &lease);
 *     try(call_run(cx, &c, &reply));
 *
 * Strings are borrowed until call_run has returned; numbers and tokens are kept inside. */
struct call {
    struct engine *e;
    const struct script *script;
    const char **argv; /* NULL: in `own`, at offsets[i] */
    size_t *lens, *offsets;
    int argc, max;
    struct buf own;
};
/* `ready`: the ten lists follow the named keys. max_args: at most so many arguments will be
 * added. */
void call_begin(struct call *c, struct engine *e, const struct script *s,
                const struct queue_keys *k, size_t nkeys, const enum queue_key *keys, bool ready,
                size_t max_args);
#define KEYS_OF(...)                                                                               \
    COUNT(((enum queue_key[]){__VA_ARGS__})), (enum queue_key[])                                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
/* The named keys of the two steps that also bench_redis_limit runs, in the order of push.lua and claim.lua. */
#define PUSH_KEYS                                                                                  \
    QK_JOBS, QK_SCHED, QK_STATS, QK_WAIT, QK_EPOCH, QK_UNIQUE, QK_UNIQUE_OF, QK_LEASE, QK_CANCEL,  \
        QK_GATE
#define CLAIM_KEYS                                                                                 \
    QK_JOBS, QK_LEASE, QK_SCHED, QK_STATS, QK_RATE, QK_WAIT, QK_GATE, QK_EPOCH, QK_CANCEL,         \
        QK_UNIQUE, QK_UNIQUE_OF, QK_LAST, QK_CRASHED
void call_bytes(struct call *c, const char *s, size_t n);
void call_str(struct call *c, const char *s);
void call_int(struct call *c, int64_t n);
void call_now(struct call *c);
void call_token(struct call *c, const struct lease *l);
void call_numbers(struct call *c, const struct lease *l); /* the token without its id */
/* Numbers and tokens stand where they will stay: argv is whole from here on. BUFFER_FULL. */
rc call_settle(struct cx *cx, struct call *c);
/* Parks. REDIS when the reply is not of the type that the script is known for. */
rc call_run(struct cx *cx, struct call *c, int type, redisReply **ret) MW_PARKS;
void call_release(struct call *c); /* for _cleanup_ */

/* Element i of an array: an integer, or a string that is one; 0 otherwise. */
int64_t reply_int(const redisReply *r, size_t i);
/* A copy that PostgreSQL takes as text: if s is not UTF-8, each byte that is not ASCII becomes '?', and
 * so does each NUL. The caller frees. */
char *text_cleaned(const char *s, size_t n);
bool reply_has(const redisReply *r, size_t n); /* an array of at least n elements */

/* Ends of attempts that nothing else rides along with: gathered, a statement for all that came
 * while the last one was under way. Only for those that may be (ends_may_gather). Parks. */
bool ends_may_gather(const struct job *j, const struct job_end *end);
rc ends_gather(struct cx *cx, struct engine *e, const struct job *j,
               const struct job_end *end) MW_PARKS;
/* One by one, as a statement of its own. Parks. */
rc end_alone(struct cx *cx, struct engine *e, const struct job *j,
             const struct job_end *end) MW_PARKS;
const char *end_state_after(const struct job_end *end, int64_t now_ms);

/* What is pushed: a job as it stands in PostgreSQL, or a new one. */
struct push_row {
    struct job_new *job;
    struct lease next; /* the token of its next claim */
};
/* As push.lua has it. */
enum push_how {
    PUSH_NEW,     /* nobody knows them */
    PUSH_REBUILD, /* although there is no epoch */
    PUSH_AGAIN,   /* they may be known: then to the shard that knows them */
};
/* One queue, at most QUEUE_BATCH rows. Sets existed and id of those that were known under another id;
 * counts the pushed. Parks. */
rc engine_push_rows(struct cx *cx, struct engine *e, const char *queue, const struct push_row *rows,
                    size_t n, enum push_how how, size_t *ret_pushed) MW_PARKS;
/* A new shard, before anybody hears of it: nothing durable in it, and trusted. Parks. */
rc engine_place_open(struct cx *cx, struct engine *e, const char *place) MW_PARKS;
/* Forget jobs that have ended in PostgreSQL. Parks. */
rc engine_drop_ended(struct cx *cx, struct engine *e, const char *queue, const char *const *ids,
                     size_t n, int64_t *ret_dropped) MW_PARKS;

/* shards.h - one queue spread over several key sets, when one core of Redis is not enough for it.
 *
 *     enqueue --by id--> QUEUE, QUEUE#1, QUEUE#2 … each with the keys and the steps of a whole queue,
 *                          |        |        |     on a Redis Cluster each on the node of its slot
 *                          `--------+--------`--claim, in turn--> workers
 *
 * Shard 0 is the queue as it was: it has the queue's own name, a queue that is not spread has no
 * other, and pays nothing. To everybody outside a queue is one: its name, its policy, its counts.
 *
 * Over how many shards new jobs go (`spread`) is part of the queue's policy. `held`: so many, from the first
 * on, may have jobs; more than `spread` after that was lowered, until beat finds the others empty. PostgreSQL knows
 * both; the gates of the shards say them to claims and pushes, and their answers to workers and producers.
 * A producer that has not heard of more shards pushes to fewer, which are claimed from as before; one
 * that has not heard of fewer is turned away by the closed shard's gate and learns it so.
 *
 * What must be in one place is in shard 0: broker jobs with a unique key or an id of their caller's own,
 * and all jobs with a limit_key. Durable jobs are unique in PostgreSQL. Order, priorities and fair share
 * hold within a shard; bounds count all of them. */
#pragma once
#include "queue/keys.h"

struct names;

/* For this room. `queue` is a queue's name, never a place. */

/* How many of its shards may have jobs: 1 and no question for a queue that is not spread. PostgreSQL is asked
 * every two seconds at most; without it, the queue's gate. Parks. */
rc shards_held(struct cx *cx, struct engine *e, const char *queue, int *ret) MW_PARKS;
/* What an answer of Redis, or a row, said of a queue. */
void shards_heard(struct engine *e, const struct queue_keys *home, int spread, int held);
/* Where a new job goes. */
int shard_of(const struct queue_keys *home, const struct job_new *j);
/* The place that knows the job; when none does, the one where it would be. *ret lives as long as the
 * engine. Parks, if the queue has shards. */
rc shards_find(struct cx *cx, struct engine *e, const char *queue, const char *id,
               const char **ret) MW_PARKS;
/* ret[i]: the shard that knows ids[i], or -1. Parks. */
rc shards_locate(struct cx *cx, struct engine *e, const char *queue, const char *const *ids,
                 size_t n, int *ret) MW_PARKS;
/* A step that answers with a digit for each id, in every shard that may have them: the highest counts.
 * ret: n characters, no NUL. Parks. */
rc shards_digits(struct cx *cx, struct engine *e, const char *queue, const struct script *step,
                 size_t nkeys, const enum queue_key *keys, const char *const *ids, size_t n,
                 char *ret) MW_PARKS;
/* Each name and its shards. Parks. */
rc names_of_places(struct cx *cx, struct engine *e, bool all, struct names *ret) MW_PARKS;
/* In the transaction that writes a policy: new shards are there before anybody hears of them. CONFLICT
 * with what must be in one place. Parks. */
rc shards_open(struct cx *cx, struct engine *e, struct pg_tx *tx, const char *queue, int spread,
               int held) MW_PARKS;
/* Is the queue spread, so that it cannot have a limit as a whole? CONFLICT. Parks. */
rc shards_refuse_limit(struct cx *cx, struct engine *e, const char *queue) MW_PARKS;
/* Closed shards that are empty are not looked at any more. Parks. */
rc shards_retire(struct cx *cx, struct engine *e) MW_PARKS;

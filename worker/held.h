/* held.h - the leases of each child, in memory that the parent sees too.
 *
 *      parent: mmap(MAP_SHARED) --fork--> child: writes a token when it claims,
 *         ^                                 |    wipes it when the job's end is acknowledged
 *         `-- it died: what stands there <--'
 *             is given back at once
 *
 * It costs no round trip and no byte in Redis. A slot is written before it is marked used and
 * unmarked before it is reused, so that a child killed between two instructions leaves only whole
 * tokens. A token that stands here a moment too long is refused by Redis (the lease is gone); one
 * that was claimed and not yet written comes back when its lease expires. */
#pragma once
#include "queue/queue.h"

struct held;
#define HELD_CHILDREN 128
/* As many as may be aboard, and as many that have ended and are not acknowledged yet. */
#define HELD_SLOTS(concurrency) (2 * (size_t)(concurrency))
#define HELD_QUEUES_MAX         4096 /* of worker_queues */
/* Before the fork: room for `slots` leases at most of each of `children`; what is not used costs no
 * memory. Aborts without any. */
struct held *held_new(int children, size_t slots);
struct held *held_free(struct held *h);

/* In a child, before it claims: who it is, how many leases it will hold at most, and the queues that it
 * counts (a later child may have others). */
void held_name(struct held *h, int child, const char *name, size_t slots, const char *queues);
const char *held_name_of(const struct held *h, int child); /* "" before the first one */
const char *held_queues_of(const struct held *h, int child);
/* In a child. The slot of a lease; never fails (the pool claims no more than there are slots).
 * queue: index into its queues; shard: of that queue. */
size_t held_put(struct held *h, int child, size_t queue, int shard, const struct lease *l);
/* Its task begins now. */
void held_begin(struct held *h, int child, size_t slot);
/* It has ended, and Redis does not know that yet. */
void held_end(struct held *h, int child, size_t slot);
void held_drop(struct held *h, int child, size_t slot);

/* In the parent, after a child's death: its tokens, copied and wiped. The caller frees. */
struct held_lease {
    bool begun; /* its task was under way, or */
    bool ended; /* over */
    size_t queue;
    int shard;
    struct lease lease;
};
size_t held_take(struct held *h, int child, struct held_lease **ret);

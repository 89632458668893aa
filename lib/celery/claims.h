/* claims.h - who works on which message, kept so that Python workers understand it, and better.
 *
 *   queue ──claim.lua──> unacked[tag], unacked_index[tag] = now     what Celery knows of a claim
 *                        held:CLAIMER[tag] = queue's list           ours: which of us has it
 *                        claimers[CLAIMER] = now                    ours: who lives
 *
 * Holding the tag in one's own hash is the right to ack or to move the message: a claimer that was frozen, and whose
 * messages were given to others, is refused (Celery has no such fence). Every beat makes the claims as fresh as
 * now, so no visibility_timeout ends what is under way; a claimer that misses its beats is dead, and what it held
 * goes back at once. What Python workers left behind is restored as they do it: under the mutex, when it is older
 * than visibility_timeout. */
#pragma once
#include "celery/celery.h"

struct celery_claimer {
    struct celery *celery;
    char id[ID_LEN + 1];
    const char *held, *claimers, *schedule, *quarantine; /* keys */
};
/* id: a UUID that no other process has; its texts live in `a`. */
void celery_claimer_init(struct celery_claimer *k, struct celery *c, const char *id,
                         struct arena *a);
/* It ends in peace and holds nothing. Parks. */
rc celery_farewell(struct cx *cx, struct celery_claimer *k) MW_PARKS;

struct celery_lists {
    size_t n;
    char **keys,
        **queues; /* in the order in which they are served; a list, and the queue it belongs to */
};
/* Every step of every queue: the first steps of all, then the second ones. In `a`. */
void celery_lists_make(struct celery_lists *l, const struct celery_names *n, char *const *queues,
                       size_t nqueues, struct arena *a);

struct celery_claim {
    size_t n;
    struct celery_claimed {
        size_t list;
        const char *tag, *text;
        size_t len;
    } * items;           /* texts live as long as the reply */
    int64_t next_due_ms; /* wall, of the schedule; 0: none */
    bool more;
    int set_aside; /* into the quarantine: nothing could be claimed of them */
    redisReply *reply;
};
/* Up to max messages of the lists whose places are in `order`. Parks. */
rc celery_claim(struct cx *cx, struct celery_claimer *k, const struct celery_lists *l,
                const size_t *order, size_t n, size_t max, struct celery_claim *ret) MW_PARKS;
void celery_claim_release(struct celery_claim *c);

rc celery_ack(struct cx *cx, struct celery_claimer *k, const char *tag, bool *ret_held) MW_PARKS;
/* With the end of the claim: */
rc celery_move_back(struct cx *cx, struct celery_claimer *k, const char *tag, const char *list,
                    const char *text, size_t len, bool tail, bool *ret_held) MW_PARKS;
rc celery_move_later(struct cx *cx, struct celery_claimer *k, const char *tag, const char *list,
                     const char *text, size_t len, int64_t at_ms, bool *ret_held) MW_PARKS;
rc celery_move_aside(struct cx *cx, struct celery_claimer *k, const char *tag, const char *queue,
                     const char *why, const char *text, size_t len) MW_PARKS;

/* I live, and hold these. ret_lost[i]: no longer. *ret_dead: claimers to be restored (arena). *ret_due_ms: of the schedule, 0: none. Parks. */
rc celery_beat(struct cx *cx, struct celery_claimer *k, int64_t lease_ms, const char *const *tags,
               size_t n, bool *ret_lost, const char ***ret_dead, size_t *ret_ndead,
               int64_t *ret_due_ms) MW_PARKS;
/* What a dead claimer held goes back to its queues, marked as having been aboard. Parks. */
rc celery_restore_claimer(struct cx *cx, struct celery *c, const char *claimer,
                          size_t *ret_n) MW_PARKS;
/* What anybody left behind, under the mutex. Parks. */
rc celery_restore_old(struct cx *cx, struct celery_claimer *k, size_t *ret_n) MW_PARKS;

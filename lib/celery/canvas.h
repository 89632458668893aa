/* canvas.h - signatures: what is to be sent next, as Celery's canvas means it.
 *
 *   {"task": "shop.mail", "args": [..], "kwargs": {..}, "options": {"task_id", "queue", "link", …},
 *    "subtask_type": null | "chain" | "group" | "chord", "immutable": false}
 *
 *   plain   one message, the result before its args unless it is immutable
 *   chain   its first step, the others ride along reversed (embed.chain: the last one is next)
 *   group   a message each; with a chain behind it, it is the header of a chord
 *   chord   the header's messages carry the body (embed.chord); whoever ends the last of them sends it
 */
#pragma once
#include "celery/celery.h"

struct celery_partial {
    struct raw prepend;        /* an array: goes before the args; n = 0: nothing */
    struct raw chain;          /* the steps behind it, reversed; n = 0: none */
    struct raw chord;          /* the body of the chord that it is a part of; n = 0: none */
    const char *group;         /* NULL: none */
    int64_t group_index;       /* -1: none */
    const char *root, *parent; /* NULL: none */
    int priority;              /* unless its options say */
    struct buf *children;      /* gets ",[[id,null],null]" of each message; NULL: not wanted */
};

/* Sends it. INVALID_FIELD for what is no signature. Parks. */
rc celery_apply(struct cx *cx, struct celery *c, struct raw sig,
                const struct celery_partial *p) MW_PARKS;
/* The id under which its result will stand: its own, or its last step's. NULL: it has none yet. Arena. */
const char *celery_final_id(struct cx *cx, struct raw sig);
/* What it counts as a part of a chord. */
size_t celery_parts(struct raw sig);
/* The old style of errbacks: each is a task with the failed one's id before its args. Parks. */
rc celery_errbacks(struct cx *cx, struct celery *c, struct raw errbacks, const char *failed_id,
                   const char *root) MW_PARKS;
/* "celery-taskset-meta-GROUP" + suffix, in cx's arena. */
const char *celery_group_key(struct cx *cx, const char *group, const char *suffix);

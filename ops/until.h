/* until.h - verbs that go on until somebody ends them: Ctrl-C is an end like any other.
 *
 *     struct until u;
 *     try(until_begin(cx, o, 1000, false, &u));          --every, --times; no deadline any more
 *     while (r == OK && (r = until_next(cx, &u)) == OK)  the first time at once
 *         r = look(cx, o);
 *     return until_end(cx, &u, r);                       OK after Ctrl-C, too */
#pragma once
#include "ops/verb.h"

struct event;
struct until {
    int64_t every_ms, left, done; /* left: -1 as long as nobody ends it */
    bool stopped;                 /* by Ctrl-C */
    struct event *sigint;
    struct fiber *fiber;
};
/* every_ms: where --every is not given. once: one time where stdout is no terminal and --times is not given. */
rc until_begin(struct cx *cx, struct ops *o, int64_t every_ms, bool once, struct until *ret);
/* Waits for the next time; CANCELLED when there is none. Parks. */
rc until_next(struct cx *cx, struct until *u) MW_PARKS;
/* r: what the last round returned. */
rc until_end(struct cx *cx, struct until *u, rc r);

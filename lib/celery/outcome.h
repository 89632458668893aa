/* outcome.h - what came of a task, told in Celery's words: result, callbacks, the next step, the chord.
 *
 *   SUCCESS   callbacks and the next step are sent, then the result is stored, then the chord counts
 *   FAILURE   stored, also for what can no longer come (the rest of the chain); the chord counts; errbacks are sent
 *   REVOKED   stored; the chord counts
 *   RETRY     stored; the message itself comes back
 *
 * All of it may happen twice when a worker dies in between: a SUCCESS is never overwritten, a part of a chord counts
 * once. The message is acked behind it. */
#pragma once
#include "celery/canvas.h"

struct celery_failure {
    const char *type;    /* "ValueError" */
    const char *module;  /* "builtins"; one that Python does not know makes a class of that name */
    const char *message; /* the one argument of the exception */
    const char *traceback; /* NULL: none */
};

/* `name`: the worker's, for the traceback of nothing in particular. All park. */
rc celery_succeed(struct cx *cx, struct celery *c, const struct celery_message *m,
                  struct raw result) MW_PARKS;
rc celery_fail(struct cx *cx, struct celery *c, const struct celery_message *m,
               const struct celery_failure *f) MW_PARKS;
rc celery_revoke(struct cx *cx, struct celery *c, const struct celery_message *m,
                 const char *reason) MW_PARKS;
/* A state on the way: RETRY. */
rc celery_retrying(struct cx *cx, struct celery *c, const struct celery_message *m,
                   const struct celery_failure *f) MW_PARKS;
/* The exception as Python would write it: ValueError('bad'). In cx's arena. */
const char *celery_failure_repr(struct cx *cx, const struct celery_failure *f);

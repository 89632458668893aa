/* hangup.h - a request that stands and waits, and whose caller may leave meanwhile.
 *
 *     _cleanup_(hangup_end) struct hangup h;
 *     hangup_watch(cx, &h, q);
 *     rc r = await_…(cx, …);          CANCELLED as soon as the caller hangs up
 *     if (h.gone)
 *         return hangup_reply(cx, q);  nobody reads it
 *
 * Reading is switched on while it waits, since that is how an end of the connection is noticed; what the caller sends
 * meanwhile stays in a small buffer. Who closes only his sending half counts as gone. */
#pragma once
#include "hub/request.h"

struct hangup {
    struct request *q;
    struct fiber *fiber;
    bool watching, gone;
};
void hangup_watch(struct cx *cx, struct hangup *h, struct request *q);
void hangup_end(struct hangup *h); /* also for _cleanup_; the fiber can wait again */
rc hangup_reply(struct cx *cx, struct request *q);

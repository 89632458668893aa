/* until.c - see until.h. */
#include "ops/until.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include <event2/event.h>
#include <signal.h>
#include <unistd.h>

static void on_sigint(evutil_socket_t fd, short what, void *arg)
{
    struct until *u = arg;

    (void)fd;
    (void)what;
    u->stopped = true;
    fiber_cancel(u->fiber);
}

rc until_begin(struct cx *cx, struct ops *o, int64_t every_ms, bool once, struct until *u)
{
    *u = (struct until){.fiber = cx->fiber};
    try(opt_duration(cx, o, "every", every_ms, &u->every_ms));
    try(opt_int(cx, o, "times", 1, 1000000, 0, &u->left));
    if (!u->left)
        u->left = once && !isatty(STDOUT_FILENO) ? 1 : -1;
    cx->deadline_mono_ms = 0; /* a person ends it */
    u->sigint = evsignal_new(loop_base(), SIGINT, on_sigint, u);
    if (!u->sigint || evsignal_add(u->sigint, NULL) < 0)
        return fail(cx, OS, "Ctrl-C cannot be listened for");
    return OK;
}

rc until_next(struct cx *cx, struct until *u)
{
    if (u->left == 0)
        return fail(cx, CANCELLED, "it was done as often as asked");
    if (u->left > 0)
        u->left--;
    return u->done++ ? fiber_sleep(cx, u->every_ms) : OK;
}

rc until_end(struct cx *cx, struct until *u, rc r)
{
    if (u->sigint)
        event_free(u->sigint);
    if (u->stopped || (r == E_CANCELLED && u->left == 0)) {
        cx->cancelled = false;
        return OK;
    }
    return r;
}

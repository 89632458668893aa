/* loop.c - turns of the loop.
 *
 *      .-> run ready fibers (a bounded number) -> run what loop_soon() gathered -> poll --.
 *      `----------------------------------------------------------------------------------'
 *
 * The poll blocks only when nobody is ready. Callbacks of libevent run inside it, on this stack,
 * and wake fibers; these run in the next turn, so that a callback never meets the code that it
 * wakes. */
#include "rt/loop.h"
#include "rt/fiber.h"
#include "rt/internal.h"
#include "rt/stack.h"
#include <assert.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>

struct soon {
    struct soon *next;
    void (*fn)(void *);
    void *arg;
};

static bool never_forks; /* of the process: said before its loop is made */

static struct {
    struct event_base *base;
    bool stopping;
    struct soon *soon, **soon_tail;
} loop;

void loop_never_forks(void)
{
    assert(!loop.base);
    never_forks = true;
}

rc loop_init(struct cx *cx)
{
    struct event_config *config = event_config_new();

    assert(!loop.base);
    if (config) {
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        if (never_forks)
            event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
        loop.base = event_base_new_with_config(config);
        event_config_free(config);
    }
    if (!loop.base)
        return fail(cx, OS, "the event loop cannot be made");
    loop.stopping = false;
    loop.soon = NULL;
    loop.soon_tail = &loop.soon;
    signal(SIGPIPE,
           SIG_IGN); /* a peer that is gone is an error of its write, not the end of the process */
    stack_watch_overflow();
    return OK;
}

struct event_base *loop_base(void)
{
    assert(loop.base);
    return loop.base;
}

void loop_soon(void (*fn)(void *), void *arg)
{
    struct soon *s = xmalloc(sizeof *s);

    *s = (struct soon){NULL, fn, arg};
    *loop.soon_tail = s;
    loop.soon_tail = &s->next;
}

/* Only what is there now: a function that asks for another turn gets one after the poll. */
static void run_soon(void)
{
    struct soon *s = loop.soon, *next;

    loop.soon = NULL;
    loop.soon_tail = &loop.soon;
    for (; s; s = next) {
        next = s->next;
        s->fn(s->arg);
        free(s);
    }
}

void loop_run(void)
{
    assert(loop.base && !fiber_self());
    for (;;) {
        fibers_run();
        run_soon();
        bool busy = fibers_ready() || loop.soon;
        if (loop.stopping && !busy && fiber_count() == 0)
            break;
        if (event_base_loop(loop.base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY |
                                           (busy ? EVLOOP_NONBLOCK : 0)) < 0)
            abort(); /* the kernel's poll failed: going on would spin */
    }
    loop.stopping = false;
}

void loop_stop(void)
{
    loop.stopping = true;
}

void loop_free(void)
{
    assert(loop.base && fiber_count() == 0);
    while (loop.soon)
        run_soon();
    fibers_forget();
    event_base_free(TAKE_PTR(loop.base));
}

/* loop.c - turns of the loop.
 *
 *      .-> run ready fibers (a bounded number) -> run what loop_soon() gathered -> poll --.
 *      `----------------------------------------------------------------------------------'
 *
 * The poll blocks only when nobody is ready. A loop that serves many looks several times in one poll, every eight callbacks; it
 * ends when nothing is left, or two rounds after the first fiber was woken: new events alone cannot keep fibers from running.
 * Callbacks of libevent run inside it, on this stack, and wake fibers; these run in the next turn, so that a callback never
 * meets the code that it wakes. */
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

#define CALLBACKS_MAX 8 /* between two looks */
#define ROUNDS_MAX    2 /* of what is active, in one turn, once a fiber is ready */
enum { FIRST, OTHERS, PRIORITIES };

static bool never_forks, serves_many; /* of the process: said before its loop is made */

static struct {
    struct event_base *base;
    bool stopping;
    bool polling;
    struct event
        *turn_end; /* in the line of active events, behind a round of them; serves_many only */
    int rounds;    /* left to this turn; 0: nobody is waiting for its end */
    struct soon *soon, **soon_tail;
} loop;

void loop_never_forks(void)
{
    assert(!loop.base);
    never_forks = true;
}

void loop_serves_many(void)
{
    assert(!loop.base);
    serves_many = true;
}

void loop_first(struct event *ev)
{
    if (serves_many)
        event_priority_set(ev, FIRST);
}

/* While new events come as fast as they are looked after, libevent would not return. */
static void on_turn_end(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    if (--loop.rounds > 0)
        event_active(loop.turn_end, EV_TIMEOUT, 0);
    else
        event_base_loopbreak(loop.base);
}

rc loop_init(struct cx *cx)
{
    struct event_config *config = event_config_new();

    assert(!loop.base);
    if (config) {
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        if (never_forks)
            event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
        if (serves_many)
            event_config_set_max_dispatch_interval(config, NULL, CALLBACKS_MAX, OTHERS);
        loop.base = event_base_new_with_config(config);
        event_config_free(config);
    }
    if (!loop.base || (serves_many && event_base_priority_init(loop.base, PRIORITIES) < 0))
        return fail(cx, OS, "the event loop cannot be made");
    if (serves_many && !(loop.turn_end = event_new(loop.base, -1, 0, on_turn_end, NULL)))
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

void loop_is_wanted(void)
{
    if (!loop.polling || !loop.turn_end || loop.rounds > 0)
        return;
    loop.rounds = ROUNDS_MAX;
    event_active(loop.turn_end, EV_TIMEOUT, 0);
}

static bool poll_once(bool block)
{
    loop.polling = true;
    int r = event_base_loop(loop.base,
                            EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | (block ? 0 : EVLOOP_NONBLOCK));
    loop.polling = false;
    if (loop.rounds > 0)
        event_del(loop.turn_end);
    loop.rounds = 0;
    return r >= 0;
}

void loop_soon(void (*fn)(void *), void *arg)
{
    struct soon *s = xmalloc(sizeof *s);

    *s = (struct soon){NULL, fn, arg};
    *loop.soon_tail = s;
    loop.soon_tail = &s->next;
    loop_is_wanted();
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
        if (!poll_once(/* block= */ !busy))
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
    if (loop.turn_end)
        event_free(TAKE_PTR(loop.turn_end));
    event_base_free(TAKE_PTR(loop.base));
}

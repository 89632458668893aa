/* loop.h - the one event loop of a process (libevent). Made after the fork, never shared between
 * processes. */
#pragma once
#include "base/cx.h"

struct event;
struct event_base;

/* Before loop_init, by a process that forks nobody while it has connections: what is asked for and
 * taken back in one turn then never reaches the kernel (EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST; libevent's
 * event.h: not with descriptors that live on elsewhere, as in a forked child, after they were closed here). */
void loop_never_forks(void);
/* Before loop_init, by a process that serves many connections: after eight callbacks it looks at its sockets again, and what came
 * meanwhile for a loop_first() event goes before the others. What the store has answered is then read, and all that came in the meantime
 * gathered, before fibers run again: at most two rounds of what is active later. */
void loop_serves_many(void);
/* Before the event is added. Without loop_serves_many nothing changes. */
void loop_first(struct event *ev);
/* Make this process's loop; one per process (tests may make and free several in a row). SIGPIPE is
 * ignored from then on, and a stack overflow of a fiber is reported by name. Errors: OS. */
rc loop_init(struct cx *cx);
struct event_base *loop_base(void); /* never NULL after loop_init */
/* Run until loop_stop(), and then until every fiber has ended (they were cancelled by then or end
 * by themselves). */
void loop_run(void);
void loop_stop(void);
void loop_free(void); /* no fiber may be left */
/* Runs fn(arg) once from the loop, not from the caller's stack. */
void loop_soon(void (*fn)(void *), void *arg);

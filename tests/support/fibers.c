/* fibers.c - a loop with one fiber, for one piece of test. */
#include "tests/support/fibers.h"
#include <stdio.h>

struct piece {
    fiber_fn fn;
    void *arg;
    rc result;
};

static rc piece_main(struct cx *cx, void *arg)
{
    struct piece *p = arg;
    p->result = p->fn(cx, p->arg);
    if (p->result != OK)
        printf("on_fiber: %s\n", cx_words(cx, p->result));
    fiber_cancel_all();
    loop_stop();
    return OK;
}

rc on_fiber(fiber_fn fn, void *arg)
{
    struct cx cx = CX_PLAIN("test");
    struct piece p = {.fn = fn, .arg = arg};
    rc r = loop_init(&cx);
    if (r == OK) {
        struct fiber_opts o = {.name = "test", .timeout_ms = 20000};
        fiber_detach(fiber_spawn(&o, piece_main, &p));
        loop_run();
        loop_free();
        r = p.result;
    }
    cx_release(&cx);
    return r;
}

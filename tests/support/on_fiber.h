/* on_fiber.h - run a test's body on a fiber of a fresh loop.
 *
 *     static rc body(struct cx *cx, void *arg) { try(redis_ping(cx)); return OK; }
 *     ck_assert_int_eq(on_fiber(body, NULL), OK);
 */
#pragma once
#include "rt/fiber.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include <stdio.h>
#include <stdlib.h>

struct on_fiber {
    fiber_fn fn;
    void *arg;
    rc result;
};

static inline rc on_fiber_body(struct cx *cx, void *arg)
{
    struct on_fiber *o = arg;

    o->result = o->fn(cx, o->arg);
    if (o->result != OK)
        fprintf(stderr, "on_fiber: %s: %s (%s:%d)\n", error_info(o->result)->code,
                cx_words(cx, o->result), cx->err.file ? cx->err.file : "?", cx->err.line);
    loop_stop();
    return OK;
}

/* Returns what fn returned, once it and every fiber that it started have ended. */
static inline rc on_fiber(fiber_fn fn, void *arg)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("on_fiber");
    struct on_fiber o = {fn, arg, OK};

    if (loop_init(&cx) != OK)
        abort();
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "test"}, on_fiber_body, &o));
    loop_run();
    offload_free();
    loop_free();
    return o.result;
}

/* fibers.c - what a fiber costs: resident memory parked, time per switch, time per spawn and join.
 *
 *     build-release/tests/bench/bench_fibers
 *     parked_kib_each 9.1 ... */
#include "base/clock.h"
#include "tests/support/memory.h"
#include "tests/support/on_fiber.h"
#include <string.h>

enum { CROWD = 10000, TURNS = 2000000, SPAWNS = 300000 };

static rc wait_long(struct cx *cx, void *arg)
{
    return fiber_sleep(cx, 3600000);
}

static rc turn(struct cx *cx, void *arg)
{
    for (int i = 0; i < TURNS / 2; i++)
        try(fiber_yield(cx));
    return OK;
}

static rc nothing(struct cx *cx, void *arg)
{
    return OK;
}

static rc measure(struct cx *cx, void *arg)
{
    struct fiber_opts o = {.name = "bench", .timeout_ms = 3600000};
    _cleanup_(freep) struct fiber **crowd = xcalloc(CROWD, sizeof *crowd);
    int64_t start = clock_mono_us();

    struct fiber *a = fiber_spawn(&o, turn, NULL), *b = fiber_spawn(&o, turn, NULL);
    try(fiber_join(cx, a, NULL));
    try(fiber_join(cx, b, NULL));
    printf("yield_ns %.1f\n", (double)(clock_mono_us() - start) * 1000 / TURNS);

    start = clock_mono_us();
    for (int i = 0; i < SPAWNS; i++)
        try(fiber_join(cx, fiber_spawn(&o, nothing, NULL), NULL));
    printf("spawn_join_ns %.1f\n", (double)(clock_mono_us() - start) * 1000 / SPAWNS);

    long before = resident_kib();
    start = clock_mono_us();
    for (int i = 0; i < CROWD; i++)
        crowd[i] = fiber_spawn(&o, wait_long, NULL);
    try(fiber_sleep(cx, 1));
    printf("parked %d\nparked_mib %.1f\nparked_kib_each %.2f\npark_crowd_ms %.1f\n", CROWD,
           (double)(resident_kib() - before) / 1024, (double)(resident_kib() - before) / CROWD,
           (double)(clock_mono_us() - start) / 1000);
    start = clock_mono_us();
    for (int i = 0; i < CROWD; i++)
        fiber_cancel(crowd[i]);
    for (int i = 0; i < CROWD; i++)
        try(fiber_join(cx, crowd[i], NULL));
    printf("cancel_crowd_ms %.1f\n", (double)(clock_mono_us() - start) / 1000);
    return OK;
}

int main(void)
{
    return on_fiber(measure, NULL) == OK ? 0 : 1;
}

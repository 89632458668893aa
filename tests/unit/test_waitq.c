/* test_waitq.c - queues are FIFO, no wake is lost, a gate never holds too many. */
#include "base/buf.h"
#include "base/id.h"
#include "rt/waitq.h"
#include "tests/support/on_fiber.h"
#include "unit.h"
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static struct fiber *spawn(const char *name, fiber_fn fn, void *arg)
{
    return fiber_spawn(&(struct fiber_opts){.name = name}, fn, arg);
}

/* Consumers and producers over a ring of one place: a single lost wake would hang it. */
struct ring {
    int place; /* 0: empty */
    int64_t sum;
    int produced, consumed;
    struct waitq not_full, not_empty;
};
enum { ITEMS = SANITIZED ? 20000 : 200000, HANDS = 7 };

static rc produce(struct cx *cx, void *arg)
{
    struct ring *r = arg;

    while (r->produced < ITEMS) {
        if (r->place) {
            try(waitq_wait(cx, &r->not_full));
            continue;
        }
        r->place = ++r->produced;
        waitq_wake_one(&r->not_empty);
        if (random_below(3) == 0)
            try(fiber_yield(cx));
    }
    waitq_wake_all(&r->not_full);
    return OK;
}

static rc consume(struct cx *cx, void *arg)
{
    struct ring *r = arg;

    while (r->consumed < ITEMS) {
        if (!r->place) {
            try(waitq_wait(cx, &r->not_empty));
            continue;
        }
        r->sum += r->place;
        r->place = 0;
        r->consumed++;
        waitq_wake_one(&r->not_full);
        if (random_below(3) == 0)
            try(fiber_yield(cx));
    }
    waitq_wake_all(&r->not_empty);
    return OK;
}

static rc produce_and_consume(struct cx *cx, void *arg)
{
    struct ring ring = {0};
    struct fiber *f[2 * HANDS];
    rc r;

    cx_deadline_within(cx, 30000);
    for (int i = 0; i < 2 * HANDS; i++)
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "hand", .inherit = cx},
                           i % 2 ? produce : consume, &ring);
    for (int i = 0; i < 2 * HANDS; i++) {
        try(fiber_join(cx, f[i], &r));
        ck_assert_int_eq(r, OK);
    }
    ck_assert_int_eq(ring.sum, (int64_t)ITEMS * (ITEMS + 1) / 2);
    return OK;
}

START_TEST(no_wake_is_lost)
{
    ck_assert_int_eq(on_fiber(produce_and_consume, NULL), OK);
}
END_TEST

struct line {
    struct waitq q;
    struct buf seen;
};

static rc stand_in_line(struct cx *cx, void *arg)
{
    struct line *l = arg;

    try(waitq_wait(cx, &l->q));
    buf_puts(&l->seen, cx->name);
    return OK;
}

static rc queue_order(struct cx *cx, void *arg)
{
    struct line l = {.seen = BUF(16)};
    struct fiber *f[4];
    static const char *const names[] = {"a", "b", "c", "d"};
    rc r;

    for (int i = 0; i < 4; i++)
        f[i] = spawn(names[i], stand_in_line, &l);
    waitq_wake_one(&l.q); /* nobody there yet: not kept */
    try(fiber_yield(cx));
    ck_assert(!waitq_empty(&l.q));
    waitq_wake_one(&l.q); /* chooses a, which is cancelled before it runs: b gets it */
    fiber_cancel(f[0]);
    try(fiber_sleep(cx, 2));
    ck_assert_str_eq(buf_str(&l.seen), "b");
    waitq_wake_all(&l.q);
    ck_assert(waitq_empty(&l.q));
    for (int i = 0; i < 4; i++) {
        try(fiber_join(cx, f[i], &r));
        ck_assert_int_eq(r, i ? OK : E_CANCELLED);
    }
    ck_assert_str_eq(buf_str(&l.seen), "bcd");
    buf_release(&l.seen);
    return OK;
}

START_TEST(queue_is_fifo_and_hands_wakes_on)
{
    ck_assert_int_eq(on_fiber(queue_order, NULL), OK);
}
END_TEST

struct door {
    struct gate gate;
    size_t inside, most, passed;
};

static rc pass(struct cx *cx, void *arg)
{
    struct door *d = arg;

    for (int i = 0; i < 20; i++) {
        try(gate_enter(cx, &d->gate));
        d->inside++;
        d->most = MAX(d->most, d->inside);
        rc r = fiber_sleep(cx, (int64_t)random_below(2));
        d->inside--;
        d->passed++;
        gate_leave(&d->gate);
        try(r);
    }
    return OK;
}

static rc gate_bounds(struct cx *cx, void *arg)
{
    struct door d = {.gate = {.limit = 5}};
    struct fiber *f[40];
    size_t cancelled = 0;
    rc r;

    for (size_t i = 0; i < COUNT(f); i++)
        f[i] = spawn("guest", pass, &d);
    try(fiber_sleep(cx, 5));
    for (size_t i = 0; i < COUNT(f); i += 4)
        fiber_cancel(f[i]);
    for (size_t i = 0; i < COUNT(f); i++) {
        try(fiber_join(cx, f[i], &r));
        cancelled += r == E_CANCELLED;
    }
    ck_assert_uint_eq(d.most, 5);
    ck_assert_uint_eq(d.gate.held, 0);
    ck_assert_uint_gt(cancelled, 0);
    ck_assert_uint_ge(d.passed, 30 * 20);
    ck_assert(waitq_empty(&d.gate.q));
    return OK;
}

START_TEST(gate_bounds_its_holders)
{
    ck_assert_int_eq(on_fiber(gate_bounds, NULL), OK);
}
END_TEST

static rc hold_place(struct cx *cx, void *arg)
{
    struct gate *g = arg;

    try(gate_enter(cx, g));
    rc r = fiber_park(cx);
    gate_leave(g);
    return r;
}

/* A place handed to a fiber that is cancelled before it runs goes to the next one. */
static rc gate_hands_on(struct cx *cx, void *arg)
{
    struct gate g = {.limit = 1};
    struct fiber *f[3];
    rc r;

    for (int i = 0; i < 3; i++)
        f[i] = spawn("holder", hold_place, &g);
    try(fiber_yield(cx));
    fiber_wake(f[0]);
    try(fiber_yield(cx)); /* f[0] has left, f[1] holds the place and has not run */
    fiber_cancel(f[1]);
    try(fiber_sleep(cx, 2));
    ck_assert_uint_eq(g.held, 1);
    ck_assert(waitq_empty(&g.q));
    fiber_wake(f[2]);
    for (int i = 0; i < 3; i++) {
        try(fiber_join(cx, f[i], &r));
        ck_assert_int_eq(r, i == 1 ? E_CANCELLED : OK);
    }
    ck_assert_uint_eq(g.held, 0);
    return OK;
}

START_TEST(gate_hands_a_place_on)
{
    ck_assert_int_eq(on_fiber(gate_hands_on, NULL), OK);
}
END_TEST

UNIT(waitq, {"lost wakes", no_wake_is_lost}, {"queue", queue_is_fifo_and_hands_wakes_on},
     {"gate", gate_bounds_its_holders}, {"gate hands on", gate_hands_a_place_on})

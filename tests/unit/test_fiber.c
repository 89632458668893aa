/* test_fiber.c - switch, wait, wake, cancel, deadline, join, and the loop around it. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "rt/waitq.h"
#include "tests/support/on_fiber.h"
#include "unit.h"
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct fiber *spawn(const char *name, fiber_fn fn, void *arg)
{
    return fiber_spawn(&(struct fiber_opts){.name = name}, fn, arg);
}

static rc nothing(struct cx *cx, void *arg)
{
    return OK;
}

/* --- switching --- */

static rc write_letter(struct cx *cx, void *arg)
{
    struct buf *out = arg;

    for (int i = 0; i < 3; i++) {
        buf_puts(out, cx->name);
        try(fiber_yield(cx));
    }
    return OK;
}

static rc take_turns(struct cx *cx, void *arg)
{
    _cleanup_(buf_release) struct buf out = BUF(64);
    struct fiber *f[3];
    rc r;

    f[0] = spawn("a", write_letter, &out);
    f[1] = spawn("b", write_letter, &out);
    f[2] = spawn("c", write_letter, &out);
    ck_assert_uint_eq(fiber_count(), 4);
    ck_assert_uint_eq(out.len, 0); /* on the next turn, not at once */
    for (int i = 0; i < 3; i++) {
        try(fiber_join(cx, f[i], &r));
        ck_assert_int_eq(r, OK);
    }
    ck_assert_str_eq(buf_str(&out), "abcabcabc");
    ck_assert_uint_eq(fiber_count(), 1);
    return OK;
}

START_TEST(fibers_take_turns)
{
    ck_assert_int_eq(on_fiber(take_turns, NULL), OK);
}
END_TEST

static rc compute(struct cx *cx, void *arg)
{
    double *sum = arg, step = *sum;
    char text[64];

    for (int i = 1; i <= 1000; i++) {
        *sum += step / i;
        snprintf(text, sizeof text, "%.17g",
                 *sum); /* printf of doubles faults on a misaligned stack */
        try(fiber_yield(cx));
        *sum = strtod(text, NULL);
    }
    return OK;
}

static rc registers_survive(struct cx *cx, void *arg)
{
    double sums[8], want[8];
    struct fiber *f[8];

    for (int i = 0; i < 8; i++) {
        sums[i] = want[i] = i + 0.5;
        for (int k = 1; k <= 1000; k++)
            want[i] += (i + 0.5) / k;
        f[i] = spawn("compute", compute, &sums[i]);
    }
    for (int i = 0; i < 8; i++) {
        try(fiber_join(cx, f[i], NULL));
        ck_assert_double_eq_tol(sums[i], want[i], 1e-12);
    }
    return OK;
}

START_TEST(registers_survive_a_switch)
{
    ck_assert_int_eq(on_fiber(registers_survive, NULL), OK);
}
END_TEST

static rc who(struct cx *cx, void *arg)
{
    ck_assert_ptr_eq(fiber_self(), cx->fiber);
    ck_assert_ptr_eq(fiber_cx(cx->fiber), cx);
    log_ev(LOG_INFO, "seen");
    return OK;
}

static rc log_follows(struct cx *cx, void *arg)
{
    strcpy(cx->trace, "0af7651916cd43dd8448eb211c80319c");
    struct fiber *f =
        fiber_spawn(&(struct fiber_opts){.name = "order.check", .inherit = cx}, who, NULL);
    return fiber_join(cx, f, NULL);
}

START_TEST(log_lines_carry_the_fiber)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);

    log_setup(out, LOG_INFO, LOG_LOGFMT);
    ck_assert_ptr_null(fiber_self());
    ck_assert_int_eq(on_fiber(log_follows, NULL), OK);
    log_ev(LOG_INFO, "after");
    log_setup(NULL, LOG_INFO, LOG_LOGFMT);
    fclose(out);
    ck_assert_ptr_nonnull(strstr(text, "ev=seen fiber=order.check trace=0af7651916cd43dd"));
    ck_assert_ptr_nonnull(strstr(text, "ev=after\n"));
    free(text);
}
END_TEST

/* --- every way of waiting, cancelled and too late --- */

struct scene {
    struct waitq q;
    struct gate gate;
    struct fiber *endless;
    int cleanups;
};

static rc sleep_for_ever(struct cx *cx, void *arg)
{
    return fiber_sleep(cx, INT64_C(1) << 40);
}

static rc wait_park(struct cx *cx, struct scene *s)
{
    return fiber_park(cx);
}
static rc wait_sleep(struct cx *cx, struct scene *s)
{
    return fiber_sleep(cx, 3600000);
}
static rc wait_yield(struct cx *cx, struct scene *s)
{
    for (;;)
        try(fiber_yield(cx));
}
static rc wait_queue(struct cx *cx, struct scene *s)
{
    return waitq_wait(cx, &s->q);
}
static rc wait_gate(struct cx *cx, struct scene *s)
{
    return gate_enter(cx, &s->gate);
}
static rc wait_join(struct cx *cx, struct scene *s)
{
    s->endless = spawn("endless", sleep_for_ever, NULL);
    return fiber_join(cx, s->endless, NULL);
}

static const struct {
    const char *title;
    rc (*wait)(struct cx *cx, struct scene *s);
} waits[] = {
    {"park", wait_park},   {"sleep", wait_sleep}, {"yield", wait_yield},
    {"queue", wait_queue}, {"gate", wait_gate},   {"join", wait_join},
};

struct waiting {
    struct scene *scene;
    int which;
};

static void count_cleanup(void *p)
{
    int **n = p;
    (**n)++;
}

/* Owns memory on the heap, in the arena and behind a cleanup while it waits. */
static rc wait_owning(struct cx *cx, void *arg)
{
    struct waiting *w = arg;
    _cleanup_(freep) char *heap = xstrdup("owned by the frame");
    _cleanup_(count_cleanup) int *counter = &w->scene->cleanups;

    arena_printf(&cx->arena, "owned by the %s", "arena");
    arena_defer(&cx->arena, free, xstrdup("deferred"));
    return waits[w->which].wait(cx, w->scene);
}

static rc cancelled_while_waiting(struct cx *cx, void *arg)
{
    struct scene s = {.gate = {.limit = 1, .held = 1}};
    struct waiting w = {&s, *(int *)arg};
    struct fiber *f = spawn("waiter", wait_owning, &w);
    rc r;

    try(fiber_sleep(cx, 5));
    fiber_cancel(f);
    fiber_cancel(f);
    try(fiber_join(cx, f, &r));
    ck_assert_int_eq(r, E_CANCELLED);
    ck_assert_int_eq(cx->err.code, E_CANCELLED);
    ck_assert_ptr_nonnull(strstr(cx->err.text, "waiter"));
    ck_assert_int_eq(s.cleanups, 1);
    ck_assert(waitq_empty(&s.q) && waitq_empty(&s.gate.q));
    ck_assert_uint_eq(s.gate.held, 1);
    return OK;
}

START_TEST(cancel_ends_every_wait)
{
    ck_assert_msg(on_fiber(cancelled_while_waiting, &_i) == OK, "case: %s", waits[_i].title);
}
END_TEST

static rc cancelled_before_it_ran(struct cx *cx, void *arg)
{
    struct scene s = {.gate = {.limit = 1, .held = 1}};
    struct waiting w = {&s, *(int *)arg};
    struct fiber *f = spawn("waiter", wait_owning, &w);
    rc r;

    fiber_cancel(f);
    try(fiber_join(cx, f, &r));
    ck_assert_int_eq(r, E_CANCELLED);
    ck_assert_int_eq(s.cleanups, 1);
    return OK;
}

START_TEST(cancel_before_the_first_run)
{
    ck_assert_msg(on_fiber(cancelled_before_it_ran, &_i) == OK, "case: %s", waits[_i].title);
}
END_TEST

static rc late_while_waiting(struct cx *cx, void *arg)
{
    struct scene s = {.gate = {.limit = 1, .held = 1}};
    struct waiting w = {&s, *(int *)arg};
    int64_t start = clock_mono_ms();
    struct fiber *f =
        fiber_spawn(&(struct fiber_opts){.name = "waiter", .timeout_ms = 20}, wait_owning, &w);
    rc r;

    try(fiber_join(cx, f, &r));
    ck_assert_int_eq(r, E_DEADLINE);
    ck_assert_int_ge(clock_mono_ms() - start, 20);
    ck_assert_int_eq(s.cleanups, 1);
    ck_assert(waitq_empty(&s.q) && waitq_empty(&s.gate.q));
    ck_assert_uint_eq(s.gate.held, 1);
    return OK;
}

START_TEST(deadline_ends_every_wait)
{
    ck_assert_msg(on_fiber(late_while_waiting, &_i) == OK, "case: %s", waits[_i].title);
}
END_TEST

static rc deadline_is_inherited(struct cx *cx, void *arg)
{
    struct scene s = {0};
    struct waiting w = {&s, 0};
    rc r;

    {
        _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 10000);
        struct fiber *f =
            fiber_spawn(&(struct fiber_opts){.name = "child", .inherit = cx, .timeout_ms = 60000},
                        nothing, NULL);
        ck_assert_int_eq(fiber_cx(f)->deadline_mono_ms, cx->deadline_mono_ms);
        try(fiber_join(cx, f, &r));
    }
    {
        _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 10);
        r = wait_owning(cx, &w);
        ck_assert_int_eq(r, E_DEADLINE);
        ck_assert_int_eq(fiber_yield(cx), E_DEADLINE); /* and from then on at once */
    }
    ck_assert_int_eq(cx->deadline_mono_ms, 0);
    return fiber_yield(cx); /* the scope has ended, so has its deadline */
}

START_TEST(deadlines_come_from_the_context)
{
    ck_assert_int_eq(on_fiber(deadline_is_inherited, NULL), OK);
}
END_TEST

/* A timer that stays armed for an earlier wait must not end a later one. */
static rc lazy_timer(struct cx *cx, void *arg)
{
    int64_t start = clock_mono_ms();

    {
        _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 15);
        fiber_wake(cx->fiber);
        try(fiber_park(cx));
    }
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 60);
    ck_assert_int_eq(fiber_park(cx), E_DEADLINE);
    ck_assert_int_ge(clock_mono_ms() - start, 60);
    ck_assert_int_le(clock_mono_ms() - start, 2000);
    return OK;
}

START_TEST(an_old_timer_ends_nothing)
{
    ck_assert_int_eq(on_fiber(lazy_timer, NULL), OK);
}
END_TEST

/* --- sleep, wake --- */

static rc sleeps(struct cx *cx, void *arg)
{
    static const int64_t lengths[] = {1, 7, 30};

    for (size_t i = 0; i < COUNT(lengths); i++) {
        int64_t start = clock_mono_ms();
        try(fiber_sleep(cx, lengths[i]));
        ck_assert_int_ge(clock_mono_ms() - start, lengths[i]);
        ck_assert_int_le(clock_mono_ms() - start, lengths[i] + 1000);
    }
    return OK;
}

START_TEST(sleep_is_never_short)
{
    ck_assert_int_eq(on_fiber(sleeps, NULL), OK);
}
END_TEST

static void wake_it(void *f)
{
    fiber_wake(f);
}

static rc wakes(struct cx *cx, void *arg)
{
    int64_t start = clock_mono_ms();

    fiber_wake(cx->fiber);
    fiber_wake(cx->fiber);
    try(fiber_park(cx)); /* came before the park: not lost */
    loop_soon(wake_it, cx->fiber);
    try(fiber_park(cx)); /* from a callback */
    loop_soon(wake_it, cx->fiber);
    try(fiber_sleep(cx, 20)); /* does not end a sleep */
    ck_assert_int_ge(clock_mono_ms() - start, 20);
    try(fiber_park(cx)); /* and was kept */
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 5);
    ck_assert_int_eq(fiber_park(cx), E_DEADLINE); /* but only once */
    return OK;
}

START_TEST(wakes_are_kept_not_counted)
{
    ck_assert_int_eq(on_fiber(wakes, NULL), OK);
}
END_TEST

/* --- join, detach, end --- */

static rc fails_with_words(struct cx *cx, void *arg)
{
    try(fiber_yield(cx));
    return fail_at(cx, INVALID_FIELD, "/package_id", "package %d is odd", 7);
}

static rc fails_without_words(struct cx *cx, void *arg)
{
    return E_CONFLICT;
}

static rc joins(struct cx *cx, void *arg)
{
    rc r = OK;

    try(fiber_join(cx, spawn("child", fails_with_words, NULL), &r));
    ck_assert_int_eq(r, E_INVALID_FIELD);
    ck_assert_str_eq(cx->err.text, "package 7 is odd");
    ck_assert_str_eq(cx->err.pointer, "/package_id");

    struct fiber *f = spawn("child", fails_without_words, NULL);
    try(fiber_sleep(cx, 2)); /* ended before the join */
    try(fiber_join(cx, f, &r));
    ck_assert_int_eq(r, E_CONFLICT);
    ck_assert_int_eq(cx->err.code, E_CONFLICT);
    ck_assert_str_eq(cx_words(cx, r), error_info(E_CONFLICT)->text);

    f = spawn("endless", sleep_for_ever, NULL);
    {
        _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 10);
        ck_assert_int_eq(fiber_join(cx, f, &r), E_DEADLINE);
    }
    try(fiber_sleep(cx, 2));
    ck_assert_uint_eq(fiber_count(), 1); /* cancelled, detached and gone */

    fiber_detach(spawn("child", nothing, NULL));
    f = spawn("child", nothing, NULL);
    try(fiber_sleep(cx, 2));
    fiber_detach(f); /* after its end */
    ck_assert_uint_eq(fiber_count(), 1);
    return OK;
}

START_TEST(join_tells_how_it_ended)
{
    ck_assert_int_eq(on_fiber(joins, NULL), OK);
}
END_TEST

static rc outlive(struct cx *cx, void *arg)
{
    bool *ended = arg;

    try(fiber_sleep(cx, 20));
    *ended = true;
    return OK;
}

static rc leave_others_behind(struct cx *cx, void *arg)
{
    fiber_detach(spawn("late", outlive, arg));
    spawn("never joined", nothing, NULL); /* loop_free takes it */
    return OK;
}

START_TEST(the_loop_waits_for_its_fibers)
{
    bool ended = false;

    ck_assert_int_eq(on_fiber(leave_others_behind, &ended), OK);
    ck_assert(ended);
}
END_TEST

static rc cancel_all(struct cx *cx, void *arg)
{
    struct scene s = {.gate = {.limit = 1, .held = 1}};
    struct waiting w[COUNT(waits)];

    for (size_t i = 0; i < COUNT(waits); i++) {
        w[i] = (struct waiting){&s, (int)i};
        fiber_detach(spawn("waiter", wait_owning, &w[i]));
    }
    try(fiber_sleep(cx, 2));
    fiber_cancel_all();
    ck_assert_int_eq(fiber_yield(cx), E_CANCELLED); /* this one too */
    cx->cancelled = false;                          /* a test may; nobody else */
    while (fiber_count() > 1)
        try(fiber_yield(cx));
    ck_assert_int_eq(s.cleanups, COUNT(waits));
    return OK;
}

START_TEST(cancel_all_reaches_everybody)
{
    ck_assert_int_eq(on_fiber(cancel_all, NULL), OK);
}
END_TEST

static void append_a(void *out)
{
    buf_putc(out, 'a');
}
static void append_b_and_again(void *out)
{
    buf_putc(out, 'b');
    loop_soon(append_a, out);
}

static rc soon_in_order(struct cx *cx, void *arg)
{
    struct buf *out = arg;

    loop_soon(append_a, out);
    loop_soon(append_b_and_again, out);
    loop_soon(append_a, out);
    ck_assert_uint_eq(out->len, 0); /* not from the caller's stack */
    return OK;
}

START_TEST(soon_runs_in_order_and_before_the_end)
{
    _cleanup_(buf_release) struct buf out = BUF(16);

    ck_assert_int_eq(on_fiber(soon_in_order, &out), OK);
    ck_assert_str_eq(buf_str(&out), "abaa");
}
END_TEST

/* --- fairness, dump --- */

static void set_flag(evutil_socket_t fd, short what, void *arg)
{
    *(bool *)arg = true;
}

static rc busy_until(struct cx *cx, void *arg)
{
    while (!*(bool *)arg)
        try(fiber_yield(cx));
    return OK;
}

static rc fair(struct cx *cx, void *arg)
{
    bool fired = false;
    struct event *timer = evtimer_new(loop_base(), set_flag, &fired);
    struct fiber *busy =
        fiber_spawn(&(struct fiber_opts){.name = "busy", .timeout_ms = 5000}, busy_until, &fired);
    rc r;

    evtimer_add(timer, &(struct timeval){.tv_usec = 10000});
    try(fiber_join(cx, busy, &r));
    event_free(timer);
    ck_assert_int_eq(r, OK); /* libevent got its turn beside a fiber that never rests */
    return OK;
}

START_TEST(a_busy_fiber_does_not_starve_the_poll)
{
    ck_assert_int_eq(on_fiber(fair, NULL), OK);
}
END_TEST

/* A crowd of visitors, all of whom have said something; the third one's callback lets the store answer. */
#define CROWD 40

static struct {
    int seen, seen_before_answer, answer[2];
} crowd;

static void on_visitor(evutil_socket_t fd, short what, void *arg)
{
    if (++crowd.seen == 3)
        ck_assert_int_eq(write(crowd.answer[1], "x", 1), 1);
    if (crowd.seen == CROWD && crowd.seen_before_answer)
        loop_stop();
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
    crowd.seen_before_answer = crowd.seen;
    if (crowd.seen == CROWD)
        loop_stop();
}

static const struct {
    bool many;
    int least, most; /* callbacks of visitors before the answer is heard */
} crowds[] = {{true, 3, 16}, {false, CROWD, CROWD}};

START_TEST(an_answer_goes_before_the_crowd)
{
    struct event *ev[CROWD + 1];
    int fds[CROWD][2];
    struct cx cx = CX_PLAIN("test");

    if (crowds[_i].many)
        loop_serves_many();
    ck_assert_int_eq(loop_init(&cx), OK);
    for (int i = 0; i < CROWD; i++) {
        ck_assert_int_eq(pipe(fds[i]), 0);
        ck_assert_int_eq(write(fds[i][1], "x", 1), 1);
        ev[i] = event_new(loop_base(), fds[i][0], EV_READ, on_visitor, NULL);
        event_add(ev[i], NULL);
    }
    ck_assert_int_eq(pipe(crowd.answer), 0);
    ev[CROWD] = event_new(loop_base(), crowd.answer[0], EV_READ, on_answer, NULL);
    loop_first(ev[CROWD]);
    event_add(ev[CROWD], NULL);
    loop_run();
    ck_assert_int_ge(crowd.seen_before_answer, crowds[_i].least);
    ck_assert_int_le(crowd.seen_before_answer, crowds[_i].most);
    for (int i = 0; i <= CROWD; i++)
        event_free(ev[i]);
    loop_free();
    cx_release(&cx);
}
END_TEST

/* Sockets that always have something to say again: a crowd that is refused, and comes back at once. */
static int chatter[CROWD][2];

static void on_chatter(evutil_socket_t fd, short what, void *arg)
{
    char c;

    ck_assert_int_eq(read(fd, &c, 1), 1);
    ck_assert_int_eq(write((int)(intptr_t)arg, "x", 1), 1);
}

static rc sleep_through_it(struct cx *cx, void *arg)
{
    rc r = OK;

    for (int i = 0; i < 5 && r == OK; i++)
        r = fiber_sleep(cx, 2);
    *(rc *)arg = r;
    loop_stop();
    return OK;
}

START_TEST(a_crowd_does_not_starve_fibers)
{
    struct event *ev[CROWD];
    struct cx cx = CX_PLAIN("test");
    rc slept = E_INTERNAL;

    if (_i)
        loop_serves_many();
    ck_assert_int_eq(loop_init(&cx), OK);
    for (int i = 0; i < CROWD; i++) {
        ck_assert_int_eq(pipe(chatter[i]), 0);
        ck_assert_int_eq(write(chatter[i][1], "x", 1), 1);
        ev[i] = event_new(loop_base(), chatter[i][0], EV_READ | EV_PERSIST, on_chatter,
                          (void *)(intptr_t)chatter[i][1]);
        event_add(ev[i], NULL);
    }
    fiber_detach(spawn("sleeper", sleep_through_it, &slept));
    loop_run();
    ck_assert_int_eq(slept, OK);
    for (int i = 0; i < CROWD; i++)
        event_free(ev[i]);
    loop_free();
    cx_release(&cx);
}
END_TEST

static rc dump_one(struct cx *cx, void *arg)
{
    struct fiber *f = spawn("order.check", sleep_for_ever, NULL);

    strcpy(fiber_cx(f)->subject, "job-77");
    try(fiber_sleep(cx, 2));
    fiber_dump();
    fiber_cancel(f);
    return fiber_join(cx, f, NULL);
}

START_TEST(dump_names_what_waits)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);

    log_setup(out, LOG_INFO, LOG_LOGFMT);
    ck_assert_int_eq(on_fiber(dump_one, NULL), OK);
    log_setup(NULL, LOG_INFO, LOG_LOGFMT);
    fclose(out);
    ck_assert_ptr_nonnull(
        strstr(text, "name=order.check state=sleeping in=sleep_for_ever age_ms="));
    ck_assert_ptr_nonnull(strstr(text, "about=job-77"));
    ck_assert_ptr_nonnull(strstr(text, "name=test state=running"));
    free(text);
}
END_TEST

UNIT(fiber, {"turns", fibers_take_turns}, {"registers", registers_survive_a_switch},
     {"log", log_lines_carry_the_fiber}, {"cancel", cancel_ends_every_wait, COUNT(waits)},
     {"cancel first", cancel_before_the_first_run, COUNT(waits)},
     {"deadline", deadline_ends_every_wait, COUNT(waits)},
     {"inherit", deadlines_come_from_the_context}, {"lazy timer", an_old_timer_ends_nothing},
     {"sleep", sleep_is_never_short}, {"wake", wakes_are_kept_not_counted},
     {"join", join_tells_how_it_ended}, {"loop end", the_loop_waits_for_its_fibers},
     {"cancel all", cancel_all_reaches_everybody}, {"soon", soon_runs_in_order_and_before_the_end},
     {"fairness", a_busy_fiber_does_not_starve_the_poll},
     {"answers first", an_answer_goes_before_the_crowd, COUNT(crowds)},
     {"crowd", a_crowd_does_not_starve_fibers, 2}, {"dump", dump_names_what_waits})

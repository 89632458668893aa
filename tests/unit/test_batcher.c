/* test_batcher.c - while one batch is on its way the next one gathers; each item has its own outcome; who gives up leaves
 * his item behind; a stop answers those that wait. */
#include "base/clock.h"
#include "rt/batcher.h"
#include "tests/support/on_fiber.h"
#include "tests/unit/unit.h"
#include <stdarg.h>
#include <string.h>

struct parcel {
    struct batch_item item;
    int number;
};

/* What happened, as text: "[1][2 3 4]" are the batches in order. */
static struct {
    char log[256];
    int freed, waiting;
    struct fiber *gate; /* the batch on its way waits here */
    struct batcher *b;
} the;

static void _printf_(1, 2) note(const char *fmt, ...)
{
    size_t used = strlen(the.log);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(the.log + used, sizeof the.log - used, fmt, ap);
    va_end(ap);
}

static void carry(struct cx *cx, struct batcher *b, void *arg, struct batch_item **items, size_t n)
{
    (void)arg;
    for (size_t i = 0; i < n; i++)
        note("%s%d", i ? " " : "[", ((struct parcel *)items[i])->number);
    note("]");
    the.gate = cx->fiber;
    while (the.gate)
        (void)fiber_park(cx);
    for (size_t i = 0; i < n; i++) {
        struct parcel *p = (struct parcel *)items[i];
        rc r = p->number % 2 ? OK : fail(cx, CONFLICT, "parcel %d is even", p->number);
        batch_done(items[i], r, &cx->err);
    }
    batch_on_its_way_back(b);
}

static void free_parcel(struct batch_item *item)
{
    free(item);
    the.freed++;
}

static rc send(struct cx *cx, void *arg)
{
    struct parcel *p = xcalloc(1, sizeof *p);
    char want[40];
    bool left;

    p->number = (int)(intptr_t)arg;
    rc r = batch_wait(cx, the.b, &p->item, &left);
    snprintf(want, sizeof want, "parcel %d is even", p->number);
    if (left)
        note("left %d;", p->number);
    else if (r == E_CONFLICT)
        ck_assert_str_eq(cx_words(cx, r), want);
    else if (r == OK)
        ck_assert_int_eq(p->number % 2, 1);
    else
        note(";");
    batch_leave(the.b, &p->item);
    the.waiting--;
    return OK;
}

static struct fiber *spawn(int number)
{
    struct fiber *f =
        fiber_spawn(&(struct fiber_opts){.name = "send"}, send, (void *)(intptr_t)number);

    the.waiting++;
    fiber_detach(f);
    return f;
}

/* The batch that is on its way; it stays there until it is woken. */
static struct fiber *under_way(struct cx *cx)
{
    while (!the.gate)
        ck_assert_int_eq(fiber_yield(cx), OK);
    struct fiber *f = the.gate;
    the.gate = NULL;
    return f;
}

/* Those who came are not worth a second batch. */
static void none_starts(struct cx *cx)
{
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(fiber_yield(cx), OK);
    ck_assert_ptr_null(the.gate);
}

/* At once, not because the one on its way takes long. */
static void one_starts(struct cx *cx)
{
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(fiber_yield(cx), OK);
    ck_assert_ptr_nonnull(the.gate);
}

static void open_gate(struct cx *cx)
{
    fiber_wake(under_way(cx));
}

static void let_all_end(struct cx *cx)
{
    while (the.waiting > 0)
        ck_assert_int_eq(fiber_yield(cx), OK);
    ck_assert_int_eq(fiber_yield(cx), OK);
}

static void both_end(struct cx *cx, struct fiber *first)
{
    fiber_wake(first);
    open_gate(cx);
    let_all_end(cx);
}

static void begin(size_t max, size_t at_once, size_t worth, bool turns)
{
    memset(&the, 0, sizeof the);
    the.b = batcher_new(&(struct batcher_opts){.name = "batch",
                                               .max = max,
                                               .at_once = at_once,
                                               .worth = worth,
                                               .turns = turns,
                                               .timeout_ms = 10000,
                                               .carry = carry,
                                               .free_item = free_parcel});
}

static rc gathers(struct cx *cx, void *arg)
{
    (void)arg;
    begin(/* max= */ 3, /* at_once= */ 1, /* worth= */ 1, /* turns= */ false);
    spawn(1);
    while (!the.gate)
        ck_assert_int_eq(fiber_yield(cx), OK);
    for (int i = 2; i <= 6; i++)
        spawn(i);
    open_gate(cx);
    open_gate(cx);
    open_gate(cx);
    let_all_end(cx);
    ck_assert_str_eq(the.log, "[1][2 3 4][5 6]");
    ck_assert_int_eq(the.freed, 6);
    batcher_free(the.b);
    return OK;
}

/* Two at once, the second only when it is worth it. */
static rc worth(struct cx *cx, void *arg)
{
    (void)arg;
    begin(8, 2, 3, false);
    spawn(1);
    struct fiber *first = under_way(cx);
    spawn(3);
    spawn(5);
    none_starts(cx); /* two are not */
    spawn(7);
    while (!the.gate)
        ck_assert_int_eq(fiber_yield(cx), OK);
    ck_assert_str_eq(the.log, "[1][3 5 7]");
    both_end(cx, first);
    ck_assert_int_eq(the.freed, 4);
    batcher_free(the.b);
    return OK;
}

static void spawn_odd(int first, int last)
{
    for (int i = first; i <= last; i += 2)
        spawn(i);
}

/* Half of eight leave; the other half leaves when they are back. Who was answered is expected back: of the six that come
 * then, four leave, as if there were seven or eight. */
static rc takes_half(struct cx *cx, void *arg)
{
    (void)arg;
    begin(/* max= */ 8, /* at_once= */ 2, /* worth= */ 1, /* turns= */ true);
    spawn_odd(1, 15);
    struct fiber *first = under_way(cx);
    none_starts(cx);
    both_end(cx, first);
    ck_assert_str_eq(the.log, "[1 3 5 7][9 11 13 15]");
    spawn_odd(21, 31);
    open_gate(cx);
    open_gate(cx);
    let_all_end(cx);
    ck_assert_str_eq(the.log, "[1 3 5 7][9 11 13 15][21 23 25 27][29 31]");
    ck_assert_int_eq(the.freed, 14);
    batcher_free(the.b);
    return OK;
}

/* Four of eight are on their way: seven of eleven are not two thirds; of twelve, eight are, and half of twelve leave. */
static rc two_thirds(struct cx *cx, void *arg)
{
    (void)arg;
    begin(8, 2, 1, true);
    spawn_odd(1, 15);
    struct fiber *first = under_way(cx);
    spawn_odd(17, 21);
    none_starts(cx);
    spawn(23);
    one_starts(cx);
    ck_assert_str_eq(the.log, "[1 3 5 7][9 11 13 15 17 19]");
    fiber_wake(first);
    open_gate(cx);
    open_gate(cx);
    let_all_end(cx);
    ck_assert_str_eq(the.log, "[1 3 5 7][9 11 13 15 17 19][21 23]");
    ck_assert_int_eq(the.freed, 12);
    batcher_free(the.b);
    return OK;
}

/* So few are not divided, and so few are not worth a second batch. */
static rc not_divided(struct cx *cx, void *arg)
{
    (void)arg;
    begin(8, 2, 3, true);
    spawn_odd(1, 7);
    struct fiber *first = under_way(cx);
    none_starts(cx);
    both_end(cx, first);
    ck_assert_str_eq(the.log, "[1 3 5][7]");
    batcher_free(the.b);

    begin(8, 2, 3, true);
    spawn(1);
    first = under_way(cx);
    spawn_odd(3, 5);
    none_starts(cx); /* two of three */
    spawn(7);
    one_starts(cx);
    ck_assert_str_eq(the.log, "[1][3 5 7]");
    both_end(cx, first);
    batcher_free(the.b);
    return OK;
}

/* Half of eight is four, and no more than three fit. */
static rc half_fits(struct cx *cx, void *arg)
{
    (void)arg;
    begin(3, 2, 1, true);
    spawn_odd(1, 15);
    open_gate(cx);
    open_gate(cx);
    open_gate(cx);
    let_all_end(cx);
    ck_assert_str_eq(the.log, "[1 3 5][7 9 11][13 15]");
    batcher_free(the.b);
    return OK;
}

static void alone(struct cx *cx, int number)
{
    spawn(number);
    open_gate(cx);
    let_all_end(cx);
}

/* Of sixteen one is back, and is on its way: five more are not two thirds of those who are expected. When only one comes
 * each time, nobody else is expected any more, and four are divided as four. */
static rc crowd_fades(struct cx *cx, void *arg)
{
    (void)arg;
    begin(16, 2, 1, true);
    spawn_odd(1, 31);
    open_gate(cx);
    open_gate(cx);
    let_all_end(cx);
    spawn(41);
    struct fiber *first = under_way(cx);
    spawn_odd(43, 51);
    none_starts(cx);
    both_end(cx, first);
    ck_assert_str_eq(the.log, "[1 3 5 7 9 11 13 15][17 19 21 23 25 27 29 31][41][43 45 47 49 51]");

    for (int i = 0; i < 40; i++)
        alone(cx, 1);
    the.log[0] = 0;
    spawn_odd(1, 7);
    open_gate(cx);
    open_gate(cx);
    let_all_end(cx);
    ck_assert_str_eq(the.log, "[1 3][5 7]");
    batcher_free(the.b);
    return OK;
}

/* Half of all wait behind a batch that hangs, and nobody else comes: after a while they go without it. */
static rc slow_one(struct cx *cx, void *arg)
{
    (void)arg;
    begin(8, 3, 2, true);
    spawn_odd(1, 15);
    struct fiber *first = under_way(cx);
    int64_t since = clock_mono_ms();
    while (!the.gate)
        ck_assert_int_eq(fiber_sleep(cx, 1), OK);
    ck_assert_int_ge(clock_mono_ms() - since, 90);
    ck_assert_str_eq(the.log, "[1 3 5 7][9 11 13 15]");
    struct fiber *second = under_way(cx);
    spawn(17);
    ck_assert_int_eq(fiber_sleep(cx, 150), OK); /* the time for the third; it is not worth it, */
    none_starts(cx);
    spawn(19); /* and now it is */
    one_starts(cx);
    ck_assert_str_eq(the.log, "[1 3 5 7][9 11 13 15][17 19]");
    struct fiber *third = under_way(cx);
    fiber_wake(third);
    fiber_wake(
        second); /* their callers come back, and the first is still away: fewer than two thirds */
    while (the.waiting > 4)
        ck_assert_int_eq(fiber_yield(cx), OK);
    spawn_odd(31, 35);
    none_starts(cx);
    while (!the.gate)
        ck_assert_int_eq(fiber_sleep(cx, 1), OK);
    ck_assert_str_eq(the.log, "[1 3 5 7][9 11 13 15][17 19][31 33 35]");
    both_end(cx, first);
    ck_assert_int_eq(the.freed, 13);
    batcher_free(the.b);
    return OK;
}

/* The one on its way is nearly back: a whole half may follow it, and less may not. */
static rc nearly_back(struct cx *cx, void *arg)
{
    (void)arg;
    begin(8, 2, 1, true);
    spawn_odd(1, 15);
    struct fiber *first = under_way(cx);
    none_starts(cx);
    batch_nearly_back(the.b);
    one_starts(cx);
    both_end(cx, first);
    ck_assert_str_eq(the.log, "[1 3 5 7][9 11 13 15]");

    spawn(21); /* of seven who are expected */
    first = under_way(cx);
    spawn_odd(23, 27);
    batch_nearly_back(the.b);
    none_starts(cx);
    spawn(29);
    one_starts(cx);
    both_end(cx, first);
    ck_assert_str_eq(the.log, "[1 3 5 7][9 11 13 15][21][23 25 27 29]");
    batcher_free(the.b);
    return OK;
}

/* Who gave up while he waited leaves his item in the list; it is carried, and nobody is held up by it. */
static rc give_up_waiting(struct cx *cx, void *arg)
{
    struct fiber *later[4];

    (void)arg;
    begin(8, 1, 1, true);
    spawn_odd(1, 7);
    for (int i = 0; i < 4; i++)
        later[i] = spawn(9 + 2 * i);
    struct fiber *first = under_way(cx);
    for (int i = 0; i < 4; i++)
        fiber_cancel(later[i]);
    while (the.waiting > 4)
        ck_assert_int_eq(fiber_yield(cx), OK);
    spawn(21);
    fiber_wake(first);
    open_gate(cx);
    open_gate(cx);
    let_all_end(cx);
    ck_assert_str_eq(the.log, "[1 3 5 7]left 9;left 11;left 13;left 15;[9 11 13 15][21]");
    ck_assert_int_eq(the.freed, 9);
    batcher_free(the.b);
    return OK;
}

/* Those who are left when half are on their way hear of the stop at once. */
static rc stops_half(struct cx *cx, void *arg)
{
    (void)arg;
    begin(8, 2, 1, true);
    spawn_odd(1, 15);
    struct fiber *first = under_way(cx);
    batcher_stop(cx, the.b, fail(cx, OVERLOADED, "this process ends"));
    while (the.waiting > 4)
        ck_assert_int_eq(fiber_yield(cx), OK);
    fiber_wake(first);
    let_all_end(cx);
    ck_assert_str_eq(the.log, "[1 3 5 7];;;;");
    ck_assert_int_eq(the.freed, 8);
    batcher_free(the.b);
    return OK;
}

static rc gives_up(struct cx *cx, void *arg)
{
    (void)arg;
    begin(8, 1, 1, false);
    struct fiber *f = spawn(1);
    while (!the.gate)
        ck_assert_int_eq(fiber_yield(cx), OK);
    fiber_cancel(f);
    let_all_end(cx);
    ck_assert_int_eq(the.freed, 0); /* the batch still has it */
    open_gate(cx);
    while (the.freed == 0)
        ck_assert_int_eq(fiber_yield(cx), OK);
    ck_assert_str_eq(the.log, "[1]left 1;");
    batcher_free(the.b);
    return OK;
}

static rc stops(struct cx *cx, void *arg)
{
    (void)arg;
    begin(8, 1, 1, false);
    spawn(1);
    while (!the.gate)
        ck_assert_int_eq(fiber_yield(cx), OK);
    spawn(2);
    ck_assert_int_eq(fiber_yield(cx), OK);
    batcher_stop(cx, the.b, fail(cx, OVERLOADED, "this process ends"));
    ck_assert(batcher_stopped(the.b));
    spawn(4); /* comes too late */
    while (the.waiting > 1)
        ck_assert_int_eq(fiber_yield(cx), OK);
    open_gate(cx); /* the first one goes on */
    let_all_end(cx);
    ck_assert_str_eq(the.log, "[1];;");
    ck_assert_int_eq(the.freed, 3);
    batcher_free(the.b);
    return OK;
}

static const struct {
    const char *title;
    rc (*body)(struct cx *cx, void *arg);
} cases[] = {{"gathers", gathers},
             {"worth", worth},
             {"takes half", takes_half},
             {"two thirds", two_thirds},
             {"not divided", not_divided},
             {"half fits", half_fits},
             {"crowd fades", crowd_fades},
             {"slow one", slow_one},
             {"nearly back", nearly_back},
             {"give up waiting", give_up_waiting},
             {"stops half", stops_half},
             {"gives up", gives_up},
             {"stops", stops}};

START_TEST(each_case)
{
    ck_assert_msg(on_fiber(cases[_i].body, NULL) == OK, "case: %s", cases[_i].title);
}
END_TEST

UNIT(batcher, {"cases", each_case, COUNT(cases)})

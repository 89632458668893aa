/* test_batcher.c - while one batch is on its way the next one gathers; each item has its own outcome; who gives up leaves
 * his item behind; a stop answers those that wait. */
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

static void begin(size_t max, size_t at_once, size_t worth, size_t worth_most)
{
    memset(&the, 0, sizeof the);
    the.b = batcher_new(&(struct batcher_opts){.name = "batch",
                                               .max = max,
                                               .at_once = at_once,
                                               .worth = worth,
                                               .worth_most = worth_most,
                                               .timeout_ms = 10000,
                                               .carry = carry,
                                               .free_item = free_parcel});
}

static rc gathers(struct cx *cx, void *arg)
{
    (void)arg;
    begin(/* max= */ 3, /* at_once= */ 1, /* worth= */ 1, 0);
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
    begin(8, 2, 3, 0);
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

/* With many here the second batch waits for most of them, or for as many as are asked for at most. */
static rc worth_of_many(struct cx *cx, void *arg)
{
    (void)arg;
    begin(8, 2, 1, 2);
    for (int i = 1; i <= 7; i += 2)
        spawn(i);
    struct fiber *first = under_way(cx);
    spawn(9);
    none_starts(cx); /* one of five is not */
    spawn(11);
    while (!the.gate)
        ck_assert_int_eq(fiber_yield(cx), OK);
    ck_assert_str_eq(the.log, "[1 3 5 7][9 11]");
    both_end(cx, first);
    ck_assert_int_eq(the.freed, 6);
    batcher_free(the.b);
    return OK;
}

/* Four are on their way: six of ten are two thirds, five of nine are not. */
static rc worth_of_most(struct cx *cx, void *arg)
{
    (void)arg;
    begin(8, 2, 1, 8);
    for (int i = 1; i <= 7; i += 2)
        spawn(i);
    struct fiber *first = under_way(cx);
    for (int i = 11; i <= 19; i += 2)
        spawn(i);
    none_starts(cx);
    spawn(21);
    while (!the.gate)
        ck_assert_int_eq(fiber_yield(cx), OK);
    ck_assert_str_eq(the.log, "[1 3 5 7][11 13 15 17 19 21]");
    both_end(cx, first);
    ck_assert_int_eq(the.freed, 10);
    batcher_free(the.b);
    return OK;
}

static rc gives_up(struct cx *cx, void *arg)
{
    (void)arg;
    begin(8, 1, 1, 0);
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
    begin(8, 1, 1, 0);
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
             {"worth of many", worth_of_many},
             {"worth of most", worth_of_most},
             {"gives up", gives_up},
             {"stops", stops}};

START_TEST(each_case)
{
    ck_assert_msg(on_fiber(cases[_i].body, NULL) == OK, "case: %s", cases[_i].title);
}
END_TEST

UNIT(batcher, {"cases", each_case, COUNT(cases)})

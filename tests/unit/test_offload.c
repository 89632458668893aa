/* test_offload.c - results come back, the loop goes on meanwhile, and whoever gives up leaks
 * nothing. */
#include "base/clock.h"
#include "rt/offload.h"
#include "tests/support/on_fiber.h"
#include "unit.h"
#include <pthread.h>
#include <unistd.h>

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    int inside, ran, dropped;
} hall = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void double_it(void *arg)
{
    *(int *)arg *= 2;
}

/* Stays on its thread until the hall opens. */
static void stay(void *arg)
{
    pthread_mutex_lock(&hall.lock);
    hall.inside++;
    while (!hall.open)
        pthread_cond_wait(&hall.changed, &hall.lock);
    hall.inside--;
    hall.ran++;
    pthread_mutex_unlock(&hall.lock);
}

static void drop(void *arg)
{
    hall.dropped++;
    free(arg);
}

static void open_hall(void)
{
    pthread_mutex_lock(&hall.lock);
    hall.open = true;
    pthread_cond_broadcast(&hall.changed);
    pthread_mutex_unlock(&hall.lock);
}

static int count(const int *n)
{
    pthread_mutex_lock(&hall.lock);
    int v = *n;
    pthread_mutex_unlock(&hall.lock);
    return v;
}

static rc until_inside(struct cx *cx, int n)
{
    while (count(&hall.inside) < n)
        try(fiber_sleep(cx, 1));
    return OK;
}

static rc work_many(struct cx *cx, void *arg)
{
    int n = *(int *)arg, v = n;

    for (int i = 0; i < 5; i++)
        try(offload_run(cx, double_it, &v, NULL));
    ck_assert_int_eq(v, n * 32);
    return OK;
}

static rc results(struct cx *cx, void *arg)
{
    struct fiber *f[50];
    int n[50];
    rc r;

    for (int i = 0; i < 50; i++) {
        n[i] = i;
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "work"}, work_many, &n[i]);
    }
    for (int i = 0; i < 50; i++) {
        try(fiber_join(cx, f[i], &r));
        ck_assert_int_eq(r, OK);
    }
    offload_free();
    return OK;
}

START_TEST(results_come_back)
{
    ck_assert_int_eq(on_fiber(results, NULL), OK);
}
END_TEST

static rc stay_inside(struct cx *cx, void *arg)
{
    return offload_run(cx, stay, xmalloc(100), drop);
}

static struct fiber *guest(int64_t timeout_ms)
{
    return fiber_spawn(&(struct fiber_opts){.name = "guest", .timeout_ms = timeout_ms}, stay_inside,
                       NULL);
}

/* One thread: the first piece of work has begun, the second waits. */
static rc given_up(struct cx *cx, void *arg)
{
    struct fiber *begun, *waiting;
    rc r;

    cx_deadline_within(cx, 10000);
    offload_init(1, 1);
    begun = guest(30);
    try(until_inside(cx, 1)); /* the loop goes on while the thread is busy */
    waiting = guest(0);
    try(fiber_yield(cx));
    ck_assert_int_eq(offload_run(cx, stay, NULL, NULL), E_OVERLOADED);
    fiber_cancel(waiting);
    try(fiber_join(cx, waiting, &r));
    ck_assert_int_eq(r, E_CANCELLED);
    ck_assert_int_eq(hall.dropped, 1); /* not begun: dropped at once */
    try(fiber_join(cx, begun, &r));
    ck_assert_int_eq(r, E_DEADLINE);
    ck_assert_int_eq(hall.dropped, 1); /* begun: it is still the thread's */
    open_hall();
    while (hall.dropped < 2)
        try(fiber_sleep(cx, 1));
    ck_assert_int_eq(count(&hall.ran), 1);
    offload_free();
    return OK;
}

START_TEST(giving_up_leaks_nothing)
{
    ck_assert_int_eq(on_fiber(given_up, NULL), OK);
}
END_TEST

/* Cancelled after fn returned and before the fiber ran: arg must be dropped by offload_run itself.
 */
static rc cancelled_when_done(struct cx *cx, void *arg)
{
    struct fiber *f;
    rc r;

    offload_init(1, 1);
    f = guest(0);
    try(until_inside(cx, 1));
    open_hall();
    while (count(&hall.ran) < 1)
        usleep(100); /* the loop stands: the bell is not heard before the cancel */
    fiber_cancel(f);
    try(fiber_join(cx, f, &r));
    ck_assert_int_eq(r, E_CANCELLED);
    while (hall.dropped < 1)
        try(fiber_sleep(cx, 1));
    offload_free();
    return OK;
}

START_TEST(a_late_result_is_dropped)
{
    ck_assert_int_eq(on_fiber(cancelled_when_done, NULL), OK);
}
END_TEST

static rc freed_while_running(struct cx *cx, void *arg)
{
    struct fiber *f;

    offload_init(2, 8);
    f = guest(0);
    try(until_inside(cx, 1));
    fiber_cancel(f);
    try(fiber_join(cx, f, NULL));
    open_hall();
    offload_free(); /* waits for the work and drops it */
    ck_assert_int_eq(hall.ran, 1);
    ck_assert_int_eq(hall.dropped, 1);
    return OK;
}

START_TEST(free_waits_for_running_work)
{
    ck_assert_int_eq(on_fiber(freed_while_running, NULL), OK);
}
END_TEST

UNIT(offload, {"results", results_come_back}, {"give up", giving_up_leaks_nothing},
     {"late", a_late_result_is_dropped}, {"free", free_waits_for_running_work})

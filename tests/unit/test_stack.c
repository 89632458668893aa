/* test_stack.c - overflow hits the guard, ten thousand fit, and stacks are used again. */
#include "base/clock.h"
#include "base/json.h"
#include "tests/support/memory.h"
#include "tests/support/on_fiber.h"
#include "unit.h"
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static struct fiber *spawn(const char *name, fiber_fn fn, void *arg)
{
    return fiber_spawn(&(struct fiber_opts){.name = name}, fn, arg);
}

static rc nothing(struct cx *cx, void *arg)
{
    return OK;
}

static rc sleep_for_ever(struct cx *cx, void *arg)
{
    return fiber_sleep(cx, INT64_C(1) << 40);
}

static __attribute__((noinline)) int dig(int depth)
{
    volatile char hole[512];

    hole[0] = (char)depth;
    return depth == 0 ? 0 : dig(depth - 1) + hole[0];
}

static rc overflow(struct cx *cx, void *arg)
{
    return dig(1 << 20) ? OK : OK;
}

static rc run_into_the_guard(struct cx *cx, void *arg)
{
    return fiber_join(cx, spawn("deep.task", overflow, NULL), NULL);
}

START_TEST(overflow_dies_by_name)
{
    int fds[2], status;
    char text[4096] = "";
    size_t n = 0;
    ssize_t got;

    ck_assert_int_eq(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(fds[1], STDERR_FILENO);
        on_fiber(run_into_the_guard, NULL);
        _exit(0);
    }
    close(fds[1]);
    while (n < sizeof text - 1 && (got = read(fds[0], text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    close(fds[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(strstr(text, "stack overflow in fiber deep.task"), "stderr: %s", text);
    if (SANITIZED) /* its handler comes after ours, reports and exits */
        ck_assert(!(WIFEXITED(status) && WEXITSTATUS(status) == 0));
    else
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}
END_TEST

static rc use_large_stack(struct cx *cx, void *arg)
{
    return dig(600) ? OK : OK; /* over 300 KiB of frames */
}

static rc large_stack(struct cx *cx, void *arg)
{
    rc r;

    try(fiber_join(cx,
                   fiber_spawn(&(struct fiber_opts){.name = "large", .stack_bytes = MiB(1)},
                               use_large_stack, NULL),
                   &r));
    return r;
}

START_TEST(a_larger_stack_can_be_asked_for)
{
    ck_assert_int_eq(on_fiber(large_stack, NULL), OK);
}
END_TEST

/* The parser, the printer and the deleter recurse: the deepest text that is let in must fit. */
static rc deepest_json(struct cx *cx, void *arg)
{
    char text[JSON_DEPTH * 5 + 1 + JSON_DEPTH + 1], *p = text;
    cJSON *v;

    for (int i = 0; i < JSON_DEPTH; i++)
        p = stpcpy(p, "{\"a\":");
    p = stpcpy(p, "1");
    for (int i = 0; i < JSON_DEPTH; i++)
        p = stpcpy(p, "}");
    try(json_parse(cx, text, strlen(text), KiB(4), &v));
    ck_assert_str_eq(json_print(cx, v), text);
    return OK; /* the arena deletes it on this stack */
}

START_TEST(json_at_its_limit_fits)
{
    ck_assert_int_eq(on_fiber(deepest_json, NULL), OK);
}
END_TEST

enum { CROWD = 10000 };

static rc ten_thousand(struct cx *cx, void *arg)
{
    _cleanup_(freep) struct fiber **f = xcalloc(CROWD, sizeof *f);
    long before = resident_kib();
    rc r;

    for (int i = 0; i < CROWD; i++)
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "crowd", .timeout_ms = 60000 + i},
                           sleep_for_ever, NULL);
    try(fiber_sleep(cx, 1));
    ck_assert_uint_eq(fiber_count(), CROWD + 1);
    long taken = resident_kib() - before;
    if (!SANITIZED) /* shadow memory and larger frames would be measured there */
        ck_assert_int_lt(taken, 200 * 1024);
    fprintf(stderr, "%d parked fibers: %ld KiB resident\n", CROWD, taken);
    int64_t start = clock_mono_ms();
    fiber_cancel_all();
    cx->cancelled = false;
    for (int i = 0; i < CROWD; i++) {
        try(fiber_join(cx, f[i], &r));
        ck_assert_int_eq(r, E_CANCELLED);
    }
    ck_assert_int_lt(clock_mono_ms() - start, 20000);
    ck_assert_uint_eq(fiber_count(), 1);
    return OK;
}

START_TEST(ten_thousand_parked)
{
    ck_assert_int_eq(on_fiber(ten_thousand, NULL), OK);
}
END_TEST

static rc many(struct cx *cx, void *arg)
{
    rc r;

    for (int i = 0; i < (SANITIZED ? 5000 : 100000); i++) {
        try(fiber_join(cx, spawn("short", nothing, NULL), &r));
        ck_assert_int_eq(r, OK);
    }
    long before = resident_kib();
    for (int i = 0; i < (SANITIZED ? 5000 : 100000); i++)
        try(fiber_join(cx, spawn("short", nothing, NULL), &r));
    if (!SANITIZED)
        ck_assert_int_lt(resident_kib() - before, 1024); /* stacks and structs are used again */
    return OK;
}

START_TEST(spawn_and_join_many)
{
    ck_assert_int_eq(on_fiber(many, NULL), OK);
}
END_TEST

UNIT(stack, {"overflow", overflow_dies_by_name}, {"large", a_larger_stack_can_be_asked_for},
     {"json", json_at_its_limit_fits}, {"crowd", ten_thousand_parked},
     {"churn", spawn_and_join_many})

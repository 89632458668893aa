/* test_supervisor.c - real forks: start, restart, drain, kill, and a parent that is gone.
 *
 *      test --fork--> supervisor --fork--> children
 *        ^------------- "<what> <index> <pid>\n" -----'
 *
 * Every process writes what happens to one pipe; its end of file means that all of them are gone. */
#include "base/clock.h"
#include "base/log.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "rt/supervisor.h"
#include "unit.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int tell[2];

static void say(const char *what, int index)
{
    char line[64];
    int n = snprintf(line, sizeof line, "%s %d %d\n", what, index, getpid());

    if (write(tell[1], line, (size_t)n) != n)
        abort();
}

/* --- children --- */

static void stop(void *arg)
{
    say("stop", *(int *)arg);
    fiber_cancel_all();
    loop_stop();
}

static void reload(void *arg)
{
    say("reload", *(int *)arg);
}

static rc serve(struct cx *cx, void *arg)
{
    return fiber_sleep(cx, 3600000);
}

static int good_child(int index, void *arg)
{
    struct cx cx = CX_PLAIN("child");

    if (loop_init(&cx) != OK)
        return 1;
    child_signals(stop, reload, &index);
    child_raise_files(64);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "serving"}, serve, NULL));
    say("up", index);
    loop_run();
    loop_free();
    say("down", index);
    return 0;
}

/* Says that it is up before its supervisor hears so. */
static int early_child(int index, void *arg)
{
    struct cx cx = CX_PLAIN("child");

    if (loop_init(&cx) != OK)
        return 1;
    say("up", index);
    child_signals(stop, reload, &index);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "serving"}, serve, NULL));
    loop_run();
    loop_free();
    say("down", index);
    return 0;
}

static rc once_weary(struct cx *cx, void *arg)
{
    child_weary("test", 1);
    child_weary("test", 1);
    return fiber_sleep(cx, 3600000);
}

/* Works until it is told to go; the first one wishes to be replaced. */
static int weary_child(int index, void *arg)
{
    struct cx cx = CX_PLAIN("child");

    if (loop_init(&cx) != OK)
        return 1;
    say("up", index);
    child_signals(stop, reload, &index);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "serving"},
                             index == 0 ? once_weary : serve, NULL));
    loop_run();
    loop_free();
    say("down", index);
    return 0;
}

static __attribute__((noreturn)) rc block(struct cx *cx, void *arg)
{
    for (;;)
        pause();
}

static int blocked_child(int index, void *arg)
{
    struct cx cx = CX_PLAIN("child");

    if (loop_init(&cx) != OK)
        return 1;
    child_signals(stop, reload, &index);
    say("up", index);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "serving"}, block, NULL));
    loop_run();
    return 0;
}

/* Beats, and never does what it is there for. */
static int idle_child(int index, void *arg)
{
    struct cx cx = CX_PLAIN("child");

    if (loop_init(&cx) != OK)
        return 1;
    say("up", index);
    child_signals(stop, reload, &index);
    child_working(true);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "serving"}, serve, NULL));
    loop_run();
    loop_free();
    say("down", index);
    return 0;
}

static int failing_child(int index, void *arg)
{
    say("up", index);
    return 3;
}

static __attribute__((noreturn)) int stubborn_child(int index, void *arg)
{
    signal(SIGTERM, SIG_IGN);
    say("up", index);
    for (;;)
        pause();
}

static void on_exit_told(int index, const struct obituary *o, void *arg)
{
    if (o->stuck == STUCK_LOOP && strstr(o->lines, "ev=loop.stuck err=\"fiber serving does not"))
        say("stuck", index);
    else if (o->stuck == STUCK_FROZEN)
        say("frozen", index);
    say(WIFSIGNALED(o->status)        ? "killed"
        : WEXITSTATUS(o->status) == 0 ? "clean"
                                      : "failed",
        index);
}

/* --- the test's side --- */

static enum reload replace_all(void *arg)
{
    return RELOAD_REPLACE;
}

static pid_t start_watched(int children, int (*child_main)(int, void *), int64_t grace_ms,
                           bool spares, int64_t stuck_ms)
{
    const struct supervisor_opts o = {.name = "test",
                                      .children = children,
                                      .spares = spares,
                                      .stuck_ms = stuck_ms,
                                      .on_reload = spares ? replace_all : NULL,
                                      .grace_ms = grace_ms,
                                      .child_main = child_main,
                                      .on_exit = on_exit_told};

    ck_assert_int_eq(pipe(tell), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(tell[0]);
        signal(SIGTERM, SIG_DFL); /* Check's own handlers would pass them on to the test */
        signal(SIGINT, SIG_DFL);
        log_setup(NULL, LOG_ERROR, LOG_LOGFMT);
        exit(supervisor_run(&o));
    }
    close(tell[1]);
    return pid;
}

static pid_t start(int children, int (*child_main)(int, void *), int64_t grace_ms)
{
    return start_watched(children, child_main, grace_ms, /* spares= */ false, /* stuck_ms= */ 0);
}

/* The next line that begins with `what` (others are passed over); its pid. 0 at the end of file. */
static pid_t hear(const char *what, int *ret_index)
{
    for (;;) {
        char line[64], word[32];
        size_t n = 0;
        int pid, index;
        do {
            struct pollfd p = {.fd = tell[0], .events = POLLIN};
            ck_assert_msg(poll(&p, 1, 15000) == 1, "nobody said '%s'", what);
            if (read(tell[0], line + n, 1) != 1)
                return 0;
        } while (line[n++] != '\n' && n < sizeof line - 1);
        line[n] = 0;
        ck_assert_int_eq(sscanf(line, "%31s %d %d", word, &index, &pid), 3);
        if (strcmp(word, what) == 0) {
            if (ret_index)
                *ret_index = index;
            return pid;
        }
    }
}

static int end_status(pid_t pid)
{
    int status;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

START_TEST(drains_on_term)
{
    static const int signals[] = {SIGTERM, SIGINT};
    pid_t pid = start(3, good_child, 10000);
    int seen = 0, index;

    for (int i = 0; i < 3; i++) {
        ck_assert_int_gt(hear("up", &index), 0);
        seen |= 1 << index;
    }
    ck_assert_int_eq(seen, 7);
    kill(pid, signals[_i]);
    kill(pid, signals[_i]); /* twice changes nothing */
    for (int i = 0; i < 3; i++)
        ck_assert_int_gt(hear("down", NULL), 0);
    ck_assert_int_eq(hear("failed", NULL), 0);
    ck_assert_int_eq(end_status(pid), 0);
}
END_TEST

START_TEST(restarts_what_died)
{
    pid_t pid = start(2, good_child, 10000);
    int index, again;
    pid_t first = hear("up", &index);

    ck_assert_int_gt(hear("up", NULL), 0);
    int64_t at = clock_mono_ms();
    kill(first, SIGKILL);
    ck_assert_int_eq(hear("killed", &again), pid); /* on_exit runs in the parent */
    ck_assert_int_eq(again, index);
    pid_t second = hear("up", &again);
    ck_assert_int_eq(again, index);
    ck_assert_int_ne(second, first);
    ck_assert_int_ge(clock_mono_ms() - at, 100);
    kill(pid, SIGTERM);
    ck_assert_int_eq(end_status(pid), 0);
}
END_TEST

START_TEST(backs_off)
{
    pid_t pid = start(1, failing_child, 1000);
    int64_t last = 0, gap = 0;

    for (int i = 0; i < 4; i++) {
        ck_assert_int_gt(hear("up", NULL), 0);
        int64_t now = clock_mono_ms();
        if (i) {
            ck_assert_int_ge(now - last,
                             99 << (i - 1)); /* 100, 200, 400 ms; the pipe may be read 1 ms late */
            gap = now - last;
        }
        last = now;
    }
    ck_assert_int_lt(gap, 5000);
    kill(pid, SIGTERM); /* no child is up, or it ends by itself with 3 */
    int status = end_status(pid);
    ck_assert(status == 0 || status == 1);
}
END_TEST

static const struct {
    const char *title;
    int64_t last, alive, want;
} delays[] = {
    {"the first death", 0, 5, 100},       {"the second", 100, 5, 200},
    {"the seventh", 3200, 5, 6400},       {"the ceiling", 6400, 5, 10000},
    {"stays there", 10000, 59999, 10000}, {"was steady for a minute", 10000, 60000, 100},
};

START_TEST(delay_doubles)
{
    ck_assert_msg(supervisor_delay_ms(delays[_i].last, delays[_i].alive) == delays[_i].want,
                  "case: %s", delays[_i].title);
}
END_TEST

START_TEST(kills_after_grace)
{
    int64_t start_ms = clock_mono_ms();
    pid_t pid = start(2, stubborn_child, 200);

    ck_assert_int_gt(hear("up", NULL), 0);
    ck_assert_int_gt(hear("up", NULL), 0);
    kill(pid, SIGTERM);
    ck_assert_int_eq(hear("killed", NULL), pid);
    ck_assert_int_ge(clock_mono_ms() - start_ms, 200);
    ck_assert_int_eq(hear("killed", NULL), pid);
    ck_assert_int_eq(end_status(pid), 1);
}
END_TEST

START_TEST(children_follow_their_parent)
{
    pid_t pid = start(2, good_child, 10000);

    ck_assert_int_gt(hear("up", NULL), 0);
    ck_assert_int_gt(hear("up", NULL), 0);
    kill(pid, SIGKILL);
    ck_assert_int_eq(end_status(pid), 128 + SIGKILL);
    ck_assert_int_gt(hear("down", NULL), 0); /* drained, not shot */
    ck_assert_int_gt(hear("down", NULL), 0);
    ck_assert_int_eq(hear("up", NULL), 0); /* end of file: nobody is left */
}
END_TEST

START_TEST(passes_hup_on)
{
    pid_t pid = start(2, good_child, 10000);

    ck_assert_int_gt(hear("up", NULL), 0);
    ck_assert_int_gt(hear("up", NULL), 0);
    kill(pid, SIGHUP);
    ck_assert_int_gt(hear("reload", NULL), 0);
    ck_assert_int_gt(hear("reload", NULL), 0);
    kill(pid, SIGQUIT); /* a dump, not a death */
    kill(pid, SIGTERM);
    ck_assert_int_gt(hear("down", NULL), 0);
    ck_assert_int_gt(hear("down", NULL), 0);
    ck_assert_int_eq(end_status(pid), 0);
}
END_TEST

/* What is said next, whatever it is. */
static const char *next_word(int *ret_index, pid_t *ret_pid)
{
    static char word[32];
    char line[64] = "";
    size_t n = 0;

    while (n == 0 || line[n - 1] != '\n') {
        struct pollfd p = {.fd = tell[0], .events = POLLIN};
        ck_assert_msg(poll(&p, 1, 15000) == 1, "nobody said anything");
        if (read(tell[0], line + n, 1) != 1)
            return "";
        n++;
    }
    ck_assert_int_eq(sscanf(line, "%31s %d %d", word, ret_index, ret_pid), 3);
    return word;
}

/* Its successor is up before it is told to go, and nobody is restarted in its place. */
START_TEST(a_weary_child_is_replaced)
{
    pid_t pid = start_watched(1, weary_child, 10000, /* spares= */ true, 0), who;
    static const struct {
        const char *word;
        int index;
    } story[] = {{"up", 0}, {"up", 1}, {"stop", 0}, {"down", 0}, {"clean", 0}};
    int index;

    for (size_t i = 0; i < COUNT(story); i++) {
        ck_assert_str_eq(next_word(&index, &who), story[i].word);
        ck_assert_int_eq(index, story[i].index);
    }
    kill(pid, SIGTERM);
    ck_assert_str_eq(next_word(&index, &who), "stop");
    ck_assert_int_eq(index, 1);
    ck_assert_int_eq(end_status(pid), 0);
}
END_TEST

/* One after the other, each behind its successor: two are up at every moment. */
START_TEST(a_reload_replaces_all)
{
    pid_t pid = start_watched(2, early_child, 10000, /* spares= */ true, 0), who;
    int index, up = 0, down = 0;

    ck_assert_int_gt(hear("up", NULL), 0);
    ck_assert_int_gt(hear("up", NULL), 0);
    kill(pid, SIGHUP);
    while (down < 2) {
        const char *word = next_word(&index, &who);
        up += strcmp(word, "up") == 0;
        down += strcmp(word, "down") == 0;
        ck_assert_int_ge(up, down);
    }
    ck_assert_int_eq(up, 2);
    kill(pid, SIGTERM);
    ck_assert_int_eq(end_status(pid), 0);
}
END_TEST

START_TEST(a_blocked_loop_is_ended)
{
    pid_t pid = start_watched(1, blocked_child, 10000, _i == 1, 400);
    pid_t first = hear("up", NULL);

    ck_assert_int_eq(hear("stuck", NULL), pid);
    ck_assert_int_eq(hear("killed", NULL), pid);
    ck_assert_int_ne(hear("up", NULL), first);
    kill(pid, SIGKILL);
    end_status(pid);
}
END_TEST

START_TEST(a_frozen_one_is_killed)
{
    pid_t pid = start_watched(1, good_child, 10000, /* spares= */ true, 1000);
    pid_t first = hear("up", NULL);

    kill(first, SIGSTOP);
    ck_assert_int_eq(hear("frozen", NULL), pid);
    ck_assert_int_ne(hear("up", NULL), first);
    kill(pid, SIGTERM);
    ck_assert_int_eq(end_status(pid), 0);
}
END_TEST

/* Whoever takes no work may finish what it has. */
START_TEST(an_idle_one_is_replaced)
{
    pid_t pid = start_watched(1, idle_child, 10000, /* spares= */ true, 1000), who;
    int index;

    ck_assert_str_eq(next_word(&index, &who), "up");
    ck_assert_str_eq(next_word(&index, &who), "up");
    ck_assert_str_eq(next_word(&index, &who), "stop");
    ck_assert_int_eq(index, 0);
    kill(pid, SIGTERM);
    ck_assert_int_eq(end_status(pid), 0);
}
END_TEST

/* A child that beats and is not asked to work is left alone. */
START_TEST(a_well_child_is_left_alone)
{
    pid_t pid = start_watched(1, good_child, 10000, /* spares= */ true, 1000), who;
    int index;

    ck_assert_str_eq(next_word(&index, &who), "up");
    struct pollfd p = {.fd = tell[0], .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, 2500), 0);
    kill(pid, SIGTERM);
    ck_assert_str_eq(next_word(&index, &who), "stop");
    ck_assert_int_eq(end_status(pid), 0);
}
END_TEST

static rc quit_myself(struct cx *cx, void *arg)
{
    kill(getpid(), SIGQUIT);
    try(fiber_sleep(cx, 10));
    kill(getpid(), SIGTERM);
    return fiber_park(cx);
}

START_TEST(quit_dumps_fibers)
{
    struct cx cx = CX_PLAIN("test");
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    int index = 0;

    ck_assert_int_eq(pipe(tell), 0);
    log_setup(out, LOG_INFO, LOG_LOGFMT);
    ck_assert_int_eq(loop_init(&cx), OK);
    child_signals(stop, NULL, &index);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "order.check"}, quit_myself, NULL));
    loop_run();
    loop_free();
    log_setup(NULL, LOG_INFO, LOG_LOGFMT);
    fclose(out);
    ck_assert_ptr_nonnull(strstr(text, "name=order.check state=sleeping in=quit_myself"));
    free(text);
}
END_TEST

static int in_process(int index, void *arg)
{
    *(pid_t *)arg = getpid();
    return 7;
}

START_TEST(no_children_runs_here)
{
    pid_t ran = 0;
    const struct supervisor_opts o = {.name = "test", .child_main = in_process, .arg = &ran};

    ck_assert_int_eq(supervisor_run(&o), 7);
    ck_assert_int_eq(ran, getpid());
}
END_TEST

START_TEST(files_are_raised)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    struct rlimit l = {.rlim_cur = 64, .rlim_max = 128};

    log_setup(out, LOG_INFO, LOG_LOGFMT);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
    child_raise_files(100);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &l), 0);
    ck_assert_uint_eq(l.rlim_cur, 128);
    fflush(out);
    ck_assert_uint_eq(n, 0);
    child_raise_files(1000);
    log_setup(NULL, LOG_INFO, LOG_LOGFMT);
    fclose(out);
    ck_assert_ptr_nonnull(strstr(text, "ev=files.limit have=128 need=1000"));
    free(text);
}
END_TEST

UNIT(supervisor, {"drain", drains_on_term, 2}, {"restart", restarts_what_died},
     {"back off", backs_off}, {"delay", delay_doubles, COUNT(delays)}, {"kill", kills_after_grace},
     {"parent gone", children_follow_their_parent}, {"reload", passes_hup_on},
     {"quit", quit_dumps_fibers}, {"in process", no_children_runs_here},
     {"files", files_are_raised}, {"weary", a_weary_child_is_replaced},
     {"reload replaces", a_reload_replaces_all}, {"blocked", a_blocked_loop_is_ended, 2},
     {"frozen", a_frozen_one_is_killed}, {"idle", an_idle_one_is_replaced},
     {"well", a_well_child_is_left_alone})

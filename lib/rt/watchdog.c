/* watchdog.c - see watchdog.h. */
#include "rt/watchdog.h"
#include "base/log.h"
#include "rt/stack.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    timer_t timer;
    bool running;
    int64_t cpu_ms;
} dog;

/* Signal handler: only async-signal-safe calls. */
static void bite(int sig)
{
    const char *name = stack_running_name();

    log_raw("lvl=fatal ev=loop.stuck err=\"fiber ");
    log_raw(name ? name : "(none)");
    log_raw(" computes without a pause\"\n");
    signal(sig, SIG_DFL);
    raise(sig);
}

static void set(int64_t ms)
{
    const struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000}};

    timer_settime(dog.timer, 0, &at, NULL); /* fails for a bad timer only */
}

rc watchdog_start(struct cx *cx, int64_t cpu_ms)
{
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGXCPU};
    struct sigaction act = {.sa_handler = bite, .sa_flags = SA_ONSTACK};

    sigemptyset(&act.sa_mask);
    if (sigaction(SIGXCPU, &act, NULL) != 0 ||
        timer_create(CLOCK_THREAD_CPUTIME_ID, &ev, &dog.timer) != 0)
        return fail(cx, INTERNAL, "no timer for the watchdog: %s", strerror(errno));
    dog.running = true;
    dog.cpu_ms = cpu_ms;
    set(cpu_ms);
    return OK;
}

void watchdog_feed(void)
{
    if (dog.running)
        set(dog.cpu_ms);
}

void watchdog_stop(void)
{
    if (dog.running)
        timer_delete(dog.timer);
    dog.running = false;
}

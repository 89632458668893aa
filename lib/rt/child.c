/* child.c - the child's side of a supervisor: signals, heartbeat, wishes. */
#include "rt/child.h"
#include "base/log.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "rt/stack.h"
#include "rt/supervisor.h"
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static struct {
    struct child_link link;
    struct event term, intr, hup, quit, beat;
    void (*on_stop)(void *);
    void (*on_reload)(void *);
    void *arg;
    bool stopped;
} mine;

void child_linked(const struct child_link *link)
{
    mine.link = *link;
    log_keep(link->vitals ? &link->vitals->ring : NULL);
}

/* ---------------------------------------------------------------- signals */

static void child_on_signal(evutil_socket_t sig, short what, void *arg)
{
    (void)what;
    (void)arg;
    if (sig == SIGQUIT) {
        fiber_dump();
    } else if (sig == SIGHUP) {
        if (mine.on_reload)
            mine.on_reload(mine.arg);
    } else if (!mine.stopped) {
        mine.stopped = true;
        child_working(false);
        mine.on_stop(mine.arg);
    }
}

/* Signal handler: only async-signal-safe calls. Death follows: abort() raises the signal again, and for one that was
 * sent we do. */
static void on_abort(int sig, siginfo_t *info, void *context)
{
    const char *name = stack_running_name();
    bool sent = info->si_code <= 0 && info->si_pid != getpid();

    (void)context;
    log_raw(sent ? "lvl=fatal ev=loop.stuck err=\"fiber "
                 : "lvl=fatal ev=child.aborted err=\"fiber ");
    log_raw(name ? name : "(none)");
    log_raw(sent ? " does not come back to the loop\"\n" : " aborted\"\n");
    if (sent)
        fiber_dump_raw();
    signal(sig, SIG_DFL);
    if (sent)
        raise(sig);
}

static void watch_abort(void)
{
    struct sigaction act = {.sa_sigaction = on_abort, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigemptyset(&act.sa_mask);
    sigaction(SIGABRT, &act, NULL);
}

/* ---------------------------------------------------------------- heartbeat */

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    atomic_fetch_add_explicit(&mine.link.vitals->beats, 1, memory_order_relaxed);
}

static void tell_parent(void)
{
    if (getppid() == mine.link.parent)
        kill(mine.link.parent, SIGUSR1);
}

static void begin_beating(void)
{
    const struct timeval every = {mine.link.beat_every_ms / 1000,
                                  mine.link.beat_every_ms % 1000 * 1000};

    if (!mine.link.vitals)
        return;
    if (mine.link.beat_every_ms > 0) {
        event_assign(&mine.beat, loop_base(), -1, EV_PERSIST, on_beat, NULL);
        event_add(&mine.beat, &every);
    }
    atomic_store(&mine.link.vitals->ready, true);
    tell_parent();
}

void child_signals(void (*on_stop)(void *), void (*on_reload)(void *), void *arg)
{
    struct event *const events[] = {&mine.term, &mine.intr, &mine.hup, &mine.quit};
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
    sigset_t hup;

    mine.on_stop = on_stop;
    mine.on_reload = on_reload;
    mine.arg = arg;
    mine.stopped = false;
    for (size_t i = 0; i < COUNT(signals); i++) {
        evsignal_assign(events[i], loop_base(), signals[i], child_on_signal, NULL);
        if (evsignal_add(events[i], NULL) != 0)
            abort(); /* a process that cannot be stopped must not begin */
    }
    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    sigprocmask(SIG_UNBLOCK, &hup, NULL);
    watch_abort();
    begin_beating();
}

/* ---------------------------------------------------------------- wishes */

void child_working(bool working)
{
    if (mine.link.vitals)
        atomic_store_explicit(&mine.link.vitals->working, working, memory_order_relaxed);
}

void child_turn(void)
{
    if (mine.link.vitals)
        atomic_fetch_add_explicit(&mine.link.vitals->turns, 1, memory_order_relaxed);
}

void child_weary(const char *why, int64_t amount)
{
    if (!mine.link.replaceable || atomic_exchange(&mine.link.vitals->weary, true))
        return;
    log_ev(LOG_INFO, "child.weary", kv_str("why", why), kv_int("amount", amount));
    tell_parent();
}

void child_raise_files(long need)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) != 0)
        return;
    if (l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
        getrlimit(RLIMIT_NOFILE, &l);
    }
    if (l.rlim_cur != RLIM_INFINITY && (int64_t)l.rlim_cur < need)
        log_ev(LOG_WARN, "files.limit", kv_int("have", (int64_t)l.rlim_cur), kv_int("need", need),
               kv_str("hint", "raise the hard limit of open files (ulimit -Hn, LimitNOFILE=)"));
}

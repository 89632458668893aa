/* supervisor.c - the parent: forks, watches, restarts, drains. It has no loop and no fibers, only
 * sigtimedwait().
 *
 *      slot: [down, due at T] --fork--> [up, pid] --died--> [down, due now + delay]
 *                                         `--stopping: TERM, after grace KILL--> [down for good]
 *
 * Signals are blocked in the parent and taken one at a time, so nothing happens inside a handler. A
 * child gets its mask back before child_main runs, save SIGHUP, which waits until it knows what to reload. */
#include "rt/supervisor.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DELAY_FIRST_MS 100
#define DELAY_MAX_MS   10000
#define STEADY_MS      60000

struct slot {
    pid_t pid; /* 0: down */
    int64_t started_mono_ms, due_mono_ms, delay_ms;
};

struct supervisor {
    const struct supervisor_opts *o;
    struct slot *slots;
    sigset_t watched, old_mask;
    bool stopping, killed;
    int64_t kill_mono_ms;
    int status; /* of the program */
};

int64_t supervisor_delay_ms(int64_t last_delay_ms, int64_t alive_ms)
{
    if (last_delay_ms == 0 || alive_ms >= STEADY_MS)
        return DELAY_FIRST_MS;
    return MIN(last_delay_ms * 2, DELAY_MAX_MS);
}

static void child_begin(struct supervisor *s, int index, pid_t parent)
{
    /* The kernel sends TERM when the parent dies; if it died already, nobody will. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    sigset_t mask = s->old_mask;
    sigaddset(&mask, SIGHUP); /* waits for child_signals: by itself it would end us */
    sigprocmask(SIG_SETMASK, &mask, NULL);
    int (*child_main)(int, void *) = s->o->child_main;
    void *arg = s->o->arg;
    free(s->slots);
    exit(child_main(index, arg));
}

static void start(struct supervisor *s, int index)
{
    struct slot *c = &s->slots[index];
    pid_t parent = getpid();

    fflush(NULL); /* what stands in a buffer would be written twice */
    pid_t pid = fork();
    c->started_mono_ms = clock_mono_ms();
    if (pid == 0)
        child_begin(s, index, parent);
    if (pid < 0) {
        c->delay_ms = supervisor_delay_ms(c->delay_ms, 0);
        c->due_mono_ms = c->started_mono_ms + c->delay_ms;
        log_ev(LOG_ERROR, "child.fork_failed", kv_int("index", index),
               kv_str("err", strerror(errno)), kv_int("retry_in_ms", c->delay_ms));
        return;
    }
    c->pid = pid;
    log_ev(LOG_INFO, "child.started", kv_int("index", index), kv_int("child", pid));
}

static void ended(struct supervisor *s, int index, int status)
{
    struct slot *c = &s->slots[index];
    int64_t now = clock_mono_ms(), alive = now - c->started_mono_ms;
    struct kv how = WIFSIGNALED(status) ? kv_int("signal", WTERMSIG(status))
                                        : kv_int("status", WEXITSTATUS(status));
    pid_t pid = c->pid;

    c->pid = 0;
    if (s->o->on_exit)
        s->o->on_exit(index, status, s->o->arg);
    if (s->stopping) {
        /* TERM before the child had its handlers up is a clean end too: nothing had begun. */
        bool clean = WIFSIGNALED(status) ? WTERMSIG(status) == SIGTERM : WEXITSTATUS(status) == 0;
        if (!clean)
            s->status = EXIT_FAILURE;
        log_ev(clean ? LOG_INFO : LOG_ERROR, "child.ended", kv_int("index", index),
               kv_int("child", pid), how);
        return;
    }
    c->delay_ms = supervisor_delay_ms(c->delay_ms, alive);
    int64_t wait = c->delay_ms + (int64_t)random_below((uint64_t)c->delay_ms / 4 + 1);
    c->due_mono_ms = now + wait;
    log_ev(LOG_ERROR, "child.died", kv_int("index", index), kv_int("child", pid), how,
           kv_int("alive_ms", alive), kv_int("restart_in_ms", wait));
}

static void reap(struct supervisor *s)
{
    for (int i = 0; i < s->o->children; i++) {
        int status;
        if (s->slots[i].pid && waitpid(s->slots[i].pid, &status, WNOHANG) == s->slots[i].pid)
            ended(s, i, status);
    }
}

static void signal_all(struct supervisor *s, int sig)
{
    for (int i = 0; i < s->o->children; i++) {
        if (s->slots[i].pid)
            kill(s->slots[i].pid, sig);
    }
}

static int living(const struct supervisor *s)
{
    int n = 0;

    for (int i = 0; i < s->o->children; i++)
        n += s->slots[i].pid != 0;
    return n;
}

/* Starts and kills what is due. Returns how long to wait for a signal: -1 for ever. */
static int64_t keep_time(struct supervisor *s)
{
    int64_t now = clock_mono_ms(), next = INT64_MAX;

    if (s->stopping && !s->killed && now >= s->kill_mono_ms) {
        log_ev(LOG_ERROR, "supervisor.kill", kv_int("children", living(s)),
               kv_int("grace_ms", s->o->grace_ms));
        signal_all(s, SIGKILL);
        s->killed = true;
        s->status = EXIT_FAILURE;
    }
    if (s->stopping)
        return s->killed ? -1 : s->kill_mono_ms - now;
    for (int i = 0; i < s->o->children; i++) {
        struct slot *c = &s->slots[i];
        if (!c->pid && c->due_mono_ms <= now)
            start(s, i);
        if (!c->pid)
            next = MIN(next, c->due_mono_ms);
    }
    return next == INT64_MAX ? -1 : MAX(next - clock_mono_ms(), 0);
}

static void on_signal(struct supervisor *s, int sig)
{
    switch (sig) {
    case SIGTERM:
    case SIGINT:
        if (s->stopping)
            return;
        s->stopping = true;
        s->kill_mono_ms = clock_mono_ms() + s->o->grace_ms;
        log_ev(LOG_INFO, "supervisor.stopping", kv_int("children", living(s)),
               kv_int("grace_ms", s->o->grace_ms));
        signal_all(s, SIGTERM);
        return;
    case SIGHUP:
    case SIGQUIT:
        signal_all(s, sig);
        return;
    default: /* SIGCHLD: reap() looks after every signal */
        return;
    }
}

int supervisor_run(const struct supervisor_opts *o)
{
    struct supervisor s = {.o = o};
    static const int watched[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT};

    if (o->children == 0)
        return o->child_main(0, o->arg);
    sigemptyset(&s.watched);
    for (size_t i = 0; i < COUNT(watched); i++)
        sigaddset(&s.watched, watched[i]);
    sigprocmask(SIG_BLOCK, &s.watched, &s.old_mask);
    s.slots = xcalloc((size_t)o->children, sizeof *s.slots);
    log_ev(LOG_INFO, "supervisor.started", kv_str("name", o->name),
           kv_int("children", o->children));
    while (!s.stopping || living(&s)) {
        int64_t ms = keep_time(&s);
        struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
        int sig = ms < 0 ? sigwaitinfo(&s.watched, NULL) : sigtimedwait(&s.watched, NULL, &ts);
        if (sig > 0)
            on_signal(&s, sig);
        reap(&s);
    }
    log_ev(LOG_INFO, "supervisor.ended", kv_str("name", o->name), kv_int("status", s.status));
    free(s.slots);
    sigprocmask(SIG_SETMASK, &s.old_mask, NULL);
    return s.status;
}

/* --- in a child --- */

static struct {
    struct event term, intr, hup, quit;
    void (*on_stop)(void *);
    void (*on_reload)(void *);
    void *arg;
    bool stopped;
} mine;

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
        mine.on_stop(mine.arg);
    }
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

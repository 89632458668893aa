/* supervisor.c - the parent: forks, watches, restarts, replaces, drains. It has no loop and no fibers,
 * only sigtimedwait().
 *
 *   EMPTY ---------------------------- successor of a weary one ------.
 *                                                                     v
 *   DOWN, due at T --fork--> UP --died--> DOWN, due now + delay       UP, ready
 *                            |  `--stuck: QUIT, ABRT, KILL--> DOWN, due now
 *                            `--its successor is ready: TERM--> LEAVING --ended--> EMPTY
 *
 * Signals are blocked in the parent and taken one at a time, so nothing happens inside a handler. A
 * child gets its mask back before child_main runs, save SIGHUP, which waits until it knows what to reload.
 *
 * A heartbeat is missed when the parent looked and the counter had not moved; four looks in a row, a
 * quarter of stuck_ms apart, make a stuck child. So a machine that stood still is one look, not an age. */
#include "rt/supervisor.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "rt/child.h"
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DELAY_FIRST_MS 100
#define DELAY_MAX_MS   10000
#define STEADY_MS      60000
#define LOOKS          4
#define BEAT_MS        250  /* of any child: stuck_ms may change while it lives */
#define DUMP_MS        1000 /* for what it was asked to say before it is ended */

enum seat_state { SEAT_EMPTY, SEAT_DOWN, SEAT_UP, SEAT_LEAVING };

struct seat {
    enum seat_state state;
    pid_t pid; /* UP, LEAVING */
    int64_t started_mono_ms, due_mono_ms, delay_ms;
    int successor_of;     /* a seat whose child leaves when this one is ready; -1: none */
    bool weary;           /* to be replaced */
    int64_t kill_mono_ms; /* when `next_signal` is due; 0: never */
    int next_signal;
    enum stuck stuck;
    unsigned beats, turns; /* as they were seen last */
    int missed_beats, missed_turns;
};

static struct supervisor {
    const struct supervisor_opts *o;
    struct seat *seats;
    struct vitals *vitals; /* one a seat, shared */
    int nseats;
    int64_t grace_ms, stuck_ms, look_mono_ms;
    sigset_t watched, old_mask;
    bool stopping, killed;
    int64_t kill_mono_ms;
    int status; /* of the program */
} sup;

int64_t supervisor_delay_ms(int64_t last_delay_ms, int64_t alive_ms)
{
    if (last_delay_ms == 0 || alive_ms >= STEADY_MS)
        return DELAY_FIRST_MS;
    return MIN(last_delay_ms * 2, DELAY_MAX_MS);
}

void supervisor_retime(int64_t grace_ms, int64_t stuck_ms)
{
    sup.grace_ms = grace_ms;
    sup.stuck_ms = stuck_ms;
    sup.look_mono_ms = clock_mono_ms() + stuck_ms / LOOKS;
}

static size_t vitals_bytes(const struct supervisor *s)
{
    return (size_t)s->nseats * sizeof *s->vitals;
}

/* ---------------------------------------------------------------- birth */

static void child_begin(struct supervisor *s, int index, pid_t parent)
{
    /* The kernel sends TERM when the parent dies; if it died already, nobody will. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    sigset_t mask = s->old_mask;
    sigaddset(&mask, SIGHUP); /* waits for child_signals: by itself it would end us */
    sigprocmask(SIG_SETMASK, &mask, NULL);
    child_linked(&(struct child_link){.vitals = &s->vitals[index],
                                      .parent = parent,
                                      .replaceable = s->o->spares,
                                      .beat_every_ms = s->o->stuck_ms ? BEAT_MS : 0});
    int (*child_main)(int, void *) = s->o->child_main;
    void *arg = s->o->arg;
    free(s->seats);
    exit(child_main(index, arg));
}

static void start(struct supervisor *s, int index)
{
    struct seat *c = &s->seats[index];
    pid_t parent = getpid();

    memset(&s->vitals[index], 0, sizeof s->vitals[index]);
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
    c->state = SEAT_UP;
    c->pid = pid;
    c->weary = false;
    c->kill_mono_ms = 0;
    c->stuck = STUCK_NOT;
    c->beats = c->turns = 0;
    c->missed_beats = c->missed_turns = 0;
    log_ev(LOG_INFO, "child.started", kv_int("index", index), kv_int("child", pid));
}

/* ---------------------------------------------------------------- replacing */

static void tell(struct seat *c, int sig, int next_signal, int64_t in_ms)
{
    kill(c->pid, sig);
    c->next_signal = next_signal;
    c->kill_mono_ms = clock_mono_ms() + in_ms;
}

static void retire(struct supervisor *s, int index)
{
    struct seat *c = &s->seats[index];

    log_ev(LOG_INFO, "child.replaced", kv_int("index", index), kv_int("child", c->pid));
    c->state = SEAT_LEAVING;
    tell(c, SIGTERM, SIGKILL, s->grace_ms);
}

/* One successor at a time comes up. */
static void seat_successors(struct supervisor *s)
{
    int free_seat = -1, weary = -1;

    for (int i = s->nseats - 1; i >= 0; i--) {
        struct seat *c = &s->seats[i];
        if (c->successor_of >= 0)
            return;
        if (c->state == SEAT_EMPTY)
            free_seat = i;
        if (c->state == SEAT_UP && c->weary)
            weary = i;
    }
    if (free_seat < 0 || weary < 0)
        return;
    s->seats[free_seat] =
        (struct seat){.state = SEAT_DOWN, .due_mono_ms = 0, .successor_of = weary};
}

/* After SIGUSR1, and whenever we look. */
static void heed_wishes(struct supervisor *s)
{
    for (int i = 0; i < s->nseats; i++) {
        struct seat *c = &s->seats[i];
        if (c->state != SEAT_UP)
            continue;
        c->weary |= s->o->spares && atomic_load(&s->vitals[i].weary);
        if (c->successor_of >= 0 && atomic_load(&s->vitals[i].ready)) {
            if (s->seats[c->successor_of].state == SEAT_UP)
                retire(s, c->successor_of);
            c->successor_of = -1;
        }
    }
    if (!s->stopping)
        seat_successors(s);
}

/* ---------------------------------------------------------------- the watchdog */

static void end_stuck(struct supervisor *s, int index, enum stuck how)
{
    struct seat *c = &s->seats[index];

    log_ev(LOG_ERROR, "child.stuck", kv_int("index", index), kv_int("child", c->pid),
           kv_str("what", how == STUCK_LOOP ? "loop" : "idle"), kv_int("for_ms", s->stuck_ms));
    c->stuck = how;
    if (how == STUCK_LOOP || !s->o->spares) {
        tell(c, SIGQUIT, SIGABRT, DUMP_MS);
        return;
    }
    kill(c->pid, SIGQUIT); /* the jobs aboard are well: another one takes over first */
    c->weary = true;
}

static void look_at(struct supervisor *s, int index)
{
    struct seat *c = &s->seats[index];
    const struct vitals *v = &s->vitals[index];
    unsigned beats = atomic_load_explicit(&v->beats, memory_order_relaxed);
    unsigned turns = atomic_load_explicit(&v->turns, memory_order_relaxed);

    if (!atomic_load(&v->ready) || c->stuck != STUCK_NOT)
        return;
    c->missed_beats = beats == c->beats ? c->missed_beats + 1 : 0;
    c->missed_turns = turns == c->turns && atomic_load(&v->working) ? c->missed_turns + 1 : 0;
    c->beats = beats;
    c->turns = turns;
    if (c->missed_beats >= LOOKS)
        end_stuck(s, index, STUCK_LOOP);
    else if (c->missed_turns >= LOOKS && c->state == SEAT_UP)
        end_stuck(s, index, STUCK_IDLE);
}

static void look_after(struct supervisor *s, int64_t now)
{
    if (s->stuck_ms == 0 || now < s->look_mono_ms)
        return;
    for (int i = 0; i < s->nseats; i++) {
        if (s->seats[i].pid)
            look_at(s, i);
    }
    s->look_mono_ms = clock_mono_ms() + s->stuck_ms / LOOKS;
    heed_wishes(s);
}

static void kill_due(struct supervisor *s, int index)
{
    struct seat *c = &s->seats[index];
    int sig = c->next_signal;

    log_ev(LOG_ERROR, "child.kill", kv_int("index", index), kv_int("child", c->pid),
           kv_int("signal", sig));
    if (sig == SIGKILL && c->stuck == STUCK_LOOP)
        c->stuck = STUCK_FROZEN;
    tell(c, sig, SIGKILL, DUMP_MS);
    if (sig == SIGKILL)
        c->kill_mono_ms = 0;
}

/* ---------------------------------------------------------------- death */

static void tell_exit(struct supervisor *s, int index, pid_t pid, int status, int64_t peak_kib,
                      int64_t alive_ms)
{
    struct obituary o = {.pid = pid,
                         .status = status,
                         .peak_kib = peak_kib,
                         .alive_ms = alive_ms,
                         .stuck = s->seats[index].stuck};

    if (!s->o->on_exit)
        return;
    o.lines = log_ring_text(&s->vitals[index].ring);
    s->o->on_exit(index, &o, s->o->arg);
    free(o.lines);
}

static void not_succeeded(struct supervisor *s, int index)
{
    for (int i = 0; i < s->nseats; i++)
        if (s->seats[i].successor_of == index)
            s->seats[i].successor_of = -1;
}

static bool has_successor(const struct supervisor *s, int index)
{
    for (int i = 0; i < s->nseats; i++)
        if (s->seats[i].state != SEAT_EMPTY && s->seats[i].successor_of == index)
            return true;
    return false;
}

static void ended(struct supervisor *s, int index, int status, int64_t peak_kib)
{
    struct seat *c = &s->seats[index];
    int64_t now = clock_mono_ms(), alive = now - c->started_mono_ms;
    struct kv how = WIFSIGNALED(status) ? kv_int("signal", WTERMSIG(status))
                                        : kv_int("status", WEXITSTATUS(status));
    bool clean = WIFSIGNALED(status) ? WTERMSIG(status) == SIGTERM : WEXITSTATUS(status) == 0;
    bool leaving = c->state == SEAT_LEAVING, succeeded = has_successor(s, index);
    pid_t pid = c->pid;

    c->pid = 0;
    c->kill_mono_ms = 0;
    tell_exit(s, index, pid, status, peak_kib, alive);
    not_succeeded(s, index); /* they are in its place now */
    if (s->stopping || leaving) {
        /* TERM before the child had its handlers up is a clean end too: nothing had begun. */
        c->state = SEAT_EMPTY;
        if (!clean && s->stopping)
            s->status = EXIT_FAILURE;
        log_ev(clean ? LOG_INFO : LOG_ERROR, "child.ended", kv_int("index", index),
               kv_int("child", pid), how);
        return;
    }
    c->delay_ms = supervisor_delay_ms(c->stuck ? 0 : c->delay_ms, alive);
    int64_t wait = c->delay_ms + (int64_t)random_below((uint64_t)c->delay_ms / 4 + 1);
    c->due_mono_ms = now + wait;
    c->state = succeeded ? SEAT_EMPTY : SEAT_DOWN;
    log_ev(LOG_ERROR, "child.died", kv_int("index", index), kv_int("child", pid), how,
           kv_int("alive_ms", alive), kv_int("peak_mib", (peak_kib + 1023) / 1024),
           kv_int("restart_in_ms", wait));
}

static void reap(struct supervisor *s)
{
    for (int i = 0; i < s->nseats; i++) {
        struct rusage used;
        int status;
        if (s->seats[i].pid && wait4(s->seats[i].pid, &status, WNOHANG, &used) == s->seats[i].pid)
            ended(s, i, status, used.ru_maxrss);
    }
}

/* ---------------------------------------------------------------- the parent's time */

static void signal_all(struct supervisor *s, int sig)
{
    for (int i = 0; i < s->nseats; i++) {
        if (s->seats[i].pid)
            kill(s->seats[i].pid, sig);
    }
}

static int living(const struct supervisor *s)
{
    int n = 0;

    for (int i = 0; i < s->nseats; i++)
        n += s->seats[i].pid != 0;
    return n;
}

/* Starts, looks and kills what is due. Returns how long to wait for a signal: -1 for ever. */
static int64_t keep_time(struct supervisor *s)
{
    int64_t now = clock_mono_ms(), next = INT64_MAX;

    if (s->stopping && !s->killed && now >= s->kill_mono_ms) {
        log_ev(LOG_ERROR, "supervisor.kill", kv_int("children", living(s)),
               kv_int("grace_ms", s->grace_ms));
        signal_all(s, SIGKILL);
        s->killed = true;
        s->status = EXIT_FAILURE;
    }
    if (s->stopping)
        return s->killed ? -1 : s->kill_mono_ms - now;
    look_after(s, now);
    for (int i = 0; i < s->nseats; i++) {
        struct seat *c = &s->seats[i];
        if (c->pid && c->kill_mono_ms && c->kill_mono_ms <= now)
            kill_due(s, i);
        if (c->pid && c->kill_mono_ms)
            next = MIN(next, c->kill_mono_ms);
        if (c->state == SEAT_DOWN && c->due_mono_ms <= now)
            start(s, i);
        if (c->state == SEAT_DOWN)
            next = MIN(next, c->due_mono_ms);
    }
    if (s->stuck_ms)
        next = MIN(next, s->look_mono_ms);
    return next == INT64_MAX ? -1 : MAX(next - clock_mono_ms(), 0);
}

static void reload(struct supervisor *s)
{
    enum reload what = s->o->on_reload ? s->o->on_reload(s->o->arg) : RELOAD_PASS;

    if (what == RELOAD_PASS)
        signal_all(s, SIGHUP);
    for (int i = 0; i < s->nseats && what == RELOAD_REPLACE && s->o->spares; i++)
        s->seats[i].weary |= s->seats[i].state == SEAT_UP;
}

static void on_signal(struct supervisor *s, int sig)
{
    switch (sig) {
    case SIGTERM:
    case SIGINT:
        if (s->stopping)
            return;
        s->stopping = true;
        s->kill_mono_ms = clock_mono_ms() + s->grace_ms;
        log_ev(LOG_INFO, "supervisor.stopping", kv_int("children", living(s)),
               kv_int("grace_ms", s->grace_ms));
        signal_all(s, SIGTERM);
        return;
    case SIGHUP:
        if (!s->stopping)
            reload(s);
        return;
    case SIGQUIT:
        signal_all(s, sig);
        return;
    default: /* SIGCHLD: reap() looks after every signal; SIGUSR1: so do heed_wishes() */
        return;
    }
}

static void seats_make(struct supervisor *s)
{
    const struct supervisor_opts *o = s->o;

    s->nseats = o->spares ? 2 * o->children : o->children;
    s->seats = xcalloc((size_t)s->nseats, sizeof *s->seats);
    for (int i = 0; i < s->nseats; i++)
        s->seats[i] =
            (struct seat){.state = i < o->children ? SEAT_DOWN : SEAT_EMPTY, .successor_of = -1};
    s->vitals =
        mmap(NULL, vitals_bytes(s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s->vitals == MAP_FAILED)
        abort();
}

int supervisor_run(const struct supervisor_opts *o)
{
    struct supervisor *s = &sup;
    static const int watched[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1};

    if (o->children == 0)
        return o->child_main(0, o->arg);
    *s = (struct supervisor){.o = o};
    supervisor_retime(o->grace_ms, o->stuck_ms);
    sigemptyset(&s->watched);
    for (size_t i = 0; i < COUNT(watched); i++)
        sigaddset(&s->watched, watched[i]);
    sigprocmask(SIG_BLOCK, &s->watched, &s->old_mask);
    seats_make(s);
    log_ev(LOG_INFO, "supervisor.started", kv_str("name", o->name),
           kv_int("children", o->children));
    while (!s->stopping || living(s)) {
        int64_t ms = keep_time(s);
        struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
        int sig = ms < 0 ? sigwaitinfo(&s->watched, NULL) : sigtimedwait(&s->watched, NULL, &ts);
        if (sig > 0)
            on_signal(s, sig);
        reap(s);
        heed_wishes(s);
    }
    log_ev(LOG_INFO, "supervisor.ended", kv_str("name", o->name), kv_int("status", s->status));
    munmap(s->vitals, vitals_bytes(s));
    free(s->seats);
    sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
    return s->status;
}

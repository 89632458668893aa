/* cradle.c - the nursery itself: a process that forks, signals, reaps and reports; see nursery.h.
 *
 *      poll(worker's socket, signals)
 *        order bear     fork; the ward: own group, default signals, its three descriptors, nothing else
 *        order signal   kill(-group); the leader is not reaped before its end is reported, so the number is its own
 *        SIGCHLD        what a ward left behind in its group is killed, then the ward is reaped and reported
 *        end of socket  everything is killed; the end
 *
 * No allocation by wards (they are forked from one thread, so malloc would be safe, but what for), no
 * waiting in anything but poll. */
#include "base/util.h"
#include "worker/nursery.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ENV_MAX     512
#define FAREWELL_MS 5000 /* for the last ones to die */

struct born {
    uint64_t id;
    pid_t pid;
};

static struct {
    int sock, signals;
    pid_t worker;
    int (*task_main)(size_t task);
    struct born *born;
    size_t nborn;
    struct nursery_report *reports; /* not sent yet */
    size_t nreports;
} c;

/* ---------------------------------------------------------------- reports */

static void send_reports(void)
{
    size_t sent = 0;

    while (sent < c.nreports && send(c.sock, &c.reports[sent], sizeof c.reports[0],
                                     MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof c.reports[0])
        sent++;
    c.nreports -= sent;
    memmove(c.reports, c.reports + sent, c.nreports * sizeof c.reports[0]);
}

static void report(const struct nursery_report *r)
{
    c.reports = xrealloc(c.reports, (c.nreports + 1) * sizeof c.reports[0]);
    memcpy(&c.reports[c.nreports++], r, sizeof *r);
    send_reports();
}

/* ---------------------------------------------------------------- a ward, between fork and its own work */

static void no_signals_of_ours(void)
{
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Out of memory, the kernel should rather take a ward than the worker. */
static void offer_itself(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, "500", 3) != 3)
        close(fd);
    else if (fd >= 0)
        close(fd);
}

/* `from` to the places 0, 1, 2 and perhaps 3 (what a task tells; what a program is given besides): first out of their own
 * way. */
static void place_descriptors(const int *from, size_t n, bool program)
{
    int high[NURSERY_FDS];

    for (size_t i = 0; i < n; i++)
        if ((high[i] = fcntl(from[i], F_DUPFD, 10)) < 0)
            _exit(127);
    dup2(high[0], 0);
    dup2(program ? high[1] : high[2], 1);
    dup2(high[2], 2);
    if (!program)
        dup2(high[1], 3);
    else if (n > 3)
        dup2(high[3], 3);
    close_range(program && n == 3 ? 3 : 4, ~0U, 0);
}

static bool same_name(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");

    return strncmp(a, b, n + 1) == 0;
}

/* The worker's environment without its keys, and what is said of the job over it. */
static void make_env(char *more, const char *end, char **env)
{
    size_t n = 0;

    for (char *e = more; e < end && n + 1 < ENV_MAX / 4; e += strlen(e) + 1)
        env[n++] = e;
    size_t own = n;
    for (char **e = environ; *e && n + 1 < ENV_MAX; e++) {
        bool ours = same_name("MIHWAR_SEAL_KEYS=", *e);
        for (size_t i = 0; i < own && !ours; i++)
            ours = same_name(env[i], *e);
        if (!ours)
            env[n++] = *e;
    }
    env[n] = NULL;
}

static _Noreturn void be_program(char *path, const char *end)
{
    static char *env[ENV_MAX];
    char *argv[] = {path, NULL};

    make_env(path + strlen(path) + 1, end, env);
    execve(path, argv, env);
    dprintf(2, "%s cannot be run: %s\n", path, strerror(errno));
    _exit(127);
}

static _Noreturn void be_ward(pid_t nursery, const struct nursery_order *o, char *words,
                              const char *end, const int *fds, size_t nfds)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != nursery)
        _exit(127);
    setpgid(0, 0);
    place_descriptors(fds, nfds, o->program);
    no_signals_of_ours();
    offer_itself();
    if (o->program)
        be_program(words, end);
    int status = c.task_main(o->task);
    fflush(NULL);
    _exit(status);
}

/* ---------------------------------------------------------------- orders */

static void bear(const struct nursery_order *o, char *words, const char *end, const int *fds,
                 size_t nfds)
{
    pid_t self = getpid(), pid = fork();

    if (pid == 0)
        be_ward(self, o, words, end, fds, nfds);
    if (pid < 0) {
        report(&(struct nursery_report){.id = o->id, .ended = true, .errno_of_fork = errno});
        return;
    }
    setpgid(pid, pid); /* both do it: whoever comes first */
    c.born = xrealloc(c.born, (c.nborn + 1) * sizeof *c.born);
    c.born[c.nborn++] = (struct born){o->id, pid};
    report(&(struct nursery_report){.id = o->id, .pid = pid});
}

static void pass_signal(uint64_t id, int sig)
{
    for (size_t i = 0; i < c.nborn; i++)
        if (c.born[i].id == id)
            kill(-c.born[i].pid, sig);
}

static void carry_out(char *p, size_t n, const int *fds, size_t nfds)
{
    struct nursery_order o;

    if (n < sizeof o)
        return;
    memcpy(&o, p, sizeof o);
    if (o.verb == NURSERY_SIGNAL)
        pass_signal(o.id, o.sig);
    else if (nfds >= 3)
        bear(&o, p + sizeof o, p + n, fds, nfds);
}

/* False when nobody is there any more. */
static bool read_orders(void)
{
    static char text[NURSERY_ORDER_MAX];

    for (;;) {
        union {
            struct cmsghdr head;
            char room[CMSG_SPACE(NURSERY_FDS * sizeof(int))];
        } control;
        struct iovec v = {text, sizeof text};
        struct msghdr m = {.msg_iov = &v,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};
        int fds[NURSERY_FDS] = {-1, -1, -1, -1};
        size_t nfds = 0;
        ssize_t n = recvmsg(c.sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (n <= 0)
            return n < 0 && (errno == EAGAIN || errno == EINTR);
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        if (h && h->cmsg_type == SCM_RIGHTS) {
            nfds = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(h), nfds * sizeof(int));
        }
        carry_out(text, (size_t)n, fds, nfds);
        for (size_t i = 0; i < nfds; i++)
            close(fds[i]);
    }
}

/* ---------------------------------------------------------------- ends */

static struct born *find(pid_t pid)
{
    for (size_t i = 0; i < c.nborn; i++)
        if (c.born[i].pid == pid)
            return &c.born[i];
    return NULL;
}

static void reap_ward(struct born *b)
{
    struct nursery_report r = {.id = b->id, .pid = b->pid, .ended = true};
    struct rusage usage = {0};

    kill(-b->pid,
         SIGKILL); /* what it left running; it is a zombie itself, so the group is its own */
    wait4(b->pid, &r.status, 0, &usage);
    r.peak_kb = usage.ru_maxrss;
    *b = c.born[--c.nborn];
    report(&r);
}

/* Looked at before it is reaped: the group must be signalled while its number is taken. */
static bool reap(void)
{
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
            return false; /* no child at all */
        if (info.si_pid == 0)
            return true;
        struct born *b = find(info.si_pid);
        if (b)
            reap_ward(b);
        else
            waitpid(info.si_pid, NULL, 0); /* an orphan of some ward, adopted */
    }
}

/* What left its group on purpose has come to us as an orphan. */
static void kill_children(void)
{
    char path[64], text[4096];

    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    text[MAX(n, 0)] = 0;
    if (fd >= 0)
        close(fd);
    for (char *s = text; *s;) {
        long pid = strtol(s, &s, 10);
        if (pid > 0)
            kill((pid_t)pid, SIGKILL);
        s += strspn(s, " ");
    }
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static _Noreturn void farewell(void)
{
    int64_t end = now_ms() + FAREWELL_MS;

    do {
        struct pollfd p = {c.signals, POLLIN, 0};
        struct signalfd_siginfo s;
        for (size_t i = 0; i < c.nborn; i++)
            kill(-c.born[i].pid, SIGKILL);
        kill_children();
        if (!reap())
            break;
        if (poll(&p, 1, 50) > 0 && read(c.signals, &s, sizeof s) < 0 && errno != EINTR)
            break;
    } while (now_ms() < end);
    _exit(0);
}

/* ---------------------------------------------------------------- life */

static void heed_signals(void)
{
    struct signalfd_siginfo s;

    while (read(c.signals, &s, sizeof s) == sizeof s)
        if (s.ssi_signo == SIGTERM && getppid() != c.worker)
            farewell();
    reap();
}

static void settle(void)
{
    static const int left_to_the_worker[] = {SIGINT, SIGHUP, SIGQUIT, SIGPIPE};
    sigset_t own;

    prctl(PR_SET_NAME, "mihwar-nursery");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    for (size_t i = 0; i < COUNT(left_to_the_worker); i++)
        signal(left_to_the_worker[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&own);
    sigaddset(&own, SIGCHLD);
    sigaddset(&own, SIGTERM);
    sigprocmask(SIG_SETMASK, &own, NULL);
    c.signals = signalfd(-1, &own, SFD_NONBLOCK | SFD_CLOEXEC);
    if (c.signals < 0)
        _exit(1);
    if (getppid() != c.worker)
        farewell();
}

_Noreturn void cradle_main(int sock, pid_t worker, int (*task_main)(size_t task))
{
    c.sock = sock;
    c.worker = worker;
    c.task_main = task_main;
    settle();
    for (;;) {
        struct pollfd p[] = {{c.sock, (short)(POLLIN | (c.nreports ? POLLOUT : 0)), 0},
                             {c.signals, POLLIN, 0}};
        if (poll(p, COUNT(p), -1) < 0 && errno != EINTR)
            farewell();
        if (p[1].revents)
            heed_signals();
        if (p[0].revents & POLLOUT)
            send_reports();
        if ((p[0].revents & ~POLLOUT) && !read_orders())
            farewell();
    }
}

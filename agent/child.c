/* child.c - see child.h.
 *
 * A fiber waits for three descriptors at once: two pipes and the process itself (a pidfd, readable when it has ended). Events only wake it;
 * it looks at all three each time. */
#include "agent/child.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ERR_MAX      KiB(4) /* of stderr */
#define PATH_DEFAULT "/usr/sbin:/usr/bin:/sbin:/bin"
#define ENV_MAX      8
#define READ_STEP    4096 /* a fiber's frame is small */
#define READ_TURN    16   /* steps before others have their turn; together a pipe's size */

struct stream {
    int fd; /* -1: at its end */
    struct event *event;
    struct buf *into;
    bool cut;
};

struct child {
    pid_t pid;
    int pidfd;
    struct event *ended;
    struct stream out, err;
    struct fiber *fiber;
};

/* ---------------------------------------------------------------- in the new process */

/* Between fork and exec only what is async-signal-safe: other threads may have held any lock. */
_Noreturn static void become(const struct child_opts *o, char *const *env, pid_t parent, int in,
                             int out, int err)
{
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    setpgid(0, 0);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2 && close_range(3, ~0U, 0) == 0)
        execve(o->argv[0], o->argv, env);
    dprintf(2, "%s: %s\n", o->argv[0], strerror(errno));
    _exit(127);
}

/* ---------------------------------------------------------------- beginning */

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    fiber_wake(((struct child *)arg)->fiber);
}

static struct event *watch(struct child *c, int fd)
{
    struct event *e = event_new(loop_base(), fd, EV_READ | EV_PERSIST, on_event, c);

    if (!e || event_add(e, NULL) != 0)
        abort(); /* out of memory */
    return e;
}

static rc open_stdin(struct cx *cx, const char *input, int *ret_fd)
{
    _cleanup_(closep) int fd =
        input ? memfd_create("stdin", MFD_CLOEXEC) : open("/dev/null", O_RDONLY | O_CLOEXEC);
    size_t n = input ? strlen(input) : 0;

    if (fd < 0 || (input && (write(fd, input, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) < 0)))
        return fail(cx, OS, "no input for the program: %s", strerror(errno));
    *ret_fd = fd;
    fd = -1;
    return OK;
}

/* Signals wait until the child has thrown away our handlers, which write to what parent and child share. */
static pid_t fork_quiet(void)
{
    sigset_t all, before;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid != 0)
        sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

static rc open_pipe(struct cx *cx, struct stream *s, int *ret_write)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return fail(cx, OS, "no pipe for the program: %s", strerror(errno));
    fcntl(fds[0], F_SETFL, O_NONBLOCK); /* our end */
    s->fd = fds[0];
    *ret_write = fds[1];
    return OK;
}

/* On failure there is no process; what is open is closed by finish. */
static rc start(struct cx *cx, struct child *c, const struct child_opts *o, char *const *env)
{
    _cleanup_(closep) int in = -1, out = -1, err = -1;
    pid_t self = getpid();

    try(open_stdin(cx, o->input, &in));
    try(open_pipe(cx, &c->out, &out));
    try(open_pipe(cx, &c->err, &err));
    pid_t pid = fork_quiet();
    if (pid == 0)
        become(o, env, self, in, out, err);
    if (pid < 0)
        return fail(cx, OS, "no process for %s: %s", o->argv[0], strerror(errno));
    c->pid = pid;
    setpgid(pid, pid); /* whoever of the two comes first */
    c->pidfd = pidfd_open(pid, 0);
    if (c->pidfd < 0)
        return fail(cx, OS, "%s cannot be watched: %s", o->argv[0], strerror(errno));
    c->ended = watch(c, c->pidfd);
    c->out.event = watch(c, c->out.fd);
    c->err.event = watch(c, c->err.fd);
    return OK;
}

/* ---------------------------------------------------------------- while it runs */

static void stream_end(struct stream *s)
{
    if (s->event)
        event_free(TAKE_PTR(s->event));
    closep(&s->fd);
    s->fd = -1;
}

static void drain(struct stream *s)
{
    char chunk[READ_STEP];

    for (int i = 0; s->fd >= 0 && i < READ_TURN; i++) {
        ssize_t n = read(s->fd, chunk, sizeof chunk);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            stream_end(s);
            return;
        }
        size_t keep = MIN((size_t)n, s->into->max - s->into->len);
        buf_append(s->into, chunk, keep);
        s->cut |= keep < (size_t)n;
    }
}

/* It stays a zombie, so that its group's number belongs to nobody else yet. */
static bool has_ended(const struct child *c)
{
    siginfo_t i = {0};

    return waitid(P_PID, (id_t)c->pid, &i, WEXITED | WNOHANG | WNOWAIT) == 0 && i.si_pid == c->pid;
}

static rc wait_end(struct cx *cx, struct child *c)
{
    for (;;) {
        bool ended = has_ended(c); /* first: what it wrote before is in the pipes then */
        drain(&c->out);
        drain(&c->err);
        if (ended)
            return OK;
        try(fiber_park(cx));
    }
}

static rc wait_within(struct cx *cx, struct child *c, int64_t ms)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, ms);

    return wait_end(cx, c);
}

/* Its time is over, and perhaps the caller's: what follows is counted anew. */
static rc end_late(struct cx *cx, struct child *c, int64_t kill_ms)
{
    int64_t deadline = cx->deadline_mono_ms;

    cx->deadline_mono_ms = 0;
    kill(-c->pid, SIGTERM);
    rc r = wait_within(cx, c, kill_ms);
    if (r == E_DEADLINE) {
        kill(-c->pid, SIGKILL);
        r = wait_end(cx, c);
    }
    cx->deadline_mono_ms = deadline;
    return r;
}

/* Whatever of it is left, the process and its group too. */
static void finish(struct child *c, struct child_end *e)
{
    int status = 0;

    if (c->pid > 0) {
        kill(-c->pid, SIGKILL);
        while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    e->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    e->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    e->cut = c->out.cut;
    if (c->ended)
        event_free(c->ended);
    closep(&c->pidfd);
    stream_end(&c->out);
    stream_end(&c->err);
}

static rc run(struct cx *cx, struct child *c, const struct child_opts *o, struct child_end *ret)
{
    rc r = wait_within(cx, c, o->limit_ms);

    ret->late = r == E_DEADLINE;
    return ret->late ? end_late(cx, c, o->kill_ms) : r;
}

rc child_run(struct cx *cx, const struct child_opts *o, struct child_end *ret)
{
    struct child c = {.fiber = cx->fiber,
                      .pidfd = -1,
                      .out = {.fd = -1, .into = &ret->out},
                      .err = {.fd = -1, .into = &ret->err}};
    const char *search = getenv("PATH"), *words = getenv("LANG");
    _cleanup_(freep) char *path = xasprintf("PATH=%s", search ? search : PATH_DEFAULT);
    _cleanup_(freep) char *lang = xasprintf("LANG=%s", words ? words : "C.UTF-8");
    const char *env[ENV_MAX + 3] = {path, lang};

    for (size_t i = 0; o->env && o->env[i] && i < ENV_MAX; i++)
        env[i + 2] = o->env[i];
    *ret = (struct child_end){.out = BUF(o->output_max), .err = BUF(ERR_MAX)};
    rc r = start(cx, &c, o, (char *const *)(uintptr_t)env);
    if (r == OK)
        r = run(cx, &c, o, ret);
    finish(&c, ret);
    return r;
}

void child_end_release(struct child_end *e)
{
    buf_release(&e->out);
    buf_release(&e->err);
}

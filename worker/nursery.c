/* nursery.c - the worker's side of the nursery; see nursery.h.
 *
 * Orders are sent by a call that may block: the nursery always reads at once, because its own reports wait in
 * a list and never block it. */
#include "worker/nursery.h"
#include "base/buf.h"
#include "base/log.h"
#include "rt/loop.h"
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    pid_t pid; /* 0: none */
    int sock;
    uint64_t last_id;
    TAILQ_HEAD(, ward) wards;
    struct event *on_report;
    void (*gone)(void *arg);
    void *arg;
} nursery;

rc nursery_start(struct cx *cx, int (*task_main)(size_t task))
{
    int pair[2];
    pid_t worker = getpid();

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return fail(cx, OS, "no socket for the nursery: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0) {
        close(pair[0]);
        close(pair[1]);
        return fail(cx, OS, "the nursery cannot be forked: %s", strerror(errno));
    }
    if (pid == 0) {
        close(pair[0]);
        cradle_main(pair[1], worker, task_main);
    }
    close(pair[1]);
    nursery.pid = pid;
    nursery.sock = pair[0];
    TAILQ_INIT(&nursery.wards);
    return OK;
}

/* ---------------------------------------------------------------- what it reports */

static struct ward *find(uint64_t id)
{
    struct ward *w;

    TAILQ_FOREACH(w, &nursery.wards, link)
    if (w->id == id)
        return w;
    return NULL;
}

static void end_ward(struct ward *w, const struct nursery_report *r)
{
    TAILQ_REMOVE(&nursery.wards, w, link);
    w->ended = true;
    w->status = r->status;
    w->errno_of_fork = r->errno_of_fork;
    w->peak_kb = r->peak_kb;
    if (w->waiter)
        fiber_wake(w->waiter);
}

static void take(const struct nursery_report *r)
{
    struct ward *w = find(r->id);

    if (!w)
        return;
    w->pid = r->pid;
    if (r->ended)
        end_ward(w, r);
}

/* The kernel kills the wards themselves with the nursery; here goes what they have started. */
static void orphaned(void)
{
    struct ward *w;

    event_free(nursery.on_report);
    nursery.on_report = NULL;
    log_ev(LOG_ERROR, "nursery.died", kv_int("nursery", nursery.pid));
    while ((w = TAILQ_FIRST(&nursery.wards))) {
        if (w->pid > 0)
            kill(-w->pid, SIGKILL);
        end_ward(w, &(struct nursery_report){.status = SIGKILL});
    }
    nursery.gone(nursery.arg);
}

static void on_report(evutil_socket_t fd, short what, void *arg)
{
    struct nursery_report r;
    ssize_t n;

    (void)what;
    (void)arg;
    while ((n = recv(fd, &r, sizeof r, MSG_DONTWAIT)) == sizeof r)
        take(&r);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        orphaned();
}

void nursery_open(void (*gone)(void *arg), void *arg)
{
    if (!nursery.pid)
        return;
    nursery.gone = gone;
    nursery.arg = arg;
    nursery.on_report = event_new(loop_base(), nursery.sock, EV_READ | EV_PERSIST, on_report, NULL);
    if (!nursery.on_report || event_add(nursery.on_report, NULL) != 0)
        abort(); /* nobody would ever hear of an end */
}

void nursery_close(void)
{
    if (!nursery.pid)
        return;
    if (nursery.on_report)
        event_free(nursery.on_report);
    close(nursery.sock);
    while (waitpid(nursery.pid, NULL, 0) < 0 && errno == EINTR)
        ;
    memset(&nursery, 0, sizeof nursery);
}

/* ---------------------------------------------------------------- what it is told */

static rc send_order(struct cx *cx, const void *p, size_t n, const int *fds, size_t nfds)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(NURSERY_FDS * sizeof(int))];
    } c = {0};
    struct iovec v = {(void *)(uintptr_t)p, n};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    ssize_t sent;

    if (nfds) {
        m.msg_control = &c;
        m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        c.head.cmsg_level = SOL_SOCKET;
        c.head.cmsg_type = SCM_RIGHTS;
        c.head.cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(&c.head), fds, nfds * sizeof(int));
    }
    do
        sent = sendmsg(nursery.sock, &m, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)n ? OK : fail(cx, OS, "the nursery hears nothing: %s", strerror(errno));
}

rc nursery_bear(struct cx *cx, const struct birth *b, struct ward *ret)
{
    _cleanup_(buf_release) struct buf order = BUF(NURSERY_ORDER_MAX);
    struct nursery_order o;
    const int fds[NURSERY_FDS] = {b->in, b->out, b->err, b->more};

    if (!nursery.on_report)
        return fail(cx, OS, "the nursery is gone");
    memset(&o, 0, sizeof o); /* its padding goes through a socket */
    o.verb = NURSERY_BEAR;
    o.id = ++nursery.last_id;
    o.task = b->task;
    o.program = b->path != NULL;
    buf_append(&order, &o, sizeof o);
    if (b->path) {
        buf_append(&order, b->path, strlen(b->path) + 1);
        for (const char *const *e = b->env; *e; e++)
            buf_append(&order, *e, strlen(*e) + 1);
    }
    if (!buf_ok(&order))
        return fail(cx, BUFFER_FULL, "more than %zu bytes of environment", NURSERY_ORDER_MAX);
    try(send_order(cx, order.p, order.len, fds, b->more ? COUNT(fds) : COUNT(fds) - 1));
    *ret = (struct ward){.id = o.id};
    TAILQ_INSERT_TAIL(&nursery.wards, ret, link);
    return OK;
}

void nursery_signal(struct ward *w, int sig)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("nursery");
    struct nursery_order o;

    if (w->ended)
        return;
    memset(&o, 0, sizeof o);
    o.verb = NURSERY_SIGNAL;
    o.id = w->id;
    o.sig = sig;
    rc r = send_order(&cx, &o, sizeof o, NULL, 0);
    if (r != OK) /* it is dead, and so are its wards */
        log_fail(LOG_WARN, "nursery.deaf", &cx, r, kv_int("signal", sig));
}

rc nursery_wait(struct cx *cx, struct ward *w)
{
    rc r = OK;

    w->waiter = cx->fiber;
    while (r == OK && !w->ended)
        r = fiber_park(cx);
    w->waiter = NULL;
    return w->ended ? OK : r;
}

void nursery_forget(struct ward *w)
{
    if (!w->ended)
        TAILQ_REMOVE(&nursery.wards, w, link);
    w->ended = true;
}

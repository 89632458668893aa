/* errand.c - see errand.h. */
#include "worker/errand.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "domain/agents/mask.h"
#include "rt/loop.h"
#include "worker/run.h"
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINES_MAX 2000   /* of one attempt that are kept */
#define LINE_MAX  1000   /* bytes; longer ones are cut into several */
#define LATE_MAX  MiB(1) /* read after the end */
#define DYING_MS                                                                                   \
    5000 /* between SIGKILL and the end; a process that hangs in the kernel takes longer */
#define LOST_MS 1000 /* another worker may have the job already */

enum { OUT, ERR };

/* ---------------------------------------------------------------- what it says */

static void keep_tail(struct errand *e, const char *line)
{
    size_t n = strnlen(line, ERRAND_TAIL_MAX / 2);

    if (e->tail.len + n + 1 > ERRAND_TAIL_MAX) {
        size_t drop =
            MIN(e->tail.len, MAX(ERRAND_TAIL_MAX / 2, e->tail.len + n + 1 - ERRAND_TAIL_MAX));
        const char *end = memchr(e->tail.p + drop, '\n', e->tail.len - drop);
        buf_consume(&e->tail, end ? (size_t)(end - e->tail.p) + 1 : e->tail.len);
    }
    buf_append(&e->tail, line, n);
    buf_putc(&e->tail, '\n');
}

/* Whatever bytes a program writes, what is stored is text. */
static void clean(char *s)
{
    for (char *p = s; *p; p++)
        if ((unsigned char)*p < ' ' && *p != '\t')
            *p = '?';
    if (!utf8_valid(s, strlen(s)))
        for (char *p = s; *p; p++)
            if ((unsigned char)*p >= 0x80)
                *p = '?';
}

static void take_line(struct errand *e)
{
    static const char progress[] = "::progress ", snooze[] = "::snooze ";
    char *line = e->line.p;

    clean(line);
    if (starts_with(line, progress))
        job_progress(e->job, line + strlen(progress));
    else if (starts_with(line, snooze))
        (void)parse_duration_ms(str_trim(line + strlen(snooze)), &e->snooze_ms);
    else if (*line) {
        _cleanup_(freep) char *masked = mask_line(e->job->run->pool->env.mask, line);
        keep_tail(e, masked ? masked : line);
        if (e->lines++ < LINES_MAX)
            job_log(e->job, LOG_INFO, "%s", line);
    }
    buf_reset(&e->line);
}

static void take_err(struct errand *e, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '\n')
            buf_putc(&e->line, p[i] ? p[i] : '?');
        if ((p[i] == '\n' || e->line.len == LINE_MAX) && e->line.len)
            take_line(e);
    }
}

/* One piece; false when there is none now. */
static bool read_piece(struct errand *e, int which, size_t *ret_n)
{
    static char piece[16384];
    ssize_t n = read(e->fds[which], piece, sizeof piece);

    *ret_n = n > 0 ? (size_t)n : 0;
    if (n <= 0)
        return n < 0 && errno == EINTR;
    if (which == OUT)
        e->on_out(e, piece, (size_t)n);
    else
        take_err(e, piece, (size_t)n);
    return true;
}

static void stop_reading(struct errand *e, int which)
{
    if (e->on_read[which])
        event_free(TAKE_PTR(e->on_read[which]));
    if (e->fds[which] >= 0)
        close(e->fds[which]);
    e->fds[which] = -1;
}

static void on_read(struct errand *e, int which)
{
    size_t n;

    if (!read_piece(e, which, &n) && errno != EAGAIN)
        stop_reading(e, which);
}

static void on_out(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    on_read(arg, OUT);
}

static void on_err(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    on_read(arg, ERR);
}

/* It has ended: what is in the pipes now, and no more. */
static void read_rest(struct errand *e)
{
    for (int which = OUT; which <= ERR; which++) {
        size_t n, late = 0;
        while (e->fds[which] >= 0 && late < LATE_MAX && read_piece(e, which, &n))
            late += n;
        stop_reading(e, which);
    }
    if (e->line.len)
        take_line(e);
    if (e->lines > LINES_MAX)
        job_log(e->job, LOG_WARN, "%zu more lines were not kept", e->lines - LINES_MAX);
}

/* ---------------------------------------------------------------- what it is given */

static int memory_file(const void *p, size_t n)
{
    int fd = memfd_create("job", MFD_CLOEXEC);

    if (fd >= 0 && (write(fd, p, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static rc open_pipe(struct cx *cx, struct errand *e, int which, int *ret_its)
{
    static const event_callback_fn callbacks[] = {on_out, on_err};
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(cx, OS, "no pipe for a process: %s", strerror(errno));
    *ret_its = ends[1];
    e->fds[which] = ends[0];
    fcntl(ends[0], F_SETFL, O_NONBLOCK); /* of our end alone */
    e->on_read[which] = event_new(loop_base(), ends[0], EV_READ | EV_PERSIST, callbacks[which], e);
    if (!e->on_read[which] || event_add(e->on_read[which], NULL) != 0)
        return fail(cx, OS, "a pipe cannot be watched");
    return OK;
}

static rc bear(struct cx *cx, struct errand *e, struct birth b, const void *in, size_t in_len)
{
    _cleanup_(closep) int given = memory_file(in, in_len), out = -1, err = -1, more = -1;

    if (e->previous)
        more = memory_file(e->previous, strlen(e->previous));
    if (given < 0 || (e->previous && more < 0))
        return fail(cx, OS, "no memory file for a process: %s", strerror(errno));
    try(open_pipe(cx, e, OUT, &out));
    try(open_pipe(cx, e, ERR, &err));
    b.in = given;
    b.out = out;
    b.err = err;
    b.more = e->previous ? more : 0;
    return nursery_bear(cx, &b, &e->ward);
}

/* ---------------------------------------------------------------- how it is ended */

/* How long it may go on after it was asked to end. */
static int64_t grace_ms(const struct errand *e)
{
    const struct job_run *run = e->job->run;
    int64_t grace = run->pool->settings->worker_kill_grace;

    if (run->lost)
        return MIN(grace, (int64_t)LOST_MS);
    return run->wished_away || run->released ? grace
                                             : INT64_MAX; /* soft limit: until the hard one */
}

/* A fiber that was cancelled waits again, for this one thing. */
static rc wait_on(struct cx *cx, struct errand *e, int64_t deadline_mono_ms)
{
    cx->cancelled = false;
    cx->deadline_mono_ms = deadline_mono_ms;
    return nursery_wait(cx, &e->ward);
}

static rc attend(struct cx *cx, struct errand *e)
{
    int64_t hard = cx->deadline_mono_ms;
    rc r = nursery_wait(cx, &e->ward);

    if (r == E_CANCELLED) {
        int64_t grace = grace_ms(e), now = clock_mono_ms();
        e->cut = r;
        nursery_signal(&e->ward, SIGTERM);
        r = wait_on(cx, e, grace < INT64_MAX && (!hard || now + grace < hard) ? now + grace : hard);
    }
    if (r != OK) {
        e->cut = e->cut && clock_mono_ms() < hard ? e->cut : r;
        e->killed = true;
        nursery_signal(&e->ward, SIGKILL);
        r = wait_on(cx, e, clock_mono_ms() + DYING_MS);
    }
    if (r != OK)
        return fail(cx, DEADLINE, "process %d does not end, killed or not", (int)e->ward.pid);
    return OK;
}

static rc carry_out(struct cx *cx, struct errand *e, const struct birth *b, const void *in,
                    size_t in_len)
{
    rc r = bear(cx, e, *b, in, in_len);

    if (r == OK)
        r = attend(cx, e);
    read_rest(e);
    if (r == OK && e->ward.errno_of_fork)
        return fail(cx, OS, "a process cannot be forked: %s", strerror(e->ward.errno_of_fork));
    return r;
}

rc errand_run(struct cx *cx, struct errand *e, const struct birth *b, const void *in, size_t in_len)
{
    e->fds[OUT] = e->fds[ERR] = -1;
    e->line = BUF(LINE_MAX);
    e->tail = BUF(ERRAND_TAIL_MAX);
    e->ward.ended = true; /* not born yet */
    try(seat_take(cx, e->job, SEAT_PROCESS));
    rc r = carry_out(cx, e, b, in, in_len);
    seat_leave(e->job->run->pool, SEAT_PROCESS);
    return r;
}

void errand_release(struct errand *e)
{
    nursery_forget(&e->ward);
    buf_release(&e->line);
    buf_release(&e->tail);
}

static void story_lines(const struct errand *e, struct buf *out)
{
    const char *line = buf_str(&e->tail), *sep = "; last lines: ";

    while (*line) {
        size_t n = strcspn(line, "\n");
        buf_puts(out, sep);
        buf_append(out, line, n);
        line += n + (line[n] == '\n');
        sep = " | ";
    }
}

void errand_story(const struct errand *e, struct buf *out)
{
    int status = e->ward.status;

    if (e->killed && e->cut == E_DEADLINE)
        buf_printf(out, "killed at its time limit of %lld ms", (long long)e->job->timeout_ms);
    else if (WIFSIGNALED(status))
        buf_printf(out, "%s by signal %d (%s)", e->killed ? "killed" : "ended", WTERMSIG(status),
                   strsignal(WTERMSIG(status)));
    else
        buf_printf(out, "exit status %d", WEXITSTATUS(status));
    if (e->ward.peak_kb)
        buf_printf(out, "; peak memory %lld kB", (long long)e->ward.peak_kb);
    story_lines(e, out);
}

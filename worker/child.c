/* child.c - a task of kind MW_CHILD: its function in a process of its own.
 *
 *      job's fiber                                  ward
 *        facts of the job ──── memory file ───────> fd 0
 *        progress, log, end <── frames ───────────── fd 3
 *        lines of the log   <── whatever it prints ─ fd 1, 2
 *
 * The function has ended well only when its end frame is there whole and the exit status is 0: a process that
 * is killed while it writes has said nothing. SIGTERM is not death to a task but mw_job_cancelled(). */
#include "base/clock.h"
#include "worker/errand.h"
#include "worker/frame.h"
#include "worker/guest.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct frame_head {
    uint32_t kind, len;
};

/* ---------------------------------------------------------------- in the ward */

#define TOLD 3

static volatile sig_atomic_t asked_to_end;

static void on_term(int sig)
{
    asked_to_end = sig;
}

static void write_all(const void *data, size_t n)
{
    const char *p = data;

    while (n > 0) {
        ssize_t w = write(TOLD, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            _exit(1); /* nobody listens any more */
        p += w;
        n -= (size_t)w;
    }
}

static void say(uint32_t kind, const struct buf *b)
{
    const struct frame_head h = {kind, (uint32_t)b->len};

    if (!buf_ok(b))
        return;
    write_all(&h, sizeof h);
    write_all(b->p, b->len);
}

static void ward_progress(struct mw_job *f, const char *json)
{
    _cleanup_(buf_release) struct buf b = BUF(MW_RESULT_MAX + 64);

    (void)f;
    frame_text(&b, json);
    say(FRAME_PROGRESS, &b);
}

static void ward_log(struct mw_job *f, enum log_level level, const char *line)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(8));

    (void)f;
    frame_number(&b, level);
    frame_text(&b, line);
    say(FRAME_LOG, &b);
}

static rc ward_sleep(struct mw_job *f, int64_t ms)
{
    int64_t end = clock_mono_ms() + ms;
    sigset_t term, old;
    rc r = OK;

    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, &old); /* a signal between the look and the sleep is not missed */
    while (r == OK && !asked_to_end) {
        int64_t now = clock_mono_ms(), until = end;
        if (f->deadline_mono_ms)
            until = MIN(end, f->deadline_mono_ms);
        if (now >= until) {
            r = until < end ? E_DEADLINE : OK;
            break;
        }
        struct timespec t = {(until - now) / 1000, (until - now) % 1000 * 1000000};
        sigset_t while_asleep = old;
        sigdelset(&while_asleep, SIGTERM);
        if (pselect(0, NULL, NULL, NULL, &t, &while_asleep) < 0 && errno != EINTR)
            r = E_OS;
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    return asked_to_end ? E_CANCELLED : r;
}

static bool ward_cancelled(struct mw_job *f)
{
    (void)f;
    return asked_to_end;
}

static const struct face_ways ward_ways = {ward_progress, ward_log, ward_sleep, ward_cancelled};

static char *read_given(size_t *ret_n)
{
    struct stat st;

    if (fstat(0, &st) != 0)
        return NULL;
    char *p = xmalloc((size_t)st.st_size + 1);
    if (read(0, p, (size_t)st.st_size) != st.st_size) {
        free(p);
        return NULL;
    }
    *ret_n = (size_t)st.st_size;
    return p;
}

int child_task_main(size_t task)
{
    const struct guest *g = guest_at(task);
    struct mw_job f = {.ways = &ward_ways};
    size_t n = 0;
    char *given = read_given(&n);
    struct frame_reader r = {given, given + n, false};

    signal(SIGTERM, on_term);
    signal(SIGPIPE, SIG_IGN);
    STAILQ_INIT(&f.wishes);
    if (!given || !frame_read_facts(&r, &f))
        return 1;
    close(0);
    (void)open("/dev/null", O_RDONLY); /* 0 again: the function may read its standard input */
    int returned = g->spec->run(&f);
    _cleanup_(buf_release) struct buf b = BUF(FRAME_MAX);
    frame_end(&b, &f, returned);
    fflush(NULL);
    if (!buf_ok(&b)) {
        fprintf(stderr, "its end has more than %zu bytes\n", FRAME_MAX);
        return 1;
    }
    say(FRAME_END, &b);
    face_release(&f);
    free(given);
    return 0;
}

/* ---------------------------------------------------------------- on the job's fiber */

struct heard {
    struct buf in; /* frames that are not there whole */
    struct buf end;
    bool bad;
};

static void heed(struct errand *e, struct heard *h, uint32_t kind, const char *p, size_t n)
{
    struct frame_reader r = {p, p + n, false};
    int64_t level = kind == FRAME_LOG ? frame_read_number(&r) : 0;

    if (kind == FRAME_END) {
        buf_reset(&h->end);
        buf_append(&h->end, p, n);
        return;
    }
    const char *text = frame_read_text(&r);
    if (!text)
        h->bad = true;
    else if (kind == FRAME_PROGRESS)
        job_progress(e->job, text);
    else
        job_log(e->job, level <= LOG_ERROR ? (enum log_level)level : LOG_INFO, "%s", text);
}

static void on_out(struct errand *e, const char *p, size_t n)
{
    struct heard *h = e->arg;
    struct frame_head head;

    h->bad |= !buf_append(&h->in, p, n);
    while (!h->bad && h->in.len >= sizeof head) {
        memcpy(&head, h->in.p, sizeof head);
        h->bad |= head.len > FRAME_MAX;
        if (h->bad || h->in.len < sizeof head + head.len)
            return;
        heed(e, h, head.kind, h->in.p + sizeof head, head.len);
        buf_consume(&h->in, sizeof head + head.len);
    }
}

/* No end was said: it was killed, it crashed, it called exit(), or it wrote over its own words. */
static rc died(struct cx *cx, struct job *job, const struct errand *e)
{
    _cleanup_(buf_release) struct buf story = BUF(ERRAND_TAIL_MAX + KiB(4));
    rc code = e->cut ? e->cut : E_TASK_DIED;

    errand_story(e, &story);
    return job_fail(cx, job, code, error_info(code)->code, buf_str(&story));
}

static rc judge(struct cx *cx, struct job *job, const struct errand *e, struct heard *h)
{
    struct frame_reader r = {h->end.p, h->end.p + h->end.len, false};
    _cleanup_(face_release) struct mw_job f = {0};
    int returned;

    if (h->bad || !h->end.len || e->ward.status != 0)
        return died(cx, job, e);
    face_init(&f, job, 0, NULL, NULL);
    try(frame_read_end(cx, &r, &f, &returned));
    return guest_end(cx, job, &f, returned);
}

rc child_run(struct cx *cx, struct job *job)
{
    struct heard h = {.in = BUF(FRAME_MAX + KiB(64)), .end = BUF(FRAME_MAX)};
    struct errand e = {.job = job, .on_out = on_out, .arg = &h};
    const struct birth b = {.task = guest_number(guest_of(job))};
    _cleanup_(buf_release) struct buf facts = BUF(FRAME_MAX);
    struct mw_job f;

    face_init(&f, job, cx->deadline_mono_ms, NULL, NULL);
    frame_facts(&facts, &f);
    if (!buf_ok(&facts))
        return fail(cx, BUFFER_FULL, "a job and what stood before it have more than %zu bytes",
                    FRAME_MAX);
    rc r = errand_run(cx, &e, &b, facts.p, facts.len);
    if (r == OK)
        r = judge(cx, job, &e, &h);
    errand_release(&e);
    buf_release(&h.in);
    buf_release(&h.end);
    return r;
}

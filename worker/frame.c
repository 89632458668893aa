/* frame.c - see frame.h. */
#include "worker/frame.h"
#include "base/clock.h"
#include <string.h>

#define NO_TEXT UINT32_MAX

void frame_text(struct buf *b, const char *s)
{
    uint32_t n = s ? (uint32_t)strlen(s) : NO_TEXT;

    buf_append(b, &n, sizeof n);
    if (s)
        buf_append(b, s, (size_t)n + 1);
}

void frame_number(struct buf *b, int64_t n)
{
    buf_append(b, &n, sizeof n);
}

static bool take(struct frame_reader *r, void *ret, size_t n)
{
    r->bad |= (size_t)(r->end - r->p) < n;
    if (r->bad)
        return false;
    memcpy(ret, r->p, n);
    r->p += n;
    return true;
}

const char *frame_read_text(struct frame_reader *r)
{
    uint32_t n = NO_TEXT;
    const char *s = r->p + sizeof n;

    if (!take(r, &n, sizeof n) || n == NO_TEXT)
        return NULL;
    r->bad |= (size_t)(r->end - s) <= n || memchr(s, 0, (size_t)n + 1) != s + n;
    if (r->bad)
        return NULL;
    r->p = s + n + 1;
    return s;
}

int64_t frame_read_number(struct frame_reader *r)
{
    int64_t n = 0;

    take(r, &n, sizeof n);
    return n;
}

/* ---------------------------------------------------------------- facts */

void frame_facts(struct buf *b, const struct mw_job *f)
{
    const char *const texts[] = {f->id,      f->task,  f->queue,    f->args, f->tenant,
                                 f->subject, f->trace, f->previous, f->token};

    for (size_t i = 0; i < COUNT(texts); i++)
        frame_text(b, texts[i]);
    frame_number(b, f->attempt);
    frame_number(b, f->max_attempts);
    frame_number(b, f->deadline_mono_ms);
}

bool frame_read_facts(struct frame_reader *r, struct mw_job *ret)
{
    const char **const texts[] = {&ret->id,     &ret->task,    &ret->queue, &ret->args,
                                  &ret->tenant, &ret->subject, &ret->trace, &ret->previous};

    for (size_t i = 0; i < COUNT(texts); i++)
        *texts[i] = frame_read_text(r);
    const char *token = frame_read_text(r);
    r->bad |= !token || strlen(token) >= sizeof ret->token;
    if (r->bad)
        return false;
    strcpy(ret->token, token);
    ret->attempt = (int)frame_read_number(r);
    ret->max_attempts = (int)frame_read_number(r);
    ret->deadline_mono_ms = frame_read_number(r); /* one kernel, one monotonic clock */
    return !r->bad;
}

/* ---------------------------------------------------------------- the end */

static void wish_write(struct buf *b, const struct wish *w)
{
    const struct job_new *j = &w->job;
    const struct job_options *o = &w->options;
    const char *const texts[] = {
        j->id,        j->queue,      j->task,
        j->args,      j->unique_key, j->subject,
        j->tenant_id, j->trace,      o->limit_key[0] ? o->limit_key : NULL};
    const int64_t numbers[] = {j->durable,      j->priority,      j->run_at_ms, j->timeout_ms,
                               j->max_attempts, o->expires_at_ms, o->soft_ms,   o->result_ttl_ms,
                               o->unique,       o->unique_ms};

    for (size_t i = 0; i < COUNT(texts); i++)
        frame_text(b, texts[i]);
    for (size_t i = 0; i < COUNT(numbers); i++)
        frame_number(b, numbers[i]);
}

/* As somebody asked for it, so that wish_read checks it like any other. */
static rc wish_take(struct cx *cx, struct frame_reader *r, struct mw_job *f)
{
    static const enum mw_unique uniques[] = {MW_UNIQUE_FINISH, MW_UNIQUE_START, MW_UNIQUE_WINDOW};
    struct mw_new n = {0};
    const char **const texts[] = {&n.id,      &n.queue,  &n.task,        &n.args,     &n.unique_key,
                                  &n.subject, &n.tenant, &n.traceparent, &n.limit_key};
    int64_t v[10];

    for (size_t i = 0; i < COUNT(texts); i++)
        *texts[i] = frame_read_text(r);
    for (size_t i = 0; i < COUNT(v); i++)
        v[i] = frame_read_number(r);
    if (r->bad)
        return fail(cx, TASK_DIED, "what it said of a further job cannot be read");
    n.broker = !v[0];
    n.priority = (int)v[1];
    n.run_at_ms = v[2];
    n.timeout_ms = v[3];
    n.max_attempts = (int)v[4];
    n.expires_at_ms = v[5];
    n.soft_timeout_ms = v[6];
    n.result_ttl_ms = v[7];
    n.unique = n.unique_key && (uint64_t)v[8] < COUNT(uniques) ? uniques[v[8]] : MW_UNIQUE_NONE;
    n.unique_ms = v[9];
    struct face_wish *w = arena_alloc(&f->arena, sizeof *w);
    try(wish_read(cx, &f->arena, &n, clock_ms(), &w->wish));
    STAILQ_INSERT_TAIL(&f->wishes, w, link);
    f->nwishes++;
    return OK;
}

void frame_end(struct buf *b, const struct mw_job *f, int returned)
{
    struct face_wish *w;

    frame_number(b, returned);
    frame_number(b, f->end);
    frame_number(b, f->cut);
    frame_number(b, f->snooze_ms);
    frame_text(b, f->error.code);
    frame_text(b, f->error.text);
    frame_text(b, f->result);
    frame_number(b, (int64_t)f->nwishes);
    STAILQ_FOREACH(w, &f->wishes, link)
    wish_write(b, &w->wish);
}

rc frame_read_end(struct cx *cx, struct frame_reader *r, struct mw_job *f, int *ret_returned)
{
    int64_t returned = frame_read_number(r), end = frame_read_number(r), cut = frame_read_number(r),
            snooze_ms = frame_read_number(r);
    const char *code = frame_read_text(r), *text = frame_read_text(r), *result = frame_read_text(r);
    int64_t n = frame_read_number(r);

    if (r->bad || !code || !text || (uint64_t)end > FACE_CUT || (uint64_t)cut >= RC_COUNT ||
        (uint64_t)n > MW_ENQUEUE_MAX)
        return fail(cx, TASK_DIED, "what it said at its end cannot be read");
    for (int64_t i = 0; i < n; i++)
        try(wish_take(cx, r, f));
    if (result && mw_result(f, result) != 0) /* said once more: it is stored as JSON */
        return fail(cx, TASK_DIED, "its result is no JSON");
    f->end = (enum face_end)end;
    f->cut = (rc)cut;
    f->snooze_ms = snooze_ms;
    face_error(&f->error, code, text);
    *ret_returned = (int)returned;
    return OK;
}

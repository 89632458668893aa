/* face.c - the mw_ calls of a task; see face.h. */
#include "worker/face.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/program.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAILED         (-1)
#define WISH_BYTES_MAX MiB(8) /* arguments of all jobs of one attempt */

_Static_assert(MW_ID_SIZE == ID_LEN + 1 && MW_ARGS_MAX == JOB_ARGS_MAX &&
                   MW_ENQUEUE_MAX == QUEUE_BATCH,
               "mihwar.h says what the engine says");

void face_init(struct mw_job *ret, const struct job *j, int64_t deadline_mono_ms,
               const struct face_ways *ways, void *arg)
{
    *ret = (struct mw_job){
        .ways = ways,
        .arg = arg,
        .id = j->lease.id,
        .task = j->task,
        .queue = j->queue,
        .args = j->args,
        .tenant = j->tenant_id,
        .subject = j->subject,
        .trace = j->trace,
        .previous = j->previous,
        .attempt = j->attempt,
        .max_attempts = j->max_attempts,
        .deadline_mono_ms = deadline_mono_ms,
    };
    token_format(&j->lease, ret->token);
    STAILQ_INIT(&ret->wishes);
}

void face_release(struct mw_job *f)
{
    free(f->result);
    f->result = NULL;
    arena_release(&f->arena);
}

void face_error(struct mw_error *e, const char *code, const char *text)
{
    snprintf(e->code, sizeof e->code, "%s", code);
    snprintf(e->text, sizeof e->text, "%s", text);
    e->text[utf8_cut(e->text, strlen(e->text))] = 0;
}

enum face_end face_end(struct mw_job *f, int returned)
{
    if (returned == 0)
        return f->end = FACE_SILENT;
    if (f->end == FACE_SILENT) {
        char text[64];
        snprintf(text, sizeof text, "the task returned %d and said nothing", returned);
        face_error(&f->error, "task_failed", text);
        f->end = FACE_FAILED;
    }
    return f->end;
}

/* ---------------------------------------------------------------- what it sees */

const char *mw_version(void)
{
    return program_version();
}

const char *mw_job_id(const struct mw_job *f)
{
    return f->id;
}

const char *mw_job_task(const struct mw_job *f)
{
    return f->task;
}

const char *mw_job_queue(const struct mw_job *f)
{
    return f->queue;
}

const char *mw_job_args(const struct mw_job *f)
{
    return f->args;
}

int mw_job_attempt(const struct mw_job *f)
{
    return f->attempt;
}

int mw_job_max_attempts(const struct mw_job *f)
{
    return f->max_attempts;
}

const char *mw_job_token(const struct mw_job *f)
{
    return f->token;
}

const char *mw_job_tenant(const struct mw_job *f)
{
    return f->tenant;
}

const char *mw_job_subject(const struct mw_job *f)
{
    return f->subject;
}

const char *mw_job_traceparent(const struct mw_job *f)
{
    return f->trace;
}

const char *mw_job_previous(const struct mw_job *f)
{
    return f->previous;
}

int64_t mw_job_left_ms(const struct mw_job *f)
{
    return f->deadline_mono_ms ? MAX(f->deadline_mono_ms - clock_mono_ms(), 0) : INT64_MAX;
}

int mw_job_cancelled(const struct mw_job *f)
{
    return f->ways->cancelled((struct mw_job *)(uintptr_t)f);
}

const struct mw_error *mw_job_error(const struct mw_job *f)
{
    return &f->error;
}

/* ---------------------------------------------------------------- what it may do */

static bool code_valid(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return n > 0 && n < sizeof((struct mw_error *)0)->code && !s[n];
}

__attribute__((format(printf, 4, 0))) static int
end_with(struct mw_job *f, enum face_end end, const char *code, const char *fmt, va_list args)
{
    char text[sizeof f->error.text];

    vsnprintf(text, sizeof text, fmt, args);
    face_error(&f->error, code && code_valid(code) ? code : "task_failed", text);
    f->end = end;
    return FAILED;
}

int mw_fail(struct mw_job *f, const char *code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    end_with(f, FACE_FAILED, code, fmt, args);
    va_end(args);
    return FAILED;
}

int mw_refuse(struct mw_job *f, const char *code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    end_with(f, FACE_REFUSED, code, fmt, args);
    va_end(args);
    return FAILED;
}

int mw_snooze(struct mw_job *f, int64_t ms)
{
    f->end = FACE_SNOOZED;
    f->snooze_ms = MAX(ms, 1);
    face_error(&f->error, "", "");
    return FAILED;
}

/* A mistake of the task: the same the next time. */
static int refuse_rc(struct mw_job *f, const struct cx *cx, rc r)
{
    f->end = FACE_REFUSED;
    face_error(&f->error, error_info(r)->code, cx_words(cx, r));
    return FAILED;
}

int mw_result(struct mw_job *f, const char *json)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN(f->task);
    cJSON *tree;
    rc r = json_parse(&cx, json, strnlen(json, MW_RESULT_MAX + 1), MW_RESULT_MAX, &tree);

    if (r != OK)
        return refuse_rc(f, &cx, r);
    free(f->result);
    f->result = xstrdup(json);
    return 0;
}

void mw_progress(struct mw_job *f, const char *json)
{
    f->ways->progress(f, json);
}

void mw_log(struct mw_job *f, enum mw_level level, const char *fmt, ...)
{
    static const enum log_level levels[] = {LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR};
    char line[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    line[utf8_cut(line, strlen(line))] = 0;
    f->ways->log(f, (size_t)level < COUNT(levels) ? levels[level] : LOG_INFO, line);
}

static rc add_wish(struct mw_job *f, struct cx *cx, const struct mw_new *n, char *ret_id)
{
    struct mw_new own = *n;
    struct face_wish *w = arena_alloc(&f->arena, sizeof *w);

    if (!own.tenant)
        own.tenant = f->tenant;
    if (!own.traceparent)
        own.traceparent = f->trace;
    f->wish_bytes += own.args ? strnlen(own.args, MW_ARGS_MAX + 1) : 0;
    if (f->nwishes == MW_ENQUEUE_MAX || f->wish_bytes > WISH_BYTES_MAX)
        return fail(cx, BUFFER_FULL, "an attempt may enqueue %d jobs with %zu bytes of arguments",
                    MW_ENQUEUE_MAX, WISH_BYTES_MAX);
    try(wish_read(cx, &f->arena, &own, clock_ms(), &w->wish));
    STAILQ_INSERT_TAIL(&f->wishes, w, link);
    f->nwishes++;
    if (ret_id)
        strcpy(ret_id, w->wish.job.id);
    return OK;
}

int mw_job_enqueue(struct mw_job *f, const struct mw_new *n, char ret_id[MW_ID_SIZE])
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN(f->task);
    rc r = add_wish(f, &cx, n, ret_id);

    return r == OK ? 0 : refuse_rc(f, &cx, r);
}

int mw_sleep(struct mw_job *f, int64_t ms)
{
    rc r = f->ways->sleep(f, MAX(ms, 0));

    if (r == OK)
        return 0;
    f->end = FACE_CUT;
    f->cut = r;
    face_error(&f->error, error_info(r)->code, error_info(r)->text);
    return FAILED;
}

/* tell.c - what a job says of itself while it runs (task.h): its token, its progress, its log. */
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "domain/agents/mask.h"
#include "worker/run.h"
#include "worker/timeline.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *job_token(struct job *job)
{
    const struct lease *l = &job->lease;

    if (!job->run->token)
        job->run->token = xasprintf("%s:%d.%d.%d", l->id, l->generation, l->claim, l->snoozes);
    return job->run->token;
}

static void tell(struct job_run *run, const char *level, int slot, const char *body)
{
    struct job_event ev = {.generation = run->job.lease.generation,
                           .attempt = run->job.lease.claim,
                           .slot = slot,
                           .seq = ++run->told,
                           .at_ms = clock_ms(),
                           .level = level,
                           .body = body};

    memcpy(ev.job_id, run->job.lease.id, sizeof ev.job_id);
    timeline_put(run->pool->env.timeline, &ev);
}

static rc mask_progress(struct cx *cx, const struct job *job, const char *json, const char **ret)
{
    const char *masked;
    cJSON *v;

    try(json_parse(cx, json, strlen(json), JOB_EVENT_BODY_MAX, &v));
    try(mask_text(cx, job->run->pool->env.mask, json, &masked));
    if (masked && strlen(masked) > JOB_EVENT_BODY_MAX) /* stars may be longer than the secret */
        return fail(cx, INVALID_FIELD, "a progress has at most %d bytes, masked",
                    JOB_EVENT_BODY_MAX);
    *ret = masked ? masked : json;
    return OK;
}

void job_progress(struct job *job, const char *json)
{
    _cleanup_(cx_release) struct cx cx =
        CX_PLAIN("progress"); /* forgotten at once: a job may tell for hours */
    const char *body = NULL;
    rc r = mask_progress(&cx, job, json, &body);

    if (r == OK)
        tell(job->run, NULL, 0, body);
    else
        log_fail(LOG_WARN, "progress.refused", &cx, r, kv_str("job", job->lease.id),
                 kv_str("task", job->task));
}

/* A line is one line of UTF-8 that PostgreSQL takes. */
static void straighten(char *s)
{
    bool valid = utf8_valid(s, strlen(s));

    for (; *s; s++)
        if ((unsigned char)*s < 0x20 && *s != '\t')
            *s = ' ';
        else if (!valid && (unsigned char)*s >= 0x80)
            *s = '?';
}

void job_log(struct job *job, enum log_level level, const char *fmt, ...)
{
    static const char *const words[] = {"debug", "info", "warn", "error"};
    struct job_run *run = job->run;
    char line[JOB_EVENT_LINE_MAX + 8];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    line[utf8_cut(line, JOB_EVENT_LINE_MAX)] = 0;
    straighten(line);
    _cleanup_(freep) char *masked = mask_line(run->pool->env.mask, line);
    if (masked)
        masked[utf8_cut(masked, JOB_EVENT_LINE_MAX)] = 0;
    tell(run, words[MIN((size_t)level, COUNT(words) - 1)],
         1 + (int)(run->lines++ % JOB_EVENT_LINES), masked ? masked : line);
}

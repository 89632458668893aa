/* tell.c - what a running job tells those who look at it: how far it is, and lines of its log. */
#include "base/log.h"
#include "worker/run.h"
#include <stdarg.h>
#include <stdio.h>

void job_progress(struct job *job, const char *json)
{
    log_ev(LOG_DEBUG, "job.progress", kv_str("job", job->lease.id), kv_str("task", job->task),
           kv_str("progress", json));
}

void job_log(struct job *job, enum log_level level, const char *fmt, ...)
{
    char line[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    log_ev(level, "job.log", kv_str("job", job->lease.id), kv_str("task", job->task),
           kv_str("line", line));
}

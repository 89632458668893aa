/* builtin.c - see builtin.h. */
#include "worker/tasks/builtin.h"
#include "base/inject.h"
#include "base/json.h"
#include "base/text.h"
#include "rt/fiber.h"
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

static rc noop(struct cx *cx, struct job *job)
{
    if (job->subject && str_eq(job->subject, "crash") && inject(TASK_CRASH))
        abort();
    if (job->subject && str_eq(job->subject, "spin") && inject(TASK_CRASH))
        for (volatile unsigned i = 0;; i++) {
        }
    if (job->subject && str_eq(job->subject, "block") && inject(TASK_CRASH))
        for (;;)
            pause();
    return OK;
}

static rc echo(struct cx *cx, struct job *job)
{
    cJSON *args;
    const char *word = NULL;

    try(json_parse(cx, job->args, job->args_len, JOB_ARGS_MAX, &args));
    if (cJSON_IsObject(args))
        try(json_str_opt(cx, args, "fail", 64, &word));
    if (word)
        return fail_rc(cx, error_from_code(word), "asked to fail with %s", word);
    job_result(job, job->args);
    return OK;
}

static rc previous(struct cx *cx, struct job *job)
{
    const char *json;

    try(job_previous(cx, job, &json));
    job_result(job, json ? json : "null");
    return OK;
}

/* The fields of a job: its args, or of one that comes from Celery ({"args": [..], "kwargs": {..}}) the kwargs. */
static rc fields_of(struct cx *cx, const struct job *job, cJSON **ret)
{
    cJSON *args;

    try(json_parse(cx, job->args, job->args_len, JOB_ARGS_MAX, &args));
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(args, "args");
    cJSON *kwargs = cJSON_GetObjectItemCaseSensitive(args, "kwargs");
    *ret = cJSON_IsArray(list) && cJSON_IsObject(kwargs) ? kwargs : args;
    return OK;
}

/* {"code": "overloaded", "attempts": 2}: the first two attempts fail so, the third completes. */
static rc stumble(struct cx *cx, struct job *job)
{
    cJSON *fields;
    const char *code;
    int64_t attempts = INT32_MAX;

    try(fields_of(cx, job, &fields));
    try(json_str_opt(cx, fields, "code", 64, &code));
    try(json_int_opt(cx, fields, "attempts", 0, INT32_MAX, &attempts));
    if (job->attempt <= attempts)
        return fail_rc(cx, error_from_code(code ? code : "internal"), "asked to fail, attempt %d",
                       job->attempt);
    job_result(job, arena_printf(&cx->arena, "{\"attempt\":%d}", job->attempt));
    return OK;
}

/* {"ms": 5000, "steps": 10}: with steps it tells after each of them. */
static rc nap(struct cx *cx, struct job *job)
{
    cJSON *fields;
    int64_t ms = 0, steps = 0;

    try(fields_of(cx, job, &fields));
    try(json_int_opt(cx, fields, "ms", 0, 24 * 3600 * 1000, &ms));
    try(json_int_opt(cx, fields, "steps", 0, 100000, &steps));
    if (steps == 0)
        return fiber_sleep(cx, ms);
    for (int64_t i = 1; i <= steps; i++) {
        try(fiber_sleep(cx, ms / steps));
        job_log(job, LOG_INFO, "step %" PRId64 " of %" PRId64, i, steps);
        _cleanup_(freep) char *progress =
            xasprintf("{\"done\":%" PRId64 ",\"of\":%" PRId64 "}", i, steps);
        job_progress(job, progress);
    }
    return OK;
}

struct task task_fail = {
    .name = "mihwar.fail",
    .queue = "default",
    .run = stumble,
    .max_attempts = 3,
    .timeout_ms = 10 * 1000,
    .backoff = {.base_ms = 100, .cap_ms = 60 * 1000, .factor = 2, .jitter = JITTER_EQUAL},
};

struct task task_noop = {
    .name = "mihwar.noop",
    .queue = "default",
    .run = noop,
    .max_attempts = 3,
    .timeout_ms = 10 * 1000,
    .backoff = {.base_ms = 1000, .cap_ms = 60 * 1000, .factor = 2, .jitter = JITTER_EQUAL},
};

struct task task_echo = {
    .name = "mihwar.echo",
    .queue = "default",
    .run = echo,
    .max_attempts = 3,
    .timeout_ms = 10 * 1000,
    .backoff = {.base_ms = 100, .cap_ms = 60 * 1000, .factor = 2, .jitter = JITTER_EQUAL},
};

struct task task_previous = {
    .name = "mihwar.previous",
    .queue = "default",
    .run = previous,
    .max_attempts = 3,
    .timeout_ms = 60 * 1000,
    .backoff = {.base_ms = 100, .cap_ms = 60 * 1000, .factor = 2, .jitter = JITTER_EQUAL},
};

struct task task_sleep = {
    .name = "mihwar.sleep",
    .queue = "default",
    .run = nap,
    .max_attempts = 3,
    .timeout_ms = 24 * 3600 * 1000,
    .backoff = {.base_ms = 1000, .cap_ms = 60 * 1000, .factor = 2, .jitter = JITTER_EQUAL},
};

/* job_read.c - see job_read.h. A field that is not known is an error: a misspelt one would be
 * taken for not said. */
#include "queue/job_read.h"
#include "base/clock.h"
#include "base/text.h"
#include "queue/options.h"
#include <string.h>

#define YEAR_MS INT64_C(31536000000)

static const char *const names[] = {"id",
                                    "task",
                                    "args",
                                    "queue",
                                    "priority",
                                    "run_at",
                                    "delay_ms",
                                    "unique_key",
                                    "max_attempts",
                                    "timeout_ms",
                                    "durable",
                                    "expires_at",
                                    "soft_timeout_ms",
                                    "result_ttl_ms",
                                    "unique_until",
                                    "unique_for_ms",
                                    "limit_key",
                                    NULL};

static rc read_time(struct cx *cx, const cJSON *o, int64_t *ret_ms, int64_t *ret_delay_ms)
{
    const char *text;
    int64_t delay = -1;

    try(json_str_opt(cx, o, "run_at", 64, &text));
    try(json_int_opt(cx, o, "delay_ms", 0, YEAR_MS, &delay));
    if (text && delay >= 0)
        return fail_at(cx, INVALID_FIELD, "/delay_ms", "say run_at or delay_ms, not both");
    if (text && !clock_parse(text, ret_ms))
        return fail_at(cx, INVALID_FIELD, "/run_at",
                       "run_at must be a time such as 2026-01-05T10:11:12Z");
    *ret_delay_ms = MAX(delay, 0);
    return OK;
}

/* unique_until and unique_for_ms say what unique_key means. */
static rc read_unique(struct cx *cx, const cJSON *o, const char *key, struct job_options *opt)
{
    const char *until;

    try(json_str_opt(cx, o, "unique_until", 8, &until));
    try(json_int_opt(cx, o, "unique_for_ms", 1, YEAR_MS, &opt->unique_ms));
    if (until && !str_eq(until, "start") && !str_eq(until, "finish"))
        return fail_at(cx, INVALID_FIELD, "/unique_until", "say start or finish");
    if (until && opt->unique_ms)
        return fail_at(cx, INVALID_FIELD, "/unique_for_ms",
                       "say unique_until or unique_for_ms, not both");
    if ((until || opt->unique_ms) && !key)
        return fail_at(cx, INVALID_FIELD, "/unique_key", "it is missing: what shall be unique?");
    opt->unique = opt->unique_ms           ? JOB_UNIQUE_WINDOW
                  : str_eq(until, "start") ? JOB_UNIQUE_START
                                           : JOB_UNIQUE_FINISH;
    return OK;
}

static rc read_options(struct cx *cx, const cJSON *o, const char *key,
                       const struct job_options **ret)
{
    struct job_options *opt = arena_alloc(&cx->arena, sizeof *opt);
    const char *text;

    *opt = (struct job_options){0};
    try(json_str_opt(cx, o, "expires_at", 64, &text));
    if (text && !clock_parse(text, &opt->expires_at_ms))
        return fail_at(cx, INVALID_FIELD, "/expires_at",
                       "expires_at must be a time such as 2026-01-05T10:11:12Z");
    try(json_int_opt(cx, o, "soft_timeout_ms", 1, 86400000, &opt->soft_ms));
    try(json_int_opt(cx, o, "result_ttl_ms", 1, YEAR_MS, &opt->result_ttl_ms));
    try(json_str_opt(cx, o, "limit_key", LIMIT_KEY_MAX, &text));
    if (text)
        memcpy(opt->limit_key, text, MIN(strlen(text) + 1, sizeof opt->limit_key));
    opt->limit_key[LIMIT_KEY_MAX] = 0;
    if (text && !limit_key_valid(text))
        return fail_at(cx, INVALID_FIELD, "/limit_key",
                       "a limit's key has 1 to %d characters of A-Z a-z 0-9 _ . : @ -",
                       LIMIT_KEY_MAX);
    try(read_unique(cx, o, key, opt));
    *ret = opt;
    return OK;
}

rc job_new_read(struct cx *cx, const cJSON *o, struct job_new *ret, int64_t *ret_delay_ms)
{
    const cJSON *args = cJSON_GetObjectItemCaseSensitive(o, "args");
    struct job_new j = {.durable = true};
    int64_t priority = JOB_PRIORITY, attempts = 0;

    if (!cJSON_IsObject(o))
        return fail(cx, INVALID_FIELD, "a job must be a JSON object");
    try(json_only(cx, o, names));
    if (cJSON_GetObjectItemCaseSensitive(o, "id")) {
        try(json_id(cx, o, "id", j.id));
        j.remembered = true;
    }
    try(json_str(cx, o, "task", TASK_NAME_MAX, &j.task));
    try(json_str_opt(cx, o, "queue", QUEUE_NAME_MAX, &j.queue));
    try(json_str_opt(cx, o, "unique_key", JOB_KEY_TEXT_MAX, &j.unique_key));
    if (args)
        j.args = json_print(cx, (cJSON *)args);
    try(json_int_opt(cx, o, "priority", 0, 9, &priority));
    try(json_int_opt(cx, o, "max_attempts", 1, 1000, &attempts));
    try(json_int_opt(cx, o, "timeout_ms", 1, 86400000, &j.timeout_ms));
    try(json_bool_opt(cx, o, "durable", &j.durable));
    try(read_time(cx, o, &j.run_at_ms, ret_delay_ms));
    try(read_options(cx, o, j.unique_key, &j.options));
    j.priority = (int)priority;
    j.max_attempts = (int)attempts;
    if (j.remembered && !j.durable && j.unique_key)
        return fail_at(cx, INVALID_FIELD, "/unique_key",
                       "a broker job has an id of its own or a unique key, not both");
    *ret = j;
    return OK;
}

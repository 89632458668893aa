/* jobs.c - any task for anybody: enqueue, look, cancel, retry.
 *
 * A tenant's unique keys live in a space of their own ("t:<tenant>:<key>"), so that no shop can
 * block another's job or the platform's. With an Idempotency-Key the ids of the jobs are derived
 * from it: a crash between enqueueing and keeping the answer makes the repetition find the same
 * jobs. */
#include "queue/jobs.h"
#include "base/clock.h"
#include "base/text.h"
#include "hub/api/api.h"
#include "hub/hub.h"
#include "queue/options.h"
#include "secure/digest.h"
#include <stdio.h>
#include <string.h>

#define UNIQUE_TEXT_MAX 200 /* characters a caller may use of UNIQUE_KEY_MAX */
#define YEAR_MS         INT64_C(31536000000)

static const char *const names[] = {
    "task",          "args",         "queue",         "priority",  "run_at",     "delay_ms",
    "unique_key",    "max_attempts", "timeout_ms",    "durable",   "expires_at", "soft_timeout_ms",
    "result_ttl_ms", "unique_until", "unique_for_ms", "limit_key", NULL};

static const char *tenant_prefix(struct cx *cx, const struct request *q)
{
    return arena_printf(&cx->arena, "t:%s:", q->who.tenant_id);
}

static rc read_time(struct cx *cx, const cJSON *o, int64_t *ret_ms)
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
    if (delay > 0)
        *ret_ms = clock_ms() + delay;
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

static rc read_job(struct cx *cx, const struct request *q, const cJSON *o, struct job_new *j)
{
    const cJSON *args = cJSON_GetObjectItemCaseSensitive(o, "args");
    const char *key;
    int64_t priority = JOB_PRIORITY, attempts = 0;

    *j = (struct job_new){.durable = true, .tenant_id = q->who.tenant_id, .trace = cx->trace};
    if (!cJSON_IsObject(o))
        return fail(cx, INVALID_FIELD, "a job must be a JSON object");
    try(json_only(cx, o, names));
    try(json_str(cx, o, "task", TASK_NAME_MAX, &j->task));
    try(task_allowed(cx, j->task));
    try(json_str_opt(cx, o, "queue", QUEUE_NAME_MAX, &j->queue));
    try(json_str_opt(cx, o, "unique_key", UNIQUE_TEXT_MAX, &key));
    if (key)
        j->unique_key = arena_printf(&cx->arena, "%s%s", tenant_prefix(cx, q), key);
    if (args)
        j->args = json_print(cx, (cJSON *)args);
    try(json_int_opt(cx, o, "priority", 0, 9, &priority));
    try(json_int_opt(cx, o, "max_attempts", 1, 1000, &attempts));
    try(json_int_opt(cx, o, "timeout_ms", 1, 86400000, &j->timeout_ms));
    try(json_bool_opt(cx, o, "durable", &j->durable));
    try(read_time(cx, o, &j->run_at_ms));
    try(read_options(cx, o, key, &j->options));
    j->priority = (int)priority;
    j->max_attempts = (int)attempts;
    return job_new_check(cx, j);
}

/* A UUID (version 8, RFC 9562) out of what names the job: tenant, key, place in the request. */
static void derive_id(const struct request *q, const char *key, size_t i, char out[ID_LEN + 1])
{
    char text[ID_LEN + 300], h[DIGEST_HEX_LEN + 1];
    int n = snprintf(text, sizeof text, "%s|%s|%zu", q->who.tenant_id, key, i);

    sha256_hex(text, (size_t)n, h);
    snprintf(out, ID_LEN + 1, "%.8s-%.4s-8%.3s-8%.3s-%.12s", h, h + 8, h + 12, h + 15, h + 18);
}

static rc print_made(struct cx *cx, struct request *q, const struct job_new *j)
{
    const char *state = j->run_at_ms > clock_ms() ? "scheduled" : "ready";

    if (j->existed) {
        struct job_info info;
        try(job_load(cx, q->hub->engine, j->id, q->who.tenant_id, &info));
        state = info.state;
    }
    buf_printf(&q->out, "{\"id\":\"%s\",\"state\":\"%s\",\"existed\":%s}", j->id, state,
               j->existed ? "true" : "false");
    return OK;
}

static rc enqueue(struct cx *cx, struct request *q, void *arg)
{
    const cJSON *body = arg, *one = body;
    bool many = cJSON_IsArray(body);
    size_t n = many ? (size_t)cJSON_GetArraySize(body) : 1;
    struct job_new *jobs;
    const char *key;

    if (n == 0 || n > QUEUE_BATCH)
        return fail(cx, INVALID_FIELD, "send 1 to %d jobs", QUEUE_BATCH);
    try(request_idempotency_key(cx, q, &key));
    jobs = arena_alloc(&cx->arena, n * sizeof *jobs);
    one = many ? body->child : body;
    for (size_t i = 0; i < n; i++, one = one->next) {
        rc r = read_job(cx, q, one, &jobs[i]);
        if (r != OK && many && cx->err.pointer[0]) {
            char inner[sizeof cx->err.pointer];
            memcpy(inner, cx->err.pointer, sizeof inner);
            snprintf(cx->err.pointer, sizeof cx->err.pointer, "/%zu%.50s", i, inner);
        }
        try(r);
        if (key)
            derive_id(q, key, i, jobs[i].id);
    }
    try(engine_enqueue(cx, q->hub->engine, jobs, n));
    buf_puts(&q->out, many ? "[" : "");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        try(print_made(cx, q, &jobs[i]));
    }
    buf_puts(&q->out, many ? "]" : "");
    if (!many)
        reply_header(q, "Location", arena_printf(&cx->arena, "/v1/jobs/%s", jobs[0].id));
    return reply_json(cx, q, 201);
}

rc jobs_post(struct cx *cx, struct request *q)
{
    cJSON *body;

    try(request_body(cx, q, &body));
    return answer_once(cx, q, enqueue, body);
}

static rc reply_job(struct cx *cx, struct request *q, const char *id)
{
    struct job_info j;
    const char *prefix = tenant_prefix(cx, q);

    try(job_load(cx, q->hub->engine, id, q->who.tenant_id, &j));
    if (j.unique_key && starts_with(j.unique_key, prefix))
        j.unique_key += strlen(prefix);
    job_info_json(&j, &q->out);
    return reply_json(cx, q, 200);
}

/* The id of a job of this tenant that is not the platform's own: those are moved through their
 * order. */
static rc own_job(struct cx *cx, struct request *q, char id[ID_LEN + 1])
{
    struct job_info j;

    try(request_param_id(cx, q, 0, "job", id));
    try(job_load(cx, q->hub->engine, id, q->who.tenant_id, &j));
    return task_allowed(cx, j.task);
}

rc jobs_get(struct cx *cx, struct request *q)
{
    char id[ID_LEN + 1];

    try(request_param_id(cx, q, 0, "job", id));
    return reply_job(cx, q, id);
}

rc jobs_cancel(struct cx *cx, struct request *q)
{
    char id[ID_LEN + 1];
    bool running;

    try(own_job(cx, q, id));
    try(engine_cancel(cx, q->hub->engine, id, &running));
    return reply_job(cx, q, id);
}

rc jobs_retry(struct cx *cx, struct request *q)
{
    char id[ID_LEN + 1];

    try(own_job(cx, q, id));
    try(engine_retry_now(cx, q->hub->engine, id));
    return reply_job(cx, q, id);
}

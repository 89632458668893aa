/* jobs.c - any task for anybody: enqueue, look, cancel, retry.
 *
 * A tenant's unique keys live in a space of their own ("t:<tenant>:<key>"), so that no shop can
 * block another's job or the platform's. With an Idempotency-Key the ids of the jobs are derived
 * from it: a crash between enqueueing and keeping the answer makes the repetition find the same
 * jobs. */
#include "queue/jobs.h"
#include "base/clock.h"
#include "base/text.h"
#include "base/trace.h"
#include "hub/api/api.h"
#include "hub/hangup.h"
#include "hub/hub.h"
#include "queue/await.h"
#include "queue/explain.h"
#include "queue/job_read.h"
#include "rt/spans.h"
#include <stdio.h>
#include <string.h>

static const char *tenant_prefix(struct cx *cx, const struct request *q)
{
    return arena_printf(&cx->arena, "t:%s:", q->who.tenant_id);
}

static rc read_job(struct cx *cx, const struct request *q, const cJSON *o, struct job_new *j)
{
    int64_t delay_ms;

    try(job_new_read(cx, o, j, &delay_ms));
    try(task_startable(cx, j->task));
    j->tenant_id = q->who.tenant_id;
    j->trace = trace_text(cx);
    if (j->unique_key)
        j->unique_key = arena_printf(&cx->arena, "%s%s", tenant_prefix(cx, q), j->unique_key);
    if (delay_ms)
        j->run_at_ms = clock_ms() + delay_ms;
    return job_new_check(cx, j);
}

static rc print_made(struct cx *cx, struct request *q, const struct job_new *j)
{
    const char *state = j->run_at_ms > clock_ms() ? "scheduled" : "ready";

    if (j->existed) {
        struct job_info info;
        rc r = job_load(cx, q->hub->engine, j->id, q->who.tenant_id, &info);
        if (r == E_NOT_FOUND && j->durable)
            return fail_at(cx, ALREADY_EXISTS, "/id", "another job has this id");
        if (r != OK && r != E_NOT_FOUND)
            return r;
        state =
            r == OK ? info.state : "ended"; /* a broker job that has ended: nothing else is left */
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
        if (key && !jobs[i].id[0]) {
            derived_id(q, key, arena_printf(&cx->arena, "%zu", i), jobs[i].id);
            jobs[i].remembered = true;
        }
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

static rc enqueue_traced(struct cx *cx, struct request *q, void *body)
{
    struct span span;

    span_begin(cx, &span, SPAN_PRODUCER, "job.enqueue");
    rc r = enqueue(cx, q, body);
    span_end(cx, &span, r == OK, NULL);
    return r;
}

rc jobs_post(struct cx *cx, struct request *q)
{
    cJSON *body;

    try(request_body(cx, q, &body));
    return answer_once(cx, q, enqueue_traced, body);
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

/* Those who wait stand in the way of nobody: half of the places for requests is not theirs. */
static rc wait_for_end(struct cx *cx, struct request *q, const char *id, int64_t ms, bool *ret_gone)
{
    _cleanup_(hangup_end) struct hangup h = {0};

    *ret_gone = false;
    if (await_count(q->hub->await) >= (size_t)MAX(q->hub->settings->hub_queue_max / 2, 1))
        return fail(cx, OVERLOADED, "%zu callers wait for jobs here already: ask without wait_ms",
                    await_count(q->hub->await));
    hangup_watch(cx, &h, q);
    rc r = await_end(cx, q->hub->await, id, q->who.tenant_id, ms);
    *ret_gone = h.gone;
    return h.gone ? OK : r;
}

rc jobs_get(struct cx *cx, struct request *q)
{
    const char *wait = request_query(cx, q, "wait_ms");
    char id[ID_LEN + 1];
    int64_t ms = 0;
    bool gone = false;

    try(request_param_id(cx, q, 0, "job", id));
    if (wait && !parse_int(wait, 0, AWAIT_MAX_MS, &ms))
        return fail_at(cx, INVALID_FIELD, "/wait_ms", "wait_ms is 0 to %d", AWAIT_MAX_MS);
    if (ms > 0)
        try(wait_for_end(cx, q, id, ms, &gone));
    return gone ? hangup_reply(cx, q) : reply_job(cx, q, id);
}

rc jobs_events(struct cx *cx, struct request *q)
{
    char id[ID_LEN + 1], next[48];
    struct job_event *e;
    struct job_info j;
    int limit;
    size_t n;

    try(request_param_id(cx, q, 0, "job", id));
    try(request_limit(cx, q, &limit));
    try(job_load(cx, q->hub->engine, id, q->who.tenant_id, &j));
    try(timeline_list(cx, q->hub->engine, id, request_query(cx, q, "after"), (size_t)limit, &e,
                      &n));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        job_event_json(&e[i], &q->out);
    }
    if (n == (size_t)limit)
        buf_printf(&q->out, "],\"next\":\"%s\"}", job_event_cursor(&e[n - 1], next));
    else
        buf_puts(&q->out, "],\"next\":null}");
    return reply_json(cx, q, 200);
}

rc jobs_explain(struct cx *cx, struct request *q)
{
    char id[ID_LEN + 1];
    struct explanation *x;

    try(request_param_id(cx, q, 0, "job", id));
    try(engine_explain(cx, q->hub->engine, id, q->who.tenant_id, &x));
    explanation_json(x, &q->out);
    return reply_json(cx, q, 200);
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

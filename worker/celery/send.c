/* send.c - see send.h. */
#include "worker/celery/send.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "worker/celery/consumer.h"
#include <stdio.h>
#include <string.h>

#define WAIT_MAX_MS (24 * 3600 * 1000)

static rc client_of(struct cx *cx, const struct job *job, struct celery **ret)
{
    struct consumer *c = job->run->pool->celery;

    if (!c)
        return fail(cx, CONFIG, "this worker serves no Celery: celery_broker_url is not set");
    *ret = c->celery;
    return OK;
}

rc job_celery_send(struct cx *cx, struct job *job, struct celery_new *m)
{
    struct celery *c = NULL;

    try(client_of(cx, job, &c));
    return celery_send(cx, c, m);
}

struct errand {
    struct celery_new message;
    int64_t wait_ms;
};

static rc read_errand(struct cx *cx, const struct job *job, struct errand *e)
{
    static const char *const names[] = {"task",         "args",       "kwargs",  "queue",
                                        "countdown_ms", "expires_ms", "wait_ms", NULL};
    struct raw all;
    cJSON *o;
    int64_t countdown = 0, expires = 0;

    try(json_parse(cx, job->args, job->args_len, JOB_ARGS_MAX, &o));
    try(raw_read(cx, job->args, job->args_len, JOB_ARGS_MAX, &all));
    try(json_only(cx, o, names));
    e->message = (struct celery_new){
        .args = raw_get(all, "args"), .kwargs = raw_get(all, "kwargs"), .group_index = -1};
    try(json_str(cx, o, "task", CELERY_NAME_MAX, &e->message.task));
    try(json_str_opt(cx, o, "queue", CELERY_NAME_MAX, &e->message.queue));
    try(json_int_opt(cx, o, "countdown_ms", 0, WAIT_MAX_MS * 365LL, &countdown));
    try(json_int_opt(cx, o, "expires_ms", 0, WAIT_MAX_MS * 365LL, &expires));
    try(json_int_opt(cx, o, "wait_ms", 0, WAIT_MAX_MS, &e->wait_ms));
    if (raw_there(e->message.args) && !raw_is_array(e->message.args))
        return fail_at(cx, INVALID_FIELD, "/args", "args must be a list");
    if (raw_there(e->message.kwargs) && !raw_is_object(e->message.kwargs))
        return fail_at(cx, INVALID_FIELD, "/kwargs", "kwargs must be an object");
    e->message.eta_ms = countdown ? clock_ms() + countdown : 0;
    e->message.expires_ms = expires ? clock_ms() + expires : 0;
    snprintf(e->message.id, sizeof e->message.id, "%s", job->lease.id);
    return OK;
}

/* The Celery result as the job's. */
static rc take_result(struct cx *cx, struct job *job, const struct celery_result *r)
{
    if (str_eq(r->status, "SUCCESS")) {
        job_result(job, arena_strndup(&cx->arena, r->result.p, r->result.n));
        return OK;
    }
    const char *type = raw_str(cx, raw_get(r->result, "exc_type"));
    struct raw said = {0};
    raw_next(raw_get(r->result, "exc_message"), &said);
    const char *text = raw_str(cx, said);
    return fail(cx, UPSTREAM_REFUSED, "the Celery task ended as %s: %s %.200s", r->status,
                type ? type : "", text ? text : "");
}

static rc await_result(struct cx *cx, struct job *job, struct celery *c, const struct errand *e)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, e->wait_ms);
    struct celery_result r;

    try(celery_result_wait(cx, c, job_env(job)->settings, e->message.id, &r));
    return take_result(cx, job, &r);
}

static rc run_errand(struct cx *cx, struct job *job)
{
    struct celery_result there;
    struct errand e = {0};
    struct celery *c = NULL;

    try(client_of(cx, job, &c));
    try(read_errand(cx, job, &e));
    if (job->attempt > 1) { /* an earlier attempt may have sent it */
        try(celery_result_get(cx, c, e.message.id, &there));
        if (there.ready && e.wait_ms)
            return take_result(cx, job, &there);
    }
    try(celery_send(cx, c, &e.message));
    if (e.wait_ms)
        return await_result(cx, job, c, &e);
    job_result(job, arena_printf(&cx->arena, "{\"id\":\"%s\"}", e.message.id));
    return OK;
}

struct task task_celery_send = {
    .name = "celery.send",
    .queue = "default",
    .run = run_errand,
    .max_attempts = 10,
    .timeout_ms = WAIT_MAX_MS,
    .backoff = {.base_ms = 1000, .cap_ms = 60 * 1000, .factor = 2, .jitter = JITTER_EQUAL},
    .durable = true,
};

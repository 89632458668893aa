/* webhook_deliver.c - tell the shop's front end how its order ended: its callback_url gets the order's JSON, signed.
 *
 *   POST callback_url
 *   Mihwar-Event: order.completed
 *   Mihwar-Delivery: <id of the job>          the same for each try of one event
 *   Mihwar-Timestamp: 1767606852
 *   Mihwar-Signature: <hex of HMAC-SHA-256(the tenant's secret, timestamp "." body)>
 *
 * Any 2xx is taken for "heard". Everything else is tried again, 8 times in all over an hour and a half; redirects are not followed.
 * Private addresses are refused at the socket, whatever name led there, unless webhook_allow_private says otherwise. */
#include "worker/tasks/webhook_deliver.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/settings.h"
#include "domain/orders/order_flow.h"
#include "domain/shop/tenants.h"
#include "rt/http.h"
#include "secure/digest.h"
#include "worker/tasks/step.h"
#include <stdio.h>

#define TRIES    8
#define BODY_MAX MiB(1)

static rc send_to(struct cx *cx, const struct worker_env *env, const char *url,
                  const struct http_header *headers, const struct buf *body)
{
    struct http_response r;
    long status;

    rc result = http_call(cx,
                          &(struct http_request){
                              .what = "webhook.deliver",
                              .method = "POST",
                              .url = url,
                              .headers = headers,
                              .body = body->p,
                              .body_len = body->len,
                              .connect_ms = env->settings->webhook_timeout,
                              .total_ms = env->settings->webhook_timeout,
                              .max_body = KiB(64),
                              .refuse_private = !env->settings->webhook_allow_private,
                          },
                          &r);
    status = r.outcome == HTTP_ANSWERED ? r.status : 0;
    const char *why = arena_strdup(&cx->arena, r.why);
    http_response_release(&r);
    if (result != OK)
        return result;
    if (status >= 200 && status < 300)
        return OK;
    if (status)
        return fail(cx, UPSTREAM_UNCLEAR, "the callback was answered with HTTP status %ld", status);
    return fail(cx, UPSTREAM_UNCLEAR, "the callback failed: %s", why);
}

static rc deliver(struct cx *cx, struct job *job, const struct order *o, const char *event)
{
    const struct worker_env *env = job_env(job);
    _cleanup_(buf_release) struct buf body = BUF(BODY_MAX);
    char signature[DIGEST_HEX_LEN + 1], stamp[24];
    int64_t now_s = clock_ms() / 1000;
    const char *secret;

    try(order_json(cx, env->seal, o, &body));
    if (!buf_ok(&body))
        return fail(cx, BUFFER_FULL, "the order's JSON is longer than a callback may be");
    try(tenant_webhook_secret(cx, env->db, env->seal, o->tenant_id, &secret));
    webhook_sign(secret, now_s, body.p, body.len, signature);
    snprintf(stamp, sizeof stamp, "%lld", (long long)now_s);
    const struct http_header headers[] = {
        {"Content-Type", "application/json"}, {"Mihwar-Event", event},
        {"Mihwar-Delivery", job->lease.id},   {"Mihwar-Timestamp", stamp},
        {"Mihwar-Signature", signature},      {NULL, NULL}};
    return send_to(cx, env, o->callback_url, headers, &body);
}

static rc run(struct cx *cx, struct job *job)
{
    char id[ID_LEN + 1];
    const char *event;
    struct order o;
    cJSON *args;

    try(args_id(cx, job, "order_id", id));
    try(json_parse(cx, job->args, job->args_len, JOB_ARGS_MAX, &args));
    try(json_str(cx, args, "event", 64, &event));
    try(order_load(cx, job_env(job)->db, NULL, id, &o));
    if (o.callback_url)
        try(deliver(cx, job, &o, event));
    log_ev(LOG_INFO, "webhook.delivered", kv_str("order", id), kv_str("event", event),
           kv_int("attempt", job->attempt));
    return job_complete(cx, job, NULL, NULL);
}

struct task task_webhook_deliver = {
    .name = WEBHOOK_TASK,
    .queue = WEBHOOK_QUEUE,
    .run = run,
    .max_attempts = TRIES,
    .timeout_ms = 2 * 60 * 1000,
    .backoff = {.base_ms = 2000, .cap_ms = 3600 * 1000, .factor = 4, .jitter = JITTER_EQUAL},
    .durable = true,
};

/* schedules.c - what a tenant wants started by the clock. The house's own schedules are the
 * operators' (mihwar schedule). */
#include "domain/clock/schedules.h"
#include "base/clock.h"
#include "base/text.h"
#include "hub/api/api.h"
#include "hub/hub.h"
#include <string.h>

static const char *const names[] = {"name",  "task",     "args",    "queue",     "priority", "cron",
                                    "every", "timezone", "enabled", "jitter_ms", "misfire",  NULL};

static rc read_every(struct cx *cx, const cJSON *body, struct schedule *s)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(body, "every");
    int64_t ms = 0;

    if (!v || cJSON_IsNull(v))
        return OK;
    if (cJSON_IsNumber(v)) {
        try(json_int_opt(cx, body, "every", 100, INT64_C(315360000000), &ms));
    } else if (!cJSON_IsString(v) || !parse_duration_ms(v->valuestring, &ms)) {
        return fail_at(cx, INVALID_FIELD, "/every",
                       "every must be a duration such as 30s, 5m, 2h or 1d");
    }
    s->every_ms = ms;
    s->cron = NULL;
    return OK;
}

/* Writes the fields that are there over s. */
static rc read_schedule(struct cx *cx, struct request *q, const cJSON *body, struct schedule *s)
{
    const char *text;
    const cJSON *args = cJSON_GetObjectItemCaseSensitive(body, "args");
    int64_t n;

    try(json_only(cx, body, names));
    try(json_str_opt(cx, body, "name", 120, &text));
    s->name = text ? text : s->name;
    try(json_str_opt(cx, body, "task", TASK_NAME_MAX, &text));
    s->task = text ? text : s->task;
    try(json_str_opt(cx, body, "queue", QUEUE_NAME_MAX, &text));
    s->queue = text ? text : s->queue;
    try(json_str_opt(cx, body, "timezone", 64, &text));
    s->timezone = text ? text : s->timezone;
    try(json_str_opt(cx, body, "misfire", 16, &text));
    s->misfire = text ? text : s->misfire;
    try(json_str_opt(cx, body, "cron", 255, &text));
    if (text) {
        s->cron = text;
        s->every_ms = 0;
    }
    if (text && cJSON_GetObjectItemCaseSensitive(body, "every"))
        return fail_at(cx, INVALID_FIELD, "/every", "a schedule has cron or every, not both");
    try(read_every(cx, body, s));
    if (args)
        s->args = json_print(cx, (cJSON *)args);
    n = s->jitter_ms;
    try(json_int_opt(cx, body, "jitter_ms", 0, 86400000, &n));
    s->jitter_ms = n;
    n = s->priority;
    try(json_int_opt(cx, body, "priority", 0, 9, &n));
    s->priority = (int)n;
    try(json_bool_opt(cx, body, "enabled", &s->enabled));
    try(task_startable(cx, s->task));
    return schedule_check(cx, s);
}

rc schedules_get(struct cx *cx, struct request *q)
{
    struct schedule *s;
    size_t n;
    int limit;

    try(request_limit(cx, q, &limit));
    try(schedule_list(cx, q->hub->db, q->who.tenant_id, request_query(cx, q, "after"), limit, &s,
                      &n));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        try(schedule_json(cx, &s[i], &q->out));
    }
    buf_puts(&q->out, "],\"next\":");
    buf_json_str(&q->out, n == (size_t)limit ? s[n - 1].name : NULL);
    buf_puts(&q->out, "}");
    return reply_json(cx, q, 200);
}

static rc add(struct cx *cx, struct request *q, void *arg)
{
    struct schedule s = {.tenant_id = q->who.tenant_id, .enabled = true, .priority = JOB_PRIORITY},
                    made;

    try(read_schedule(cx, q, arg, &s));
    try(schedule_add(cx, q->hub->db, request_actor(cx, q), &s, &made));
    reply_header(q, "Location", arena_printf(&cx->arena, "/v1/schedules/%s", made.id));
    try(schedule_json(cx, &made, &q->out));
    return reply_json(cx, q, 201);
}

rc schedules_post(struct cx *cx, struct request *q)
{
    cJSON *body;

    try(request_object(cx, q, &body));
    return answer_once(cx, q, add, body);
}

rc schedules_patch(struct cx *cx, struct request *q)
{
    struct schedule s, changed;
    cJSON *body;

    try(request_object(cx, q, &body));
    try(schedule_get(cx, q->hub->db, q->who.tenant_id, q->params[0], &s));
    try(read_schedule(cx, q, body, &s));
    try(schedule_change(cx, q->hub->db, request_actor(cx, q), &s, &changed));
    try(schedule_json(cx, &changed, &q->out));
    return reply_json(cx, q, 200);
}

rc schedules_delete(struct cx *cx, struct request *q)
{
    struct schedule s;

    try(schedule_get(cx, q->hub->db, q->who.tenant_id, q->params[0], &s));
    try(schedule_remove(cx, q->hub->db, request_actor(cx, q), s.id));
    q->status = 204;
    return OK;
}

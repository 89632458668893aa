/* limits.c - what may be under way, how often it may begin, whose breaker is open. For operators' keys: a queue serves all
 * tenants. */
#include "queue/shape/limits.h"
#include "domain/audit.h"
#include "hub/api/api.h"
#include "hub/hub.h"
#include "queue/options.h"
#include <string.h>

static void print_state(struct buf *out, const struct limit_state *s)
{
    buf_printf(out,
               ",\"state\":{\"held\":%lld,\"under_way\":%lld,\"wait_ms\":%lld,\"breaker\":\"%s\","
               "\"open_ms\":%lld,\"ended_well\":%lld,\"ended_badly\":%lld,\"holders\":[",
               (long long)s->held, (long long)s->under_way, (long long)s->wait_ms,
               *s->breaker ? s->breaker : "closed", (long long)s->open_ms, (long long)s->ended_well,
               (long long)s->ended_badly);
    for (size_t i = 0; i < s->nslots; i++) {
        buf_puts(out, i ? "," : "");
        buf_json_str(out, s->slots[i]);
    }
    buf_puts(out, "]}");
}

/* Of "*" each key has a state of its own: none is shown. */
static rc print_row(struct cx *cx, struct request *q, const struct limit_row *row)
{
    struct limit_state s;

    buf_puts(&q->out, "{\"queue\":");
    buf_json_str(&q->out, row->queue);
    buf_json_field(&q->out, "shared", row->shared);
    buf_putc(&q->out, ',');
    limit_write(&row->limit, &q->out);
    if (strcmp(row->limit.key, LIMIT_ANY) == 0) {
        buf_puts(&q->out, ",\"state\":null");
    } else {
        try(limit_look(cx, q->hub->engine, row->queue, row->limit.key, &s));
        print_state(&q->out, &s);
    }
    buf_putc(&q->out, '}');
    return OK;
}

static rc reply_list(struct cx *cx, struct request *q, const char *queue)
{
    struct limit_row *rows;
    size_t n;

    try(limits_list(cx, q->hub->engine, queue, &rows, &n));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        try(print_row(cx, q, &rows[i]));
    }
    buf_puts(&q->out, "],\"next\":null}");
    return reply_json(cx, q, 200);
}

rc limits_get(struct cx *cx, struct request *q)
{
    return reply_list(cx, q, request_query(cx, q, "queue"));
}

static rc note(struct cx *cx, struct request *q, const char *action, const char *queue,
               const char *key)
{
    return audit_note(cx, q->hub->db,
                      &(struct audit){.actor = request_actor(cx, q),
                                      .action = action,
                                      .object_type = "limit",
                                      .object_id = arena_printf(&cx->arena, "%s/%s", queue, key)});
}

/* {"queues":["a","b"], the limit} */
rc limits_put(struct cx *cx, struct request *q)
{
    const char *queues[LIMIT_QUEUES_MAX];
    const cJSON *name;
    cJSON *body, *list;
    struct limit l;
    size_t n = 0;

    try(request_object(cx, q, &body));
    list = cJSON_GetObjectItemCaseSensitive(body, "queues");
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) > LIMIT_QUEUES_MAX)
        return fail_at(cx, INVALID_FIELD, "/queues", "a list of 1 to %d queues", LIMIT_QUEUES_MAX);
    cJSON_ArrayForEach(name, list)
    {
        if (!cJSON_IsString(name))
            return fail_at(cx, INVALID_FIELD, "/queues", "a queue is named by a string");
        queues[n++] = name->valuestring;
    }
    list = cJSON_DetachItemViaPointer(body, list);
    rc r = limit_read(cx, body, &l); /* what is left of it */
    cJSON_AddItemToObject(body, "queues", list);
    try(r);
    try(limit_set(cx, q->hub->engine, queues, n, &l));
    for (size_t i = 0; i < n; i++)
        try(note(cx, q, "limit.set", queues[i], l.key));
    return reply_list(cx, q, queues[0]);
}

static rc named(struct cx *cx, const cJSON *body, const char **ret_queue, const char **ret_key)
{
    try(json_str(cx, body, "queue", QUEUE_NAME_MAX, ret_queue));
    return json_str(cx, body, "key", LIMIT_KEY_MAX, ret_key);
}

rc limits_remove(struct cx *cx, struct request *q)
{
    static const char *const names[] = {"queue", "key", NULL};
    const char *queue, *key;
    cJSON *body;

    try(request_object(cx, q, &body));
    try(json_only(cx, body, names));
    try(named(cx, body, &queue, &key));
    try(limit_remove(cx, q->hub->engine, queue, key));
    try(note(cx, q, "limit.remove", queue, key));
    return reply_list(cx, q, queue);
}

rc limits_breaker(struct cx *cx, struct request *q)
{
    static const char *const names[] = {"queue", "key", "forced", NULL};
    const char *queue, *key, *forced;
    cJSON *body;

    try(request_object(cx, q, &body));
    try(json_only(cx, body, names));
    try(named(cx, body, &queue, &key));
    try(json_str_opt(cx, body, "forced", 8, &forced));
    if (forced && strcmp(forced, "open") != 0 && strcmp(forced, "closed") != 0)
        return fail_at(cx, INVALID_FIELD, "/forced",
                       "open or closed; null leaves it to itself again");
    try(limit_force(cx, q->hub->engine, queue, key, forced));
    try(note(cx, q, forced ? "limit.force" : "limit.release", queue, key));
    return reply_list(cx, q, queue);
}

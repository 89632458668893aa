/* dlq.c - dead letters of a tenant: look, put back, drop. The platform's own are the operators'
 * (mihwar dlq). */
#include "queue/dlq.h"
#include "base/text.h"
#include "domain/audit.h"
#include "hub/api/api.h"
#include "hub/hub.h"
#include <string.h>

rc dlq_list_get(struct cx *cx, struct request *q)
{
    struct dlq_filter f = {.queue = request_query(cx, q, "queue"),
                           .task = request_query(cx, q, "task"),
                           .error = request_query(cx, q, "error"),
                           .tenant_id = q->who.tenant_id};
    struct dead_letter *d;
    char after[ID_LEN + 1];
    size_t n;

    try(request_limit(cx, q, &f.limit));
    try(request_id_query(cx, q, "after", after));
    f.after = after[0] ? after : NULL;
    try(dlq_list(cx, q->hub->db, &f, &d, &n));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        dead_letter_json(&d[i], &q->out);
    }
    buf_puts(&q->out, "],\"next\":");
    buf_json_str(&q->out, n == (size_t)f.limit ? d[n - 1].id : NULL);
    buf_puts(&q->out, "}");
    return reply_json(cx, q, 200);
}

/* Another tenant's dead letter reads as none. */
static rc check_owner(struct cx *cx, struct request *q, const char *id)
{
    struct dead_letter d;

    try(dlq_get(cx, q->hub->db, id, &d));
    if (!str_eq(d.tenant_id, q->who.tenant_id))
        return fail(cx, NOT_FOUND, "no dead letter has the id %s", id);
    return OK;
}

static rc read_ids(struct cx *cx, struct request *q, const cJSON *list, const char ***ret,
                   size_t *ret_n)
{
    size_t n = 0, count = (size_t)cJSON_GetArraySize(list);

    if (!cJSON_IsArray(list) || count == 0 || count > QUEUE_BATCH)
        return fail_at(cx, INVALID_FIELD, "/ids", "ids must be a list of 1 to %d ids", QUEUE_BATCH);
    *ret = arena_alloc(&cx->arena, count * sizeof(char *));
    for (const cJSON *v = list->child; v; v = v->next) {
        char *id = arena_alloc(&cx->arena, ID_LEN + 1);
        if (!cJSON_IsString(v) || !id_parse(v->valuestring, id))
            return fail_at(cx, INVALID_FIELD, "/ids", "ids must be UUIDs");
        try(check_owner(cx, q, id));
        (*ret)[n++] = id;
    }
    *ret_n = n;
    return OK;
}

rc dlq_replay_post(struct cx *cx, struct request *q)
{
    static const char *const names[] = {"ids", "filter", "rate_per_s", NULL};
    static const char *const filter_names[] = {"queue", "task", "error", NULL};
    struct dlq_filter f = {.tenant_id = q->who.tenant_id};
    const cJSON *list, *filter;
    cJSON *body;
    const char **ids = NULL;
    int64_t rate = 0, replayed, skipped;
    size_t n = 0;

    try(request_object(cx, q, &body));
    try(json_only(cx, body, names));
    list = cJSON_GetObjectItemCaseSensitive(body, "ids");
    filter = cJSON_GetObjectItemCaseSensitive(body, "filter");
    if ((list != NULL) == (filter != NULL))
        return fail_at(cx, INVALID_FIELD, "/ids", "say ids or filter; \"filter\":{} means all");
    try(json_int_opt(cx, body, "rate_per_s", 1, 100000, &rate));
    if (list) {
        try(read_ids(cx, q, list, &ids, &n));
    } else {
        if (!cJSON_IsObject(filter))
            return fail_at(cx, INVALID_FIELD, "/filter", "filter must be an object");
        try(json_only(cx, filter, filter_names));
        try(json_str_opt(cx, filter, "queue", QUEUE_NAME_MAX, &f.queue));
        try(json_str_opt(cx, filter, "task", TASK_NAME_MAX, &f.task));
        try(json_str_opt(cx, filter, "error", 64, &f.error));
    }
    try(dlq_replay(cx, q->hub->engine, ids, n, &f, (double)rate, &replayed, &skipped));
    try(audit_note(
        cx, q->hub->db,
        &(struct audit){.tenant_id = q->who.tenant_id,
                        .actor = request_actor(cx, q),
                        .action = "dlq.replay",
                        .object_type = "dlq",
                        .object_id = n == 1 ? ids[0] : "many",
                        .detail = arena_printf(&cx->arena, "{\"replayed\":%lld,\"skipped\":%lld}",
                                               (long long)replayed, (long long)skipped)}));
    buf_printf(&q->out, "{\"replayed\":%lld,\"skipped\":%lld}", (long long)replayed,
               (long long)skipped);
    return reply_json(cx, q, 200);
}

rc dlq_delete(struct cx *cx, struct request *q)
{
    char id[ID_LEN + 1];
    const char *ids[] = {id};

    try(request_param_id(cx, q, 0, "dead letter", id));
    try(check_owner(cx, q, id));
    try(dlq_drop(cx, q->hub->db, ids, 1));
    try(audit_note(cx, q->hub->db,
                   &(struct audit){.tenant_id = q->who.tenant_id,
                                   .actor = request_actor(cx, q),
                                   .action = "dlq.drop",
                                   .object_type = "dlq",
                                   .object_id = id}));
    q->status = 204;
    return OK;
}

/* workflows.c - jobs that follow from each other: begin, look, cancel, retry.
 *
 * With an Idempotency-Key the id is derived from it, as jobs' ids are: a crash between writing the workflow and keeping the
 * answer makes the repetition find the same one. */
#include "base/text.h"
#include "base/trace.h"
#include "hub/api/api.h"
#include "hub/hub.h"
#include "queue/flow/flow_view.h"
#include "rt/spans.h"
#include <string.h>

static rc allowed(struct cx *cx, const struct job_new *j)
{
    return task_startable(cx, j->task);
}

static rc begin(struct cx *cx, struct request *q, void *arg)
{
    const cJSON *body = arg;
    const char *key, *state = "running";
    struct flow_info now;
    struct flow *f;

    try(request_idempotency_key(cx, q, &key));
    try(flow_read(cx, body, allowed, &f));
    f->tenant_id = q->who.tenant_id;
    f->trace = trace_text(cx);
    if (key)
        derived_id(q, key, "workflow", f->id);
    try(flow_start(cx, q->hub->engine, f));
    if (f->existed) {
        try(flow_load(cx, q->hub->db, f->id, q->who.tenant_id, 0, 1, &now));
        state = now.state;
    }
    buf_printf(&q->out, "{\"id\":\"%s\",\"state\":\"%s\",\"jobs\":%d,\"existed\":%s}", f->id, state,
               f->jobs, f->existed ? "true" : "false");
    reply_header(q, "Location", arena_printf(&cx->arena, "/v1/workflows/%s", f->id));
    return reply_json(cx, q, 201);
}

rc workflows_post(struct cx *cx, struct request *q)
{
    cJSON *body;

    try(request_object(cx, q, &body));
    return answer_once(cx, q, begin, body);
}

/* ?after=STEP; 0 if it is not there. */
static rc read_after(struct cx *cx, struct request *q, int *ret)
{
    const char *text = request_query(cx, q, "after");
    int64_t n = 0;

    if (text && !parse_int(text, 0, INT32_MAX, &n))
        return fail_at(cx, INVALID_FIELD, "/after", "after is the number of the last step seen");
    *ret = (int)n;
    return OK;
}

static rc reply_workflow(struct cx *cx, struct request *q, const char *id, int after, int limit)
{
    struct flow_info f;

    try(flow_load(cx, q->hub->db, id, q->who.tenant_id, after, limit, &f));
    flow_info_json(&f, &q->out);
    return reply_json(cx, q, 200);
}

rc workflows_get(struct cx *cx, struct request *q)
{
    char id[ID_LEN + 1];
    int after = 0, limit;

    try(request_param_id(cx, q, 0, "workflow", id));
    try(read_after(cx, q, &after));
    try(request_limit(cx, q, &limit));
    return reply_workflow(cx, q, id, after, limit);
}

rc workflows_list(struct cx *cx, struct request *q)
{
    struct flow_filter filter = {.tenant_id = q->who.tenant_id,
                                 .state = request_query(cx, q, "state")};
    char after[ID_LEN + 1];
    struct flow_info *f;
    size_t n;

    try(request_limit(cx, q, &filter.limit));
    try(request_id_query(cx, q, "after", after));
    filter.after = after[0] ? after : NULL;
    try(flow_list(cx, q->hub->db, &filter, &f, &n));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        flow_row_json(&f[i], &q->out);
    }
    buf_puts(&q->out, "],\"next\":");
    buf_json_str(&q->out, n == (size_t)filter.limit ? f[n - 1].id : NULL);
    buf_puts(&q->out, "}");
    return reply_json(cx, q, 200);
}

rc workflows_cancel(struct cx *cx, struct request *q)
{
    char id[ID_LEN + 1];

    try(request_param_id(cx, q, 0, "workflow", id));
    try(flow_cancel(cx, q->hub->engine, id, q->who.tenant_id));
    return reply_workflow(cx, q, id, 0, 50);
}

rc workflows_retry(struct cx *cx, struct request *q)
{
    char id[ID_LEN + 1];

    try(request_param_id(cx, q, 0, "workflow", id));
    try(flow_retry(cx, q->hub->engine, id, q->who.tenant_id));
    return reply_workflow(cx, q, id, 0, 50);
}

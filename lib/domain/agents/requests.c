/* requests.c - a request read, listed, shown. Accepting is in request_create.c, moving behind request_move.h. */
#include "domain/agents/requests.h"
#include "base/text.h"
#include "domain/agents/request_row.h"
#include "domain/agents/requests.sql.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const words[] = {
    [REQUEST_PENDING] = "pending",     [REQUEST_ASSIGNED] = "assigned",
    [REQUEST_SENT] = "sent",           [REQUEST_COMPLETED] = "completed",
    [REQUEST_FAILED] = "failed",       [REQUEST_TIMEOUT] = "timeout",
    [REQUEST_CANCELLED] = "cancelled",
};

const char *request_status_word(enum request_status s)
{
    assert(s < REQUEST_STATUS_COUNT);
    return words[s];
}

bool request_status_parse(const char *word, enum request_status *ret)
{
    for (size_t i = 0; i < COUNT(words); i++) {
        if (str_eq(word, words[i])) {
            *ret = (enum request_status)i;
            return true;
        }
    }
    return false;
}

rc request_read(struct cx *cx, const struct pg_result *res, int row, struct command_request *q)
{
    struct row r = ROW(cx, res, row);

    q->request_id = row_text(&r);
    q->tenant_id = row_text(&r);
    q->job_id = row_text(&r);
    q->requested_by = row_text(&r);
    q->requested_by_name = row_text(&r);
    q->command = row_text(&r);
    q->payload = row_text(&r);
    q->agent_id = row_text(&r);
    q->agent_type = row_text(&r);
    q->match = row_text(&r);
    const char *status = row_text(&r);
    if (!request_status_parse(status, &q->status))
        return fail(cx, SCHEMA, "request %s has the unknown status '%s'", q->request_id, status);
    q->assigned_agent_id = row_text(&r);
    q->probe = row_bool(&r);
    q->timeout_ms = row_int(&r);
    q->deadline_ms = row_ms(&r);
    q->sends = (int)row_int(&r);
    q->version = (int)row_int(&r);
    q->result = row_text(&r);
    q->error_code = row_text(&r);
    q->error = row_text(&r);
    q->trace = row_text(&r);
    q->admitted_ms = row_ms(&r);
    q->created_ms = row_ms(&r);
    q->assigned_ms = row_ms(&r);
    q->sent_ms = row_ms(&r);
    q->delivered_ms = row_ms(&r);
    q->completed_ms = row_ms(&r);
    q->updated_ms = row_ms(&r);
    return OK;
}

rc request_get(struct cx *cx, struct pg *db, const char *tenant_id, const char *request_id,
               struct command_request *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1];

    if (!id_parse(request_id, id))
        return fail(cx, NOT_FOUND, "there is no such request");
    try(pg_do(cx, db, SQL_REQUEST_GET, &res, pg_s(id), pg_s(tenant_id)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no such request");
    return request_read(cx, res, 0, ret);
}

/* ---------------------------------------------------------------- lists */

/* The smallest id that a request created then can have, an hour of doubt about clocks aside. */
static const char *id_floor(struct cx *cx, int64_t since_ms)
{
    if (since_ms <= 0)
        return NULL;
    uint64_t ms = (uint64_t)MAX(since_ms - 3600 * 1000, 0) & 0xffffffffffffULL;
    return arena_printf(&cx->arena, "%08llx-%04llx-7000-8000-000000000000",
                        (unsigned long long)(ms >> 16), (unsigned long long)(ms & 0xffff));
}

rc request_list(struct cx *cx, struct pg *db, const struct request_filter *f,
                struct command_request **ret, size_t *ret_n, char *next)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    int limit = f->limit > 0 ? f->limit : 50;
    enum request_status s;
    char id[ID_LEN + 1];

    if (f->status && !request_status_parse(f->status, &s))
        return fail_at(cx, INVALID_FIELD, "/status", "there is no such status");
    if (f->after && !id_parse(f->after, id))
        return fail_at(cx, INVALID_FIELD, "/after", "this is not a cursor");
    if (f->limit < 0 || f->limit > 500)
        return fail_at(cx, INVALID_FIELD, "/limit", "must be 1 to 500");
    try(pg_do(cx, db, SQL_REQUEST_LIST, &res, pg_s(f->tenant_id), pg_s(f->status),
              pg_s(f->agent_id), pg_s(f->command), pg_t(f->since_ms), pg_t(f->until_ms),
              pg_s(f->after), pg_i(limit + 1), pg_s(id_floor(cx, f->since_ms))));

    size_t n = rows_of_page(res, limit);
    struct command_request *list = rows_alloc(cx, res, struct command_request);
    for (size_t i = 0; i < n; i++)
        try(request_read(cx, res, (int)i, &list[i]));
    next[0] = '\0';
    if ((size_t)pg_rows(res) > n)
        snprintf(next, ID_LEN + 1, "%s", list[n - 1].request_id);
    *ret = list;
    *ret_n = n;
    return OK;
}

/* ---------------------------------------------------------------- timeline */

rc request_events(struct cx *cx, struct pg *db, const struct command_request *q,
                  struct request_event **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_REQUEST_EVENTS, &res, pg_s(q->request_id)));
    struct request_event *list = rows_alloc(cx, res, struct request_event);
    for (int i = 0; i < pg_rows(res); i++) {
        struct row r = ROW(cx, res, i);
        struct request_event *e = &list[i];
        e->at_ms = row_ms(&r);
        e->step = row_text(&r);
        e->agent_id = row_text(&r);
        e->actor = row_text(&r);
        e->detail = row_text(&r);
    }
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
    return OK;
}

rc request_note(struct cx *cx, struct pg *db, const char *request_id, const char *step,
                const char *agent_id, const char *actor, const char *detail)
{
    return pg_do(cx, db, SQL_REQUEST_NOTE, NULL, pg_s(request_id), pg_s(step), pg_s(agent_id),
                 pg_s(actor), pg_s(detail));
}

/* ---------------------------------------------------------------- shown */

static void put_json(struct buf *out, const char *name, const char *json)
{
    buf_printf(out, ",\"%s\":", name);
    buf_puts(out, json ? json : "null");
}

rc request_json(struct cx *cx, const struct command_request *q, struct buf *out)
{
    buf_puts(out, "{\"request_id\":");
    buf_json_str(out, q->request_id);
    buf_json_field(out, "tenant_id", q->tenant_id);
    buf_json_field(out, "job_id", q->job_id);
    buf_json_field(out, "requested_by", q->requested_by_name);
    buf_json_field(out, "command", q->command);
    put_json(out, "payload", q->payload);
    buf_json_field(out, "agent_id", q->agent_id);
    buf_json_field(out, "agent_type", q->agent_type);
    put_json(out, "match", q->match);
    buf_json_field(out, "status", request_status_word(q->status));
    buf_json_field(out, "assigned_agent_id", q->assigned_agent_id);
    buf_printf(out, ",\"timeout_ms\":%" PRId64 ",\"sends\":%d", q->timeout_ms, q->sends);
    put_json(out, "result", q->result);
    if (q->error_code) {
        buf_puts(out, ",\"error\":{\"code\":");
        buf_json_str(out, q->error_code);
        buf_json_field(out, "detail", q->error);
        buf_putc(out, '}');
    } else {
        buf_puts(out, ",\"error\":null");
    }
    buf_json_time(out, "created_at", q->created_ms);
    buf_json_time(out, "deadline", q->deadline_ms);
    buf_json_time(out, "assigned_at", q->assigned_ms);
    buf_json_time(out, "sent_at", q->sent_ms);
    buf_json_time(out, "delivered_at", q->delivered_ms);
    buf_json_time(out, "completed_at", q->completed_ms);
    buf_putc(out, '}');
    if (!buf_ok(out))
        return fail(cx, BUFFER_FULL, "request %s does not fit into the answer", q->request_id);
    return OK;
}

rc request_event_json(struct cx *cx, const struct request_event *e, struct buf *out)
{
    buf_puts(out, "{\"step\":");
    buf_json_str(out, e->step);
    buf_json_time(out, "at", e->at_ms);
    buf_json_field(out, "agent_id", e->agent_id);
    buf_json_field(out, "actor", e->actor);
    buf_json_field(out, "detail", e->detail);
    buf_putc(out, '}');
    if (!buf_ok(out))
        return fail(cx, BUFFER_FULL, "the timeline does not fit into the answer");
    return OK;
}

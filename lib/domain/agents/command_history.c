/* command_history.c - the black box read. Verifying it is in history_verify.c. */
#include "domain/agents/command_history.h"
#include "base/text.h"
#include "domain/agents/command_history.sql.h"
#include "domain/agents/request_row.h"
#include <inttypes.h>

static void row_read(struct cx *cx, const struct pg_result *res, int row, struct history_row *h)
{
    struct row r = ROW(cx, res, row);

    h->seq = row_int(&r);
    h->job_id = row_text(&r);
    h->request_id = row_text(&r);
    h->tenant_id = row_text(&r);
    h->agent_id = row_text(&r);
    h->requested_by_user_id = row_text(&r);
    h->requested_by = row_text(&r);
    h->command = row_text(&r);
    h->payload = row_text(&r);
    h->status = row_text(&r);
    h->response = row_text(&r);
    h->created_ms = row_ms(&r);
    h->completed_ms = row_ms(&r);
    h->archived_ms = row_ms(&r);
}

static bool status_known(const char *s)
{
    static const char *const words[] = {"pending", "sent", "completed", "failed", "timeout"};

    for (size_t i = 0; i < COUNT(words); i++) {
        if (str_eq(s, words[i]))
            return true;
    }
    return false;
}

rc history_list(struct cx *cx, struct pg *db, const struct history_filter *f,
                struct history_row **ret, size_t *ret_n, int64_t *ret_next)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    int limit = f->limit > 0 ? f->limit : 50;
    char job[ID_LEN + 1];

    if (f->status && !status_known(f->status))
        return fail_at(cx, INVALID_FIELD, "/status", "there is no such status");
    if (f->job_id && !id_parse(f->job_id, job))
        return fail_at(cx, INVALID_FIELD, "/job_id", "this is not an id");
    if (f->limit < 0 || f->limit > 500)
        return fail_at(cx, INVALID_FIELD, "/limit", "must be 1 to 500");
    try(pg_do(cx, db, SQL_HISTORY_LIST, &res, pg_s(f->tenant_id), pg_s(f->agent_id),
              pg_s(f->command), pg_s(f->status), pg_s(f->job_id ? job : NULL), pg_t(f->since_ms),
              pg_t(f->until_ms), pg_i(f->after), pg_i(limit + 1)));

    size_t n = rows_of_page(res, limit);
    struct history_row *list = rows_alloc(cx, res, struct history_row);
    for (size_t i = 0; i < n; i++)
        row_read(cx, res, (int)i, &list[i]);
    *ret_next = (size_t)pg_rows(res) > n ? list[n - 1].seq : 0;
    *ret = list;
    *ret_n = n;
    return OK;
}

rc history_row_json(struct cx *cx, const struct history_row *h, struct buf *out)
{
    buf_printf(out, "{\"seq\":%" PRId64, h->seq);
    buf_json_field(out, "job_id", h->job_id);
    buf_json_field(out, "request_id", h->request_id);
    buf_json_field(out, "tenant_id", h->tenant_id);
    buf_json_field(out, "agent_id", h->agent_id);
    buf_json_field(out, "requested_by_user_id", h->requested_by_user_id);
    buf_json_field(out, "requested_by", h->requested_by);
    buf_json_field(out, "command_name", h->command);
    buf_puts(out, ",\"request_payload\":");
    buf_puts(out, h->payload);
    buf_json_field(out, "status", h->status);
    buf_puts(out, ",\"response_payload\":");
    buf_puts(out, h->response ? h->response : "null");
    buf_json_time(out, "created_at", h->created_ms);
    buf_json_time(out, "completed_at", h->completed_ms);
    buf_json_time(out, "archived_at", h->archived_ms);
    buf_putc(out, '}');
    if (!buf_ok(out))
        return fail(cx, BUFFER_FULL, "the history of job %s does not fit into the answer",
                    h->job_id);
    return OK;
}

rc history_partitions(struct cx *cx, struct pg *db, int64_t *ret_made)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_query(cx, db, &SQL_HISTORY_PARTITIONS, &res, PG_NO_ARGS));
    *ret_made = 0;
    for (int i = 0; i < pg_rows(res); i++)
        *ret_made += pg_bool(res, i, 0);
    return OK;
}

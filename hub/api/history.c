/* history.c - the black box: who asked, who carried it out, when, and what came of it. */
#include "base/text.h"
#include "domain/agents/command_history.h"
#include "hub/api/api.h"
#include "hub/hub.h"

rc history_get(struct cx *cx, struct request *q)
{
    struct history_filter f = {.tenant_id = q->who.tenant_id,
                               .agent_id = request_query(cx, q, "agent_id"),
                               .command = request_query(cx, q, "command"),
                               .status = request_query(cx, q, "status")};
    const char *after = request_query(cx, q, "after");
    struct history_row *h;
    int64_t next;
    size_t n;

    try(request_limit(cx, q, &f.limit));
    try(request_time(cx, q, "since", &f.since_ms));
    try(request_time(cx, q, "until", &f.until_ms));
    if (after && !parse_int(after, 1, INT64_MAX, &f.after))
        return fail_at(cx, INVALID_FIELD, "/after", "this is not a cursor");
    try(history_list(cx, q->hub->db, &f, &h, &n, &next));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        try(history_row_json(cx, &h[i], &q->out));
    }
    if (next)
        buf_printf(&q->out, "],\"next\":\"%lld\"}", (long long)next);
    else
        buf_puts(&q->out, "],\"next\":null}");
    return reply_json(cx, q, 200);
}

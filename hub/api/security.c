/* security.c - refusals that concern a tenant: of its keys, certificates and agents. Those of callers that
 * nobody knows belong to no tenant; operators see them (mihwar security ls). */
#include "base/text.h"
#include "domain/access/security_events.h"
#include "hub/api/api.h"
#include "hub/hub.h"

rc security_events_get(struct cx *cx, struct request *q)
{
    struct security_filter f = {.tenant_id = q->who.tenant_id,
                                .kind = request_query(cx, q, "kind"),
                                .source = request_query(cx, q, "source")};
    const char *after = request_query(cx, q, "after");
    struct security_event *e;
    size_t n;

    try(request_limit(cx, q, &f.limit));
    try(request_time(cx, q, "since", &f.since_ms));
    if (after && !parse_int(after, 1, INT64_MAX, &f.after))
        return fail_at(cx, INVALID_FIELD, "/after", "this is not a cursor");
    try(security_event_list(cx, q->hub->db, &f, &e, &n));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        security_event_json(&e[i], &q->out);
    }
    if (n == (size_t)f.limit)
        buf_printf(&q->out, "],\"next\":\"%lld\"}", (long long)e[n - 1].id);
    else
        buf_puts(&q->out, "],\"next\":null}");
    return reply_json(cx, q, 200);
}

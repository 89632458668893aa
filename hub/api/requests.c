/* requests.c - a command for an agent: asked for, looked at, taken back.
 *
 *   POST --> fields, and may this identity send this command? --> gathered: row and job, one commit
 *        --> 202 {request_id, status: "pending"}; the rest runs as a job (request.run)
 *
 * A tenant sees its own requests; another's reads as not found. */
#include "domain/agents/requests.h"
#include "base/clock.h"
#include "base/trace.h"
#include "domain/agents/request_batch.h"
#include "domain/agents/request_move.h"
#include "hub/api/api.h"
#include "rt/spans.h"
#include <string.h>

#define PAYLOAD_MAX    KiB(64)
#define MATCH_MAX      KiB(16)
#define TIMEOUT_MIN_MS 100

static const char *const names[] = {"command", "payload",    "agent_id", "agent_type",
                                    "match",   "timeout_ms", NULL};

static rc read_target(struct cx *cx, const struct request *q, const cJSON *body,
                      struct request_new *r)
{
    try(json_str_opt(cx, body, "agent_id", AGENT_ID_MAX, &r->agent_id));
    try(json_str_opt(cx, body, "agent_type", AGENT_TYPE_MAX, &r->agent_type));
    try(request_member(cx, q, body, "match", MATCH_MAX, &r->match));
    if (!r->agent_id && !r->agent_type && !r->match)
        return fail_at(cx, INVALID_FIELD, "/agent_id",
                       "say for whom: agent_id, or agent_type or match, or both of these");
    if (r->agent_id && (r->agent_type || r->match))
        return fail_at(cx, INVALID_FIELD, "/agent_id",
                       "say agent_id, or agent_type and match, not both");
    return OK;
}

static rc read_request(struct cx *cx, struct request *q, struct request_new *r)
{
    cJSON *body;

    *r = (struct request_new){.tenant_id = q->who.tenant_id,
                              .requested_by = q->who.id,
                              .requested_by_name = request_actor(cx, q),
                              .timeout_ms = q->hub->settings->request_timeout,
                              .admitted_ms = clock_ms(),
                              .trace = trace_text(cx),
                              .mask = q->hub->mask};
    try(request_idempotency_key(cx, q, &r->idempotency_key));
    try(request_object(cx, q, &body));
    try(json_only(cx, body, names));
    try(json_str(cx, body, "command", REQUEST_COMMAND_MAX, &r->command));
    try(request_member(cx, q, body, "payload", PAYLOAD_MAX, &r->payload));
    try(read_target(cx, q, body, r));
    try(json_int_opt(cx, body, "timeout_ms", TIMEOUT_MIN_MS, REQUEST_TIMEOUT_MAX, &r->timeout_ms));
    if (r->idempotency_key)
        sha256_hex(q->body, q->body_len, r->body_hash);
    try(request_new_check(cx, r));
    if (!identity_may_command(&q->who, r->command))
        return fail_at(cx, FORBIDDEN, "/command", "'%s' may not send the command '%s'",
                       r->requested_by_name, r->command);
    return OK;
}

/* ------------------------------------------------------------------ gathered (hub/gather.h) */

static void take(struct arena *a, void *row, const void *given)
{
    const struct request_new *o = given;
    struct request_new *r = &((struct request_row *)row)->new;

    *r = *o;
    r->tenant_id = arena_strdup(a, o->tenant_id);
    r->requested_by = arena_strdup(a, o->requested_by);
    r->requested_by_name = arena_strdup(a, o->requested_by_name);
    r->command = arena_strdup(a, o->command);
    r->payload = arena_strdup(a, o->payload);
    r->agent_id = arena_strdup(a, o->agent_id);
    r->agent_type = arena_strdup(a, o->agent_type);
    r->match = arena_strdup(a, o->match);
    r->idempotency_key = arena_strdup(a, o->idempotency_key);
    r->trace = arena_strdup(a, o->trace);
}

static rc insert(struct cx *cx, struct pg *db, void *rows, size_t n, const struct pg_soon *soon)
{
    return requests_insert(cx, db, rows, n, soon);
}

static rc push(struct cx *cx, struct engine *e, void *rows, size_t n)
{
    return requests_push(cx, e, rows, n);
}

static enum gathered outcome(struct cx *cx, const void *row, struct err *ret_err, char *ret_id,
                             struct buf *out)
{
    const struct request_row *r = row;

    if (r->made == REQUEST_REFUSED) {
        *ret_err = r->err;
        return GATHERED_REFUSED;
    }
    memcpy(ret_id, r->new.request_id, ID_LEN + 1);
    buf_printf(out, "{\"request_id\":\"%s\",\"status\":\"pending\"}", ret_id);
    return r->made == REQUEST_REPLAYED ? GATHERED_REPLAYED : GATHERED_CREATED;
}

const struct gather_kind gather_requests = {
    .name = "requests.commit",
    .noun = "request",
    .row_size = sizeof(struct request_row),
    .max = KiB(1),
    .batches = METRIC_GATHER_REQUEST_BATCHES,
    .rows = METRIC_GATHER_REQUESTS,
    .take = take,
    .insert = insert,
    .outcome = outcome,
    .push = push,
};

/* ------------------------------------------------------------------ the calls */

rc requests_post(struct cx *cx, struct request *q)
{
    struct request_new r;
    bool replayed;
    char id[ID_LEN + 1];

    try(read_request(cx, q, &r));
    try(requests_room(cx, q->hub->engine, &r));
    try(gather_row(cx, q->hub->gather_requests, &r, &replayed, id, &q->out));
    reply_header(q, "Location", arena_printf(&cx->arena, "/v1/requests/%s", id));
    if (replayed)
        reply_header(q, "Idempotency-Replayed", "true");
    return reply_json(cx, q, 202);
}

/* The request with its timeline, which goes into the object that request_json has closed. */
static rc reply_request(struct cx *cx, struct request *q, const struct command_request *r)
{
    struct request_event *e;
    size_t n;

    try(request_events(cx, q->hub->db, r, &e, &n));
    try(request_json(cx, r, &q->out));
    q->out.len--;
    buf_puts(&q->out, ",\"timeline\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        try(request_event_json(cx, &e[i], &q->out));
    }
    buf_puts(&q->out, "]}");
    return reply_json(cx, q, 200);
}

rc requests_get(struct cx *cx, struct request *q)
{
    struct command_request r;
    char id[ID_LEN + 1];

    try(request_param_id(cx, q, 0, "request", id));
    try(request_get(cx, q->hub->db, q->who.tenant_id, id, &r));
    return reply_request(cx, q, &r);
}

rc requests_list(struct cx *cx, struct request *q)
{
    struct request_filter f = {.tenant_id = q->who.tenant_id,
                               .status = request_query(cx, q, "status"),
                               .agent_id = request_query(cx, q, "agent_id"),
                               .command = request_query(cx, q, "command"),
                               .after = request_query(cx, q, "after")};
    struct command_request *r;
    size_t n;
    char next[ID_LEN + 1];

    try(request_limit(cx, q, &f.limit));
    try(request_time(cx, q, "since", &f.since_ms));
    try(request_time(cx, q, "until", &f.until_ms));
    try(request_list(cx, q->hub->db, &f, &r, &n, next));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        try(request_json(cx, &r[i], &q->out));
    }
    buf_puts(&q->out, "],\"next\":");
    buf_json_str(&q->out, next[0] ? next : NULL);
    buf_puts(&q->out, "}");
    return reply_json(cx, q, 200);
}

rc requests_cancel(struct cx *cx, struct request *q)
{
    struct command_request r;
    char id[ID_LEN + 1];

    try(request_param_id(cx, q, 0, "request", id));
    try(request_cancel(cx, q->hub->db, &q->hub->end_rules, q->who.tenant_id, id,
                       request_actor(cx, q), &r));
    return reply_request(cx, q, &r);
}

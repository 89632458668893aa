/* agents.c - the devices that carry commands out, and the tokens that they show: provisioned, changed,
 * let in, sent away.
 *
 * What ends a session is decided in PostgreSQL; the hub that holds the connection is nudged, so that
 * it ends at once. A nudge that is lost costs the seconds until that hub's next heartbeat round. */
#include "domain/agents/agents.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "domain/agents/agent_tokens.h"
#include "domain/agents/inbox.h"
#include "hub/api/api.h"
#include "hub/hub.h"
#include <openssl/crypto.h>
#include <string.h>

#define NUDGE_MS       1000
#define EXPIRES_MAX_MS INT64_C(315360000000) /* ten years */
#define GRACE_MAX_MS   INT64_C(2592000000)   /* thirty days */

/* ------------------------------------------------------------------ agents */

static rc reply_agent(struct cx *cx, struct request *q, const struct agent *a, int status)
{
    try(agent_json(cx, a, &q->out));
    return reply_json(cx, q, status);
}

rc agents_list(struct cx *cx, struct request *q)
{
    struct agent_filter f = {.tenant_id = q->who.tenant_id,
                             .status = request_query(cx, q, "status"),
                             .agent_type = request_query(cx, q, "agent_type"),
                             .match = request_query(cx, q, "match"),
                             .after = request_query(cx, q, "after")};
    char next[AGENT_ID_MAX + 1];
    struct agent *a;
    size_t n;

    try(request_limit(cx, q, &f.limit));
    try(agent_list(cx, q->hub->db, &f, &a, &n, next));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        try(agent_json(cx, &a[i], &q->out));
    }
    buf_puts(&q->out, "],\"next\":");
    buf_json_str(&q->out, next[0] ? next : NULL);
    buf_puts(&q->out, "}");
    return reply_json(cx, q, 200);
}

rc agents_get(struct cx *cx, struct request *q)
{
    struct agent a;

    try(agent_get(cx, q->hub->db, q->who.tenant_id, q->params[0], &a));
    return reply_agent(cx, q, &a, 200);
}

static rc add(struct cx *cx, struct request *q, void *arg)
{
    static const char *const names[] = {"agent_id", "agent_type", "metadata", NULL};
    const cJSON *body = arg;
    const char *id, *type, *metadata;
    struct agent a;

    try(json_only(cx, body, names));
    try(json_str(cx, body, "agent_id", AGENT_ID_MAX, &id));
    try(json_str(cx, body, "agent_type", AGENT_TYPE_MAX, &type));
    try(request_member(cx, q, body, "metadata", AGENT_METADATA_MAX, &metadata));
    try(agent_add(cx, q->hub->db, request_actor(cx, q), q->who.tenant_id, id, type, metadata, &a));
    reply_header(q, "Location", arena_printf(&cx->arena, "/v1/agents/%s", a.agent_id));
    return reply_agent(cx, q, &a, 201);
}

rc agents_post(struct cx *cx, struct request *q)
{
    cJSON *body;

    try(request_object(cx, q, &body));
    return answer_once(cx, q, add, body);
}

/* Tells the hub that holds a session which is over; token_id NULL: whatever token it began with. */
static void nudge(struct cx *cx, struct request *q, const char *agent_id, const char *token_id,
                  const struct agent_session *ended)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, NUDGE_MS);
    struct inbox_note note = {.kind = INBOX_REVOKED};

    if (!ended->hub_id[0])
        return;
    snprintf(note.agent_id, sizeof note.agent_id, "%s", agent_id);
    snprintf(note.token_id, sizeof note.token_id, "%s", token_id ? token_id : "");
    rc r = inbox_push(cx, q->hub->redis, ended->hub_id, &note, 1);
    if (r != OK)
        log_fail(LOG_WARN, "agent.end_not_told", cx, r, kv_str("agent", agent_id),
                 kv_str("hub", ended->hub_id));
}

rc agents_patch(struct cx *cx, struct request *q)
{
    static const char *const names[] = {"agent_type", "metadata", "enabled", NULL};
    struct agent_change c = {0};
    struct agent_session ended = {0};
    const cJSON *enabled;
    struct agent a;
    cJSON *body;

    try(request_object(cx, q, &body));
    try(json_only(cx, body, names));
    try(json_str_opt(cx, body, "agent_type", AGENT_TYPE_MAX, &c.agent_type));
    try(request_member(cx, q, body, "metadata", AGENT_METADATA_MAX, &c.metadata));
    enabled = cJSON_GetObjectItemCaseSensitive(body, "enabled");
    c.set_enabled = enabled && !cJSON_IsNull(enabled);
    try(json_bool_opt(cx, body, "enabled", &c.enabled));
    try(agent_change(cx, q->hub->db, request_actor(cx, q), q->who.tenant_id, q->params[0], &c, &a,
                     &ended));
    nudge(cx, q, a.agent_id, NULL, &ended);
    return reply_agent(cx, q, &a, 200);
}

/* ------------------------------------------------------------------ tokens */

/* expires_in (a duration) or expires_at; neither: never. */
static rc read_expiry(struct cx *cx, const cJSON *body, int64_t *ret_ms)
{
    const cJSON *in = cJSON_GetObjectItemCaseSensitive(body, "expires_in");
    const char *at;
    int64_t ms = 0;

    *ret_ms = 0;
    try(json_str_opt(cx, body, "expires_at", 64, &at));
    if (in && cJSON_IsNull(in))
        in = NULL;
    if (in && at)
        return fail_at(cx, INVALID_FIELD, "/expires_at", "say expires_in or expires_at, not both");
    if (in && (!cJSON_IsString(in) || !parse_duration_ms(in->valuestring, &ms) || ms == 0 ||
               ms > EXPIRES_MAX_MS))
        return fail_at(cx, INVALID_FIELD, "/expires_in",
                       "expires_in must be a duration such as 30m, 12h or 90d");
    if (at && (!clock_parse(at, ret_ms) || *ret_ms <= clock_ms()))
        return fail_at(cx, INVALID_FIELD, "/expires_at",
                       "expires_at must be a time to come, such as 2030-01-05T10:11:12Z");
    if (ms)
        *ret_ms = clock_ms() + ms;
    return OK;
}

static void put_token(struct buf *out, const char *text)
{
    out->len--; /* into the object that agent_token_json has closed */
    buf_json_field(out, "token", text);
    buf_putc(out, '}');
}

static rc add_token(struct cx *cx, struct request *q, void *arg)
{
    static const char *const names[] = {"expires_in", "expires_at", "grace_ms", NULL};
    _cleanup_(buf_release) struct buf kept = BUF(KiB(4));
    const cJSON *body = arg;
    char text[TOKEN_TEXT_LEN + 1];
    int64_t expires_ms, grace_ms = 0;
    struct agent_token t;

    try(json_only(cx, body, names));
    try(read_expiry(cx, body, &expires_ms));
    try(json_int_opt(cx, body, "grace_ms", 1, GRACE_MAX_MS, &grace_ms));
    try(agent_token_add(cx, q->hub->db, request_actor(cx, q), q->who.tenant_id, q->params[0],
                        expires_ms, grace_ms, text, &t));
    try(agent_token_json(cx, &t, &q->out));
    buf_append(&kept, q->out.p, q->out.len);
    put_token(&kept, NULL);
    q->kept = arena_strdup(&cx->arena, buf_str(&kept));
    put_token(&q->out, text);
    OPENSSL_cleanse(text, sizeof text);
    return reply_json(cx, q, 201);
}

/* Shown once: the same call again under its Idempotency-Key tells the token's id, and no token. */
rc agent_tokens_post(struct cx *cx, struct request *q)
{
    cJSON *body;

    if (q->body_len == 0)
        try(json_parse(cx, "{}", 2, 2, &body));
    else
        try(request_object(cx, q, &body));
    return answer_once(cx, q, add_token, body);
}

rc agent_tokens_get(struct cx *cx, struct request *q)
{
    struct agent_token *t;
    size_t n;

    try(agent_token_list(cx, q->hub->db, q->who.tenant_id, q->params[0], &t, &n));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        try(agent_token_json(cx, &t[i], &q->out));
    }
    buf_puts(&q->out, "],\"next\":null}");
    return reply_json(cx, q, 200);
}

rc agent_tokens_delete(struct cx *cx, struct request *q)
{
    struct agent_session ended = {0};
    char id[ID_LEN + 1];

    try(request_param_id(cx, q, 1, "token", id));
    try(agent_token_revoke(cx, q->hub->db, request_actor(cx, q), q->who.tenant_id, q->params[0], id,
                           &ended));
    nudge(cx, q, q->params[0], id, &ended);
    q->status = 204;
    return OK;
}

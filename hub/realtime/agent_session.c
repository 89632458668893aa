/* agent_session.c - one session: what an agent says, and what it is told (docs/agent-protocol.md).
 *
 *   up    hello, heartbeat, ack, result        down   welcome, heartbeat, command, result_ack, error
 *
 * A frame is judged on the loop, without parking: what needs a store is handed on (greeting, results). A frame that is
 * not understood is answered with an error and ignored, so that a newer agent may say more than this hub knows; one
 * that goes on so is closed. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "domain/agents/inbox.h"
#include "hub/detached.h"
#include "hub/realtime/session.h"
#include "rt/fiber.h"
#include <assert.h>
#include <event2/bufferevent.h>
#include <stdlib.h>
#include <string.h>

#define UNFIT_MAX        16
#define RESEND_MAX       100 /* at the start of a session; request.run finds the rest */
#define RESEND_STEP      16
#define BEGINNING_MAX    16   /* connections of one agent without a welcome */
#define TELL_OLD_MS      2000 /* Redis may be away */
#define MESSAGE_MAX(all) ((size_t)(all)->hub->settings->agent_message_max)

/* ------------------------------------------------------------------ down */

static bool say(struct session *s, const struct buf *b)
{
    return s->ws && buf_ok(b) && websocket_send(s->ws, b->p, b->len);
}

void session_error(struct session *s, const char *job_id, const char *word, const char *sentence)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(4));

    buf_puts(&b, "{\"type\":\"error\"");
    if (job_id)
        buf_json_field(&b, "job_id", job_id);
    buf_json_field(&b, "code", word);
    buf_json_field(&b, "message", sentence);
    buf_putc(&b, '}');
    say(s, &b);
}

void session_close(struct session *s, int code, const char *word, const char *sentence)
{
    if (!s->ws || s->state == SESSION_OVER)
        return;
    log_ev(LOG_INFO, "agent.closed", kv_str("agent", s->agent_id), kv_str("session", s->id),
           kv_str("why", word), kv_int("code", code));
    session_ref(s);
    session_error(s, NULL, word, sentence);
    session_ends(s);
    if (s->ws)
        websocket_close(s->ws, code, sentence);
    session_unref(s);
}

void session_result_ack(struct session *s, const char *job_id)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(1));

    if (s->state == SESSION_OVER)
        return;
    buf_puts(&b, "{\"type\":\"result_ack\"");
    buf_json_field(&b, "job_id", job_id);
    buf_putc(&b, '}');
    say(s, &b);
}

bool session_command(struct session *s, const struct command *c)
{
    _cleanup_(buf_release) struct buf b = BUF(REQUEST_PAYLOAD_MAX + KiB(4));

    buf_puts(&b, "{\"type\":\"command\"");
    buf_json_field(&b, "job_id", c->job_id);
    buf_json_field(&b, "command", c->command);
    buf_printf(&b, ",\"payload\":%s,\"timeout_ms\":%lld}", c->payload, (long long)c->left_ms);
    /* more than the ceiling would end the session: it may just be busy */
    if (!s->ws || websocket_unsent(s->ws) + b.len > UNSENT_MAX || !say(s, &b))
        return false;
    metric_add(s->all->hub->metrics, METRIC_AGENT_COMMANDS, 1);
    if (c->sends > 1)
        metric_add(s->all->hub->metrics, METRIC_AGENT_COMMANDS_RESENT, 1);
    return true;
}

static void welcome(struct session *s)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(2));

    buf_puts(&b, "{\"type\":\"welcome\"");
    buf_json_field(&b, "session_id", s->id);
    buf_json_field(&b, "agent_id", s->agent_id);
    buf_printf(&b, ",\"heartbeat_ms\":%lld,\"message_max\":%zu}",
               (long long)s->all->hub->settings->agent_heartbeat, MESSAGE_MAX(s->all));
    say(s, &b);
}

/* ------------------------------------------------------------------ greeting */

/* Who held the agent until now hears of it: another process through its inbox. */
static void tell_superseded(struct cx *cx, struct session *s, const struct agent_session *old)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, TELL_OLD_MS);
    struct inbox_note note = {.kind = INBOX_SUPERSEDED};
    rc r;

    if (!*old->hub_id || str_eq(old->hub_id, s->all->hub->instance_id))
        return;
    snprintf(note.agent_id, sizeof note.agent_id, "%s", s->agent_id);
    memcpy(note.session_id, old->session_id, sizeof note.session_id);
    r = inbox_push(cx, s->all->hub->redis, old->hub_id, &note, 1);
    if (r != OK) /* its next heartbeat finds out */
        log_fail(LOG_WARN, "agent.old_session_not_told", cx, r, kv_str("agent", s->agent_id));
}

/* The one that PostgreSQL named, and whatever else was live here under the agent's name. */
static void end_older(struct session *s, const struct agent_session *old)
{
    struct session *older = sessions_find(s->all, s->agent_id, old->session_id);

    for (; older; older = sessions_live(s->all, s->agent_id))
        session_close(older, CLOSE_SUPERSEDED, "superseded", "the agent has a newer session");
}

/* What it has in hand already under the same job_id, then what has waited for somebody like it. */
static rc send_what_waits(struct cx *cx, struct session *s)
{
    struct pg *db = s->all->hub->db;
    const char *const *ids;
    size_t n;

    for (int round = 0; round < 2; round++) {
        if (round == 0)
            try(requests_open_of(cx, db, s->agent_id, RESEND_MAX, &ids, &n));
        else
            try(request_assign_waiting(cx, db, s->agent_id, RESEND_MAX, &ids, &n));
        for (size_t i = 0; i < n; i += RESEND_STEP) {
            if (s->state != SESSION_LIVE || websocket_unsent(s->ws) > UNSENT_MAX / 2)
                return OK; /* request.run brings the rest when it reads */
            try(inbox_send(cx, s->all, ids + i, MIN(n - i, (size_t)RESEND_STEP)));
        }
    }
    return OK;
}

static void refuse_hello(struct cx *cx, struct session *s, rc r)
{
    const struct error_info *e = error_info(r);

    log_fail(LOG_WARN, "agent.not_welcome", cx, r, kv_str("agent", s->agent_id));
    if (r == E_UNAUTHENTICATED || r == E_FORBIDDEN || r == E_NOT_FOUND)
        session_close(s, CLOSE_REVOKED, "revoked", cx_words(cx, r));
    else if (e->http < 500)
        session_close(s, WEBSOCKET_POLICY, e->code, cx_words(cx, r));
    else
        session_close(s, WEBSOCKET_INTERNAL, "try_again", "the hub cannot begin a session now");
}

rc session_greet(struct cx *cx, struct session *s)
{
    struct agent_hello h = {.agent_id = s->agent_id,
                            .token_id = s->token_id,
                            .session_id = s->id,
                            .hub_id = s->all->hub->instance_id,
                            .ip = *s->ip ? s->ip : NULL,
                            .version = s->version,
                            .metadata = s->metadata};
    struct agent_session old = {0};
    struct agent agent;
    rc r;

    r = agent_session_begin(cx, s->all->hub->db, &h, &agent, &old);
    free(TAKE_PTR(s->version));
    free(TAKE_PTR(s->metadata));
    s->begun = r == OK || r == E_STORE_DOUBT || r == E_DEADLINE || r == E_CANCELLED;
    if (r == OK)
        end_older(s, &old);
    if (s->state == SESSION_OVER) { /* meanwhile: now PostgreSQL can hear of it */
        session_ends(s);
        return r;
    }
    if (r != OK) {
        refuse_hello(cx, s, r);
        return r;
    }
    session_lives(s);
    log_ev(LOG_INFO, "agent.connected", kv_str("agent", s->agent_id), kv_str("session", s->id),
           kv_str("ip", s->ip));
    welcome(s);
    r = send_what_waits(cx, s);
    if (r != OK)
        log_fail(LOG_WARN, "agent.waiting_not_sent", cx, r, kv_str("agent", s->agent_id));
    tell_superseded(cx, s, &old);
    return r;
}

/* ------------------------------------------------------------------ up */

static void unfit(struct session *s, enum metric why, const char *word, const char *sentence)
{
    metric_add(s->all->hub->metrics, why, 1);
    session_error(s, NULL, word, sentence);
    if (++s->unfit >= UNFIT_MAX)
        session_close(s, WEBSOCKET_POLICY, "too_many_errors",
                      "too many frames could not be understood");
}

static void unfit_rc(struct cx *cx, struct session *s, rc r)
{
    unfit(s, METRIC_AGENT_REFUSED_FIELD, error_info(r)->code, cx_words(cx, r));
}

/* A member as the agent wrote it, or as it was understood where the database may not take that. NULL: not there. */
static const char *member(struct cx *cx, const cJSON *o, const char *name, const char *text,
                          size_t n, size_t *ret_n)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
    const char *raw;
    bool odd;

    if (!v)
        return NULL;
    if (json_raw_member(text, n, name, &raw, ret_n, &odd) && !odd)
        return raw;
    raw = json_print(cx, v);
    *ret_n = strlen(raw);
    return raw;
}

static void on_hello(struct cx *cx, struct session *s, const cJSON *o, const char *text, size_t n)
{
    const char *version = NULL, *metadata;
    size_t size = 0;
    rc r = json_str_opt(cx, o, "version", AGENT_VERSION_MAX, &version);

    if (s->state != SESSION_NEW) {
        unfit(s, METRIC_AGENT_REFUSED_TYPE, "hello_again", "hello is said once");
        return;
    }
    metadata = member(cx, o, "metadata", text, n, &size);
    if (r == OK && metadata && !cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(o, "metadata")))
        r = fail_at(cx, INVALID_FIELD, "/metadata", "metadata must be an object");
    if (r == OK && size > AGENT_METADATA_MAX)
        r = fail_at(cx, INVALID_FIELD, "/metadata", "metadata is longer than %zu bytes",
                    (size_t)AGENT_METADATA_MAX);
    if (r != OK) {
        metric_add(s->all->hub->metrics, METRIC_AGENT_REFUSED_FIELD, 1);
        session_close(s, WEBSOCKET_POLICY, error_info(r)->code, cx_words(cx, r));
        return;
    }
    s->version = xstrdup(version);
    s->metadata = metadata ? xstrndup(metadata, size) : NULL;
    session_greets(s);
}

static const char beat[] = "{\"type\":\"heartbeat\"}";

static void on_heartbeat(struct session *s)
{
    websocket_send(s->ws, beat, sizeof beat - 1); /* it was heard: on_alive */
}

static void on_ack(struct cx *cx, struct session *s, const cJSON *o)
{
    char job_id[ID_LEN + 1];
    rc r = json_id(cx, o, "job_id", job_id);

    if (r == OK)
        results_ack(s, job_id);
    else
        unfit_rc(cx, s, r);
}

static void on_result(struct cx *cx, struct session *s, const cJSON *o, const char *text, size_t n)
{
    const char *status, *response;
    char job_id[ID_LEN + 1];
    size_t size = 0;
    rc r = json_id(cx, o, "job_id", job_id);

    if (r == OK)
        r = json_str(cx, o, "status", 16, &status);
    if (r == OK && !str_eq(status, "completed") && !str_eq(status, "failed"))
        r = fail_at(cx, INVALID_FIELD, "/status", "status is \"completed\" or \"failed\"");
    if (r != OK) {
        unfit_rc(cx, s, r);
        return;
    }
    response = member(cx, o, "response", text, n, &size);
    results_result(s, job_id, str_eq(status, "completed"), response, size);
}

static void on_frame(struct cx *cx, struct session *s, const char *text, size_t n)
{
    const char *type;
    cJSON *o;
    rc r = json_parse(cx, text, n, MESSAGE_MAX(s->all), &o);

    if (r == OK && !cJSON_IsObject(o))
        r = fail(cx, BAD_JSON, "a frame is a JSON object");
    if (r != OK) {
        unfit(s, METRIC_AGENT_REFUSED_JSON, error_info(r)->code, cx_words(cx, r));
        return;
    }
    r = json_str(cx, o, "type", 32, &type);
    if (r != OK)
        unfit_rc(cx, s, r);
    else if (str_eq(type, "hello"))
        on_hello(cx, s, o, text, n);
    else if (s->state == SESSION_NEW)
        session_close(s, CLOSE_HELLO, "hello_missing", "the first frame must be hello");
    else if (str_eq(type, "heartbeat"))
        on_heartbeat(s);
    else if (str_eq(type, "ack"))
        on_ack(cx, s, o);
    else if (str_eq(type, "result"))
        on_result(cx, s, o, text, n);
    else
        unfit(s, METRIC_AGENT_REFUSED_TYPE, "unknown_type", "no such type of frame");
}

static void on_message(void *arg, const char *text, size_t n)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("agent.frame");
    struct session *s = arg;

    CHECK_MAGIC(s, SESSION_MAGIC);
    if (s->state == SESSION_OVER)
        return;
    session_ref(s);
    if (s->state == SESSION_LIVE && n == sizeof beat - 1 && memcmp(text, beat, n) == 0)
        on_heartbeat(s); /* nearly all that an idle agent says */
    else
        on_frame(&cx, s, text, n);
    session_unref(s);
}

static void on_alive(void *arg)
{
    session_heard(arg);
}

static void on_close(void *arg, int code, const char *reason)
{
    struct session *s = arg;
    struct metrics *m = s->all->hub->metrics;

    switch (code) {
    case WEBSOCKET_PROTOCOL:
        metric_add(m, METRIC_AGENT_REFUSED_PROTOCOL, 1);
        break;
    case WEBSOCKET_UNSUPPORTED:
        metric_add(m, METRIC_AGENT_REFUSED_BINARY, 1);
        break;
    case WEBSOCKET_BAD_TEXT:
        metric_add(m, METRIC_AGENT_REFUSED_TEXT, 1);
        break;
    case WEBSOCKET_TOO_BIG:
        metric_add(m, METRIC_AGENT_REFUSED_SIZE, 1);
        break;
    default:
        break;
    }
    if (s->state != SESSION_OVER)
        log_ev(LOG_INFO, "agent.disconnected", kv_str("agent", s->agent_id),
               kv_str("session", s->id), kv_int("code", code), kv_str("reason", reason));
    session_ref(s);
    session_ends(s);
    s->ws = websocket_free(s->ws);
    session_gone(s);
    session_unref(s);
}

/* ------------------------------------------------------------------ the connection */

static void on_unwelcome(void *arg)
{
    struct session *s = arg;

    session_close(s, CLOSE_REVOKED, "revoked", "the certificate is not let in any more");
}

static void give_back(void *lender)
{
    detached_free(lender);
}

rc agent_sessions_upgrade(struct cx *cx, struct agent_sessions *all, struct request *q,
                          const struct agent_identity *who)
{
    struct session *s;
    struct detached *d;
    rc r;

    if (sessions_beginning(all, who->agent_id) >= BEGINNING_MAX)
        return fail(cx, OVERLOADED, "%d sessions of this agent begin already: say hello, or wait",
                    BEGINNING_MAX);
    s = xcalloc(1, sizeof *s);

    s->magic = SESSION_MAGIC;
    s->refs = 1;
    s->all = all;
    s->agent_id = xstrdup(who->agent_id);
    s->cert_name = q->door == DOOR_MTLS ? xstrdup(q->cert_name) : NULL;
    memcpy(s->tenant_id, who->tenant_id, sizeof s->tenant_id);
    memcpy(s->token_id, who->token_id, sizeof s->token_id);
    snprintf(s->ip, sizeof s->ip, "%s", q->peer);
    id_new(s->id);
    r = all->stopping
            ? fail(cx, OVERLOADED, "this hub is going away")
            : server_detach(cx, q, &(struct detached_opts){.on_unwelcome = on_unwelcome, .arg = s},
                            &d);
    if (r != OK) {
        session_unref(s);
        return r;
    }
    s->ws = websocket_new(detached_bev(d), &(struct websocket_opts){
                                               .message_max = MESSAGE_MAX(all),
                                               .unsent_max = UNSENT_MAX,
                                               .let_go = give_back,
                                               .lender = d,
                                               .arg = s,
                                               .on_message = on_message,
                                               .on_alive = on_alive,
                                               .on_close = on_close,
                                           });
    sessions_add(s);
    return OK;
}

/* request.c - reading what was asked, writing what is answered. Everything that comes in is
 * hostile: sizes and characters are checked here, before a handler sees them. */
#include "hub/request.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "hub/hub.h"
#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdlib.h>
#include <string.h>

const char *door_kind_word(enum door_kind kind)
{
    return kind == DOOR_MTLS ? "mtls" : "web";
}

const char *request_header(const struct request *q, const char *name)
{
    return evhttp_find_header(evhttp_request_get_input_headers(q->ev), name);
}

bool request_header_again(const struct request *q, const char *name)
{
    const struct evkeyvalq *in = evhttp_request_get_input_headers(q->ev);
    int n = 0;

    for (const struct evkeyval *h = in->tqh_first; h; h = h->next.tqe_next)
        n += strcasecmp(h->key, name) == 0;
    return n > 1;
}

static char *decode(const char *s, size_t n, bool *ret_good)
{
    char *raw = xstrndup(s, n), *text;
    size_t len = 0;

    text = evhttp_uridecode(raw, /* decode_plus= */ 1, &len);
    free(raw);
    *ret_good = text && strlen(text) == len && utf8_valid(text, len);
    return text;
}

rc request_check_query(struct cx *cx, const struct request *q)
{
    for (const char *p = q->query; *p; p += *p == '&') {
        size_t len = strcspn(p, "&");
        bool good;
        free(decode(p, len, &good));
        if (!good)
            return fail(cx, BAD_REQUEST, "the query is not UTF-8 text, or has a NUL in it");
        p += len;
    }
    return OK;
}

const char *request_query(struct cx *cx, const struct request *q, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = q->query; *p; p += *p == '&') {
        size_t len = strcspn(p, "&");
        if (len > n && strncmp(p, name, n) == 0 && p[n] == '=') {
            bool good;
            _cleanup_(freep) char *text = decode(p + n + 1, len - n - 1, &good);
            return good && *text ? arena_strdup(&cx->arena, text) : NULL;
        }
        p += len;
    }
    return NULL;
}

rc request_limit(struct cx *cx, const struct request *q, int *ret)
{
    const char *s = request_query(cx, q, "limit");
    int64_t n = 50;

    if (s && !parse_int(s, 1, 500, &n))
        return fail_at(cx, INVALID_FIELD, "/limit", "limit must be a whole number from 1 to 500");
    *ret = (int)n;
    return OK;
}

rc request_time(struct cx *cx, const struct request *q, const char *name, int64_t *ret_ms)
{
    const char *s = request_query(cx, q, name);

    *ret_ms = 0;
    if (s && !clock_parse(s, ret_ms))
        return fail_at(cx, INVALID_FIELD, arena_printf(&cx->arena, "/%s", name),
                       "%s must be a time such as 2026-01-05T10:11:12Z", name);
    return OK;
}

rc request_id_query(struct cx *cx, const struct request *q, const char *name, char ret[ID_LEN + 1])
{
    const char *s = request_query(cx, q, name);

    ret[0] = 0;
    if (s && !id_parse(s, ret))
        return fail_at(cx, INVALID_FIELD, arena_printf(&cx->arena, "/%s", name),
                       "%s must be a UUID", name);
    return OK;
}

/* JSON, or what clients say that say nothing: `curl -d` calls every body a form, fetch() calls a
 * string plain text. The body is parsed as JSON either way; with a key in the Authorization header
 * no browser can be tricked into sending it. */
static bool may_be_json(const char *type)
{
    static const char *const accepted[] = {"application/json", "application/x-www-form-urlencoded",
                                           "text/plain"};
    size_t n = strcspn(type, "; \t");

    for (size_t i = 0; i < COUNT(accepted); i++) {
        if (strlen(accepted[i]) == n && strncasecmp(type, accepted[i], n) == 0)
            return true;
    }
    return n > 17 && strncasecmp(type, "application/", 12) == 0 &&
           strncasecmp(type + n - 5, "+json", 5) == 0;
}

rc request_body(struct cx *cx, const struct request *q, cJSON **ret)
{
    const char *type = request_header(q, "Content-Type");

    if (type && !may_be_json(type))
        return fail(cx, UNSUPPORTED_MEDIA, "send the body as application/json");
    if (q->body_len == 0)
        return fail(cx, BAD_JSON, "the body is empty; send a JSON object");
    return json_parse(cx, q->body, q->body_len, (size_t)q->hub->settings->hub_body_max, ret);
}

rc request_object(struct cx *cx, const struct request *q, cJSON **ret)
{
    try(request_body(cx, q, ret));
    if (!cJSON_IsObject(*ret))
        return fail(cx, BAD_JSON, "the body must be a JSON object");
    return OK;
}

rc request_member(struct cx *cx, const struct request *q, const cJSON *body, const char *name,
                  size_t max, const char **ret)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(body, name);
    const char *at = arena_printf(&cx->arena, "/%s", name), *raw;
    size_t n;
    bool odd;

    *ret = NULL;
    if (!v || cJSON_IsNull(v))
        return OK;
    if (!cJSON_IsObject(v))
        return fail_at(cx, INVALID_FIELD, at, "%s must be a JSON object", name);
    if (json_raw_member(q->body, q->body_len, name, &raw, &n, &odd) && !odd)
        *ret = arena_strndup(&cx->arena, raw, n);
    else
        *ret = json_print(cx, v);
    if (strlen(*ret) > max)
        return fail_at(cx, INVALID_FIELD, at, "%s has more than %zu bytes", name, max);
    return OK;
}

rc request_param_id(struct cx *cx, const struct request *q, int i, const char *what,
                    char ret[ID_LEN + 1])
{
    if (!id_parse(q->params[i], ret))
        return fail(cx, NOT_FOUND, "no %s has this id", what);
    return OK;
}

rc request_idempotency_key(struct cx *cx, const struct request *q, const char **ret)
{
    const char *key = request_header(q, "Idempotency-Key");
    size_t n = key ? strlen(key) : 0;

    *ret = NULL;
    if (!key)
        return OK;
    for (size_t i = 0; i < n; i++) {
        if (key[i] < 0x20 || key[i] > 0x7e)
            n = 0;
    }
    if (n == 0 || n > 255)
        return fail(cx, INVALID_FIELD,
                    "Idempotency-Key must have 1 to 255 printable ASCII characters");
    *ret = key;
    return OK;
}

/* The audit log takes 160 characters. */
#define ACTOR_NAME_MAX 150

const char *request_actor(struct cx *cx, const struct request *q)
{
    const char *kind = q->who.kind == IDENTITY_CERT ? "cert" : "key", *name = q->who.name;

    return arena_printf(&cx->arena, "%s:%.*s", kind, (int)utf8_cut(name, ACTOR_NAME_MAX), name);
}

rc reply_json(struct cx *cx, struct request *q, int status)
{
    if (!buf_ok(&q->out)) {
        buf_reset(&q->out);
        return fail(cx, BUFFER_FULL,
                    "the answer is larger than %zu bytes; ask for less with ?limit=", q->out.max);
    }
    q->status = status;
    q->content_type = "application/json";
    return OK;
}

void reply_header(struct request *q, const char *name, const char *value)
{
    evhttp_add_header(evhttp_request_get_output_headers(q->ev), name, value);
}

static const char *retry_after(rc r)
{
    switch (r) {
    case E_OVERLOADED:
    case E_STORE_DOWN:
    case E_STORE_DOUBT:
    case E_REDIS_LOST:
    case E_PG_RETRY:
    case E_CANCELLED:
    case E_SCHEMA:
        return "1";
    case E_RATE_LIMITED:
    case E_QUEUE_FULL:
        return "5";
    default:
        return NULL;
    }
}

void problem_print(struct buf *out, const struct problem *p)
{
    const struct error_info *e = error_info(p->code);
    const char *words = p->words ? p->words : e->text;

    buf_printf(out, "{\"type\":\"urn:mihwar:error:%s\",\"title\":", e->code);
    buf_json_str(out, e->text);
    buf_printf(out, ",\"status\":%d,\"detail\":", p->status ? p->status : e->http);
    buf_json_str(out, words);
    buf_printf(out, ",\"code\":\"%s\",\"errors\":[", e->code);
    if (p->pointer) {
        buf_puts(out, "{\"pointer\":");
        buf_json_str(out, p->pointer);
        buf_puts(out, ",\"detail\":");
        buf_json_str(out, words);
        buf_puts(out, "}");
    }
    buf_puts(out, "],\"request_id\":");
    buf_json_str(out, p->request_id);
    buf_puts(out, "}");
}

/* What failed inside, and where our stores live, is for the log (and /readyz); the visitor hears the
 * table's sentence. */
static const char *words_for_visitors(const struct cx *cx, rc r)
{
    return error_info(r)->http == 500 || r == E_STORE_DOWN ? NULL : cx_words(cx, r);
}

void reply_problem(struct cx *cx, struct request *q, rc r)
{
    const struct error_info *e = error_info(r);
    const char *wait = r == E_RATE_LIMITED && q->retry_after_s
                           ? arena_printf(&cx->arena, "%lld", (long long)q->retry_after_s)
                           : retry_after(r);

    buf_reset(&q->out);
    problem_print(&q->out, &(struct problem){.code = r,
                                             .words = words_for_visitors(cx, r),
                                             .pointer = cx->err.code == r && cx->err.pointer[0]
                                                            ? cx->err.pointer
                                                            : NULL,
                                             .request_id = cx->request_id});
    q->status = e->http;
    q->content_type = "application/problem+json";
    if (wait)
        reply_header(q, "Retry-After", wait);
    if (e->http == 401)
        reply_header(q, "WWW-Authenticate", "Bearer");
}

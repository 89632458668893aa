/* message.c - envelopes, in and out. */
#include "celery/message.h"
#include "base/clock.h"
#include "base/text.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEATHS "mihwar_deaths"

/* ---------------------------------------------------------------- in */

/* Standard alphabet, padded; white space is none of it. Into cx's arena. */
static rc decode_base64(struct cx *cx, const char *s, const char **ret, size_t *ret_n)
{
    size_t n = strlen(s), pad = 0;
    unsigned char *out = arena_alloc(&cx->arena, n / 4 * 3 + 4);

    while (pad < 2 && pad < n && s[n - 1 - pad] == '=')
        pad++;
    if (n % 4 != 0 ||
        strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") != n - pad)
        return fail(cx, INVALID_FIELD, "the body is not base64");
    int got = EVP_DecodeBlock(out, (const unsigned char *)s, (int)n);
    if (got < 0)
        return fail(cx, INVALID_FIELD, "the body is not base64");
    *ret_n = (size_t)got - pad;
    out[*ret_n] = 0;
    *ret = (const char *)out;
    return OK;
}

rc celery_body_of(struct cx *cx, struct raw envelope, const char **ret, size_t *ret_n)
{
    struct raw body = raw_get(envelope, "body");
    const char *text = raw_str(cx, body);
    const char *encoding = raw_str(cx, raw_get(raw_get(envelope, "properties"), "body_encoding"));

    if (!text)
        return fail(cx, INVALID_FIELD, "the message has no body");
    if (str_eq(encoding, "base64"))
        return decode_base64(cx, text, ret, ret_n);
    *ret = text;
    *ret_n = strlen(text);
    return OK;
}

static bool has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return true;
    return false;
}

/* A string that may be missing or null. */
static rc take_opt(struct cx *cx, struct raw o, const char *name, const char **ret)
{
    struct raw v = raw_get(o, name);

    *ret = NULL;
    if (!raw_there(v))
        return OK;
    const char *text = raw_str(cx, v);
    if (!text || utf8_len(text) > CELERY_NAME_MAX || has_control(text))
        return fail(cx, INVALID_FIELD, "%s must be a string of at most %d characters", name,
                    CELERY_NAME_MAX);
    *ret = text;
    return OK;
}

static rc take(struct cx *cx, struct raw o, const char *name, const char **ret)
{
    try(take_opt(cx, o, name, ret));
    if (str_empty(*ret))
        return fail(cx, INVALID_FIELD, "the message has no %s", name);
    return OK;
}

static rc take_time(struct cx *cx, struct raw o, const char *name, int64_t *ret_ms)
{
    const char *text;

    try(take_opt(cx, o, name, &text));
    if (!text || clock_parse(text, ret_ms))
        return OK;
    if (!clock_parse(arena_printf(&cx->arena, "%sZ", text), ret_ms)) /* no offset: UTC */
        return fail(cx, INVALID_FIELD, "%s is no ISO 8601 time: '%.60s'", name, text);
    return OK;
}

static rc take_seconds(struct cx *cx, struct raw v, const char *name, int64_t *ret_ms)
{
    double s;

    if (!raw_there(v))
        return OK;
    if (!raw_num(v, &s) || s < 0 || s > 1e9)
        return fail(cx, INVALID_FIELD, "%s must be seconds", name);
    *ret_ms = (int64_t)(s * 1000);
    return OK;
}

/* [hard, soft] */
static rc take_limits(struct cx *cx, struct raw o, struct celery_message *m)
{
    struct raw v = raw_get(o, "timelimit"), at = {0};

    if (raw_next(v, &at))
        try(take_seconds(cx, at, "timelimit", &m->hard_ms));
    if (raw_next(v, &at))
        try(take_seconds(cx, at, "timelimit", &m->soft_ms));
    return OK;
}

static rc take_retries(struct cx *cx, struct raw o, struct celery_message *m)
{
    struct raw v = raw_get(o, "retries");
    int64_t n = 0;

    if (raw_there(v) && !raw_int(v, 0, CELERY_RETRIES_MAX, &n))
        return fail(cx, INVALID_FIELD, "retries must be a whole number");
    m->retries = (int)n;
    return OK;
}

static rc take_list(struct cx *cx, struct raw o, const char *name, struct raw *ret)
{
    struct raw v = raw_get(o, name);

    *ret = (struct raw){0};
    if (!raw_there(v))
        return OK;
    if (!raw_is_array(v))
        return fail(cx, INVALID_FIELD, "%s must be a list", name);
    *ret = v;
    return OK;
}

/* What to do with the outcome: of protocol 2's embed, or of protocol 1's body. */
static rc take_sequel(struct cx *cx, struct raw o, struct celery_message *m)
{
    struct raw chord = raw_get(o, "chord");

    try(take_list(cx, o, "callbacks", &m->callbacks));
    try(take_list(cx, o, "errbacks", &m->errbacks));
    try(take_list(cx, o, "chain", &m->chain));
    if (raw_there(chord) && !raw_is_object(chord))
        return fail(cx, INVALID_FIELD, "chord must be a signature");
    m->chord = raw_there(chord) ? chord : (struct raw){0};
    return OK;
}

static rc take_args(struct cx *cx, struct raw args, struct raw kwargs, struct celery_message *m)
{
    m->args = raw_there(args) ? args : RAW("[]");
    m->kwargs = raw_there(kwargs) ? kwargs : RAW("{}");
    if (!raw_is_array(m->args) || !raw_is_object(m->kwargs))
        return fail(cx, INVALID_FIELD, "args must be a list and kwargs an object");
    return OK;
}

/* Headers of protocol 2, or the body of protocol 1: the same names. */
static rc take_request(struct cx *cx, struct raw o, const char *group, struct celery_message *m)
{
    int64_t index = -1;

    try(take(cx, o, "id", &m->id));
    try(take(cx, o, "task", &m->task));
    try(take_opt(cx, o, "root_id", &m->root_id));
    try(take_opt(cx, o, "parent_id", &m->parent_id));
    try(take_opt(cx, o, group, &m->group));
    if (raw_int(raw_get(o, "group_index"), 0, 1 << 30, &index))
        m->group_index = index;
    m->ignore_result = raw_true(raw_get(o, "ignore_result"));
    try(take_retries(cx, o, m));
    try(take_limits(cx, o, m));
    try(take_time(cx, o, "eta", &m->eta_ms));
    return take_time(cx, o, "expires", &m->expires_ms);
}

static rc take_protocol_2(struct cx *cx, struct raw body, struct celery_message *m)
{
    struct raw args = {0}, kwargs, embed;

    m->protocol = 2;
    try(take_request(cx, m->headers, "group", m));
    if (!raw_next(body, &args))
        return fail(cx, INVALID_FIELD, "the body must be a list of args, kwargs and embed");
    kwargs = embed = args;
    if (!raw_next(body, &kwargs))
        return fail(cx, INVALID_FIELD, "the body must be a list of args, kwargs and embed");
    try(take_args(cx, args, kwargs, m));
    embed = kwargs;
    return raw_next(body, &embed) ? take_sequel(cx, embed, m) : OK;
}

static rc take_protocol_1(struct cx *cx, struct raw body, struct celery_message *m)
{
    m->protocol = 1;
    if (!raw_is_object(body))
        return fail(cx, INVALID_FIELD,
                    "the message has no task in its headers and no object as its body");
    try(take_request(cx, body, "taskset", m));
    try(take_args(cx, raw_get(body, "args"), raw_get(body, "kwargs"), m));
    return take_sequel(cx, body, m);
}

static rc take_properties(struct cx *cx, struct celery_message *m)
{
    struct raw p = m->properties, info = raw_get(p, "delivery_info");
    int64_t priority = 0, deaths = 0;

    try(take(cx, p, "delivery_tag", &m->tag));
    try(take_opt(cx, info, "exchange", &m->exchange));
    try(take_opt(cx, info, "routing_key", &m->routing_key));
    try(take_opt(cx, p, "reply_to", &m->reply_to));
    try(take_opt(cx, p, "correlation_id", &m->correlation_id));
    if (raw_int(raw_get(p, "priority"), INT32_MIN, INT32_MAX, &priority))
        m->priority = (int)MIN(MAX(priority, (int64_t)0), (int64_t)9);
    m->redelivered = raw_true(raw_get(info, "redelivered"));
    if (raw_int(raw_get(m->headers, DEATHS), 0, CELERY_DEATHS_MAX, &deaths))
        m->deaths = (int)deaths;
    return OK;
}

rc celery_message_read(struct cx *cx, const char *text, size_t n, struct celery_message *m)
{
    const char *type, *body_text;
    struct raw body;
    size_t body_len;

    *m = (struct celery_message){.group_index = -1};
    try(raw_read(cx, text, n, CELERY_MESSAGE_MAX, &m->whole));
    if (!raw_is_object(m->whole))
        return fail(cx, INVALID_FIELD, "the message must be an object");
    m->properties = raw_get(m->whole, "properties");
    m->headers = raw_get(m->whole, "headers");
    if (!raw_is_object(m->headers))
        m->headers = RAW("{}");
    try(take_properties(cx, m));
    try(take_opt(cx, m->whole, "content-type", &type));
    if (!str_eq(type, CELERY_BODY_TYPE))
        return fail(cx, UNSUPPORTED_MEDIA,
                    "the content-type is %.60s, only " CELERY_BODY_TYPE " is read",
                    type ? type : "missing");
    try(celery_body_of(cx, m->whole, &body_text, &body_len));
    try(raw_read(cx, body_text, body_len, CELERY_MESSAGE_MAX, &body));
    return raw_there(raw_get(m->headers, "task")) ? take_protocol_2(cx, body, m)
                                                  : take_protocol_1(cx, body, m);
}

/* ---------------------------------------------------------------- out */

char *celery_time(int64_t ms, char *out)
{
    char text[CLOCK_TEXT_LEN + 1];

    clock_format(ms, text);
    snprintf(out, 40, "%.23s000+00:00", text);
    return out;
}

static void put_time(struct buf *b, const char *name, int64_t ms)
{
    char text[40];

    buf_json_field(b, name, ms ? celery_time(ms, text) : NULL);
}

static void put_seconds(struct buf *b, int64_t ms)
{
    if (ms)
        buf_printf(b, "%.15g", (double)ms / 1000);
    else
        buf_puts(b, "null");
}

static void put_limits(struct buf *b, int64_t hard_ms, int64_t soft_ms)
{
    buf_puts(b, ",\"timelimit\":[");
    put_seconds(b, hard_ms);
    buf_putc(b, ',');
    put_seconds(b, soft_ms);
    buf_putc(b, ']');
}

static void put_index(struct buf *b, int64_t index)
{
    if (index >= 0)
        buf_printf(b, ",\"group_index\":%lld", (long long)index);
    else
        buf_puts(b, ",\"group_index\":null");
}

static void put_bool(struct buf *b, const char *name, bool v)
{
    buf_printf(b, ",\"%s\":%s", name, v ? "true" : "false");
}

static void put_base64(struct buf *b, const char *p, size_t n)
{
    _cleanup_(freep) unsigned char *out = xmalloc((n + 2) / 3 * 4 + 1);
    int len = EVP_EncodeBlock(out, (const unsigned char *)p, (int)n);

    buf_append(b, out, (size_t)len);
}

/* A text for people, as Celery cuts it. */
static void put_repr(struct buf *b, const char *name, struct raw r)
{
    const char *p = r.n ? r.p : "";
    _cleanup_(freep) char *text = xstrndup(p, r.n <= 1024 ? r.n : utf8_cut(p, 1024));

    buf_json_field(b, name, text);
}

static void put_body(struct buf *out, const struct celery_new *m)
{
    _cleanup_(buf_release) struct buf b = BUF(out->max);

    buf_putc(&b, '[');
    raw_put(&b, m->args.n ? m->args : RAW("[]"));
    buf_putc(&b, ',');
    raw_put(&b, m->kwargs.n ? m->kwargs : RAW("{}"));
    buf_puts(&b, ",{\"callbacks\":");
    raw_put(&b, m->callbacks);
    buf_puts(&b, ",\"errbacks\":");
    raw_put(&b, m->errbacks);
    buf_puts(&b, ",\"chain\":");
    raw_put(&b, m->chain);
    buf_puts(&b, ",\"chord\":");
    raw_put(&b, m->chord);
    buf_puts(&b, "}]");
    out->full |= !buf_ok(&b);
    put_base64(out, buf_str(&b), b.len);
}

static const char *const own_headers[] = {
    "lang",     "task",        "id",      "shadow",        "eta",     "expires",
    "group",    "group_index", "retries", "timelimit",     "root_id", "parent_id",
    "argsrepr", "kwargsrepr",  "origin",  "ignore_result", NULL};

static void put_headers(struct buf *b, const struct celery_new *m)
{
    buf_puts(b, "\"headers\":{");
    if (raw_put_members(b, m->headers, own_headers) > 0)
        buf_putc(b, ',');
    buf_puts(b, "\"lang\":\"c\",\"task\":");
    buf_json_str(b, m->task);
    buf_json_field(b, "id", m->id);
    buf_puts(b, ",\"shadow\":null");
    put_time(b, "eta", m->eta_ms);
    put_time(b, "expires", m->expires_ms);
    buf_json_field(b, "group", m->group);
    put_index(b, m->group_index);
    buf_printf(b, ",\"retries\":%d", m->retries);
    put_limits(b, m->hard_ms, m->soft_ms);
    buf_json_field(b, "root_id", m->root_id ? m->root_id : m->id);
    buf_json_field(b, "parent_id", m->parent_id);
    put_repr(b, "argsrepr", m->args.n ? m->args : RAW("[]"));
    put_repr(b, "kwargsrepr", m->kwargs.n ? m->kwargs : RAW("{}"));
    buf_json_field(b, "origin", m->origin ? m->origin : "mihwar");
    put_bool(b, "ignore_result", m->ignore_result);
    buf_putc(b, '}');
}

static void put_delivery(struct buf *b, const char *exchange, const char *routing_key)
{
    char tag[ID_LEN + 1];

    buf_puts(b, ",\"delivery_info\":{\"exchange\":");
    buf_json_str(b, exchange);
    buf_json_field(b, "routing_key", routing_key);
    buf_puts(b, "},\"priority\":");
    buf_printf(b, "%d", 0);
    buf_printf(b, ",\"body_encoding\":\"base64\",\"delivery_tag\":\"%s\"}", id_new(tag));
}

void celery_message_write(struct buf *b, struct celery_new *m)
{
    char tag[ID_LEN + 1], id[ID_LEN + 1];

    if (!m->id[0])
        memcpy(m->id, id_new(id), sizeof id);
    buf_puts(b, "{\"body\":\"");
    put_body(b, m);
    buf_puts(b, "\",\"content-encoding\":\"utf-8\",\"content-type\":\"" CELERY_BODY_TYPE "\",");
    put_headers(b, m);
    buf_puts(b, ",\"properties\":{\"correlation_id\":");
    buf_json_str(b, m->id);
    buf_json_field(b, "reply_to", m->reply_to ? m->reply_to : "");
    buf_puts(b, ",\"delivery_mode\":2,\"delivery_info\":{\"exchange\":\"\",\"routing_key\":");
    buf_json_str(b, m->queue);
    buf_printf(b, "},\"priority\":%d,\"body_encoding\":\"base64\",\"delivery_tag\":\"%s\"}}",
               m->priority, id_new(tag));
}

void celery_envelope_write(struct buf *b, const char *headers, const char *body, size_t body_len,
                           const char *exchange, const char *routing_key)
{
    buf_puts(b, "{\"body\":\"");
    put_base64(b, body, body_len);
    buf_printf(b,
               "\",\"content-encoding\":\"utf-8\",\"content-type\":\"" CELERY_BODY_TYPE
               "\",\"headers\":{%s},\"properties\":{\"delivery_mode\":1",
               headers);
    put_delivery(b, exchange, routing_key);
    buf_putc(b, '}');
}

/* An object with some members replaced: the others, then a comma if there were any. */
static void put_others(struct buf *b, struct raw object, const char *const *without)
{
    if (raw_put_members(b, object, without) > 0)
        buf_putc(b, ',');
}

void celery_message_again(struct buf *b, const struct celery_message *m, bool counted,
                          int64_t eta_ms)
{
    static const char *const replaced[] = {"retries", "parent_id", "eta", DEATHS, NULL};
    static const char *const parts[] = {"headers", "properties", "body", NULL};
    static const char *const tag_only[] = {"delivery_tag", "body_encoding", NULL};
    char tag[ID_LEN + 1];
    _cleanup_(buf_release) struct buf h = BUF(CELERY_MESSAGE_MAX);
    int retries = m->retries + (counted ? 1 : 0);

    put_others(&h, m->protocol == 2 ? m->headers : RAW("{}"), replaced);
    buf_printf(&h, "\"retries\":%d", retries);
    put_time(&h, "eta", eta_ms);
    buf_json_field(&h, "parent_id", m->id);
    if (m->protocol == 1) { /* goes on as protocol 2 */
        buf_json_field(&h, "task", m->task);
        buf_json_field(&h, "id", m->id);
        buf_json_field(&h, "root_id", m->root_id ? m->root_id : m->id);
        buf_json_field(&h, "group", m->group);
        put_time(&h, "expires", m->expires_ms);
        put_index(&h, m->group_index);
        put_limits(&h, m->hard_ms, m->soft_ms);
        put_bool(&h, "ignore_result", m->ignore_result);
    }
    buf_puts(b, "{");
    put_others(b, m->whole, parts);
    buf_puts(b, "\"body\":\"");
    put_body(b, &(struct celery_new){.args = m->args,
                                     .kwargs = m->kwargs,
                                     .callbacks = m->callbacks,
                                     .errbacks = m->errbacks,
                                     .chain = m->chain,
                                     .chord = m->chord});
    buf_puts(b, "\",\"headers\":{");
    buf_append(b, buf_str(&h), h.len);
    b->full |= !buf_ok(&h);
    buf_puts(b, "},\"properties\":{");
    put_others(b, m->properties, tag_only);
    buf_printf(b, "\"body_encoding\":\"base64\",\"delivery_tag\":\"%s\"}}", id_new(tag));
}

void celery_message_redelivered(struct buf *b, const struct celery_message *m, bool aboard)
{
    static const char *const parts[] = {"headers", "properties", NULL};
    static const char *const info[] = {"delivery_info", NULL};
    static const char *const flag[] = {"redelivered", NULL}, *const flags[] = {"redelivered",
                                                                               DEATHS, NULL};

    buf_puts(b, "{");
    put_others(b, m->whole, parts);
    buf_puts(b, "\"headers\":{");
    put_others(b, m->headers, flags);
    if (m->deaths + aboard > 0)
        buf_printf(b, "\"" DEATHS "\":%d,", m->deaths + aboard);
    buf_puts(b, "\"redelivered\":true},\"properties\":{");
    put_others(b, m->properties, info);
    buf_puts(b, "\"delivery_info\":{");
    put_others(b, raw_get(m->properties, "delivery_info"), flag);
    buf_puts(b, "\"redelivered\":true}}}");
}

/* generic.c - asking a provider that is described by its configuration (generic_config.h).
 *
 * Credentials stand in headers or parameters as templates say; what comes back is searched for them before it is kept. */
#include "worker/providers/adapter.h"
#include "worker/providers/generic_parse.h"
#include "worker/providers/ptext.h"
#include "worker/providers/transport.h"
#include <stdlib.h>
#include <string.h>

#define TARGET_MAX KiB(14)
#define SECRETS    16

struct generic {
    struct transport transport;
    char *base_url;
    cJSON *config, *credentials;
    const char *secrets[SECRETS + 1];
};

static const cJSON *setting(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

static const char *word(const cJSON *o, const char *name, const char *otherwise)
{
    const char *s = cJSON_GetStringValue(setting(o, name));

    return s ? s : otherwise;
}

/* NAME=VALUE pairs, or JSON fields, of the templates that have something to say. */
static bool put_params(const cJSON *params, const struct template_vars *v, bool json,
                       struct buf *out)
{
    for (const cJSON *p = params ? params->child : NULL; p; p = p->next) {
        _cleanup_(buf_release) struct buf value = BUF(TARGET_MAX);
        bool empty;
        if (!template_expand(p->valuestring, v, NULL, &value, &empty))
            return false;
        if (empty)
            continue;
        if (json) {
            buf_puts(out, out->len > 1 ? "," : "");
            buf_json_str(out, p->string);
            buf_puts(out, ":");
            buf_json_str(out, buf_str(&value));
        } else {
            buf_puts(out, out->len ? "&" : "");
            http_escape(out, p->string);
            buf_puts(out, "=");
            http_escape(out, buf_str(&value));
        }
    }
    return buf_ok(out);
}

static rc too_long(struct cx *cx)
{
    return fail(cx, INVALID_FIELD, "the order's fields are too long for a request to the provider");
}

static rc call(struct cx *cx, const struct generic *g, enum purpose purpose, const char *section,
               const struct template_vars *v, struct http_response *r)
{
    const cJSON *c = setting(g->config, section), *auth = setting(g->config, "auth");
    const char *method = word(c, "method", "GET"), *kind = word(auth, "kind", "none");
    bool post = strcmp(method, "POST") == 0,
         json = post && strcmp(word(c, "body", "form"), "json") == 0, empty;
    _cleanup_(buf_release) struct buf path = BUF(TARGET_MAX), query = BUF(TARGET_MAX),
                                      body = BUF(TARGET_MAX), secret = BUF(KiB(4));
    struct http_header headers[4] = {{"Accept", "application/json"}};
    size_t n = 1;

    *r = (struct http_response){0};
    bool ok = template_expand(word(c, "path", "/"), v, http_escape, &path, &empty);
    if (strcmp(kind, "query") == 0)
        ok = ok && put_params(setting(auth, "params"), v, false, &query);
    if (json)
        buf_puts(&body, "{");
    ok = ok && put_params(setting(c, "params"), v, json, post ? &body : &query);
    if (json)
        buf_puts(&body, "}");
    if (strcmp(kind, "header") == 0 || strcmp(kind, "bearer") == 0) {
        bool bearer = strcmp(kind, "bearer") == 0;
        buf_puts(&secret, bearer ? "Bearer " : "");
        ok = ok && template_expand(word(auth, "value", ""), v, NULL, &secret, &empty);
        headers[n++] = (struct http_header){bearer ? "Authorization" : word(auth, "name", ""),
                                            buf_str(&secret)};
    }
    if (post)
        headers[n++] = (struct http_header){
            "Content-Type", json ? "application/json" : "application/x-www-form-urlencoded"};
    if (query.len)
        ok = ok && buf_putc(&path, '?') && buf_append(&path, query.p, query.len);
    if (!ok || !buf_ok(&body))
        return too_long(cx);
    return transport_call(cx, &g->transport,
                          &(struct transport_call){.purpose = purpose,
                                                   .method = method,
                                                   .target = buf_str(&path),
                                                   .headers = headers,
                                                   .body = post ? buf_str(&body) : NULL},
                          r);
}

static void hide_credentials(struct cx *cx, const struct generic *g, struct answer *a)
{
    if (a->verbatim)
        a->verbatim = ptext_redact(&cx->arena, a->verbatim, g->secrets);
    if (a->note)
        a->note = ptext_redact(&cx->arena, a->note, g->secrets);
}

static rc place(struct cx *cx, void *self, const struct place_request *q, struct answer *ret)
{
    const struct generic *g = self;
    const struct template_vars v = {
        .product = q->product,
        .kupur = q->kupur,
        .reference = q->reference,
        .player = q->user_identifier,
        .extra = q->extra_field,
        .phone = q->phone,
        .credentials = g->credentials,
    };
    struct http_response r;
    rc result = call(cx, g, TO_PLACE, "place", &v, &r);

    if (result == OK) {
        generic_parse_place(cx, g->config, &r, ret);
        hide_credentials(cx, g, ret);
    }
    http_response_release(&r);
    return result;
}

static rc status(struct cx *cx, void *self, const char *reference, struct answer *ret)
{
    const struct generic *g = self;
    const struct template_vars v = {.reference = reference, .credentials = g->credentials};
    struct http_response r;
    rc result = call(cx, g, TO_ASK, "check", &v, &r);

    if (result == OK) {
        generic_parse_status(cx, g->config, &r, ret);
        hide_credentials(cx, g, ret);
    }
    http_response_release(&r);
    return result;
}

static rc balance(struct cx *cx, void *self, struct balance_answer *ret)
{
    const struct generic *g = self;
    const struct template_vars v = {.credentials = g->credentials};
    struct http_response r;
    rc result = call(cx, g, TO_ASK, "balance", &v, &r);

    if (result == OK) {
        generic_parse_balance(cx, g->config, &r, ret);
        hide_credentials(cx, g, &ret->answer);
    }
    http_response_release(&r);
    return result;
}

static rc catalogue(struct cx *cx, void *self, struct catalogue_answer *ret)
{
    const struct generic *g = self;
    const struct template_vars v = {.credentials = g->credentials};
    struct http_response r;
    rc result = call(cx, g, TO_LIST, "catalogue", &v, &r);

    if (result == OK) {
        generic_parse_catalogue(cx, g->config, &r, ret);
        hide_credentials(cx, g, &ret->answer);
    }
    http_response_release(&r);
    return result;
}

static void generic_free(void *self)
{
    struct generic *g = self;

    for (size_t i = 0; g->secrets[i]; i++)
        explicit_bzero((char *)(uintptr_t)g->secrets[i], strlen(g->secrets[i]));
    cJSON_Delete(g->config);
    cJSON_Delete(g->credentials);
    free(g->base_url);
    free(g);
}

static const struct provider_ops ops = {
    .kind = "json",
    .place = place,
    .status = status,
    .balance = balance,
    .catalogue = catalogue,
    .free = generic_free,
};

rc generic_new(struct cx *cx, const struct integration *i, const struct settings *s,
               const cJSON *settings, const cJSON *credentials, struct adapter *ret)
{
    struct transport t;
    cJSON *config;
    size_t n = 0;

    try(generic_config_read(cx, settings, credentials, &config));
    try(transport_read(cx, i->base_url, settings, s, &t));
    if (cJSON_GetArraySize(credentials) > SECRETS)
        return fail(cx, CONFIG, "integration %s: more than %d credentials", i->name, SECRETS);

    struct generic *g = xcalloc(1, sizeof *g);
    g->transport = t;
    g->transport.base_url = g->base_url = xstrdup(i->base_url);
    g->config = cJSON_Duplicate(config, true);
    g->credentials = cJSON_Duplicate(credentials, true);
    for (const cJSON *c = g->credentials->child; c; c = c->next)
        g->secrets[n++] = c->valuestring;
    *ret = (struct adapter){
        .ops = &ops,
        .self = g,
        .uuid_references = strcmp(word(g->config, "reference", ""), "uuid") == 0,
    };
    return OK;
}

/* transport.c - limits out of settings, and the call. */
#include "worker/providers/transport.h"
#include "worker/providers/catalogue.h"
#include <string.h>

#define BODY_MAX KiB(256)

rc transport_read(struct cx *cx, const char *base_url, const cJSON *settings,
                  const struct settings *defaults, struct transport *ret)
{
    struct transport t = {
        .base_url = base_url,
        .connect_ms = defaults->provider_connect,
        .place_ms = defaults->provider_place,
        .status_ms = defaults->provider_status,
    };
    bool verify = true;

    try(json_int_opt(cx, settings, "connect_ms", 10, 120000, &t.connect_ms));
    try(json_int_opt(cx, settings, "place_ms", 10, 300000, &t.place_ms));
    try(json_int_opt(cx, settings, "status_ms", 10, 300000, &t.status_ms));
    try(json_bool_opt(cx, settings, "tls_verify", &verify));
    t.insecure_tls = !verify;
    *ret = t;
    return OK;
}

rc transport_call(struct cx *cx, const struct transport *t, const struct transport_call *c,
                  struct http_response *r)
{
    static const char *const names[] = {
        [TO_PLACE] = "provider.place", [TO_ASK] = "provider.ask", [TO_LIST] = "provider.list"};
    const char *url = arena_printf(&cx->arena, "%s%s", t->base_url, c->target);

    return http_call(cx,
                     &(struct http_request){
                         .what = names[c->purpose],
                         .method = c->method,
                         .url = url,
                         .headers = c->headers,
                         .body = c->body,
                         .body_len = c->body ? strlen(c->body) : 0,
                         .connect_ms = t->connect_ms,
                         .total_ms = c->purpose == TO_PLACE ? t->place_ms : t->status_ms,
                         .max_body = c->purpose == TO_LIST ? CATALOGUE_MAX : BODY_MAX,
                         .fresh = c->purpose == TO_PLACE,
                         .insecure_tls = t->insecure_tls,
                     },
                     r);
}

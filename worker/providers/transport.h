/* transport.h - how a provider is reached: base URL, time limits, TLS; and one call to it.
 *
 * From the integration's settings: connect_ms, place_ms, status_ms (numbers; the worker's settings otherwise) and tls_verify
 * (default true: some panels have broken certificates, and their owner must say so). Providers may stand on private
 * addresses: they are the operator's choice, not a visitor's. */
#pragma once
#include "base/json.h"
#include "base/settings.h"
#include "rt/http.h"

struct transport {
    const char *base_url; /* no trailing slash */
    int64_t connect_ms, place_ms, status_ms;
    bool insecure_tls;
};

/* Names in the settings object that transport_read and lib/domain read; adapters add theirs. */
#define TRANSPORT_SETTINGS "connect_ms", "place_ms", "status_ms", "tls_verify"
#define COMMON_SETTINGS                                                                            \
    "may_resend", "currency", "requests_per_s", "concurrency", "breaker", TRANSPORT_SETTINGS

/* base_url is borrowed. INVALID_FIELD with the pointer. */
rc transport_read(struct cx *cx, const char *base_url, const cJSON *settings,
                  const struct settings *defaults, struct transport *ret);

enum purpose { TO_PLACE, TO_ASK, TO_LIST };
struct transport_call {
    enum purpose purpose; /* TO_PLACE: a fresh connection, the place limit */
    const char *method;   /* NULL: GET */
    const char *target;   /* path and query, escaped, with the slash: it may hold credentials */
    const struct http_header *headers;
    const char *body; /* or NULL */
};
/* OK or CANCELLED, as http_call; the response is the caller's to release. Parks. */
rc transport_call(struct cx *cx, const struct transport *t, const struct transport_call *c,
                  struct http_response *r) MW_PARKS;

/* http.h - the HTTP client: libcurl's multi socket API on the loop; fibers only wait for it.
 *
 * What was learned about a failed call decides money, so a response says how far the request got:
 *
 *   HTTP_NOT_SENT  no byte of the request was written: DNS, refused, connect timeout, TLS handshake
 *   HTTP_UNCLEAR   the request (or part of it) went out and no complete answer came back
 *   HTTP_ANSWERED  status and body are complete
 *
 * An established connection that is reused may be closed by the peer before it reads: that is UNCLEAR. Requests whose
 * repetition would matter ask for a fresh connection (fresh = true) and are never retried by curl itself.
 * Error text never contains the URL (it can hold `sifre`). */
#pragma once
#include "base/buf.h"
#include "rt/fiber.h"

enum http_outcome { HTTP_NOT_SENT, HTTP_UNCLEAR, HTTP_ANSWERED };

struct http_header {
    const char *name, *value;
};

struct http_request {
    const char *method;                /* GET, POST ... */
    const char *url;                   /* http or https only */
    const char *what;                  /* the call's name in traces; NULL: "http.call" */
    const struct http_header *headers; /* ends with {NULL} ; may be NULL */
    const char *body;
    size_t body_len;
    int64_t connect_ms, total_ms; /* the context's deadline also holds */
    size_t max_body;              /* response ceiling in bytes; 0: 1 MiB; more is UNCLEAR */
    bool fresh;                   /* a new connection, not one that was kept */
    bool insecure_tls;            /* do not verify the peer: the operator's choice */
    bool refuse_private;          /* SSRF: only public addresses, checked on the one connected to */
};

struct http_response {
    enum http_outcome outcome;
    long status;     /* when ANSWERED */
    struct buf body; /* NUL-terminated, may contain NUL; valid also when UNCLEAR (what came) */
    char content_type[128];
    int64_t retry_after_s; /* -1: none */
    int64_t took_ms;
    char why[160]; /* when not ANSWERED: a sentence without URL or secrets */
};

/* One request. OK whatever the outcome (look at r->outcome); errors only for the caller's own trouble: CANCELLED (the
 * request may have gone out: outcome says UNCLEAR or NOT_SENT), INVALID_FIELD for a URL that is none, ADDRESS_REFUSED.
 * DEADLINE of the context reads as an outcome, not as an error. Redirects are not followed. Parks. */
rc http_call(struct cx *cx, const struct http_request *q, struct http_response *r) MW_PARKS;
void http_response_release(struct http_response *r);

/* curl_global_init, before any fork. */
void http_global_init(void);
/* Per process, after the fork; max_host_connections bounds what one provider sees (0: no bound). */
void http_init(long max_host_connections);
void http_free(void);
/* application/x-www-form-urlencoded text of s appended (RFC 3986 unreserved kept, space as %20). */
bool http_escape(struct buf *out, const char *s);

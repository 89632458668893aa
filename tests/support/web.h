/* web.h - one blocking HTTP request, and the answer as JSON. */
#pragma once
#include "base/util.h"
#include <cjson/cJSON.h>

struct web_request {
    const char *method; /* NULL: GET, or POST when there is a body */
    const char *url;
    const char *bearer;         /* Authorization: Bearer …; may be NULL */
    const char *body;           /* sent as application/json unless a header says otherwise */
    size_t body_len;            /* 0: strlen(body) */
    const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
    int timeout_ms;             /* 0: 10 s */
};
struct web_reply {
    int status; /* 0: no answer (refused, cut, timed out); why says it */
    char *body; /* NUL-terminated, never NULL */
    size_t body_len;
    char *headers; /* as received, never NULL */
    cJSON *json;   /* NULL: the body is not JSON */
    char why[128];
    int took_ms;
};

struct web_reply web_do(const struct web_request *q);
#define web(...) web_do(&(struct web_request){__VA_ARGS__})
void web_reply_release(struct web_reply *r); /* for _cleanup_ */
/* Text at a path of names and indexes: web_text(&r, "errors.0.pointer"); numbers as printed; "" for
 * null; NULL: not there. */
const char *web_text(const struct web_reply *r, const char *path);
/* Value of a header, or NULL. Static buffer of 4 in turn. */
const char *web_header(const struct web_reply *r, const char *name);

/* A stream of server-sent events, read as it comes. */
struct sse;
struct sse *sse_open(const char *url, const char *bearer);
/* The next event's "event" and data (static until the next call); false after deadline_ms or at the
 * end of the stream. */
bool sse_next(struct sse *s, int deadline_ms, const char **ret_event, const char **ret_data);
struct sse *sse_close(struct sse *s);

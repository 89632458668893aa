/* request.h - one HTTP request on its fiber: what was asked, who asks, what is answered.
 *
 *   evhttp --> server.c makes it --> interceptor --> handler --> reply --> evhttp
 *
 * A handler reads fields, calls the domain, and ends with one reply_…() or returns a failure, which
 * server.c turns into problem+json (RFC 9457). Nothing leaves before the handler returned, save a
 * stream (realtime/sse.h).
 *
 * The caller may hang up at any time; the handler does not notice and needs not: its work is
 * finished and the reply dropped. Who waits for long notices (hangup.h). */
#pragma once
#include "base/buf.h"
#include "base/json.h"
#include "domain/access/keys.h"
#include "domain/agents/agent_tokens.h"
#include "secure/identity.h"

struct evhttp_request;
struct hub;
struct route;

enum method { M_GET = 1, M_POST = 2, M_PUT = 4, M_PATCH = 8, M_DELETE = 16 };

#define REQUEST_PARAMS    3
#define REQUEST_PARAM_MAX 255

/* Which listener it came through. */
enum door_kind { DOOR_WEB, DOOR_MTLS };
const char *door_kind_word(enum door_kind kind); /* "web", "mtls" */

struct request {
    unsigned magic;
    struct evhttp_request *ev; /* NULL: the connection has left HTTP (detached.h) */
    struct hub *hub;
    const struct route *route; /* NULL: no such path */
    enum method method;
    bool head;        /* HEAD: as GET, without the body */
    bool last;        /* the connection is closed after the reply */
    const char *path; /* as sent, without the query */
    char params[REQUEST_PARAMS][REQUEST_PARAM_MAX + 1];
    const char *query; /* "" if none */
    const char *body;  /* body_len bytes */
    size_t body_len;
    char peer[64];
    enum door_kind door;
    char cert_name[IDENTITY_MAX + 1]; /* the name in the verified certificate; "" on the web door */
    struct identity who;              /* set by the interceptor */
    struct agent_identity agent;      /* the same: whose token it showed */
    bool refused;                     /* a refusal is on record for it */
    int64_t retry_after_s;            /* of a 429, when it is known; 0: the code's own */
    int64_t started_mono_us;
    bool streaming; /* a stream has begun: a failure can no longer become problem+json */
    struct fiber *streaming_fiber; /* whom a hang-up wakes */
    int status;                    /* of the reply; 0: none yet */
    const char *content_type;
    struct buf out;
    const char
        *kept; /* what is kept under an Idempotency-Key in place of `out`, which shows a secret
                         once; NULL: `out` */
};
#define REQUEST_MAGIC 0x52455155u
#define REPLY_MAX     MiB(16)

/* The value of a header, NULL if it was not sent. Lives as long as the request. */
const char *request_header(const struct request *q, const char *name);
/* Was it sent more than once? */
bool request_header_again(const struct request *q, const char *name);
/* BAD_REQUEST when something in the query is not text: it would otherwise be taken for not said. */
rc request_check_query(struct cx *cx, const struct request *q);
/* A decoded query value in cx's arena, NULL if it is not there or empty. */
const char *request_query(struct cx *cx, const struct request *q, const char *name);
/* ?limit= (1..500, default 50); INVALID_FIELD. */
rc request_limit(struct cx *cx, const struct request *q, int *ret);
/* ?name=RFC 3339; 0 if it is not there; INVALID_FIELD. */
rc request_time(struct cx *cx, const struct request *q, const char *name, int64_t *ret_ms);
/* ?name=UUID; "" if it is not there; INVALID_FIELD. */
rc request_id_query(struct cx *cx, const struct request *q, const char *name, char ret[ID_LEN + 1]);
/* The body as a JSON object. UNSUPPORTED_MEDIA when a Content-Type says otherwise, BAD_JSON and its
 * family. */
rc request_object(struct cx *cx, const struct request *q, cJSON **ret);
/* The same, object or array. */
rc request_body(struct cx *cx, const struct request *q, cJSON **ret);
/* A member of the body that must be an object, as text: as it was written, so that no digit of a
 * number is lost, wherever a database takes that. NULL if it is not there. INVALID_FIELD, also when
 * it has more than max bytes. */
rc request_member(struct cx *cx, const struct request *q, const cJSON *body, const char *name,
                  size_t max, const char **ret);
/* A path parameter as UUID, lower case; NOT_FOUND with `what` when it is none ("no order has this
 * id"). */
rc request_param_id(struct cx *cx, const struct request *q, int i, const char *what,
                    char ret[ID_LEN + 1]);
/* Idempotency-Key: NULL if not sent; INVALID_FIELD unless 1..255 visible ASCII characters. */
rc request_idempotency_key(struct cx *cx, const struct request *q, const char **ret);

/* "key:<name>" or "cert:<name>": who the audit log says it was. */
const char *request_actor(struct cx *cx, const struct request *q);

/* The reply: `status` with q->out as JSON. Handlers write into q->out first. BUFFER_FULL when that
 * hit its ceiling. */
rc reply_json(struct cx *cx, struct request *q, int status);
void reply_header(struct request *q, const char *name, const char *value);
/* RFC 9457's object. words and pointer may be NULL; status 0: the code's own. */
struct problem {
    rc code;
    int status;
    const char *words, *pointer, *request_id;
};
void problem_print(struct buf *out, const struct problem *p);
/* Turns the failure in cx into problem+json in q->out and q->status. */
void reply_problem(struct cx *cx, struct request *q, rc r);

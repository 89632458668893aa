/* server.c - evhttp in front, a fiber behind each request.
 *
 *   evhttp parses --on_request--> struct request --fiber--> serve(): route, interceptor, handler
 *
 * evhttp disables reading while a request is under way, so one connection has one request at a
 * time. When the caller has hung up, evhttp takes the request off its connection; replying then
 * frees it and sends nothing.
 *
 * libevent 2.1 cannot refuse a connection at accept. Descriptors are handed out lowest first, so a
 * connection with a number above the ceiling proves that so many are open: its request is answered
 * 503 and the connection closed. */
#include "hub/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/trace.h"
#include "hub/door.h"
#include "hub/forwarded.h"
#include "hub/interceptor.h"
#include "hub/metrics.h"
#include "hub/router.h"
#include "rt/loop.h"
#include "rt/spans.h"
#include "rt/waitq.h"
#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DESCRIPTORS_OWN 256  /* stores, logs, listener, offload: not visitors */
#define FLUSH_MS        1000 /* at the end: for replies that are not written yet */

struct server {
    struct hub *hub;
    struct door *doors[DOOR_KINDS]; /* by kind; NULL: there is none */
    bool closed;                    /* no fiber is started any more */
    size_t in_flight;
    struct waitq empty; /* who waits for in_flight to become 0 */
};

/* ------------------------------------------------------------------ a request */

static void name_request(struct cx *cx, struct request *q)
{
    const char *id = request_header(q, "X-Request-Id");
    size_t n =
        id ? strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") : 0;

    if (id && n > 0 && id[n] == 0 && n < sizeof cx->request_id)
        memcpy(cx->request_id, id, n + 1);
    else
        id_new(cx->request_id);
    if (!trace_adopt(cx, request_header(q, "traceparent")))
        spans_root(cx);
    reply_header(q, "X-Request-Id", cx->request_id);
}

/* Path and query as they were sent. libevent's own parts would not do: it takes "//host/path" for a
 * name of another server. Only "http://host/path" is one here. */
static void read_target(struct cx *cx, struct request *q)
{
    const char *s = evhttp_request_get_uri(q->ev);
    size_t n;

    if (*s != '/' && strstr(s, "://"))
        s = strstr(s, "://") + 3, s += strcspn(s, "/?#");
    n = strcspn(s, "?#");
    q->path = arena_strndup(&cx->arena, s, n);
    s += n;
    q->query = *s == '?' ? arena_strndup(&cx->arena, s + 1, strcspn(s + 1, "#")) : "";
}

/* How the body ends must be beyond doubt: a proxy in front that counts otherwise would take the next
 * visitor's request for a part of this one. libevent takes the first of two lengths, ignores codings
 * that it does not know, and does not read the body of a HEAD: such a connection ends here. */
static rc check_framing(struct cx *cx, struct request *q)
{
    const struct evkeyvalq *in = evhttp_request_get_input_headers(q->ev);
    int lengths = 0, codings = 0;
    bool chunked = false, empty = false;

    for (const struct evkeyval *h = in->tqh_first; h; h = h->next.tqe_next) {
        if (strcasecmp(h->key, "Content-Length") == 0) {
            lengths++;
            empty = strcmp(h->value, "0") == 0;
        } else if (strcasecmp(h->key, "Transfer-Encoding") == 0) {
            codings++;
            chunked = strcasecmp(h->value, "chunked") == 0;
        } else if (h->key[strcspn(h->key, " \t")]) {
            codings += 2; /* "Content-Length : 5" */
        }
    }
    if (lengths + codings > 1 || (codings && !chunked)) {
        q->last = true;
        return fail(cx, BAD_REQUEST, "send one Content-Length, or Transfer-Encoding: chunked");
    }
    if (q->method == 0 || (q->head && (codings || (lengths && !empty))))
        q->last = true;
    return OK;
}

/* Behind a proxy of ours: whom it heard. On the mTLS door there is none. */
static void read_source(struct cx *cx, struct request *q)
{
    const struct evkeyvalq *in = evhttp_request_get_input_headers(q->ev);
    const char *all = NULL;
    char source[sizeof q->peer];

    if (q->door != DOOR_WEB || !*q->hub->settings->trusted_proxies)
        return;
    for (const struct evkeyval *h = in->tqh_first; h; h = h->next.tqe_next) {
        if (strcasecmp(h->key, "X-Forwarded-For") == 0)
            all = all ? arena_printf(&cx->arena, "%s, %s", all, h->value) : h->value;
    }
    forwarded_source(q->hub->settings->trusted_proxies, q->peer, all, source, sizeof source);
    memcpy(q->peer, source, sizeof source);
}

static rc handle(struct cx *cx, struct request *q)
{
    char allow[64];
    rc r;

    read_source(cx, q);
    read_target(cx, q);
    try(check_framing(cx, q));
    try(request_check_query(cx, q));

    if (q->body_len > (size_t)q->hub->settings->hub_body_max)
        return fail(cx, BODY_TOO_LARGE, "the body has %zu bytes; at most %lld are accepted",
                    q->body_len, (long long)q->hub->settings->hub_body_max);
    r = route_find(cx, q, allow, sizeof allow);
    if (r == E_METHOD_NOT_ALLOWED)
        reply_header(q, "Allow", allow);
    try(r);
    cx->name = q->route->id;
    cx_deadline_within(cx, q->route->timeout_ms ? q->route->timeout_ms : REQUEST_TIMEOUT_MS);
    try(intercept(cx, q));
    return intercept_after(cx, q, q->route->handle(cx, q));
}

static void note_end(struct cx *cx, struct request *q, rc r)
{
    struct metrics *m = q->hub->metrics;
    int64_t took_us = clock_mono_us() - q->started_mono_us;

    metrics_request(m, q->route ? (size_t)(q->route - routes) : route_count, q->status, took_us);
    if (r == E_UNAUTHENTICATED)
        metric_add(m, METRIC_REFUSED_AUTH, 1);
    if (r == E_FORBIDDEN)
        metric_add(m, METRIC_REFUSED_PERMISSION, 1);
    if (r != OK && error_info(r)->http >= 500)
        log_fail(LOG_ERROR, "request.failed", cx, r, kv_int("status", q->status),
                 kv_str("request_id", cx->request_id), kv_int("took_us", took_us));
    else if (r == E_UNAUTHENTICATED || r == E_FORBIDDEN)
        log_fail(LOG_WARN, "request.refused", cx, r, kv_str("peer", q->peer),
                 kv_str("path", q->path), kv_str("request_id", cx->request_id));
    else
        log_ev(LOG_DEBUG, "request.done", kv_int("status", q->status), kv_int("took_us", took_us),
               kv_str("request_id", cx->request_id));
}

static void note_span(struct cx *cx, struct span *span, const struct request *q)
{
    char status[16];

    if (!span->live)
        return;
    if (q->route)
        span->name = q->route->id;
    snprintf(status, sizeof status, "%d", q->status);
    span_end(cx, span, q->status < 500,
             SPAN_FACTS({"http.request.method", q->method ? method_name(q->method) : "?"},
                        {"http.route", q->route ? q->route->path : NULL},
                        {"http.response.status_code", status}, {"request.id", cx->request_id}));
}

/* libevent knows no words for these. */
static const char *phrase(int status)
{
    return status == 422 ? "Unprocessable Content" : status == 429 ? "Too Many Requests" : NULL;
}

static void send_out(struct request *q)
{
    struct evhttp_connection *conn = evhttp_request_get_connection(q->ev);
    struct evbuffer *out = evbuffer_new();
    char len[24];

    if (q->head) { /* libevent would send the body, and no length */
        snprintf(len, sizeof len, "%zu", q->out.len);
        reply_header(q, "Content-Length", len);
    } else if (out && q->out.len) {
        evbuffer_add(out, q->out.p, q->out.len);
    }
    if (q->content_type)
        reply_header(q, "Content-Type", q->content_type);
    reply_header(q, "Cache-Control", "no-store");
    reply_header(q, "X-Content-Type-Options", "nosniff");
    if (q->hub->draining || q->last)
        reply_header(q, "Connection", "close");
    evhttp_send_reply(q->ev, q->status, phrase(q->status), out);
    if (out)
        evbuffer_free(out);
    /* A connection that ends is left to the loop, which reads what has come meanwhile first: closed with bytes unread the kernel
     * would send a reset, and some callers then throw the reply away. */
    if (conn && !q->hub->draining && !q->last)
        door_write(q->hub->server->doors[q->door], conn);
}

static rc serve(struct cx *cx, void *arg)
{
    struct request *q = arg;
    struct server *s = q->hub->server;
    struct span span;
    rc r;

    CHECK_MAGIC(q, REQUEST_MAGIC);
    name_request(cx, q);
    span_begin(cx, &span, SPAN_SERVER, "http.request");
    r = handle(cx, q);
    if (!q->ev) {
        metric_add(q->hub->metrics, METRIC_UPGRADES, 1);
    } else if (q->streaming) {
        evhttp_send_reply_end(q->ev);
    } else {
        if (r != OK)
            reply_problem(cx, q, r);
        send_out(q);
    }
    note_end(cx, q, r);
    note_span(cx, &span, q);
    metric_add(q->hub->metrics, METRIC_IN_FLIGHT, -1);
    if (--s->in_flight == 0)
        waitq_wake_all(&s->empty);
    buf_release(&q->out);
    free(q);
    return OK;
}

static enum method method_of(struct evhttp_request *ev)
{
    switch (evhttp_request_get_command(ev)) {
    case EVHTTP_REQ_GET:
    case EVHTTP_REQ_HEAD:
        return M_GET;
    case EVHTTP_REQ_POST:
        return M_POST;
    case EVHTTP_REQ_PUT:
        return M_PUT;
    case EVHTTP_REQ_PATCH:
        return M_PATCH;
    case EVHTTP_REQ_DELETE:
        return M_DELETE;
    default:
        return 0;
    }
}

/* Before anything was accepted: no fiber, no parsing. */
static void refuse(struct server *s, struct evhttp_request *ev, enum metric why, bool close)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(1));
    struct evkeyvalq *h = evhttp_request_get_output_headers(ev);
    struct evbuffer *out = evbuffer_new();
    char id[ID_LEN + 1];

    problem_print(&b, &(struct problem){.code = E_OVERLOADED, .request_id = id_new(id)});
    evhttp_add_header(h, "X-Request-Id", id);
    evhttp_add_header(h, "Content-Type", "application/problem+json");
    evhttp_add_header(h, "Cache-Control", "no-store");
    evhttp_add_header(h, "Retry-After", "1");
    if (close)
        evhttp_add_header(h, "Connection", "close");
    if (out)
        evbuffer_add(out, b.p, b.len);
    evhttp_send_reply(ev, 503, NULL, out);
    if (out)
        evbuffer_free(out);
    metric_add(s->hub->metrics, why, 1);
    metrics_request(s->hub->metrics, route_count, 503, 0);
}

static void on_request(struct door *door, struct evhttp_request *ev, void *arg)
{
    struct server *s = arg;
    const struct settings *set = s->hub->settings;
    struct evhttp_connection *conn = evhttp_request_get_connection(ev);
    struct evbuffer *in = evhttp_request_get_input_buffer(ev);
    int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(conn));
    const char *cert_name;
    struct request *q;
    char *peer = NULL;
    ev_uint16_t port = 0;

    cert_name = door_asked(door, conn);
    if (s->closed || fd > set->hub_connections_max + DESCRIPTORS_OWN) {
        refuse(s, ev, METRIC_CONNECTION_REFUSED, /* close= */ true);
        return;
    }
    if (s->in_flight >= (size_t)set->hub_queue_max) {
        refuse(s, ev, METRIC_OVERLOADED, /* close= */ false);
        return;
    }
    q = xcalloc(1, sizeof *q);
    q->magic = REQUEST_MAGIC;
    q->ev = ev;
    q->hub = s->hub;
    q->method = method_of(ev);
    q->head = evhttp_request_get_command(ev) == EVHTTP_REQ_HEAD;
    q->path = "/";
    q->query = "";
    q->body_len = evbuffer_get_length(in);
    q->body = q->body_len ? (const char *)evbuffer_pullup(in, -1) : "";
    q->started_mono_us = clock_mono_us();
    q->out = BUF(REPLY_MAX);
    evhttp_connection_get_peer(conn, &peer, &port);
    text_copy(q->peer, sizeof q->peer, peer ? peer : "");
    q->door = door_kind(door);
    text_copy(q->cert_name, sizeof q->cert_name, cert_name);
    s->in_flight++;
    metric_add(s->hub->metrics, METRIC_IN_FLIGHT, 1);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "request"}, serve, q));
}

/* ------------------------------------------------------------------ the doors */

rc server_reserve(struct cx *cx, const struct settings *s, struct door_address ret[DOOR_KINDS])
{
    try(door_reserve(cx, s, DOOR_WEB, &ret[DOOR_WEB]));
    return door_reserve(cx, s, DOOR_MTLS, &ret[DOOR_MTLS]);
}

static void on_refused(void *arg, const char *ip, const char *name, const char *why)
{
    struct server *s = arg;

    intercept_handshake(s->hub, ip, name, why);
}

rc server_open(struct cx *cx, struct hub *hub, const struct door_address at[DOOR_KINDS],
               struct server **ret)
{
    struct server *s = xcalloc(1, sizeof *s);
    rc r = OK;

    s->hub = hub;
    for (enum door_kind kind = 0; kind < DOOR_KINDS && r == OK; kind++) {
        if (at[kind].fd >= 0)
            r = door_open(cx,
                          &(struct door_opts){.kind = kind,
                                              .reserved_fd = at[kind].fd,
                                              .settings = hub->settings,
                                              .metrics = hub->metrics,
                                              .warns = hub->index == 0,
                                              .on_request = on_request,
                                              .on_refused = on_refused,
                                              .arg = s},
                          &s->doors[kind]);
    }
    if (r != OK)
        server_free(s);
    else
        *ret = s;
    return r;
}

void server_reload(struct server *s)
{
    for (size_t i = 0; i < DOOR_KINDS; i++) {
        if (s->doors[i])
            door_reload(s->doors[i]);
    }
}

void server_stop(struct server *s)
{
    for (size_t i = 0; i < DOOR_KINDS; i++) {
        if (s->doors[i])
            door_stop(s->doors[i]);
    }
}

rc server_drained(struct cx *cx, struct server *s, int64_t grace_ms)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, grace_ms);

    while (s->in_flight > 0)
        try(waitq_wait(cx, &s->empty));
    return OK;
}

size_t server_in_flight(const struct server *s)
{
    return s->in_flight;
}

struct visitor *server_forget(struct server *s, const struct request *q,
                              void (*on_unwelcome)(void *arg), void *arg)
{
    return door_detach(s->doors[q->door], evhttp_request_get_connection(q->ev), on_unwelcome, arg);
}

void server_watch(struct server *s, const struct request *q, void (*on_hangup)(void *arg),
                  void *arg)
{
    door_watch(s->doors[q->door], evhttp_request_get_connection(q->ev), on_hangup, arg);
}

void server_unwatch(struct server *s, const struct request *q)
{
    door_unwatch(s->doors[q->door], evhttp_request_get_connection(q->ev));
}

static bool unsent(const struct server *s)
{
    for (size_t i = 0; i < DOOR_KINDS; i++) {
        if (s->doors[i] && door_unsent(s->doors[i]))
            return true;
    }
    return false;
}

void server_flush(struct server *s)
{
    int64_t end = clock_mono_ms() + FLUSH_MS;
    struct timeval tick = {.tv_usec = 20000};

    s->closed = true;
    while (unsent(s) && clock_mono_ms() < end) {
        event_base_loopexit(loop_base(), &tick);
        event_base_loop(loop_base(), EVLOOP_ONCE);
    }
}

struct server *server_free(struct server *s)
{
    if (s) {
        for (size_t i = 0; i < DOOR_KINDS; i++)
            door_free(s->doors[i]);
        free(s);
    }
    return NULL;
}

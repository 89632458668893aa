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
#include "hub/interceptor.h"
#include "hub/metrics.h"
#include "hub/router.h"
#include "hub/visitors.h"
#include "rt/loop.h"
#include "rt/waitq.h"
#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADERS_MAX     KiB(16)
#define DESCRIPTORS_OWN 256 /* stores, logs, listener, offload: not visitors */
#define BACKLOG         1024
#define FLUSH_MS        1000 /* at the end: for replies that are not written yet */

struct server {
    struct hub *hub;
    struct evhttp *http;
    struct evhttp_bound_socket *bound;
    struct visitors *visitors;
    bool closed; /* no fiber is started any more */
    size_t in_flight;
    struct waitq empty; /* who waits for in_flight to become 0 */
};

/* ------------------------------------------------------------------ a request */

/* W3C trace context: 00-<32 hex>-<16 hex>-<2 hex>, lower case, neither id all zeros; a version that
 * we do not know may have more behind. Otherwise `out` stays as it is. */
static void trace_read(const char *s, char out[33])
{
    static const char hex[] = "0123456789abcdef";
    size_t n = strlen(s);

    if (n < 55 || (n > 55 && (starts_with(s, "00") || s[55] != '-')) || strspn(s, hex) != 2 ||
        starts_with(s, "ff") || s[2] != '-' || strspn(s + 3, hex) != 32 || s[35] != '-' ||
        strspn(s + 36, hex) != 16 || s[52] != '-' || strspn(s + 53, hex) != 2)
        return;
    if (strspn(s + 3, "0") == 32 || strspn(s + 36, "0") == 16)
        return;
    memcpy(out, s + 3, 32);
    out[32] = 0;
}

static void name_request(struct cx *cx, struct request *q)
{
    const char *id = request_header(q, "X-Request-Id");
    const char *parent = request_header(q, "traceparent");
    size_t n =
        id ? strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") : 0;
    unsigned char raw[16];

    if (id && n > 0 && id[n] == 0 && n < sizeof cx->request_id)
        memcpy(cx->request_id, id, n + 1);
    else
        id_new(cx->request_id);
    if (parent)
        trace_read(parent, cx->trace);
    if (!cx->trace[0]) {
        random_bytes(raw, sizeof raw);
        hex_encode(raw, sizeof raw, cx->trace);
    }
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

static rc handle(struct cx *cx, struct request *q)
{
    char allow[64];
    rc r;

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
    return q->route->handle(cx, q);
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

/* libevent knows no words for these. */
static const char *phrase(int status)
{
    return status == 422 ? "Unprocessable Content" : status == 429 ? "Too Many Requests" : NULL;
}

static void send_out(struct request *q)
{
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
}

static rc serve(struct cx *cx, void *arg)
{
    struct request *q = arg;
    struct server *s = q->hub->server;
    rc r;

    CHECK_MAGIC(q, REQUEST_MAGIC);
    name_request(cx, q);
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

static void on_request(struct evhttp_request *ev, void *arg)
{
    struct server *s = arg;
    const struct settings *set = s->hub->settings;
    struct evhttp_connection *conn = evhttp_request_get_connection(ev);
    struct evbuffer *in = evhttp_request_get_input_buffer(ev);
    int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(conn));
    struct request *q;
    char *peer = NULL;
    ev_uint16_t port = 0;

    visitors_asked(s->visitors, conn);
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
    snprintf(q->peer, sizeof q->peer, "%s", peer ? peer : "");
    s->in_flight++;
    metric_add(s->hub->metrics, METRIC_IN_FLIGHT, 1);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "request"}, serve, q));
}

/* ------------------------------------------------------------------ the listener */

static rc make_socket(struct cx *cx, const struct sockaddr *sa, socklen_t len, int *ret_fd)
{
    _cleanup_(closep) int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0)
        return fail(cx, OS, "no socket: %s", strerror(errno));
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return fail(cx, OS, "the socket cannot be shared: %s", strerror(errno));
    if (bind(fd, sa, len) < 0)
        return fail(cx, CONFIG, "hub_listen: the address cannot be bound: %s", strerror(errno));
    *ret_fd = fd;
    fd = -1;
    return OK;
}

static in_port_t *port_of(struct sockaddr_storage *sa)
{
    return sa->ss_family == AF_INET6 ? &((struct sockaddr_in6 *)sa)->sin6_port
                                     : &((struct sockaddr_in *)sa)->sin_port;
}

/* evutil_parse_sockaddr_port takes no port 0: "any free one" is read as port 1, then put right. */
static bool parse_listen(const char *listen, struct sockaddr_storage *ret, int *ret_len)
{
    char text[80];
    size_t n = strlen(listen);
    bool any = n > 2 && n < sizeof text && strcmp(listen + n - 2, ":0") == 0;

    if (any)
        snprintf(text, sizeof text, "%.*s:1", (int)(n - 2), listen);
    if (evutil_parse_sockaddr_port(any ? text : listen, (struct sockaddr *)ret, ret_len) < 0)
        return false;
    if (any)
        *port_of(ret) = 0;
    return true;
}

rc server_reserve(struct cx *cx, const char *listen, int *ret_fd, int *ret_port)
{
    struct sockaddr_storage sa = {0};
    int len = sizeof sa;
    socklen_t got = sizeof sa;

    if (!parse_listen(listen, &sa, &len))
        return fail(cx, CONFIG,
                    "hub_listen: '%s' is not an address such as 127.0.0.1:8080 or [::1]:0", listen);
    try(make_socket(cx, (struct sockaddr *)&sa, (socklen_t)len, ret_fd));
    if (getsockname(*ret_fd, (struct sockaddr *)&sa, &got) < 0)
        return fail(cx, OS, "the port cannot be read: %s", strerror(errno));
    *ret_port = ntohs(*port_of(&sa));
    return OK;
}

static void set_limits(struct evhttp *http, const struct settings *settings)
{
    struct timeval idle = {settings->hub_idle_timeout / 1000,
                           settings->hub_idle_timeout % 1000 * 1000};
    evhttp_set_timeout_tv(http, &idle);
    evhttp_set_max_headers_size(http, HEADERS_MAX);
    /* room above the ceiling, so that a body a little too large is answered in our own words */
    evhttp_set_max_body_size(http, (ev_ssize_t)settings->hub_body_max + (ev_ssize_t)MiB(3));
    /* a body that is larger still is read to its end and dropped: its sender reads the answer only
     * then */
    evhttp_set_flags(http, EVHTTP_SERVER_LINGERING_CLOSE);
    evhttp_set_allowed_methods(http, UINT16_MAX); /* what is not taken is said in our own words */
    evhttp_set_default_content_type(http, NULL);
}

rc server_open(struct cx *cx, struct hub *hub, int reserved_fd, struct server **ret)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof sa;
    struct server *s;
    int fd, on = 1;

    if (getsockname(reserved_fd, (struct sockaddr *)&sa, &len) < 0)
        return fail(cx, OS, "the reserved address is gone: %s", strerror(errno));
    try(make_socket(cx, (struct sockaddr *)&sa, len, &fd));
    /* inherited by accepted connections: replies are small and must not wait for an ACK */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (listen(fd, BACKLOG) < 0) {
        close(fd);
        return fail(cx, OS, "cannot listen: %s", strerror(errno));
    }
    s = xcalloc(1, sizeof *s);
    s->hub = hub;
    s->http = evhttp_new(loop_base());
    if (s->http)
        s->visitors = visitors_new(
            s->http, &(struct visitors_opts){.limit_ms = hub->settings->hub_idle_timeout,
                                             .body_max = (long long)hub->settings->hub_body_max,
                                             .headers_max = HEADERS_MAX,
                                             .metrics = hub->metrics});
    s->bound = s->http ? evhttp_accept_socket_with_handle(s->http, fd) : NULL;
    if (!s->bound) {
        close(fd);
        if (s->http)
            evhttp_free(s->http);
        visitors_free(s->visitors);
        free(s);
        return fail(cx, OS, "the listener cannot be made");
    }
    set_limits(s->http, hub->settings);
    evhttp_set_gencb(s->http, on_request, s);
    visitors_watch_accept(s->visitors, s->bound);
    *ret = s;
    return OK;
}

void server_stop(struct server *s)
{
    visitors_forget_accept(s->visitors);
    if (s->bound)
        evhttp_del_accept_socket(s->http, s->bound);
    s->bound = NULL;
}

rc server_drained(struct cx *cx, struct server *s, int64_t grace_ms)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, grace_ms);

    while (s->in_flight > 0)
        try(waitq_wait(cx, &s->empty));
    return OK;
}

void server_forget(struct server *s, struct evhttp_connection *conn)
{
    visitors_forget(s->visitors, conn);
}

size_t server_in_flight(const struct server *s)
{
    return s->in_flight;
}

void server_flush(struct server *s)
{
    int64_t end = clock_mono_ms() + FLUSH_MS;
    struct timeval tick = {.tv_usec = 20000};

    s->closed = true;
    while (visitors_unsent(s->visitors) && clock_mono_ms() < end) {
        event_base_loopexit(loop_base(), &tick);
        event_base_loop(loop_base(), EVLOOP_ONCE);
    }
}

struct server *server_free(struct server *s)
{
    if (s) {
        evhttp_free(s->http);
        visitors_free(s->visitors);
        free(s);
    }
    return NULL;
}

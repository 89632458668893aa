/* door.c - the listener, evhttp's limits, and the life of the mTLS door's files.
 *
 *   open ──► shut, when the files will not do ──(minute, SIGHUP)──► open
 *     │
 *     ├─ SIGHUP    files anew ──► walk over all connections, by the files
 *     └─ minute    walk over all connections, by the date; warn of a list that will end */
#include "hub/door.h"
#include "base/clock.h"
#include "base/log.h"
#include "hub/limiter.h"
#include "hub/metrics.h"
#include "hub/visitors.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "secure/tls.h"
#include <errno.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADERS_MAX     KiB(16)
#define BACKLOG         1024
#define MINUTE_MS       INT64_C(60000)
#define DAY_MS          (1440 * MINUTE_MS)
#define REFUSALS_LOGGED 100 /* lines at once */
#define LOGGED_PER_S    10  /* and then so many a second */

struct door {
    struct door_opts o;
    struct evhttp *http; /* NULL: shut */
    struct evhttp_bound_socket *bound;
    struct visitors *visitors;
    struct tls *tls;
    struct event *minute, *reload;
    bool stopped;
    bool walking,
        again; /* a walk over all connections is under way; by the files; one more after it */
    int64_t crl_warn_ms;    /* when to warn of the list's end */
    struct limiter *logged; /* lines about refusals */
    int64_t unlogged;
};

/* ------------------------------------------------------------------ settings */

static const char *const words[] = {[DOOR_WEB] = "hub_listen", [DOOR_MTLS] = "mtls_listen"};

static const char *listen_of(const struct settings *s, enum door_kind kind)
{
    return kind == DOOR_MTLS ? s->mtls_listen : s->hub_listen;
}

static struct tls_files files_of(const struct settings *s)
{
    return (struct tls_files){.cert = s->mtls_cert,
                              .key = s->mtls_key,
                              .ca = s->mtls_ca,
                              .crl = *s->mtls_crl ? s->mtls_crl : NULL};
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

static rc check_address(struct cx *cx, const struct settings *s, enum door_kind kind,
                        struct sockaddr_storage *ret, int *ret_len)
{
    if (!parse_listen(listen_of(s, kind), ret, ret_len))
        return fail(cx, CONFIG, "%s: '%s' is not an address such as 127.0.0.1:8080 or [::1]:0",
                    words[kind], listen_of(s, kind));
    return OK;
}

rc door_check(struct cx *cx, const struct settings *s, enum door_kind kind)
{
    const struct {
        const char *name, *value;
    } needed[] = {{"mtls_cert", s->mtls_cert}, {"mtls_key", s->mtls_key}, {"mtls_ca", s->mtls_ca}};
    struct tls_files files = files_of(s);
    struct sockaddr_storage sa = {0};
    int len = sizeof sa;
    struct tls *t = NULL;

    if (kind == DOOR_MTLS && !*s->mtls_listen)
        return OK;
    try(check_address(cx, s, kind, &sa, &len));
    for (size_t i = 0; kind == DOOR_MTLS && i < COUNT(needed); i++) {
        if (!*needed[i].value)
            return fail(cx, CONFIG,
                        "mtls_listen is set, but %s is not; the mTLS door needs mtls_cert, "
                        "mtls_key and mtls_ca (and should have mtls_crl)",
                        needed[i].name);
    }
    if (kind == DOOR_MTLS)
        try(tls_new(cx, TLS_SERVER, &files, &t));
    tls_free(t);
    return OK;
}

/* ------------------------------------------------------------------ the socket */

static rc make_socket(struct cx *cx, const char *setting, const struct sockaddr *sa, socklen_t len,
                      int *ret_fd)
{
    _cleanup_(closep) int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0)
        return fail(cx, OS, "no socket: %s", strerror(errno));
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return fail(cx, OS, "the socket cannot be shared: %s", strerror(errno));
    if (bind(fd, sa, len) < 0)
        return fail(cx, CONFIG, "%s: the address cannot be bound: %s", setting, strerror(errno));
    *ret_fd = fd;
    fd = -1;
    return OK;
}

rc door_reserve(struct cx *cx, const struct settings *s, enum door_kind kind,
                struct door_address *ret)
{
    struct sockaddr_storage sa = {0};
    int len = sizeof sa, fd;
    socklen_t got = sizeof sa;

    *ret = (struct door_address){.fd = -1};
    if (kind == DOOR_MTLS && !*s->mtls_listen)
        return OK;
    try(check_address(cx, s, kind, &sa, &len));
    try(make_socket(cx, words[kind], (struct sockaddr *)&sa, (socklen_t)len, &fd));
    ret->fd = fd;
    if (getsockname(fd, (struct sockaddr *)&sa, &got) < 0)
        return fail(cx, OS, "the port cannot be read: %s", strerror(errno));
    ret->port = ntohs(*port_of(&sa));
    return OK;
}

static rc listen_on(struct cx *cx, const struct door *d, int *ret_fd)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof sa;
    int fd, on = 1;

    if (getsockname(d->o.reserved_fd, (struct sockaddr *)&sa, &len) < 0)
        return fail(cx, OS, "the reserved address is gone: %s", strerror(errno));
    try(make_socket(cx, words[d->o.kind], (struct sockaddr *)&sa, len, &fd));
    /* inherited by accepted connections: replies are small and must not wait for an ACK */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (listen(fd, BACKLOG) < 0) {
        close(fd);
        return fail(cx, OS, "cannot listen: %s", strerror(errno));
    }
    *ret_fd = fd;
    return OK;
}

/* ------------------------------------------------------------------ refusals */

/* Whoever knocks a thousand times fills counters, not disks. */
static void log_refusal(struct door *d, const char *ip, const char *name, const char *why)
{
    if (!limiter_take(d->logged, "log", clock_mono_ms(), NULL)) {
        d->unlogged++;
        return;
    }
    log_ev(LOG_WARN, "handshake.refused", kv_str("peer", ip), kv_str("claims", name),
           kv_str("why", why), kv_int("not_logged", d->unlogged));
    d->unlogged = 0;
}

static void on_refused(void *arg, const char *ip, const char *name, const char *why)
{
    struct door *d = arg;

    metric_add(d->o.metrics, METRIC_HANDSHAKES_REFUSED, 1);
    log_refusal(d, ip, name, why);
    if (d->o.on_refused)
        d->o.on_refused(d->o.arg, ip, name, why);
}

/* ------------------------------------------------------------------ certificates that stand */

static rc walk(struct cx *cx, void *arg)
{
    struct door *d = arg;
    rc r = OK;

    while (d->again && r == OK) {
        d->again = false;
        r = visitors_recheck(cx, d->visitors, /* by_files= */ true);
    }
    if (r == OK)
        r = visitors_recheck(cx, d->visitors, /* by_files= */ false);
    d->walking = false;
    return OK;
}

static void start_walk(struct door *d, bool by_files)
{
    d->again |= by_files;
    if (!d->walking && !d->stopped) {
        d->walking = true;
        fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "door.recheck"}, walk, d));
    }
}

/* ------------------------------------------------------------------ the list's end */

static void note_crl(struct door *d)
{
    int64_t since_ms = tls_crl_since_ms(d->tls), until_ms = tls_crl_until_ms(d->tls);
    bool ends = until_ms != INT64_MAX;

    metric_set(d->o.metrics, METRIC_CRL_ENDS, ends ? MAX(until_ms / 1000, 1) : 0);
    /* in its last week; a list that is made more often, in its last quarter */
    d->crl_warn_ms = ends ? until_ms - MIN(7 * DAY_MS, (until_ms - since_ms) / 4) : INT64_MAX;
    if (!*d->o.settings->mtls_crl && d->o.warns)
        log_ev(LOG_WARN, "door.no_crl",
               kv_str("hint", "mtls_crl is not set: a certificate that was revoked is let in "
                              "until it expires"));
}

/* Again and again, the nearer the more often. */
static void warn_crl(struct door *d)
{
    int64_t until_ms = tls_crl_until_ms(d->tls), now = clock_ms(), left = until_ms - now;
    char at[CLOCK_TEXT_LEN + 1];

    if (!d->o.warns || now < d->crl_warn_ms)
        return;
    d->crl_warn_ms = now + MIN(MAX(left / 4, 10 * MINUTE_MS), DAY_MS);
    log_ev(left > 0 ? LOG_WARN : LOG_ERROR, left > 0 ? "door.crl_ends" : "door.crl_ended",
           kv_str("file", d->o.settings->mtls_crl), kv_str("at", clock_format(until_ms, at)),
           kv_str("hint", left > 0 ? "from then on nobody is let in: put a new list there "
                                     "('mihwar ca crl'), then send SIGHUP"
                                   : "nobody is let in: put a new list there ('mihwar ca crl'), "
                                     "then send SIGHUP"));
}

/* ------------------------------------------------------------------ opening */

static void on_request(struct evhttp_request *ev, void *arg)
{
    struct door *d = arg;

    d->o.on_request(d, ev, d->o.arg);
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

static struct visitors *make_visitors(struct door *d)
{
    const struct settings *s = d->o.settings;

    return visitors_new(d->http,
                        &(struct visitors_opts){.limit_ms = s->hub_idle_timeout,
                                                .pages = {.body_max = (long long)s->hub_body_max,
                                                          .headers_max = HEADERS_MAX,
                                                          .metrics = d->o.metrics},
                                                .metrics = d->o.metrics,
                                                .tls = d->tls,
                                                .handshake_ms = s->mtls_handshake,
                                                .handshakes_max = (size_t)s->mtls_handshakes_max,
                                                .on_refused = on_refused,
                                                .arg = d});
}

static rc make_http(struct cx *cx, struct door *d)
{
    int fd = -1;

    try(listen_on(cx, d, &fd));
    d->http = evhttp_new(loop_base());
    if (!d->http) {
        close(fd);
        return fail(cx, OS, "the listener cannot be made");
    }
    d->visitors = make_visitors(d);
    set_limits(d->http, d->o.settings);
    evhttp_set_gencb(d->http, on_request, d);
    d->bound = evhttp_accept_socket_with_handle(d->http, fd);
    if (!d->bound) {
        close(fd);
        evhttp_free(d->http);
        d->http = NULL;
        d->visitors = visitors_free(d->visitors);
        return fail(cx, OS, "the listener cannot be made");
    }
    visitors_watch_accept(d->visitors, d->bound);
    return OK;
}

/* CONFIG: the files will not do. */
static rc try_open(struct cx *cx, struct door *d)
{
    struct tls_files files = files_of(d->o.settings);

    if (d->o.kind == DOOR_MTLS && !d->tls) {
        try(tls_new(cx, TLS_SERVER, &files, &d->tls));
        note_crl(d);
    }
    return make_http(cx, d);
}

static void say_shut(struct cx *cx, struct door *d, rc r)
{
    metric_add(d->o.metrics, METRIC_RELOADS_FAILED, 1);
    log_fail(LOG_ERROR, "door.shut", cx, r, kv_str("door", door_kind_word(d->o.kind)),
             kv_str("hint", "put the files right; it is tried again every minute and at SIGHUP"));
}

static void try_again(struct door *d)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("door");
    rc r = try_open(&cx, d);

    if (r == OK)
        log_ev(LOG_INFO, "door.opened", kv_str("door", door_kind_word(d->o.kind)));
    else
        say_shut(&cx, d, r);
}

static void on_minute(evutil_socket_t fd, short what, void *arg)
{
    struct door *d = arg;

    (void)fd;
    (void)what;
    if (d->stopped)
        return;
    if (!d->http) {
        try_again(d);
    } else {
        warn_crl(d);
        start_walk(d, /* by_files= */ false);
    }
}

static void on_reload(evutil_socket_t fd, short what, void *arg)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("door");
    struct door *d = arg;
    rc r;

    (void)fd;
    (void)what;
    if (d->stopped)
        return;
    if (!d->http) {
        try_again(d);
        return;
    }
    r = tls_reload(&cx, d->tls);
    if (r != OK) {
        metric_add(d->o.metrics, METRIC_RELOADS_FAILED, 1);
        log_fail(LOG_ERROR, "door.reload_failed", &cx, r,
                 kv_str("hint", "what was read before stays in use: put the file right, then send "
                                "SIGHUP again"));
        return;
    }
    note_crl(d);
    log_ev(LOG_INFO, "door.reloaded", kv_str("door", door_kind_word(d->o.kind)));
    warn_crl(d);
    start_walk(d, /* by_files= */ true);
}

rc door_open(struct cx *cx, const struct door_opts *o, struct door **ret)
{
    struct door *d = xcalloc(1, sizeof *d);
    struct timeval minute = {.tv_sec = MINUTE_MS / 1000};
    rc r;

    d->o = *o;
    d->logged = limiter_new(REFUSALS_LOGGED, LOGGED_PER_S, 1);
    r = try_open(cx, d);
    if (r == E_CONFIG && o->kind == DOOR_MTLS) { /* the files were right when the program started */
        say_shut(cx, d, r);
        r = OK;
    }
    if (r != OK) {
        door_free(d);
        return r;
    }
    if (o->kind == DOOR_MTLS) {
        d->minute = event_new(loop_base(), -1, EV_PERSIST, on_minute, d);
        event_add(d->minute, &minute);
        d->reload = event_new(loop_base(), -1, 0, on_reload, d);
    }
    if (d->tls)
        warn_crl(d);
    *ret = d;
    return OK;
}

/* ------------------------------------------------------------------ afterwards */

enum door_kind door_kind(const struct door *d)
{
    return d->o.kind;
}

void door_reload(struct door *d)
{
    if (d->reload)
        event_active(d->reload, EV_TIMEOUT, 0); /* once, however often it was asked for */
}

void door_stop(struct door *d)
{
    d->stopped = true;
    if (!d->bound)
        return;
    visitors_forget_accept(d->visitors);
    evhttp_del_accept_socket(d->http, d->bound);
    d->bound = NULL;
}

const char *door_asked(struct door *d, struct evhttp_connection *conn)
{
    return visitors_asked(d->visitors, conn);
}

struct visitor *door_detach(struct door *d, struct evhttp_connection *conn,
                            void (*on_unwelcome)(void *arg), void *arg)
{
    return visitors_detach(d->visitors, conn, on_unwelcome, arg);
}

void door_watch(struct door *d, struct evhttp_connection *conn, void (*on_hangup)(void *arg),
                void *arg)
{
    visitors_watch(d->visitors, conn, on_hangup, arg);
}

void door_unwatch(struct door *d, struct evhttp_connection *conn)
{
    visitors_unwatch(d->visitors, conn);
}

void door_write(struct door *d, struct evhttp_connection *conn)
{
    visitors_write(d->visitors, conn);
}

bool door_unsent(const struct door *d)
{
    return d->visitors && visitors_unsent(d->visitors);
}

struct door *door_free(struct door *d)
{
    if (!d)
        return NULL;
    if (d->visitors)
        visitors_forget_accept(d->visitors);
    if (d->http)
        evhttp_free(d->http);
    visitors_free(d->visitors);
    if (d->minute)
        event_free(d->minute);
    if (d->reload)
        event_free(d->reload);
    tls_free(d->tls);
    limiter_free(d->logged);
    free(d);
    return NULL;
}

/* uplink.c - see uplink.h. Everything happens in callbacks of the loop; only names are looked up on the offload, by a fiber that may outlive
 * our interest in its answer. */
#include "agent/uplink.h"
#include "agent/hub_url.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include "rt/websocket.h"
#include "secure/tls.h"
#include <assert.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEADY_MS                                                                                  \
    60000 /* a session that stood this long was a good one: the back-off begins anew */
#define RETRY_AFTER_MS 3600000 /* a hub cannot send us away for longer */
#define TOKEN_MAX      256

enum state { RESTING, LOOKING_UP, OPENING, OPEN, STOPPED };

struct lookup {
    struct uplink *uplink; /* NULL: nobody wants it any more */
    struct addrinfo *found;
    int error;
    char port[8];
    char host[256];
};

struct uplink {
    struct uplink_opts o;
    enum state state;
    struct hub_url url;
    size_t turn; /* which URL, which of its addresses */
    unsigned tries;
    int64_t opened_mono_ms;
    struct event timer;
    struct lookup *lookup;
    struct websocket *ws;
    char logged[120]; /* the failure that was said last: once, not at each try */
};

/* ---------------------------------------------------------------- resting */

struct uplink_rest uplink_rest(const struct uplink_opts *o, int code, int64_t retry_after_s,
                               unsigned tries)
{
    int64_t spread_ms = MIN(o->max_ms, o->min_ms << MIN(tries, 20u));

    switch (code) {
    case UPLINK_REVOKED:
        return (struct uplink_rest){-1, 0};
    case UPLINK_SUPERSEDED: /* two that are called the same must not throw each other out all day */
        return (struct uplink_rest){o->superseded_ms, o->superseded_ms / 2};
    case 401:
    case 403: /* it takes a person to change that */
        return (struct uplink_rest){o->max_ms / 2, o->max_ms / 2};
    case 429:
    case 503:
        return (struct uplink_rest){
            MIN(MAX(retry_after_s, (int64_t)0) * 1000, (int64_t)RETRY_AFTER_MS), spread_ms};
    default:
        return (struct uplink_rest){0, spread_ms};
    }
}

static void set_timer(struct uplink *u, int64_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    if (evtimer_add(&u->timer, &tv) != 0)
        abort(); /* out of memory; it would never come back */
}

/* The attempt, or the session, is over. */
static void lost(struct uplink *u, int code, const char *why, int64_t retry_after_s)
{
    bool was_open = u->state == OPEN, stopped = u->state == STOPPED;

    if (was_open && clock_mono_ms() - u->opened_mono_ms >= STEADY_MS)
        u->tries = 0;
    struct uplink_rest rest = uplink_rest(&u->o, code, retry_after_s, u->tries);
    int64_t rest_ms = rest.at_least_ms + (int64_t)random_below((uint64_t)rest.spread_ms + 1);
    u->tries++;
    u->turn++;
    if (stopped) {
        u->o.on_lost(u->o.arg);
        return;
    }
    if (was_open || strcmp(u->logged, why) != 0)
        log_ev(LOG_WARN, was_open ? "hub.lost" : "hub.unreachable", kv_str("hub", u->url.authority),
               kv_int("code", code), kv_str("why", why),
               kv_int("retry_ms", rest.at_least_ms < 0 ? -1 : rest_ms));
    snprintf(u->logged, sizeof u->logged, "%s", why);
    u->state = rest.at_least_ms < 0 ? STOPPED : RESTING;
    if (u->state == RESTING)
        set_timer(u, rest_ms);
    if (was_open)
        u->o.on_lost(u->o.arg);
    if (u->state == STOPPED)
        u->o.on_revoked(u->o.arg);
}

/* ---------------------------------------------------------------- open */

static void on_open(void *arg)
{
    struct uplink *u = arg;

    u->state = OPEN;
    u->opened_mono_ms = clock_mono_ms();
    u->logged[0] = 0;
    log_ev(LOG_INFO, "hub.connected", kv_str("hub", u->url.authority));
    u->o.on_open(u->o.arg);
}

static void on_message(void *arg, const char *text, size_t n)
{
    struct uplink *u = arg;

    if (u->state == OPEN)
        u->o.on_message(u->o.arg, text, n);
}

static void on_alive(void *arg)
{
    struct uplink *u = arg;

    u->o.on_alive(u->o.arg);
}

static void on_close(void *arg, int code, const char *reason)
{
    struct uplink *u = arg;
    struct websocket *ws = TAKE_PTR(u->ws);
    char why[120];

    snprintf(why, sizeof why, "%s", *reason ? reason : "closed");
    int64_t retry_after_s = websocket_retry_after_s(ws);
    websocket_free(ws);
    lost(u, code, why, retry_after_s);
}

/* ---------------------------------------------------------------- opening */

static rc make_bev(struct cx *cx, struct uplink *u, struct bufferevent **ret)
{
    if (!u->url.tls) {
        *ret = bufferevent_socket_new(loop_base(), -1, BEV_OPT_CLOSE_ON_FREE);
        return *ret ? OK : fail(cx, OS, "no connection can be made");
    }
    SSL *ssl = SSL_new(tls_ctx(u->o.tls));
    if (!ssl)
        return fail(cx, OS, "no TLS connection can be made");
    rc r = tls_expect(cx, ssl, u->url.host);
    if (r == OK)
        *ret = bufferevent_openssl_socket_new(loop_base(), -1, ssl, BUFFEREVENT_SSL_CONNECTING,
                                              BEV_OPT_CLOSE_ON_FREE);
    if (r != OK || !*ret) {
        SSL_free(ssl);
        return r != OK ? r : fail(cx, OS, "no TLS connection can be made");
    }
    bufferevent_openssl_set_allow_dirty_shutdown(
        *ret, 1); /* a frame has its length, TLS' goodbye adds nothing */
    return OK;
}

/* Each attempt takes the next address of the name. */
static const struct addrinfo *pick(const struct uplink *u, const struct addrinfo *found)
{
    const struct addrinfo *a = found;

    for (size_t i = 0; i < u->turn / u->o.url_count % 16; i++)
        a = a->ai_next ? a->ai_next : found;
    return a;
}

static rc connect_to(struct cx *cx, struct uplink *u, const struct addrinfo *found)
{
    const struct addrinfo *a = pick(u, found);
    struct bufferevent *bev = NULL;
    char token[TOKEN_MAX], target[512];

    try(u->o.token(cx, token, sizeof token, u->o.token_arg));
    try(make_bev(cx, u, &bev));
    errno = 0;
    if (bufferevent_socket_connect(bev, a->ai_addr, (int)a->ai_addrlen) != 0) {
        bufferevent_free(bev);
        return fail(cx, OS, "%s", strerror(errno));
    }
    /* An ack and its result are two small writes: the second must not wait for the first's TCP ack. */
    setsockopt(bufferevent_getfd(bev), IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    snprintf(target, sizeof target, "%s/v1/agent/session?agent_id=%s", u->url.prefix,
             u->o.agent_id);
    u->state = OPENING;
    u->ws = websocket_connect(bev, &(struct websocket_opts){.message_max = u->o.message_max,
                                                            .arg = u,
                                                            .on_message = on_message,
                                                            .on_alive = on_alive,
                                                            .on_close = on_close,
                                                            .on_open = on_open,
                                                            .host = u->url.authority,
                                                            .target = target,
                                                            .bearer = token});
    explicit_bzero(token, sizeof token);
    return OK;
}

static void connect_or_rest(struct uplink *u, const struct addrinfo *found)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("uplink");
    rc r = connect_to(&cx, u, found);

    if (r != OK)
        lost(u, 0, cx_words(&cx, r), -1);
}

static void look_up_on_thread(void *arg)
{
    struct lookup *k = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};

    k->error = getaddrinfo(k->host, k->port, &hints, &k->found);
}

static void lookup_free(void *arg)
{
    struct lookup *k = arg;

    if (k->uplink)
        k->uplink->lookup = NULL;
    if (k->found)
        freeaddrinfo(k->found);
    free(k);
}

static rc look_up(struct cx *cx, void *arg)
{
    struct lookup *k = arg;
    rc r = offload_run(cx, look_up_on_thread, k, lookup_free);

    if (r != OK && r != E_OVERLOADED)
        return r; /* cancelled: the process ends; the offload frees it */
    struct uplink *u = k->uplink;
    if (u && u->state == LOOKING_UP) {
        if (r != OK)
            lost(u, 0, cx_words(cx, r), -1);
        else if (k->error)
            lost(u, 0, gai_strerror(k->error), -1);
        else
            connect_or_rest(u, k->found);
    }
    lookup_free(k);
    return OK;
}

static void connect_by_name(struct uplink *u)
{
    struct addrinfo numeric = {.ai_socktype = SOCK_STREAM,
                               .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV},
                    *found;
    char port[8];

    snprintf(port, sizeof port, "%d", u->url.port);
    if (getaddrinfo(u->url.host, port, &numeric, &found) == 0) {
        connect_or_rest(u, found);
        freeaddrinfo(found);
        return;
    }
    u->state = LOOKING_UP;
    u->lookup = xcalloc(1, sizeof *u->lookup);
    u->lookup->uplink = u;
    memcpy(u->lookup->port, port, sizeof port);
    memcpy(u->lookup->host, u->url.host, sizeof u->url.host);
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "uplink.lookup"}, look_up, u->lookup));
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("uplink");
    struct uplink *u = arg;
    rc r = hub_url_parse(&cx, u->o.urls[u->turn % u->o.url_count], &u->url);

    if (r == OK && u->url.tls && !u->o.tls)
        r = fail(&cx, CONFIG, "no CA to know the hub by");
    if (r == OK)
        connect_by_name(u);
    else
        lost(u, 0, cx_words(&cx, r), -1);
}

/* ---------------------------------------------------------------- life */

struct uplink *uplink_new(const struct uplink_opts *o)
{
    struct uplink *u = xcalloc(1, sizeof *u);

    assert(o->url_count > 0);
    u->o = *o;
    u->o.min_ms = o->min_ms ? o->min_ms : 1000;
    u->o.max_ms = o->max_ms ? o->max_ms : 60000;
    u->o.superseded_ms = o->superseded_ms ? o->superseded_ms : 300000;
    u->turn =
        (size_t)random_below(o->url_count); /* many agents with one list spread over its hubs */
    evtimer_assign(&u->timer, loop_base(), on_timer, u);
    set_timer(u, 0);
    return u;
}

bool uplink_send(struct uplink *u, const char *text, size_t n)
{
    return u->state == OPEN && u->ws && websocket_send(u->ws, text, n);
}

size_t uplink_unsent(const struct uplink *u)
{
    return u->ws ? websocket_unsent(u->ws) : 0;
}

void uplink_close(struct uplink *u, int code, const char *reason)
{
    if (u->ws)
        websocket_close(u->ws, code, reason);
}

void uplink_cut(struct uplink *u)
{
    if (!u->ws)
        return;
    u->ws = websocket_free(u->ws);
    lost(u, 0, "cut on purpose", -1);
}

void uplink_stop(struct uplink *u, int code, const char *reason)
{
    evtimer_del(&u->timer);
    if (u->state == OPEN)
        websocket_close(u->ws, code, reason);
    else if (u->ws)
        u->ws = websocket_free(u->ws);
    u->state = STOPPED;
}

bool uplink_gone(const struct uplink *u)
{
    return u->state == STOPPED && !u->ws;
}

struct uplink *uplink_free(struct uplink *u)
{
    if (!u)
        return NULL;
    evtimer_del(&u->timer);
    websocket_free(u->ws);
    if (u->lookup)
        u->lookup->uplink = NULL;
    free(u);
    return NULL;
}

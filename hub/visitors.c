/* visitors.c - one record per connection, kept alive by a reference to its bufferevent.
 *
 * evhttp tells when a connection ends only for those that have made a request (closecb); the others
 * are found dead by a sweep: bufferevent_free takes the callbacks away, and our reference keeps the
 * struct readable and its socket ours until then. The sweep also ends those who take too long.
 *
 *      first ─► new ─► … ─► old          detached ─► …        the newest in front: a walk sees no one twice
 *
 * evhttp gives a connection its socket after we have made the bufferevent: TLS is looked at once more, still before the
 * loop hears of the first byte (settle). */
#include "hub/visitors.h"
#include "base/clock.h"
#include "base/log.h"
#include "hub/handshake.h"
#include "hub/metrics.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "secure/pem.h"
#include <arpa/inet.h>
#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define PAUSE_MS       100
#define REPLIES_MAX    16     /* that wait for each other before they are written */
#define WATCHED_MAX    KiB(4) /* what a caller may say while its request waits */
#define CROWD_SHARE    10     /* of handshake_ms, when nobody else is accepted */
#define RECHECK_STRIDE 16     /* a certificate takes 0.2 ms */
#define EXPIRED_STRIDE 2048   /* a date takes nothing */

struct visitor {
    struct visitor *next, **link;
    struct visitors *of;
    struct bufferevent *bev;
    struct evbuffer_cb_entry *on_input, *on_output;
    TAILQ_ENTRY(visitor) reply;
    bool replied; /* its reply waits to be written, with those of others */
    int64_t
        since_mono_ms; /* the first byte of a request that is not complete yet, or the begin of the handshake; 0: neither */
    int fd;            /* its place in by_fd; -1: nothing was sent yet */
    /* TLS */
    bool shaking;                    /* not let in yet */
    struct handshake *handshake;     /* from settle on, while shaking */
    char *name;                      /* in its certificate */
    int64_t until_ms;                /* when that ends */
    void (*on_unwelcome)(void *arg); /* detached */
    void (*on_hangup)(void *arg);    /* watched: a request waits */
    void *arg;
    bufferevent_data_cb on_data; /* evhttp's own, while it is watched */
    char ip[46];
};

struct visitors {
    struct visitors *next; /* among all doors */
    struct visitors_opts o;
    struct visitor *first, *detached;
    TAILQ_HEAD(, visitor) replied;
    size_t nreplied;
    bool writes_soon;
    struct visitor *cursor; /* of a walk: whom it comes to next */
    struct visitor **by_fd; /* those that have sent something */
    size_t fds;
    size_t handshakes;
    struct event *sweep, *resume, *settle;
    bool sweeping, crowded;
    struct evconnlistener *listener;
};

static struct visitors
    *doors; /* libevent's callback for a failed accept does not say whose listener it is */

static struct timeval tv_of(int64_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* ------------------------------------------------------------------ lists */

static void push(struct visitor **head, struct visitor *it)
{
    it->next = *head;
    it->link = head;
    if (*head)
        (*head)->link = &it->next;
    *head = it;
}

static void pull(struct visitor *it)
{
    if (it->of->cursor == it)
        it->of->cursor = it->next;
    *it->link = it->next;
    if (it->next)
        it->next->link = it->link;
}

static void note_fd(struct visitor *it)
{
    struct visitors *v = it->of;
    size_t fd;

    it->fd = bufferevent_getfd(it->bev);
    if (it->fd < 0)
        return;
    fd = (size_t)it->fd;
    if (fd >= v->fds) {
        size_t more = MAX(fd + 1, v->fds * 2);
        v->by_fd = xrealloc(v->by_fd, more * sizeof *v->by_fd);
        memset(v->by_fd + v->fds, 0, (more - v->fds) * sizeof *v->by_fd);
        v->fds = more;
    }
    v->by_fd[fd] = it;
}

/* evhttp no longer reads and writes here. */
static void unwatch(struct visitor *it)
{
    if (!it->on_input)
        return;
    evbuffer_remove_cb_entry(bufferevent_get_input(it->bev), it->on_input);
    evbuffer_remove_cb_entry(bufferevent_get_output(it->bev), it->on_output);
    it->on_input = it->on_output = NULL;
    if (it->fd >= 0 && it->of->by_fd[it->fd] == it)
        it->of->by_fd[it->fd] = NULL;
}

static void shaken(struct visitor *it);
static void forget_reply(struct visitor *it);

void visitor_leave(struct visitor *it)
{
    it->handshake = handshake_free(it->handshake);
    if (it->shaking)
        shaken(it);
    forget_reply(it);
    unwatch(it);
    pull(it);
    bufferevent_decref(it->bev);
    free(it->name);
    free(it);
}

static void on_close(struct evhttp_connection *conn, void *arg)
{
    struct visitor *it = arg;

    (void)conn;
    if (it->on_hangup)
        it->on_hangup(it->arg);
    if (it->of->o.tls)
        tls_goodbye(tls_of(it->bev));
    visitor_leave(it);
}

/* ------------------------------------------------------------------ accepting */

static void accept_again(struct visitors *v)
{
    v->crowded = false;
    if (v->listener)
        evconnlistener_enable(v->listener);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct visitors *v = arg;

    (void)fd;
    (void)what;
    if (!v->crowded)
        accept_again(v);
}

/* No descriptors, no memory: the connection stays in the kernel's queue, and the loop would be told
 * of it again at once. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct visitors *v = doors;
    struct timeval tv = tv_of(PAUSE_MS);

    (void)arg; /* evhttp's */
    while (v && v->listener != listener)
        v = v->next;
    if (!v)
        return;

    metric_add(v->o.metrics, METRIC_ACCEPT_PAUSED, 1);
    evconnlistener_disable(listener);
    evtimer_add(v->resume, &tv);
}

void visitors_watch_accept(struct visitors *v, struct evhttp_bound_socket *bound)
{
    v->listener = evhttp_bound_socket_get_listener(bound);
    evconnlistener_set_error_cb(v->listener, on_accept_error);
}

void visitors_forget_accept(struct visitors *v)
{
    v->listener = NULL;
}

/* ------------------------------------------------------------------ the sweep */

static int64_t patience_ms(const struct visitors *v)
{
    return v->crowded ? MAX(v->o.handshake_ms / CROWD_SHARE, 50) : v->o.handshake_ms;
}

static void sweep_soon(struct visitors *v)
{
    int64_t limit = v->o.tls ? MIN(v->o.limit_ms, patience_ms(v)) : v->o.limit_ms;
    struct timeval tv = tv_of(MIN(MAX(limit / 4, 50), 1000));

    if (!v->sweeping && v->first)
        v->sweeping = evtimer_add(v->sweep, &tv) == 0;
}

/* So many are in their handshake that nobody else is accepted until some of them are through, or cut. */
static void crowd(struct visitors *v)
{
    v->crowded = true;
    if (v->listener)
        evconnlistener_disable(v->listener);
    metric_add(v->o.metrics, METRIC_ACCEPT_PAUSED, 1);
    v->sweeping = false; /* sooner than planned */
    sweep_soon(v);
}

static bool is_gone(const struct visitor *it)
{
    bufferevent_event_cb cb = NULL;

    bufferevent_getcb(it->bev, NULL, NULL, &cb, NULL);
    return !cb;
}

/* Reading is off while a request is under way, or on only to hear of a hang-up: that time is the request's own. */
static bool is_late(const struct visitor *it, int64_t now_mono_ms)
{
    return it->since_mono_ms && !it->on_hangup &&
           now_mono_ms - it->since_mono_ms >= it->of->o.limit_ms &&
           (bufferevent_get_enabled(it->bev) & EV_READ);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct visitors *v = arg;
    int64_t now = clock_mono_ms(), patience = patience_ms(v);

    (void)fd;
    (void)what;
    v->sweeping = false;
    for (struct visitor *it = v->first, *next; it; it = next) {
        next = it->next;
        if (is_gone(it)) {
            visitor_leave(it);
        } else if (it->shaking) {
            if (it->handshake && now - it->since_mono_ms >= patience)
                handshake_cut(it->handshake);
        } else if (is_late(it, now)) {
            it->since_mono_ms = now;
            metric_add(v->o.metrics, METRIC_TOO_SLOW, 1);
            bufferevent_trigger_event(it->bev, BEV_EVENT_TIMEOUT | BEV_EVENT_READING, 0);
        }
    }
    sweep_soon(v);
}

/* ------------------------------------------------------------------ handshakes */

static void shaken(struct visitor *it)
{
    struct visitors *v = it->of;

    it->shaking = false;
    v->handshakes--;
    metric_add(v->o.metrics, METRIC_HANDSHAKES_OPEN, -1);
    if (v->crowded && v->handshakes <= v->o.handshakes_max - v->o.handshakes_max / 8)
        accept_again(v);
}

static void on_handshake_ended(void *arg, const struct handshake_end *end)
{
    struct visitor *it = arg;
    struct visitors *v = it->of;

    it->handshake = NULL;
    it->since_mono_ms = 0;
    shaken(it);
    if (end->ok) {
        it->name = xstrdup(end->name);
        it->until_ms = asn1_ms(X509_get0_notAfter(SSL_get0_peer_certificate(tls_of(it->bev))));
        metric_add(v->o.metrics, METRIC_HANDSHAKES, 1);
        return;
    }
    if (end->words)
        v->o.on_refused(v->o.arg, it->ip, end->name, end->words);
    visitor_leave(it);
}

static void read_ip(struct visitor *it)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } sa;
    socklen_t n = sizeof sa;

    if (getpeername(it->fd, &sa.any, &n) != 0)
        return; /* it has hung up already */
    inet_ntop(sa.any.sa_family,
              sa.any.sa_family == AF_INET6 ? (void *)&sa.v6.sin6_addr : &sa.v4.sin_addr, it->ip,
              sizeof it->ip);
}

/* The new ones stand in front. */
static void on_settle(evutil_socket_t fd, short what, void *arg)
{
    struct visitors *v = arg;

    (void)fd;
    (void)what;
    for (struct visitor *it = v->first, *next; it && it->shaking && !it->handshake; it = next) {
        next = it->next;
        note_fd(it);
        if (it->fd < 0 || is_gone(it)) {
            visitor_leave(it);
            continue;
        }
        read_ip(it);
        it->since_mono_ms = clock_mono_ms();
        it->handshake = handshake_begin(it->bev, v->o.tls, on_handshake_ended, it);
    }
}

/* ------------------------------------------------------------------ coming */

static void on_output(struct evbuffer *out, const struct evbuffer_cb_info *info, void *arg)
{
    struct visitor *it = arg;
    bool plain = !it->of->o.tls;

    if (info->n_added == 0)
        return;
    it->since_mono_ms = 0;
    if (plain) /* a socket's bufferevent lets nobody else take from it */
        evbuffer_unfreeze(out, /* at_front= */ 1);
    pages_mend(&it->of->o.pages, out, info);
    if (plain)
        evbuffer_freeze(out, /* at_front= */ 1);
}

static void on_input(struct evbuffer *in, const struct evbuffer_cb_info *info, void *arg)
{
    struct visitor *it = arg;

    (void)in;
    if (info->n_added == 0)
        return;
    if (it->fd < 0)
        note_fd(it);
    if (it->since_mono_ms == 0)
        it->since_mono_ms = clock_mono_ms();
}

/* The bufferevent closes its socket: evhttp would close it under our reference, and the next connection with this number
 * would find our events on it. */
static struct bufferevent *make_bufferevent(struct visitors *v)
{
    struct bufferevent *bev;

    if (v->o.tls)
        return handshake_bufferevent(v->o.tls);
    bev = bufferevent_socket_new(loop_base(), -1, BEV_OPT_CLOSE_ON_FREE);
    if (!bev) {
        log_ev(LOG_ERROR, "visitors.no_memory");
        abort();
    }
    return bev;
}

/* evhttp calls it for each connection. */
static struct bufferevent *arrive(struct event_base *base, void *arg)
{
    struct visitors *v = arg;
    struct bufferevent *bev = make_bufferevent(v);
    struct visitor *it = xcalloc(1, sizeof *it);

    (void)base;
    bufferevent_incref(bev);
    *it = (struct visitor){.of = v, .bev = bev, .fd = -1, .shaking = v->o.tls != NULL};
    push(&v->first, it);
    it->on_input = evbuffer_add_cb(bufferevent_get_input(bev), on_input, it);
    it->on_output = evbuffer_add_cb(bufferevent_get_output(bev), on_output, it);
    if (it->shaking) {
        event_active(v->settle, EV_TIMEOUT, 0);
        metric_add(v->o.metrics, METRIC_HANDSHAKES_OPEN, 1);
        if (++v->handshakes >= v->o.handshakes_max)
            crowd(v);
    }
    sweep_soon(v);
    return bev;
}

/* ------------------------------------------------------------------ a request */

static struct visitor *visitor_of(struct visitors *v, struct evhttp_connection *conn)
{
    struct bufferevent *bev = evhttp_connection_get_bufferevent(conn);
    int fd = bufferevent_getfd(bev);

    assert(fd >= 0 && (size_t)fd < v->fds && v->by_fd[fd] && v->by_fd[fd]->bev == bev);
    return v->by_fd[fd];
}

const char *visitors_asked(struct visitors *v, struct evhttp_connection *conn)
{
    struct visitor *it = visitor_of(v, conn);

    evhttp_connection_set_closecb(conn, on_close, it);
    return it->name ? it->name : "";
}

/* Reading is how a hang-up is noticed. evhttp must not be told of bytes that come now (the next request, too early): it would
 * take them for a mistake of its own. They stay in the buffer, and it reads them after the reply. */
void visitors_watch(struct visitors *v, struct evhttp_connection *conn,
                    void (*on_hangup)(void *arg), void *arg)
{
    struct visitor *it = visitor_of(v, conn);
    struct timeval limit = tv_of(v->o.limit_ms);
    bufferevent_data_cb on_write;
    bufferevent_event_cb on_event;
    void *evhttps;

    it->on_hangup = on_hangup;
    it->arg = arg;
    bufferevent_getcb(it->bev, &it->on_data, &on_write, &on_event, &evhttps);
    bufferevent_setcb(it->bev, NULL, on_write, on_event, evhttps);
    bufferevent_setwatermark(it->bev, EV_READ, 0, WATCHED_MAX);
    bufferevent_set_timeouts(it->bev, NULL, &limit);
    bufferevent_enable(it->bev, EV_READ);
}

void visitors_unwatch(struct visitors *v, struct evhttp_connection *conn)
{
    struct visitor *it = visitor_of(v, conn);
    struct timeval limit = tv_of(v->o.limit_ms);
    bufferevent_data_cb on_write;
    bufferevent_event_cb on_event;
    void *evhttps;

    it->on_hangup = NULL;
    bufferevent_disable(it->bev, EV_READ);
    bufferevent_getcb(it->bev, NULL, &on_write, &on_event, &evhttps);
    bufferevent_setcb(it->bev, it->on_data, on_write, on_event, evhttps);
    bufferevent_setwatermark(it->bev, EV_READ, 0, 0);
    bufferevent_set_timeouts(it->bev, &limit, &limit);
}

/* What is left of it goes out when the socket takes more; a failure is evhttp's, which meets it there. May free it. */
static void write_now(struct visitor *it)
{
    struct evbuffer *out = bufferevent_get_output(it->bev);

    if (evbuffer_get_length(out) == 0)
        return;
    evbuffer_unfreeze(out, /* at_front= */ 1);
    evbuffer_write(out, it->fd);
    evbuffer_freeze(out, /* at_front= */ 1);
    if (evbuffer_get_length(out) == 0)
        bufferevent_trigger(it->bev, EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS);
}

static void forget_reply(struct visitor *it)
{
    if (it->replied) {
        TAILQ_REMOVE(&it->of->replied, it, reply);
        it->replied = false;
        it->of->nreplied--;
    }
}

static void write_all(struct visitors *v)
{
    struct visitor *it;

    while ((it = TAILQ_FIRST(&v->replied))) {
        forget_reply(it);
        write_now(it);
    }
}

static void write_soon(void *arg)
{
    struct visitors *v = arg;

    v->writes_soon = false;
    write_all(v);
}

/* Many at once: who waits for the first of them is woken once, and not by each. */
void visitors_write(struct visitors *v, struct evhttp_connection *conn)
{
    struct visitor *it = visitor_of(v, conn);

    if (v->o.tls || it->replied)
        return;
    TAILQ_INSERT_TAIL(&v->replied, it, reply);
    it->replied = true;
    v->nreplied++;
    if (!v->writes_soon)
        loop_soon(write_soon, v);
    v->writes_soon = true;
    if (v->nreplied == REPLIES_MAX)
        write_all(v);
}

struct visitor *visitors_detach(struct visitors *v, struct evhttp_connection *conn,
                                void (*on_unwelcome)(void *arg), void *arg)
{
    struct visitor *it = visitor_of(v, conn);

    assert(!it->replied);
    evhttp_connection_set_closecb(conn, NULL, NULL);
    unwatch(it);
    pull(it);
    push(&v->detached, it);
    it->on_unwelcome = on_unwelcome;
    it->arg = arg;
    return it;
}

/* ------------------------------------------------------------------ certificates, once more */

/* May free it. */
static void end_unwelcome(struct visitor *it, const char *why)
{
    struct visitors *v = it->of;

    metric_add(v->o.metrics, METRIC_UNWELCOME, 1);
    v->o.on_refused(v->o.arg, it->ip, it->name, why);
    if (it->on_unwelcome)
        it->on_unwelcome(it->arg);
    else
        bufferevent_trigger_event(it->bev, BEV_EVENT_ERROR | BEV_EVENT_READING, 0);
}

static void recheck(struct visitor *it, bool by_files)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("recheck");

    if (it->shaking || (it->on_input && is_gone(it)))
        return;
    if (it->until_ms <= clock_ms())
        end_unwelcome(it, "its certificate has expired");
    else if (by_files && tls_recheck(&cx, it->of->o.tls, tls_of(it->bev)) != OK)
        end_unwelcome(it, cx_words(&cx, E_UNAUTHENTICATED));
}

/* Whoever leaves meanwhile moves the cursor on; whoever is detached meanwhile is met in the second list. */
static rc walk(struct cx *cx, struct visitors *v, struct visitor *head, bool by_files)
{
    size_t n = 0;
    rc r = OK;

    for (v->cursor = head; v->cursor && r == OK;) {
        struct visitor *it = v->cursor;
        v->cursor = it->next;
        recheck(it, by_files);
        if (++n % (by_files ? RECHECK_STRIDE : EXPIRED_STRIDE) == 0)
            r = fiber_yield(cx);
    }
    v->cursor = NULL;
    return r;
}

rc visitors_recheck(struct cx *cx, struct visitors *v, bool by_files)
{
    assert(!v->cursor);
    try(walk(cx, v, v->first, by_files));
    return walk(cx, v, v->detached, by_files);
}

/* ------------------------------------------------------------------ all of them */

struct visitors *visitors_new(struct evhttp *http, const struct visitors_opts *o)
{
    struct visitors *v = xcalloc(1, sizeof *v);

    v->o = *o;
    TAILQ_INIT(&v->replied);
    v->sweep = evtimer_new(loop_base(), on_sweep, v);
    v->resume = evtimer_new(loop_base(), on_resume, v);
    v->settle = event_new(loop_base(), -1, 0, on_settle, v);
    v->next = doors;
    doors = v;
    evhttp_set_bevcb(http, arrive, v);
    return v;
}

bool visitors_unsent(const struct visitors *v)
{
    for (const struct visitor *it = v->first; it; it = it->next) {
        if (!is_gone(it) && evbuffer_get_length(bufferevent_get_output(it->bev)) > 0)
            return true;
    }
    return false;
}

struct visitors *visitors_free(struct visitors *v)
{
    struct visitors **p = &doors;

    if (!v)
        return NULL;
    assert(!v->detached && !v->writes_soon);
    while (v->first)
        visitor_leave(v->first);
    while (*p != v)
        p = &(*p)->next;
    *p = v->next;
    event_free(v->sweep);
    event_free(v->resume);
    event_free(v->settle);
    free(v->by_fd);
    free(v);
    return NULL;
}

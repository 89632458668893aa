/* link.c - the connection: bufferevents for TCP, unix sockets, TLS; hiredis's reader for answers.
 *
 * Each new connection sends its greeting in one write:
 *
 *   HELLO 2 [AUTH user password] SETNAME mihwar      who we are; answers with the server's role
 *   [SELECT db]
 *   PING                                             -LOADING while Redis still reads its file
 *
 * A replica is not taken (everything we do writes), and a READONLY answer later means that the
 * master became one: the connection is given up, and the next attempt may find the new master
 * behind the same name. */
#include "redis/link.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/inject.h"
#include "base/log.h"
#include "base/text.h"
#include "redis/tls.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define OPEN_MS        3000 /* connect, TLS and greeting together */
#define OPEN_ONE_OF_MS 1000
#define REST_MS        50
#define REST_MAX       2000
#define LIBEVENT_READ  4096    /* libevent 2.1 reads no more than this at once */
#define CHUNK          KiB(32) /* fed to the reader at once: it moves what is left after each reply */
#define ELEMENTS_MAX   (1 << 20) /* of one array */
#define READER_MAX     KiB(256)  /* the reader keeps a buffer of this size while idle */

enum link_state { LINK_OFF, LINK_OPENING, LINK_GREETING, LINK_READY, LINK_RESTING };

struct link {
    struct redis_url url;
    struct link_events on;
    void *arg;
    enum link_state state;
    bool any_role;
    bool locating; /* opening, and the owner has not said where yet */
    size_t place;  /* of url.places, opened last */
    SSL_CTX *tls;
    struct lookup *lookup; /* under way */
    struct event *timer;   /* ends an opening, ends a rest */
    struct bufferevent *bev;
    redisReader *reader;
    redisReplyObjectFunctions functions; /* the reader's, with a limit */
    void *(*create_array)(const redisReadTask *task, int elements);
    int greetings;        /* answers still expected to the greeting */
    int64_t client_id;    /* what Redis calls this connection; 0: it did not say */
    unsigned tries;       /* since it was ready last */
    bool demoted;         /* READONLY was read */
    bool flushing;        /* a flush is due this turn */
    bool dead;            /* freed by that flush */
    struct evbuffer *out; /* of this turn */
    uint64_t written;
    char why[200];
    char logged[200]; /* the failure that was logged last: said once, not at each try */
    char *chunk;
};

static void open_now(struct link *l);

static void set_timer(struct link *l, int64_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

    event_add(l->timer, &tv);
}

static void close_bev(struct link *l)
{
    if (l->bev)
        bufferevent_free(l->bev);
    l->bev = NULL;
    if (l->reader)
        redisReaderFree(l->reader);
    l->reader = NULL;
    evbuffer_drain(l->out, evbuffer_get_length(l->out));
}

/* Places are gone through once without a rest. */
static int64_t rest_of(const struct link *l)
{
    unsigned round = l->url.nplaces ? l->tries / (unsigned)l->url.nplaces : l->tries;

    if (l->url.nplaces && round == 0)
        return 0;
    return (int64_t)random_below(MIN((uint64_t)REST_MAX, (uint64_t)REST_MS << MIN(round, 6u)) + 1);
}

/* The connection is no good: close it, tell the one who waits, try again after a rest. */
static void _printf_(2, 3) give_up(struct link *l, const char *fmt, ...)
{
    bool was_ready = l->state == LINK_READY;
    uint64_t taken = 0;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(l->why, sizeof l->why, fmt, ap);
    va_end(ap);
    if (was_ready)
        taken = l->written - evbuffer_get_length(l->out) -
                evbuffer_get_length(bufferevent_get_output(l->bev));
    close_bev(l);
    l->state = LINK_RESTING;
    l->locating = false;
    int64_t rest = rest_of(l);
    l->tries++;
    set_timer(l, rest);
    if (was_ready || strcmp(l->why, l->logged) != 0) {
        log_ev(LOG_WARN, was_ready ? "redis.lost" : "redis.unreachable",
               kv_str("redis", l->url.shown), kv_str("why", l->why), kv_int("retry_ms", rest));
        memcpy(l->logged, l->why, sizeof l->logged);
    }
    if (was_ready)
        l->on.lost(l->arg, taken, l->why);
    else if (l->on.failed)
        l->on.failed(l->arg, l->why);
}

/* One of several places is not waited for as long as the only one. */
static int open_ms(const struct link *l)
{
    return l->url.nplaces > 1 ? OPEN_ONE_OF_MS : OPEN_MS;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct link *l = arg;

    (void)fd, (void)what;
    if (l->state == LINK_RESTING)
        open_now(l);
    else
        give_up(l, "no %s within %d ms", l->locating ? "answer where it is" : "connection",
                open_ms(l));
}

/* ---------------------------------------------------------------- greeting */

static void put(struct link *l, int argc, const char **argv)
{
    char *text = NULL;
    int n = redisFormatCommandArgv(&text, argc, argv, NULL);

    assert(n > 0);
    bufferevent_write(l->bev, text, (size_t)n);
    explicit_bzero(text, (size_t)n); /* it may hold the password */
    free(text);
    l->greetings++;
}

static void greet(struct link *l)
{
    const char *hello[7] = {"HELLO", "2"};
    int n = 2;
    char db[16];

    l->state = LINK_GREETING;
    l->client_id = l->greetings = 0;
    if (l->url.password) {
        hello[n++] = "AUTH";
        hello[n++] = l->url.user;
        hello[n++] = l->url.password;
    }
    hello[n++] = "SETNAME";
    hello[n++] = "mihwar";
    put(l, n, hello);
    if (l->url.db) {
        snprintf(db, sizeof db, "%d", l->url.db);
        put(l, 2, (const char *[]){"SELECT", db});
    }
    put(l, 1, (const char *[]){"PING"});
}

/* HELLO answers with pairs of name and value. */
static bool is_replica(struct link *l, const redisReply *hello)
{
    bool replica = false;

    for (size_t i = 0; hello->type == REDIS_REPLY_ARRAY && i + 1 < hello->elements; i += 2) {
        const redisReply *name = hello->element[i], *value = hello->element[i + 1];
        if (str_eq(name->str, "role"))
            replica = !str_eq(value->str, "master");
        if (str_eq(name->str, "id"))
            l->client_id = value->integer;
    }
    return replica;
}

static void log_ready(const struct link *l)
{
    char at[300];

    snprintf(at, sizeof at, "%s:%d", l->url.host ? l->url.host : "", l->url.port);
    if (l->on.locate || l->url.nplaces)
        log_ev(LOG_INFO, "redis.ready", kv_str("redis", l->url.shown), kv_str("at", at));
    else
        log_ev(LOG_INFO, "redis.ready", kv_str("redis", l->url.shown));
}

static void take_greeting(struct link *l, redisReply *reply)
{
    bool last = --l->greetings == 0;

    if (reply->type == REDIS_REPLY_ERROR && !(last && starts_with(reply->str, "NOPERM"))) {
        give_up(l, "%s", reply->str); /* NOPERM for PING alone: an answer is an answer */
    } else if (is_replica(l, reply) && !l->any_role) {
        give_up(l, "it is a replica, not a master");
    } else if (last) {
        l->state = LINK_READY;
        l->tries = 0;
        l->written = 0;
        event_del(l->timer);
        log_ready(l);
        l->logged[0] = 0;
        l->on.ready(l->arg, l->client_id);
    }
    freeReplyObject(reply);
}

/* ---------------------------------------------------------------- reading */

/* A header of a few bytes may announce an array of billions, whose memory is asked for at once: what
 * no step of ours answers with is not the protocol (hiredis 0.14 has no limit of its own). */
static void *create_array(const redisReadTask *task, int elements)
{
    struct link *l = task->privdata;

    return elements < 0 || elements > ELEMENTS_MAX ? NULL : l->create_array(task, elements);
}

static void limit_reader(struct link *l)
{
    l->functions = *l->reader->fn;
    l->create_array = l->functions.createArray;
    l->functions.createArray = create_array;
    l->reader->fn = &l->functions;
    l->reader->privdata = l;
    l->reader->maxbuf = READER_MAX;
}

static void take_replies(struct link *l)
{
    const redisReader *mine = l->reader;

    while (l->reader == mine) {
        void *got = NULL;
        if (redisReaderGetReply(l->reader, &got) != REDIS_OK) {
            give_up(l, "not the Redis protocol: %s", l->reader->errstr);
            return;
        }
        redisReply *reply = got;
        if (!reply)
            return;
        if (l->state == LINK_GREETING) {
            take_greeting(l, reply);
            continue;
        }
        if (reply->type == REDIS_REPLY_ERROR && !l->any_role && starts_with(reply->str, "READONLY"))
            l->demoted = true;
        l->on.reply(l->arg, reply);
    }
}

/* Also from the socket itself, past libevent's 4 KiB a turn. False when the connection was given
 * up. */
static bool feed(struct link *l, const void *p, size_t n)
{
    const redisReader *mine = l->reader;

    if (redisReaderFeed(l->reader, p, n) != REDIS_OK) {
        give_up(l, "not the Redis protocol: %s", l->reader->errstr);
        return false;
    }
    take_replies(l);
    return l->reader == mine;
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct link *l = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    size_t got = evbuffer_get_length(in);

    if (l->state == LINK_READY && inject(REDIS_DROP_REPLY)) {
        give_up(l, "cut on purpose");
        return;
    }
    while (evbuffer_get_length(in) > 0) {
        int n = evbuffer_remove(in, l->chunk, CHUNK);
        if (n <= 0 || !feed(l, l->chunk, (size_t)n))
            return;
    }
    if (got >= LIBEVENT_READ && !l->tls) {
        ssize_t n = CHUNK;
        while (n == (ssize_t)CHUNK) { /* end and errors come back as events */
            n = recv(bufferevent_getfd(bev), l->chunk, CHUNK, MSG_DONTWAIT);
            if (n > 0 && !feed(l, l->chunk, (size_t)n))
                return;
        }
    }
    if (l->demoted)
        give_up(l, "the master became a replica");
}

/* ---------------------------------------------------------------- opening */

static void tune_socket(struct link *l)
{
    int fd = bufferevent_getfd(l->bev), on = 1, idle = 15, every = 5, times = 3, unsent_ms = 15000;

    if (l->url.path)
        return;
    /* A peer that vanished without a word is noticed within 30 s, also by a connection that only
     * waits. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unsent_ms, sizeof unsent_ms);
}

/* Why a socket or a handshake failed: the certificate, TLS, or the system. */
static void give_up_with_reason(struct link *l)
{
    int sys = EVUTIL_SOCKET_ERROR();
    unsigned long tls = l->tls ? bufferevent_get_openssl_error(l->bev) : 0;
    SSL *ssl = l->tls ? bufferevent_openssl_get_ssl(l->bev) : NULL;
    long verify = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;

    if (verify != X509_V_OK)
        give_up(l, "certificate: %s", X509_verify_cert_error_string(verify));
    else if (tls)
        give_up(l, "TLS: %s",
                ERR_reason_error_string(tls) ? ERR_reason_error_string(tls) : "failed");
    else if (sys)
        give_up(l, "%s", evutil_socket_error_to_string(sys));
    else
        give_up(l, "the connection failed");
    ERR_clear_error();
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct link *l = arg;

    (void)bev;
    if (what & BEV_EVENT_CONNECTED) {
        tune_socket(l);
        greet(l);
    } else if (what & BEV_EVENT_ERROR) {
        give_up_with_reason(l);
    } else if (what & BEV_EVENT_EOF) {
        give_up(l, "Redis closed the connection");
    }
}

static bool make_bev(struct link *l)
{
    if (!l->tls) {
        l->bev = bufferevent_socket_new(loop_base(), -1, BEV_OPT_CLOSE_ON_FREE);
        return l->bev != NULL;
    }
    SSL *ssl = redis_tls_session(l->tls, l->url.host);
    if (!ssl)
        return false;
    l->bev = bufferevent_openssl_socket_new(loop_base(), -1, ssl, BUFFEREVENT_SSL_CONNECTING,
                                            BEV_OPT_CLOSE_ON_FREE);
    if (!l->bev) {
        SSL_free(ssl);
        return false;
    }
    bufferevent_openssl_set_allow_dirty_shutdown(l->bev, 1); /* Redis closes without a goodbye */
    return true;
}

/* --- names: getaddrinfo on the offload, awaited by a fiber that may outlive our interest */

struct lookup {
    struct link *link; /* NULL: nobody wants it any more */
    struct fiber *fiber;
};

struct resolve { /* the thread's while it works */
    struct addrinfo *found;
    int error;
    char port[8];
    char host[];
};

static void resolve(void *arg)
{
    struct resolve *r = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};

    r->error = getaddrinfo(r->host, r->port, &hints, &r->found);
}

static void resolve_free(void *arg)
{
    struct resolve *r = arg;

    if (r->found)
        freeaddrinfo(r->found);
    free(r);
}

static struct resolve *resolve_new(const struct link *l)
{
    struct resolve *r = xcalloc(1, sizeof *r + strlen(l->url.host) + 1);

    strcpy(r->host, l->url.host);
    snprintf(r->port, sizeof r->port, "%d", l->url.port);
    return r;
}

static bool same_place(const struct link *l, const struct resolve *work)
{
    return strcmp(work->host, l->url.host) == 0 && atoi(work->port) == l->url.port;
}

static void connect_by_name(struct link *l);

/* Each try takes the next address of the name. */
static void connect_to(struct link *l, const struct addrinfo *found)
{
    const struct addrinfo *a = found;

    for (unsigned i = 0; i < l->tries % 64; i++)
        a = a->ai_next ? a->ai_next : found;
    errno = 0;
    if (bufferevent_socket_connect(l->bev, a->ai_addr, (int)a->ai_addrlen) != 0)
        give_up_with_reason(l);
}

static rc look_up(struct cx *cx, void *arg)
{
    struct lookup *k = arg;

    if (!k->link) { /* closed before this began */
        free(k);
        return OK;
    }
    struct resolve *work = resolve_new(k->link);
    rc r = offload_run(cx, resolve, work, resolve_free);
    struct link *l = k->link;

    free(k);
    if (l)
        l->lookup = NULL;
    if (l && l->state == LINK_OPENING && !l->locating) {
        if (r == OK && !same_place(l, work))
            connect_by_name(l); /* it has moved meanwhile */
        else if (r != OK)
            give_up(l, "name: %s", cx_words(cx, r));
        else if (work->error)
            give_up(l, "name: %s", gai_strerror(work->error));
        else
            connect_to(l, work->found);
    }
    if (r == OK || r == E_OVERLOADED) /* else the thread's to free */
        resolve_free(work);
    return OK;
}

static void connect_by_name(struct link *l)
{
    struct addrinfo numeric = {.ai_socktype = SOCK_STREAM,
                               .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV},
                    *found;
    char port[8];

    snprintf(port, sizeof port, "%d", l->url.port);
    if (getaddrinfo(l->url.host, port, &numeric, &found) == 0) {
        connect_to(l, found);
        freeaddrinfo(found);
    } else if (!l->lookup) { /* one that is still on its way serves this try too */
        l->lookup = xcalloc(1, sizeof *l->lookup);
        l->lookup->link = l;
        l->lookup->fiber =
            fiber_spawn(&(struct fiber_opts){.name = "redis.lookup"}, look_up, l->lookup);
        fiber_detach(l->lookup->fiber);
    }
}

static void connect_by_path(struct link *l)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    snprintf(un.sun_path, sizeof un.sun_path, "%s", l->url.path);
    errno = 0;
    if (bufferevent_socket_connect(l->bev, (struct sockaddr *)&un, sizeof un) != 0)
        give_up_with_reason(l);
}

static void connect_now(struct link *l);

static void open_now(struct link *l)
{
    l->state = LINK_OPENING;
    l->demoted = false;
    set_timer(l, open_ms(l));
    if (l->url.nplaces) {
        const struct redis_place *p = &l->url.places[l->place++ % l->url.nplaces];
        redis_url_go(&l->url, p->host, p->port);
    }
    l->locating = l->on.locate != NULL;
    if (l->locating)
        l->on.locate(l->arg);
    else
        connect_now(l);
}

static void connect_now(struct link *l)
{
    l->reader = redisReaderCreate();
    limit_reader(l);
    if (!make_bev(l)) {
        give_up(l, "a connection cannot be made (memory or TLS settings)");
        return;
    }
    bufferevent_setcb(l->bev, on_read, NULL, on_event, l);
    bufferevent_enable(l->bev, EV_READ | EV_WRITE);
    bufferevent_set_max_single_read(l->bev, MiB(1));
    bufferevent_set_max_single_write(l->bev, MiB(1));
    if (l->url.path)
        connect_by_path(l);
    else
        connect_by_name(l);
}

static void hurry(struct link *l)
{
    if (l->state == LINK_RESTING)
        set_timer(l, 0);
}

void link_located(struct link *l, const char *host, int port)
{
    bool elsewhere = strcmp(host, l->url.host ? l->url.host : "") != 0 || port != l->url.port;

    if (l->locating) {
        l->locating = false;
        redis_url_go(&l->url, host, port);
        connect_now(l);
        return;
    }
    if (elsewhere && l->state != LINK_RESTING && l->state != LINK_OFF)
        give_up(l, "the master is at %s:%d now", host, port);
    if (elsewhere)
        hurry(l);
}

void link_not_located(struct link *l, const char *why)
{
    if (l->locating)
        give_up(l, "%s", why);
}

void link_next(struct link *l)
{
    close_bev(l);
    if (l->state == LINK_OFF)
        return;
    l->state = LINK_RESTING;
    set_timer(l, 0);
}

/* ---------------------------------------------------------------- life */

rc link_new(struct cx *cx, struct redis_url *u, bool any_role, const struct link_events *e,
            void *arg, struct link **ret)
{
    struct link *l = xcalloc(1, sizeof *l);

    l->url = *u;
    *u = (struct redis_url){0};
    l->any_role = any_role;
    l->on = *e;
    l->arg = arg;
    l->chunk = xmalloc(CHUNK);
    l->out = evbuffer_new();
    snprintf(l->why, sizeof l->why, "not connected yet");
    if (l->url.tls) {
        rc r = redis_tls_new(cx, &l->url, &l->tls);
        if (r != OK) {
            link_free(l);
            return r;
        }
    }
    *ret = l;
    return OK;
}

struct link *link_free(struct link *l)
{
    if (!l)
        return NULL;
    if (l->lookup) {
        l->lookup->link = NULL;
        fiber_cancel(l->lookup->fiber);
    }
    close_bev(l);
    if (l->timer)
        event_free(l->timer);
    SSL_CTX_free(l->tls);
    redis_url_release(&l->url);
    evbuffer_free(l->out);
    free(l->chunk);
    if (l->flushing)
        l->dead = true;
    else
        free(l);
    return NULL;
}

void link_start(struct link *l)
{
    if (l->state != LINK_OFF)
        return;
    l->timer = evtimer_new(loop_base(), on_timer, l);
    l->state = LINK_RESTING;
    set_timer(l, 0); /* opened on the loop's stack: resolvers and TLS want more than a fiber's */
}

bool link_ready(const struct link *l)
{
    return l->state == LINK_READY;
}

unsigned link_tries(const struct link *l)
{
    return l->tries;
}

/* Once a turn, after the fibers ran: all that they wrote leaves in one call. libevent would ask the
 * kernel first whether the socket can be written, which costs a lone command three more system
 * calls; it gets what the socket did not take. */
static void flush(void *arg)
{
    struct link *l = arg;

    l->flushing = false;
    if (l->dead) {
        free(l);
        return;
    }
    if (l->state != LINK_READY)
        return;
    struct evbuffer *later = bufferevent_get_output(l->bev);
    if (!l->tls && evbuffer_get_length(later) == 0)
        evbuffer_write(l->out,
                       bufferevent_getfd(l->bev)); /* a failure shows again in libevent's own */
    if (evbuffer_get_length(l->out) > 0)
        evbuffer_add_buffer(later, l->out);
}

void link_write(struct link *l, const void *p, size_t n)
{
    assert(l->state == LINK_READY);
    l->written += n;
    evbuffer_add(l->out, p, n);
    if (!l->flushing)
        loop_soon(flush, l);
    l->flushing = true;
}

uint64_t link_written(const struct link *l)
{
    return l->written;
}

const char *link_shown(const struct link *l)
{
    return l->url.shown;
}

const char *link_why(const struct link *l)
{
    return l->why;
}

/* handshake.c - see handshake.h.
 *
 * A refused peer may have sent more than we have read (its request goes out with its last message of the handshake).
 * Closing a socket with unread bytes resets the connection, and the peer would never see the alert that tells it why:
 * what has come is dropped first. */
#include "hub/handshake.h"
#include "base/log.h"
#include "rt/loop.h"
#include "secure/pem.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define DROP_MAX KiB(64)

struct handshake {
    struct bufferevent *bev;
    const struct tls *tls;
    handshake_ended_fn ended;
    void *arg;
    struct { /* evhttp's */
        bufferevent_data_cb read, write;
        bufferevent_event_cb event;
        void *arg;
    } then;
};

SSL *tls_of(struct bufferevent *bev)
{
    return bufferevent_openssl_get_ssl(bev);
}

static void drop_unread(int fd)
{
    char scrap[4096];
    size_t n = 0;
    ssize_t k;

    while (n < DROP_MAX && (k = recv(fd, scrap, sizeof scrap, MSG_DONTWAIT)) > 0)
        n += (size_t)k;
}

static void give_back(struct handshake *h)
{
    bufferevent_setcb(h->bev, h->then.read, h->then.write, h->then.event, h->then.arg);
}

static void refuse(struct handshake *h, const char *name, const char *words)
{
    struct handshake own = *h;

    free(h);
    tls_goodbye(tls_of(own.bev));
    drop_unread(bufferevent_getfd(own.bev));
    give_back(&own);
    own.then.event(own.bev, BEV_EVENT_ERROR | BEV_EVENT_READING,
                   own.then.arg); /* evhttp closes it */
    own.ended(own.arg, &(struct handshake_end){.name = name, .words = words});
}

/* What OpenSSL found, in words that help the one who reads the log. */
static void why(struct handshake *h, char *out, size_t size, const char **ret_name)
{
    const struct tls_refusal *no = tls_refusal(tls_of(h->bev));
    unsigned long code = bufferevent_get_openssl_error(h->bev);
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    *ret_name = no ? no->claims : "";
    if (no)
        snprintf(out, size, "%s (serial %s)", no->why, no->serial);
    else if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST)
        snprintf(out, size, "plain HTTP on the mTLS door");
    else
        snprintf(out, size, "%s", reason ? reason : "the peer hung up");
}

/* The handshake is complete: who is it? */
static void welcome(struct handshake *h)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("handshake");
    char name[IDENTITY_MAX + 1] = "";
    SSL *ssl = tls_of(h->bev);
    struct handshake own;
    rc r = tls_identity(&cx, ssl, name);

    /* it began before the files were read anew */
    if (r == OK && SSL_get_SSL_CTX(ssl) != tls_ctx(h->tls))
        r = tls_recheck(&cx, h->tls, ssl);
    if (r != OK) {
        refuse(h, name, cx_words(&cx, r));
        return;
    }
    own = *h;
    free(h);
    give_back(&own);
    own.ended(own.arg, &(struct handshake_end){.ok = true, .name = name});
    if (evbuffer_get_length(bufferevent_get_input(own.bev)) > 0)
        bufferevent_trigger(own.bev, EV_READ, 0);
}

void handshake_cut(struct handshake *h)
{
    refuse(h, "", "the handshake took too long");
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct handshake *h = arg;
    char words[200];
    const char *name;

    if (what & BEV_EVENT_CONNECTED) {
        welcome(h);
        return;
    }
    if (what & BEV_EVENT_TIMEOUT) {
        handshake_cut(h);
        return;
    }
    why(h, words, sizeof words, &name);
    refuse(h, name, BIO_number_read(SSL_get_rbio(tls_of(bev))) > 0 ? words : NULL);
}

struct handshake *handshake_begin(struct bufferevent *bev, const struct tls *t,
                                  handshake_ended_fn ended, void *arg)
{
    struct handshake *h = xcalloc(1, sizeof *h);

    *h = (struct handshake){.bev = bev, .tls = t, .ended = ended, .arg = arg};
    bufferevent_getcb(bev, &h->then.read, &h->then.write, &h->then.event, &h->then.arg);
    bufferevent_setcb(bev, NULL, NULL, on_event, h);
    return h;
}

struct handshake *handshake_free(struct handshake *h)
{
    free(h);
    return NULL;
}

struct bufferevent *handshake_bufferevent(const struct tls *t)
{
    SSL *ssl = SSL_new(tls_ctx(t));
    struct bufferevent *bev = NULL;

    if (ssl)
        bev = bufferevent_openssl_socket_new(loop_base(), -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                             BEV_OPT_CLOSE_ON_FREE);
    if (!bev) {
        /* without one evhttp would make its own, which speaks plain HTTP */
        log_ev(LOG_ERROR, "handshake.no_memory", kv_str("err", openssl_reason()));
        abort();
    }
    return bev;
}

/* handshake.h - the first moments of a connection on the mTLS door.
 *
 *   accepted --> evhttp's callbacks put aside --> handshake --> name --> callbacks put back: evhttp reads
 *                                                  `-- refused: alert sent, words, closed
 *
 * OpenSSL hands out no byte of the application before the handshake has ended, certificate and all. */
#pragma once
#include "secure/tls.h"

struct bufferevent;
struct handshake;

struct handshake_end {
    bool ok;
    const char
        *name; /* ok: the certificate's. Refused: whom it claims, "" if it says nothing usable */
    const char *words; /* refused: why; NULL: the peer left before it said anything */
};
/* Called once; h is gone by then, and so is a refused connection for evhttp. The texts are good while it runs. */
typedef void (*handshake_ended_fn)(void *arg, const struct handshake_end *end);

/* bev: made by handshake_bufferevent, in evhttp's hands, nothing read yet. t outlives it. */
struct handshake *handshake_begin(struct bufferevent *bev, const struct tls *t,
                                  handshake_ended_fn ended, void *arg);
/* It takes too long: refused. */
void handshake_cut(struct handshake *h);
/* Forget it without a word: the connection is gone already. NULL in, NULL out. */
struct handshake *handshake_free(struct handshake *h);

/* A connection to be accepted; owns its socket. Never NULL. */
struct bufferevent *handshake_bufferevent(const struct tls *t);
/* The TLS of a connection; NULL: it has none. */
SSL *tls_of(struct bufferevent *bev);

/* tls.h - what both ends of an mTLS connection insist on, from files that may change while we run.
 *
 *   server   no certificate from our CA, no conversation: the handshake ends there
 *   client   shows its certificate; the server's must be from our CA and for the host that was meant
 *   both     TLS 1.2 and 1.3 only; no compression, no renegotiation, no resumption: a session ticket would
 *            let a certificate in again that was revoked since
 *
 *     struct tls *door;
 *     try(tls_new(cx, TLS_SERVER, &files, &door));
 *     SSL *ssl = SSL_new(tls_ctx(door));            per connection; keeps its context when the door reloads
 *     ...
 *     try(tls_reload(cx, door));                    SIGHUP: all anew from the files, or all as it was
 *
 * Connections that stand are not touched by a reload; tls_recheck asks for one whether it would be let in now. */
#pragma once
#include "secure/identity.h"
#include <openssl/ssl.h>

enum tls_side { TLS_SERVER, TLS_CLIENT };

struct tls_files {
    const char *cert; /* PEM: own certificate, then what leads to the CA; NULL (client): none */
    const char *key;  /* PEM, without a passphrase */
    const char *ca;   /* PEM: whom to trust, nobody else */
    const char
        *crl; /* PEM: a list for each CA that issues to peers; NULL: nothing is ever revoked */
};

struct tls;
/* Texts of files are copied. CONFIG: a file is missing, torn, does not fit the others, or the list's
 * next update is past: nobody could be let in. */
rc tls_new(struct cx *cx, enum tls_side side, const struct tls_files *files, struct tls **ret);
/* CONFIG like tls_new; what was stays in use then. */
rc tls_reload(struct cx *cx, struct tls *t);
struct tls *tls_free(struct tls *t); /* NULL in, NULL out; connections keep what they need */
/* For SSL_new(); good until the next reload. */
SSL_CTX *tls_ctx(const struct tls *t);
/* When the first of the lists ends, in ms since 1970; from then on peers of its CA are refused.
 * INT64_MAX: never. */
int64_t tls_crl_until_ms(const struct tls *t);
/* When that list was made; INT64_MAX: there is none. */
int64_t tls_crl_since_ms(const struct tls *t);

/* Client, before the handshake: whom we mean to talk to, a DNS name or an address. INVALID_FIELD. */
rc tls_expect(struct cx *cx, SSL *ssl, const char *host);
/* After the handshake: would this peer's certificate be let in now, by the files as they were read last?
 * UNAUTHENTICATED: no, in words. About 0.2 ms. */
rc tls_recheck(struct cx *cx, const struct tls *t, const SSL *ssl);
/* What was wrong with the certificate that the peer showed: "certificate revoked", and whom it names, also when it is
 * nobody's whom we know. NULL: nothing was, or it showed none. */
struct tls_refusal {
    const char *why;               /* static */
    char claims[IDENTITY_MAX + 1]; /* "": no usable name */
    char serial[65];               /* hex, lower case, as far as it goes */
};
const struct tls_refusal *tls_refusal(const SSL *ssl);
/* Before the connection is closed: tells the peer that nothing more comes (close_notify), if the socket takes it. */
void tls_goodbye(SSL *ssl);
/* After the handshake: who the peer is (identity.h); out holds IDENTITY_MAX + 1 bytes.
 * UNAUTHENTICATED: no certificate, one that was not verified, or one without a usable name. */
rc tls_identity(struct cx *cx, const SSL *ssl, char *out);

/* tls.c - see tls.h. */
#include "secure/tls.h"
#include "base/clock.h"
#include "base/text.h"
#include "secure/pem.h"
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define CIPHERS_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL" /* 1.3 has only good ones */
#define GROUPS      "X25519:P-256:P-384"
#define DEPTH_MAX   4           /* intermediates of somebody's own CA */
#define CHAIN_MAX   (32 * 1024) /* bytes of certificates read from somebody not yet known */

/* Of the list that ends first. */
struct span {
    int64_t since_ms, until_ms;
};

struct tls {
    enum tls_side side;
    char *cert, *key, *ca, *crl;
    SSL_CTX *ctx;
    struct span list;
};

static void ctx_freep(SSL_CTX **p)
{
    SSL_CTX_free(*p);
}

/* ---------------------------------------------------------------- building */

static rc set_rules(struct cx *cx, SSL_CTX *ctx)
{
    SSL_CTX_set_security_level(ctx, 2);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS); /* thousands of idle connections */
    SSL_CTX_set_max_cert_list(ctx, CHAIN_MAX);
    if (SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
        SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) != 1 ||
        SSL_CTX_set1_groups_list(ctx, GROUPS) != 1)
        return fail(cx, INTERNAL, "OpenSSL does not take our TLS settings: %s", openssl_reason());
    return OK;
}

/* A list from elsewhere would refuse everybody, and nobody would know why. */
static bool issued_by_one_of(X509_CRL *crl, STACK_OF(X509) * cas)
{
    bool ok = false;

    for (int i = 0; i < sk_X509_num(cas) && !ok; i++) {
        EVP_PKEY *key = X509_get0_pubkey(sk_X509_value(cas, i));
        ok = X509_NAME_cmp(X509_CRL_get_issuer(crl),
                           X509_get_subject_name(sk_X509_value(cas, i))) == 0 &&
             key && X509_CRL_verify(crl, key) == 1;
    }
    ERR_clear_error();
    return ok;
}

static rc add_crls(struct cx *cx, const struct tls *t, X509_STORE *store, STACK_OF(X509) * cas,
                   struct span *ret)
{
    _cleanup_(crls_freep) STACK_OF(X509_CRL) *crls = NULL;
    char at[CLOCK_TEXT_LEN + 1];

    try(pem_read_crls(cx, t->crl, &crls));
    for (int i = 0; i < sk_X509_CRL_num(crls); i++) {
        X509_CRL *crl = sk_X509_CRL_value(crls, i);
        int64_t until_ms = asn1_ms(X509_CRL_get0_nextUpdate(crl));
        if (!issued_by_one_of(crl, cas))
            return fail(cx, CONFIG, "a revocation list in %s is not by a CA in %s", t->crl, t->ca);
        if (until_ms <= clock_ms())
            return fail(
                cx, CONFIG,
                "the revocation list %s ended at %s, nobody could be let in: put a new one there "
                "('mihwar ca crl')",
                t->crl, clock_format(until_ms, at));
        if (X509_STORE_add_crl(store, crl) != 1)
            return fail(cx, CONFIG, "%s cannot be used: %s", t->crl, openssl_reason());
        if (until_ms < ret->until_ms)
            *ret = (struct span){asn1_ms(X509_CRL_get0_lastUpdate(crl)), until_ms};
    }
    return OK;
}

/* ---------------------------------------------------------------- who was refused */

static void refusal_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl,
                         void *argp)
{
    free(ptr);
}

/* Where a refusal hangs on its connection. */
static int refusal_slot(void)
{
    static int slot = -1;

    if (slot < 0)
        slot = SSL_get_ex_new_index(0, NULL, NULL, NULL, refusal_free);
    return slot;
}

static void serial_text(const X509 *cert, char out[65])
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);

    out[0] = 0;
    hex_encode(ASN1_STRING_get0_data(serial), (size_t)MIN(ASN1_STRING_length(serial), 32), out);
}

/* OpenSSL's verdict on each certificate of the chain; ours is the same, and the first refusal is kept. */
static int on_verified(int good, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    const X509 *cert = X509_STORE_CTX_get0_cert(store);
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("tls");
    struct tls_refusal *r;

    if (good || !ssl || !cert || SSL_get_ex_data(ssl, refusal_slot()))
        return good;
    r = xcalloc(1, sizeof *r);
    r->why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(store));
    if (identity_of(&cx, cert, r->claims) != OK)
        r->claims[0] = 0;
    serial_text(cert, r->serial);
    if (SSL_set_ex_data(ssl, refusal_slot(), r) != 1)
        free(r);
    return good;
}

const struct tls_refusal *tls_refusal(const SSL *ssl)
{
    return SSL_get_ex_data(ssl, refusal_slot());
}

/* ---------------------------------------------------------------- trust */

static rc set_trust(struct cx *cx, const struct tls *t, SSL_CTX *ctx, struct span *ret)
{
    _cleanup_(certs_freep) STACK_OF(X509) *cas = NULL;
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);

    try(pem_read_certs(cx, t->ca, &cas));
    for (int i = 0; i < sk_X509_num(cas); i++) {
        X509 *ca = sk_X509_value(cas, i);
        if (X509_check_ca(ca) != 1)
            return fail(cx, CONFIG, "a certificate in %s is not a CA's", t->ca);
        if (X509_STORE_add_cert(store, ca) != 1 ||
            (t->side == TLS_SERVER && SSL_CTX_add_client_CA(ctx, ca) != 1))
            return fail(cx, CONFIG, "%s cannot be used: %s", t->ca, openssl_reason());
    }
    if (t->crl) {
        try(add_crls(cx, t, store, cas, ret));
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_CRL_CHECK);
    }
    X509_VERIFY_PARAM_set_purpose(param, t->side == TLS_SERVER ? X509_PURPOSE_SSL_CLIENT
                                                               : X509_PURPOSE_SSL_SERVER);
    SSL_CTX_set_verify_depth(ctx, DEPTH_MAX);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verified);
    return OK;
}

static rc set_own(struct cx *cx, const struct tls *t, SSL_CTX *ctx)
{
    _cleanup_(certs_freep) STACK_OF(X509) *chain = NULL;
    _cleanup_(key_freep) EVP_PKEY *key = NULL;
    _cleanup_(cert_freep) X509 *own = NULL;

    if (!t->cert && t->side == TLS_CLIENT)
        return OK;
    if (!t->cert || !t->key)
        return fail(cx, CONFIG, "TLS needs a certificate and its key");
    try(pem_read_certs(cx, t->cert, &chain));
    try(pem_read_key(cx, t->key, &key));
    own = sk_X509_shift(chain);
    if (SSL_CTX_use_cert_and_key(ctx, own, key, chain, /* override= */ 1) != 1)
        return fail(cx, CONFIG, "%s and %s cannot be used together: %s", t->cert, t->key,
                    openssl_reason());
    return OK;
}

static rc build(struct cx *cx, struct tls *t)
{
    _cleanup_(ctx_freep) SSL_CTX *ctx = NULL;
    struct span list = {INT64_MAX, INT64_MAX};

    ERR_clear_error();
    ctx = SSL_CTX_new(t->side == TLS_SERVER ? TLS_server_method() : TLS_client_method());
    if (!ctx)
        return fail(cx, INTERNAL, "OpenSSL gives no TLS context: %s", openssl_reason());
    try(set_rules(cx, ctx));
    try(set_trust(cx, t, ctx, &list));
    try(set_own(cx, t, ctx));
    SSL_CTX_free(t->ctx); /* connections that stand hold it */
    t->ctx = TAKE_PTR(ctx);
    t->list = list;
    return OK;
}

/* ---------------------------------------------------------------- life */

rc tls_new(struct cx *cx, enum tls_side side, const struct tls_files *files, struct tls **ret)
{
    struct tls *t = xcalloc(1, sizeof *t);

    *t = (struct tls){.side = side,
                      .cert = xstrdup(files->cert),
                      .key = xstrdup(files->key),
                      .ca = xstrdup(files->ca),
                      .crl = xstrdup(files->crl)};
    rc r = build(cx, t);
    if (r != OK)
        tls_free(t);
    else
        *ret = t;
    return r;
}

rc tls_reload(struct cx *cx, struct tls *t)
{
    return build(cx, t);
}

struct tls *tls_free(struct tls *t)
{
    if (!t)
        return NULL;
    SSL_CTX_free(t->ctx);
    free(t->cert);
    free(t->key);
    free(t->ca);
    free(t->crl);
    free(t);
    return NULL;
}

SSL_CTX *tls_ctx(const struct tls *t)
{
    return t->ctx;
}

int64_t tls_crl_until_ms(const struct tls *t)
{
    return t->list.until_ms;
}

int64_t tls_crl_since_ms(const struct tls *t)
{
    return t->list.since_ms;
}

/* ---------------------------------------------------------------- one connection */

rc tls_expect(struct cx *cx, SSL *ssl, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    unsigned char ip[16];
    bool ok;

    ERR_clear_error();
    if (inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1)
        ok = X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
    else
        ok = identity_dns_ok(host, strlen(host)) && SSL_set1_host(ssl, host) == 1 &&
             SSL_set_tlsext_host_name(ssl, host) == 1;
    ERR_clear_error();
    return ok ? OK : fail(cx, INVALID_FIELD, "'%.100s' is neither a DNS name nor an address", host);
}

rc tls_identity(struct cx *cx, const SSL *ssl, char *out)
{
    const X509 *cert = SSL_get0_peer_certificate(ssl);

    if (!cert)
        return fail(cx, UNAUTHENTICATED, "the peer shows no certificate");
    if (SSL_get_verify_result(ssl) != X509_V_OK)
        return fail(cx, UNAUTHENTICATED, "the peer's certificate is not trusted: %s",
                    X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
    return identity_of(cx, cert, out);
}

static void store_ctx_freep(X509_STORE_CTX **p)
{
    X509_STORE_CTX_free(*p);
}

rc tls_recheck(struct cx *cx, const struct tls *t, const SSL *ssl)
{
    _cleanup_(store_ctx_freep) X509_STORE_CTX *store = X509_STORE_CTX_new();
    X509 *cert = SSL_get0_peer_certificate(ssl);
    bool good;

    if (!cert)
        return fail(cx, UNAUTHENTICATED, "the peer shows no certificate");
    if (!store || X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(t->ctx), cert,
                                      SSL_get_peer_cert_chain(ssl)) != 1)
        return fail(cx, INTERNAL, "OpenSSL does not check the certificate: %s", openssl_reason());
    X509_STORE_CTX_set_default(store, t->side == TLS_SERVER ? "ssl_client" : "ssl_server");
    X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(store), SSL_CTX_get0_param(t->ctx));
    good = X509_verify_cert(store) == 1;
    ERR_clear_error();
    return good ? OK
                : fail(cx, UNAUTHENTICATED, "the peer's certificate is not trusted any more: %s",
                       X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
}

void tls_goodbye(SSL *ssl)
{
    if (SSL_is_init_finished(ssl) && !(SSL_get_shutdown(ssl) & SSL_SENT_SHUTDOWN)) {
        SSL_shutdown(ssl);
        SSL_free_buffers(
            ssl); /* 16 KiB for an alert: with thousands that are closed together, too much */
    }
    ERR_clear_error();
}

/* tls.c - see tls.h. TLS 1.2 at least; the peer is always verified. */
#include "redis/tls.h"
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

static rc load(struct cx *cx, const struct redis_url *u, SSL_CTX *tls)
{
    bool loaded = u->ca ? SSL_CTX_load_verify_file(tls, u->ca) == 1
                        : SSL_CTX_set_default_verify_paths(tls) == 1;

    ERR_clear_error();
    if (!loaded)
        return fail(cx, CONFIG, "redis_url: no certificate can be read from %s",
                    u->ca ? u->ca : "the system");
    if (!u->cert)
        return OK;
    loaded = SSL_CTX_use_certificate_chain_file(tls, u->cert) == 1 &&
             SSL_CTX_use_PrivateKey_file(tls, u->key, SSL_FILETYPE_PEM) == 1;
    ERR_clear_error();
    if (!loaded)
        return fail(cx, CONFIG, "redis_url: %s and %s are no certificate and its key", u->cert,
                    u->key);
    return OK;
}

rc redis_tls_new(struct cx *cx, const struct redis_url *u, SSL_CTX **ret)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());

    if (!tls || SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1) {
        SSL_CTX_free(tls);
        return fail(cx, CONFIG, "redis_url: TLS cannot be set up");
    }
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    rc r = load(cx, u, tls);
    if (r != OK)
        SSL_CTX_free(tls);
    else
        *ret = tls;
    return r;
}

SSL *redis_tls_session(SSL_CTX *tls, const char *host)
{
    SSL *ssl = SSL_new(tls);
    unsigned char address[16];
    bool numeric =
        inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;

    if (!ssl)
        return NULL;
    if (numeric ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) != 1
                : SSL_set1_host(ssl, host) != 1 || SSL_set_tlsext_host_name(ssl, host) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

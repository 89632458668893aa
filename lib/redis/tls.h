/* tls.h - who a Redis behind TLS must be, and who we are to it. Of lib/redis only. */
#pragma once
#include "redis/url.h"
#include <openssl/ssl.h>

/* The files of the URL: ca, cert, key. Error: CONFIG. Free with SSL_CTX_free. */
rc redis_tls_new(struct cx *cx, const struct redis_url *u, SSL_CTX **ret);
/* A session that accepts a certificate of this host (a name or an address) only; NULL: no memory. */
SSL *redis_tls_session(SSL_CTX *tls, const char *host);

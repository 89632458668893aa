/* hmac_key.c - a context that begins anew with the key that it has (a NULL key, to OpenSSL). */
#include "secure/hmac_key.h"
#include "base/util.h"
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>

struct hmac_key {
    EVP_MAC_CTX *ctx;
};

static void must(bool ok)
{
    if (!ok) {
        fputs("lvl=fatal ev=digest.failed\n", stderr);
        abort();
    }
}

struct hmac_key *hmac_key_new(const void *key, size_t n)
{
    static char sha256[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
                           OSSL_PARAM_construct_end()};
    struct hmac_key *k = xcalloc(1, sizeof *k);
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);

    k->ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
    must(k->ctx && n > 0 && EVP_MAC_init(k->ctx, key, n, params));
    EVP_MAC_free(mac); /* the context holds it */
    return k;
}

void hmac_key_digest(struct hmac_key *k, const void *p, size_t n, unsigned char out[DIGEST_LEN])
{
    size_t len = 0;

    must(EVP_MAC_init(k->ctx, NULL, 0, NULL) && EVP_MAC_update(k->ctx, p, n) &&
         EVP_MAC_final(k->ctx, out, &len, DIGEST_LEN) && len == DIGEST_LEN);
}

struct hmac_key *hmac_key_free(struct hmac_key *k)
{
    if (k) {
        EVP_MAC_CTX_free(k->ctx);
        free(k);
    }
    return NULL;
}

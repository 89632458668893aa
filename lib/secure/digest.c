/* digest.c - OpenSSL's EVP, with the failures that cannot happen (memory, no provider) made fatal.
 */
#include "secure/digest.h"
#include "base/text.h"
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool ok)
{
    if (!ok) {
        fputs("lvl=fatal ev=digest.failed\n", stderr);
        abort();
    }
}

void sha256_bytes(const void *p, size_t n, unsigned char out[DIGEST_LEN])
{
    size_t len = 0;

    must(EVP_Q_digest(NULL, "SHA256", NULL, p, n, out, &len) && len == DIGEST_LEN);
}

char *sha256_hex(const void *p, size_t n, char *out)
{
    unsigned char md[DIGEST_LEN];

    sha256_bytes(p, n, md);
    return hex_encode(md, sizeof md, out);
}

/* HMAC over a, then b: nobody has to join them first. */
static void hmac2(const void *key, size_t key_len, const void *a, size_t na, const void *b,
                  size_t nb, unsigned char out[DIGEST_LEN])
{
    static char sha256[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
                           OSSL_PARAM_construct_end()};
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
    unsigned char none = 0; /* an empty key is a key: OpenSSL takes NULL as "the one from before" */
    size_t len = 0;

    must(ctx && EVP_MAC_init(ctx, key_len ? key : &none, key_len, params) &&
         EVP_MAC_update(ctx, a, na) && EVP_MAC_update(ctx, b, nb) &&
         EVP_MAC_final(ctx, out, &len, DIGEST_LEN) && len == DIGEST_LEN);
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
}

void hmac_sha256(const void *key, size_t key_len, const void *p, size_t n,
                 unsigned char out[DIGEST_LEN])
{
    hmac2(key, key_len, p, n, "", 0, out);
}

char *hmac_sha256_hex(const void *key, size_t key_len, const void *p, size_t n, char *out)
{
    unsigned char md[DIGEST_LEN];

    hmac_sha256(key, key_len, p, n, md);
    return hex_encode(md, sizeof md, out);
}

char *webhook_sign(const char *secret, int64_t timestamp_s, const void *body, size_t n, char *out)
{
    unsigned char md[DIGEST_LEN];
    char head[32];
    int head_len = snprintf(head, sizeof head, "%lld.", (long long)timestamp_s);

    hmac2(secret, strlen(secret), head, (size_t)head_len, body, n, md);
    return hex_encode(md, sizeof md, out);
}

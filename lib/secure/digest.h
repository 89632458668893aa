/* digest.h - SHA-256 and HMAC-SHA-256 as bytes and as lower-case hex. */
#pragma once
#include "base/util.h"

#define DIGEST_HEX_LEN 64
#define DIGEST_LEN     32

void sha256_bytes(const void *p, size_t n, unsigned char out[DIGEST_LEN]);
/* out holds DIGEST_HEX_LEN + 1 bytes; returns out. */
char *sha256_hex(const void *p, size_t n, char *out);
char *hmac_sha256_hex(const void *key, size_t key_len, const void *p, size_t n, char *out);
void hmac_sha256(const void *key, size_t key_len, const void *p, size_t n,
                 unsigned char out[DIGEST_LEN]);

/* What a webhook carries so that its receiver can tell it is ours and fresh: HMAC-SHA-256 over
 * "timestamp.body" with the shared secret. timestamp_s: seconds since 1970, sent beside the
 * signature. */
char *webhook_sign(const char *secret, int64_t timestamp_s, const void *body, size_t n, char *out);

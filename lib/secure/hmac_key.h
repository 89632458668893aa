/* hmac_key.h - HMAC-SHA-256 under one key, again and again: what OpenSSL looks up and sets up for a key is done once.
 *
 * hmac_sha256 (digest.h) costs 2 us more each time. Belongs to one thread. */
#pragma once
#include "secure/digest.h"

struct hmac_key;
struct hmac_key *hmac_key_new(const void *key, size_t n); /* n > 0 */
void hmac_key_digest(struct hmac_key *k, const void *p, size_t n, unsigned char out[DIGEST_LEN]);
/* Wipes it. NULL in, NULL out. */
struct hmac_key *hmac_key_free(struct hmac_key *k);

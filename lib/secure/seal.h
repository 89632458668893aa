/* seal.h - values that are secret at rest: PINs, provider credentials. AES-256-GCM with key ids.
 *
 *   v1.2026a.q83vEjRWeJASNFZ4.…        version . key id . base64url(nonce 12 | ciphertext | tag 16)
 *
 * The sealed text fits a text column. It is bound to its place by a context string that the caller
 * makes of kind and id
 * ("order_pin:0197…"): moved to another row, it does not open. The key id tells which key opens it,
 * so that keys rotate: put the new key first, let `mihwar` seal everything again, drop the old one.
 *
 * Nonces are random, so one key is good for 2^32 values: rotate long before that. */
#pragma once
#include "base/cx.h"

struct seal_keys;

/* spec: "ID:64 hex digits[,ID:…]" or "@FILE" (the same, comma or line separated). The first seals,
 * all open. IDs are 1-32 of [A-Za-z0-9_-]. Error: CONFIG (also for ""), without a single digit of a
 * key. Free with seal_keys_free. */
rc seal_keys_load(struct cx *cx, const char *spec, struct seal_keys **ret);
struct seal_keys *seal_keys_free(struct seal_keys *k); /* wipes them */

/* *ret is in cx's arena. text: NUL-terminated, at most SEAL_MAX bytes. Errors: INVALID_FIELD (too
 * long), CRYPTO. */
rc seal_text(struct cx *cx, const struct seal_keys *k, const char *context, const char *text,
             const char **ret);
/* The plaintext, in cx's arena; it is wiped when the arena is released. CRYPTO when it cannot be
 * opened: other context, unknown key, changed, cut: the words say which of these can be told apart,
 * and never the value. */
rc open_text(struct cx *cx, const struct seal_keys *k, const char *context, const char *sealed,
             const char **ret);
/* Sealed with the key that seals today? If not, rotation has to seal it again. */
bool seal_is_current(const struct seal_keys *k, const char *sealed);
/* The id of the key that seals today. */
const char *seal_key_id(const struct seal_keys *k);

#define SEAL_MAX KiB(64)

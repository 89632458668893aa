/* token.h - API keys: made once, shown once, stored as an Argon2id hash, remembered briefly after
 * they were verified.
 *
 *   mwk_k3v9x0q2m7ab_mJ8x…(43)        prefix (names the row, no secret) _ 256 random bits in base64url
 *
 * Each call with a key:
 *
 *   parse --> known by its keyed digest? --fresh--> identity (no query, no Argon2)
 *                |                     `--older--> load the row; same hash: fresh again, without Argon2
 *                `-no--> load the row by prefix --> Argon2 on the offload --> remember
 *
 * An unknown prefix costs the same Argon2 as a known one (nobody learns which exist), behind a gate
 * of its own, so that guessing cannot starve good keys. Many requests with the same key at once
 * make one check: the others wait for it. A wrong key is remembered for a moment too, in a table of
 * its own. */
#pragma once
#include "rt/waitq.h"

#define TOKEN_PREFIX_LEN 12 /* [a-z0-9] */
#define TOKEN_TEXT_LEN   (4 + TOKEN_PREFIX_LEN + 1 + 43)
#define TOKEN_HASH_MAX   128 /* with the NUL */

/* A new key; prefix holds TOKEN_PREFIX_LEN + 1 bytes, text TOKEN_TEXT_LEN + 1. Wipe text after
 * showing it. */
void token_make(char *prefix, char *text);
/* False if it does not have the form of a key. */
bool token_read(const char *text, char *prefix);

/* Argon2id, encoded form ("$argon2id$v=19$…"); out holds TOKEN_HASH_MAX bytes. Also for passwords.
 * Runs on the offload; in a plain context (no fiber) on the spot. Parks. Errors: CRYPTO,
 * OVERLOADED, DEADLINE, CANCELLED. */
rc token_hash(struct cx *cx, const char *text, char *out) MW_PARKS;
/* *ret_ok: does text belong to the hash? Parks. Errors as above; a hash that is none is CRYPTO. */
rc token_verify(struct cx *cx, const char *text, const char *hash, bool *ret_ok) MW_PARKS;

/* The caller's row for a prefix: fill hash (TOKEN_HASH_MAX bytes) and identity (the size given to
 * token_cache_new, zeroed). NOT_FOUND for a prefix that is unknown, revoked or expired; other
 * failures are passed on. May park. */
typedef rc (*token_load_fn)(struct cx *cx, void *arg, const char *prefix, char *hash,
                            void *identity);

struct token_cache_opts {
    size_t identity_size; /* a flat struct of the caller, copied in and out: no pointers into other
                             memory */
    size_t max;           /* keys remembered; 0: 4096; the least recently used goes */
    int64_t fresh_ms;     /* 0: 60 s: a revoked key may work this long in other processes */
    token_load_fn load;
    void *arg;
    int64_t (*now_ms)(void); /* NULL: clock_mono_ms; tests own the clock */
};
struct token_cache; /* one per process; nothing of it is shared or stored */
struct token_cache *token_cache_new(const struct token_cache_opts *o);
struct token_cache *token_cache_free(struct token_cache *c); /* no check may be under way */

/* Who is this? text: what came after "Bearer ". Errors: UNAUTHENTICATED (always the same words),
 * OVERLOADED (too many checks wait already), what load failed with, DEADLINE, CANCELLED. Parks. */
rc token_identify(struct cx *cx, struct token_cache *c, const char *text,
                  void *ret_identity) MW_PARKS;
/* After a key was revoked or changed in this process; NULL forgets all. */
void token_cache_forget(struct token_cache *c, const char *prefix);

/* token.h - API keys and agents' tokens: made once, shown once, stored as an Argon2id hash, remembered
 * briefly after they were verified.
 *
 *   mwk_k3v9x0q2m7ab_mJ8x…(43)        prefix (names the row, no secret) _ 256 random bits in base64url
 *
 * Each call with a token:
 *
 *   parse --> known by its keyed digest? --fresh--> identity (no query, no Argon2)
 *                |                     `--older--> load the row; same hash: fresh again, without Argon2
 *                `-no--> load the row by prefix --> may_spend? --> Argon2 on the offload --> remember
 *
 * A prefix that is unknown, expired or revoked costs the same Argon2 as a good one (nobody learns which
 * exist), behind a gate of its own, so that guessing cannot starve good tokens. Many requests with the
 * same token at once make one check: the others wait for it. A wrong token is remembered for a moment
 * too, in a table of its own.
 *
 * While the store is away, tokens that were verified lately go on for keep_ms. */
#pragma once
#include "rt/waitq.h"

#define TOKEN_PREFIX_LEN 12 /* [a-z0-9] */
#define TOKEN_TEXT_LEN   (4 + TOKEN_PREFIX_LEN + 1 + 43)
#define TOKEN_HASH_MAX   128 /* with the NUL */

/* What a token begins with, and what a check of one costs. A hash carries its own cost: raising it here
 * leaves old ones good. */
struct token_kind {
    const char *start; /* four characters */
    uint32_t memory_kib, passes;
};
extern const struct token_kind TOKEN_KEY;   /* "mwk_", 19 MiB, 2 passes: about 50 ms */
extern const struct token_kind TOKEN_AGENT; /* "mwa_", 1 MiB, 1 pass: about 1 ms */

/* A new token; prefix holds TOKEN_PREFIX_LEN + 1 bytes, text TOKEN_TEXT_LEN + 1. Wipe text after
 * showing it. */
void token_make(const struct token_kind *k, char *prefix, char *text);
/* False if it does not have the form of a token of this kind. */
bool token_read(const struct token_kind *k, const char *text, char *prefix);

/* Argon2id, encoded form ("$argon2id$v=19$…"); out holds TOKEN_HASH_MAX bytes. Also for passwords
 * (at the cost of TOKEN_KEY). Runs on the offload; in a plain context (no fiber) on the spot. Parks.
 * Errors: CRYPTO, OVERLOADED, DEADLINE, CANCELLED. */
rc token_hash(struct cx *cx, const struct token_kind *k, const char *text, char *out) MW_PARKS;
/* *ret_ok: does text belong to the hash? Parks. Errors as above; a hash that is none is CRYPTO. */
rc token_verify(struct cx *cx, const char *text, const char *hash, bool *ret_ok) MW_PARKS;

/* How a token was judged: for records. Callers are told GOOD or not. */
enum token_state {
    TOKEN_GOOD,
    TOKEN_MALFORMED, /* no token of this kind */
    TOKEN_UNKNOWN,   /* no row has its prefix */
    TOKEN_WRONG,     /* another secret than the row's */
    TOKEN_EXPIRED,   /* the right secret; its time is over */
    TOKEN_REVOKED,   /* the right secret; it was taken back */
    TOKEN_DISABLED,  /* the right secret; whose it is may not come in at all */
};

/* The caller's row for a prefix. state: GOOD, EXPIRED, REVOKED or DISABLED. */
struct token_row {
    char hash[TOKEN_HASH_MAX];
    enum token_state state;
};
/* Fill row (zeroed) and identity (the size given to token_cache_new, zeroed), also when the state is
 * not GOOD. NOT_FOUND for a prefix that is unknown; other failures are passed on. May park. */
typedef rc (*token_load_fn)(struct cx *cx, void *arg, const char *prefix, struct token_row *row,
                            void *identity);

struct token_cache_opts {
    const struct token_kind *kind; /* NULL: TOKEN_KEY */
    size_t identity_size; /* a flat struct of the caller, copied in and out: no pointers into other
                             memory */
    size_t max;           /* tokens remembered; 0: 4096; the least recently used goes */
    size_t wait_max;      /* checks of good prefixes that may wait for their Argon2; 0: 64 */
    int64_t fresh_ms;     /* 0: 60 s: a row is read again after this */
    int64_t keep_ms; /* after its row was last read a token goes on this long while load fails with
                        STORE_DOWN; 0: not at all */
    token_load_fn load;
    void *arg;
    bool (*sure)(
        void *arg); /* would we have heard of a change? NULL: yes. While it says no, the row
                                 is read at every use */
    int64_t (*now_ms)(void); /* NULL: clock_mono_ms; tests own the clock */
};
struct token_cache; /* one per process and kind; nothing of it is shared or stored */
struct token_cache *token_cache_new(const struct token_cache_opts *o);
struct token_cache *token_cache_free(struct token_cache *c); /* no check may be under way */

/* What the one who asks says, and hears besides the identity. */
struct token_ask {
    /* Before Argon2 is spent; known: the prefix has a good row. False refuses with RATE_LIMITED. NULL:
     * always. */
    bool (*may_spend)(void *arg, const char *prefix, bool known);
    void *arg;
    enum token_state state;            /* out: why it is UNAUTHENTICATED */
    char prefix[TOKEN_PREFIX_LEN + 1]; /* out: "" if malformed */
};

/* Who is this? text: what came after "Bearer ". ask may be NULL. Errors: UNAUTHENTICATED (always the
 * same words; ret_identity is the row's owner if the state is past UNKNOWN, else zero), RATE_LIMITED
 * (may_spend), OVERLOADED (too many checks wait already), what load failed with, DEADLINE, CANCELLED.
 * Parks. */
rc token_identify(struct cx *cx, struct token_cache *c, const char *text, struct token_ask *ask,
                  void *ret_identity) MW_PARKS;
/* After a token was revoked or changed in this process; NULL forgets all. */
void token_cache_forget(struct token_cache *c, const char *prefix);
/* Something may have changed in the rows: each is read again at its next use (Argon2 is not spent
 * again on the same hash). changed: something has, so that nothing goes on without its row. */
void token_cache_doubt(struct token_cache *c, bool changed);

/* token.c - tokens and their Argon2id hashes. The remembering is in token_cache.c.
 *
 * API keys: 19 MiB, 2 passes, 1 lane (OWASP's second choice for Argon2id); the same for passwords.
 * Agents' tokens: 1 MiB, 1 pass. 256 random bits need no slow hash (there is nothing to guess), and
 * ten thousand agents that reconnect at once must not wait for minutes of it. README.md says what
 * each takes. */
#include "secure/token.h"
#include "base/id.h"
#include "base/text.h"
#include "rt/offload.h"
#include <argon2.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define LANES    1
#define SALT_LEN 16
#define HASH_LEN 32

const struct token_kind TOKEN_KEY = {"mwk_", 19456, 2};
const struct token_kind TOKEN_AGENT = {"mwa_", 1024, 1};

void token_make(const struct token_kind *k, char *prefix, char *text)
{
    static const char abc[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char secret[32], byte;

    for (int i = 0; i < TOKEN_PREFIX_LEN; i++) {
        do
            random_bytes(&byte, 1);
        while (byte >= 252); /* 7 * 36: each letter equally often */
        prefix[i] = abc[byte % 36];
    }
    prefix[TOKEN_PREFIX_LEN] = 0;
    random_bytes(secret, sizeof secret);
    memcpy(text, k->start, 4);
    memcpy(text + 4, prefix, TOKEN_PREFIX_LEN);
    text[4 + TOKEN_PREFIX_LEN] = '_';
    base64url_encode(secret, sizeof secret, text + 4 + TOKEN_PREFIX_LEN + 1);
    OPENSSL_cleanse(secret, sizeof secret);
}

bool token_read(const struct token_kind *k, const char *text, char *prefix)
{
    unsigned char secret[32];
    const char *after = text + 4 + TOKEN_PREFIX_LEN;

    if (!text || strnlen(text, TOKEN_TEXT_LEN + 1) != TOKEN_TEXT_LEN ||
        !starts_with(text, k->start) || *after != '_')
        return false;
    if (strspn(text + 4, "abcdefghijklmnopqrstuvwxyz0123456789") != TOKEN_PREFIX_LEN)
        return false;
    bool good = base64url_decode(after + 1, 43, secret);
    OPENSSL_cleanse(secret, sizeof secret);
    if (!good)
        return false;
    memcpy(prefix, text + 4, TOKEN_PREFIX_LEN);
    prefix[TOKEN_PREFIX_LEN] = 0;
    return true;
}

/* ---------------------------------------------------------------- Argon2 on a thread */

struct work {
    const struct token_kind *kind; /* NULL: verify */
    int result;                    /* of libargon2 */
    unsigned char salt[SALT_LEN];
    char hash[TOKEN_HASH_MAX];
    size_t len;
    char text[];
};

static void run(void *arg)
{
    struct work *w = arg;

    if (!w->kind)
        w->result = argon2id_verify(w->hash, w->text, w->len);
    else
        w->result =
            argon2id_hash_encoded(w->kind->passes, w->kind->memory_kib, LANES, w->text, w->len,
                                  w->salt, SALT_LEN, HASH_LEN, w->hash, sizeof w->hash);
}

static void work_free(void *arg)
{
    struct work *w = arg;

    OPENSSL_cleanse(w, sizeof *w + w->len);
    free(w);
}

static struct work *work_new(const char *text)
{
    size_t len = strlen(text);
    struct work *w = xcalloc(1, sizeof *w + len + 1);

    w->len = len;
    memcpy(w->text, text, len);
    return w;
}

/* OK: w is the caller's again. Otherwise it is gone, or will be when the thread is done with it. */
static rc work_run(struct cx *cx, struct work *w)
{
    if (cx->fiber) {
        rc r = offload_run(cx, run, w, work_free);
        if (r == E_OVERLOADED)
            work_free(w); /* never taken */
        return r;
    }
    run(w);
    return OK;
}

rc token_hash(struct cx *cx, const struct token_kind *k, const char *text, char *out)
{
    struct work *w = work_new(text);

    w->kind = k;
    random_bytes(w->salt, SALT_LEN);
    try(work_run(cx, w));
    rc r = OK;
    if (w->result == ARGON2_OK)
        memcpy(out, w->hash, TOKEN_HASH_MAX);
    else
        r = fail(cx, CRYPTO, "Argon2: %s", argon2_error_message(w->result));
    work_free(w);
    return r;
}

rc token_verify(struct cx *cx, const char *text, const char *hash, bool *ret_ok)
{
    struct work *w;

    if (strlen(hash) >= TOKEN_HASH_MAX || !starts_with(hash, "$argon2id$"))
        return fail(cx, CRYPTO, "a stored hash is not an Argon2id hash");
    w = work_new(text);
    strcpy(w->hash, hash);
    try(work_run(cx, w));
    int result = w->result;
    work_free(w);
    if (result != ARGON2_OK && result != ARGON2_VERIFY_MISMATCH)
        return fail(cx, CRYPTO, "Argon2: %s", argon2_error_message(result));
    *ret_ok = result == ARGON2_OK;
    return OK;
}

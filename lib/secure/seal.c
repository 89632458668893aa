/* seal.c - AES-256-GCM over a text, with the place where it belongs as additional data.
 *
 *   additional data   "v1.KEYID" NUL context        so neither version, key id nor place can be exchanged
 *   sealed            v1 . KEYID . base64url( nonce 12 | ciphertext | tag 16 ) */
#include "secure/seal.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/log.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ID_MAX    32
#define KEYS_MAX  16
#define SPEC_MAX  KiB(8)
#define NONCE_LEN 12
#define TAG_LEN   16
#define AAD_MAX   256

struct seal_key {
    char id[ID_MAX + 1];
    unsigned char key[32];
};
struct seal_keys {
    size_t n;
    struct seal_key keys[KEYS_MAX];
};

static const struct seal_key *find_key(const struct seal_keys *k, const char *id, size_t len)
{
    for (size_t i = 0; i < k->n; i++) {
        if (strlen(k->keys[i].id) == len && memcmp(k->keys[i].id, id, len) == 0)
            return &k->keys[i];
    }
    return NULL;
}

/* ---------------------------------------------------------------- keys */

static bool id_valid(const char *id, size_t len)
{
    static const char abc[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

    return len > 0 && len <= ID_MAX && strspn(id, abc) >= len;
}

/* ID:64 hex digits */
static rc add_key(struct cx *cx, struct seal_keys *k, const char *word)
{
    const char *colon = strchr(word, ':');
    size_t len = colon ? (size_t)(colon - word) : 0;
    struct seal_key *new = &k->keys[k->n];

    if (!id_valid(word, len))
        return fail(cx, CONFIG,
                    "seal_keys: key %zu is not ID:64 hex digits (ID: 1-32 of A-Za-z0-9_-)",
                    k->n + 1);
    if (k->n == KEYS_MAX)
        return fail(cx, CONFIG, "seal_keys: more than %d keys", KEYS_MAX);
    if (find_key(k, word, len))
        return fail(cx, CONFIG, "seal_keys: the id %.*s appears twice", (int)len, word);
    if (!hex_decode(colon + 1, new->key, sizeof new->key))
        return fail(cx, CONFIG, "seal_keys: key %.*s must have exactly 64 hex digits", (int)len,
                    word);
    memcpy(new->id, word, len);
    k->n++;
    return OK;
}

static rc add_keys(struct cx *cx, struct seal_keys *k, char *spec)
{
    char *save = NULL;

    for (char *w = strtok_r(spec, ", \t\r\n", &save); w; w = strtok_r(NULL, ", \t\r\n", &save))
        try(add_key(cx, k, w));
    if (k->n == 0)
        return fail(cx, CONFIG,
                    "seal_keys is not set: ID:64 hex digits (openssl rand -hex 32), or @FILE");
    return OK;
}

static rc read_file(struct cx *cx, const char *path, char *out, size_t size)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t n = 0;

    if (fd < 0)
        return fail(cx, CONFIG, "seal_keys: %s: %s", path, strerror(errno));
    for (;;) {
        ssize_t got = read(fd, out + n, size - 1 - n);
        if (got < 0)
            return fail(cx, CONFIG, "seal_keys: %s: %s", path, strerror(errno));
        if (got == 0)
            break;
        n += (size_t)got;
        if (n == size - 1)
            return fail(cx, CONFIG, "seal_keys: %s is too long", path);
    }
    out[n] = 0;
    return OK;
}

rc seal_keys_load(struct cx *cx, const char *spec, struct seal_keys **ret)
{
    struct seal_keys *k = xcalloc(1, sizeof *k);
    char *text = xcalloc(1, SPEC_MAX);
    rc r;

    if (spec[0] == '@')
        r = read_file(cx, spec + 1, text, SPEC_MAX);
    else if (strlen(spec) < SPEC_MAX)
        r = (strcpy(text, spec), OK);
    else
        r = fail(cx, CONFIG, "seal_keys is too long");
    if (r == OK)
        r = add_keys(cx, k, text);
    OPENSSL_cleanse(text, SPEC_MAX);
    free(text);
    if (r == OK)
        *ret = k;
    else
        seal_keys_free(k);
    return r;
}

struct seal_keys *seal_keys_free(struct seal_keys *k)
{
    if (k)
        OPENSSL_cleanse(k, sizeof *k);
    free(k);
    return NULL;
}

/* ---------------------------------------------------------------- seal and open */

static rc make_aad(struct cx *cx, const struct seal_key *key, const char *context, struct buf *aad)
{
    buf_printf(aad, "v1.%s", key->id);
    buf_putc(aad, 0);
    buf_puts(aad, context);
    return buf_ok(aad) ? OK : fail(cx, CRYPTO, "the context of a sealed value is too long");
}

static void ctx_freep(EVP_CIPHER_CTX **c)
{
    EVP_CIPHER_CTX_free(*c);
}

/* bytes: room for nonce | n | tag; the nonce is there, the rest is written. */
static bool encrypt(const struct seal_key *key, const struct buf *aad, const char *text, size_t n,
                    unsigned char *bytes)
{
    _cleanup_(ctx_freep) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    unsigned char *out = bytes + NONCE_LEN;
    int len;

    return c && EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, key->key, bytes) &&
           EVP_EncryptUpdate(c, NULL, &len, (const unsigned char *)aad->p, (int)aad->len) &&
           EVP_EncryptUpdate(c, out, &len, (const unsigned char *)text, (int)n) &&
           (size_t)len == n && EVP_EncryptFinal_ex(c, out + n, &len) && len == 0 &&
           EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_LEN, out + n);
}

/* out: n - nonce - tag bytes. */
static bool decrypt(const struct seal_key *key, const struct buf *aad, unsigned char *bytes,
                    size_t n, unsigned char *out)
{
    _cleanup_(ctx_freep) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    size_t text = n - NONCE_LEN - TAG_LEN;
    unsigned char rest[16];
    int len;

    return c && EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, key->key, bytes) &&
           EVP_DecryptUpdate(c, NULL, &len, (const unsigned char *)aad->p, (int)aad->len) &&
           EVP_DecryptUpdate(c, out, &len, bytes + NONCE_LEN, (int)text) && (size_t)len == text &&
           EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_LEN, bytes + n - TAG_LEN) &&
           EVP_DecryptFinal_ex(c, rest, &len) == 1;
}

rc seal_text(struct cx *cx, const struct seal_keys *k, const char *context, const char *text,
             const char **ret)
{
    const struct seal_key *key = &k->keys[0];
    size_t n = strlen(text), all = NONCE_LEN + n + TAG_LEN, head;
    _cleanup_(buf_release) struct buf aad = BUF(AAD_MAX);

    if (n > SEAL_MAX)
        return fail(cx, INVALID_FIELD, "a value to seal has more than %zu bytes", SEAL_MAX);
    try(make_aad(cx, key, context, &aad));
    unsigned char *bytes = arena_alloc(&cx->arena, all);
    random_bytes(bytes, NONCE_LEN);
    if (!encrypt(key, &aad, text, n, bytes)) {
        ERR_clear_error();
        return fail(cx, CRYPTO, "a value cannot be sealed (%s)", context);
    }
    head = strlen("v1.") + strlen(key->id) + 1;
    char *out = arena_alloc(&cx->arena, head + (4 * all + 2) / 3 + 1);
    snprintf(out, head + 1, "v1.%s.", key->id);
    base64url_encode(bytes, all, out + head);
    *ret = out;
    return OK;
}

/* v1.ID.data: which key, and where the data begins. */
static const char *split(const struct seal_keys *k, const char *sealed,
                         const struct seal_key **ret_key)
{
    const char *id = sealed + 3, *dot;

    *ret_key = NULL;
    if (!starts_with(sealed, "v1.") || !(dot = strchr(id, '.')))
        return NULL;
    *ret_key = find_key(k, id, (size_t)(dot - id));
    return dot + 1;
}

struct plain {
    size_t n;
    char text[];
};

static void plain_wipe(void *arg)
{
    struct plain *p = arg;

    OPENSSL_cleanse(p, sizeof *p + p->n);
    free(p);
}

rc open_text(struct cx *cx, const struct seal_keys *k, const char *context, const char *sealed,
             const char **ret)
{
    const struct seal_key *key;
    const char *data = split(k, sealed, &key);
    size_t chars = data ? strlen(data) : 0, n = chars * 3 / 4;
    _cleanup_(buf_release) struct buf aad = BUF(AAD_MAX);

    if (!data || n < NONCE_LEN + TAG_LEN || n > SEAL_MAX + NONCE_LEN + TAG_LEN)
        return fail(cx, CRYPTO, "not a sealed value (%s)", context);
    if (!key)
        return fail(cx, CRYPTO, "sealed with key %.*s, which seal_keys does not have (%s)",
                    (int)strcspn(sealed + 3, "."), sealed + 3, context);
    try(make_aad(cx, key, context, &aad));
    unsigned char *bytes = arena_alloc(&cx->arena, n);
    if (!base64url_decode(data, chars, bytes))
        return fail(cx, CRYPTO, "not a sealed value (%s)", context);
    struct plain *p = xcalloc(1, sizeof *p + n);
    p->n = n;
    if (!decrypt(key, &aad, bytes, n, (unsigned char *)p->text)) {
        plain_wipe(p);
        ERR_clear_error();
        return fail(cx, CRYPTO, "a sealed value does not open: changed, or from another place (%s)",
                    context);
    }
    arena_defer(&cx->arena, plain_wipe, p);
    *ret = p->text;
    return OK;
}

bool seal_is_current(const struct seal_keys *k, const char *sealed)
{
    const struct seal_key *key;

    return split(k, sealed, &key) && key == &k->keys[0];
}

const char *seal_key_id(const struct seal_keys *k)
{
    return k->keys[0].id;
}

/* test_secure.c - sealed values, digests, keys of the API and their memory. */
#include "base/id.h"
#include "base/text.h"
#include "secure/hmac_key.h"
#include "secure/seal.h"
#include "secure/token.h"
#include "tests/support/fibers.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HEX_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define HEX_B "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff00112233445566778899aabbccddeeff"
#define _cx_  _cleanup_(cx_release) struct cx

static void keys_freep(struct seal_keys **k)
{
    *k = seal_keys_free(*k);
}
#define _keys_ _cleanup_(keys_freep) struct seal_keys *

static struct seal_keys *load(const char *spec)
{
    _cx_ cx = CX_PLAIN("test");
    struct seal_keys *k = NULL;

    ck_ok(seal_keys_load(&cx, spec, &k));
    return k;
}

/* ---------------------------------------------------------------- seal */

static const struct {
    const char *title, *spec;
    rc want;
} specs[] = {
    {"one key", "a:" HEX_A, OK},
    {"two keys", "2026-11_b:" HEX_B ",a:" HEX_A, OK},
    {"spaces and a comma at the end", " a:" HEX_A " ,\n", OK},
    {"upper-case hex", "a:F0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF00112233445566778899AABBCCDDEEFF", OK},
    {"empty", "", E_CONFIG},
    {"no id", HEX_A, E_CONFIG},
    {"empty id", ":" HEX_A, E_CONFIG},
    {"a dot in the id", "a.b:" HEX_A, E_CONFIG},
    {"33 letters in the id", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:" HEX_A, E_CONFIG},
    {"63 digits", "a:00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", E_CONFIG},
    {"65 digits", "a:" HEX_A "0", E_CONFIG},
    {"not hex",
     "a:"
     "zz0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
     E_CONFIG},
    {"an id twice", "a:" HEX_A ",a:" HEX_B, E_CONFIG},
    {"a file that is not there", "@/nowhere/keys", E_CONFIG},
};

START_TEST(keys_are_read)
{
    _cx_ cx = CX_PLAIN("test");
    _keys_ k = NULL;
    rc r = seal_keys_load(&cx, specs[_i].spec, &k);

    ck_assert_msg(r == specs[_i].want, "case: %s: %s", specs[_i].title, cx_words(&cx, r));
    ck_assert(!k == (r != OK));
    ck_assert_msg(!strstr(cx_words(&cx, r), "0e0f"), "digits of a key in the words: %s",
                  cx_words(&cx, r));
}
END_TEST

START_TEST(keys_from_a_file)
{
    _cx_ cx = CX_PLAIN("test");
    char path[] = "/tmp/mihwar-keys-XXXXXX", spec[64];
    int fd = mkstemp(path);
    const char text[] = "b:" HEX_B "\na:" HEX_A "\n", *sealed, *plain;
    _keys_ a = load("a:" HEX_A);
    struct seal_keys *k = NULL;

    ck_assert_int_eq(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    snprintf(spec, sizeof spec, "@%s", path);
    ck_ok(seal_keys_load(&cx, spec, &k));
    unlink(path);
    ck_ok(seal_text(&cx, a, "here", "x", &sealed));
    ck_ok(open_text(&cx, k, "here", sealed, &plain));
    ck_assert_str_eq(plain, "x");
    seal_keys_free(k);
}
END_TEST

static const char *const texts[] = {"", "1", "1234-5678-9012", "PIN مرحبا", NULL /* 64 KiB */};

START_TEST(seal_round_trip)
{
    _cx_ cx = CX_PLAIN("test");
    _keys_ k = load("2026:" HEX_A);
    _cleanup_(freep) char *large = xcalloc(1, SEAL_MAX + 2);
    const char *text = texts[_i] ? texts[_i] : large, *sealed, *again, *plain;

    memset(large, 'x', SEAL_MAX);
    ck_ok(seal_text(&cx, k, "order_pin:1", text, &sealed));
    ck_ok(seal_text(&cx, k, "order_pin:1", text, &again));
    ck_assert_str_ne(sealed, again); /* a nonce each */
    ck_assert(starts_with(sealed, "v1.2026."));
    ck_ok(open_text(&cx, k, "order_pin:1", sealed, &plain));
    ck_assert_str_eq(plain, text);
    large[SEAL_MAX] = 'x';
    ck_rc(seal_text(&cx, k, "order_pin:1", large, &sealed), E_INVALID_FIELD);
}
END_TEST

/* A value sealed elsewhere (Python's cryptography, key HEX_A, nonce 00…0b) opens here: the form is
 * what it says. */
START_TEST(seal_known_value)
{
    _cx_ cx = CX_PLAIN("test");
    _keys_ k = load("a:" HEX_A);
    const char *plain;

    ck_ok(open_text(&cx, k, "order_pin:1",
                    "v1.a.AAECAwQFBgcICQoLdjDlL-jQ9Cy1pXPswaXz8c1pURATZAhCsA", &plain));
    ck_assert_str_eq(plain, "1234-5678");
}
END_TEST

START_TEST(seal_is_bound_to_its_place)
{
    _cx_ cx = CX_PLAIN("test");
    _keys_ a = load("a:" HEX_A);
    _keys_ other_bytes = load("a:" HEX_B);
    _keys_ other_id = load("b:" HEX_A);
    const char *sealed, *plain = NULL;
    char renamed[256];

    ck_ok(seal_text(&cx, a, "order_pin:1", "1234", &sealed));
    ck_rc(open_text(&cx, a, "order_pin:2", sealed, &plain), E_CRYPTO);
    ck_rc(open_text(&cx, a, "", sealed, &plain), E_CRYPTO);
    ck_rc(open_text(&cx, other_bytes, "order_pin:1", sealed, &plain), E_CRYPTO);
    ck_rc(open_text(&cx, other_id, "order_pin:1", sealed, &plain), E_CRYPTO);
    ck_assert(strstr(cx_words(&cx, E_CRYPTO), "does not have"));
    snprintf(renamed, sizeof renamed, "v1.b.%s", sealed + 5); /* the same key under another id */
    ck_rc(open_text(&cx, other_id, "order_pin:1", renamed, &plain), E_CRYPTO);
    ck_assert_ptr_null(plain);
}
END_TEST

START_TEST(seal_rotates)
{
    _cx_ cx = CX_PLAIN("test");
    _keys_ old = load("old:" HEX_A);
    _keys_ both = load("new:" HEX_B ",old:" HEX_A);
    _keys_ new = load("new:" HEX_B);
    const char *before, *after, *plain;

    ck_ok(seal_text(&cx, old, "p:1", "1234", &before));
    ck_assert(seal_is_current(old, before));
    ck_assert(!seal_is_current(both, before));
    ck_ok(open_text(&cx, both, "p:1", before, &plain));
    ck_ok(seal_text(&cx, both, "p:1", plain, &after));
    ck_assert(seal_is_current(both, after));
    ck_ok(open_text(&cx, new, "p:1", after, &plain));
    ck_assert_str_eq(plain, "1234");
    ck_rc(open_text(&cx, new, "p:1", before, &plain), E_CRYPTO);
    ck_assert(!seal_is_current(both, "1234"));
}
END_TEST

START_TEST(seal_refuses_every_change)
{
    _cx_ cx = CX_PLAIN("test");
    _keys_ k = load("a:" HEX_A);
    const char *sealed, *plain = NULL;
    char changed[256];

    ck_ok(seal_text(&cx, k, "p:1", "1234", &sealed));
    size_t n = strlen(sealed);
    for (size_t i = 0; i < n; i++) { /* one letter changed */
        strcpy(changed, sealed);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        ck_assert_msg(open_text(&cx, k, "p:1", changed, &plain) == E_CRYPTO,
                      "letter %zu changed: %s", i, changed);
    }
    for (size_t i = 0; i < n; i++) { /* cut */
        snprintf(changed, sizeof changed, "%.*s", (int)i, sealed);
        ck_assert_msg(open_text(&cx, k, "p:1", changed, &plain) == E_CRYPTO, "cut to %zu: %s", i,
                      changed);
    }
    snprintf(changed, sizeof changed, "%sA", sealed); /* more */
    ck_rc(open_text(&cx, k, "p:1", changed, &plain), E_CRYPTO);
    snprintf(changed, sizeof changed, "%s=", sealed);
    ck_rc(open_text(&cx, k, "p:1", changed, &plain), E_CRYPTO);
    ck_assert_ptr_null(plain);
}
END_TEST

static const char *const not_sealed[] = {"",
                                         "v1",
                                         "v1.",
                                         "v1..",
                                         "v1.a",
                                         "v1.a.",
                                         "v1.a.AAAA",
                                         "v2.a.AAAA",
                                         "1234",
                                         "v1.a.====",
                                         "v1.a.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                         "v1.a.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};

START_TEST(seal_refuses_other_things)
{
    _cx_ cx = CX_PLAIN("test");
    _keys_ k = load("a:" HEX_A);
    const char *plain;

    ck_assert_msg(open_text(&cx, k, "p:1", not_sealed[_i], &plain) == E_CRYPTO, "case: %s",
                  not_sealed[_i]);
}
END_TEST

/* ---------------------------------------------------------------- digest */

START_TEST(digests)
{
    char out[DIGEST_HEX_LEN + 1];
    unsigned char key[131];

    ck_assert_str_eq(sha256_hex("", 0, out),
                     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    ck_assert_str_eq(
        sha256_hex("abc", 3, out),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); /* FIPS 180-2 B.1 */
    /* RFC 4231, cases 1, 2 and 6 */
    memset(key, 0x0b, 20);
    ck_assert_str_eq(hmac_sha256_hex(key, 20, "Hi There", 8, out),
                     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    ck_assert_str_eq(hmac_sha256_hex("Jefe", 4, "what do ya want for nothing?", 28, out),
                     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, 131);
    ck_assert_str_eq(hmac_sha256_hex(key, 131,
                                     "Test Using Larger Than Block-Size Key - Hash Key First", 54,
                                     out),
                     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    ck_assert_str_eq(hmac_sha256_hex("", 0, "", 0, out),
                     "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
    char joined[DIGEST_HEX_LEN + 1];
    webhook_sign("secret", 1700000000, "{\"id\":1}", 8, out);
    ck_assert_str_eq(out, hmac_sha256_hex("secret", 6, "1700000000.{\"id\":1}", 19, joined));

    struct hmac_key *k = hmac_key_new("Jefe", 4);
    for (int i = 0; i < 3; i++) { /* each begins anew */
        unsigned char once[DIGEST_LEN], again[DIGEST_LEN];
        hmac_sha256("Jefe", 4, "what do ya want", (size_t)(15 - i), once);
        hmac_key_digest(k, "what do ya want", (size_t)(15 - i), again);
        ck_assert_mem_eq(once, again, DIGEST_LEN);
    }
    ck_assert_ptr_null(hmac_key_free(k));
    ck_assert_ptr_null(hmac_key_free(NULL));
}
END_TEST

static const struct {
    const char *title, *text, *bytes;
    size_t n; /* of bytes; SIZE_MAX: refused */
} b64[] = {
    {"nothing", "", "", 0},
    {"one byte", "AA", "\0", 1},
    {"two bytes", "-_8", "\xfb\xff", 2},
    {"three bytes", "YWJj", "abc", 3},
    {"one letter", "A", "", SIZE_MAX},
    {"five letters", "YWJjA", "", SIZE_MAX},
    {"stray bits after one byte", "AB", "", SIZE_MAX},
    {"stray bits after two", "-_9", "", SIZE_MAX},
    {"padding", "AA==", "", SIZE_MAX},
    {"the other alphabet", "+/8", "", SIZE_MAX},
    {"a space", "YW Jj", "", SIZE_MAX},
};

START_TEST(base64url_reads)
{
    char out[16];
    bool good = base64url_decode(b64[_i].text, strlen(b64[_i].text), out);

    ck_assert_msg(good == (b64[_i].n != SIZE_MAX), "case: %s", b64[_i].title);
    if (good)
        ck_assert_msg(memcmp(out, b64[_i].bytes, b64[_i].n) == 0, "case: %s", b64[_i].title);
}
END_TEST

/* ---------------------------------------------------------------- tokens */

#define SECRET "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8" /* 43 */

static const struct {
    const char *title, *text;
    bool good;
} token_texts[] = {
    {"a token", "mwk_abc123def456_" SECRET, true},
    {"empty", "", false},
    {"only the beginning", "mwk_", false},
    {"another kind", "mwx_abc123def456_" SECRET, false},
    {"upper case in the prefix", "mwk_Abc123def456_" SECRET, false},
    {"no secret", "mwk_abc123def456_", false},
    {"a short secret", "mwk_abc123def456_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh", false},
    {"a long secret", "mwk_abc123def456_" SECRET "A", false},
    {"a strange letter", "mwk_abc123def456_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh=", false},
    {"stray bits", "mwk_abc123def456_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9", false},
    {"a short prefix", "mwk_abc123def45_" SECRET "A", false},
    {"a space before", " mwk_abc123def456_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh", false},
};

START_TEST(tokens_are_read)
{
    char prefix[TOKEN_PREFIX_LEN + 1];

    ck_assert_msg(token_read(&TOKEN_KEY, token_texts[_i].text, prefix) == token_texts[_i].good,
                  "case: %s", token_texts[_i].title);
    if (token_texts[_i].good)
        ck_assert_str_eq(prefix, "abc123def456");
}
END_TEST

START_TEST(tokens_are_made)
{
    char prefix[2][TOKEN_PREFIX_LEN + 1], text[2][TOKEN_TEXT_LEN + 1], read[TOKEN_PREFIX_LEN + 1];

    for (int i = 0; i < 2; i++) {
        token_make(&TOKEN_KEY, prefix[i], text[i]);
        ck_assert_uint_eq(strlen(text[i]), TOKEN_TEXT_LEN);
        ck_assert(token_read(&TOKEN_KEY, text[i], read));
        ck_assert_str_eq(read, prefix[i]);
    }
    ck_assert_str_ne(prefix[0], prefix[1]);
    ck_assert_str_ne(text[0] + 17, text[1] + 17);
    ck_assert(!token_read(&TOKEN_KEY, NULL, read));
}
END_TEST

/* On the offload, and in a plain context on the spot. */
static rc hash_and_verify(struct cx *cx, void *arg)
{
    char hash[TOKEN_HASH_MAX], other[TOKEN_HASH_MAX];
    bool ok = false;

    try(token_hash(cx, &TOKEN_KEY, "a password", hash));
    try(token_hash(cx, &TOKEN_KEY, "a password", other));
    ck_assert(starts_with(hash, "$argon2id$v=19$m=19456,t=2,p=1$"));
    ck_assert_str_ne(hash, other); /* a salt each */
    try(token_verify(cx, "a password", hash, &ok));
    ck_assert(ok);
    try(token_verify(cx, "another", hash, &ok));
    ck_assert(!ok);
    ck_rc(token_verify(cx, "x", "", &ok), E_CRYPTO);
    ck_rc(token_verify(cx, "x", "$argon2id$v=19$m=1", &ok), E_CRYPTO);
    ck_rc(token_verify(cx, "x", "$argon2i$v=19$m=16,t=2,p=1$MTIzNDU2Nzg$YQ", &ok), E_CRYPTO);
    return OK;
}

START_TEST(hashes)
{
    _cx_ cx = CX_PLAIN("test");

    ck_ok(hash_and_verify(&cx, NULL));
    ck_ok(on_fiber(hash_and_verify, NULL));
}
END_TEST

/* ---------------------------------------------------------------- the memory of tokens */

static int64_t now_ms;
static int64_t now(void)
{
    return now_ms;
}

struct who {
    int id;
    char name[20];
};

/* A table of one row, and how often it was asked for. */
static struct table {
    char prefix[TOKEN_PREFIX_LEN + 1], text[TOKEN_TEXT_LEN + 1], hash[TOKEN_HASH_MAX];
    bool revoked;
    int loads;
    rc trouble;
} table;

static rc load_row(struct cx *cx, void *arg, const char *prefix, struct token_row *row,
                   void *identity)
{
    struct who *w = identity;

    ck_assert_ptr_eq(arg, &table);
    table.loads++;
    try(fiber_sleep(cx, 5)); /* a query parks */
    if (table.trouble)
        return fail_rc(cx, table.trouble, "the table is away");
    if (strcmp(prefix, table.prefix) != 0)
        return fail_rc(cx, E_NOT_FOUND, "no such key");
    row->state = table.revoked ? TOKEN_REVOKED : TOKEN_GOOD;
    strcpy(row->hash, table.hash);
    w->id = 7;
    strcpy(w->name, "a shop");
    return OK;
}

static rc table_make(struct cx *cx)
{
    table = (struct table){0};
    token_make(&TOKEN_KEY, table.prefix, table.text);
    now_ms = 1000;
    return token_hash(cx, &TOKEN_KEY, table.text, table.hash);
}

static struct token_cache *cache_make(void)
{
    return token_cache_new(&(struct token_cache_opts){
        .identity_size = sizeof(struct who), .load = load_row, .arg = &table, .now_ms = now});
}

struct call {
    struct token_cache *c;
    const char *text;
    struct who who;
};

static rc identify(struct cx *cx, void *arg)
{
    struct call *a = arg;

    return token_identify(cx, a->c, a->text, NULL, &a->who);
}

static rc remembers(struct cx *cx, void *arg)
{
    struct token_cache *c = cache_make();
    struct who w = {0};
    char wrong[TOKEN_TEXT_LEN + 1];

    try(table_make(cx));
    try(token_identify(cx, c, table.text, NULL, &w));
    ck_assert_int_eq(w.id, 7);
    ck_assert_str_eq(w.name, "a shop");
    now_ms += 59999;
    try(token_identify(cx, c, table.text, NULL, &w));
    ck_assert_int_eq(table.loads, 1); /* fresh: no query */
    now_ms += 1;
    try(token_identify(cx, c, table.text, NULL, &w));
    ck_assert_int_eq(table.loads, 2); /* older: the row is read again */

    strcpy(wrong, table.text); /* the right prefix, another secret */
    wrong[TOKEN_TEXT_LEN - 5] = wrong[TOKEN_TEXT_LEN - 5] == 'A' ? 'B' : 'A';
    ck_rc(token_identify(cx, c, wrong, NULL, &w), E_UNAUTHENTICATED);
    ck_rc(token_identify(cx, c, wrong, NULL, &w), E_UNAUTHENTICATED);
    ck_assert_int_eq(table.loads, 3); /* the refusal is remembered */
    now_ms += 5000;
    ck_rc(token_identify(cx, c, wrong, NULL, &w), E_UNAUTHENTICATED);
    ck_assert_int_eq(table.loads, 4);
    ck_rc(token_identify(cx, c, "mwk_", NULL, &w), E_UNAUTHENTICATED);
    ck_assert_int_eq(table.loads, 4); /* not a token: nobody is asked */

    try(token_identify(cx, c, table.text, NULL, &w));
    ck_assert_int_eq(table.loads, 4);
    table.revoked = true;
    try(token_identify(cx, c, table.text, NULL, &w)); /* known to be good for a while */
    token_cache_forget(c, "somebodyelse");
    try(token_identify(cx, c, table.text, NULL, &w));
    token_cache_forget(c, table.prefix);
    ck_rc(token_identify(cx, c, table.text, NULL, &w), E_UNAUTHENTICATED);
    ck_assert_int_eq(table.loads, 5);
    token_cache_free(c);
    return OK;
}

START_TEST(cache_remembers)
{
    ck_ok(on_fiber(remembers, NULL));
}
END_TEST

static rc revoked(struct cx *cx, void *arg)
{
    struct token_cache *c = cache_make();
    struct who w;

    try(table_make(cx));
    try(token_identify(cx, c, table.text, NULL, &w));
    table.revoked = true;
    now_ms += 60000;
    ck_rc(token_identify(cx, c, table.text, NULL, &w), E_UNAUTHENTICATED);
    table.revoked = false;
    now_ms += 5000;
    try(token_identify(cx, c, table.text, NULL, &w));
    strcpy(table.hash, "$argon2id$v=19$m=16,t=1,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$"
                       "ZGlmZmVyZW50IGhhc2ggb2YgMzIgYnl0ZXMhISEhISE");
    now_ms += 60000;
    ck_rc(token_identify(cx, c, table.text, NULL, &w),
          E_UNAUTHENTICATED); /* the row's hash is another one now */
    token_cache_free(c);
    return OK;
}

/* Forgotten while its row is read: what was read may be old, so it serves this call and no other.
 */
static rc forgotten(struct cx *cx, void *arg)
{
    struct token_cache *c = cache_make();
    struct call call = {c, table.text, {0}};
    struct who w;
    rc r;

    try(table_make(cx));
    struct fiber *f = fiber_spawn(&(struct fiber_opts){.name = "caller"}, identify, &call);
    try(fiber_sleep(cx, 1));
    ck_assert_int_eq(table.loads, 1);
    token_cache_forget(c, NULL);
    try(fiber_join(cx, f, &r));
    ck_ok(r);
    try(token_identify(cx, c, table.text, NULL, &w));
    ck_assert_int_eq(table.loads, 2);
    try(token_identify(cx, c, table.text, NULL, &w));
    ck_assert_int_eq(table.loads, 2);
    token_cache_free(c);
    return OK;
}

START_TEST(cache_forgets_what_is_under_way)
{
    ck_ok(on_fiber(forgotten, NULL));
}
END_TEST

START_TEST(cache_hears_of_changes)
{
    ck_ok(on_fiber(revoked, NULL));
}
END_TEST

static rc crowd(struct cx *cx, void *arg)
{
    struct token_cache *c = cache_make();
    struct call calls[40];
    struct fiber *f[COUNT(calls)];
    struct who w;
    rc r;

    try(table_make(cx));
    for (size_t i = 0; i < COUNT(calls); i++) {
        calls[i] = (struct call){c, table.text, {0}};
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "caller"}, identify, &calls[i]);
    }
    try(fiber_sleep(cx, 1)); /* all of them wait for the first one's check */
    fiber_cancel(f[0]);      /* who gives up: another one leads */
    for (size_t i = 0; i < COUNT(calls); i++) {
        try(fiber_join(cx, f[i], &r));
        ck_assert_int_eq(r, i == 0 ? (rc)E_CANCELLED : (rc)OK);
        ck_assert_int_eq(calls[i].who.id, i == 0 ? 0 : 7);
    }
    ck_assert_int_eq(table.loads, 2);

    table.trouble = E_STORE_DOWN; /* no answer is not a refusal */
    now_ms += 60000;
    for (size_t i = 0; i < 3; i++)
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "caller"}, identify, &calls[i]);
    for (size_t i = 0; i < 3; i++) {
        try(fiber_join(cx, f[i], &r));
        ck_rc(r, E_STORE_DOWN);
    }
    ck_assert_int_eq(table.loads, 3);
    table.trouble = OK;
    try(token_identify(cx, c, table.text, NULL, &w));
    token_cache_free(c);
    return OK;
}

START_TEST(cache_checks_once_for_many)
{
    ck_ok(on_fiber(crowd, NULL));
}
END_TEST

/* Forty guesses at once: some wait, the rest are told so, and a good key does not stand behind
 * them. */
static rc guessed(struct cx *cx, void *arg)
{
    struct token_cache *c = cache_make();
    struct call calls[40];
    char text[COUNT(calls)][TOKEN_TEXT_LEN + 1], prefix[TOKEN_PREFIX_LEN + 1];
    struct fiber *f[COUNT(calls)];
    struct who w;
    int refused = 0, full = 0;
    rc r;

    try(table_make(cx));
    for (size_t i = 0; i < COUNT(calls); i++) {
        token_make(&TOKEN_KEY, prefix, text[i]);
        calls[i] = (struct call){c, text[i], {0}};
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "guess"}, identify, &calls[i]);
    }
    try(fiber_sleep(cx, 20));
    try(token_identify(cx, c, table.text, NULL, &w));
    size_t waiting = fiber_count() - 1;
    ck_assert_msg(waiting >= 8, "only %zu guesses are left behind the good key", waiting);
    for (size_t i = 0; i < COUNT(calls); i++) {
        try(fiber_join(cx, f[i], &r));
        ck_assert(r == E_UNAUTHENTICATED || r == E_OVERLOADED);
        refused += r == E_UNAUTHENTICATED;
        full += r == E_OVERLOADED;
    }
    ck_assert_int_eq(refused, 17); /* 1 in the gate, 16 before it */
    ck_assert_int_eq(full, 23);
    token_cache_free(c);
    return OK;
}

START_TEST(guesses_do_not_starve)
{
    ck_ok(on_fiber(guessed, NULL));
}
END_TEST

static rc bounded(struct cx *cx, void *arg)
{
    struct token_cache *c =
        token_cache_new(&(struct token_cache_opts){.identity_size = sizeof(struct who),
                                                   .max = 2,
                                                   .load = load_row,
                                                   .arg = &table,
                                                   .now_ms = now});
    struct table saved[3];
    struct who w;

    for (int i = 0; i < 3; i++) { /* the third pushes the first out: it was not used since */
        try(table_make(cx));
        try(token_identify(cx, c, table.text, NULL, &w));
        saved[i] = table;
    }
    table = saved[1];
    table.loads = 0;
    try(token_identify(cx, c, saved[1].text, NULL, &w));
    try(token_identify(cx, c, saved[2].text, NULL, &w));
    ck_assert_int_eq(table.loads, 0);
    table = saved[0];
    table.loads = 0;
    try(token_identify(cx, c, saved[0].text, NULL, &w));
    ck_assert_int_eq(table.loads, 1);
    token_cache_free(c);
    return OK;
}

START_TEST(cache_is_bounded)
{
    ck_ok(on_fiber(bounded, NULL));
}
END_TEST

UNIT(secure, {"keys", keys_are_read, COUNT(specs)}, {"keys from a file", keys_from_a_file, 0},
     {"seal, round trip", seal_round_trip, COUNT(texts)},
     {"seal, known value", seal_known_value, 0},
     {"seal, bound to its place", seal_is_bound_to_its_place, 0},
     {"seal, rotation", seal_rotates, 0}, {"seal, every change", seal_refuses_every_change, 0},
     {"seal, other things", seal_refuses_other_things, COUNT(not_sealed)}, {"digests", digests, 0},
     {"base64url", base64url_reads, COUNT(b64)},
     {"tokens read", tokens_are_read, COUNT(token_texts)}, {"tokens made", tokens_are_made, 0},
     {"hashes", hashes, 0}, {"cache remembers", cache_remembers, 0},
     {"cache hears of changes", cache_hears_of_changes, 0},
     {"cache forgets what is under way", cache_forgets_what_is_under_way, 0},
     {"one check for many", cache_checks_once_for_many, 0},
     {"guesses do not starve", guesses_do_not_starve, 0}, {"cache is bounded", cache_is_bounded, 0})

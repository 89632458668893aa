/* token_cache.c - keys that were verified lately, and one check at a time for those that were not.
 *
 *   entries   by HMAC(key of this process, token): neither tokens nor guessable digests stay in memory
 *     good      identity + the row's hash it was verified against; fresh for fresh_ms, then its row is read again, and Argon2
 *               is spent only if the row's hash is another one
 *     refused   wrong keys, for REFUSED_MS; a list of their own, so that guesses never push good keys out
 *   checks    under way: who asks with the same token waits for its end
 *
 *   gate       holds  waits
 *   known      2      64      prefix has a row
 *   unknown    1      16      prefix has none: Argon2 is spent all the same */
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "secure/digest.h"
#include "secure/token.h"
#include <assert.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define BUCKETS      2048
#define GOOD_MAX     4096
#define REFUSED_MAX  1024
#define REFUSED_MS   5000
#define FRESH_MS     60000
#define KNOWN_HOLD   2
#define KNOWN_WAIT   64
#define UNKNOWN_HOLD 1
#define UNKNOWN_WAIT 16

TAILQ_HEAD(entry_list, entry);
LIST_HEAD(bucket, entry);
struct entry {
    LIST_ENTRY(entry) chain;
    TAILQ_ENTRY(entry) age; /* of its list: least recently used first */
    unsigned char digest[DIGEST_LEN];
    char prefix[TOKEN_PREFIX_LEN + 1], hash[TOKEN_HASH_MAX];
    bool refused;
    int64_t fresh_until_ms;
    _Alignas(max_align_t) unsigned char identity[];
};
struct entries {
    struct entry_list list;
    size_t n, max;
};

LIST_HEAD(check_list, check);
struct check {
    LIST_ENTRY(check) link;
    unsigned char digest[DIGEST_LEN];
    size_t users;
    bool done;
    rc code;
    char words[128];
    struct waitq q;
    _Alignas(max_align_t) unsigned char identity[];
};

struct doors {
    struct gate gate;
    size_t waiting, wait_max;
};

struct token_cache {
    struct token_cache_opts o;
    unsigned char key[32];
    struct bucket buckets[BUCKETS];
    struct entries good, refused;
    struct check_list checks;
    struct doors known, unknown;
    uint64_t forgets; /* a check that began before the last one is not remembered */
};

/* ---------------------------------------------------------------- entries */

static struct bucket *bucket_of(struct token_cache *c, const unsigned char *digest)
{
    return &c->buckets[(digest[0] | (size_t)digest[1] << 8) % BUCKETS];
}

static struct entry *find(struct token_cache *c, const unsigned char *digest)
{
    struct entry *e;

    LIST_FOREACH(e, bucket_of(c, digest), chain)
    {
        if (memcmp(e->digest, digest, DIGEST_LEN) == 0)
            return e;
    }
    return NULL;
}

static struct entries *entries_of(struct token_cache *c, const struct entry *e)
{
    return e->refused ? &c->refused : &c->good;
}

static void drop(struct token_cache *c, struct entry *e)
{
    struct entries *of = entries_of(c, e);

    LIST_REMOVE(e, chain);
    TAILQ_REMOVE(&of->list, e, age);
    of->n--;
    free(e);
}

static void touch(struct token_cache *c, struct entry *e)
{
    struct entries *of = entries_of(c, e);

    TAILQ_REMOVE(&of->list, e, age);
    TAILQ_INSERT_TAIL(&of->list, e, age);
}

/* identity NULL: refused. */
static void remember(struct token_cache *c, const unsigned char *digest, const char *prefix,
                     const char *hash, const void *identity)
{
    struct entry *e = find(c, digest);
    struct entries *of = identity ? &c->good : &c->refused;

    if (e)
        drop(c, e);
    if (of->n == of->max)
        drop(c, TAILQ_FIRST(&of->list));
    e = xcalloc(1, sizeof *e + c->o.identity_size);
    memcpy(e->digest, digest, DIGEST_LEN);
    strcpy(e->prefix, prefix);
    e->refused = !identity;
    e->fresh_until_ms = c->o.now_ms() + (identity ? c->o.fresh_ms : REFUSED_MS);
    if (identity) {
        strcpy(e->hash, hash);
        memcpy(e->identity, identity, c->o.identity_size);
    }
    LIST_INSERT_HEAD(bucket_of(c, digest), e, chain);
    TAILQ_INSERT_TAIL(&of->list, e, age);
    of->n++;
}

/* ---------------------------------------------------------------- one check */

static rc refuse(struct cx *cx)
{
    return fail(cx, UNAUTHENTICATED, "the key is not known here");
}

/* Argon2 behind the gate. Unknown prefixes pay too: their result is that nothing matches. */
static rc spend(struct cx *cx, struct doors *d, const char *text, const char *hash, bool *ret_ok)
{
    char nobody[TOKEN_HASH_MAX];

    if (d->waiting >= d->wait_max)
        return fail(cx, OVERLOADED, "too many keys are being checked");
    d->waiting++;
    rc r = gate_enter(cx, &d->gate);
    d->waiting--;
    try(r);
    *ret_ok = false;
    r = hash ? token_verify(cx, text, hash, ret_ok) : token_hash(cx, text, nobody);
    gate_leave(&d->gate);
    return r;
}

static rc check(struct cx *cx, struct token_cache *c, const char *prefix, const char *text,
                struct check *k)
{
    char hash[TOKEN_HASH_MAX] = "";
    uint64_t forgets = c->forgets;
    bool ok = false;

    rc r = c->o.load(cx, c->o.arg, prefix, hash, k->identity); /* parks */
    if (r != OK && r != E_NOT_FOUND)
        return r;
    bool known = r == OK;
    const struct entry *e = find(c, k->digest);
    if (e && !e->refused) /* verified before: only the row could have changed */
        ok = known && strcmp(e->hash, hash) == 0;
    if (!ok && (known || !e || e->refused))
        try(spend(cx, known ? &c->known : &c->unknown, text, known ? hash : NULL, &ok)); /* parks */
    if (forgets == c->forgets)
        remember(c, k->digest, prefix, hash, ok ? k->identity : NULL);
    return ok ? OK : refuse(cx);
}

static void check_unuse(struct check *k)
{
    if (--k->users == 0)
        free(k);
}

static rc lead(struct cx *cx, struct token_cache *c, const char *prefix, const char *text,
               const unsigned char *digest, void *ret_identity)
{
    struct check *k = xcalloc(1, sizeof *k + c->o.identity_size);

    k->users = 1;
    memcpy(k->digest, digest, DIGEST_LEN);
    LIST_INSERT_HEAD(&c->checks, k, link);
    k->code = check(cx, c, prefix, text, k);
    k->done = true;
    LIST_REMOVE(k, link);
    if (k->code == OK)
        memcpy(ret_identity, k->identity, c->o.identity_size);
    else
        snprintf(k->words, sizeof k->words, "%s", cx_words(cx, k->code));
    waitq_wake_all(&k->q);
    rc code = k->code;
    check_unuse(k);
    return code;
}

/* *ret_again: the one who led gave up for reasons of its own; somebody else has to. */
static rc follow(struct cx *cx, struct token_cache *c, struct check *k, void *ret_identity,
                 bool *ret_again)
{
    rc r = OK;

    k->users++;
    while (!k->done && r == OK)
        r = waitq_wait(cx, &k->q);
    if (k->done) {
        *ret_again = k->code == E_DEADLINE || k->code == E_CANCELLED;
        r = *ret_again ? OK : k->code;
        if (r == OK && !*ret_again)
            memcpy(ret_identity, k->identity, c->o.identity_size);
        else if (r != OK)
            r = fail_rc(cx, k->code, "%s", k->words);
    }
    check_unuse(k);
    return r;
}

rc token_identify(struct cx *cx, struct token_cache *c, const char *text, void *ret_identity)
{
    char prefix[TOKEN_PREFIX_LEN + 1];
    unsigned char digest[DIGEST_LEN];
    bool again = true;

    if (!token_read(text, prefix))
        return refuse(cx);
    hmac_sha256(c->key, sizeof c->key, text, TOKEN_TEXT_LEN, digest);
    while (again) {
        struct entry *e = find(c, digest);
        struct check *k;

        if (e && c->o.now_ms() < e->fresh_until_ms) {
            touch(c, e);
            if (e->refused)
                return refuse(cx);
            memcpy(ret_identity, e->identity, c->o.identity_size);
            return OK;
        }
        LIST_FOREACH(k, &c->checks, link)
        {
            if (memcmp(k->digest, digest, DIGEST_LEN) == 0)
                break;
        }
        if (!k)
            return lead(cx, c, prefix, text, digest, ret_identity);
        try(follow(cx, c, k, ret_identity, &again));
    }
    return OK;
}

/* ---------------------------------------------------------------- life */

void token_cache_forget(struct token_cache *c, const char *prefix)
{
    struct entry_list *lists[] = {&c->good.list, &c->refused.list};
    struct entry *e, *next;

    c->forgets++;
    for (size_t i = 0; i < COUNT(lists); i++) {
        for (e = TAILQ_FIRST(lists[i]); e; e = next) {
            next = TAILQ_NEXT(e, age);
            if (!prefix || str_eq(prefix, e->prefix))
                drop(c, e);
        }
    }
}

struct token_cache *token_cache_new(const struct token_cache_opts *o)
{
    struct token_cache *c = xcalloc(1, sizeof *c);

    c->o = *o;
    if (!c->o.fresh_ms)
        c->o.fresh_ms = FRESH_MS;
    if (!c->o.now_ms)
        c->o.now_ms = clock_mono_ms;
    random_bytes(c->key, sizeof c->key);
    TAILQ_INIT(&c->good.list);
    TAILQ_INIT(&c->refused.list);
    c->good.max = o->max ? o->max : GOOD_MAX;
    c->refused.max = REFUSED_MAX;
    c->known = (struct doors){.gate = {.limit = KNOWN_HOLD}, .wait_max = KNOWN_WAIT};
    c->unknown = (struct doors){.gate = {.limit = UNKNOWN_HOLD}, .wait_max = UNKNOWN_WAIT};
    return c;
}

struct token_cache *token_cache_free(struct token_cache *c)
{
    if (!c)
        return NULL;
    assert(LIST_EMPTY(&c->checks));
    token_cache_forget(c, NULL);
    OPENSSL_cleanse(c->key, sizeof c->key);
    free(c);
    return NULL;
}

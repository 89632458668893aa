/* token_cache.c - tokens that were verified lately, and one check at a time for those that were not.
 *
 *   entries   by HMAC(key of this process, token): neither tokens nor guessable digests stay in memory
 *     good      identity + the row's hash it was verified against; fresh for fresh_ms, then its row is read again, and Argon2
 *               is spent only if the row's hash is another one
 *     refused   wrong tokens, for REFUSED_MS; a list of their own, so that guesses never push good ones out
 *   checks    under way: who asks with the same token waits for its end
 *
 *   gate       holds  waits
 *   known      2      64 (wait_max)   the prefix has a good row
 *   unknown    1      16              it has none: Argon2 is spent all the same
 *
 * A store that is away is asked again once in AWAY_MS; in between, what may go on goes on at once. */
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "secure/hmac_key.h"
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
#define AWAY_MS      1000
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
    enum token_state state;
    int64_t fresh_until_ms;
    int64_t keep_until_ms; /* without a store that answers */
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
    bool done, good; /* good: the prefix has a good row */
    rc code;
    enum token_state state;
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
    struct hmac_key *key;
    struct bucket buckets[BUCKETS];
    struct entries good, refused;
    struct check_list checks;
    struct doors known, unknown;
    uint64_t forgets; /* a check that began before the last one is not remembered */
    int64_t away_until_ms;
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

static bool refused(const struct entry *e)
{
    return e->state != TOKEN_GOOD;
}

static struct entries *entries_of(struct token_cache *c, const struct entry *e)
{
    return refused(e) ? &c->refused : &c->good;
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

static void remember(struct token_cache *c, const struct check *k, const char *prefix,
                     const char *hash)
{
    struct entry *e = find(c, k->digest);
    struct entries *of = k->state == TOKEN_GOOD ? &c->good : &c->refused;
    int64_t now = c->o.now_ms();

    if (e)
        drop(c, e);
    if (of->n == of->max)
        drop(c, TAILQ_FIRST(&of->list));
    e = xcalloc(1, sizeof *e + c->o.identity_size);
    memcpy(e->digest, k->digest, DIGEST_LEN);
    strcpy(e->prefix, prefix);
    strcpy(e->hash, hash);
    e->state = k->state;
    e->fresh_until_ms = now + (refused(e) ? REFUSED_MS : c->o.fresh_ms);
    e->keep_until_ms = refused(e) ? 0 : now + c->o.keep_ms;
    memcpy(e->identity, k->identity, c->o.identity_size);
    LIST_INSERT_HEAD(bucket_of(c, k->digest), e, chain);
    TAILQ_INSERT_TAIL(&of->list, e, age);
    of->n++;
}

static bool fresh(const struct token_cache *c, const struct entry *e)
{
    if (c->o.now_ms() >= e->fresh_until_ms)
        return false;
    return refused(e) || !c->o.sure || c->o.sure(c->o.arg);
}

/* ---------------------------------------------------------------- one check */

static rc refuse(struct cx *cx)
{
    return fail(cx, UNAUTHENTICATED, "the token is not known here");
}

/* Argon2 behind the gate. Unknown prefixes pay too: their result is that nothing matches. */
static rc spend(struct cx *cx, const struct token_cache *c, struct doors *d, const char *text,
                const char *hash, bool *ret_ok)
{
    char nobody[TOKEN_HASH_MAX];

    if (d->waiting >= d->wait_max)
        return fail(cx, OVERLOADED, "too many tokens are being checked");
    d->waiting++;
    rc r = gate_enter(cx, &d->gate);
    d->waiting--;
    try(r);
    *ret_ok = false;
    r = hash ? token_verify(cx, text, hash, ret_ok) : token_hash(cx, c->o.kind, text, nobody);
    gate_leave(&d->gate);
    return r;
}

static bool may_spend(const struct token_ask *ask, const char *prefix, bool good)
{
    return !ask || !ask->may_spend || ask->may_spend(ask->arg, prefix, good);
}

static rc not_let(struct cx *cx)
{
    return fail(cx, RATE_LIMITED, "too many were refused here");
}

/* let: it was asked for already whether Argon2 may be spent. */
static rc check(struct cx *cx, struct token_cache *c, const char *prefix, const char *text,
                const struct token_ask *ask, bool let, struct check *k)
{
    struct token_row row = {.state = TOKEN_GOOD};
    uint64_t forgets = c->forgets;
    bool ok = false;

    rc r = c->o.load(cx, c->o.arg, prefix, &row, k->identity); /* parks */
    if (r != OK && r != E_NOT_FOUND)
        return r;
    c->away_until_ms = INT64_MIN;
    bool found = r == OK, good = k->good = found && row.state == TOKEN_GOOD;
    const struct entry *e = find(c, k->digest);
    if (good && e && !refused(e)) /* verified before: only the row could have changed */
        ok = strcmp(e->hash, row.hash) == 0;
    if (!ok) {
        if (!let && !may_spend(ask, prefix, good))
            return not_let(cx);
        try(spend(cx, c, good ? &c->known : &c->unknown, text, found ? row.hash : NULL,
                  &ok)); /* parks */
    }
    k->state = !found ? TOKEN_UNKNOWN : !ok ? TOKEN_WRONG : row.state;
    if (forgets == c->forgets)
        remember(c, k, prefix, row.hash);
    return k->state == TOKEN_GOOD ? OK : refuse(cx);
}

static void check_unuse(struct check *k)
{
    if (--k->users == 0)
        free(k);
}

/* Who was asked about, for the one who asks. */
static void tell(const struct token_cache *c, enum token_state state, const void *identity,
                 struct token_ask *ask, void *ret_identity)
{
    if (ask)
        ask->state = state;
    memcpy(ret_identity, identity, c->o.identity_size);
}

static rc lead(struct cx *cx, struct token_cache *c, const char *prefix, const char *text,
               const unsigned char *digest, struct token_ask *ask, bool let, void *ret_identity)
{
    struct check *k = xcalloc(1, sizeof *k + c->o.identity_size);

    k->users = 1;
    memcpy(k->digest, digest, DIGEST_LEN);
    LIST_INSERT_HEAD(&c->checks, k, link);
    k->code = check(cx, c, prefix, text, ask, let, k);
    k->done = true;
    LIST_REMOVE(k, link);
    if (k->code == OK || k->code == E_UNAUTHENTICATED)
        tell(c, k->state, k->identity, ask, ret_identity);
    if (k->code != OK)
        snprintf(k->words, sizeof k->words, "%s", cx_words(cx, k->code));
    waitq_wake_all(&k->q);
    rc code = k->code;
    check_unuse(k);
    return code;
}

/* *ret_again: the one who led gave up for reasons of its own; somebody else has to. Where it was not let, each of the others hears for
 * itself, and leads only if it is: thousands with one token do not look for its row one after another. */
static rc follow(struct cx *cx, struct token_cache *c, const char *prefix, struct check *k,
                 struct token_ask *ask, bool *let, void *ret_identity, bool *ret_again)
{
    rc r = OK;

    k->users++;
    while (!k->done && r == OK)
        r = waitq_wait(cx, &k->q);
    if (k->done) {
        if (k->code == E_RATE_LIMITED && !*let)
            *let = may_spend(ask, prefix, k->good);
        *ret_again =
            k->code == E_DEADLINE || k->code == E_CANCELLED || (k->code == E_RATE_LIMITED && *let);
        r = *ret_again ? OK : k->code;
        if (k->code == OK || k->code == E_UNAUTHENTICATED)
            tell(c, k->state, k->identity, ask, ret_identity);
        if (r != OK)
            r = fail_rc(cx, k->code, "%s", k->words);
    }
    check_unuse(k);
    return r;
}

/* Does it go on although its row cannot be read? */
static bool kept(const struct token_cache *c, const struct entry *e)
{
    return e && !refused(e) && c->o.now_ms() < e->keep_until_ms;
}

static rc use(struct cx *cx, struct token_cache *c, struct entry *e, struct token_ask *ask,
              void *ret_identity)
{
    touch(c, e);
    tell(c, e->state, e->identity, ask, ret_identity);
    return refused(e) ? refuse(cx) : OK;
}

rc token_identify(struct cx *cx, struct token_cache *c, const char *text, struct token_ask *ask,
                  void *ret_identity)
{
    char prefix[TOKEN_PREFIX_LEN + 1] = "";
    unsigned char digest[DIGEST_LEN];
    bool again = true, let = false;
    rc r = OK;

    memset(ret_identity, 0, c->o.identity_size);
    if (ask)
        ask->state = TOKEN_MALFORMED;
    bool readable = token_read(c->o.kind, text, prefix);
    if (ask)
        memcpy(ask->prefix, prefix, sizeof ask->prefix);
    if (!readable)
        return refuse(cx);
    hmac_key_digest(c->key, text, TOKEN_TEXT_LEN, digest);
    while (again && r == OK) {
        struct entry *e = find(c, digest);
        struct check *k;

        if (e && (fresh(c, e) || (c->o.now_ms() < c->away_until_ms && kept(c, e))))
            return use(cx, c, e, ask, ret_identity);
        LIST_FOREACH(k, &c->checks, link)
        {
            if (memcmp(k->digest, digest, DIGEST_LEN) == 0)
                break;
        }
        again = false;
        r = k ? follow(cx, c, prefix, k, ask, &let, ret_identity, &again)
              : lead(cx, c, prefix, text, digest, ask, let, ret_identity);
    }
    if (r == E_STORE_DOWN && kept(c, find(c, digest))) {
        c->away_until_ms = c->o.now_ms() + AWAY_MS;
        return use(cx, c, find(c, digest), ask, ret_identity);
    }
    return r;
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

void token_cache_doubt(struct token_cache *c, bool changed)
{
    struct entry *e;

    c->forgets++;
    while ((e = TAILQ_FIRST(&c->refused.list)))
        drop(c, e);
    TAILQ_FOREACH(e, &c->good.list, age)
    {
        e->fresh_until_ms = INT64_MIN;
        if (changed)
            e->keep_until_ms = INT64_MIN;
    }
}

struct token_cache *token_cache_new(const struct token_cache_opts *o)
{
    struct token_cache *c = xcalloc(1, sizeof *c);
    unsigned char key[32];

    c->o = *o;
    if (!c->o.kind)
        c->o.kind = &TOKEN_KEY;
    if (!c->o.fresh_ms)
        c->o.fresh_ms = FRESH_MS;
    if (!c->o.now_ms)
        c->o.now_ms = clock_mono_ms;
    random_bytes(key, sizeof key);
    c->key = hmac_key_new(key, sizeof key);
    OPENSSL_cleanse(key, sizeof key);
    TAILQ_INIT(&c->good.list);
    TAILQ_INIT(&c->refused.list);
    c->good.max = o->max ? o->max : GOOD_MAX;
    c->refused.max = REFUSED_MAX;
    c->known = (struct doors){.gate = {.limit = KNOWN_HOLD},
                              .wait_max = o->wait_max ? o->wait_max : KNOWN_WAIT};
    c->unknown = (struct doors){.gate = {.limit = UNKNOWN_HOLD}, .wait_max = UNKNOWN_WAIT};
    return c;
}

struct token_cache *token_cache_free(struct token_cache *c)
{
    if (!c)
        return NULL;
    assert(LIST_EMPTY(&c->checks));
    token_cache_forget(c, NULL);
    hmac_key_free(c->key);
    free(c);
    return NULL;
}

/* limiter.c - buckets by digest; the table's order is the order of use. */
#include "hub/limiter.h"
#include "base/id.h"
#include "base/text.h"
#include "secure/hmac_key.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define CHAINS  4096
#define KEY_LEN 16

TAILQ_HEAD(bucket_list, bucket);
LIST_HEAD(chain, bucket);
struct bucket {
    LIST_ENTRY(bucket) chain;
    TAILQ_ENTRY(bucket) age;
    unsigned char key[KEY_LEN];
    int64_t full_us; /* when it is full again; a token is each_us of it */
};

struct limiter {
    int64_t each_us, room_us; /* room: what may be owed and still leave one token */
    size_t n, max;
    struct hmac_key *secret;
    struct bucket_list list; /* least recently used first */
    struct chain chains[CHAINS];
};

static struct bucket *find(struct limiter *l, const char *who, unsigned char digest[DIGEST_LEN])
{
    struct bucket *k;

    hmac_key_digest(l->secret, who, strlen(who), digest);
    LIST_FOREACH(k, &l->chains[(digest[0] | (size_t)digest[1] << 8) % CHAINS], chain)
    {
        if (memcmp(k->key, digest, KEY_LEN) == 0)
            return k;
    }
    return NULL;
}

static struct bucket *add(struct limiter *l, const unsigned char digest[DIGEST_LEN])
{
    struct bucket *k;

    if (l->n == l->max) {
        k = TAILQ_FIRST(&l->list);
        LIST_REMOVE(k, chain);
        TAILQ_REMOVE(&l->list, k, age);
        l->n--;
    } else {
        k = xmalloc(sizeof *k);
    }
    memcpy(k->key, digest, KEY_LEN);
    k->full_us = 0;
    LIST_INSERT_HEAD(&l->chains[(digest[0] | (size_t)digest[1] << 8) % CHAINS], k, chain);
    TAILQ_INSERT_TAIL(&l->list, k, age);
    l->n++;
    return k;
}

/* Owed more than leaves a token? */
static bool empty(const struct limiter *l, const struct bucket *k, int64_t now_us,
                  int64_t *ret_wait_ms)
{
    int64_t over_us = k ? k->full_us - now_us - l->room_us : 0;

    if (over_us <= 0)
        return false;
    if (ret_wait_ms)
        *ret_wait_ms = (over_us + 999) / 1000;
    return true;
}

bool limiter_take(struct limiter *l, const char *who, int64_t now_ms, int64_t *ret_wait_ms)
{
    unsigned char digest[DIGEST_LEN];
    struct bucket *k = find(l, who, digest);

    if (!k)
        k = add(l, digest);
    TAILQ_REMOVE(&l->list, k, age);
    TAILQ_INSERT_TAIL(&l->list, k, age);
    if (empty(l, k, now_ms * 1000, ret_wait_ms))
        return false;
    k->full_us = MAX(k->full_us, now_ms * 1000) + l->each_us;
    return true;
}

void limiter_give(struct limiter *l, const char *who, int64_t now_ms)
{
    unsigned char digest[DIGEST_LEN];
    struct bucket *k = find(l, who, digest);

    if (k && k->full_us > now_ms * 1000)
        k->full_us -= l->each_us;
}

size_t limiter_count(const struct limiter *l)
{
    return l->n;
}

struct limiter *limiter_new(int64_t burst, int64_t per_s, size_t max)
{
    struct limiter *l = xcalloc(1, sizeof *l);
    unsigned char secret[32];

    l->each_us = MAX(INT64_C(1), 1000000 / per_s);
    l->room_us = l->each_us * (burst - 1);
    l->max = max;
    TAILQ_INIT(&l->list);
    random_bytes(secret, sizeof secret);
    l->secret = hmac_key_new(secret, sizeof secret);
    return l;
}

struct limiter *limiter_free(struct limiter *l)
{
    struct bucket *k;

    while (l && (k = TAILQ_FIRST(&l->list))) {
        TAILQ_REMOVE(&l->list, k, age);
        free(k);
    }
    if (l)
        hmac_key_free(l->secret);
    free(l);
    return NULL;
}

void limiter_source(const char *address, char *out)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    unsigned char raw[16];
    char text[INET6_ADDRSTRLEN];

    if (!strchr(address, ':') || inet_pton(AF_INET6, address, raw) != 1) {
        text_copy(out, LIMITER_SOURCE_MAX, address);
    } else if (memcmp(raw, mapped, sizeof mapped) == 0) {
        snprintf(out, LIMITER_SOURCE_MAX, "%u.%u.%u.%u", raw[12], raw[13], raw[14], raw[15]);
    } else {
        memset(raw + 8, 0, 8);
        snprintf(out, LIMITER_SOURCE_MAX, "%s/64", inet_ntop(AF_INET6, raw, text, sizeof text));
    }
}

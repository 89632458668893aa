/* limiter.h - token buckets: each refusal takes a token; who has none left is told when the next one
 * comes.
 *
 *      burst 20, one a second:   20 refusals at once, then one a second
 *
 * A table of at most `max` buckets (the least recently used goes, and is full when it comes back). A
 * bucket is one moment (when it would be full again: GCRA), so that there is nothing to refill. The
 * names of buckets are kept as a keyed digest: no address and no prefix stays in memory, and nobody can
 * choose names that meet in one place. Of one process: with N hub processes a source may be refused N
 * times as often before it is slowed down. */
#pragma once
#include "base/util.h"

struct limiter;
struct limiter *limiter_new(int64_t burst, int64_t per_s, size_t max);
struct limiter *limiter_free(struct limiter *l);
/* Takes a token of `who`. False when there is none; *ret_wait_ms (may be NULL) is then how long it takes
 * until there is one. */
bool limiter_take(struct limiter *l, const char *who, int64_t now_ms, int64_t *ret_wait_ms);
/* Gives back one that was taken for what turned out well. */
void limiter_give(struct limiter *l, const char *who, int64_t now_ms);
size_t limiter_count(const struct limiter *l);

#define LIMITER_SOURCE_MAX 64
/* The bucket's name of an address: IPv4 as it is (also inside ::ffff:0:0/96), IPv6 by its /64, because
 * one visitor has as many addresses there as it likes. out holds LIMITER_SOURCE_MAX bytes. */
void limiter_source(const char *address, char *out);

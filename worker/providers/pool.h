/* pool.h - the providers of one worker process: loaded, opened, limited, watched.
 *
 *   provider_get ---> struct provider: an integration as it is now, its adapter; held until provider_put
 *   provider_enter -> may one call be made?   paused, disabled -> later
 *                                             concurrency, requests per second: wait a little, or later
 *                                             breaker open -> later
 *   provider_place, _status, _balance, _catalogue: the call; its end is told to the breaker
 *   provider_leave
 *
 *     try(provider_get(cx, pool, id, &p));
 *     try(provider_enter(cx, p, &e));
 *     if (e.later_ms) ... snooze until then: nothing was asked, nothing was used up
 *     r = provider_place(cx, &e, &request, &answer);
 *     provider_leave(&e);
 *
 * An integration is read again after two seconds, so a change by the CLI (pause, credentials, a breaker closed by hand) holds in every
 * process shortly after. Limits are per integration: each process takes its share (settings' worker_processes). */
#pragma once
#include "base/settings.h"
#include "domain/shop/integrations.h"
#include "worker/providers/provider.h"

struct provider_pool;
struct provider_pool *provider_pool_new(struct pg *db, const struct seal_keys *seal,
                                        const struct settings *s);
struct provider_pool *provider_pool_free(struct provider_pool *pool); /* nothing may be held */
/* This process changed an integration: read it again at once. NULL: all. */
void provider_pool_forget(struct provider_pool *pool, const char *integration_id);

struct provider;
/* Errors: NOT_FOUND, CONFIG and CRYPTO (an operator must act: the words say what), the store's. Parks. */
rc provider_get(struct cx *cx, struct provider_pool *pool, const char *integration_id,
                struct provider **ret) MW_PARKS;
void provider_put(struct provider **p); /* for _cleanup_; NULL is fine */
const char *provider_name(const struct provider *p);
const char *provider_currency(const struct provider *p);
/* May a call made at called_ms (wall) be repeated under its reference? Only where duplicates are merged, and only at the account
 * that was called: not at one that was changed since, or shortly before (somebody may have held the older one still). */
bool provider_may_resend(const struct provider *p, int64_t called_ms);
bool provider_uuid_references(const struct provider *p);

struct provider_entry {
    struct provider *provider; /* NULL: left */
    int64_t later_ms;          /* wall: not now, come back then; 0: enter */
    const char *why;           /* static, when later */
    bool shut;                 /* later, because a person wants it so: disabled, paused */
    bool gate, probe, noted;
};
/* OK with ret->later_ms set or not; DEADLINE, CANCELLED. Parks (for a place, at most a few seconds for its turn). */
rc provider_enter(struct cx *cx, struct provider *p, struct provider_entry *ret) MW_PARKS;
void provider_leave(struct provider_entry *e); /* for _cleanup_ too */

/* One call each. Errors are only CANCELLED, and INVALID_FIELD for what cannot be written into a request: whatever happened outside is
 * in the answer. Park. */
rc provider_place(struct cx *cx, struct provider_entry *e, const struct place_request *q,
                  struct answer *ret) MW_PARKS;
rc provider_status(struct cx *cx, struct provider_entry *e, const char *reference,
                   struct answer *ret) MW_PARKS;
rc provider_balance(struct cx *cx, struct provider_entry *e, struct balance_answer *ret) MW_PARKS;
rc provider_catalogue(struct cx *cx, struct provider_entry *e,
                      struct catalogue_answer *ret) MW_PARKS;

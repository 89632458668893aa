/* pool.c - one desk per integration: what outlives a change of its settings (limits, breaker), and the provider now in force.
 *
 *   pool --> desk (id, gate, rate, breaker) --> provider (adapter, counted)
 *                                               `-- replaced when the row changed; old holders keep theirs to the end */
#include "worker/providers/pool.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/text.h"
#include "rt/waitq.h"
#include "secure/digest.h"
#include "worker/providers/adapter.h"
#include "worker/providers/breaker.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ACCOUNT_HELD_MS                                                                            \
    (30 * 60 * 1000) /* the time limit of an order's job: its provider is the one it began with */
#define FRESH_MS         2000
#define TURN_MS          3000  /* the longest wait for a turn inside a job; more is a snooze */
#define PAUSED_AGAIN_MS  15000 /* how soon a paused provider is looked at again */
#define TROUBLE_QUIET_MS 60000 /* one line in the log per reason and this */

struct desk {
    struct desk *next;
    char id[ID_LEN + 1];
    struct provider_pool *pool;
    struct provider *now; /* NULL: never loaded, or it cannot be */
    int64_t loaded_mono_ms;
    bool loading;
    struct waitq loaded;

    struct gate gate;
    int64_t next_turn_mono_us;
    struct breaker breaker;
    enum breaker_state seen; /* in the row, as read or written last */
    int64_t seen_until_ms;
    unsigned
        told; /* counts our own writes to it: a row read meanwhile says nothing about the breaker */
    int64_t trouble_mono_ms[ANSWER_REASONS];
};

struct provider {
    struct desk *desk;
    int holders; /* the desk's own included */
    struct adapter adapter;
    char digest[DIGEST_HEX_LEN + 1]; /* of what the adapter was made of */
    char *name, *currency;
    bool may_resend, enabled;
    int64_t paused_until_ms, account_ms;
    int64_t turn_us; /* between two calls; 0: no limit */
    size_t concurrency;
};

struct provider_pool {
    struct pg *db;
    const struct seal_keys *seal;
    const struct settings *settings;
    struct desk *desks;
};

struct provider_pool *provider_pool_new(struct pg *db, const struct seal_keys *seal,
                                        const struct settings *s)
{
    struct provider_pool *pool = xcalloc(1, sizeof *pool);

    *pool = (struct provider_pool){db, seal, s, NULL};
    return pool;
}

static void provider_free(struct provider *p)
{
    adapter_free(&p->adapter);
    free(p->name);
    free(p->currency);
    free(p);
}

void provider_put(struct provider **p)
{
    struct provider *gone = TAKE_PTR(*p);

    if (gone && --gone->holders == 0)
        provider_free(gone);
}

struct provider_pool *provider_pool_free(struct provider_pool *pool)
{
    while (pool && pool->desks) {
        struct desk *d = pool->desks;
        pool->desks = d->next;
        assert((!d->now || d->now->holders == 1) && d->gate.held == 0);
        provider_put(&d->now);
        free(d);
    }
    free(pool);
    return NULL;
}

void provider_pool_forget(struct provider_pool *pool, const char *integration_id)
{
    for (struct desk *d = pool->desks; d; d = d->next) {
        if (!integration_id || strcmp(d->id, integration_id) == 0)
            d->loaded_mono_ms = 0;
    }
}

/* ---------------------------------------------------------------- loading */

static struct desk *find_desk(struct provider_pool *pool, const char *id)
{
    struct desk *d = pool->desks;

    while (d && strcmp(d->id, id) != 0)
        d = d->next;
    if (d)
        return d;
    d = xcalloc(1, sizeof *d);
    snprintf(d->id, sizeof d->id, "%s", id);
    d->pool = pool;
    breaker_init(&d->breaker, &breaker_defaults);
    d->next = pool->desks;
    pool->desks = d;
    return d;
}

static void digest_of(const struct integration *i, char *out)
{
    _cleanup_(buf_release) struct buf b = BUF(MiB(1));

    buf_printf(&b, "%d\n%s\n%s\n%s", (int)i->kind, i->base_url, i->settings,
               i->credentials ? i->credentials : "");
    sha256_hex(b.p, b.len, out);
    explicit_bzero(b.p, b.len);
}

/* {"breaker": {"ratio": 0.5, "min_calls": 20, "window_ms": …, "open_ms": …}}; false: never opens. */
static rc read_breaker(struct cx *cx, const struct integration *i, struct breaker_opts *ret)
{
    static const char *const names[] = {"ratio",   "min_calls",   "window_ms",
                                        "open_ms", "open_max_ms", NULL};
    cJSON *settings;
    int64_t min_calls = ret->min_calls;

    try(json_parse(cx, i->settings, strlen(i->settings), KiB(64), &settings));
    const cJSON *o = cJSON_GetObjectItemCaseSensitive(settings, "breaker"), *ratio;
    if (!o || cJSON_IsNull(o))
        return OK;
    if (cJSON_IsFalse(o)) {
        ret->min_calls = INT32_MAX;
        return OK;
    }
    if (!cJSON_IsObject(o))
        return fail_at(cx, INVALID_FIELD, "/breaker", "must be an object, or false");
    try(json_only(cx, o, names));
    try(json_int_opt(cx, o, "min_calls", 1, 1000000, &min_calls));
    try(json_int_opt(cx, o, "window_ms", 10, 3600000, &ret->window_ms));
    try(json_int_opt(cx, o, "open_ms", 10, 3600000, &ret->open_ms));
    try(json_int_opt(cx, o, "open_max_ms", 10, 86400000, &ret->open_max_ms));
    ratio = cJSON_GetObjectItemCaseSensitive(o, "ratio");
    if (ratio && !(cJSON_IsNumber(ratio) && ratio->valuedouble > 0 && ratio->valuedouble <= 1))
        return fail_at(cx, INVALID_FIELD, "/breaker/ratio", "must be more than 0 and at most 1");
    if (ratio)
        ret->ratio = ratio->valuedouble;
    ret->min_calls = (int)min_calls;
    ret->open_max_ms = MAX(ret->open_max_ms, ret->open_ms);
    return OK;
}

static rc build(struct cx *cx, struct desk *d, const struct integration *i, const char *digest,
                struct provider **ret)
{
    struct breaker_opts opts = breaker_defaults;
    struct adapter adapter;

    if (read_breaker(cx, i, &opts) != OK)
        return fail(cx, CONFIG, "integration %s: settings %s: %s", i->name, cx->err.pointer,
                    cx->err.text);
    try(adapter_new(cx, i, d->pool->settings, &adapter));
    struct provider *p = xcalloc(1, sizeof *p);
    p->desk = d;
    p->holders = 1;
    p->adapter = adapter;
    memcpy(p->digest, digest, sizeof p->digest);
    p->name = xstrdup(i->name);
    p->currency = xstrdup(i->currency);
    p->may_resend = i->may_resend;
    int64_t processes = d->pool->settings->worker_processes;
    p->turn_us = i->requests_per_s > 0 ? (int64_t)(1e6 * (double)processes / i->requests_per_s) : 0;
    p->concurrency = i->concurrency > 0 ? (size_t)MAX(i->concurrency / processes, 1) : 0;
    d->breaker.opts = opts;
    *ret = p;
    return OK;
}

/* What may change without the adapter being made anew. */
static void adopt(struct desk *d, const struct integration *i, bool breaker)
{
    d->now->enabled = i->enabled;
    d->now->paused_until_ms = i->paused_until_ms;
    d->now->account_ms = i->account_ms;
    d->gate.limit = d->now->concurrency ? d->now->concurrency : SIZE_MAX;
    if (!breaker || (i->breaker == d->seen && i->breaker_until_ms == d->seen_until_ms))
        return;
    d->seen = i->breaker;
    d->seen_until_ms = i->breaker_until_ms;
    breaker_adopt(&d->breaker, (int)i->breaker, i->breaker_until_ms, clock_ms());
}

static rc load(struct cx *cx, struct desk *d)
{
    struct integration i;
    char digest[DIGEST_HEX_LEN + 1];
    struct provider *made = NULL;
    unsigned told = d->told;

    try(integration_get(cx, d->pool->db, d->pool->seal, NULL, d->id, &i));
    digest_of(&i, digest);
    if (!d->now || strcmp(d->now->digest, digest) != 0) {
        try(build(cx, d, &i, digest, &made));
        provider_put(&d->now);
        d->now = made;
    }
    adopt(d, &i, told == d->told);
    d->loaded_mono_ms = clock_mono_ms();
    return OK;
}

rc provider_get(struct cx *cx, struct provider_pool *pool, const char *integration_id,
                struct provider **ret)
{
    struct desk *d = find_desk(pool, integration_id);
    rc r = OK;

    while (d->loading) /* one reads the row, the others wait for it */
        try(waitq_wait(cx, &d->loaded));
    if (!d->now || !d->loaded_mono_ms || clock_mono_ms() - d->loaded_mono_ms > FRESH_MS) {
        d->loading = true;
        r = load(cx, d);
        d->loading = false;
        waitq_wake_all(&d->loaded);
    }
    if (r != OK)
        return r;
    d->now->holders++;
    *ret = d->now;
    return OK;
}

const char *provider_name(const struct provider *p)
{
    return p->name;
}

const char *provider_currency(const struct provider *p)
{
    return p->currency;
}

bool provider_may_resend(const struct provider *p, int64_t called_ms)
{
    return p->may_resend && (!p->account_ms || called_ms >= p->account_ms + ACCOUNT_HELD_MS);
}

bool provider_uuid_references(const struct provider *p)
{
    return p->adapter.uuid_references;
}

/* ---------------------------------------------------------------- may a call be made? */

static void later(struct provider_entry *e, int64_t at_ms, const char *why)
{
    provider_leave(e);
    e->later_ms = MAX(at_ms, clock_ms() + 1);
    e->why = why;
}

/* A place in the row of turns; false when it is too far away to wait for. */
static bool take_turn(const struct provider *p, int64_t *ret_wait_ms)
{
    struct desk *d = p->desk;
    int64_t now = clock_mono_us(), at = MAX(d->next_turn_mono_us, now);

    *ret_wait_ms = (at - now) / 1000;
    if (*ret_wait_ms > TURN_MS)
        return false;
    d->next_turn_mono_us = at + p->turn_us;
    return true;
}

/* Those sent away come back spread out, not all at once. */
static int64_t spread(int64_t ms)
{
    return ms + (int64_t)random_below((uint64_t)ms / 2 + 1);
}

static rc wait_turn(struct cx *cx, struct provider_entry *e)
{
    const struct provider *p = e->provider;
    int64_t wait_ms = 0;

    if (!p->turn_us)
        return OK;
    if (!take_turn(p, &wait_ms)) {
        later(e, clock_ms() + spread(wait_ms), "the provider's requests per second are used up");
        return OK;
    }
    return wait_ms > 0 ? fiber_sleep(cx, wait_ms) : OK;
}

rc provider_enter(struct cx *cx, struct provider *p, struct provider_entry *ret)
{
    struct desk *d = p->desk;
    int64_t now = clock_ms(), until = 0;

    *ret = (struct provider_entry){.provider = p};
    if (!p->enabled || p->paused_until_ms > now) {
        until = now + spread(PAUSED_AGAIN_MS);
        later(ret, p->enabled ? MIN(p->paused_until_ms, until) : until,
              p->enabled ? "the provider is paused" : "the provider is disabled");
        ret->shut = true;
        return OK;
    }
    if (d->breaker.state == BREAKER_OPEN &&
        now < d->breaker.until_ms) { /* no need to wait for a turn */
        later(ret, d->breaker.until_ms + (int64_t)random_below(1000),
              "the provider's breaker is open");
        return OK;
    }
    rc r = gate_enter(cx, &d->gate);
    if (r == OK) {
        ret->gate = true;
        r = wait_turn(cx, ret);
    }
    if (r != OK) {
        provider_leave(ret);
        return r;
    }
    if (ret->later_ms)
        return OK;
    if (!breaker_admits(&d->breaker, clock_ms(), &until))
        later(ret, until + (int64_t)random_below(1000), "the provider's breaker is open");
    else
        ret->probe = d->breaker.state == BREAKER_HALF_OPEN;
    return OK;
}

void provider_leave(struct provider_entry *e)
{
    struct provider *p = TAKE_PTR(e->provider);

    if (!p)
        return;
    if (e->gate)
        gate_leave(&p->desk->gate);
    if (e->probe && !e->noted)
        breaker_forget(&p->desk->breaker);
}

/* ---------------------------------------------------------------- calls */

static void tell_state(struct cx *cx, const struct provider *p)
{
    struct desk *d = p->desk;
    enum breaker_state state = (enum breaker_state)d->breaker.state;
    int64_t until = state == BREAKER_OPEN ? d->breaker.until_ms : 0;
    int calls, failures;

    breaker_counts(&d->breaker, clock_ms(), &calls, &failures);
    log_ev(state == BREAKER_OPEN ? LOG_ERROR : LOG_INFO, "provider.breaker",
           kv_str("provider", p->name), kv_str("state", breaker_word(state)),
           kv_int("calls", calls), kv_int("failures", failures),
           kv_int("open_ms", state == BREAKER_OPEN ? d->breaker.open_for_ms : 0));
    d->told++;
    rc r = integration_breaker(cx, d->pool->db, d->id, state, failures, until);
    d->told++;
    if (r == OK) {
        d->seen = state;
        d->seen_until_ms = until;
    } else { /* this process acts on it all the same; the others find out by themselves */
        log_fail(LOG_WARN, "provider.breaker_not_stored", cx, r, kv_str("provider", p->name));
    }
}

static void note(struct cx *cx, struct provider_entry *e, const struct answer *a)
{
    struct desk *d = e->provider->desk;
    int64_t *told = &d->trouble_mono_ms[a->reason], now = clock_mono_ms();

    e->noted = true;
    if (a->kind == ANSWER_TROUBLE && (!*told || now - *told >= TROUBLE_QUIET_MS)) {
        *told = now;
        log_ev(LOG_ERROR, "provider.trouble", kv_str("provider", e->provider->name),
               kv_str("reason", answer_reason_name(a->reason)), kv_str("code", a->code),
               kv_str("words", a->note));
    }
    if (breaker_note(&d->breaker, a->healthy, clock_ms()))
        tell_state(cx, e->provider);
}

rc provider_place(struct cx *cx, struct provider_entry *e, const struct place_request *q,
                  struct answer *ret)
{
    assert(e->provider && !e->later_ms);
    try(e->provider->adapter.ops->place(cx, e->provider->adapter.self, q, ret));
    note(cx, e, ret);
    return OK;
}

rc provider_status(struct cx *cx, struct provider_entry *e, const char *reference,
                   struct answer *ret)
{
    assert(e->provider && !e->later_ms);
    try(e->provider->adapter.ops->status(cx, e->provider->adapter.self, reference, ret));
    note(cx, e, ret);
    return OK;
}

rc provider_balance(struct cx *cx, struct provider_entry *e, struct balance_answer *ret)
{
    assert(e->provider && !e->later_ms);
    try(e->provider->adapter.ops->balance(cx, e->provider->adapter.self, ret));
    note(cx, e, &ret->answer);
    return OK;
}

rc provider_catalogue(struct cx *cx, struct provider_entry *e, struct catalogue_answer *ret)
{
    assert(e->provider && !e->later_ms);
    try(e->provider->adapter.ops->catalogue(cx, e->provider->adapter.self, ret));
    note(cx, e, &ret->answer);
    return OK;
}

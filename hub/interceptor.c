/* interceptor.c - identity first, then permission; deny by default. */
#include "hub/interceptor.h"
#include "base/clock.h"
#include "base/text.h"
#include "hub/credentials.h"
#include "hub/hub.h"
#include "hub/key_usage.h"
#include "hub/limiter.h"
#include "hub/refusals.h"
#include "hub/router.h"
#include <stdio.h>
#include <string.h>

#define CLAIMED_MAX 600

/* ------------------------------------------------------------------ refusing */

/* Why somebody is refused. words: what the caller hears; detail: what the record says besides. */
struct why {
    rc code;
    const char *kind, *detail, *words;
    const char *identity, *tenant_id;
    bool known;         /* identity is proven, or a row here */
    const char *bucket; /* of its own besides the address's; NULL */
    bool proven;        /* who it is is certain: the address's bucket does not count against it */
    bool slowed;        /* what it is refused for is that there were too many */
    bool paid;          /* its tokens were taken before the check */
};

static rc too_many(struct cx *cx, struct request *q, int64_t wait_ms)
{
    q->retry_after_s = (wait_ms + 999) / 1000;
    if (q->retry_after_s < 1)
        q->retry_after_s = 1;
    metric_add(q->hub->metrics, METRIC_REFUSED_RATE, 1);
    return fail(cx, RATE_LIMITED, "too many were refused here; try again in %lld s",
                (long long)q->retry_after_s);
}

static void on_record(struct cx *cx, struct request *q, const struct why *w)
{
    q->refused = true;
    const char *route =
        q->route ? arena_printf(&cx->arena, "%s %s", method_name(q->route->method), q->route->path)
                 : NULL;

    refusal_note(q->hub->refusals, &(struct refusal){.kind = w->kind,
                                                     .door = q->door,
                                                     .source = q->peer,
                                                     .route = route,
                                                     .identity = w->identity,
                                                     .tenant_id = w->tenant_id,
                                                     .detail = w->detail,
                                                     .known = w->known,
                                                     .slowed = w->slowed});
}

static rc refuse(struct cx *cx, struct request *q, const struct why *w)
{
    char source[LIMITER_SOURCE_MAX];
    int64_t now = clock_mono_ms(), wait_ms = 0, own_ms = 0;
    bool may = true;

    limiter_source(q->peer, source);
    if (!w->paid) {
        bool here = limiter_take(q->hub->sources, source, now, &wait_ms);
        bool own = !w->bucket || limiter_take(q->hub->callers, w->bucket, now, &own_ms);
        may = own && (here || w->proven);
        wait_ms = w->proven ? own_ms : MAX(wait_ms, own_ms);
    }
    if (may) {
        on_record(cx, q, w);
        return fail_rc(cx, w->code, "%s", w->words);
    }
    struct why slowed = *w;
    slowed.detail = arena_printf(&cx->arena, "%s%s%s", w->kind, w->detail ? ": " : "",
                                 w->detail ? w->detail : "");
    slowed.kind = "rate_limited";
    slowed.slowed = true;
    on_record(cx, q, &slowed);
    return too_many(cx, q, wait_ms);
}

/* ------------------------------------------------------------------ tokens */

struct check {
    struct request *q;
    const char *kind; /* "key", "agent": part of the bucket's name */
    char source[LIMITER_SOURCE_MAX], bucket[LIMITER_SOURCE_MAX];
    bool took_source, took_bucket;
    int64_t wait_ms;
};

static void name_bucket(struct check *k, const char *prefix)
{
    snprintf(k->bucket, sizeof k->bucket, "%s:%s", k->kind, prefix);
}

/* Before Argon2. Tokens are taken now and given back when all is well, so that many guesses at once
 * cannot all pass. Where the prefix exists one bucket is enough, its own or the address's: who knows a
 * prefix cannot shut its owner out from elsewhere, and who shares an address with a guesser goes on. */
static bool may_spend(void *arg, const char *prefix, bool known)
{
    struct check *k = arg;
    struct hub *hub = k->q->hub;
    int64_t now = clock_mono_ms(), own_ms = 0;

    k->took_source = limiter_take(hub->sources, k->source, now, &k->wait_ms);
    if (known) {
        name_bucket(k, prefix);
        k->took_bucket = limiter_take(hub->callers, k->bucket, now, &own_ms);
        k->wait_ms = MIN(k->wait_ms, own_ms);
    }
    return k->took_source || k->took_bucket;
}

static void give_back(const struct check *k)
{
    int64_t now = clock_mono_ms();

    if (k->took_source)
        limiter_give(k->q->hub->sources, k->source, now);
    if (k->took_bucket)
        limiter_give(k->q->hub->callers, k->bucket, now);
}

static const char *kind_of(enum token_state s)
{
    switch (s) {
    case TOKEN_EXPIRED:
        return "expired";
    case TOKEN_REVOKED:
        return "revoked";
    case TOKEN_DISABLED:
        return "disabled";
    default:
        return "bad_credentials";
    }
}

static const char *detail_of(enum token_state s)
{
    switch (s) {
    case TOKEN_MALFORMED:
        return "not in the form of a token";
    case TOKEN_UNKNOWN:
        return "nobody has this prefix";
    case TOKEN_WRONG:
        return "known prefix, wrong secret";
    case TOKEN_EXPIRED:
        return "its time is over";
    case TOKEN_REVOKED:
        return "it was revoked";
    default:
        return "whose it is is disabled";
    }
}

/* "Bearer …" -> what comes after it; NULL: none was sent, or of another scheme, or two: a proxy in front
 * may have looked at the other one. */
static const char *bearer(const struct request *q)
{
    const char *auth = request_header(q, "Authorization");

    if (!auth || request_header_again(q, "Authorization") || strncasecmp(auth, "Bearer ", 7) != 0)
        return NULL;
    auth += 7;
    return auth + strspn(auth, " ");
}

/* The end of a check that did not go well: r as it is unless it is about who asks. */
static rc token_refused(struct cx *cx, struct request *q, struct check *k,
                        const struct token_ask *ask, const char *identity, const char *tenant_id,
                        rc r)
{
    bool known = ask->state > TOKEN_UNKNOWN && identity[0];
    struct why w = {
        .code = E_UNAUTHENTICATED,
        .kind = kind_of(ask->state),
        .detail = detail_of(ask->state),
        .words = "the token is not known here",
        .identity = identity,
        .tenant_id = tenant_id,
        .known = known,
        .paid = k->took_source || k->took_bucket,
    };

    if (known) { /* also where its refusal was remembered: nothing was asked, and nothing taken */
        name_bucket(k, ask->prefix);
        w.bucket = k->bucket;
    }

    if (r == E_RATE_LIMITED) {
        w.kind = "rate_limited";
        w.detail = "before its secret was looked at";
        w.known = false;
        on_record(cx, q, &w);
        return too_many(cx, q, k->wait_ms);
    }
    if (r == E_UNAUTHENTICATED)
        return refuse(cx, q, &w);
    give_back(k);
    return r;
}

/* ------------------------------------------------------------------ who asks */

static const char *who_is(struct cx *cx, const struct request *q)
{
    if (!q->who.id[0])
        return arena_printf(&cx->arena, "agent:%s", q->agent.agent_id);
    return arena_printf(&cx->arena, "%s:%s", q->who.kind == IDENTITY_CERT ? "cert" : "key",
                        q->who.name);
}

static rc no_credentials(struct cx *cx, struct request *q, const char *words)
{
    return refuse(cx, q,
                  &(struct why){.code = E_UNAUTHENTICATED,
                                .kind = "no_credentials",
                                .words = words,
                                .identity = q->who.id[0] ? who_is(cx, q) : NULL,
                                .tenant_id = q->who.tenant_id,
                                .known = q->who.id[0]});
}

static rc key_expired(struct cx *cx, struct request *q, const char *identity)
{
    return refuse(cx, q,
                  &(struct why){.code = E_UNAUTHENTICATED,
                                .kind = kind_of(TOKEN_EXPIRED),
                                .detail = detail_of(TOKEN_EXPIRED),
                                .words = "the token is not known here",
                                .identity = identity,
                                .tenant_id = q->who.tenant_id,
                                .known = true});
}

static const char *claimed_key(struct cx *cx, const struct request *q, const struct token_ask *ask)
{
    if (q->who.id[0])
        return arena_printf(&cx->arena, "key:%s:%s", ask->prefix, q->who.name);
    return ask->prefix[0] ? arena_printf(&cx->arena, "key:%s", ask->prefix) : "";
}

static rc ask_key(struct cx *cx, struct request *q)
{
    const char *text = bearer(q);
    struct check k = {.q = q, .kind = "key"};
    struct token_ask ask = {.may_spend = may_spend, .arg = &k};

    if (!text)
        return no_credentials(cx, q, "send 'Authorization: Bearer mwk_…' with an API key");
    limiter_source(q->peer, k.source);
    rc r = credentials_key(cx, q->hub->credentials, text, &ask, &q->who); /* parks */
    if (r != OK)
        return token_refused(cx, q, &k, &ask, claimed_key(cx, q, &ask), q->who.tenant_id, r);
    give_back(&k);
    if (q->who.expires_ms && q->who.expires_ms <= clock_ms())
        return key_expired(cx, q, claimed_key(cx, q, &ask));
    key_used(q->hub->usage, q->who.key_id);
    return OK;
}

static rc ask_certificate(struct cx *cx, struct request *q)
{
    enum name_state state;

    try(credentials_name(cx, q->hub->credentials, q->cert_name, &q->who, &state)); /* parks */
    if (state == NAME_GOOD) {
        identity_used(q->hub->usage, q->who.id);
        return OK;
    }
    return refuse(cx, q,
                  &(struct why){.code = E_FORBIDDEN,
                                .kind = state == NAME_DISABLED ? "disabled" : "unknown_identity",
                                .detail = state == NAME_DISABLED
                                              ? "the identity or its tenant is disabled"
                                              : "no identity has this name",
                                .words = "this certificate may do nothing here",
                                .identity = arena_printf(&cx->arena, "cert:%s", q->cert_name),
                                .tenant_id = q->who.tenant_id,
                                .known = true});
}

/* ------------------------------------------------------------------ may they */

static rc forbid(struct cx *cx, struct request *q, const char *detail, const char *words)
{
    return refuse(
        cx, q,
        &(struct why){.code = E_FORBIDDEN,
                      .kind = "forbidden",
                      .detail = detail,
                      .words = words,
                      .identity = who_is(cx, q),
                      .tenant_id = q->who.id[0] ? q->who.tenant_id : q->agent.tenant_id,
                      .known = true,
                      .bucket = arena_printf(&cx->arena, "id:%s",
                                             q->who.id[0] ? q->who.id : q->agent.agent_id),
                      .proven = true});
}

static rc need(struct cx *cx, struct request *q, enum permission wanted)
{
    const char *word = permission_word(wanted);

    if (identity_may(&q->who, wanted))
        return OK;
    return forbid(cx, q, arena_printf(&cx->arena, "lacks %s", word),
                  arena_printf(&cx->arena, "this %s lacks the permission '%s'",
                               q->who.kind == IDENTITY_CERT ? "certificate" : "API key", word));
}

static rc intercept_agent(struct cx *cx, struct request *q)
{
    const char *text = bearer(q);
    struct check k = {.q = q, .kind = "agent"};
    struct token_ask ask = {.may_spend = may_spend, .arg = &k};
    char claimed[CLAIMED_MAX];

    if (q->door == DOOR_MTLS) {
        try(ask_certificate(cx, q));
        try(need(cx, q, PERM_AGENTS_CONNECT));
    }
    if (!text)
        return no_credentials(cx, q, "send 'Authorization: Bearer mwa_…' with an agent's token");
    limiter_source(q->peer, k.source);
    rc r = credentials_agent(cx, q->hub->credentials, text, &ask, &q->agent); /* parks */
    snprintf(claimed, sizeof claimed, "%s%s%s%s%s%s", ask.prefix[0] ? "agent:" : "", ask.prefix,
             q->agent.agent_id[0] ? ":" : "", q->agent.agent_id,
             q->door == DOOR_MTLS ? " by cert:" : "", q->cert_name);
    if (r != OK)
        return token_refused(cx, q, &k, &ask, claimed, q->agent.tenant_id, r);
    give_back(&k);
    if (q->agent.expires_ms && q->agent.expires_ms <= clock_ms()) {
        memcpy(q->who.tenant_id, q->agent.tenant_id, sizeof q->who.tenant_id);
        return key_expired(cx, q, claimed);
    }
    if (q->door != DOOR_MTLS)
        return OK;
    if (strcmp(q->who.tenant_id, q->agent.tenant_id) != 0)
        return forbid(cx, q, "the token is of another tenant's agent",
                      "this certificate may not speak for this agent");
    if (q->who.agent_id[0] && strcmp(q->who.agent_id, q->agent.agent_id) != 0)
        return forbid(cx, q,
                      arena_printf(&cx->arena, "bound to agent '%s', token of '%s'",
                                   q->who.agent_id, q->agent.agent_id),
                      "this certificate may not speak for this agent");
    return OK;
}

rc intercept_after(struct cx *cx, struct request *q, rc r)
{
    if (r != E_FORBIDDEN || q->refused)
        return r;
    struct err said = cx->err; /* the handler's words, and the field */
    const char *words = arena_strdup(&cx->arena, cx_words(cx, r));
    r = forbid(cx, q, words, words);
    if (r == E_FORBIDDEN)
        cx->err = said;
    return r;
}

rc intercept(struct cx *cx, struct request *q)
{
    int permission = q->route->permission;

    if (permission == PUBLIC)
        return OK;
    if (permission == PERM_AGENTS_CONNECT)
        return intercept_agent(cx, q);
    try(q->door == DOOR_MTLS ? ask_certificate(cx, q) : ask_key(cx, q));
    return need(cx, q, (enum permission)permission);
}

void intercept_handshake(struct hub *hub, const char *ip, const char *name, const char *why)
{
    char source[LIMITER_SOURCE_MAX], claimed[CLAIMED_MAX];

    limiter_source(ip, source);
    limiter_take(hub->sources, source, clock_mono_ms(), NULL);
    snprintf(claimed, sizeof claimed, "cert:%s", name);
    refusal_note(hub->refusals, &(struct refusal){.kind = "handshake",
                                                  .door = DOOR_MTLS,
                                                  .source = ip,
                                                  .identity = name[0] ? claimed : NULL,
                                                  .detail = why});
}

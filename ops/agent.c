/* agent.c - the devices that carry commands out: provisioned, let in, sent away.
 *
 * What ends a session ends it in PostgreSQL; the hub that holds the connection is told when Redis
 * answers, and finds out at its next round of heartbeats otherwise. */
#include "base/clock.h"
#include "base/log.h"
#include "domain/agents/agent_tokens.h"
#include "domain/agents/agents.h"
#include "domain/agents/inbox.h"
#include "ops/table.h"
#include "ops/tenant.h"
#include "ops/verbs.h"
#include <openssl/crypto.h>
#include <stdio.h>

static struct table *agent_table(struct cx *cx, const struct agent *a, size_t n)
{
    struct table *t = table_new("agent_id", "status", "type", "version", "ip", "load#", "failures#",
                                "last_seen_at", "enabled?", "registered_at+", "first_seen_at+",
                                "cooldown_until+", "hub+", "session+", "metadata{}+",
                                "provisioned{}+", "created_at+", "tenant_id+", NULL);

    for (size_t i = 0; i < n; i++)
        table_row(t, a[i].agent_id, agent_status_word(a[i].status), a[i].agent_type,
                  a[i].agent_version, a[i].last_ip, number(cx, a[i].load),
                  number(cx, a[i].failures), when(cx, a[i].last_seen_ms),
                  a[i].enabled ? "yes" : "no", when(cx, a[i].registered_ms),
                  when(cx, a[i].first_seen_ms), when(cx, a[i].cooldown_until_ms), a[i].hub_id,
                  a[i].session_id, a[i].metadata, a[i].provisioned, when(cx, a[i].created_ms),
                  a[i].tenant_id);
    return t;
}

rc verb_agent_ls(struct cx *cx, struct ops *o)
{
    struct agent_filter f = {.status = opt(o, "status"),
                             .agent_type = opt(o, "type"),
                             .match = opt(o, "match"),
                             .after = opt(o, "after")};
    char next[AGENT_ID_MAX + 1];
    struct agent *a;
    int64_t limit;
    size_t n;

    try(opt_int(cx, o, "limit", 1, 500, 50, &limit));
    f.limit = (int)limit;
    try(tenant_if_named(cx, o, &f.tenant_id));
    try(agent_list(cx, o->db, &f, &a, &n, next));
    table_print(agent_table(cx, a, n), o->json);
    if (*next)
        hint("more: --after %s", next);
    return OK;
}

rc verb_agent_add(struct cx *cx, struct ops *o)
{
    const char *type, *metadata;
    struct tenant t;
    struct agent a;

    try(opt_needed(cx, o, "type", &type));
    try(opt_text(cx, o, "metadata", &metadata));
    try(tenant_named(cx, o, &t));
    try(agent_add(cx, o->db, o->actor, t.id, o->argv[0], type, metadata, &a));
    table_print_one(agent_table(cx, &a, 1), o->json);
    if (!o->json)
        hint("It is let in with a token: 'mihwar agent token add %s'", a.agent_id);
    return OK;
}

rc verb_agent_show(struct cx *cx, struct ops *o)
{
    struct agent a;

    try(agent_get(cx, o->db, /* tenant_id= */ NULL, o->argv[0], &a));
    table_print_one(agent_table(cx, &a, 1), o->json);
    return OK;
}

/* token_id "": whatever token the session began with. */
static void tell_hub(struct cx *cx, struct ops *o, const char *token_id,
                     const struct agent_session *ended)
{
    struct inbox_note note = {.kind = INBOX_REVOKED};
    rc r;

    if (!ended->hub_id[0] || !o->engine)
        return;
    snprintf(note.agent_id, sizeof note.agent_id, "%s", o->argv[0]);
    snprintf(note.token_id, sizeof note.token_id, "%s", token_id);
    r = inbox_push(cx, o->redis, ended->hub_id, &note, 1);
    if (r != OK)
        hint("its hub could not be told (%s) and ends the session at its next heartbeats",
             cx_words(cx, r));
}

static rc change(struct cx *cx, struct ops *o, const struct agent_change *c)
{
    struct agent_session ended = {0};
    struct agent a;

    try(agent_change(cx, o->db, o->actor, /* tenant_id= */ NULL, o->argv[0], c, &a, &ended));
    tell_hub(cx, o, "", &ended);
    table_print_one(agent_table(cx, &a, 1), o->json);
    return OK;
}

rc verb_agent_set(struct cx *cx, struct ops *o)
{
    struct agent_change c = {.agent_type = opt(o, "type")};

    try(opt_text(cx, o, "metadata", &c.metadata));
    if (!c.agent_type && !c.metadata)
        return fail(cx, USAGE, "say what to change: --type or --metadata");
    return change(cx, o, &c);
}

rc verb_agent_enable(struct cx *cx, struct ops *o)
{
    return change(cx, o, &(struct agent_change){.set_enabled = true, .enabled = true});
}

rc verb_agent_disable(struct cx *cx, struct ops *o)
{
    return change(cx, o, &(struct agent_change){.set_enabled = true, .enabled = false});
}

rc verb_agent_token_add(struct cx *cx, struct ops *o)
{
    char text[TOKEN_TEXT_LEN + 1];
    int64_t in_ms, grace_ms;
    struct agent_token k;
    struct table *t;

    try(opt_duration(cx, o, "expires", 0, &in_ms));
    try(opt_duration(cx, o, "grace", 0, &grace_ms));
    try(agent_token_add(cx, o->db, o->actor, /* tenant_id= */ NULL, o->argv[0],
                        in_ms ? clock_ms() + in_ms : 0, grace_ms, text, &k));
    t = table_new("token_id", "agent_id", "expires_at", "token", NULL);
    table_row(t, k.token_id, k.agent_id, when(cx, k.expires_ms), text);
    table_print_one(t, o->json);
    OPENSSL_cleanse(text, sizeof text);
    if (!o->json)
        hint("Keep the token: it is not shown again.");
    return OK;
}

rc verb_agent_token_ls(struct cx *cx, struct ops *o)
{
    struct agent_token *k;
    struct table *t;
    size_t n;

    try(agent_token_list(cx, o->db, /* tenant_id= */ NULL, o->argv[0], &k, &n));
    t = table_new("token_id", "prefix", "status", "created_at", "last_used_at", "expires_at",
                  "revoked_at", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(t, k[i].token_id, k[i].prefix, k[i].revoked ? "revoked" : "active",
                  when(cx, k[i].created_ms), when(cx, k[i].last_used_ms), when(cx, k[i].expires_ms),
                  when(cx, k[i].revoked_ms));
    table_print(t, o->json);
    return OK;
}

rc verb_agent_token_revoke(struct cx *cx, struct ops *o)
{
    const char *token = o->argc > 1 ? o->argv[1] : NULL;
    struct agent_session ended = {0};

    if (!token && !opt(o, "all"))
        return fail(cx, USAGE, "say which: a token's id, or --all");
    if (token && opt(o, "all"))
        return fail(cx, USAGE, "say one: a token's id, or --all");
    try(agent_token_revoke(cx, o->db, o->actor, /* tenant_id= */ NULL, o->argv[0], token, &ended));
    tell_hub(cx, o, token ? token : "", &ended);
    if (o->json)
        printf("{\"revoked\":true,\"session_ended\":%s}\n", ended.hub_id[0] ? "true" : "false");
    else
        printf("revoked%s\n", ended.hub_id[0] ? "; its session ends" : "");
    return OK;
}

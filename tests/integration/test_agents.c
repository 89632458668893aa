/* test_agents.c - agents from nothing: provisioned, their tokens, their sessions and who fences whom, hubs that die, notes to a hub. */
#include "agents_world.h"
#include "base/clock.h"

static const char *last_deed(void)
{
    return SIDE("SELECT actor || ' ' || action || ' ' || object_id FROM audit_log ORDER BY id DESC "
                "LIMIT 1");
}

/* ---------------------------------------------------------------- by hand */

WORLD_TEST(an_agent_is_provisioned)
{
    struct agent a, b;
    struct agent_session ended;

    ck_ok(agent_add(cx, db, NINA, TENANT, "SN-1", "CPE", "{\"site\":\"aleppo\"}", &a));
    ck_assert_str_eq(last_deed(), NINA " agent.add SN-1");
    ck_assert_int_eq(a.status, AGENT_INACTIVE);
    ck_assert_str_eq(a.metadata, "{\"site\": \"aleppo\"}");
    ck_assert(a.enabled && !a.session_id && a.load == 0);

    ck_rc(agent_add(cx, db, NINA, TENANT, "SN-1", "CPE", NULL, &b), E_ALREADY_EXISTS);
    ck_at(cx, "/agent_id");
    ck_rc(agent_add(cx, db, NINA, TENANT2, "SN-1", "CPE", NULL, &b), E_ALREADY_EXISTS);
    ck_rc(agent_add(cx, db, NINA, NOBODY, "SN-2", "CPE", NULL, &b), E_NOT_FOUND);

    ck_ok(agent_get(cx, db, TENANT, "SN-1", &b));
    ck_ok(agent_get(cx, db, NULL, "SN-1", &b));
    ck_rc(agent_get(cx, db, TENANT2, "SN-1", &b), E_NOT_FOUND);
    ck_rc(agent_get(cx, db, TENANT, "no spaces", &b), E_NOT_FOUND);

    const struct agent_change c = {.agent_type = "Core-Switch", .metadata = "{\"rack\":4}"};
    ck_rc(agent_change(cx, db, NINA, TENANT2, "SN-1", &c, &b, &ended), E_NOT_FOUND);
    ck_ok(agent_change(cx, db, NINA, TENANT, "SN-1", &c, &b, &ended));
    ck_assert_str_eq(last_deed(), NINA " agent.change SN-1");
    ck_assert_str_eq(b.agent_type, "Core-Switch");
    ck_assert_str_eq(b.metadata, "{\"rack\": 4}");
    ck_assert_str_eq(ended.hub_id, "");
    return OK;
}

static const struct {
    const char *title, *agent_id, *type, *metadata, *pointer;
} bad[] = {
    {"no id", "", "CPE", NULL, "/agent_id"},
    {"a blank", "a b", "CPE", NULL, "/agent_id"},
    {"a dash first", "-a", "CPE", NULL, "/agent_id"},
    {"a slash", "a/b", "CPE", NULL, "/agent_id"},
    {"no type", "a", "", NULL, "/agent_type"},
    {"a colon in the type", "a", "a:b", NULL, "/agent_type"},
    {"metadata is a list", "a", "CPE", "[]", "/metadata"},
    {"metadata is no JSON", "a", "CPE", "{", "/metadata"},
};

WORLD_LOOP_TEST(what_is_refused)
{
    struct agent a;
    int i = world_row;

    ck_assert_msg(agent_add(cx, db, NINA, TENANT, bad[i].agent_id, bad[i].type, bad[i].metadata,
                            &a) == E_INVALID_FIELD,
                  "case: %s", bad[i].title);
    ck_at(cx, bad[i].pointer);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM agents"), 0);
    return OK;
}

WORLD_TEST(ids_of_255_characters)
{
    char id[AGENT_ID_MAX + 2];
    struct agent a;

    memset(id, 'a', sizeof(id));
    id[AGENT_ID_MAX + 1] = '\0';
    ck_rc(agent_add(cx, db, NINA, TENANT, id, "CPE", NULL, &a), E_INVALID_FIELD);
    id[AGENT_ID_MAX] = '\0';
    ck_ok(agent_add(cx, db, NINA, TENANT, id, "CPE", NULL, &a));
    ck_ok(agent_get(cx, db, TENANT, id, &a));
    ck_assert_str_eq(a.agent_id, id);
    return OK;
}

WORLD_TEST(lists_are_paged_and_filtered)
{
    struct agent_filter f = {.tenant_id = TENANT, .limit = 2};
    char next[AGENT_ID_MAX + 1];
    struct agent *list;
    size_t n;

    agent_put("a1", "CPE", "{\"site\":\"x\",\"n\":1}");
    agent_put("a2", "Switch", "{\"site\":\"x\"}");
    agent_put("a3", "CPE", "{\"site\":\"y\"}");
    agent_leaves("a3");
    SIDE("INSERT INTO agents (agent_id, tenant_id, agent_type) VALUES ('b1', '" TENANT2
         "', 'CPE')");

    ck_ok(agent_list(cx, db, &f, &list, &n, next));
    ck_assert(n == 2 && str_eq(list[0].agent_id, "a1") && str_eq(next, "a2"));
    f.after = arena_strdup(&cx->arena, next);
    ck_ok(agent_list(cx, db, &f, &list, &n, next));
    ck_assert(n == 1 && str_eq(list[0].agent_id, "a3") && str_eq(next, ""));

    static const struct {
        struct agent_filter f;
        const char *want;
    } cases[] = {
        {{.tenant_id = TENANT2}, "b1 "},
        {{.tenant_id = TENANT, .status = "inactive"}, "a3 "},
        {{.tenant_id = TENANT, .agent_type = "CPE"}, "a1 a3 "},
        {{.tenant_id = TENANT, .match = "{\"site\":\"x\"}"}, "a1 a2 "},
        {{.match = "{\"site\":\"x\",\"n\":1}"}, "a1 "},
        {{.limit = 500}, "a1 a2 a3 b1 "},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        _cleanup_(buf_release) struct buf b = BUF(KiB(1));
        ck_ok(agent_list(cx, db, &cases[i].f, &list, &n, next));
        for (size_t k = 0; k < n; k++)
            buf_printf(&b, "%s ", list[k].agent_id);
        ck_assert_str_eq(buf_str(&b), cases[i].want);
    }
    f = (struct agent_filter){.status = "asleep"};
    ck_rc(agent_list(cx, db, &f, &list, &n, next), E_INVALID_FIELD);
    f = (struct agent_filter){.match = "[1]"};
    ck_rc(agent_list(cx, db, &f, &list, &n, next), E_INVALID_FIELD);
    f = (struct agent_filter){.limit = 501};
    ck_rc(agent_list(cx, db, &f, &list, &n, next), E_INVALID_FIELD);
    return OK;
}

WORLD_TEST(it_reads_as_json)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(8));
    struct agent a;
    cJSON *v;

    agent_put("a1", "CPE", "{\"site\":\"x\"}");
    ck_ok(agent_get(cx, db, NULL, "a1", &a));
    ck_ok(agent_json(cx, &a, &b));
    ck_ok(json_parse(cx, buf_str(&b), b.len, KiB(8), &v));
    ck_assert_str_eq(json_text(cx, json_path(v, "status")), "active");
    ck_assert_str_eq(json_text(cx, json_path(v, "metadata.site")), "x");
    ck_assert_str_eq(json_text(cx, json_path(v, "hub_instance_id")), HUB);
    return OK;
}

/* ---------------------------------------------------------------- tokens */

static const char *state_of(struct cx *cx, const char *text)
{
    static const char *const words[] = {"good",    "malformed", "unknown", "wrong",
                                        "expired", "revoked",   "disabled"};
    struct agent_identity who;
    struct token_ask ask = {0};
    struct token_cache *c = token_cache_new(&(struct token_cache_opts){
        .kind = &TOKEN_AGENT, .identity_size = sizeof(who), .load = agent_token_load, .arg = db});

    rc r = token_identify(cx, c, text, &ask, &who);
    token_cache_free(c);
    ck_assert(r == OK || r == E_UNAUTHENTICATED);
    if (r == OK)
        ck_assert(str_eq(who.agent_id, "a1") && str_eq(who.tenant_id, TENANT) && who.token_id[0]);
    return words[ask.state];
}

static void token_put(struct cx *cx, int64_t expires_ms, int64_t grace_ms, char *text,
                      struct agent_token *t)
{
    ck_ok(agent_token_add(cx, db, NINA, TENANT, "a1", expires_ms, grace_ms, text, t));
}

WORLD_TEST(a_token_lives_and_is_revoked)
{
    char text[TOKEN_TEXT_LEN + 1], other[TOKEN_TEXT_LEN + 1];
    struct agent_session ended;
    struct agent_token t, t2, *list;
    struct agent a;
    size_t n;

    ck_ok(agent_add(cx, db, NINA, TENANT, "a1", "CPE", NULL, &a));
    ck_rc(agent_token_add(cx, db, NINA, TENANT2, "a1", 0, 0, text, &t), E_NOT_FOUND);
    ck_rc(agent_token_add(cx, db, NINA, TENANT, "a1", 5, 0, text, &t), E_INVALID_FIELD);
    ck_rc(agent_token_add(cx, db, NINA, TENANT, "a1", 0, -1, text, &t), E_INVALID_FIELD);
    token_put(cx, 0, 0, text, &t);
    ck_assert(starts_with(text, "mwa_"));
    ck_assert_str_eq(last_deed(), NINA " agent.token_add a1");
    ck_assert_str_eq(SIDE("SELECT status FROM agents"), "pending_activation");
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM agent_auth_tokens WHERE token_hash LIKE "
                              "'$argon2id$v=19$m=1024,t=1,p=1$%%' AND position(right('%s', 40) IN "
                              "token_hash) = 0",
                              text),
                     1);
    ck_assert_str_eq(state_of(cx, text), "good");

    token_put(cx, 0, 0, other, &t2);
    ck_ok(agent_token_list(cx, db, TENANT, "a1", &list, &n));
    ck_assert(n == 2 && str_eq(list[0].token_id, t2.token_id) && !list[0].revoked);
    ck_rc(agent_token_list(cx, db, TENANT2, "a1", &list, &n), E_NOT_FOUND);

    ck_rc(agent_token_revoke(cx, db, NINA, TENANT, "a1", NOBODY, &ended), E_NOT_FOUND);
    ck_rc(agent_token_revoke(cx, db, NINA, TENANT2, "a1", t.token_id, &ended), E_NOT_FOUND);
    ck_assert_str_eq(state_of(cx, text), "good");
    ck_ok(agent_token_revoke(cx, db, NINA, TENANT, "a1", t.token_id, &ended));
    ck_assert_str_eq(last_deed(), NINA " agent.token_revoke a1");
    int64_t deeds = SIDE_INT("SELECT count(*) FROM audit_log");
    ck_ok(agent_token_revoke(cx, db, NINA, TENANT, "a1", t.token_id, &ended));
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM audit_log"), deeds);
    ck_assert_str_eq(state_of(cx, text), "revoked");
    ck_assert_str_eq(state_of(cx, other), "good");
    ck_assert_str_eq(SIDE("SELECT status FROM agents"), "pending_activation");
    ck_ok(agent_token_revoke(cx, db, NINA, NULL, "a1", NULL, &ended));
    ck_assert_str_eq(state_of(cx, other), "revoked");
    ck_assert_str_eq(SIDE("SELECT status FROM agents"), "inactive");
    return OK;
}

WORLD_TEST(what_a_token_is_worth)
{
    char text[TOKEN_TEXT_LEN + 1], wrong[TOKEN_TEXT_LEN + 1];
    struct agent_token t;
    struct agent a;

    ck_ok(agent_add(cx, db, NINA, TENANT, "a1", "CPE", NULL, &a));
    token_put(cx, clock_ms() + 3600000, 0, text, &t);
    strcpy(wrong, text);
    wrong[30] = wrong[30] == 'A' ? 'B' : 'A';
    ck_assert_str_eq(state_of(cx, text), "good");
    ck_assert_str_eq(state_of(cx, wrong), "wrong");
    ck_assert_str_eq(state_of(cx, "mwk_abc"), "malformed");
    SIDE("UPDATE agents SET enabled = false");
    ck_assert_str_eq(state_of(cx, text), "disabled");
    SIDE("UPDATE agents SET enabled = true");
    SIDE("UPDATE tenants SET enabled = false");
    ck_assert_str_eq(state_of(cx, text), "disabled");
    SIDE("UPDATE tenants SET enabled = true");
    SIDE("UPDATE agent_auth_tokens SET expires_at = now()");
    ck_assert_str_eq(state_of(cx, text), "expired");
    SIDE("UPDATE agent_auth_tokens SET prefix = 'aaaaaaaaaaaa'");
    ck_assert_str_eq(state_of(cx, text), "unknown");
    const char *words;
    SIDE("UPDATE agent_auth_tokens SET status = 'revoked', revoked_at = now()");
    pg_try(stores.database_url, &words,
           "UPDATE agent_auth_tokens SET status = 'active', revoked_at = NULL");
    ck_assert_ptr_nonnull(strstr(words, "revoked for ever"));
    return OK;
}

/* Older tokens go on for the grace, not longer; what would have ended before still does. */
WORLD_TEST(a_new_token_gives_the_old_ones_grace)
{
    char text[TOKEN_TEXT_LEN + 1];
    struct agent_token t[4];
    struct agent a;

    ck_ok(agent_add(cx, db, NINA, TENANT, "a1", "CPE", NULL, &a));
    token_put(cx, 0, 0, text, &t[0]);
    token_put(cx, clock_ms() + 60000, 0, text, &t[1]);
    token_put(cx, 0, 0, text, &t[2]); /* no grace: the others stay as they are */
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM agent_auth_tokens WHERE expires_at IS NULL"),
                     2);
    token_put(cx, 0, 600000, text, &t[3]);
    ck_assert_str_eq(
        SIDE("SELECT string_agg(CASE WHEN expires_at IS NULL THEN 'never' WHEN "
             "expires_at > now() + interval '5 min' THEN 'grace' ELSE 'sooner' END, ' ' "
             "ORDER BY token_id) FROM agent_auth_tokens"),
        "grace sooner grace never");
    const char *ids[] = {t[0].token_id, t[1].token_id};
    ck_ok(agent_tokens_touch(cx, db, ids, 2));
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM agent_auth_tokens WHERE last_used_at IS NOT "
                              "NULL"),
                     2);
    return OK;
}

/* ---------------------------------------------------------------- sessions */

struct visit {
    char text[TOKEN_TEXT_LEN + 1], session[ID_LEN + 1];
    struct agent_token token;
};

static rc hello(struct cx *cx, struct visit *v, const char *hub, struct agent *ret,
                struct agent_session *ret_old)
{
    const struct agent_hello h = {
        .agent_id = "a1",
        .token_id = v->token.token_id,
        .session_id = id_new(v->session),
        .hub_id = hub,
        .ip = "192.0.2.7",
        .version = "1.2",
        .metadata = "{\"site\":\"its own word\",\"fw\":\"7.1\"}",
    };
    return agent_session_begin(cx, db, &h, ret, ret_old);
}

static bool lost(struct cx *cx, const char *session)
{
    const char *agents[] = {"nobody", "a1"}, *sessions[] = {NOBODY, session};
    bool gone[2];

    ck_ok(agents_seen(cx, db, agents, sessions, 2, gone));
    ck_assert(gone[0]);
    return gone[1];
}

static void visitor(struct cx *cx, struct visit *v)
{
    struct agent a;

    ck_ok(agent_add(cx, db, NINA, TENANT, "a1", "CPE", "{\"site\":\"aleppo\"}", &a));
    token_put(cx, 0, 0, v->text, &v->token);
}

WORLD_TEST(a_session_begins_and_ends)
{
    struct agent_session old;
    struct visit v;
    struct agent a;

    visitor(cx, &v);
    ck_ok(hello(cx, &v, HUB, &a, &old));
    ck_assert_str_eq(old.hub_id, "");
    ck_assert_int_eq(a.status, AGENT_ACTIVE);
    ck_assert_str_eq(a.hub_id, HUB);
    ck_assert_str_eq(a.session_id, v.session);
    ck_assert_str_eq(a.agent_version, "1.2");
    ck_assert_str_eq(a.last_ip, "192.0.2.7");
    /* what the operator says counts before what it says of itself */
    ck_assert_str_eq(a.metadata, "{\"fw\": \"7.1\", \"site\": \"aleppo\"}");
    ck_assert(a.first_seen_ms && a.registered_ms && a.last_seen_ms);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM agent_auth_tokens WHERE last_used_at IS NOT "
                              "NULL"),
                     1);
    SIDE("UPDATE agents SET last_seen_at = '2020-01-01'");
    ck_assert(!lost(cx, v.session));
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM agents WHERE last_seen_at > '2021-01-01'"), 1);

    ck_ok(agent_session_end(cx, db, "a1", NOBODY)); /* somebody else's */
    ck_assert(!lost(cx, v.session));
    ck_ok(agent_session_end(cx, db, "a1", v.session));
    ck_assert_str_eq(SIDE("SELECT concat_ws(' ', status, session_id, hub_instance_id) FROM agents"),
                     "inactive");
    ck_assert(lost(cx, v.session));

    struct agent_change c = {.metadata = "{\"rack\":1}"};
    ck_ok(agent_change(cx, db, NINA, TENANT, "a1", &c, &a, &old));
    ck_assert_str_eq(a.metadata, "{\"fw\": \"7.1\", \"rack\": 1}");
    return OK;
}

WORLD_TEST(a_newer_session_takes_over)
{
    struct agent_session old;
    struct visit v, v2;
    struct agent a;

    visitor(cx, &v);
    v2 = v;
    ck_ok(hello(cx, &v, HUB, &a, &old));
    ck_ok(hello(cx, &v2, HUB2, &a, &old));
    ck_assert_str_eq(old.hub_id, HUB);
    ck_assert_str_eq(old.session_id, v.session);
    ck_assert(lost(cx, v.session));
    ck_ok(agent_session_end(cx, db, "a1", v.session)); /* the older one hears of it, and leaves */
    ck_assert(!lost(cx, v2.session));
    ck_assert_str_eq(SIDE("SELECT status || ' ' || hub_instance_id FROM agents"), "active " HUB2);
    return OK;
}

WORLD_TEST(who_may_not_come_in)
{
    struct agent_session old, ended;
    struct agent_token second;
    struct visit v, v2;
    struct agent a;
    char text[TOKEN_TEXT_LEN + 1];

    visitor(cx, &v);
    token_put(cx, 0, 0, text, &second);
    v2 = v;
    v2.token = second;

    /* a token of somebody else */
    SIDE("INSERT INTO agents (agent_id, tenant_id, agent_type) VALUES ('b1', '" TENANT "', 'CPE')");
    SIDE("UPDATE agent_auth_tokens SET expires_at = now() WHERE token_id = '%s'", second.token_id);
    ck_rc(hello(cx, &v2, HUB, &a, &old), E_UNAUTHENTICATED); /* expired meanwhile */
    SIDE("UPDATE agent_auth_tokens SET expires_at = NULL");

    /* revoking the token that a session began with ends it; another one does not */
    ck_ok(hello(cx, &v, HUB, &a, &old));
    ck_ok(agent_token_revoke(cx, db, NINA, TENANT, "a1", second.token_id, &ended));
    ck_assert_str_eq(ended.session_id, "");
    ck_assert(!lost(cx, v.session));
    ck_ok(agent_token_revoke(cx, db, NINA, TENANT, "a1", v.token.token_id, &ended));
    ck_assert_str_eq(ended.session_id, v.session);
    ck_assert_str_eq(ended.hub_id, HUB);
    ck_assert(lost(cx, v.session));
    ck_assert_str_eq(SIDE("SELECT status FROM agents WHERE agent_id = 'a1'"), "inactive");
    ck_rc(hello(cx, &v, HUB, &a, &old), E_UNAUTHENTICATED);

    /* disabled: the session ends, and no other begins */
    token_put(cx, 0, 0, text, &v.token);
    ck_assert_str_eq(SIDE("SELECT status FROM agents WHERE agent_id = 'a1'"), "inactive");
    ck_ok(hello(cx, &v, HUB, &a, &old));
    const struct agent_change off = {.set_enabled = true},
                              on = {.set_enabled = true, .enabled = true};
    ck_ok(agent_change(cx, db, NINA, TENANT, "a1", &off, &a, &ended));
    ck_assert_str_eq(ended.session_id, v.session);
    ck_assert(!a.enabled && a.status == AGENT_INACTIVE);
    ck_assert(lost(cx, v.session));
    ck_rc(hello(cx, &v, HUB, &a, &old), E_FORBIDDEN);
    ck_ok(agent_change(cx, db, NINA, TENANT, "a1", &on, &a, &ended));
    ck_assert_str_eq(ended.session_id, "");
    ck_ok(hello(cx, &v, HUB, &a, &old));
    ck_assert(!lost(cx, v.session));
    SIDE("UPDATE agent_auth_tokens SET expires_at = now() WHERE token_id = '%s'", v.token.token_id);
    ck_assert(lost(cx, v.session));
    SIDE("UPDATE agent_auth_tokens SET expires_at = NULL WHERE token_id = '%s'", v.token.token_id);
    ck_assert(!lost(cx, v.session));
    SIDE("UPDATE tenants SET enabled = false");
    ck_assert(lost(cx, v.session));
    ck_rc(hello(cx, &v, HUB, &a, &old), E_FORBIDDEN);
    return OK;
}

WORLD_TEST(a_reconnect_does_not_heal)
{
    struct agent_session old;
    struct visit v;
    struct agent a;

    visitor(cx, &v);
    ck_ok(hello(cx, &v, HUB, &a, &old));
    agent_rests("a1", 5000);
    ck_ok(agent_session_end(cx, db, "a1", v.session));
    ck_assert_str_eq(agent_is("a1"), "inactive 0 3 30000 f");
    ck_ok(hello(cx, &v, HUB, &a, &old));
    ck_assert_str_eq(agent_is("a1"), "cooldown 0 3 30000 f");
    return OK;
}

WORLD_TEST(heartbeats_of_many)
{
    enum { N = 3000 };
    const char **agents = arena_alloc(&cx->arena, N * sizeof(*agents)),
               **sessions = arena_alloc(&cx->arena, N * sizeof(*sessions));
    bool *gone = arena_alloc(&cx->arena, N);
    struct visit v;

    visitor(cx, &v);
    SIDE(
        "INSERT INTO agents (agent_id, tenant_id, agent_type, status, session_id, hub_instance_id, "
        "token_id, registered_at) SELECT 'n' || n, '" TENANT "', 'CPE', 'active', "
        "('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, '" HUB "', '%s', now() "
        "FROM generate_series(0, %d) n",
        v.token.token_id, N - 1);
    for (int i = 0; i < N; i++) {
        agents[i] = arena_printf(&cx->arena, "n%d", N - 1 - i); /* not in the order of the table */
        sessions[i] =
            arena_printf(&cx->arena, "00000000-0000-0000-0000-%012d", i % 100 ? N - 1 - i : 999999);
    }
    ck_ok(agents_seen(cx, db, agents, sessions, N, gone));
    for (int i = 0; i < N; i++)
        ck_assert_msg(gone[i] == (i % 100 == 0), "place %d", i);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM agents WHERE last_seen_at IS NOT NULL"),
                     N - N / 100);
    return OK;
}

/* ---------------------------------------------------------------- hubs that die */

WORLD_TEST(agents_of_a_dead_hub_are_swept)
{
    struct agent_session old;
    struct visit v;
    struct agent a;
    int64_t n;

    visitor(cx, &v);
    ck_ok(hello(cx, &v, HUB, &a, &old));
    agent_put("a2", "CPE", "{}");
    SIDE("UPDATE agents SET hub_instance_id = '" HUB2 "' WHERE agent_id = 'a2'");
    ck_ok(agents_sweep(cx, db, &n));
    ck_assert_int_eq(n, 0);

    SIDE("UPDATE hub_instances SET seen_at = now() - interval '21 s' WHERE id = '" HUB "'");
    ck_ok(hub_instance_seen(cx, db, HUB2));
    ck_ok(agents_sweep(cx, db, &n));
    ck_assert_int_eq(n, 1);
    ck_assert_str_eq(agent_is("a1"), "inactive 0 0 0 f");
    ck_assert_str_eq(agent_is("a2"), "active 0 0 0 f");
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM hub_instances"), 1);

    /* it was only slow: its sessions are lost all the same, and new ones begin */
    ck_ok(hub_instance_seen(cx, db, HUB));
    ck_assert(lost(cx, v.session));
    ck_ok(hello(cx, &v, HUB, &a, &old));
    ck_ok(agents_sweep(cx, db, &n));
    ck_assert_int_eq(n, 0);

    ck_ok(hub_instance_gone(cx, db, HUB2)); /* in order: at once */
    ck_assert_str_eq(agent_is("a2"), "inactive 0 0 0 f");
    ck_assert_str_eq(agent_is("a1"), "active 0 0 0 f");
    return OK;
}

static bool regained(struct cx *cx, const struct visit *v)
{
    const char *agents[] = {"a1"}, *sessions[] = {v->session}, *tokens[] = {v->token.token_id};
    bool back;

    ck_ok(agents_regain(cx, db, HUB, agents, sessions, tokens, 1, &back));
    return back;
}

WORLD_TEST(a_hub_that_was_only_slow_has_its_sessions_back)
{
    struct agent_session old, ended;
    struct visit v, newer;
    struct agent a;
    int64_t n;

    visitor(cx, &v);
    newer = v;
    ck_ok(hello(cx, &v, HUB, &a, &old));
    ck_assert(!regained(cx, &v)); /* it is not lost */
    SIDE("DELETE FROM hub_instances");
    ck_ok(agents_sweep(cx, db, &n));
    ck_assert(lost(cx, v.session));
    ck_assert(regained(cx, &v));
    ck_assert(!lost(cx, v.session));
    ck_assert_str_eq(SIDE("SELECT status || ' ' || hub_instance_id FROM agents"), "active " HUB);

    agent_rests("a1", 60000); /* still */
    agent_leaves("a1");
    ck_assert(regained(cx, &v));
    ck_assert_str_eq(agent_is("a1"), "cooldown 0 3 30000 f");

    ck_ok(hello(cx, &newer, HUB2, &a, &old)); /* who was replaced stays replaced */
    ck_assert(!regained(cx, &v));
    ck_assert(!lost(cx, newer.session));

    agent_leaves("a1");
    SIDE("UPDATE agents SET enabled = false");
    ck_assert(!regained(cx, &v));
    SIDE("UPDATE agents SET enabled = true");
    ck_ok(agent_token_revoke(cx, db, NINA, TENANT, "a1", v.token.token_id, &ended));
    ck_assert(!regained(cx, &v));
    ck_assert(lost(cx, v.session));
    return OK;
}

/* ---------------------------------------------------------------- notes */

static rc inbox_body(struct cx *cx, void *arg)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    const struct inbox_note notes[] = {
        {.kind = INBOX_COMMAND, .agent_id = "SN:1.a_b-2", .request_id = TENANT},
        {.kind = INBOX_SUPERSEDED, .agent_id = "a", .session_id = TENANT2},
        {.kind = INBOX_REVOKED, .agent_id = "b", .token_id = NOBODY},
        {.kind = INBOX_REVOKED, .agent_id = "c"},
    };
    struct inbox_note *got;
    struct redis *r, *waiting;
    size_t n;

    try(redis_new(cx, stores.redis_url, &r));
    try(redis_new(cx, stores.redis_url, &waiting));
    int64_t began = clock_mono_ms();
    ck_ok(inbox_pop(cx, waiting, HUB, 50, &got, &n));
    ck_assert_uint_eq(n, 0);
    ck_assert(clock_mono_ms() - began >= 40);

    ck_ok(inbox_push(cx, r, HUB, notes, COUNT(notes)));
    ck_ok(inbox_push(cx, r, HUB2, notes, 1));
    ck_ok(inbox_push(cx, r, HUB, notes, 0));
    ck_ok(redis_cmd(cx, r, &reply, "TTL mw:hub:{" HUB "}"));
    ck_assert(reply->integer > 0 && reply->integer <= 60);
    ck_ok(redis_cmd(cx, r, NULL, "RPUSH mw:hub:{" HUB "} %s %s %s", "{\"t\":\"command\"}",
                    "nonsense", "{\"t\":\"command\",\"a\":\"a\",\"r\":\"nope\"}"));
    ck_ok(inbox_pop(cx, waiting, HUB, 30000, &got, &n));
    ck_assert_uint_eq(n, COUNT(notes)); /* what cannot be read is dropped, and said */
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(got[i].kind == notes[i].kind && str_eq(got[i].agent_id, notes[i].agent_id) &&
                          str_eq(got[i].request_id, notes[i].request_id) &&
                          str_eq(got[i].session_id, notes[i].session_id) &&
                          str_eq(got[i].token_id, notes[i].token_id),
                      "note %zu", i);

    /* the ceiling: all or none */
    ck_ok(redis_cmd(cx, r, NULL, "EVAL %s 1 mw:hub:{" HUB "}",
                    "for i = 1, 99998 do redis.call('RPUSH', KEYS[1], 'x') end"));
    ck_rc(inbox_push(cx, r, HUB, notes, COUNT(notes)), E_OVERLOADED);
    ck_ok(inbox_push(cx, r, HUB, notes, 2));
    ck_rc(inbox_push(cx, r, HUB, notes, 1), E_OVERLOADED);
    ck_ok(redis_cmd(cx, r, NULL, "FLUSHALL"));
    redis_free(waiting);
    redis_free(r);
    return OK;
}

START_TEST(notes_to_a_hub)
{
    ck_ok(on_fiber(inbox_body, NULL));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("agents");
    TCase *tc = tcase_create("agents");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, an_agent_is_provisioned);
    tcase_add_loop_test(tc, what_is_refused, 0, COUNT(bad));
    tcase_add_test(tc, ids_of_255_characters);
    tcase_add_test(tc, lists_are_paged_and_filtered);
    tcase_add_test(tc, it_reads_as_json);
    tcase_add_test(tc, a_token_lives_and_is_revoked);
    tcase_add_test(tc, what_a_token_is_worth);
    tcase_add_test(tc, a_new_token_gives_the_old_ones_grace);
    tcase_add_test(tc, a_session_begins_and_ends);
    tcase_add_test(tc, a_newer_session_takes_over);
    tcase_add_test(tc, who_may_not_come_in);
    tcase_add_test(tc, a_reconnect_does_not_heal);
    tcase_add_test(tc, heartbeats_of_many);
    tcase_add_test(tc, agents_of_a_dead_hub_are_swept);
    tcase_add_test(tc, a_hub_that_was_only_slow_has_its_sessions_back);
    tcase_add_test(tc, notes_to_a_hub);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, world_make, suite);
}

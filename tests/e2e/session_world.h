/* session_world.h - a house with one hub process, whose agents say and hear every frame; for the tests of their sessions. */
#pragma once
#include "base/text.h"
#include "domain/agents/agent_tokens.h"
#include "tests/e2e/session_client.h"
#include "tests/unit/unit.h"

static struct house h;

#define ONE(...) pg_one(h.stores.database_url, __VA_ARGS__)

/* An agent with a token, as an operator makes it; the token in one of 16 buffers in turn. */
static const char *token_for(const char *agent_id, const char *expires)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    static char texts[16][TOKEN_TEXT_LEN + 1];
    static unsigned turn;
    char *text = texts[turn++ % COUNT(texts)], prefix[TOKEN_PREFIX_LEN + 1], hash[TOKEN_HASH_MAX];

    ONE("INSERT INTO agents (agent_id, tenant_id, agent_type) VALUES ('%s', '%s', 'cpe') "
        "ON CONFLICT DO NOTHING RETURNING 1",
        agent_id, h.tenant);
    token_make(&TOKEN_AGENT, prefix, text);
    ck_assert_int_eq(token_hash(&cx, &TOKEN_AGENT, text, hash), OK);
    ONE("INSERT INTO agent_auth_tokens (token_id, agent_id, prefix, token_hash, expires_at) "
        "VALUES (gen_random_uuid(), '%s', '%s', '%s', %s) RETURNING 1",
        agent_id, prefix, hash, expires);
    return text;
}

static const char *token_of(const char *agent_id)
{
    return token_for(agent_id, "NULL");
}

/* The whole program: every row, in one house. */
static int session_main(const char *name, const struct unit_row *rows, size_t n)
{
    static const char *const env[] = {"MIHWAR_AGENT_HEARTBEAT=2s", "MIHWAR_HUB_PROCESSES=1", NULL};
    Suite *s = suite_create(name);

    for (size_t i = 0; i < n; i++) {
        TCase *tc = tcase_create(rows[i].title);

        tcase_add_loop_test(tc, rows[i].test, 0, rows[i].loops ? (int)rows[i].loops : 1);
        suite_add_tcase(s, tc);
    }
    house_open(&h, NULL, env);
    clients_begin();
    int failed = suite_run_unforked(s);
    clients_end();
    failed += house_stop(&h);
    return support_end(failed);
}

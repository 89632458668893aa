/* agent_tokens.c - tokens of agents: their rows. What a check costs, and what is remembered of it, is in secure/token.h. */
#include "domain/agents/agent_tokens.h"
#include "base/clock.h"
#include "base/text.h"
#include "domain/agents/agent_sessions.sql.h"
#include "domain/agents/agent_tokens.sql.h"
#include "domain/agents/agents.sql.h"
#include "domain/agents/request_row.h"
#include "pg/pg_array.h"
#include <stdio.h>
#include <string.h>

#define GRACE_MAX_MS (INT64_C(365) * 86400000)

static void token_row_read(struct cx *cx, const struct pg_result *res, int row,
                           struct agent_token *t)
{
    struct row r = ROW(cx, res, row);

    t->token_id = row_text(&r);
    t->agent_id = row_text(&r);
    t->prefix = row_text(&r);
    t->revoked = str_eq(row_text(&r), "revoked");
    t->created_ms = row_ms(&r);
    t->expires_ms = row_ms(&r);
    t->last_used_ms = row_ms(&r);
    t->revoked_ms = row_ms(&r);
}

static rc no_agent(struct cx *cx)
{
    return fail(cx, NOT_FOUND, "there is no such agent");
}

rc agent_token_add(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
                   const char *agent_id, int64_t expires_ms, int64_t grace_ms, char *text,
                   struct agent_token *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1], prefix[TOKEN_PREFIX_LEN + 1], hash[TOKEN_HASH_MAX];

    if (!agent_id_valid(agent_id))
        return no_agent(cx);
    if (expires_ms != 0 && expires_ms <= clock_ms())
        return fail_at(cx, INVALID_FIELD, "/expires_at", "must be in the future");
    if (grace_ms < 0 || grace_ms > GRACE_MAX_MS)
        return fail_at(cx, INVALID_FIELD, "/grace_ms", "must be 0 to a year");
    token_make(&TOKEN_AGENT, prefix, text);
    try(token_hash(cx, &TOKEN_AGENT, text, hash));
    try(pg_do(cx, db, SQL_AGENT_TOKEN_ADD, &res, pg_s(id_new(id)), pg_s(agent_id), pg_s(prefix),
              pg_s(hash), pg_i(grace_ms), pg_t(expires_ms), pg_s(actor), pg_s(tenant_id)));
    if (pg_rows(res) == 0)
        return no_agent(cx);
    token_row_read(cx, res, 0, ret);
    return OK;
}

rc agent_token_load(struct cx *cx, void *arg, const char *prefix, struct token_row *row,
                    void *identity)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct agent_identity *who = identity;
    struct pg *db = arg;

    try(pg_do(cx, db, SQL_AGENT_TOKEN_LOAD, &res, pg_s(prefix)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no such token");
    const char *state = pg_text(res, 0, 1);
    row->state = str_eq(state, "good")      ? TOKEN_GOOD
                 : str_eq(state, "revoked") ? TOKEN_REVOKED
                 : str_eq(state, "expired") ? TOKEN_EXPIRED
                                            : TOKEN_DISABLED;
    snprintf(row->hash, sizeof(row->hash), "%s", pg_text(res, 0, 0));
    snprintf(who->tenant_id, sizeof(who->tenant_id), "%s", pg_text(res, 0, 2));
    snprintf(who->agent_id, sizeof(who->agent_id), "%s", pg_text(res, 0, 3));
    snprintf(who->token_id, sizeof(who->token_id), "%s", pg_text(res, 0, 4));
    who->expires_ms = pg_ms(res, 0, 5);
    return OK;
}

rc agent_token_list(struct cx *cx, struct pg *db, const char *tenant_id, const char *agent_id,
                    struct agent_token **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    if (!agent_id_valid(agent_id))
        return no_agent(cx);
    try(pg_do(cx, db, SQL_AGENT_TOKEN_LIST, &res, pg_s(agent_id), pg_s(tenant_id)));
    if (pg_rows(res) == 0)
        return no_agent(cx);
    size_t n = pg_text(res, 0, 0) ? (size_t)pg_rows(res) : 0; /* one row of NULLs: it has none */
    struct agent_token *list = rows_alloc(cx, res, struct agent_token);
    for (size_t i = 0; i < n; i++)
        token_row_read(cx, res, (int)i, &list[i]);
    *ret = list;
    *ret_n = n;
    return OK;
}

rc agent_token_revoke(struct cx *cx, struct pg *db, const char *actor, const char *tenant_id,
                      const char *agent_id, const char *token_id, struct agent_session *ret_ended)
{
    char id[ID_LEN + 1];

    if (!agent_id_valid(agent_id))
        return no_agent(cx);
    if (token_id && !id_parse(token_id, id))
        return fail(cx, NOT_FOUND, "there is no such token");
    const char *which = token_id ? id : NULL;
    struct pg_step steps[] = {
        {.q = &SQL_AGENT_TOKEN_REVOKE,
         .args = PG_ARGS(pg_s(agent_id), pg_s(tenant_id), pg_s(which), pg_s(actor))},
        {.q = &SQL_AGENT_LOCK, .args = PG_ARGS(pg_s(agent_id), pg_s(tenant_id))},
        {.q = &SQL_AGENT_SESSIONS_END_OF,
         .args = PG_ARGS(pg_s(agent_id), pg_s(which), pg_s(tenant_id))},
        {.q = &SQL_AGENT_AWAITED_NO_MORE, .args = PG_ARGS(pg_s(agent_id))},
    };
    try(pg_batch(cx, db, steps, COUNT(steps)));
    bool agent = pg_rows(steps[1].result) > 0, found = pg_rows(steps[0].result) > 0;
    *ret_ended = (struct agent_session){0};
    if (pg_affected(steps[2].result) > 0)
        session_read(steps[1].result, ret_ended);
    steps_release(steps, COUNT(steps));
    if (!agent)
        return no_agent(cx);
    return found || !token_id ? OK : fail(cx, NOT_FOUND, "there is no such token");
}

rc agent_tokens_touch(struct cx *cx, struct pg *db, const char *const *token_ids, size_t n)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(MiB(4));

    if (n == 0)
        return OK;
    for (size_t i = 0; i < n; i++)
        pg_array_s(&ids, token_ids[i]);
    return pg_do(cx, db, SQL_AGENT_TOKENS_TOUCH, NULL, pg_a(&ids));
}

rc agent_token_json(struct cx *cx, const struct agent_token *t, struct buf *out)
{
    buf_puts(out, "{\"token_id\":");
    buf_json_str(out, t->token_id);
    buf_json_field(out, "agent_id", t->agent_id);
    buf_json_field(out, "prefix", t->prefix);
    buf_json_field(out, "status", t->revoked ? "revoked" : "active");
    buf_json_time(out, "created_at", t->created_ms);
    buf_json_time(out, "expires_at", t->expires_ms);
    buf_json_time(out, "last_used_at", t->last_used_ms);
    buf_json_time(out, "revoked_at", t->revoked_ms);
    buf_putc(out, '}');
    return buf_ok(out) ? OK : fail(cx, BUFFER_FULL, "a token does not fit into the answer");
}

/* agent_sessions.c - who is connected, where, and since when it is not.
 *
 *   hello --> token still good? --> the row is this session's --> heartbeats, in batches --> its end
 *                                          `-- a newer hello: the older session finds another id in the row */
#include "base/json.h"
#include "base/text.h"
#include "domain/agents/agent_sessions.sql.h"
#include "domain/agents/agents.h"
#include "domain/agents/agents.sql.h"
#include "domain/agents/request_row.h"
#include "pg/pg_array.h"
#include <string.h>
#include <unistd.h>

#define SWEEP_BATCH 1000

static rc hello_check(struct cx *cx, const struct agent_hello *h, const char **ret_metadata)
{
    char id[ID_LEN + 1];

    if (!agent_id_valid(h->agent_id))
        return fail(cx, UNAUTHENTICATED, "there is no such agent");
    if (!id_parse(h->session_id, id) || !id_parse(h->token_id, id))
        return fail(cx, INTERNAL, "a session and its token have ids");
    if (h->version &&
        (!utf8_valid(h->version, strlen(h->version)) || utf8_len(h->version) > AGENT_VERSION_MAX))
        return fail_at(cx, INVALID_FIELD, "/version", "has at most %d characters",
                       AGENT_VERSION_MAX);
    return object_check(cx, h->metadata, AGENT_METADATA_MAX, "/metadata", ret_metadata);
}

rc agent_session_begin(struct cx *cx, struct pg *db, const struct agent_hello *h, struct agent *ret,
                       struct agent_session *ret_old)
{
    const char *metadata;

    try(hello_check(cx, h, &metadata));
    struct pg_step steps[] = {
        {.q = &SQL_AGENT_TOKEN_TAKE, .args = PG_ARGS(pg_s(h->token_id), pg_s(h->agent_id))},
        {.q = &SQL_AGENT_LOCK, .args = PG_ARGS(pg_s(h->agent_id), pg_s(NULL))},
        {.q = &SQL_AGENT_SESSION_BEGIN,
         .args = PG_ARGS(pg_s(h->agent_id), pg_s(h->session_id), pg_s(h->hub_id), pg_s(h->token_id),
                         pg_s(h->ip), pg_s(h->version), pg_s(metadata))},
    };
    try(pg_batch(cx, db, steps, COUNT(steps)));
    bool token = pg_rows(steps[0].result) > 0, begun = pg_rows(steps[2].result) > 0;
    if (begun) {
        session_read(steps[1].result, ret_old);
        agent_read(cx, steps[2].result, 0, ret);
    }
    steps_release(steps, COUNT(steps));
    if (!token)
        return fail(cx, UNAUTHENTICATED, "the token is not good any more");
    return begun ? OK : fail(cx, FORBIDDEN, "the agent is disabled");
}

rc agent_session_end(struct cx *cx, struct pg *db, const char *agent_id, const char *session_id)
{
    return pg_do(cx, db, SQL_AGENT_SESSION_END, NULL, pg_s(agent_id), pg_s(session_id));
}

rc agents_seen(struct cx *cx, struct pg *db, const char *const *agent_ids,
               const char *const *session_ids, size_t n, bool *ret_lost)
{
    _cleanup_(pg_array_release) struct pg_array agents = PG_ARRAY(MiB(8)),
                                                sessions = PG_ARRAY(MiB(8));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    if (n == 0)
        return OK;
    for (size_t i = 0; i < n; i++) {
        pg_array_s(&agents, agent_ids[i]);
        pg_array_s(&sessions, session_ids[i]);
    }
    try(pg_do(cx, db, SQL_AGENTS_SEEN, &res, pg_a(&agents), pg_a(&sessions)));
    for (size_t i = 0; i < n; i++)
        ret_lost[i] = true;
    for (int i = 0; i < pg_rows(res); i++)
        ret_lost[pg_int(res, i, 0) - 1] = false;
    return OK;
}

rc agents_regain(struct cx *cx, struct pg *db, const char *hub_id, const char *const *agent_ids,
                 const char *const *session_ids, const char *const *token_ids, size_t n,
                 bool *ret_regained)
{
    _cleanup_(pg_array_release) struct pg_array agents = PG_ARRAY(MiB(8)),
                                                sessions = PG_ARRAY(MiB(8)),
                                                tokens = PG_ARRAY(MiB(8));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    if (n == 0)
        return OK;
    for (size_t i = 0; i < n; i++) {
        pg_array_s(&agents, agent_ids[i]);
        pg_array_s(&sessions, session_ids[i]);
        pg_array_s(&tokens, token_ids[i]);
    }
    try(pg_do(cx, db, SQL_AGENTS_REGAIN, &res, pg_s(hub_id), pg_a(&agents), pg_a(&sessions),
              pg_a(&tokens)));
    for (size_t i = 0; i < n; i++)
        ret_regained[i] = false;
    for (int i = 0; i < pg_rows(res); i++)
        ret_regained[pg_int(res, i, 0) - 1] = true;
    return OK;
}

/* ---------------------------------------------------------------- hubs */

rc hub_instance_seen(struct cx *cx, struct pg *db, const char *hub_id)
{
    char host[256] = "";

    if (gethostname(host, sizeof(host) - 1) != 0 || !utf8_valid(host, strlen(host)))
        strcpy(host, "unknown");
    return pg_do(cx, db, SQL_HUB_INSTANCE_SEEN, NULL, pg_s(hub_id), pg_s(host), pg_i(getpid()));
}

static rc sweep(struct cx *cx, struct pg *db, const struct pg_step *first, int64_t *ret_n)
{
    int64_t sum = 0, n;

    do {
        struct pg_step steps[] = {*first,
                                  {.q = &SQL_AGENTS_SWEEP, .args = PG_ARGS(pg_i(SWEEP_BATCH))}};
        try(pg_batch(cx, db, steps, COUNT(steps)));
        n = pg_affected(steps[1].result);
        sum += n;
        steps_release(steps, COUNT(steps));
    } while (n == SWEEP_BATCH);
    *ret_n = sum;
    return OK;
}

rc hub_instance_gone(struct cx *cx, struct pg *db, const char *hub_id)
{
    const struct pg_step gone = {.q = &SQL_HUB_INSTANCE_GONE, .args = PG_ARGS(pg_s(hub_id))};
    int64_t n;

    return sweep(cx, db, &gone, &n);
}

rc agents_sweep(struct cx *cx, struct pg *db, int64_t *ret_n)
{
    const struct pg_step bury = {.q = &SQL_HUB_INSTANCES_BURY, .args = PG_ARGS(pg_i(HUB_DEAD_MS))};

    return sweep(cx, db, &bury, ret_n);
}

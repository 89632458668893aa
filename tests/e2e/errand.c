/* errand.c - with stores of its own each time: a test's hubs may have killed the last ones. */
#include "tests/e2e/errand.h"
#include "domain/agents/inbox.h"
#include "domain/agents/request_move.h"
#include "redis/redis.h"
#include "tests/e2e/session_client.h"
#include "tests/unit/unit.h"

struct run {
    const struct house *house;
    struct errand *errand;
};

static rc with_stores(struct cx *cx, struct run *run,
                      rc (*fn)(struct cx *, struct pg *, struct redis *, struct run *))
{
    struct pg *db = NULL;
    struct redis *redis = NULL;
    rc r;

    try(pg_new(cx, run->house->stores.database_url, 2, &db));
    r = redis_new(cx, run->house->stores.redis_url, &redis);
    if (r == OK)
        r = fn(cx, db, redis, run);
    redis_free(redis);
    pg_free(db);
    return r;
}

static rc push(struct cx *cx, struct pg *db, struct redis *redis, struct run *run)
{
    struct inbox_note note = {.kind = INBOX_COMMAND};
    struct assigned a;

    try(request_assign(cx, db, run->errand->request_id, &a));
    if (!a.hub_id)
        return OK;
    memcpy(note.request_id, run->errand->request_id, sizeof note.request_id);
    snprintf(note.agent_id, sizeof note.agent_id, "%s", a.agent_id);
    return inbox_push(cx, redis, a.hub_id, &note, 1);
}

static rc begin(struct cx *cx, struct pg *db, struct redis *redis, struct run *run)
{
    struct errand *e = run->errand;
    struct command_request got;
    struct request_new n = {.tenant_id = run->house->tenant,
                            .requested_by_name = "test",
                            .command = "get_status",
                            .payload = e->payload,
                            .agent_id = e->agent_id,
                            .agent_type = e->agent_type,
                            .timeout_ms = 120000};

    try(request_create(cx, db, NULL, &n, &got));
    memcpy(e->request_id, got.request_id, sizeof e->request_id);
    memcpy(e->job_id, got.job_id, sizeof e->job_id);
    return e->push ? push(cx, db, redis, run) : OK;
}

static rc begin_on_fiber(struct cx *cx, void *arg)
{
    return with_stores(cx, arg, begin);
}

static rc push_on_fiber(struct cx *cx, void *arg)
{
    return with_stores(cx, arg, push);
}

void errand_begin(const struct house *h, struct errand *e)
{
    ck_assert_int_eq(on_clients_loop(begin_on_fiber, &(struct run){h, e}), OK);
}

void errand_push(const struct house *h, const struct errand *e)
{
    struct errand again = *e;

    ck_assert_int_eq(on_clients_loop(push_on_fiber, &(struct run){h, &again}), OK);
}

struct errand errand_for(const struct house *h, const char *agent_id)
{
    struct errand e = {.agent_id = agent_id, .push = true};

    errand_begin(h, &e);
    return e;
}

/* agents_world.h - what the tests of domain/agents stand on: two shops, agents put there by hand, requests made by the house, and an
 * empty black box for each test (which takes a superuser who switches the triggers off). */
#pragma once
#include "base/text.h"
#include "domain/agents/agent_tokens.h"
#include "domain/agents/command_history.h"
#include "domain/agents/inbox.h"
#include "domain/agents/request_move.h"
#include "tests/support/fibers.h"
#include "tests/support/stores.h"
#include <inttypes.h>
#include <string.h>

#define TENANT  "01900000-0000-7000-8000-000000000001"
#define TENANT2 "01900000-0000-7000-8000-000000000002"
#define NOBODY  "01900000-0000-7000-8000-0000000000ff"
#define HUB     "01900000-0000-7000-8000-00000000a001"
#define HUB2    "01900000-0000-7000-8000-00000000a002"
#define NINA    "cli:nina"

static struct stores stores;
static struct pg *db;

#define SIDE(...)     pg_one(stores.database_url, __VA_ARGS__)
#define SIDE_INT(...) pg_one_int(stores.database_url, __VA_ARGS__)

#define ck_at(cx_, pointer_) ck_assert_str_eq((cx_)->err.pointer, (pointer_))

static const struct end_rules rules = {.cooldown_after = 3, .cooldown_ms = 30000};

static inline void world_make(const struct stores *s)
{
    stores_migrate(s->database_url);
    pg_one(s->database_url, "INSERT INTO tenants (id, name) VALUES ('" TENANT
                            "', 'shop'), ('" TENANT2 "', 'other')");
}

/* As it was before the first test. */
static inline void world_empty(void)
{
    SIDE("SET session_replication_role = replica");
    SIDE("TRUNCATE requests, request_events, agents, agent_auth_tokens, hub_instances, jobs, "
         "command_history");
    SIDE("UPDATE command_history_head SET seq = 0, prev_hash = '', hash = decode(repeat('00', 32), "
         "'hex')");
    SIDE("SET session_replication_role = origin");
    SIDE("UPDATE tenants SET enabled = true");
    SIDE("INSERT INTO hub_instances (id, host, pid) VALUES ('" HUB "', 'h', 1), ('" HUB2
         "', 'h', 2)");
}

/* Who the house is to PostgreSQL: the superuser unless a test says otherwise. */
static _unused_ rc (*world_as)(struct cx *cx, rc (*fn)(struct cx *cx));

static inline rc world_run(struct cx *cx, rc (*fn)(struct cx *cx))
{
    if (world_as)
        return world_as(cx, fn);
    try(pg_new(cx, stores.database_url, 4, &db));
    rc r = fn(cx);
    db = pg_free(db);
    return r;
}

#define WORLD_TEST(name)                                                                           \
    static rc name##_body(struct cx *cx);                                                          \
    static rc name##_fiber(struct cx *cx, void *arg)                                               \
    {                                                                                              \
        (void)arg;                                                                                 \
        return world_run(cx, name##_body);                                                         \
    }                                                                                              \
    START_TEST(name)                                                                               \
    {                                                                                              \
        world_empty();                                                                             \
        ck_ok(on_fiber(name##_fiber, NULL));                                                       \
    }                                                                                              \
    END_TEST                                                                                       \
    static rc name##_body(struct cx *cx)
/* The same once for each row of a table: the body reads world_row. */
static _unused_ int world_row;
#define WORLD_LOOP_TEST(name)                                                                      \
    static rc name##_body(struct cx *cx);                                                          \
    static rc name##_fiber(struct cx *cx, void *arg)                                               \
    {                                                                                              \
        (void)arg;                                                                                 \
        return world_run(cx, name##_body);                                                         \
    }                                                                                              \
    START_TEST(name)                                                                               \
    {                                                                                              \
        world_empty();                                                                             \
        world_row = _i;                                                                            \
        ck_ok(on_fiber(name##_fiber, NULL));                                                       \
    }                                                                                              \
    END_TEST                                                                                       \
    static rc name##_body(struct cx *cx)

/* An agent of TENANT that is connected at HUB. */
static inline void agent_put(const char *agent_id, const char *type, const char *metadata)
{
    SIDE("INSERT INTO agents (agent_id, tenant_id, agent_type, metadata, status, session_id, "
         "hub_instance_id, registered_at, first_seen_at, last_seen_at) VALUES ('%s', '" TENANT
         "', '%s', '%s', 'active', gen_random_uuid(), '" HUB "', now(), now(), now())",
         agent_id, type, metadata);
}

static inline void agent_leaves(const char *agent_id)
{
    SIDE("UPDATE agents SET status = 'inactive', session_id = NULL, hub_instance_id = NULL, "
         "token_id = NULL, registered_at = NULL WHERE agent_id = '%s'",
         agent_id);
}

/* It rests since `ms_ago` is over or not: until now() + ms. */
static inline void agent_rests(const char *agent_id, int until_in_ms)
{
    SIDE("UPDATE agents SET status = 'cooldown', failures = 3, cooldown_ms = 30000, cooldown_until "
         "= now() + %d * interval '1 millisecond' WHERE agent_id = '%s'",
         until_in_ms, agent_id);
}

/* "status load failures cooldown_ms probing" of one agent. */
static inline const char *agent_is(const char *agent_id)
{
    return SIDE("SELECT concat_ws(' ', status, load, failures, cooldown_ms, probing) FROM agents "
                "WHERE agent_id = '%s'",
                agent_id);
}

/* A request of TENANT, by type "CPE" unless it names an agent. Its id is in *ret. */
static inline void request_put(struct cx *cx, struct request_new *n, struct command_request *ret)
{
    n->tenant_id = n->tenant_id ? n->tenant_id : TENANT;
    n->requested_by_name = n->requested_by_name ? n->requested_by_name : "front";
    n->command = n->command ? n->command : "get_status";
    n->timeout_ms = n->timeout_ms ? n->timeout_ms : 60000;
    if (!n->agent_id && !n->agent_type && !n->match)
        n->agent_type = "CPE";
    ck_ok(request_create(cx, db, NULL, n, ret));
}

/* "status agent sends probe" of one request; agent "-": none. */
static inline const char *request_is(const char *request_id)
{
    return SIDE(
        "SELECT concat_ws(' ', status, coalesce(assigned_agent_id, '-'), sends, probe) FROM "
        "requests WHERE request_id = '%s'",
        request_id);
}

/* What must hold whatever happened: load is what they have in hand, every end is in the black box once, and nothing else is. */
static inline void world_is_sound(void)
{
    ck_assert_str_eq(SIDE("SELECT coalesce(string_agg(a.agent_id || ' ' || a.load, ', '), '') FROM "
                          "agents a WHERE a.load <> (SELECT count(*) FROM requests r WHERE "
                          "r.assigned_agent_id = a.agent_id AND r.status IN ('assigned', 'sent'))"),
                     "");
    ck_assert_int_eq(
        SIDE_INT("SELECT count(*) FROM requests r WHERE (completed_at IS NOT NULL)::int "
                 "<> (SELECT count(*) FROM command_history h WHERE h.job_id = "
                 "r.job_id)"),
        0);
}

static inline struct request_end end_of(struct cx *cx, const char *job_id, const char *agent_id,
                                        enum request_status to)
{
    struct request_end e = {.job_id = job_id, .agent_id = agent_id, .to = to};

    if (agent_id)
        e.response = to == REQUEST_COMPLETED ? "{\"uptime\":5}" : "{\"error\":\"broken\"}";
    ck_ok(requests_end_all(cx, db, &rules, &e, 1));
    return e;
}

/* Taken by HUB; the number of those that were. */
static inline size_t take(struct cx *cx, const char *request_id, struct command *c)
{
    const char *ids[] = {request_id};
    size_t n;

    ck_ok(requests_take(cx, db, HUB, ids, 1, c, &n));
    return n;
}

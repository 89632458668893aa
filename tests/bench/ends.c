/* ends.c - how many commands come to their end in a second: row, agent, history and its chain, by one connection.
 *
 *   bench_ends [--requests 4096] [--agents 1000]
 *
 *   ends_1, ends_16, ends_64, ends_256   requests_end_all with so many at a time, one call after the other
 *   assign                               request_assign by type among `agents`, one call after the other
 *   history_verify                       rows of the chain verified in a second
 *
 * Private stores, fsync on. One line of JSON per case. */
#include "base/clock.h"
#include "domain/agents/command_history.h"
#include "domain/agents/request_move.h"
#include "tests/bench/bench.h"
#include "tests/bench/options.h"
#include "tests/support/on_fiber.h"
#include "tests/support/stores.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TENANT "01900000-0000-7000-8000-000000000001"

static struct stores stores;
static int requests = 4096, agents = 1000;

static void must(rc r, const char *what)
{
    if (r == OK)
        return;
    fprintf(stderr, "%s: %s\n", what, error_info(r)->code);
    exit(1);
}

static void tell(const char *name, int64_t n, int64_t us)
{
    printf("{\"case\":\"%s\",\"value\":%.0f,\"unit\":\"per_s\"}\n", name,
           (double)n * 1e6 / (double)MAX(us, INT64_C(1)));
    fflush(stdout);
}

static void put_requests(const char *status)
{
    const bool sent = str_eq(status, "sent");
    char whose[64];

    snprintf(whose, sizeof(whose), "'n' || (1 + n %% %d)", agents);
    pg_one(stores.database_url, "TRUNCATE requests, request_events");
    pg_one(stores.database_url,
           "INSERT INTO requests (request_id, tenant_id, job_id, requested_by_name, command, "
           "command_payload, agent_type, status, "
           "assigned_agent_id, assigned_at, sent_at, sends, timeout_ms, deadline, admitted_at) "
           "SELECT uuid_v7(), '" TENANT
           "', gen_random_uuid(), 'bench', 'get_status', '{\"interface\":\"eth0\"}', 'CPE', '%s', "
           "%s, %s, %s, %d, 60000, now() + "
           "interval '1 h', now() FROM generate_series(1, %d) n",
           status, sent ? whose : "NULL", sent ? "now()" : "NULL", sent ? "now()" : "NULL", sent,
           requests);
    pg_one(stores.database_url, "UPDATE agents a SET load = (SELECT count(*) FROM requests r WHERE "
                                "r.assigned_agent_id = a.agent_id)");
    pg_one(stores.database_url, "ANALYZE requests");
}

struct list {
    char **id, **agent;
    int n;
};

/* Ids and agents of all requests, in an order that has nothing to do with theirs. */
static struct list list_requests(const char *column)
{
    char *text = pg_table(
        stores.database_url,
        "SELECT %s, coalesce(assigned_agent_id, '') FROM requests ORDER BY md5(job_id::text)",
        column);
    struct list l = {xcalloc((size_t)requests, sizeof(char *)),
                     xcalloc((size_t)requests, sizeof(char *)), 0};

    for (char *at = text, *line; (line = strsep(&at, "\n")) && *line; l.n++) {
        l.id[l.n] = xstrdup(strsep(&line, "|"));
        l.agent[l.n] = xstrdup(line);
    }
    free(text);
    return l;
}

static void list_release(struct list *l)
{
    for (int i = 0; i < l->n; i++) {
        free(l->id[i]);
        free(l->agent[i]);
    }
    free(l->id);
    free(l->agent);
}

/* ---------------------------------------------------------------- the cases */

struct run {
    struct list *l;
    int batch;
    int64_t us;
};

static rc end_all(struct cx *cx, void *arg)
{
    const struct end_rules rules = {.cooldown_after = 5, .cooldown_ms = 30000};
    struct request_end *e = xcalloc((size_t)requests, sizeof(*e));
    struct run *r = arg;
    struct pg *db;

    try(pg_new(cx, stores.database_url, 1, &db));
    for (int i = 0; i < r->l->n; i++)
        e[i] = (struct request_end){.job_id = r->l->id[i],
                                    .agent_id = r->l->agent[i],
                                    .to = REQUEST_COMPLETED,
                                    .response = "{\"state\":\"up\",\"rx\":1234567,\"tx\":7654321}"};
    must(requests_end_all(cx, db, &rules, e, 1), "the first"); /* connects, prepares */
    int64_t began = clock_mono_us();
    for (int i = 1; i < r->l->n; i += r->batch)
        must(requests_end_all(cx, db, &rules, e + i, (size_t)MIN(r->batch, r->l->n - i)),
             "requests_end_all");
    r->us = clock_mono_us() - began;
    for (int i = 0; i < r->l->n; i++)
        must(e[i].verdict == END_DONE ? OK : E_INTERNAL, "an end");
    pg_free(db);
    free(e);
    return OK;
}

static rc assign_all(struct cx *cx, void *arg)
{
    struct run *r = arg;
    struct assigned a;
    struct pg *db;

    try(pg_new(cx, stores.database_url, 1, &db));
    must(request_assign(cx, db, r->l->id[0], &a), "the first");
    int64_t began = clock_mono_us();
    for (int i = 1; i < r->l->n; i++)
        must(request_assign(cx, db, r->l->id[i], &a), "request_assign");
    r->us = clock_mono_us() - began;
    pg_free(db);
    return OK;
}

static rc verify(struct cx *cx, void *arg)
{
    struct history_verdict v;
    struct run *r = arg;
    struct pg *db;

    try(pg_new(cx, stores.database_url, 1, &db));
    int64_t began = clock_mono_us();
    must(history_verify(cx, db, NULL, NULL, NULL, &v), "history_verify");
    r->us = clock_mono_us() - began;
    r->batch = (int)v.rows;
    must(v.faults == 0 ? OK : E_INTERNAL, "the chain");
    pg_free(db);
    return OK;
}

static void measure(const char *name, const char *status, const char *column,
                    rc (*fn)(struct cx *cx, void *arg), int batch)
{
    put_requests(status);
    struct list l = list_requests(column);
    struct run r = {.l = &l, .batch = batch};

    must(on_fiber(fn, &r), name);
    tell(name, fn == verify ? r.batch : l.n - 1, r.us);
    list_release(&l);
}

int main(int argc, char **argv)
{
    static const struct option_row options[] = {
        {"requests", .number = &requests, .least = 2, .most = 1000000},
        {"agents", .number = &agents, .least = 1, .most = 100000},
    };

    options_read(argc, argv, options, COUNT(options));
    stores_start(&stores, &(struct stores_opts){.no_redis = true, .durable = true});
    stores_migrate(stores.database_url);
    pg_one(stores.database_url, "INSERT INTO tenants (id, name) VALUES ('" TENANT "', 'bench')");
    pg_one(stores.database_url,
           "INSERT INTO agents (agent_id, tenant_id, agent_type, status, session_id, "
           "hub_instance_id, registered_at, metadata) SELECT "
           "'n' || n, '" TENANT "', 'CPE', 'active', gen_random_uuid(), 'h', now(), "
           "'{\"site\":\"x\"}' FROM generate_series(1, %d) n",
           agents);
    measure("ends_1", "sent", "job_id", end_all, 1);
    measure("ends_16", "sent", "job_id", end_all, 16);
    measure("ends_64", "sent", "job_id", end_all, 64);
    measure("ends_256", "sent", "job_id", end_all, 256);
    measure("assign", "pending", "request_id", assign_all, 1);
    measure("history_verify", "pending", "request_id", verify, 0);
    stores_stop(&stores);
    return 0;
}

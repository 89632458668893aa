/* request_batch.c - a batch of requests in one statement (request_batch.h draws it). */
#include "domain/agents/request_batch.h"
#include "base/log.h"
#include "base/text.h"
#include "domain/agents/request_batch.sql.h"
#include "domain/row.h"
#include "domain/surely.h"
#include "pg/pg_array.h"
#include "queue/shape/policy.h"
#include <assert.h>
#include <string.h>

#define BATCH_BYTES MiB(48) /* of one column: 256 payloads of the largest, quoted */

/* ---------------------------------------------------------------- the rows that were skipped */

static void judge(struct cx *cx, struct request_row *r, bool known)
{
    if (!known)
        fail_at(cx, UNKNOWN_AGENT, "/agent_id", "there is no agent '%.100s'", r->new.agent_id);
    else
        fail(cx, INTERNAL, "the request was neither inserted nor found");
    r->err = cx->err;
}

static void lost_to(struct cx *cx, struct request_row *r, bool itself, const char *id,
                    const char *body_hash)
{
    if (!itself && !str_eq(body_hash, r->new.body_hash)) {
        fail(cx, IDEMPOTENCY_MISMATCH,
             "this Idempotency-Key was used with another body, for request %s", id);
        r->err = cx->err;
        return;
    }
    r->made = itself ? REQUEST_CREATED : REQUEST_REPLAYED;
    r->new.replayed = !itself;
    snprintf(r->new.request_id, sizeof r->new.request_id, "%s", id);
}

static rc look_up(struct cx *cx, struct pg *db, struct request_row **rows, const bool *known,
                  size_t n)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(BATCH_BYTES),
                                                tenants = PG_ARRAY(BATCH_BYTES),
                                                keys = PG_ARRAY(BATCH_BYTES);
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    int hit = 0;

    for (size_t i = 0; i < n; i++) {
        pg_array_s(&ids, rows[i]->new.request_id);
        pg_array_s(&tenants, rows[i]->new.tenant_id);
        pg_array_s(&keys, rows[i]->new.idempotency_key);
    }
    try(pg_do(cx, db, SQL_REQUESTS_FIRST, &res, pg_a(&ids), pg_a(&tenants), pg_a(&keys)));
    for (size_t i = 0; i < n; i++) {
        if (hit >= pg_rows(res) || pg_int(res, hit, 0) != (int64_t)i + 1) {
            judge(cx, rows[i], known[i]);
            continue;
        }
        lost_to(cx, rows[i], pg_int(res, hit, 1) == 1, pg_text(res, hit, 2), pg_text(res, hit, 3));
        hit++;
    }
    return OK;
}

/* ---------------------------------------------------------------- the batch */

struct columns { /* the parameters of requests_insert, in its order */
    struct pg_array id, job_id, tenant, by, by_name, command, payload, masked, agent, type, match,
        timeout, key, hash, trace, admitted;
};

static void columns_init(struct columns *c)
{
    struct pg_array *a = &c->id;
    for (size_t i = 0; i < sizeof(*c) / sizeof(*a); i++)
        a[i] = PG_ARRAY(BATCH_BYTES);
}

static void columns_release(struct columns *c)
{
    struct pg_array *a = &c->id;
    for (size_t i = 0; i < sizeof(*c) / sizeof(*a); i++)
        pg_array_release(&a[i]);
}

static rc columns_add(struct cx *cx, struct columns *c, const struct request_new *r)
{
    const char *payload = r->payload ? r->payload : "{}", *masked;

    try(mask_text(cx, r->mask, payload, &masked));
    pg_array_s(&c->id, r->request_id);
    pg_array_s(&c->job_id, r->job_id);
    pg_array_s(&c->tenant, r->tenant_id);
    pg_array_s(&c->by, r->requested_by);
    pg_array_s(&c->by_name, r->requested_by_name);
    pg_array_s(&c->command, r->command);
    pg_array_s(&c->payload, payload);
    pg_array_s(&c->masked, masked);
    pg_array_s(&c->agent, r->agent_id);
    pg_array_s(&c->type, r->agent_type);
    pg_array_s(&c->match, r->match);
    pg_array_i(&c->timeout, r->timeout_ms);
    pg_array_s(&c->key, r->idempotency_key);
    pg_array_s(&c->hash, r->idempotency_key ? r->body_hash : NULL);
    pg_array_s(&c->trace, r->trace);
    pg_array_t(&c->admitted, r->admitted_ms);
    return OK;
}

static rc send_batch(struct cx *cx, struct pg *db, struct request_row *const *rows, size_t n,
                     const struct pg_soon *soon)
{
    _cleanup_(columns_release) struct columns c;
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct request_row **skipped = arena_alloc(&cx->arena, n * sizeof(*skipped));
    bool *known = arena_alloc(&cx->arena, n * sizeof(*known));
    size_t nskipped = 0;

    columns_init(&c);
    for (size_t i = 0; i < n; i++)
        try(columns_add(cx, &c, &rows[i]->new));
    try(pg_query_soon(cx, db, &SQL_REQUESTS_INSERT, &res,
                      PG_ARGS(pg_a(&c.id), pg_a(&c.job_id), pg_a(&c.tenant), pg_a(&c.by),
                              pg_a(&c.by_name), pg_a(&c.command), pg_a(&c.payload), pg_a(&c.masked),
                              pg_a(&c.agent), pg_a(&c.type), pg_a(&c.match), pg_a(&c.timeout),
                              pg_a(&c.key), pg_a(&c.hash), pg_a(&c.trace), pg_a(&c.admitted)),
                      soon));
    assert((size_t)pg_rows(res) == n);
    for (size_t i = 0; i < n; i++) {
        if (pg_bool(res, (int)i, 1)) {
            rows[i]->made = REQUEST_CREATED;
        } else {
            skipped[nskipped] = rows[i];
            known[nskipped++] = pg_bool(res, (int)i, 0);
        }
    }
    return nskipped ? look_up(cx, db, skipped, known, nskipped) : OK;
}

struct batch {
    struct pg *db;
    struct request_row *const *rows;
    size_t n;
    const struct pg_soon *soon;
};

static rc send_rows(struct cx *cx, void *arg)
{
    const struct batch *b = arg;
    return send_batch(cx, b->db, b->rows, b->n, b->soon);
}

static rc send_surely(struct cx *cx, struct pg *db, struct request_row *const *rows, size_t n,
                      const struct pg_soon *soon)
{
    return surely(cx, send_rows, &(struct batch){db, rows, n, soon}, surely_of_a_row);
}

rc requests_insert(struct cx *cx, struct pg *db, struct request_row *const *rows, size_t n,
                   const struct pg_soon *soon)
{
    if (n == 0)
        return OK;
    for (size_t i = 0; i < n; i++) {
        struct request_new *r = &rows[i]->new;
        if (!r->request_id[0])
            id_new(r->request_id);
        if (!r->job_id[0])
            id_new(r->job_id);
    }
    rc r = send_surely(cx, db, rows, n, soon);
    if (!surely_of_a_row(r))
        return r;
    if (n > 1)
        log_fail(LOG_WARN, "requests.one_by_one", cx, r, kv_int("rows", (int64_t)n));
    for (size_t i = 0; i < n; i++) {
        r = n > 1 ? send_surely(cx, db, &rows[i], 1, NULL) : r;
        if (r != OK) { /* with the store's code when it is the store: a 503 for this row alone */
            rows[i]->made = REQUEST_REFUSED;
            rows[i]->err = cx->err;
        }
    }
    return OK;
}

rc requests_push(struct cx *cx, struct engine *e, struct request_row *const *rows, size_t n)
{
    struct job_new *jobs = arena_alloc(&cx->arena, (n + 1) * sizeof(*jobs));
    size_t created = 0;

    for (size_t i = 0; i < n; i++) {
        const struct request_new *r = &rows[i]->new;
        if (rows[i]->made != REQUEST_CREATED)
            continue;
        struct job_new *j = &jobs[created++];
        *j = (struct job_new){
            .queue = REQUEST_QUEUE,
            .task = REQUEST_RUN_TASK,
            .args = arena_printf(&cx->arena, "{\"request_id\" : \"%s\"}", r->request_id),
            .durable = true,
            .priority = JOB_PRIORITY,
            .subject = r->request_id,
            .tenant_id = r->tenant_id,
            .trace = r->trace,
            .unique_key = arena_printf(&cx->arena, REQUEST_RUN_TASK ":%s", r->request_id),
        };
        memcpy(j->id, r->job_id, sizeof(j->id));
    }
    return created ? engine_push(cx, e, jobs, created) : OK;
}

rc requests_room(struct cx *cx, struct engine *e, const struct request_new *new)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    const struct job_new j = {.queue = REQUEST_QUEUE,
                              .task = REQUEST_RUN_TASK,
                              .durable = true,
                              .priority = JOB_PRIORITY,
                              .tenant_id = new->tenant_id};
    rc r = engine_room(cx, e, &j, 1);

    if (r != E_QUEUE_FULL || !new->idempotency_key)
        return r;
    struct err full = cx->err;
    try(pg_do(cx, engine_db(e), SQL_REQUEST_KNOWN, &res, pg_s(new->tenant_id),
              pg_s(new->idempotency_key)));
    if (pg_bool(res, 0, 0))
        return OK;
    cx->err = full;
    return r;
}

/* request_create.c - a request and its job in one statement. Its ids are made before it is sent, so that a commit in doubt is sent
 * again and finds itself. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "domain/agents/request_row.h"
#include "domain/agents/requests.h"
#include "domain/agents/requests.sql.h"
#include "domain/surely.h"
#include <string.h>

#define NAME_MAX_ 300
#define KEY_MAX   255
#define TRACE_MAX 128

static bool command_valid(const char *s)
{
    size_t n = s ? strnlen(s, REQUEST_COMMAND_MAX + 1) : 0;

    return n >= 1 && n <= REQUEST_COMMAND_MAX &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-") == n;
}

static bool text_valid(const char *s, size_t max_chars)
{
    return s && *s && utf8_valid(s, strlen(s)) && utf8_len(s) <= max_chars;
}

rc request_new_check(struct cx *cx, const struct request_new *n)
{
    const char *json;

    if (!command_valid(n->command))
        return fail_at(cx, INVALID_FIELD, "/command",
                       "must have 1 to %d characters of A-Z a-z 0-9 _ . : -", REQUEST_COMMAND_MAX);
    if (n->payload && strlen(n->payload) > REQUEST_PAYLOAD_MAX)
        return fail_at(cx, INVALID_FIELD, "/payload", "has more than %zu bytes",
                       REQUEST_PAYLOAD_MAX);
    if (n->payload) {
        cJSON *v;
        try(json_parse(cx, n->payload, strlen(n->payload), REQUEST_PAYLOAD_MAX, &v));
        if (!numbers_fit(n->payload))
            return fail_at(cx, INVALID_FIELD, "/payload",
                           "holds a number that is too large or too small");
    }
    if (!n->agent_id && !n->agent_type && !n->match)
        return fail_at(cx, INVALID_FIELD, "/agent_id",
                       "one of agent_id, agent_type and match must say who is meant");
    if (n->agent_id && (n->agent_type || n->match))
        return fail_at(cx, INVALID_FIELD, "/agent_id",
                       "either agent_id, or agent_type and match, say who is meant");
    if (n->agent_id && !agent_id_valid(n->agent_id))
        return fail_at(cx, INVALID_FIELD, "/agent_id", "is not the id of an agent");
    if (n->agent_type && !agent_type_valid(n->agent_type))
        return fail_at(cx, INVALID_FIELD, "/agent_type", "is not the name of a type");
    if (n->match)
        try(object_check(cx, n->match, AGENT_METADATA_MAX, "/match", &json));
    if (n->timeout_ms < 1 || n->timeout_ms > REQUEST_TIMEOUT_MAX)
        return fail_at(cx, INVALID_FIELD, "/timeout_ms", "must be 1 to %d", REQUEST_TIMEOUT_MAX);
    if (n->idempotency_key && !text_valid(n->idempotency_key, KEY_MAX))
        return fail(cx, BAD_REQUEST, "an Idempotency-Key has 1 to %d characters", KEY_MAX);
    if (!text_valid(n->requested_by_name, NAME_MAX_))
        return fail(cx, INTERNAL, "a request says who asked");
    if (n->trace && !text_valid(n->trace, TRACE_MAX))
        return fail(cx, INTERNAL, "a trace has at most %d characters", TRACE_MAX);
    return OK;
}

/* ---------------------------------------------------------------- the statement */

/* *ret_found is false when nobody stands where this one was to be. */
static rc first(struct cx *cx, struct pg *db, struct request_new *n, struct command_request *ret,
                bool *ret_found)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_REQUEST_FIRST, &res, pg_s(n->request_id), pg_s(n->tenant_id),
              pg_s(n->idempotency_key)));
    *ret_found = pg_rows(res) > 0;
    if (!*ret_found)
        return OK;
    try(request_read(cx, res, 0, ret));
    if (str_eq(ret->request_id, n->request_id)) /* an earlier try of ours was kept */
        return OK;
    if (!str_eq(pg_col(res, 0, "body_hash"), n->body_hash))
        return fail(cx, IDEMPOTENCY_MISMATCH,
                    "this Idempotency-Key was used with another body, for request %s",
                    ret->request_id);
    n->replayed = true;
    strcpy(n->request_id, ret->request_id);
    strcpy(n->job_id, ret->job_id);
    return OK;
}

static void fill(struct cx *cx, const struct request_new *n, const struct pg_result *res,
                 struct command_request *ret)
{
    struct arena *a = &cx->arena;

    *ret = (struct command_request){
        .request_id = arena_strdup(a, n->request_id),
        .tenant_id = arena_strdup(a, n->tenant_id),
        .job_id = arena_strdup(a, n->job_id),
        .requested_by = arena_strdup(a, n->requested_by),
        .requested_by_name = arena_strdup(a, n->requested_by_name),
        .command = arena_strdup(a, n->command),
        .payload = arena_strdup(a, n->payload ? n->payload : "{}"),
        .agent_id = arena_strdup(a, n->agent_id),
        .agent_type = arena_strdup(a, n->agent_type),
        .match = arena_strdup(a, n->match),
        .status = REQUEST_PENDING,
        .timeout_ms = n->timeout_ms,
        .version = 1,
        .trace = arena_strdup(a, n->trace),
        .created_ms = pg_ms(res, 0, 2),
        .updated_ms = pg_ms(res, 0, 2),
        .deadline_ms = pg_ms(res, 0, 3),
        .admitted_ms = pg_ms(res, 0, 4),
    };
}

static rc insert(struct cx *cx, struct pg *db, struct request_new *n, const char *masked,
                 struct command_request *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    bool found;

    try(pg_do(cx, db, SQL_REQUEST_CREATE, &res, pg_s(n->request_id), pg_s(n->tenant_id),
              pg_s(n->job_id), pg_s(n->requested_by), pg_s(n->requested_by_name), pg_s(n->command),
              pg_s(n->payload ? n->payload : "{}"), pg_s(masked), pg_s(n->agent_id),
              pg_s(n->agent_type), pg_s(n->match), pg_i(n->timeout_ms), pg_t(n->admitted_ms),
              pg_s(n->idempotency_key), pg_s(n->idempotency_key ? n->body_hash : NULL),
              pg_s(n->trace)));
    if (pg_bool(res, 0, 1)) {
        fill(cx, n, res, ret);
        return OK;
    }
    try(first(cx, db, n, ret, &found)); /* also of an agent that is there no more */
    if (found)
        return OK;
    if (!pg_bool(res, 0, 0))
        return fail_at(cx, UNKNOWN_AGENT, "/agent_id", "there is no agent '%s'", n->agent_id);
    return fail(cx, INTERNAL, "the request was neither inserted nor found");
}

struct insertion {
    struct pg *db;
    struct request_new *n;
    const char *masked;
    struct command_request *ret;
};

static rc insert_again(struct cx *cx, void *arg)
{
    const struct insertion *i = arg;
    return insert(cx, i->db, i->n, i->masked, i->ret);
}

static bool about_the_request(rc r)
{
    return r != E_STORE_DOWN && r != E_DEADLINE && r != E_CANCELLED && r != E_OVERLOADED;
}

static void push(struct cx *cx, struct engine *e, const struct command_request *q)
{
    struct job_new *j = arena_alloc(&cx->arena, sizeof(*j));

    *j = (struct job_new){
        .queue = REQUEST_QUEUE,
        .task = REQUEST_RUN_TASK,
        .args = arena_printf(&cx->arena, "{\"request_id\" : \"%s\"}", q->request_id),
        .durable = true,
        .priority = JOB_PRIORITY,
        .subject = q->request_id,
        .tenant_id = q->tenant_id,
        .trace = q->trace,
        .unique_key = arena_printf(&cx->arena, REQUEST_RUN_TASK ":%s", q->request_id),
    };
    strcpy(j->id, q->job_id);
    rc r = engine_push(cx, e, j, 1);
    if (r != OK) /* the reconciler pushes it */
        log_fail(LOG_WARN, "request.push", cx, r, kv_str("request", q->request_id));
}

rc request_create(struct cx *cx, struct pg *db, struct engine *e, struct request_new *n,
                  struct command_request *ret)
{
    const char *masked;

    try(request_new_check(cx, n));
    try(mask_text(cx, n->mask, n->payload ? n->payload : "{}", &masked));
    if (!n->request_id[0])
        id_new(n->request_id);
    if (!n->job_id[0])
        id_new(n->job_id);
    n->replayed = false;
    try(surely(cx, insert_again, &(struct insertion){db, n, masked, ret}, about_the_request));
    if (e && !n->replayed)
        push(cx, e, ret);
    return OK;
}

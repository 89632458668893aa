/* test_hub_contract.c - what the hub answers is what /openapi.json says: real replies against the
 * schemas named there.
 *
 * The schema words that the document uses are judged here: $ref, type, enum, required, properties,
 * items, format (uuid, date-time). A name in a reply that its schema does not list is a fault too:
 * the document must not fall behind the code. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "tests/e2e/e2e.h"

static struct house h;
static struct web_reply doc;
static char order[40], job[40], dead[40], dead_job[40], package[40], request[40], waiting[40],
    token[40], flow[40], long_flow[40];

/* ------------------------------------------------------------------ a small judge of schemas */

static const cJSON *get(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

static const cJSON *schema_named(const char *name)
{
    const cJSON *s = get(get(get(doc.json, "components"), "schemas"), name);

    ck_assert_msg(s != NULL, "openapi.json has no schema %s", name);
    return s;
}

static bool is_type(const cJSON *v, const char *type)
{
    if (strcmp(type, "integer") == 0)
        return cJSON_IsNumber(v) && v->valuedouble == (double)(int64_t)v->valuedouble;
    return (strcmp(type, "object") == 0 && cJSON_IsObject(v)) ||
           (strcmp(type, "array") == 0 && cJSON_IsArray(v)) ||
           (strcmp(type, "string") == 0 && cJSON_IsString(v)) ||
           (strcmp(type, "number") == 0 && cJSON_IsNumber(v)) ||
           (strcmp(type, "boolean") == 0 && cJSON_IsBool(v)) ||
           (strcmp(type, "null") == 0 && cJSON_IsNull(v));
}

static bool has_type(const cJSON *v, const cJSON *type)
{
    const cJSON *one;

    if (cJSON_IsString(type))
        return is_type(v, type->valuestring);
    cJSON_ArrayForEach(one, type)
    {
        if (is_type(v, one->valuestring))
            return true;
    }
    return type == NULL;
}

static bool has_format(const cJSON *v, const cJSON *format)
{
    char id[ID_LEN + 1];
    int64_t ms;

    if (!format || !cJSON_IsString(v))
        return true;
    if (strcmp(format->valuestring, "uuid") == 0)
        return id_parse(v->valuestring, id);
    if (strcmp(format->valuestring, "date-time") == 0)
        return clock_parse(v->valuestring, &ms);
    return true;
}

static bool is_listed(const cJSON *v, const cJSON *list)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, list)
    {
        if (cJSON_Compare(v, one, true))
            return true;
    }
    return list == NULL;
}

static void judge(const char *where, const cJSON *v, const cJSON *schema);

static void judge_object(const char *where, const cJSON *v, const cJSON *schema)
{
    const cJSON *names = get(schema, "properties"), *one;

    cJSON_ArrayForEach(one, get(schema, "required")) ck_assert_msg(
        get(v, one->valuestring) != NULL, "%s: %s is missing", where, one->valuestring);
    cJSON_ArrayForEach(one, v)
    {
        _cleanup_(freep) char *inner = xasprintf("%s/%s", where, one->string);
        if (!names)
            continue;
        ck_assert_msg(get(names, one->string) != NULL, "%s is not in openapi.json", inner);
        judge(inner, one, get(names, one->string));
    }
}

static void judge(const char *where, const cJSON *v, const cJSON *schema)
{
    const cJSON *ref = get(schema, "$ref"), *one;

    if (ref) {
        judge(where, v, schema_named(strrchr(ref->valuestring, '/') + 1));
        return;
    }
    _cleanup_(freep) char *text = cJSON_PrintUnformatted(v);
    ck_assert_msg(has_type(v, get(schema, "type")), "%s: wrong type: %s", where, text);
    ck_assert_msg(has_format(v, get(schema, "format")), "%s: wrong form: %s", where, text);
    ck_assert_msg(is_listed(v, get(schema, "enum")), "%s: not one of them: %s", where, text);
    if (cJSON_IsObject(v))
        judge_object(where, v, schema);
    if (cJSON_IsArray(v) && get(schema, "items"))
        cJSON_ArrayForEach(one, v) judge(where, one, get(schema, "items"));
}

/* ------------------------------------------------------------------ the calls */

/* Path of openapi.json; $O, $J, $D, $P: order, job, dead letter, package; $F, $G: a workflow that is
 * completed, one that waits; $R, $W: a request that has
 * ended, one that waits; $K: a token of agent c-1. */
static const struct {
    const char *method, *template, *path, *body;
    int status;
    bool filled; /* "data" must not be empty */
} calls[] = {
    {"POST", "/v1/orders", "/v1/orders", "{\"package_id\":\"$P\",\"user_identifier\":\"c\"}", 201,
     0},
    {"GET", "/v1/orders", "/v1/orders", NULL, 200, true},
    {"GET", "/v1/orders/{id}", "/v1/orders/$O", NULL, 200, 0},
    {"POST", "/v1/orders/{id}/cancel", "/v1/orders/$C/cancel", NULL, 200, 0},
    {"GET", "/v1/orders/{id}/events", "/v1/orders/$O/events", NULL, 200, true},
    {"POST", "/api-dj/orders", "/api-dj/orders/", "{\"packageId\":\"$P\",\"userIdentifier\":\"c\"}",
     201, 0},
    {"POST", "/v1/jobs", "/v1/jobs", "{\"task\":\"mihwar.noop\"}", 201, 0},
    {"POST", "/v1/jobs", "/v1/jobs", "[{\"task\":\"mihwar.noop\",\"durable\":false}]", 201, 0},
    {"GET", "/v1/jobs/{id}", "/v1/jobs/$J", NULL, 200, 0},
    {"GET", "/v1/jobs/{id}", "/v1/jobs/$X", NULL, 200, 0},
    {"GET", "/v1/jobs/{id}/events", "/v1/jobs/$J/events", NULL, 200, 0},
    {"GET", "/v1/jobs/{id}/events", "/v1/jobs/$J/events?after=1", NULL, 422, 0},
    {"GET", "/v1/jobs/{id}/explain", "/v1/jobs/$J/explain", NULL, 200, 0},
    {"GET", "/v1/jobs/{id}/explain", "/v1/jobs/$X/explain", NULL, 200, 0},
    {"GET", "/v1/jobs/{id}/explain", "/v1/jobs/$S/explain", NULL, 200, 0},
    {"POST", "/v1/jobs/{id}/cancel", "/v1/jobs/$S/cancel", NULL, 200, 0},
    {"POST", "/v1/jobs/{id}/retry", "/v1/jobs/$S/retry", NULL, 200, 0},
    {"POST", "/v1/workflows", "/v1/workflows",
     "{\"name\":\"c\",\"chord\":{\"group\":[{\"task\":\"mihwar.noop\"},{\"task\":\"mihwar.echo\"}],"
     "\"then\":{\"task\":\"mihwar.previous\"}}}",
     201, 0},
    {"POST", "/v1/workflows", "/v1/workflows", "{\"chain\":[{\"group\":[]}]}", 422, 0},
    {"GET", "/v1/workflows", "/v1/workflows?state=completed", NULL, 200, true},
    {"GET", "/v1/workflows/{id}", "/v1/workflows/$F?limit=3", NULL, 200, 0},
    {"POST", "/v1/workflows/{id}/cancel", "/v1/workflows/$G/cancel", NULL, 200, 0},
    {"POST", "/v1/workflows/{id}/retry", "/v1/workflows/$G/retry", NULL, 200, 0},
    {"GET", "/v1/queues", "/v1/queues", NULL, 200, true},
    {"PUT", "/v1/limits", "/v1/limits",
     "{\"queues\":[\"contract\"],\"key\":\"k\",\"concurrency\":2,\"rate\":{\"count\":5},"
     "\"breaker\":{}}",
     200, 0},
    {"GET", "/v1/limits", "/v1/limits?queue=contract", NULL, 200, true},
    {"POST", "/v1/limits/breaker", "/v1/limits/breaker",
     "{\"queue\":\"contract\",\"key\":\"k\",\"forced\":\"open\"}", 200, 0},
    {"POST", "/v1/limits/remove", "/v1/limits/remove", "{\"queue\":\"contract\",\"key\":\"k\"}",
     200, 0},
    {"POST", "/v1/queues/{q}/pause", "/v1/queues/contract/pause", NULL, 200, 0},
    {"POST", "/v1/queues/{q}/resume", "/v1/queues/contract/resume", NULL, 200, 0},
    {"POST", "/v1/queues/{q}/drain", "/v1/queues/contract/drain", NULL, 200, 0},
    {"POST", "/v1/queues/{q}/resume", "/v1/queues/contract/resume", NULL, 200, 0},
    {"PUT", "/v1/queues/{q}/policy", "/v1/queues/contract/policy",
     "{\"priorities\":\"weighted\",\"weights\":[9,8,7,6,5,4,3,2,1,1],\"max_bytes\":1000000}", 200,
     0},
    {"GET", "/v1/queues", "/v1/queues", NULL, 200, true},
    {"PUT", "/v1/queues/{q}/policy", "/v1/queues/contract/policy", "{\"fair\":1}", 422, 0},
    {"GET", "/v1/queues/{q}/policy", "/v1/queues/contract/policy", NULL, 200, 0},
    {"POST", "/v1/queues/{q}/purge", "/v1/queues/contract/purge", NULL, 200, 0},
    {"GET", "/v1/workers", "/v1/workers", NULL, 200, true},
    {"GET", "/v1/dlq", "/v1/dlq", NULL, 200, true},
    {"POST", "/v1/dlq/replay", "/v1/dlq/replay", "{\"ids\":[\"$D\"]}", 200, 0},
    {"POST", "/v1/schedules", "/v1/schedules",
     "{\"name\":\"c\",\"task\":\"mihwar.noop\",\"cron\":\"0 4 * * "
     "*\",\"timezone\":\"Asia/Riyadh\"}",
     201, 0},
    {"PATCH", "/v1/schedules/{id}", "/v1/schedules/c", "{\"every\":\"1h\"}", 200, 0},
    {"GET", "/v1/schedules", "/v1/schedules", NULL, 200, true},
    {"DELETE", "/v1/schedules/{id}", "/v1/schedules/c", NULL, 204, 0},
    {"POST", "/v1/requests", "/v1/requests",
     "{\"command\":\"get_status\",\"agent_type\":\"cpe\",\"match\":{\"site\":\"x\"},"
     "\"payload\":{\"a\":1}}",
     202, 0},
    {"GET", "/v1/requests", "/v1/requests?limit=2", NULL, 200, true},
    {"GET", "/v1/requests/{id}", "/v1/requests/$R", NULL, 200, 0},
    {"POST", "/v1/requests/{id}/cancel", "/v1/requests/$W/cancel", NULL, 200, 0},
    {"GET", "/v1/command_history", "/v1/command_history", NULL, 200, true},
    {"GET", "/v1/security_events", "/v1/security_events", NULL, 200, true},
    {"POST", "/v1/agents", "/v1/agents",
     "{\"agent_id\":\"c-2\",\"agent_type\":\"cpe\",\"metadata\":{\"site\":\"x\"}}", 201, 0},
    {"GET", "/v1/agents", "/v1/agents", NULL, 200, true},
    {"GET", "/v1/agents/{id}", "/v1/agents/c-1", NULL, 200, 0},
    {"PATCH", "/v1/agents/{id}", "/v1/agents/c-1", "{\"metadata\":{\"site\":\"y\"}}", 200, 0},
    {"POST", "/v1/agents/{id}/tokens", "/v1/agents/c-1/tokens", "{\"expires_in\":\"90d\"}", 201, 0},
    {"GET", "/v1/agents/{id}/tokens", "/v1/agents/c-1/tokens", NULL, 200, true},
    {"DELETE", "/v1/agents/{id}/tokens/{token_id}", "/v1/agents/c-1/tokens/$K", NULL, 204, 0},
    /* an API key is no agent's token; what an agent gets is in test_session.c */
    {"GET", "/v1/agent/session", "/v1/agent/session?agent_id=c-1", NULL, 401, 0},
    {"GET", "/healthz", "/healthz", NULL, 200, 0},
    {"GET", "/readyz", "/readyz", NULL, 200, 0},
    {"GET", "/v1/orders", "/v1/orders?limit=0", NULL, 422, 0},
    {"POST", "/v1/jobs", "/v1/jobs", "{\"task\":1}", 422, 0},
};

static char *fill(const char *text)
{
    static char scheduled[40], pending[40];
    struct buf b = BUF(KiB(4));

    if (text && strstr(text, "$S") && !scheduled[0]) {
        _cleanup_(web_reply_release) struct web_reply r =
            house_post(&h, "/v1/jobs",
                       "{\"task\":\"mihwar.noop\",\"delay_ms\":600000,\"queue\":\"contract\"}");
        snprintf(scheduled, sizeof scheduled, "%s", web_text(&r, "id"));
        /* a queue's first durable job is taken by Redis when the queue has an epoch; when it came too early for that, with the next
         * round of reconciling, which is half a minute away */
        ck_wait(redis_one(h.stores.redis_url, "HGET mw:{contract}:jobs %s", scheduled) != NULL,
                90000);
    }
    if (text && strstr(text, "$C")) {
        house_down(&h, WORKER);
        snprintf(pending, sizeof pending, "%s", house_order(&h, package, "cancel", ""));
    }
    for (const char *p = text; p && *p; p++) {
        const char *v = *p != '$'     ? NULL
                        : p[1] == 'O' ? order
                        : p[1] == 'C' ? pending
                        : p[1] == 'J' ? job
                        : p[1] == 'X' ? dead_job
                        : p[1] == 'S' ? scheduled
                        : p[1] == 'D' ? dead
                        : p[1] == 'R' ? request
                        : p[1] == 'W' ? waiting
                        : p[1] == 'K' ? token
                        : p[1] == 'F' ? flow
                        : p[1] == 'G' ? long_flow
                                      : package;
        if (v)
            buf_puts(&b, v), p++;
        else
            buf_putc(&b, *p);
    }
    return buf_take(&b);
}

static const cJSON *answer_schema(const cJSON *op, int status)
{
    char code[8];

    snprintf(code, sizeof code, "%d", status);
    const cJSON *r = get(get(op, "responses"), code);
    bool other = !r;
    if (other)
        r = get(get(op, "responses"), "default");
    return get(get(get(r, "content"), other ? "application/problem+json" : "application/json"),
               "schema");
}

/* Posts, and keeps a field of the answer. */
static void make(const char *path, const char *body, int status, const char *field, char out[40])
{
    _cleanup_(web_reply_release) struct web_reply r = house_post(&h, path, body);

    ck_assert_msg(r.status == status, "%s: %d %s", path, r.status, r.body);
    snprintf(out, 40, "%s", web_text(&r, field));
}

/* An agent with a token; a request that nobody came for, and one that waits. */
static void make_requests(void)
{
    char agent[40];

    make("/v1/agents", "{\"agent_id\":\"c-1\",\"agent_type\":\"router\"}", 201, "agent_id", agent);
    make("/v1/agents/c-1/tokens", "{}", 201, "token_id", token);
    make("/v1/requests", "{\"command\":\"reboot\",\"agent_id\":\"c-1\",\"timeout_ms\":100}", 202,
         "request_id", request);
    make("/v1/requests", "{\"command\":\"reboot\",\"agent_id\":\"c-1\"}", 202, "request_id",
         waiting);
    ck_wait(pg_one_int(h.stores.database_url,
                       "SELECT count(*) FROM requests WHERE request_id = '%s' AND status = "
                       "'timeout'",
                       request) == 1,
            30000);
}

static void make_workflows(void)
{
    make("/v1/workflows",
         "{\"chain\":[{\"group\":[{\"task\":\"mihwar.echo\",\"args\":{\"a\":1}},{\"task\":\"mihwar."
         "echo\","
         "\"args\":{\"fail\":\"invalid_field\"}}],\"on_failure\":\"continue\"},{\"task\":"
         "\"mihwar.previous\"}]}",
         201, "id", flow);
    make("/v1/workflows",
         "{\"group\":[{\"task\":\"mihwar.noop\",\"delay_ms\":600000,\"queue\":\"contract\"}]}", 201,
         "id", long_flow);
    ck_wait(pg_one_int(h.stores.database_url,
                       "SELECT count(*) FROM workflows WHERE id = '%s' AND state = 'completed'",
                       flow) == 1,
            90000);
}

/* One order with a PIN, one finished job, one dead letter. */
static void make_things(void)
{
    pg_one(h.stores.database_url,
           "INSERT INTO security_events (tenant_id, kind, door, identity, source, route, detail) "
           "VALUES ('%s', 'forbidden', 'mtls', 'cert:x', '10.1.2.3', 'GET /v1/dlq', 'lacks "
           "dlq:read')",
           h.tenant);
    make_requests();
    make_workflows();
    doc = house_get(&h, "/openapi.json");
    ck_assert(doc.status == 200 && doc.json);
    snprintf(package, sizeof package, "%s", house_package(&h, "60", NULL));
    snprintf(order, sizeof order, "%s", house_order(&h, package, "contract", ",\"quantity\":2"));
    _cleanup_(web_reply_release) struct web_reply j =
        house_post(&h, "/v1/jobs", "{\"task\":\"mihwar.sleep\",\"args\":{\"steps\":1}}");
    snprintf(job, sizeof job, "%s", web_text(&j, "id"));
    _cleanup_(web_reply_release) struct web_reply d = house_post(
        &h, "/v1/jobs", "{\"task\":\"mihwar.echo\",\"args\":{\"fail\":\"invalid_field\"}}");
    snprintf(dead_job, sizeof dead_job, "%s", web_text(&d, "id"));
    ck_wait(strcmp(house_status(&h, order), "completed") == 0, 30000);
    ck_wait(({
                _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/v1/dlq");
                const char *id = web_text(&r, "data.0.id");
                snprintf(dead, sizeof dead, "%s", id ? id : "");
                id != NULL;
            }),
            30000);
    ck_wait(pg_one_int(h.stores.database_url,
                       "SELECT count(*) FROM jobs WHERE id = '%s' AND state "
                       "= 'completed'",
                       job) == 1,
            30000);
}

/* The worker that made these things is gone by now, and out of the register. */
static void make_worker(void)
{
    static const char *const card =
        "{\"kind\":\"worker\",\"host\":\"h\",\"pid\":7,\"child\":0,\"version\":\"0\",\"started_"
        "ms\":1,"
        "\"concurrency\":5,\"running\":1,\"draining\":true,\"rss_bytes\":9,\"queues\":[{\"name\":"
        "\"orders\",\"busy\":0.5,\"rate_per_s\":1}],\"tasks\":[\"mihwar.noop\"],\"oldest\":[{"
        "\"id\":"
        "\"x\",\"task\":\"mihwar.noop\",\"queue\":\"orders\",\"attempt\":1,\"started_ms\":5}]}";

    redis_one(h.stores.redis_url, "HSET mw:{:workers}:of:h:7 card %s", card);
    redis_one(h.stores.redis_url, "ZADD mw:{:workers}:seen 9999999999999 h:7 9999999999998 h:6");
}

START_TEST(replies_fit_the_document)
{
    if (!doc.json) {
        make_things();
        make_worker();
    }
    _cleanup_(freep) char *path = fill(calls[_i].path), *body = fill(calls[_i].body);
    _cleanup_(freep) char *url = xasprintf("%s%s", h.url, path), *lower = xstrdup(calls[_i].method);
    _cleanup_(freep) char *where = xasprintf("%s %s", calls[_i].method, path);
    for (char *c = lower; *c; c++)
        *c = (char)(*c | 0x20);
    const cJSON *op = get(get(get(doc.json, "paths"), calls[_i].template), lower);
    ck_assert_msg(op != NULL, "openapi.json has no %s %s", lower, calls[_i].template);
    _cleanup_(web_reply_release) struct web_reply r =
        web(.url = url, .method = calls[_i].method, .bearer = h.key,
            .body = calls[_i].body ? body : NULL);
    ck_assert_msg(r.status == calls[_i].status, "%s: %d %s %s", where, r.status, r.why, r.body);
    if (calls[_i].status == 204) {
        ck_assert_int_eq((int)r.body_len, 0);
        return;
    }
    const cJSON *schema = answer_schema(op, r.status);
    ck_assert_msg(schema && r.json, "%s: no schema, or no JSON: %s", where, r.body);
    judge(where, r.json, schema);
    if (calls[_i].filled)
        ck_assert_msg(cJSON_GetArraySize(get(r.json, "data")) > 0, "%s: nothing to judge", where);
}
END_TEST

/* No operation is forgotten above, save those whose answer is no JSON of ours. */
START_TEST(every_operation_was_asked)
{
    const cJSON *path, *op;

    cJSON_ArrayForEach(path, get(doc.json, "paths"))
    {
        cJSON_ArrayForEach(op, path)
        {
            const char *id = get(op, "operationId")->valuestring;
            bool asked = strcmp(id, "metrics") == 0 || strcmp(id, "openapi") == 0 ||
                         strcmp(id, "dlq_drop") == 0; /* 204 */
            for (size_t i = 0; i < COUNT(calls); i++)
                asked |= strcmp(calls[i].template, path->string) == 0 &&
                         strcasecmp(calls[i].method, op->string) == 0;
            ck_assert_msg(asked, "%s is not asked here", id);
        }
    }
}
END_TEST

E2E(hub_contract, house_start, {"replies", replies_fit_the_document, COUNT(calls)},
    {"operations", every_operation_was_asked, 0})

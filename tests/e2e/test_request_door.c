/* test_request_door.c - requests and agents at the front door: bad input is told clearly and stores nothing;
 * who may do what, and whose things are whose. No agent connects here. */
#include "base/buf.h"
#include "tests/e2e/requests_world.h"

static struct house h;

#define says(...) db_says(&h, __VA_ARGS__)

static char *repeat(const char *s, size_t n)
{
    struct buf b = BUF(MiB(8));
    for (size_t i = 0; i < n; i++)
        buf_puts(&b, s);
    return buf_take(&b);
}

/* ---------------------------------------------------------------- bad input */

#define TO "\"agent_id\":\"cpe-1\""

/* X stands for `fill`, `times` over. */
static const struct {
    const char *title, *path, *body, *fill;
    size_t times;
    int status;
    const char *code, *pointer;
} cases[] = {
    {"no command", "/v1/requests", "{" TO "}", "", 0, 422, "invalid_field", "/command"},
    {"an empty command", "/v1/requests", "{\"command\":\"\"," TO "}", "", 0, 422, "invalid_field",
     "/command"},
    {"a command with a blank", "/v1/requests", "{\"command\":\"re boot\"," TO "}", "", 0, 422,
     "invalid_field", "/command"},
    {"a command of 129 characters", "/v1/requests", "{\"command\":\"X\"," TO "}", "a", 129, 422,
     "invalid_field", "/command"},
    {"a number for a command", "/v1/requests", "{\"command\":1," TO "}", "", 0, 422,
     "invalid_field", "/command"},
    {"for nobody", "/v1/requests", "{\"command\":\"x\"}", "", 0, 422, "invalid_field", "/agent_id"},
    {"for one and for any", "/v1/requests", "{\"command\":\"x\"," TO ",\"agent_type\":\"cpe\"}", "",
     0, 422, "invalid_field", "/agent_id"},
    {"for one and for those that match", "/v1/requests",
     "{\"command\":\"x\"," TO ",\"match\":{\"a\":1}}", "", 0, 422, "invalid_field", "/agent_id"},
    {"an agent that is none", "/v1/requests", "{\"command\":\"x\",\"agent_id\":\"a b\"}", "", 0,
     422, "invalid_field", "/agent_id"},
    {"an unknown agent", "/v1/requests", "{\"command\":\"x\",\"agent_id\":\"nobody\"}", "", 0, 422,
     "unknown_agent", "/agent_id"},
    {"an agent that is let in no more", "/v1/requests",
     "{\"command\":\"x\",\"agent_id\":\"off-1\"}", "", 0, 422, "unknown_agent", "/agent_id"},
    {"a list to match", "/v1/requests", "{\"command\":\"x\",\"match\":[1]}", "", 0, 422,
     "invalid_field", "/match"},
    {"a payload that is text", "/v1/requests", "{\"command\":\"x\"," TO ",\"payload\":\"a\"}", "",
     0, 422, "invalid_field", "/payload"},
    {"a payload of more than 64 KiB", "/v1/requests",
     "{\"command\":\"x\"," TO ",\"payload\":{\"a\":\"X\"}}", "0123456789abcdef", 4096, 422,
     "invalid_field", "/payload"},
    {"a payload 65 levels deep", "/v1/requests", "{\"command\":\"x\"," TO ",\"payload\":X",
     "{\"a\":", 65, 400, "too_deep", NULL},
    {"too short a time", "/v1/requests", "{\"command\":\"x\"," TO ",\"timeout_ms\":99}", "", 0, 422,
     "invalid_field", "/timeout_ms"},
    {"more than a week", "/v1/requests", "{\"command\":\"x\"," TO ",\"timeout_ms\":604800001}", "",
     0, 422, "invalid_field", "/timeout_ms"},
    {"a stranger among the fields", "/v1/requests", "{\"command\":\"x\"," TO ",\"priority\":1}", "",
     0, 422, "invalid_field", "/priority"},
    {"cut in the middle", "/v1/requests", "{\"command\":\"x\",", "", 0, 400, "bad_json", NULL},
    {"invalid UTF-8", "/v1/requests", "{\"command\":\"\xff\"," TO "}", "", 0, 400, "bad_utf8",
     NULL},
    {"an agent without a type", "/v1/agents", "{\"agent_id\":\"n-1\"}", "", 0, 422, "invalid_field",
     "/agent_type"},
    {"an agent's id with a slash", "/v1/agents", "{\"agent_id\":\"n/1\",\"agent_type\":\"cpe\"}",
     "", 0, 422, "invalid_field", "/agent_id"},
    {"an agent that is there", "/v1/agents", "{\"agent_id\":\"cpe-1\",\"agent_type\":\"cpe\"}", "",
     0, 409, "already_exists", "/agent_id"},
    {"metadata that is a list", "/v1/agents",
     "{\"agent_id\":\"n-1\",\"agent_type\":\"cpe\",\"metadata\":[]}", "", 0, 422, "invalid_field",
     "/metadata"},
    {"a status by hand", "/v1/agents",
     "{\"agent_id\":\"n-1\",\"agent_type\":\"cpe\",\"status\":\"active\"}", "", 0, 422,
     "invalid_field", "/status"},
    {"a token for nobody", "/v1/agents/nobody/tokens", "{}", "", 0, 404, "not_found", NULL},
    {"a token that has expired", "/v1/agents/cpe-1/tokens",
     "{\"expires_at\":\"2020-01-01T00:00:00Z\"}", "", 0, 422, "invalid_field", "/expires_at"},
    {"a token with two ends", "/v1/agents/cpe-1/tokens",
     "{\"expires_at\":\"2099-01-01T00:00:00Z\",\"expires_in\":\"1d\"}", "", 0, 422, "invalid_field",
     "/expires_at"},
    {"a duration that is none", "/v1/agents/cpe-1/tokens", "{\"expires_in\":\"soon\"}", "", 0, 422,
     "invalid_field", "/expires_in"},
    {"a grace that is none", "/v1/agents/cpe-1/tokens", "{\"grace_ms\":0}", "", 0, 422,
     "invalid_field", "/grace_ms"},
    {"cancelling what is not there", "/v1/requests/01a00000-0000-7000-8000-00000000000a/cancel",
     "{}", "", 0, 404, "not_found", NULL},
    {"cancelling what is no id", "/v1/requests/x/cancel", "{}", "", 0, 404, "not_found", NULL},
};

/* How much there is of everything that could have been written to. */
static char *counts(void)
{
    return pg_table(
        h.stores.database_url,
        "SELECT (SELECT count(*) FROM requests), (SELECT count(*) FROM jobs), (SELECT "
        "count(*) FROM request_events), (SELECT count(*) FROM command_history), (SELECT "
        "count(*) FROM agents), (SELECT count(*) FROM agent_auth_tokens), (SELECT "
        "count(*) FROM audit_log)");
}

static void have_agents(void)
{
    static bool made;

    if (!made) {
        new_agent(&h, "cpe-1", "cpe", "{\"site\":\"x\"}");
        new_agent(&h, "off-1", "cpe", NULL);
        ck_assert_int_eq(house_cli(&h, NULL, "agent", "disable", "off-1", NULL), 0);
    }
    made = true;
}

START_TEST(bad_input)
{
    have_agents();
    _cleanup_(freep) char *many = repeat(cases[_i].fill, cases[_i].times);
    const char *x = cases[_i].times ? strchr(cases[_i].body, 'X') : NULL;
    _cleanup_(freep) char *body =
        x ? xasprintf("%.*s%s%s", (int)(x - cases[_i].body), cases[_i].body, many, x + 1)
          : xstrdup(cases[_i].body);
    _cleanup_(freep) char *before = counts();
    _cleanup_(web_reply_release) struct web_reply r = house_post(&h, cases[_i].path, body);
    _cleanup_(freep) char *after = counts();
    const char *pointer = web_text(&r, "errors.0.pointer");

    ck_assert_msg(r.status == cases[_i].status && web_text(&r, "code") &&
                      strcmp(web_text(&r, "code"), cases[_i].code) == 0,
                  "case: %s: %d %s", cases[_i].title, r.status, r.body);
    ck_assert_msg(!cases[_i].pointer || (pointer && strcmp(pointer, cases[_i].pointer) == 0),
                  "case: %s: %s", cases[_i].title, r.body);
    ck_assert_msg(strcmp(before, after) == 0, "case: %s: was %s, is %s", cases[_i].title, before,
                  after);
}
END_TEST

static const struct {
    const char *path;
    int status;
} questions[] = {
    {"/v1/requests?status=lost", 422},
    {"/v1/requests?since=yesterday", 422},
    {"/v1/requests?after=x", 422},
    {"/v1/requests/x", 404},
    {"/v1/requests/01a00000-0000-7000-8000-00000000000a", 404},
    {"/v1/agents?status=asleep", 422},
    {"/v1/agents?match=[1]", 422},
    {"/v1/agents?limit=0", 422},
    {"/v1/agents/nobody", 404},
    {"/v1/agents/nobody/tokens", 404},
    {"/v1/command_history?status=lost", 422},
    {"/v1/command_history?after=x", 422},
};

START_TEST(questions_that_are_none)
{
    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "%s", questions[_i].path);

    ck_assert_msg(r.status == questions[_i].status, "%s: %d %s", questions[_i].path, r.status,
                  r.body);
}
END_TEST

/* ---------------------------------------------------------------- the same again */

static struct web_reply keyed(const char *path, const char *key, const char *body)
{
    _cleanup_(freep) char *url = xasprintf("%s%s", h.url, path);
    _cleanup_(freep) char *header = xasprintf("Idempotency-Key: %s", key);
    const char *headers[] = {header, NULL};

    return web(.url = url, .bearer = h.key, .body = body, .headers = headers);
}

START_TEST(the_same_again)
{
    static const char body[] = "{\"command\":\"x\",\"agent_type\":\"cpe\"}";
    have_agents();
    _cleanup_(web_reply_release) struct web_reply a = keyed("/v1/requests", "r-1", body),
                                                  b = keyed("/v1/requests", "r-1", body),
                                                  c = keyed(
                                                      "/v1/requests", "r-1",
                                                      "{\"command\":\"y\",\"agent_type\":\"cpe\"}");

    ck_assert_int_eq(a.status, 202);
    ck_assert_int_eq(b.status, 202);
    ck_assert_str_eq(a.body, b.body);
    ck_assert_ptr_null(web_header(&a, "Idempotency-Replayed"));
    ck_assert_str_eq(web_header(&b, "Idempotency-Replayed"), "true");
    ck_assert_str_eq(web_header(&b, "Location"), web_header(&a, "Location"));
    ck_assert_int_eq(c.status, 422);
    ck_assert_str_eq(web_text(&c, "code"), "idempotency_mismatch");
    ck_assert_str_eq(says("SELECT count(*) FROM requests WHERE idempotency_key = 'r-1'"), "1");
}
END_TEST

/* A token is shown once, also to who repeats the call; the same key for another agent is another call. */
START_TEST(a_token_is_shown_once)
{
    have_agents();
    new_agent(&h, "cpe-2", "cpe", NULL);
    _cleanup_(web_reply_release) struct web_reply a = keyed("/v1/agents/cpe-1/tokens", "t-1", "{}"),
                                                  b = keyed("/v1/agents/cpe-1/tokens", "t-1", "{}"),
                                                  c = keyed("/v1/agents/cpe-2/tokens", "t-1", "{}");

    ck_assert_msg(a.status == 201 && strncmp(web_text(&a, "token"), "mwa_", 4) == 0, "%s", a.body);
    ck_assert_int_eq(b.status, 201);
    ck_assert_str_eq(web_text(&b, "token_id"), web_text(&a, "token_id"));
    ck_assert_str_eq(web_text(&b, "token"), "");
    ck_assert_str_eq(web_text(&c, "code"), "idempotency_mismatch");
    ck_assert_str_eq(says("SELECT count(*) FROM idempotency_keys WHERE body LIKE '%%%s%%'",
                          web_text(&a, "token")),
                     "0");
    _cleanup_(web_reply_release) struct web_reply list = house_get(&h, "/v1/agents/cpe-1/tokens");
    ck_assert_msg(!strstr(list.body, web_text(&a, "token")) && !strstr(list.body, "argon2"), "%s",
                  list.body);
}
END_TEST

/* What is not said stays as it is. */
START_TEST(an_agent_is_changed)
{
    static const struct {
        const char *body, *want; /* type, site, enabled */
    } rows[] = {
        {"{}", "router here true"},
        {"{\"enabled\":null,\"agent_type\":null,\"metadata\":null}", "router here true"},
        {"{\"agent_type\":\"switch\"}", "switch here true"},
        {"{\"metadata\":{\"site\":\"there\"}}", "switch there true"},
        {"{\"enabled\":false}", "switch there false"},
        {"{\"enabled\":true,\"metadata\":{}}", "switch - true"},
    };

    new_agent(&h, "change-1", "router", "{\"site\":\"here\"}");
    for (size_t i = 0; i < COUNT(rows); i++) {
        _cleanup_(freep) char *url = xasprintf("%s/v1/agents/change-1", h.url);
        _cleanup_(web_reply_release) struct web_reply r =
            web(.method = "PATCH", .url = url, .bearer = h.key, .body = rows[i].body);
        ck_assert_msg(r.status == 200, "%s: %d %s", rows[i].body, r.status, r.body);
        ck_assert_str_eq(says("SELECT concat_ws(' ', agent_type, coalesce(metadata ->> 'site', "
                              "'-'), enabled::text) "
                              "FROM agents WHERE agent_id = 'change-1'"),
                         rows[i].want);
    }
}
END_TEST

/* ---------------------------------------------------------------- who may, and whose it is */

static struct web_reply as(const char *key, const char *path, const char *body)
{
    _cleanup_(freep) char *url = xasprintf("%s%s", h.url, path);

    return web(.url = url, .bearer = key, .body = body);
}

START_TEST(another_shop)
{
    have_agents();
    house_cli_field(&h, "id", "tenant", "add", "other", "--json", NULL);
    _cleanup_(freep) char *key =
        xstrdup(house_cli_field(&h, "key", "key", "add", "other", "--tenant", "other",
                                "--permissions", "*", "--json", NULL));
    _cleanup_(freep) char *id =
        xstrdup(new_request(&h, "{\"command\":\"x\",\"agent_id\":\"cpe-1\"}"));
    _cleanup_(freep) char *get = xasprintf("/v1/requests/%s", id);
    _cleanup_(freep) char *cancel = xasprintf("/v1/requests/%s/cancel", id);
    const struct {
        const char *path, *body;
        int status;
    } rows[] = {
        {get, NULL, 404},
        {cancel, "{}", 404},
        {"/v1/agents/cpe-1", NULL, 404},
        {"/v1/agents/cpe-1/tokens", NULL, 404},
        {"/v1/agents/cpe-1/tokens", "{}", 404},
        {"/v1/requests", "{\"command\":\"x\",\"agent_id\":\"cpe-1\"}", 422},
        {"/v1/agents", "{\"agent_id\":\"cpe-1\",\"agent_type\":\"cpe\"}", 409},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        _cleanup_(web_reply_release) struct web_reply r = as(key, rows[i].path, rows[i].body);
        ck_assert_msg(r.status == rows[i].status, "%s: %d %s", rows[i].path, r.status, r.body);
    }
    static const char *const lists[] = {"/v1/requests", "/v1/agents", "/v1/command_history"};
    for (size_t i = 0; i < COUNT(lists); i++) {
        _cleanup_(web_reply_release) struct web_reply r = as(key, lists[i], NULL);
        ck_assert_str_eq(r.body, "{\"data\":[],\"next\":null}");
    }
    /* its request for any of a type is for its own agents: it waits */
    _cleanup_(web_reply_release) struct web_reply any =
        as(key, "/v1/requests", "{\"command\":\"x\",\"agent_type\":\"cpe\"}");
    ck_assert_int_eq(any.status, 202);
    ck_assert(request_is(&h, id, "pending"));
}
END_TEST

START_TEST(commands_of_a_role)
{
    have_agents();
    ck_assert_int_eq(house_cli(&h, NULL, "role", "add", "reader", "--tenant", "demo",
                               "--permissions", "requests:*", "--commands", "get_*,ping", NULL),
                     0);
    _cleanup_(freep) char *key =
        xstrdup(house_cli_field(&h, "key", "key", "add", "reader", "--tenant", "demo", "--role",
                                "reader", "--permissions", "requests:read", "--json", NULL));
    _cleanup_(web_reply_release) struct web_reply may =
        as(key, "/v1/requests", "{\"command\":\"get_status\",\"agent_id\":\"cpe-1\"}");
    ck_assert_msg(may.status == 202, "%d %s", may.status, may.body);
    _cleanup_(freep) char *before = counts();
    _cleanup_(web_reply_release) struct web_reply no =
        as(key, "/v1/requests", "{\"command\":\"reboot\",\"agent_id\":\"cpe-1\"}");
    _cleanup_(freep) char *after = counts();
    ck_assert_msg(no.status == 403, "%d %s", no.status, no.body);
    ck_assert_str_eq(web_text(&no, "errors.0.pointer"), "/command");
    ck_assert_str_eq(before, after);
    ck_wait(
        strcmp(
            says("SELECT count(*) FROM security_events WHERE kind = 'forbidden' AND route = 'POST "
                 "/v1/requests' AND detail LIKE '%%reboot%%'"),
            "1") == 0,
        30000);
    _cleanup_(web_reply_release) struct web_reply agents = as(key, "/v1/agents", NULL);
    ck_assert_int_eq(agents.status, 403);
}
END_TEST

E2E(request_door, house_open, {"bad input", bad_input, COUNT(cases)},
    {"questions that are none", questions_that_are_none, COUNT(questions)},
    {"the same again", the_same_again}, {"a token is shown once", a_token_is_shown_once},
    {"an agent is changed", an_agent_is_changed}, {"another shop", another_shop},
    {"commands of a role", commands_of_a_role})

/* test_routes.c - the table of what can be asked: every row is guarded, found, and described. */
#include "base/cx.h"
#include "hub/openapi.h"
#include "hub/router.h"
#include "tests/unit/unit.h"
#include <cjson/cJSON.h>
#include <string.h>

/* Who adds a name here says that everybody may ask for it. */
static const char *const public_ids[] = {"healthz", "readyz", "metrics", "openapi"};
/* Where an agent's own token is asked for (interceptor.c): no other route may be of agents:connect. */
static const char *const agent_paths[] = {"/v1/agent/session"};

START_TEST(every_route_is_guarded)
{
    const struct route *r = &routes[_i];
    bool may_be_public = false, may_be_agents = false;

    for (size_t i = 0; i < COUNT(public_ids); i++)
        may_be_public |= strcmp(public_ids[i], r->id) == 0;
    for (size_t i = 0; i < COUNT(agent_paths); i++)
        may_be_agents |= strcmp(agent_paths[i], r->path) == 0;
    ck_assert_msg(r->handle != NULL, "%s has no handler", r->path);
    ck_assert_msg(may_be_public   ? r->permission == PUBLIC
                  : may_be_agents ? r->permission == PERM_AGENTS_CONNECT
                                  : r->permission != PERM_AGENTS_CONNECT && r->permission >= 0 &&
                                        r->permission < PERM_COUNT,
                  "%s %s has no permission", method_name(r->method), r->path);
    if (r->method != M_GET)
        ck_assert_msg(r->permission != PUBLIC &&
                          strstr(permission_word((enum permission)r->permission), ":write"),
                      "%s %s changes something without a permission to write",
                      method_name(r->method), r->path);
    for (size_t i = 0; i < route_count; i++)
        ck_assert_msg(i == (size_t)_i || strcmp(routes[i].id, r->id) != 0,
                      "two routes are called %s", r->id);
}
END_TEST

static const struct {
    const char *title;
    enum method method;
    const char *path;
    rc want;
    const char *id, *param, *allow;
} cases[] = {
    {"a plain path", M_GET, "/v1/orders", OK, "orders_list", "", ""},
    {"the method chooses", M_POST, "/v1/orders", OK, "orders_post", "", ""},
    {"a trailing slash", M_POST, "/api-dj/orders/", OK, "orders_post_dj", "", ""},
    {"a parameter", M_GET, "/v1/orders/abc", OK, "orders_get", "abc", ""},
    {"a parameter in the middle", M_POST, "/v1/orders/abc/cancel", OK, "orders_cancel", "abc", ""},
    {"a parameter is decoded", M_POST, "/v1/queues/a%2Eb/pause", OK, "queues_pause", "a.b", ""},
    {"an encoded slash stays inside", M_GET, "/v1/orders/a%2Fb", OK, "orders_get", "a/b", ""},
    {"an encoded NUL is nothing", M_GET, "/v1/orders/a%00b", E_NOT_FOUND, NULL, NULL, ""},
    {"half a character is nothing", M_GET, "/v1/orders/%d9", E_NOT_FOUND, NULL, NULL, ""},
    {"an empty parameter", M_POST, "/v1/orders//cancel", E_NOT_FOUND, NULL, NULL, ""},
    {"another method", M_DELETE, "/v1/orders", E_METHOD_NOT_ALLOWED, NULL, NULL, "POST, GET"},
    {"nothing there", M_GET, "/v2/orders", E_NOT_FOUND, NULL, NULL, ""},
    {"too long", M_GET, "/v1/orders/x/events/more", E_NOT_FOUND, NULL, NULL, ""},
    {"a prefix of a word", M_GET, "/v1/order", E_NOT_FOUND, NULL, NULL, ""},
    {"the root", M_GET, "/", E_NOT_FOUND, NULL, NULL, ""},
};

START_TEST(find)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct request q = {.method = cases[_i].method, .path = cases[_i].path};
    char allow[64];
    rc r = route_find(&cx, &q, allow, sizeof allow);

    ck_assert_msg(r == cases[_i].want, "case: %s: %s", cases[_i].title, error_info(r)->code);
    ck_assert_msg(strcmp(allow, cases[_i].allow) == 0, "case: %s: allow is '%s'", cases[_i].title,
                  allow);
    if (r != OK)
        return;
    ck_assert_msg(strcmp(q.route->id, cases[_i].id) == 0, "case: %s: %s", cases[_i].title,
                  q.route->id);
    ck_assert_msg(strcmp(q.params[0], cases[_i].param) == 0, "case: %s: '%s'", cases[_i].title,
                  q.params[0]);
}
END_TEST

START_TEST(a_parameter_of_any_length)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    char path[8192] = "/v1/orders/", allow[64];
    struct request q = {.method = M_GET, .path = path};

    memset(path + 11, 'x', REQUEST_PARAM_MAX);
    ck_assert_int_eq(route_find(&cx, &q, allow, sizeof allow), OK);
    memset(path + 11, 'x', 8000);
    ck_assert_int_eq(route_find(&cx, &q, allow, sizeof allow), E_NOT_FOUND);
}
END_TEST

/* Every "$ref" below v must lead to a schema. */
static void check_refs(const cJSON *doc, const cJSON *v)
{
    const cJSON *schemas = cJSON_GetObjectItem(cJSON_GetObjectItem(doc, "components"), "schemas");
    const char *prefix = "#/components/schemas/";

    for (const cJSON *c = v->child; c; c = c->next) {
        if (c->string && strcmp(c->string, "$ref") == 0) {
            ck_assert_msg(strncmp(c->valuestring, prefix, strlen(prefix)) == 0, "%s",
                          c->valuestring);
            ck_assert_msg(
                cJSON_GetObjectItemCaseSensitive(schemas, c->valuestring + strlen(prefix)) != NULL,
                "nothing is called %s", c->valuestring);
        }
        check_refs(doc, c);
    }
}

START_TEST(the_document_describes_every_route)
{
    _cleanup_(buf_release) struct buf b = BUF(MiB(1));
    cJSON *doc;

    openapi_print(&b);
    doc = cJSON_ParseWithOpts(buf_str(&b), NULL, 1);
    ck_assert_msg(doc != NULL, "openapi.json is not JSON");
    ck_assert_str_eq(cJSON_GetObjectItem(doc, "openapi")->valuestring, "3.1.0");
    for (size_t i = 0; i < route_count; i++) {
        char method[8] = "";
        const cJSON *path =
            cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItem(doc, "paths"), routes[i].path);
        for (size_t k = 0; method_name(routes[i].method)[k]; k++)
            method[k] = (char)(method_name(routes[i].method)[k] | 0x20);
        const cJSON *op = cJSON_GetObjectItemCaseSensitive(path, method);
        ck_assert_msg(op != NULL, "%s %s is not described", method, routes[i].path);
        ck_assert_str_eq(cJSON_GetObjectItem(op, "operationId")->valuestring, routes[i].id);
    }
    check_refs(doc, doc);
    cJSON_Delete(doc);
}
END_TEST

UNIT(routes, {"guarded", every_route_is_guarded, route_count}, {"find", find, COUNT(cases)},
     {"length", a_parameter_of_any_length, 0}, {"openapi", the_document_describes_every_route, 0})

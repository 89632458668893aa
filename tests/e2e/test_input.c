/* test_input.c - bad input at the front door: each a clear problem+json, and nothing stored. */
#include "base/buf.h"
#include "tests/e2e/e2e.h"

static struct house h;

static char *repeat(const char *s, size_t n)
{
    struct buf b = BUF(MiB(8));
    for (size_t i = 0; i < n; i++)
        buf_puts(&b, s);
    return buf_take(&b);
}

/* P stands for a good package id, X for what `fill` gives. */
static const struct {
    const char *title, *body, *fill;
    size_t times;
    int status;
    const char *code, *pointer;
} cases[] = {
    {"cut in the middle", "{\"package_id\":\"P\",\"user_id", "", 0, 400, "bad_json", NULL},
    {"no JSON at all", "hello", "", 0, 400, "bad_json", NULL},
    {"an empty body", "", "", 0, 400, NULL, NULL},
    {"an array", "[]", "", 0, 0, NULL, NULL},
    {"65 levels", "X", "[", 65, 400, "too_deep", NULL},
    {"invalid UTF-8", "{\"package_id\":\"P\",\"user_identifier\":\"\xff\xfe\"}", "", 0, 400,
     "bad_utf8", NULL},
    {"a body of 2 MiB", "{\"package_id\":\"P\",\"user_identifier\":\"X\"}", "aaaaaaaa", 262144, 413,
     "body_too_large", NULL},
    {"an empty user", "{\"package_id\":\"P\",\"user_identifier\":\"\"}", "", 0, 422,
     "invalid_field", "/user_identifier"},
    {"no user", "{\"package_id\":\"P\"}", "", 0, 422, "invalid_field", "/user_identifier"},
    {"a user of 10 KB", "{\"package_id\":\"P\",\"user_identifier\":\"X\"}", "0123456789", 1024, 422,
     "invalid_field", "/user_identifier"},
    {"a number for a user", "{\"package_id\":\"P\",\"user_identifier\":5}", "", 0, 422,
     "invalid_field", "/user_identifier"},
    {"a control character", "{\"package_id\":\"P\",\"user_identifier\":\"a\\u0007b\"}", "", 0, 422,
     "invalid_field", "/user_identifier"},
    {"text for a quantity", "{\"package_id\":\"P\",\"user_identifier\":\"a\",\"quantity\":\"2\"}",
     "", 0, 422, "invalid_field", "/quantity"},
    {"half a piece", "{\"package_id\":\"P\",\"user_identifier\":\"a\",\"quantity\":1.5}", "", 0,
     422, "invalid_field", "/quantity"},
    {"none of it", "{\"package_id\":\"P\",\"user_identifier\":\"a\",\"quantity\":0}", "", 0, 422,
     "invalid_field", "/quantity"},
    {"a stranger among the fields", "{\"package_id\":\"P\",\"user_identifier\":\"a\",\"price\":1}",
     "", 0, 422, "invalid_field", "/price"},
    {"a package that is no id", "{\"package_id\":\"60 UC\",\"user_identifier\":\"a\"}", "", 0, 422,
     NULL, "/package_id"},
    {"an unknown package",
     "{\"package_id\":\"00000000-0000-7000-8000-000000000000\",\"user_identifier\":\"a\"}", "", 0,
     422, "unknown_package", "/package_id"},
    {"an unrouted package", "{\"package_id\":\"U\",\"user_identifier\":\"a\"}", "", 0, 422,
     "unrouted_package", "/package_id"},
    {"a callback that is no URL",
     "{\"package_id\":\"P\",\"user_identifier\":\"a\",\"callback_url\":\"ftp://x\"}", "", 0, 422,
     "invalid_field", "/callback_url"},
};

static char package[64], unrouted[64];

/* The body with P, U and X put in. */
static char *fill(const char *body, const char *x)
{
    struct buf b = BUF(MiB(8));
    for (const char *c = body; *c; c++) {
        if (c[0] == 'P' && c > body && c[-1] == '"')
            buf_puts(&b, package);
        else if (c[0] == 'U' && c > body && c[-1] == '"')
            buf_puts(&b, unrouted);
        else if (c[0] == 'X')
            buf_puts(&b, x);
        else
            buf_putc(&b, *c);
    }
    return buf_take(&b);
}

START_TEST(bad_input)
{
    const char *db = h.stores.database_url;
    if (!package[0]) {
        snprintf(package, sizeof(package), "%s", house_package(&h, "60", NULL));
        snprintf(unrouted, sizeof(unrouted), "%s", house_package(&h, "60", NULL));
        pg_one(db, "DELETE FROM package_routing WHERE package_id = '%s'", unrouted);
    }
    _cleanup_(freep) char *x = repeat(cases[_i].fill, cases[_i].times);
    _cleanup_(freep) char *body = fill(cases[_i].body, x);
    int64_t before =
        pg_one_int(db, "SELECT (SELECT count(*) FROM product_orders) + (SELECT count(*) FROM jobs "
                       "WHERE task LIKE 'order.%%')");
    _cleanup_(web_reply_release) struct web_reply r = house_post(&h, "/v1/orders", body);
    ck_assert_msg(cases[_i].status ? r.status == cases[_i].status : r.status / 100 == 4,
                  "%s: %d %s %s", cases[_i].title, r.status, r.why, r.body);
    ck_assert_msg(web_header(&r, "Content-Type") &&
                      strncmp(web_header(&r, "Content-Type"), "application/problem+json", 24) == 0,
                  "%s: %s", cases[_i].title, r.headers);
    ck_assert_msg(!cases[_i].code ||
                      (web_text(&r, "code") && strcmp(web_text(&r, "code"), cases[_i].code) == 0),
                  "%s: %s", cases[_i].title, r.body);
    ck_assert_msg(!cases[_i].pointer ||
                      (web_text(&r, "errors.0.pointer") &&
                       strcmp(web_text(&r, "errors.0.pointer"), cases[_i].pointer) == 0),
                  "%s: %s", cases[_i].title, r.body);
    ck_assert_msg(web_text(&r, "request_id") != NULL, "%s: %s", cases[_i].title, r.body);
    ck_assert_int_eq(
        pg_one_int(db, "SELECT (SELECT count(*) FROM product_orders) + (SELECT count(*) FROM jobs "
                       "WHERE task LIKE 'order.%%')"),
        before);
}
END_TEST

START_TEST(wrong_doors)
{
    static const struct {
        const char *title, *method, *path, *bearer;
        int status;
        const char *code;
    } doors[] = {
        {"no key", "GET", "/v1/orders", NULL, 401, "unauthenticated"},
        {"an unknown key", "GET", "/v1/orders", "mwk_000000000000_0123456789abcdef", 401,
         "unauthenticated"},
        {"no key at all in it", "GET", "/v1/orders", "x", 401, "unauthenticated"},
        {"nothing there", "GET", "/v1/nothing", "", 404, "not_found"},
        {"a method it does not take", "DELETE", "/v1/orders", "", 405, "method_not_allowed"},
        {"an order that is no id", "GET", "/v1/orders/17", "", 404, "not_found"},
        {"an order that does not exist", "GET", "/v1/orders/00000000-0000-7000-8000-000000000000",
         "", 404, "not_found"},
        {"a limit that is none", "GET", "/v1/orders?limit=many", "", 422, "invalid_field"},
    };
    for (size_t i = 0; i < COUNT(doors); i++) {
        _cleanup_(freep) char *url = xasprintf("%s%s", h.url, doors[i].path);
        const char *bearer = doors[i].bearer && !doors[i].bearer[0] ? h.key : doors[i].bearer;
        _cleanup_(web_reply_release) struct web_reply r =
            web(.method = doors[i].method, .url = url, .bearer = bearer);
        ck_assert_msg(r.status == doors[i].status, "%s: %d %s", doors[i].title, r.status, r.body);
        ck_assert_msg(web_text(&r, "code") && strcmp(web_text(&r, "code"), doors[i].code) == 0,
                      "%s: %s", doors[i].title, r.body);
    }
}
END_TEST

/* The hub is whole after all this. */
START_TEST(still_well)
{
    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/readyz");
    ck_assert_int_eq(r.status, 200);
    _cleanup_(web_reply_release) struct web_reply m = house_get(&h, "/metrics");
    ck_assert_int_eq(m.status, 200);
    _cleanup_(web_reply_release) struct web_reply o = house_get(&h, "/openapi.json");
    ck_assert_str_eq(web_text(&o, "openapi"), "3.1.0");
}
END_TEST

E2E(input, house_open, {"bad input", bad_input, COUNT(cases)}, {"wrong doors", wrong_doors},
    {"still well", still_well})

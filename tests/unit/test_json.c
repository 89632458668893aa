/* test_json.c - what is let in, what is not, and how fields are read. */
#include "base/json.h"
#include "base/text.h"
#include "unit.h"
#include <string.h>

#define REP4(s)  s s s s
#define REP16(s) REP4(REP4(s))
#define REP64(s) REP4(REP16(s))

static const struct {
    const char *title, *in;
    size_t n; /* 0: strlen */
    rc want;
} texts[] = {
    {"an object", "{\"a\":1}", 0, OK},
    {"an array", "[1,\"x\",null,true]", 0, OK},
    {"a scalar", "\"x\"", 0, OK},
    {"white space around", " \r\n\t{} \r\n\t", 0, OK},
    {"any unicode", "{\"şehir\":\"محور 😀\"}", 0, OK},
    {"a surrogate pair, escaped", "\"\\ud83d\\ude00\"", 0, OK},
    {"nothing", "", 0, E_BAD_JSON},
    {"white space only", "   ", 0, E_BAD_JSON},
    {"cut in the middle", "{\"a\":", 0, E_BAD_JSON},
    {"cut in a string", "{\"a\":\"x", 0, E_BAD_JSON},
    {"two values", "{} {}", 0, E_BAD_JSON},
    {"text behind", "{}x", 0, E_BAD_JSON},
    {"a trailing comma", "[1,]", 0, E_BAD_JSON},
    {"single quotes", "{'a':1}", 0, E_BAD_JSON},
    {"a bare word", "yes", 0, E_BAD_JSON},
    {"half a surrogate pair", "\"\\ud83d\"", 0, E_BAD_JSON},
    {"U+0000 escaped", "{\"a\":\"x\\u0000y\"}", 0, E_BAD_JSON},
    {"U+0000 escaped at the end", "\"\\u0000\"", 0, E_BAD_JSON},
    {"a backslash before u0000 is not U+0000", "\"C:\\\\u0000\"", 0, OK},
    {"U+0000 as a byte", "{\"a\":\"x\0y\"}", 11, E_BAD_JSON},
    {"U+0000 behind", "{}\0", 3, E_BAD_JSON},
    {"invalid UTF-8", "{\"a\":\"\xff\"}", 0, E_BAD_UTF8},
    {"an overlong slash", "\"\xc0\xaf\"", 0, E_BAD_UTF8},
    {"64 levels of arrays", REP64("[") REP64("]"), 0, OK},
    {"65 levels of arrays", "[" REP64("[") REP64("]") "]", 0, E_TOO_DEEP},
    {"64 levels of objects", REP64("{\"a\":") "1" REP64("}"), 0, OK},
    {"65 levels, mixed", "[" REP64("{\"a\":") "1" REP64("}") "]", 0, E_TOO_DEEP},
    {"brackets in strings do not count", "\"" REP64("[") REP64("{") "\"", 0, OK},
    {"a quote escaped before them", "\"\\\"" REP64("[") REP64("[") "\"", 0, OK},
    {"1024 open brackets", REP4(REP4(REP64("["))), 0, E_TOO_DEEP},
    {"deep after closing too many", "]" REP64("["), 0, E_BAD_JSON},
    {"many siblings are not deep", "[" REP64("[],") "[]]", 0, OK},
};

START_TEST(texts_are_judged)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    size_t n = texts[_i].n ? texts[_i].n : strlen(texts[_i].in);
    _cleanup_(freep) char *exact = xmalloc(n); /* no NUL behind: reading past the end is seen */
    cJSON *v = NULL;

    memcpy(exact, texts[_i].in, n);
    rc r = json_parse(&cx, exact, n, KiB(4), &v);
    ck_assert_msg(r == texts[_i].want, "case: %s gave %s (%s)", texts[_i].title,
                  error_info(r)->code, r ? cx.err.text : "");
    ck_assert_msg((v != NULL) == (r == OK), "case: %s", texts[_i].title);
    if (v)
        json_print(&cx, v);
}
END_TEST

START_TEST(size_is_bounded)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    cJSON *v;

    ck_assert_int_eq(json_parse(&cx, "[1,2]", 5, 5, &v), OK);
    ck_assert_int_eq(json_parse(&cx, "[1,2]", 5, 4, &v), E_BODY_TOO_LARGE);
}
END_TEST

static cJSON *parse(struct cx *cx, const char *s)
{
    cJSON *v = NULL;

    ck_assert_int_eq(json_parse(cx, s, strlen(s), KiB(64), &v), OK);
    return v;
}

static const struct {
    const char *title, *in;
    rc str, opt;
    const char *value;
} strings[] = {
    {"a string", "{\"f\":\"pin\"}", OK, OK, "pin"},
    {"exactly long enough", "{\"f\":\"şşşş\"}", OK, OK, "şşşş"},
    {"one character too long", "{\"f\":\"şşşşş\"}", E_INVALID_FIELD, E_INVALID_FIELD, NULL},
    {"missing", "{}", E_INVALID_FIELD, OK, NULL},
    {"null", "{\"f\":null}", E_INVALID_FIELD, OK, NULL},
    {"empty", "{\"f\":\"\"}", E_INVALID_FIELD, OK, ""},
    {"a number", "{\"f\":1}", E_INVALID_FIELD, E_INVALID_FIELD, NULL},
    {"an object", "{\"f\":{}}", E_INVALID_FIELD, E_INVALID_FIELD, NULL},
    {"a control character", "{\"f\":\"a\\nb\"}", E_INVALID_FIELD, E_INVALID_FIELD, NULL},
    {"DEL", "{\"f\":\"a\\u007f\"}", E_INVALID_FIELD, E_INVALID_FIELD, NULL},
    {"another name in capitals", "{\"F\":\"x\"}", E_INVALID_FIELD, OK, NULL},
    {"not an object", "[\"f\"]", E_INVALID_FIELD, OK, NULL},
};

START_TEST(string_fields)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    const cJSON *o = parse(&cx, strings[_i].in);
    const char *s, *want = strings[_i].value;

    rc r = json_str(&cx, o, "f", 4, &s);
    ck_assert_msg(r == strings[_i].str, "case: %s", strings[_i].title);
    if (r != OK)
        ck_assert_str_eq(cx.err.pointer, "/f");
    else
        ck_assert_str_eq(s, want);
    r = json_str_opt(&cx, o, "f", 4, &s);
    ck_assert_msg(r == strings[_i].opt, "case: %s", strings[_i].title);
    if (r == OK)
        ck_assert_msg(str_eq(s, want), "case: %s", strings[_i].title);
}
END_TEST

static const struct {
    const char *in;
    int64_t min, max;
    rc want;
    int64_t value;
} ints[] = {
    {"{\"n\":1}", 1, 9, OK, 1},
    {"{\"n\":9.0}", 1, 9, OK, 9},
    {"{\"n\":1e1}", 1, 10, OK, 10},
    {"{}", 1, 9, OK, 77},
    {"{\"n\":null}", 1, 9, OK, 77},
    {"{\"n\":0}", 1, 9, E_INVALID_FIELD},
    {"{\"n\":10}", 1, 9, E_INVALID_FIELD},
    {"{\"n\":1.5}", 1, 9, E_INVALID_FIELD},
    {"{\"n\":\"1\"}", 1, 9, E_INVALID_FIELD},
    {"{\"n\":true}", 1, 9, E_INVALID_FIELD},
    {"{\"n\":1e999}", 1, INT64_MAX, E_INVALID_FIELD},
    {"{\"n\":9007199254740992}", 0, INT64_MAX, OK, 9007199254740992},
    {"{\"n\":9223372036854775807}", 0, INT64_MAX, E_INVALID_FIELD},
    {"{\"n\":-9223372036854775808}", INT64_MIN, 0, E_INVALID_FIELD},
};

START_TEST(integer_fields)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    int64_t v = 77;
    rc r = json_int_opt(&cx, parse(&cx, ints[_i].in), "n", ints[_i].min, ints[_i].max, &v);

    ck_assert_msg(r == ints[_i].want, "case: %s", ints[_i].in);
    ck_assert_int_eq(v, r == OK ? ints[_i].value : 77);
}
END_TEST

START_TEST(other_fields)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    const cJSON *o =
        parse(&cx, "{\"id\":\"0190A1B2-C3D4-7E5F-8A9B-0C1D2E3F4A5B\",\"b\":true,\"x\":1}");
    char id[37];
    bool b = false;

    ck_assert_int_eq(json_id(&cx, o, "id", id), OK);
    ck_assert_str_eq(id, "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b");
    ck_assert_int_eq(json_id(&cx, o, "x", id), E_INVALID_FIELD);
    ck_assert_int_eq(json_id(&cx, o, "none", id), E_INVALID_FIELD);
    ck_assert_int_eq(json_bool_opt(&cx, o, "b", &b), OK);
    ck_assert(b);
    ck_assert_int_eq(json_bool_opt(&cx, o, "none", &b), OK);
    ck_assert(b);
    ck_assert_int_eq(json_bool_opt(&cx, o, "x", &b), E_INVALID_FIELD);
    ck_assert_str_eq(cx.err.pointer, "/x");
}
END_TEST

static const struct {
    const char *title, *in;
    rc want;
    const char *pointer;
} strangers[] = {
    {"nobody", "{}", OK, ""},
    {"the known", "{\"a\":1,\"b\":2}", OK, ""},
    {"a stranger", "{\"a\":1,\"c\":2}", E_INVALID_FIELD, "/c"},
    {"a stranger with / and ~", "{\"a/b~c\":2}", E_INVALID_FIELD, "/a~1b~0c"},
    {"a long one is cut between characters", "{\"xşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşşş\":1}",
     E_INVALID_FIELD, "/xşşşşşşşşşşşşşşşşşşşşşşşşşşşşşş"},
    {"an array", "[1]", E_BAD_REQUEST, ""},
    {"a scalar", "1", E_BAD_REQUEST, ""},
};

START_TEST(strangers_are_named)
{
    static const char *const names[] = {"a", "b", NULL};
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    rc r = json_only(&cx, parse(&cx, strangers[_i].in), names);

    ck_assert_msg(r == strangers[_i].want, "case: %s", strangers[_i].title);
    ck_assert_msg(strcmp(cx.err.pointer, strangers[_i].pointer) == 0, "case: %s gave %s",
                  strangers[_i].title, cx.err.pointer);
}
END_TEST

static const struct {
    const char *path, *want; /* NULL: not there, or no scalar */
} paths[] = {
    {"$.data.status", "ok"},
    {"data.status", "ok"},
    {"list.0.price", "12.5"},
    {"list.1.price", "7"},
    {"list.2.price", NULL},
    {"flag", "true"},
    {"data", NULL},
    {"none", NULL},
    {"data.status.x", NULL},
    {"list.x", NULL},
    {"list.-1", NULL},
    {"nothing", NULL},
    {"list.99999999999", NULL},
};

START_TEST(paths_lead_to_scalars)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    const cJSON *o =
        parse(&cx, "{\"data\":{\"status\":\"ok\"},\"list\":[{\"price\":12.5},{\"price\":7}],"
                   "\"flag\":true,\"nothing\":null}");

    ck_assert_msg(str_eq(json_text(&cx, json_path(o, paths[_i].path)), paths[_i].want), "case: %s",
                  paths[_i].path);
    ck_assert_ptr_eq(json_path(o, "$"), o);
}
END_TEST

START_TEST(prints)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    const char *text = "{\"a\":[1,2.5,\"x\\\"\"],\"b\":null}";

    ck_assert_str_eq(json_print(&cx, parse(&cx, text)), text);
}
END_TEST

static const struct {
    const char *in, *want; /* NULL: no such member */
    bool odd;
} raws[] = {
    {"{\"r\":1}", "1", false},
    {"{\"a\":{\"r\":2},\"r\":[1,{\"r\":3}],\"b\":4}", "[1,{\"r\":3}]", false},
    {" { \"r\" : \"x\\\"},{\" , \"b\" : 1 }", "\"x\\\"},{\"", false},
    {"{\"r\":12345678901234567890.10 }", "12345678901234567890.10", false},
    {"{\"r\":true}", "true", false},
    {"{\"r\":null,\"r\":1}", "null", false},
    {"{\"r\":{}}", "{}", false},
    {"{\"r\":\"e+\"}", "\"e+\"", false},
    {"{\"x\":1e9,\"r\":{\"a\":0}}", "{\"a\":0}", false},
    {"{\"r\":1e400}", "1e400", true},
    {"{\"r\":[01]}", "[01]", true},
    {"{\"r\":1.}", "1.", true},
    {"{\"r\":\"a\tb\"}", "\"a\tb\"", true},
    {"{\"r\":[1,\v2]}", "[1,\v2]", true},
    {"{\"q\":{\"r\":1}}", NULL, false},
    {"{\"\\u0072\":1}", NULL, false},
    {"[\"r\",1]", NULL, false},
    {"{}", NULL, false},
    {"7", NULL, false},
};

START_TEST(members_as_written)
{
    size_t n = strlen(raws[_i].in), got_n = 0;
    _cleanup_(freep) char *exact = xmalloc(n);
    const char *got = NULL;
    bool odd = false;

    memcpy(exact, raws[_i].in, n);
    ck_assert_msg(json_raw_member(exact, n, "r", &got, &got_n, &odd) == (raws[_i].want != NULL),
                  "case: %s", raws[_i].in);
    if (raws[_i].want)
        ck_assert_msg(got_n == strlen(raws[_i].want) && memcmp(got, raws[_i].want, got_n) == 0,
                      "case: %s gave %.*s", raws[_i].in, (int)got_n, got);
    ck_assert_msg(odd == raws[_i].odd, "case: %s", raws[_i].in);
}
END_TEST

UNIT(json, {"texts", texts_are_judged, COUNT(texts)}, {"size", size_is_bounded},
     {"strings", string_fields, COUNT(strings)}, {"integers", integer_fields, COUNT(ints)},
     {"others", other_fields}, {"strangers", strangers_are_named, COUNT(strangers)},
     {"paths", paths_lead_to_scalars, COUNT(paths)}, {"print", prints},
     {"raw", members_as_written, COUNT(raws)})

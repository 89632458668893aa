/* test_mask.c - secrets taken out of JSON: what pointers lead to, and that nothing else is touched. */
#include "base/buf.h"
#include "base/text.h"
#include "domain/agents/mask.h"
#include "tests/support/fibers.h"
#include "unit.h"
#include <string.h>

static const struct {
    const char *title, *pointers, *in, *want; /* want NULL: nothing was to be masked */
} cases[] = {
    {"no pointer", "", "{\"a\":1}", NULL},
    {"nothing there", "/b", "{\"a\":1}", NULL},
    {"a member", "/pin", "{\"a\":1,\"pin\":\"1234\"}", "{\"a\":1,\"pin\":\"***\"}"},
    {"a number", "/pin", "{\"pin\":1234}", "{\"pin\":\"***\"}"},
    {"an object as a whole", "/a", "{\"a\":{\"b\":[1,{\"c\":\"}\"}]},\"d\":1}",
     "{\"a\":\"***\",\"d\":1}"},
    {"deeper", "/a/b", "{\"a\":{\"b\":true,\"c\":null}}", "{\"a\":{\"b\":\"***\",\"c\":null}}"},
    {"a place in an array", "/a/1", "{\"a\":[1,2,3]}", "{\"a\":[1,\"***\",3]}"},
    {"a number as a name", "/a/1", "{\"a\":{\"1\":2}}", "{\"a\":{\"1\":\"***\"}}"},
    {"any member", "/*/psk", "{\"x\":{\"psk\":1},\"y\":{\"psk\":2},\"psk\":3}",
     "{\"x\":{\"psk\":\"***\"},\"y\":{\"psk\":\"***\"},\"psk\":3}"},
    {"any place", "/users/*/pin", "{\"users\":[{\"pin\":1},{\"pin\":2},3]}",
     "{\"users\":[{\"pin\":\"***\"},{\"pin\":\"***\"},3]}"},
    {"an array on top", "/*", "[1,[2]]", "[\"***\",\"***\"]"},
    {"two pointers", " /a , /b/c ,", "{\"a\":1,\"b\":{\"c\":2}}",
     "{\"a\":\"***\",\"b\":{\"c\":\"***\"}}"},
    {"one inside the other", "/a,/a/b", "{\"a\":{\"b\":2}}", "{\"a\":\"***\"}"},
    {"a slash and a tilde in a name", "/a~1b~0c", "{\"a/b~c\":1}", "{\"a/b~c\":\"***\"}"},
    {"a star by its letter is any", "/*", "{\"*\":1,\"x\":2}", "{\"*\":\"***\",\"x\":\"***\"}"},
    {"an empty name", "/", "{\"\":1,\"a\":2}", "{\"\":\"***\",\"a\":2}"},
    {"a name in escapes", "/pin", "{\"\\u0070in\":\"1234\"}", "{\"\\u0070in\":\"***\"}"},
    {"a name in Arabic", "/سر", "{\"سر\":\"كلمة\"}", "{\"سر\":\"***\"}"},
    {"a name that is there twice", "/a", "{\"a\":1,\"a\":2}", "{\"a\":\"***\",\"a\":\"***\"}"},
    {"a quote inside a string", "/b", "{\"a\":\"x\\\"b\\\":1\",\"b\":2}",
     "{\"a\":\"x\\\"b\\\":1\",\"b\":\"***\"}"},
    {"a backslash at the end", "/b", "{\"a\":\"\\\\\",\"b\":2}", "{\"a\":\"\\\\\",\"b\":\"***\"}"},
    {"numbers stay to the digit", "/a", "{\"a\":1,\"n\":12345678901234567890.10}",
     "{\"a\":\"***\",\"n\":12345678901234567890.10}"},
    {"blanks", "/a/b", " { \"a\" : { \"b\" : [ 1 ] , \"c\" : 2 } } ",
     "{\"a\":{\"b\":\"***\",\"c\":2}}"},
    {"empty things", "/a/b", "{\"a\":{},\"c\":[]}", NULL},
    {"a scalar on top", "/a", "\"a\"", NULL},
    {"a number on top", "/a", "12", NULL},
};

START_TEST(it_masks)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("mask");
    const char *out;
    struct mask *m;

    ck_ok(mask_new(&cx, cases[_i].pointers, &m));
    ck_ok(mask_text(&cx, m, cases[_i].in, &out));
    ck_assert_msg(str_eq(out, cases[_i].want), "case: %s: %s", cases[_i].title,
                  out ? out : "(nothing)");
    mask_free(m);
}
END_TEST

static const struct {
    const char *title, *pointers;
} wrong[] = {
    {"no slash", "password"},
    {"a tilde alone", "/a~"},
    {"another tilde", "/a~2"},
    {"33 parts", "/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3"},
};

START_TEST(it_refuses_what_is_no_pointer)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("mask");
    struct mask *m = NULL;

    ck_assert_msg(mask_new(&cx, wrong[_i].pointers, &m) == E_CONFIG, "case: %s", wrong[_i].title);
    ck_assert_ptr_null(m);
}
END_TEST

static const struct {
    const char *title, *in, *want;
} lines[] = {
    {"nothing in it", "all is well", NULL},
    {"behind =", "pin=1234 ok", "pin=*** ok"},
    {"behind a colon", "the pin: 1234, ok", "the pin: ***, ok"},
    {"in capitals", "PIN=1", "PIN=***"},
    {"in JSON", "{\"pin\":\"12\\\"34\",\"a\":1}", "{\"pin\":***,\"a\":1}"},
    {"in a query", "?a=1&psk=x&b=2", "?a=1&psk=***&b=2"},
    {"in quotes", "psk = 'a b' c", "psk = *** c"},
    {"part of a word", "spin=1 pin_code=2", NULL},
    {"two of them", "pin=1 psk=2", "pin=*** psk=***"},
    {"no value", "pin=", NULL},
};

START_TEST(it_masks_lines)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("mask");
    struct mask *m;

    ck_ok(mask_new(&cx, "/pin,/wifi/*/psk,/*", &m));
    _cleanup_(freep) char *out = mask_line(m, lines[_i].in);
    ck_assert_msg(str_eq(out, lines[_i].want), "case: %s: %s", lines[_i].title,
                  out ? out : "(nothing)");
    mask_free(m);
}
END_TEST

START_TEST(it_takes_64_pointers_and_no_more)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("mask");
    _cleanup_(buf_release) struct buf b = BUF(KiB(4));
    const char *out;
    struct mask *m;

    for (int i = 0; i < MASK_MAX; i++)
        buf_printf(&b, "%s/k%d", i ? "," : "", i);
    ck_ok(mask_new(&cx, buf_str(&b), &m));
    ck_ok(mask_text(&cx, m, "{\"k0\":1,\"k63\":2,\"k64\":3}", &out));
    ck_assert_str_eq(out, "{\"k0\":\"***\",\"k63\":\"***\",\"k64\":3}");
    mask_free(m);
    buf_puts(&b, ",/k64");
    ck_rc(mask_new(&cx, buf_str(&b), &m), E_CONFIG);
}
END_TEST

START_TEST(it_refuses_what_is_no_json)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("mask");
    const char *out = "x";
    struct mask *m;

    ck_ok(mask_new(&cx, "/a", &m));
    ck_rc(mask_text(&cx, m, "{\"a\":", &out), E_BAD_JSON);
    ck_ok(mask_text(&cx, NULL, "{\"a\":", &out)); /* nothing is to be masked: nobody looks */
    ck_assert_ptr_null(out);
    mask_free(m);
}
END_TEST

UNIT(mask, {"masks", it_masks, COUNT(cases)},
     {"no pointer", it_refuses_what_is_no_pointer, COUNT(wrong)},
     {"lines", it_masks_lines, COUNT(lines)}, {"64", it_takes_64_pointers_and_no_more, 0},
     {"no json", it_refuses_what_is_no_json, 0})

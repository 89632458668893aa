/* test_forwarded.c - whose address counts behind proxies, and who cannot say that he is another. */
#include "hub/forwarded.h"
#include "tests/unit/unit.h"
#include <string.h>

static const struct {
    const char *title, *trusted, *peer, *header, *source;
} cases[] = {
    {"no proxy is trusted", "", "203.0.113.7", "198.51.100.9", "203.0.113.7"},
    {"not from a trusted one", "10.0.0.2", "203.0.113.7", "198.51.100.9", "203.0.113.7"},
    {"nothing was forwarded", "10.0.0.2", "10.0.0.2", NULL, "10.0.0.2"},
    {"an empty header", "10.0.0.2", "10.0.0.2", "", "10.0.0.2"},
    {"only commas", "10.0.0.2", "10.0.0.2", " , ,", "10.0.0.2"},
    {"one caller", "10.0.0.2", "10.0.0.2", "203.0.113.7", "203.0.113.7"},
    {"what the caller wrote itself", "10.0.0.2", "10.0.0.2", "198.51.100.9, 203.0.113.7",
     "203.0.113.7"},
    {"the caller names our proxy", "10.0.0.2", "10.0.0.2", "10.0.0.2, 203.0.113.7", "203.0.113.7"},
    {"through two of ours", "10.0.0.2, 10.0.0.3", "10.0.0.2", "198.51.100.9,203.0.113.7,10.0.0.3",
     "203.0.113.7"},
    {"from within", "10.0.0.2,10.0.0.3", "10.0.0.2", "10.0.0.3", "10.0.0.3"},
    {"IPv6", "::1", "::1", "2001:db8::7", "2001:db8::7"},
    {"another spelling of the proxy", "10.0.0.2", "::ffff:10.0.0.2", "203.0.113.7", "203.0.113.7"},
    {"no address", "10.0.0.2", "10.0.0.2", "203.0.113.7, unknown", "10.0.0.2"},
    {"a port", "10.0.0.2", "10.0.0.2", "203.0.113.7:4711", "10.0.0.2"},
    {"very long", "10.0.0.2", "10.0.0.2",
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "10.0.0.2"},
    {"no peer", "10.0.0.2", "", "203.0.113.7", ""},
};

START_TEST(source)
{
    char out[64];

    forwarded_source(cases[_i].trusted, cases[_i].peer, cases[_i].header, out, sizeof out);
    ck_assert_msg(strcmp(out, cases[_i].source) == 0, "case: %s: %s", cases[_i].title, out);
}
END_TEST

static const struct {
    const char *trusted;
    bool good;
} lists[] = {
    {"", true},       {"10.0.0.2", true},          {"10.0.0.2, ::1", true}, {"10.0.0.0/8", false},
    {"proxy", false}, {"10.0.0.2,10.0.0.", false},
};

START_TEST(list)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");

    ck_assert_msg((forwarded_check(&cx, lists[_i].trusted) == OK) == lists[_i].good, "%s",
                  lists[_i].trusted);
}
END_TEST

UNIT(forwarded, {"source", source, COUNT(cases)}, {"list", list, COUNT(lists)})

/* test_trace.c - W3C trace context: what is taken, and what is passed on. */
#include "base/trace.h"
#include "tests/unit/unit.h"
#include <string.h>

#define T "4bf92f3577b34da6a3ce929d0e0e4736"
#define S "00f067aa0ba902b7"

static const struct {
    const char *title, *in, *out;
} cases[] = {
    {"sampled", "00-" T "-" S "-01", "00-" T "-" S "-01"},
    {"not sampled", "00-" T "-" S "-00", "00-" T "-" S "-00"},
    {"other flags", "00-" T "-" S "-0a", "00-" T "-" S "-00"},
    {"other flags, and sampled", "00-" T "-" S "-ff", "00-" T "-" S "-01"},
    {"a later version", "cc-" T "-" S "-01-more", "00-" T "-" S "-01"},
    {"nothing", NULL, ""},
    {"empty", "", ""},
    {"only the id", T, ""},
    {"capitals", "00-4BF92F3577B34DA6A3CE929D0E0E4736-" S "-01", ""},
    {"the version that is none", "ff-" T "-" S "-01", ""},
    {"no parent", "00-" T "-0000000000000000-01", ""},
    {"no trace", "00-00000000000000000000000000000000-" S "-01", ""},
    {"something behind", "00-" T "-" S "-01x", ""},
    {"cut", "00-" T "-" S "-0", ""},
};

START_TEST(contexts)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    char out[TRACEPARENT_LEN + 1];

    ck_assert_msg(trace_adopt(&cx, cases[_i].in) == (*cases[_i].out != 0), "case: %s",
                  cases[_i].title);
    ck_assert_msg(strcmp(trace_parent(&cx, out), cases[_i].out) == 0, "case: %s: %s",
                  cases[_i].title, out);
    ck_assert((trace_text(&cx) != NULL) == (*cases[_i].out != 0));
}
END_TEST

START_TEST(a_trace_of_its_own)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test"), other = CX_PLAIN("other");
    char first[TRACEPARENT_LEN + 1], again[TRACEPARENT_LEN + 1];

    trace_start(&cx);
    ck_assert_int_eq(strlen(trace_parent(&cx, first)), TRACEPARENT_LEN);
    ck_assert(trace_adopt(&other, first) && !other.sampled);
    trace_start(&cx); /* it has one */
    ck_assert_str_eq(trace_parent(&cx, again), first);
}
END_TEST

UNIT(trace, {"contexts", contexts, COUNT(cases)}, {"a trace of its own", a_trace_of_its_own})

/* test_clock.c - RFC 3339 in and out. */
#include "base/clock.h"
#include "unit.h"
#include <string.h>

static const struct {
    const char *in;
    bool ok;
    int64_t ms;
    const char *out; /* NULL: the same text */
} times[] = {
    {"1970-01-01T00:00:00.000Z", true, 0},
    {"2026-01-05T10:11:12.345Z", true, 1767607872345},
    {"2026-01-05T10:11:12Z", true, 1767607872000, "2026-01-05T10:11:12.000Z"},
    {"2026-01-05 10:11:12.3z", true, 1767607872300, "2026-01-05T10:11:12.300Z"},
    {"2026-01-05T13:11:12.345999+03:00", true, 1767607872345, "2026-01-05T10:11:12.345Z"},
    {"2026-01-05T05:41:12-0430", true, 1767607872000, "2026-01-05T10:11:12.000Z"},
    {"2026-01-05T13:11:12+03", true, 1767607872000, "2026-01-05T10:11:12.000Z"},
    {"2024-02-29T00:00:00.000Z", true, 1709164800000},
    {"2016-12-31T23:59:60Z", true, 1483228800000, "2017-01-01T00:00:00.000Z"},
    {"1969-12-31T23:59:59.999Z", true, -1},
    {"9999-12-31T23:59:59.999Z", true, 253402300799999},
    {"2025-02-29T00:00:00Z", false},
    {"2026-04-31T00:00:00Z", false},
    {"2026-13-01T00:00:00Z", false},
    {"2026-00-01T00:00:00Z", false},
    {"2026-01-00T00:00:00Z", false},
    {"2026-01-05T24:00:00Z", false},
    {"2026-01-05T10:60:00Z", false},
    {"2026-01-05T10:11:61Z", false},
    {"2026-01-05T10:11:12", false},
    {"2026-01-05T10:11:12.Z", false},
    {"2026-01-05T10:11:12+24:00", false},
    {"2026-01-05T10:11:12+03:0", false},
    {"2026-01-05T10:11:12Zx", false},
    {"2026-01-05", false},
    {"26-01-05T10:11:12Z", false},
    {"now", false},
    {"", false},
};

START_TEST(times_are_read_and_written)
{
    int64_t ms = 77;
    char text[CLOCK_TEXT_LEN + 1];

    ck_assert_msg(clock_parse(times[_i].in, &ms) == times[_i].ok, "case: %s", times[_i].in);
    if (!times[_i].ok) {
        ck_assert_int_eq(ms, 77);
        return;
    }
    ck_assert_msg(ms == times[_i].ms, "case: %s gave %lld", times[_i].in, (long long)ms);
    ck_assert_str_eq(clock_format(ms, text), times[_i].out ? times[_i].out : times[_i].in);
}
END_TEST

/* What has no such text is cut, and looks like nothing else. */
START_TEST(moments_far_off)
{
    char text[CLOCK_TEXT_LEN + 1];

    ck_assert_str_eq(clock_format(INT64_C(253402300800000), text), "10000-01-01T00:00:00.000");
    ck_assert_str_eq(clock_format(-1, text), "1969-12-31T23:59:59.999Z");
}
END_TEST

START_TEST(clocks_go_forward)
{
    int64_t wall = clock_ms(), mono = clock_mono_us();

    ck_assert_int_gt(wall, INT64_C(1700000000000));
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_mono_us();
        ck_assert_int_ge(now, mono);
        mono = now;
    }
    ck_assert_int_le(clock_mono_ms() - mono / 1000, 1000);
}
END_TEST

UNIT(clock, {"RFC 3339", times_are_read_and_written, COUNT(times)}, {"forward", clocks_go_forward},
     {"far off", moments_far_off})

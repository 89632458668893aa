/* test_limiter.c - buckets of refusals, by a clock of the test's own; names of addresses. */
#include "hub/limiter.h"
#include "tests/unit/unit.h"
#include <string.h>

#define T0 INT64_C(5000000) /* the monotonic clock begins anywhere */

static const struct {
    const char *title;
    int64_t burst, per_s;
    int64_t at_ms[6];   /* takes, after T0; -1: no more */
    int64_t wait_ms[6]; /* 0: taken */
} runs[] = {
    {"the burst at once, then nothing", 3, 1, {0, 0, 0, 0, 0, -1}, {0, 0, 0, 1000, 1000}},
    {"a refusal that was refused costs nothing",
     1,
     1,
     {0, 1, 2, 999, 1000, -1},
     {0, 999, 998, 1, 0}},
    {"one comes back each second", 2, 1, {0, 0, 400, 1000, 1000, 2000}, {0, 0, 600, 0, 1000, 0}},
    {"never more than the burst", 2, 1, {0, 100000, 100000, 100000, -1}, {0, 0, 0, 1000}},
    {"ten a second", 1, 10, {0, 50, 100, 101, 200, -1}, {0, 50, 0, 99, 0}},
    {"a part of a millisecond is waited for", 1, 3, {0, 0, 333, 334, -1}, {0, 334, 1, 0}},
};

START_TEST(takes)
{
    struct limiter *l = limiter_new(runs[_i].burst, runs[_i].per_s, 10);

    for (size_t i = 0; i < COUNT(runs[0].at_ms) && runs[_i].at_ms[i] >= 0; i++) {
        int64_t wait = 0, now = T0 + runs[_i].at_ms[i];
        bool took = limiter_take(l, "a", now, &wait);
        ck_assert_msg(wait == runs[_i].wait_ms[i] && took == !wait, "case: %s, take %zu: %lld ms",
                      runs[_i].title, i, (long long)wait);
        if (wait) { /* the true time: one millisecond earlier is too early, and costs nothing */
            ck_assert(!limiter_take(l, "a", now + wait - 1, NULL));
            ck_assert(limiter_take(l, "a", now + wait, NULL));
            limiter_give(l, "a", now + wait);
        }
    }
    limiter_free(l);
}
END_TEST

START_TEST(everybody_has_one)
{
    struct limiter *l = limiter_new(1, 1, 10);

    ck_assert(limiter_take(l, "a", T0, NULL));
    ck_assert(!limiter_take(l, "a", T0, NULL));
    ck_assert(limiter_take(l, "b", T0, NULL));
    ck_assert_uint_eq(limiter_count(l), 2);
    limiter_free(l);
}
END_TEST

START_TEST(what_turned_out_well_is_given_back)
{
    struct limiter *l = limiter_new(2, 1, 10);

    limiter_give(l, "a", T0); /* nobody's */
    for (int i = 0; i < 100; i++) {
        ck_assert(limiter_take(l, "a", T0, NULL));
        limiter_give(l, "a", T0);
    }
    limiter_give(l, "a", T0); /* once too often: not more than full */
    ck_assert(limiter_take(l, "a", T0, NULL));
    ck_assert(limiter_take(l, "a", T0, NULL));
    ck_assert(!limiter_take(l, "a", T0, NULL));
    limiter_free(l);
}
END_TEST

START_TEST(the_table_is_bounded)
{
    struct limiter *l = limiter_new(1, 1, 3);
    char who[16];

    for (int i = 0; i < 1000; i++) {
        snprintf(who, sizeof who, "10.0.0.%d", i);
        ck_assert(limiter_take(l, who, T0, NULL));
        ck_assert(i == 0 || !limiter_take(l, "10.0.0.0", T0, NULL)); /* used: it stays */
    }
    ck_assert_uint_eq(limiter_count(l), 3);
    ck_assert(limiter_take(l, "10.0.0.1", T0, NULL)); /* gone long ago: full again */
    limiter_free(l);
}
END_TEST

static const struct {
    const char *title, *address, *source;
} sources[] = {
    {"IPv4", "10.1.2.3", "10.1.2.3"},
    {"IPv4 in IPv6", "::ffff:10.1.2.3", "10.1.2.3"},
    {"IPv6 by its /64", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
    {"its neighbour", "2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"},
    {"another /64", "2001:db8:1:3::1", "2001:db8:1:3::/64"},
    {"loopback", "::1", "::/64"},
    {"no address", "unix:", "unix:"},
    {"nothing", "", ""},
};

START_TEST(source)
{
    char out[LIMITER_SOURCE_MAX];

    limiter_source(sources[_i].address, out);
    ck_assert_msg(strcmp(out, sources[_i].source) == 0, "case: %s: %s", sources[_i].title, out);
}
END_TEST

UNIT(limiter, {"takes", takes, COUNT(runs)}, {"everybody has one", everybody_has_one},
     {"given back", what_turned_out_well_is_given_back}, {"bounded", the_table_is_bounded},
     {"sources", source, COUNT(sources)})

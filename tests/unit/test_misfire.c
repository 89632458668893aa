/* test_misfire.c - which due times are made up for, after beat was late or away. */
#include "base/clock.h"
#include "beat/beat.h"
#include "domain/clock/cron.h"
#include "domain/clock/tz.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>

#define MINUTES(n) ((int64_t)(n)*60000)

/* Times in minutes after 2026-01-05T00:00Z; seconds as fractions. */
static const struct {
    const char *title, *cron;
    int64_t every_ms;
    const char *misfire;
    double due, now;
    size_t n;
    double first, last, skip;
    int64_t passed;
    double next;
} cases[] = {
    {"on time", NULL, MINUTES(5), "skip", 5, 5, 1, 5, 5, 0, 0, 10},
    {"a little late is on time", NULL, MINUTES(5), "skip", 5, 5.2, 1, 5, 5, 0, 0, 10},
    {"too late to be fired", NULL, MINUTES(5), "skip", 5, 6, 0, 0, 0, 5, 1, 10},
    {"too late, fired once", NULL, MINUTES(5), "once", 5, 6, 1, 5, 5, 0, 0, 10},
    {"too late, all of one", NULL, MINUTES(5), "all", 5, 6, 1, 5, 5, 0, 0, 10},
    {"three passed, skipped", NULL, MINUTES(5), "skip", 5, 17, 0, 0, 0, 15, 2, 20},
    {"three passed, the last is on time", NULL, MINUTES(5), "skip", 5, 15.1, 1, 15, 15, 0, 1, 20},
    {"three passed, once", NULL, MINUTES(5), "once", 5, 17, 1, 15, 15, 0, 1, 20},
    {"three passed, all", NULL, MINUTES(5), "all", 5, 17, 3, 5, 15, 0, 0, 20},
    {"exactly as many as are made up for", NULL, MINUTES(1), "all", 1, 100, 100, 1, 100, 0, 0, 101},
    {"one more", NULL, MINUTES(1), "all", 1, 101, 100, 2, 101, 0, 1, 102},
    {"a week", NULL, MINUTES(1), "all", 1, 10080, 100, 9981, 10080, 0, 9980, 10081},
    {"cron, skipped", "*/10 * * * *", 0, "skip", 10, 35, 0, 0, 0, 30, 2, 40},
    {"cron, once", "*/10 * * * *", 0, "once", 10, 35, 1, 30, 30, 0, 1, 40},
    {"cron, all", "*/10 * * * *", 0, "all", 10, 35, 3, 10, 30, 0, 0, 40},
    {"cron, a week of minutes", "* * * * *", 0, "all", 1, 10080, 100, 9981, 10080, 0, 9980, 10081},
    {"cron, a week of minutes, once", "* * * * *", 0, "once", 1, 10080, 1, 10080, 10080, 0, 1,
     10081},
};

START_TEST(plans)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct due_rule rule;
    struct firing_plan p;
    int64_t zero;

    ck_assert(clock_parse("2026-01-05T00:00:00Z", &zero));
    ck_assert_int_eq(due_rule_make(&cx, cases[_i].cron, cases[_i].every_ms, "UTC", zero, &rule),
                     OK);
    firing_plan(&rule, cases[_i].misfire, zero + (int64_t)(cases[_i].due * 60000),
                zero + (int64_t)(cases[_i].now * 60000), &p);
    ck_assert_msg(p.n == cases[_i].n, "%s: %zu fired", cases[_i].title, p.n);
    if (p.n) {
        ck_assert_msg(p.fire_ms[0] == zero + (int64_t)(cases[_i].first * 60000), "%s: first",
                      cases[_i].title);
        ck_assert_msg(p.fire_ms[p.n - 1] == zero + (int64_t)(cases[_i].last * 60000), "%s: last",
                      cases[_i].title);
    }
    for (size_t i = 1; i < p.n; i++)
        ck_assert_msg(p.fire_ms[i] > p.fire_ms[i - 1], "%s: order", cases[_i].title);
    ck_assert_msg(p.skip_ms == (cases[_i].skip > 0 ? zero + (int64_t)(cases[_i].skip * 60000) : 0),
                  "%s: skip", cases[_i].title);
    ck_assert_msg((p.passed > 0) == (cases[_i].passed > 0), "%s: passed %lld", cases[_i].title,
                  (long long)p.passed);
    if (!strcmp(cases[_i].misfire, "all"))
        ck_assert_int_eq(p.passed, cases[_i].passed);
    ck_assert_msg(p.next_ms == zero + (int64_t)(cases[_i].next * 60000), "%s: next",
                  cases[_i].title);
    tz_forget();
}
END_TEST

UNIT(misfire, {"plans", plans, COUNT(cases)})

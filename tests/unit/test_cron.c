/* test_cron.c - when is it due? A table of rules in their zones, and the zones against the C
 * library's. */
#include "base/clock.h"
#include "domain/clock/cron.h"
#include "domain/clock/tz.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

/* `want`: the next due times after `after`, in UTC, until the list ends. */
static const struct {
    const char *title, *cron, *zone, *after, *want[4];
} dues[] = {
    {"each minute",
     "* * * * *",
     "UTC",
     "2026-01-05T10:11:12Z",
     {"2026-01-05T10:12:00Z", "2026-01-05T10:13:00Z"}},
    {"strictly after", "* * * * *", "UTC", "2026-01-05T10:11:00Z", {"2026-01-05T10:12:00Z"}},
    {"a millisecond before",
     "* * * * *",
     "UTC",
     "2026-01-05T10:11:59.999Z",
     {"2026-01-05T10:12:00Z"}},
    {"steps of *",
     "*/15 * * * *",
     "UTC",
     "2026-01-05T10:50:00Z",
     {"2026-01-05T11:00:00Z", "2026-01-05T11:15:00Z"}},
    {"steps of a range",
     "10-30/10 * * * *",
     "UTC",
     "2026-01-05T10:11:00Z",
     {"2026-01-05T10:20:00Z", "2026-01-05T10:30:00Z", "2026-01-05T11:10:00Z"}},
    {"a step that does not divide",
     "*/25 * * * *",
     "UTC",
     "2026-01-05T10:30:00Z",
     {"2026-01-05T10:50:00Z", "2026-01-05T11:00:00Z"}},
    {"lists",
     "5,10,55 0,12 * * *",
     "UTC",
     "2026-01-05T00:10:00Z",
     {"2026-01-05T00:55:00Z", "2026-01-05T12:05:00Z", "2026-01-05T12:10:00Z"}},
    {"lists of ranges and steps",
     "0-2,58-59 6-8/2 * * *",
     "UTC",
     "2026-01-05T06:02:00Z",
     {"2026-01-05T06:58:00Z", "2026-01-05T06:59:00Z", "2026-01-05T08:00:00Z"}},
    {"names of months",
     "0 0 1 jan,JUL *",
     "UTC",
     "2026-01-05T00:00:00Z",
     {"2026-07-01T00:00:00Z", "2027-01-01T00:00:00Z"}},
    {"names of days",
     "30 9 * * Mon-Fri",
     "UTC",
     "2026-11-20T09:30:00Z",
     {"2026-11-23T09:30:00Z", "2026-11-24T09:30:00Z"}},
    {"0 is Sunday",
     "0 0 * * 0",
     "UTC",
     "2026-11-21T12:00:00Z",
     {"2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"}},
    {"7 is Sunday",
     "0 0 * * 7",
     "UTC",
     "2026-11-21T12:00:00Z",
     {"2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"}},
    {"Friday to Sunday as 5-7",
     "0 0 * * 5-7",
     "UTC",
     "2026-11-21T12:00:00Z",
     {"2026-11-22T00:00:00Z", "2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z"}},
    {"either day",
     "0 0 13 * 5",
     "UTC",
     "2026-11-07T00:00:00Z",
     {"2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z", "2026-11-27T00:00:00Z"}},
    {"both days where one begins with *",
     "0 0 */2 * 1",
     "UTC",
     "2026-11-01T00:00:00Z",
     {"2026-11-09T00:00:00Z", "2026-11-23T00:00:00Z"}},
    {"the 31st skips short months",
     "0 0 31 * *",
     "UTC",
     "2026-01-31T00:00:00Z",
     {"2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"}},
    {"leap day",
     "0 12 29 2 *",
     "UTC",
     "2026-01-01T00:00:00Z",
     {"2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"}},
    {"leap day over 2100", "0 0 29 2 *", "UTC", "2096-02-29T00:00:00Z", {"2104-02-29T00:00:00Z"}},
    {"leap day of 2000", "0 0 29 2 *", "UTC", "1999-03-01T00:00:00Z", {"2000-02-29T00:00:00Z"}},
    {"leap day or a Monday in February",
     "0 0 29 2 1",
     "UTC",
     "2026-02-20T00:00:00Z",
     {"2026-02-23T00:00:00Z", "2027-02-01T00:00:00Z"}},
    {"the 30th of February", "0 0 30 2 *", "UTC", "2026-01-01T00:00:00Z", {NULL}},
    {"the 31st of short months", "0 0 31 4,6,9,11 *", "UTC", "2026-01-01T00:00:00Z", {NULL}},
    {"the year's end", "59 23 31 12 *", "UTC", "2026-12-31T23:59:00Z", {"2027-12-31T23:59:00Z"}},
    {"@daily", "@daily", "UTC", "2026-01-05T10:00:00Z", {"2026-01-06T00:00:00Z"}},
    {"@hourly", "@Hourly", "UTC", "2026-01-05T10:00:00Z", {"2026-01-05T11:00:00Z"}},
    {"@weekly", "@weekly", "UTC", "2026-11-21T10:00:00Z", {"2026-11-22T00:00:00Z"}},
    {"@monthly", "@monthly", "UTC", "2026-01-05T10:00:00Z", {"2026-02-01T00:00:00Z"}},
    {"@yearly", "@yearly", "UTC", "2026-01-05T10:00:00Z", {"2027-01-01T00:00:00Z"}},

    {"Riyadh: three hours ahead, no changes",
     "0 8 * * *",
     "Asia/Riyadh",
     "2026-03-28T06:00:00Z",
     {"2026-03-29T05:00:00Z", "2026-03-30T05:00:00Z"}},
    {"Riyadh: a local day begins in UTC's yesterday",
     "0 1 1 * *",
     "Asia/Riyadh",
     "2026-01-15T00:00:00Z",
     {"2026-01-31T22:00:00Z", "2026-02-28T22:00:00Z"}},
    {"Kolkata: half hours",
     "0 0 * * *",
     "Asia/Kolkata",
     "2026-01-05T00:00:00Z",
     {"2026-01-05T18:30:00Z"}},
    {"Kathmandu: quarter hours",
     "*/30 * * * *",
     "Asia/Kathmandu",
     "2026-01-05T00:00:00Z",
     {"2026-01-05T00:15:00Z", "2026-01-05T00:45:00Z"}},

    {"Berlin: winter and summer",
     "0 8 * * *",
     "Europe/Berlin",
     "2026-03-28T06:00:00Z",
     {"2026-03-28T07:00:00Z", "2026-03-29T06:00:00Z", "2026-03-30T06:00:00Z"}},
    {"Berlin: skipped, due right after the gap",
     "30 2 * * *",
     "Europe/Berlin",
     "2026-03-28T12:00:00Z",
     {"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
    {"Berlin: many skipped, due once",
     "*/10 2 * * *",
     "Europe/Berlin",
     "2026-03-28T12:00:00Z",
     {"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z", "2026-03-30T00:10:00Z"}},
    {"Berlin: skipped and due at the gap's end, once",
     "0 2,3 * * *",
     "Europe/Berlin",
     "2026-03-28T12:00:00Z",
     {"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
    {"Berlin: each half hour over the gap",
     "*/30 * * * *",
     "Europe/Berlin",
     "2026-03-29T00:00:00Z",
     {"2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"}},
    {"Berlin: repeated, due the first time",
     "30 2 * * *",
     "Europe/Berlin",
     "2026-10-24T12:00:00Z",
     {"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
    {"Berlin: asked in the repeated hour",
     "45 2 * * *",
     "Europe/Berlin",
     "2026-10-25T01:10:00Z",
     {"2026-10-26T01:45:00Z"}},
    {"Berlin: each half hour over the repeated one",
     "*/30 * * * *",
     "Europe/Berlin",
     "2026-10-25T00:00:00Z",
     {"2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z", "2026-10-25T02:30:00Z"}},
    {"Berlin: after the file's last change (2037)",
     "30 2 * * *",
     "Europe/Berlin",
     "2050-03-26T12:00:00Z",
     {"2050-03-27T01:00:00Z", "2050-03-28T00:30:00Z"}},
    {"Berlin: back again in 2050",
     "30 2 * * *",
     "Europe/Berlin",
     "2050-10-29T12:00:00Z",
     {"2050-10-30T00:30:00Z", "2050-10-31T01:30:00Z"}},

    {"New York: skipped",
     "30 2 * * *",
     "America/New_York",
     "2026-03-07T12:00:00Z",
     {"2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"}},
    {"New York: repeated",
     "30 1 * * *",
     "America/New_York",
     "2026-10-31T12:00:00Z",
     {"2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"}},
    {"New York: skipped on a Sunday that is asked for",
     "15 2 * * sun",
     "America/New_York",
     "2026-03-07T12:00:00Z",
     {"2026-03-08T07:00:00Z", "2026-03-15T06:15:00Z"}},
    {"New York: 2060",
     "30 2 14 3 *",
     "America/New_York",
     "2060-03-01T00:00:00Z",
     {"2060-03-14T07:00:00Z", "2061-03-14T06:30:00Z"}},
    {"Sydney: the south changes the other way",
     "30 2 * * *",
     "Australia/Sydney",
     "2026-10-03T00:00:00Z",
     {"2026-10-03T16:00:00Z", "2026-10-04T15:30:00Z"}},
    {"Sydney: 2050",
     "30 2 * * *",
     "Australia/Sydney",
     "2050-04-02T00:00:00Z",
     {"2050-04-02T15:30:00Z", "2050-04-03T16:30:00Z"}},
    {"Lord Howe: half an hour",
     "15 2 * * *",
     "Australia/Lord_Howe",
     "2026-10-03T00:00:00Z",
     {"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
    {"Beirut: midnight is skipped",
     "0 0 * * *",
     "Asia/Beirut",
     "2026-03-28T12:00:00Z",
     {"2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z"}},
    {"Apia: a day is skipped",
     "0 12 30 12 *",
     "Pacific/Apia",
     "2011-12-29T00:00:00Z",
     {"2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"}},
};

static const struct tz *zone(const char *name)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    const struct tz *z = NULL;

    ck_assert_msg(tz_get(&cx, name, &z) == OK, "%s", cx.err.text);
    return z;
}

static int64_t ms_of(const char *text)
{
    int64_t ms;

    ck_assert(clock_parse(text, &ms));
    return ms;
}

START_TEST(is_due)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    const struct tz *z = zone(dues[_i].zone);
    int64_t at = ms_of(dues[_i].after), next;
    struct cron c;
    char got[CLOCK_TEXT_LEN + 1], want[CLOCK_TEXT_LEN + 1];

    ck_assert_msg(cron_parse(&cx, dues[_i].cron, &c) == OK, "%s", cx.err.text);
    if (!dues[_i].want[0])
        ck_assert_msg(!cron_next(&c, z, at, &next), "%s: due", dues[_i].title);
    for (size_t i = 0; i < COUNT(dues[_i].want) && dues[_i].want[i]; i++) {
        ck_assert_msg(cron_next(&c, z, at, &next), "%s: never due", dues[_i].title);
        ck_assert_msg(next == ms_of(dues[_i].want[i]), "%s: %s, not %s", dues[_i].title,
                      clock_format(next, got), clock_format(ms_of(dues[_i].want[i]), want));
        ck_assert_int_gt(next, at);
        at = next;
    }
    tz_forget();
}
END_TEST

static const struct {
    const char *cron, *says;
} wrong[] = {
    {"", "five fields"},
    {"* * * *", "five fields"},
    {"* * * * * *", "five fields"},
    {"60 * * * *", "minute '60'"},
    {"* 24 * * *", "hour '24'"},
    {"* * 0 * *", "day of the month '0'"},
    {"* * 32 * *", "day of the month '32'"},
    {"* * * 13 *", "month '13'"},
    {"* * * 0 *", "month '0'"},
    {"* * * * 8", "day of the week '8'"},
    {"-1 * * * *", "minute '-1'"},
    {"+1 * * * *", "minute '+1'"},
    {"1.5 * * * *", "minute '1.5'"},
    {"5/15 * * * *", "a step needs a range"},
    {"*/0 * * * *", "the step is not"},
    {"*/60 * * * *", "the step is not"},
    {"*/x * * * *", "the step is not"},
    {"*/ * * * *", "the step is not"},
    {"10-5 * * * *", "runs backwards"},
    {"1- * * * *", "the end of the range"},
    {"1-2-3 * * * *", "not understood"},
    {"1,,2 * * * *", "minute ''"},
    {",1 * * * *", "minute ''"},
    {"* * L * *", "day of the month 'L'"},
    {"* * ? * *", "day of the month '?'"},
    {"* * * foo *", "month 'foo'"},
    {"* * * janu *", "not understood"},
    {"* * * * mon-", "the end of the range"},
    {"* * * * fri-mon", "runs backwards"},
    {"* * * * sun-7x", "not understood"},
    {"**/2 * * * *", "not understood"},
    {"00000000000000000000001 * * * *", "minute"},
    {"@reboot", "minute '@reboot'"},
    {"@never", "minute '@never'"},
};

START_TEST(refuses)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct cron c;

    ck_assert_msg(cron_parse(&cx, wrong[_i].cron, &c) == E_INVALID_FIELD, "%s was taken",
                  wrong[_i].cron);
    ck_assert_str_eq(cx.err.pointer, "/cron");
    ck_assert_msg(strstr(cx.err.text, wrong[_i].says), "%s: %s", wrong[_i].cron, cx.err.text);
}
END_TEST

START_TEST(refuses_long)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct cron c;
    char text[1000];

    memset(text, '1', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    ck_assert_int_eq(cron_parse(&cx, text, &c), E_INVALID_FIELD);
}
END_TEST

static const char *const no_zones[] = {
    "",       "Mars/Olympus",  "../etc/passwd", "/etc/localtime",
    "Europe", "Europe/../UTC", "zone.tab",      "Europe/Berlin\n",
    ":UTC",   "europe berlin", "posixrules/x"};

START_TEST(refuses_zones)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    const struct tz *z;

    ck_assert_msg(tz_get(&cx, no_zones[_i], &z) == E_INVALID_FIELD, "'%s' was taken", no_zones[_i]);
    ck_assert_str_eq(cx.err.pointer, "/timezone");
    tz_forget();
}
END_TEST

/* The C library reads the same files in its own way. */
static const char *const zones[] = {
    "Europe/Berlin", "America/New_York",  "Asia/Riyadh",      "Australia/Sydney",
    "Europe/Dublin", "Africa/Casablanca", "America/St_Johns", "Pacific/Apia",
    "Asia/Tehran",   "Antarctica/Troll",  "Asia/Gaza",        "America/Nuuk",
    "Africa/Cairo",  "Europe/Istanbul",   "Etc/GMT+5",        "America/Godthab"};

START_TEST(as_the_c_library)
{
    const struct tz *z = zone(zones[_i]);
    int bad = 0;

    setenv("TZ", zones[_i], 1);
    tzset();
    for (int64_t s = 0; s < (int64_t)86400 * 365 * 110; s += 86400 / 2 + 1800 + 7) {
        time_t t = (time_t)s;
        struct tm tm;

        localtime_r(&t, &tm);
        bad += tm.tm_gmtoff != tz_offset(z, s);
        /* and back: local time -> a moment that shows the same clock, unless it is the second pass
         * of a repeated hour */
        int64_t back = tz_moment(z, s + tm.tm_gmtoff);
        bad += back != s && !(back < s && tz_offset(z, back) + back == s + tm.tm_gmtoff);
    }
    ck_assert_msg(bad == 0, "%s: %d differences", zones[_i], bad);
    tz_forget();
}
END_TEST

START_TEST(dates)
{
    int64_t year;
    int month, day, y = 1970, m = 1, d = 1;

    for (int64_t n = 0; n < 80000; n++) {
        date_of(n, &year, &month, &day);
        ck_assert(year == y && month == m && day == d && days_of(y, m, d) == n);
        if (++d > days_in_month(y, m)) {
            d = 1;
            if (++m > 12) {
                m = 1;
                y++;
            }
        }
    }
    ck_assert_int_eq(days_of(1969, 12, 31), -1);
    ck_assert_int_eq(days_of(2000, 3, 1), 11017);
}
END_TEST

/* from is a due time; the last one up to until. */
static const struct {
    const char *title, *cron;
    int64_t every_ms;
    const char *from, *until, *want;
} lasts[] = {
    {"none since", "0 0 * * *", 0, "2026-01-05T00:00:00Z", "2026-01-05T23:59:59Z",
     "2026-01-05T00:00:00Z"},
    {"at the very moment", "0 0 * * *", 0, "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z",
     "2026-01-06T00:00:00Z"},
    {"after a long sleep", "* * * * *", 0, "2020-01-05T00:00:00Z", "2026-01-06T10:20:30Z",
     "2026-01-06T10:20:00Z"},
    {"rare", "0 0 29 2 *", 0, "2000-02-29T00:00:00Z", "2026-01-06T00:00:00Z",
     "2024-02-29T00:00:00Z"},
    {"dense but over", "* * 1 * *", 0, "2026-01-01T00:00:00Z", "2026-01-20T00:00:00Z",
     "2026-01-01T23:59:00Z"},
    {"period", NULL, 300000, "2026-01-05T00:05:00Z", "2026-01-05T01:07:00Z",
     "2026-01-05T01:05:00Z"},
    {"period, none since", NULL, 300000, "2026-01-05T00:05:00Z", "2026-01-05T00:06:00Z",
     "2026-01-05T00:05:00Z"},
};

START_TEST(finds_last)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct due_rule r;
    char got[CLOCK_TEXT_LEN + 1];

    ck_assert_int_eq(due_rule_make(&cx, lasts[_i].cron, lasts[_i].every_ms, "UTC",
                                   ms_of("2026-01-05T00:00:00Z"), &r),
                     OK);
    int64_t last = due_last(&r, ms_of(lasts[_i].from), ms_of(lasts[_i].until));
    ck_assert_msg(last == ms_of(lasts[_i].want), "%s: %s", lasts[_i].title,
                  clock_format(last, got));
    tz_forget();
}
END_TEST

START_TEST(periods)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct due_rule r;
    int64_t next;

    ck_assert_int_eq(due_rule_make(&cx, NULL, 1000, NULL, 5500, &r), OK);
    ck_assert(due_next(&r, 5500, &next) && next == 6500);
    ck_assert(due_next(&r, 6499, &next) && next == 6500);
    ck_assert(due_next(&r, 6500, &next) && next == 7500);
    ck_assert(due_next(&r, 0, &next) && next == 6500); /* a clock that was set back */
    ck_assert_int_eq(due_rule_make(&cx, NULL, 0, NULL, 0, &r), E_INVALID_FIELD);
    ck_assert_int_eq(due_rule_make(&cx, "0 0 30 2 *", 0, "UTC", 0, &r), E_INVALID_FIELD);
    ck_assert_ptr_nonnull(strstr(cx.err.text, "never comes"));
    ck_assert_int_eq(due_rule_make(&cx, "0 0 1 2 *", 0, "Nowhere", 0, &r), E_INVALID_FIELD);
    tz_forget();
}
END_TEST

UNIT(cron, {"is due", is_due, COUNT(dues)}, {"refuses", refuses, COUNT(wrong)},
     {"refuses long", refuses_long, 0}, {"refuses zones", refuses_zones, COUNT(no_zones)},
     {"as the C library", as_the_c_library, COUNT(zones)}, {"dates", dates, 0},
     {"finds last", finds_last, COUNT(lasts)}, {"periods", periods, 0})

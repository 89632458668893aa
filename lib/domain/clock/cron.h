/* cron.h - when is it due? Five fields in a time zone, or a period.
 *
 *     minute hour day-of-month month day-of-week
 *     0-59   0-23 1-31         1-12  0-7 (0 and 7: Sunday)
 *
 * A field is a list of *, N, N-M, each but N with an optional step ("1-30/5"); months and days of
 * the week also by their English names of three letters. @yearly @annually @monthly @weekly @daily
 * @midnight @hourly stand for the usual five fields. When both days are restricted (neither begins
 * with '*'), either suffices, as in every cron since Vixie's.
 *
 * Where clocks change: a local time that is skipped is due once, right after the gap; one that is
 * repeated is due once, the first time. What must run at equal distances all year wants a period
 * (every_ms), or the zone UTC. */
#pragma once
#include "base/cx.h"

#define CRON_TEXT_MAX 255

struct tz;
struct cron {
    uint64_t minutes;
    uint32_t hours, days, months, weekdays; /* bit n: the value n; weekdays 0..6 */
    bool either_day;
};

/* INVALID_FIELD at "/cron", with the field and what is wrong. */
rc cron_parse(struct cx *cx, const char *text, struct cron *ret);
/* The first due time after after_ms (wall); false when none comes within nine years (the 30th of
 * February). */
bool cron_next(const struct cron *c, const struct tz *z, int64_t after_ms, int64_t *ret_ms);

/* A rule: cron in a zone, or a period counted from an anchor. */
struct due_rule {
    struct cron cron;
    const struct tz *tz; /* NULL: a period */
    int64_t every_ms, anchor_ms;
};
/* cron or every_ms of a schedule, checked: also that it is ever due. */
rc due_rule_make(struct cx *cx, const char *cron, int64_t every_ms, const char *timezone,
                 int64_t anchor_ms, struct due_rule *ret);
bool due_next(const struct due_rule *r, int64_t after_ms, int64_t *ret_ms);
/* The last due time in [from_ms, until_ms], where from_ms is one. */
int64_t due_last(const struct due_rule *r, int64_t from_ms, int64_t until_ms);

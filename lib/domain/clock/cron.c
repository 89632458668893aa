/* cron.c - when is it due?
 *
 * Due times are searched among local times, day by day, and only then turned into moments
 * (tz_moment): so one local time is one due time, whatever the clocks do that night. Local times in
 * rising order give moments in rising order (never falling), which is why the first moment after
 * `after` is the answer. */
#include "domain/clock/cron.h"
#include "base/text.h"
#include "domain/clock/tz.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DAYS_AHEAD (9 * 366) /* Feb 29 may be eight years away (2096 to 2104) */

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
                                          "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

static const struct field {
    const char *name;
    int min, max;
    const char *const *words; /* the first stands for min */
} fields[5] = {
    {"minute", 0, 59, NULL},
    {"hour", 0, 23, NULL},
    {"day of the month", 1, 31, NULL},
    {"month", 1, 12, month_names},
    {"day of the week", 0, 7, day_names},
};

static bool read_value(const struct field *f, const char **p, int *ret)
{
    char *end;

    for (int i = 0; f->words && f->words[i]; i++)
        if (!strncasecmp(*p, f->words[i], 3)) {
            *p += 3;
            *ret = f->min + i;
            return true;
        }
    if (**p < '0' || **p > '9')
        return false;
    long n = strtol(*p, &end, 10);
    if (end - *p > 4 || n < f->min || n > f->max)
        return false;
    *p = end;
    *ret = (int)n;
    return true;
}

static rc bad(struct cx *cx, const struct field *f, const char *text, const char *why)
{
    return fail_at(cx, INVALID_FIELD, "/cron", "%s '%s': %s", f->name, text, why);
}

/* One item of a list: *, N, N-M, and a step. */
static rc read_item(struct cx *cx, const struct field *f, const char *item, uint64_t *bits)
{
    const char *p = item;
    int from = f->min, to = f->max, step = 1;
    bool range = true;

    if (*p == '*')
        p++;
    else {
        if (!read_value(f, &p, &from))
            return bad(cx, f, item, "not a value of this field");
        to = from;
        range = *p == '-';
        if (range) {
            p++;
            if (!read_value(f, &p, &to))
                return bad(cx, f, item, "the end of the range is not a value of this field");
            if (to < from)
                return bad(cx, f, item, "the range runs backwards");
        }
    }
    if (*p == '/') {
        int64_t n;

        if (!range)
            return bad(cx, f, item, "a step needs a range or *");
        if (!parse_int(p + 1, 1, f->max, &n))
            return bad(cx, f, item, "the step is not a number of this field");
        step = (int)n;
        p += strlen(p);
    }
    if (*p)
        return bad(cx, f, item, "not understood");
    for (int v = from; v <= to; v += step)
        *bits |= (uint64_t)1 << v;
    return OK;
}

static rc read_field(struct cx *cx, const struct field *f, const char *text, uint64_t *ret)
{
    _cleanup_(freep) char *copy = xstrdup(text);
    char *rest = copy, *item;

    *ret = 0;
    while ((item = strsep(&rest, ",")))
        try(read_item(cx, f, item, ret));
    return OK;
}

static const char *alias(const char *text)
{
    static const struct {
        const char *word, *fields;
    } words[] = {
        {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
        {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
        {"@hourly", "0 * * * *"},
    };

    for (size_t i = 0; i < COUNT(words); i++)
        if (!strcasecmp(text, words[i].word))
            return words[i].fields;
    return text;
}

rc cron_parse(struct cx *cx, const char *text, struct cron *ret)
{
    char copy[CRON_TEXT_MAX + 1], *save = NULL, *word;
    uint64_t bits[COUNT(fields)];
    bool star[COUNT(fields)];
    size_t n = 0;

    text = alias(text);
    if (strlen(text) > CRON_TEXT_MAX)
        return fail_at(cx, INVALID_FIELD, "/cron", "longer than %d bytes", CRON_TEXT_MAX);
    memcpy(copy, text, strlen(text) + 1);
    for (word = strtok_r(copy, " \t", &save); word; word = strtok_r(NULL, " \t", &save), n++) {
        if (n == COUNT(fields))
            break;
        star[n] = *word == '*';
        try(read_field(cx, &fields[n], word, &bits[n]));
    }
    if (n != COUNT(fields) || word)
        return fail_at(cx, INVALID_FIELD, "/cron",
                       "five fields are needed: minute hour day month weekday");
    *ret = (struct cron){
        .minutes = bits[0],
        .hours = (uint32_t)bits[1],
        .days = (uint32_t)bits[2],
        .months = (uint32_t)bits[3],
        .weekdays = (uint32_t)((bits[4] | bits[4] >> 7) & 0x7f), /* 7 is Sunday, too */
        .either_day = !star[2] && !star[4],
    };
    return OK;
}

static bool has(uint64_t bits, int n)
{
    return bits >> n & 1;
}

static bool day_fits(const struct cron *c, int64_t days, int month, int day)
{
    /* The first of January 1970 was a Thursday; west of Greenwich days begin before it. */
    bool by_month = has(c->days, day), by_week = has(c->weekdays, (int)((days % 7 + 11) % 7));

    return has(c->months, month) && (c->either_day ? by_month || by_week : by_month && by_week);
}

bool cron_next(const struct cron *c, const struct tz *z, int64_t after_ms, int64_t *ret_ms)
{
    int64_t after_s = after_ms / 1000, local = after_s + tz_offset(z, after_s), year;
    int64_t first =
        (local + 86400) / 86400 - 1; /* rounded down: west of Greenwich 1970 begins later */
    int month, day;

    if (after_ms < 0)
        return false;
    for (int64_t days = first; days < first + DAYS_AHEAD; days++) {
        date_of(days, &year, &month, &day);
        if (!day_fits(c, days, month, day))
            continue;
        /* of the first day only what is not over by its own clock */
        for (int hour = days == first ? (int)((local - first * 86400) / 3600) : 0; hour < 24;
             hour++) {
            if (!has(c->hours, hour))
                continue;
            for (int minute = 0; minute < 60; minute++) {
                if (!has(c->minutes, minute))
                    continue;
                int64_t s = tz_moment(z, days * 86400 + hour * 3600 + minute * 60);

                if (s * 1000 > after_ms) {
                    *ret_ms = s * 1000;
                    return true;
                }
            }
        }
    }
    return false;
}

/* ---------------------------------------------------------------- rules */

rc due_rule_make(struct cx *cx, const char *cron, int64_t every_ms, const char *timezone,
                 int64_t anchor_ms, struct due_rule *ret)
{
    int64_t ms;

    *ret = (struct due_rule){.every_ms = every_ms, .anchor_ms = anchor_ms};
    if (!cron) {
        if (every_ms < 1)
            return fail_at(cx, INVALID_FIELD, "/every", "neither cron nor a period");
        return OK;
    }
    try(cron_parse(cx, cron, &ret->cron));
    try(tz_get(cx, str_empty(timezone) ? "UTC" : timezone, &ret->tz));
    if (!cron_next(&ret->cron, ret->tz, anchor_ms, &ms))
        return fail_at(cx, INVALID_FIELD, "/cron", "such a day never comes");
    return OK;
}

bool due_next(const struct due_rule *r, int64_t after_ms, int64_t *ret_ms)
{
    if (r->tz)
        return cron_next(&r->cron, r->tz, after_ms, ret_ms);
    if (after_ms < r->anchor_ms)
        *ret_ms = r->anchor_ms + r->every_ms;
    else
        *ret_ms = after_ms - (after_ms - r->anchor_ms) % r->every_ms + r->every_ms;
    return true;
}

int64_t due_last(const struct due_rule *r, int64_t from_ms, int64_t until_ms)
{
    int64_t last = from_ms, next;

    if (!r->tz)
        return MAX(from_ms, until_ms - (until_ms - r->anchor_ms) % r->every_ms);
    /* look back further and further until there is one, then forward to the last */
    for (int64_t span = 60000;; span *= 2) {
        int64_t from = until_ms - span;

        if (from <= from_ms)
            break;
        if (due_next(r, from, &next) && next <= until_ms) {
            last = next;
            break;
        }
    }
    while (due_next(r, last, &next) && next <= until_ms)
        last = next;
    return last;
}

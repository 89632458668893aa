/* tz.c - time zones (RFC 8536, TZif version 2 and later).
 *
 *     file:  header v1 | data, 32-bit times (skipped) | header v2 | data, 64-bit times | "\n" rule "\n"
 *     data:  transition times, the type of each, types (offset, dst?, name)
 *
 * Between two transitions the type of the earlier one holds. After the last one the rule holds:
 * POSIX TZ, as in "CET-1CEST,M3.5.0,M10.5.0/3" (offsets are counted to the west there). Files come
 * from the system, but every index is checked: a broken file is an error, not a crash. */
#include "domain/clock/tz.h"
#include "base/text.h"
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX KiB(64)
#define DAY      ((int64_t)86400)

/* A day of the year on which clocks change, and the second of that day (may be negative or past its
 * end). */
struct rule_date {
    enum {
        DATE_JULIAN,
        DATE_ZERO,
        DATE_MONTH
    } kind; /* Jn: 1..365 without Feb 29; n: 0..365; Mm.w.d */
    int day, month, week;
    int time;
};
struct tz {
    char name[TZ_NAME_MAX + 1];
    size_t n;
    int64_t *at; /* n transition times, rising */
    int *offset; /* n offsets from then on */
    int first;   /* before the first transition */
    bool has_rule;
    int std, dst; /* offsets of the rule */
    bool has_dst;
    struct rule_date start, end;
};

/* ---------------------------------------------------------------- the calendar */

/* Both count years from March, so that the leap day is the last of its year. */
int64_t days_of(int64_t year, int month, int day)
{
    int64_t y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400, doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

void date_of(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day)
{
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

    *ret_day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *ret_month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *ret_year = yoe + era * 400 + (*ret_month <= 2);
}

static bool leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int days_in_month(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && leap(year));
}

/* ---------------------------------------------------------------- the rule */

static bool read_number(const char **p, int max, int *ret)
{
    int n = 0;

    if (**p < '0' || **p > '9')
        return false;
    while (**p >= '0' && **p <= '9') {
        n = n * 10 + (*(*p)++ - '0');
        if (n > max)
            return false;
    }
    *ret = n;
    return true;
}

/* [+-]hh[:mm[:ss]] in seconds. */
static bool read_time(const char **p, int *ret)
{
    int sign = **p == '-' ? -1 : 1, h, m = 0, s = 0;

    if (**p == '-' || **p == '+')
        (*p)++;
    if (!read_number(p, 167, &h))
        return false;
    if (**p == ':' && ((*p)++, !read_number(p, 59, &m)))
        return false;
    if (**p == ':' && ((*p)++, !read_number(p, 59, &s)))
        return false;
    *ret = sign * (h * 3600 + m * 60 + s);
    return true;
}

static bool skip_name(const char **p)
{
    const char *from = *p;

    if (**p == '<') {
        while (**p && **p != '>')
            (*p)++;
        return *(*p)++ == '>';
    }
    while ((**p >= 'A' && **p <= 'Z') || (**p >= 'a' && **p <= 'z'))
        (*p)++;
    return *p - from >= 3;
}

static bool read_date(const char **p, struct rule_date *ret)
{
    *ret = (struct rule_date){.time = 2 * 3600};
    if (*(*p)++ != ',')
        return false;
    if (**p == 'M') {
        ret->kind = DATE_MONTH;
        (*p)++;
        if (!read_number(p, 12, &ret->month) || ret->month < 1 || *(*p)++ != '.' ||
            !read_number(p, 5, &ret->week) || ret->week < 1 || *(*p)++ != '.' ||
            !read_number(p, 6, &ret->day))
            return false;
    } else {
        ret->kind = **p == 'J' ? DATE_JULIAN : DATE_ZERO;
        *p += **p == 'J';
        if (!read_number(p, 365, &ret->day) || (ret->kind == DATE_JULIAN && ret->day < 1))
            return false;
    }
    return **p != '/' || ((*p)++, read_time(p, &ret->time));
}

static bool read_rule(struct tz *z, const char *p)
{
    if (!*p) /* allowed: the last transition holds for ever */
        return true;
    if (!skip_name(&p) || !read_time(&p, &z->std))
        return false;
    z->std = -z->std;
    z->has_rule = true;
    if (!*p)
        return true;
    z->has_dst = true;
    z->dst = z->std + 3600;
    if (!skip_name(&p))
        return false;
    if (*p && *p != ',') {
        if (!read_time(&p, &z->dst))
            return false;
        z->dst = -z->dst;
    }
    return read_date(&p, &z->start) && read_date(&p, &z->end) && !*p;
}

/* The change in a year as local seconds (by the clock before it). */
static int64_t date_in(const struct rule_date *d, int64_t year)
{
    int64_t day;

    if (d->kind == DATE_MONTH) {
        int64_t first = days_of(year, d->month, 1);
        int dow = (int)(((first + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
        int n = (d->day - dow + 7) % 7 + 7 * (d->week - 1);

        while (n >= days_in_month(year, d->month))
            n -= 7;
        day = first + n;
    } else
        day =
            days_of(year, 1, 1) + d->day - (d->kind == DATE_JULIAN && !(leap(year) && d->day > 59));
    return day * DAY + d->time;
}

static int rule_offset(const struct tz *z, int64_t s)
{
    int64_t year, local = s + z->std;
    int month, day;

    if (!z->has_dst)
        return z->std;
    date_of((local >= 0 ? local : local - DAY + 1) / DAY, &year, &month, &day);
    int64_t start = date_in(&z->start, year) - z->std, end = date_in(&z->end, year) - z->dst;
    bool summer = start < end ? s >= start && s < end
                              : !(s >= end && s < start); /* south: over the new year */
    return summer ? z->dst : z->std;
}

/* ---------------------------------------------------------------- the file */

static int64_t big_endian(const unsigned char *p, int n)
{
    uint64_t v = n == 4 && (*p & 0x80) ? ~(uint64_t)0 : 0;

    while (n--)
        v = v << 8 | *p++;
    return (int64_t)v;
}

struct tzif_head {
    size_t utc, std, leaps, times, types, chars;
};
#define HEAD 44

static bool read_head(const unsigned char *p, size_t n, struct tzif_head *ret)
{
    size_t counts[6];

    if (n < HEAD || memcmp(p, "TZif", 4) != 0)
        return false;
    for (size_t i = 0; i < COUNT(counts); i++) {
        int64_t v = big_endian(p + 20 + 4 * i, 4);

        if (v < 0 || v > (int64_t)FILE_MAX)
            return false;
        counts[i] = (size_t)v;
    }
    *ret = (struct tzif_head){counts[0], counts[1], counts[2], counts[3], counts[4], counts[5]};
    return true;
}

static size_t data_size(const struct tzif_head *h, size_t width)
{
    return h->times * (width + 1) + h->types * 6 + h->chars + h->leaps * (width + 4) + h->std +
           h->utc;
}

static bool read_tzif(struct tz *z, const unsigned char *p, size_t n)
{
    struct tzif_head h;

    if (!read_head(p, n, &h) || p[4] < '2' || n < HEAD + data_size(&h, 4))
        return false;
    n -= HEAD + data_size(&h, 4);
    p += HEAD + data_size(&h, 4);
    if (!read_head(p, n, &h) || n < HEAD + data_size(&h, 8) + 2 || h.types < 1)
        return false;
    const unsigned char *times = p + HEAD, *kinds = times + 8 * h.times, *types = kinds + h.times;
    const unsigned char *end = p + HEAD + data_size(&h, 8);
    z->first = (int)big_endian(types, 4);
    z->n = h.times;
    z->at = xcalloc(h.times + 1, sizeof(*z->at));
    z->offset = xcalloc(h.times + 1, sizeof(*z->offset));
    for (size_t i = 0; i < h.times; i++) {
        if (kinds[i] >= h.types)
            return false;
        z->at[i] = big_endian(times + 8 * i, 8);
        z->offset[i] = (int)big_endian(types + (size_t)6 * kinds[i], 4);
        if (i && z->at[i] <= z->at[i - 1])
            return false;
    }
    n -= (size_t)(end - p);
    const unsigned char *close = memchr(end + 1, '\n', n - 1);
    if (*end != '\n' || !close || close - end > 255)
        return false;
    _cleanup_(freep) char *rule = xstrndup((const char *)end + 1, (size_t)(close - end - 1));
    return read_rule(z, rule);
}

int tz_offset(const struct tz *z, int64_t s)
{
    size_t lo = 0, hi = z->n; /* the first transition after s */

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (z->at[mid] <= s)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == z->n && z->has_rule)
        return rule_offset(z, s);
    return lo ? z->offset[lo - 1] : z->first;
}

int64_t tz_moment(const struct tz *z, int64_t local_s)
{
    /* the offsets that may hold: clocks change at most once within two days around it */
    int before = tz_offset(z, local_s - DAY), after = tz_offset(z, local_s + DAY);
    int64_t early = local_s - before, late = local_s - after;

    if (tz_offset(z, early) == before)
        return early; /* the only one, or the first of two: before the clocks were set back */
    if (tz_offset(z, late) == after)
        return late;
    /* in the gap: late < the change <= early */
    int64_t lo = MIN(early, late), hi = MAX(early, late);
    while (hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2;

        if (tz_offset(z, mid) == before)
            lo = mid;
        else
            hi = mid;
    }
    return hi;
}

/* ---------------------------------------------------------------- the cache */

static void *zones; /* tsearch tree of struct tz, by name (its first member) */

static int zone_cmp(const void *a, const void *b)
{
    return strcmp(((const struct tz *)a)->name, ((const struct tz *)b)->name);
}

static void zone_free(void *p)
{
    struct tz *z = p;

    if (!z)
        return;
    free(z->at);
    free(z->offset);
    free(z);
}

void tz_forget(void)
{
    tdestroy(zones, zone_free);
    zones = NULL;
}

static bool name_ok(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && n <= TZ_NAME_MAX && name[0] != '/' && name[0] != '.' && !strstr(name, "..") &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/") == n;
}

static bool read_zone(struct tz *z)
{
    const char *dir = getenv("TZDIR");
    _cleanup_(freep) char *path = xasprintf("%s/%s", dir ? dir : "/usr/share/zoneinfo", z->name);
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    _cleanup_(freep) unsigned char *p = xmalloc(FILE_MAX);
    size_t n = 0;
    ssize_t got;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    while (n < FILE_MAX && (got = read(fd, p + n, FILE_MAX - n)) > 0)
        n += (size_t)got;
    return n < FILE_MAX && read_tzif(z, p, n);
}

rc tz_get(struct cx *cx, const char *name, const struct tz **ret)
{
    struct tz *z;
    void *node;

    if (!name_ok(name))
        return fail_at(cx, INVALID_FIELD, "/timezone", "this is not the name of a time zone");
    z = xcalloc(1, sizeof(*z));
    memcpy(z->name, name, strlen(name) + 1);
    node = tfind(z, &zones, zone_cmp);
    if (node) {
        zone_free(z);
        *ret = *(struct tz **)node;
        return OK;
    }
    if (strcmp(name, "UTC") != 0 && !read_zone(z)) { /* UTC: all zero, needs no file */
        zone_free(z);
        return fail_at(cx, INVALID_FIELD, "/timezone",
                       "time zone '%s' is not in the system's tz database", name);
    }
    if (!tsearch(z, &zones, zone_cmp))
        abort();
    *ret = z;
    return OK;
}

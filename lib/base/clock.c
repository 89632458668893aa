/* clock.c - reading and writing time. */
#include "base/clock.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t now_ns(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t clock_ms(void)
{
    return now_ns(CLOCK_REALTIME) / 1000000;
}

int64_t clock_us(void)
{
    return now_ns(CLOCK_REALTIME) / 1000;
}

int64_t clock_mono_ms(void)
{
    return now_ns(CLOCK_MONOTONIC) / 1000000;
}

int64_t clock_mono_us(void)
{
    return now_ns(CLOCK_MONOTONIC) / 1000;
}

static void put_digits(char *out, int width, int n)
{
    for (; width-- > 0; n /= 10)
        out[width] = (char)('0' + n % 10);
}

char *clock_format(int64_t ms, char *out)
{
    int64_t part = ((ms % 1000) + 1000) % 1000;
    time_t s = (time_t)((ms - part) / 1000);
    struct tm tm;

    gmtime_r(&s, &tm);
    if (tm.tm_year < -1900 || tm.tm_year > 9999 - 1900) { /* cut, but not taken for another */
        snprintf(out, CLOCK_TEXT_LEN + 1, "%d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)part);
        return out;
    }
    memcpy(out, "YYYY-MM-DDThh:mm:ss.mmmZ", CLOCK_TEXT_LEN + 1);
    put_digits(out, 4, tm.tm_year + 1900);
    put_digits(out + 5, 2, tm.tm_mon + 1);
    put_digits(out + 8, 2, tm.tm_mday);
    put_digits(out + 11, 2, tm.tm_hour);
    put_digits(out + 14, 2, tm.tm_min);
    put_digits(out + 17, 2, tm.tm_sec);
    put_digits(out + 20, 3, (int)part);
    return out;
}

static bool digits(const char **s, int n, int *ret)
{
    int v = 0;

    for (int i = 0; i < n; i++, (*s)++) {
        if (!isdigit((unsigned char)**s))
            return false;
        v = v * 10 + (**s - '0');
    }
    *ret = v;
    return true;
}

static bool literal(const char **s, const char *any_of)
{
    if (**s == 0 || !strchr(any_of, **s))
        return false;
    (*s)++;
    return true;
}

bool clock_parse(const char *s, int64_t *ret_ms)
{
    struct tm tm = {0};
    int year, month, ms = 0, scale = 100, off_h = 0, off_m = 0, sign = 0;

    if (!digits(&s, 4, &year) || !literal(&s, "-") || !digits(&s, 2, &month) || !literal(&s, "-") ||
        !digits(&s, 2, &tm.tm_mday) || !literal(&s, "Tt ") || !digits(&s, 2, &tm.tm_hour) ||
        !literal(&s, ":") || !digits(&s, 2, &tm.tm_min) || !literal(&s, ":") ||
        !digits(&s, 2, &tm.tm_sec))
        return false;
    if (literal(&s, ".")) {
        if (!isdigit((unsigned char)*s))
            return false;
        for (; isdigit((unsigned char)*s); s++, scale /= 10)
            ms += (*s - '0') * scale;
    }
    if (!literal(&s, "Zz")) {
        sign = *s == '-' ? -1 : 1;
        if (!literal(&s, "+-") || !digits(&s, 2, &off_h))
            return false;
        literal(&s, ":");
        if (*s && !digits(&s, 2, &off_m))
            return false;
    }
    if (*s || month < 1 || month > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 60 || off_h > 23 || off_m > 59)
        return false;
    int day = tm.tm_mday, second = tm.tm_sec;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_sec = 0; /* 23:59:60 is a leap second, and must not look like a wrong day below */
    int64_t t = timegm(&tm) + second;
    if (tm.tm_mday != day) /* timegm moved the 31st of a shorter month */
        return false;
    *ret_ms = (t - sign * (off_h * 3600 + off_m * 60)) * 1000 + ms;
    return true;
}

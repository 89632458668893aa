/* tz.h - time zones by their name in the tz database: how far local time is from UTC at a moment,
 * and which moment a local time means. Reads the system's TZif files itself: no environment
 * variable, no hidden state, any number of zones at once. */
#pragma once
#include "base/cx.h"

#define TZ_NAME_MAX 64

struct tz;

/* "Europe/Berlin", "UTC". From the process's cache, which keeps a zone once it was read (not for
 * several threads). INVALID_FIELD at "/timezone" for a name that is none. Directory: $TZDIR or
 * /usr/share/zoneinfo. */
rc tz_get(struct cx *cx, const char *name, const struct tz **ret);
/* For the end of the process, and to read changed files. Every zone handed out is gone then. */
void tz_forget(void);

/* Seconds east of UTC at a moment (seconds since 1970 UTC). */
int tz_offset(const struct tz *z, int64_t s);

/* The moment of a local time (given as if it were UTC: seconds since 1970-01-01 00:00 local).
 *   a time that comes twice (clocks set back)       the first of both
 *   a time that never comes (clocks set forward)    the end of the gap, the first moment after it
 */
int64_t tz_moment(const struct tz *z, int64_t local_s);

/* Days since 1970-01-01 of a date of the Gregorian calendar, and back; month 1..12. */
int64_t days_of(int64_t year, int month, int day);
void date_of(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day);
int days_in_month(int64_t year, int month);

/* clock.h - two clocks: the wall (what is stored and shown) and the monotonic one (what deadlines
 * run on).
 *
 * Both in milliseconds as int64_t; names end in _ms (wall) or _mono_ms. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int64_t clock_ms(void);      /* wall, since 1970 UTC */
int64_t clock_us(void);      /* the same, in microseconds */
int64_t clock_mono_ms(void); /* monotonic; only differences mean something */
int64_t clock_mono_us(void);

#define CLOCK_TEXT_LEN 24 /* 2026-01-05T10:11:12.345Z */
/* RFC 3339 UTC with milliseconds; out holds CLOCK_TEXT_LEN + 1 bytes; returns out. */
char *clock_format(int64_t ms, char *out);
/* Reads RFC 3339 ("2026-01-05T10:11:12Z", fraction and offset allowed; a space for the T too).
 * False if it is not. */
bool clock_parse(const char *s, int64_t *ret_ms);

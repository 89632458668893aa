/* text.h - bytes as text: UTF-8, hex, base64url, numbers, durations. Nothing here allocates unless
 * it says so. */
#pragma once
#include "base/util.h"

bool utf8_valid(const char *s, size_t n);
/* Length in characters of valid UTF-8. */
size_t utf8_len(const char *s);
/* The longest prefix of at most max bytes that does not cut a character: how many bytes. */
size_t utf8_cut(const char *s, size_t max);

/* out holds 2n + 1 bytes; lower case; returns out. */
char *hex_encode(const void *p, size_t n, char *out);
/* s must have exactly 2n hex digits. */
bool hex_decode(const char *s, void *out, size_t n);
/* Unpadded (RFC 4648 §5); out holds (4n + 2) / 3 + 1 bytes; returns out. */
char *base64url_encode(const void *p, size_t n, char *out);
/* The one spelling of it only (no padding, no stray bits); n characters give n * 3 / 4 bytes into
 * out. */
bool base64url_decode(const char *s, size_t n, void *out);

/* Whole string must be a number in [min, max]. */
bool parse_int(const char *s, int64_t min, int64_t max, int64_t *ret);
/* "1500" (ms), "250ms", "30s", "5m", "2h", "7d" -> ms. False if it is none, or negative, or over 10
 * years. */
bool parse_duration_ms(const char *s, int64_t *ret_ms);
/* "12.50", "-3", "0.1": digits with at most one point and at most `decimals` places. */
bool decimal_valid(const char *s, int decimals);

/* As much of s as fits into `size` bytes with its NUL; returns how many bytes without it. */
size_t text_copy(char *out, size_t size, const char *s);
#define INT_TEXT_LEN 20
/* In decimal; out holds INT_TEXT_LEN + 1 bytes; returns how many without the NUL. */
size_t int_text(int64_t n, char *out);

bool str_empty(const char *s);             /* NULL or "" */
bool str_eq(const char *a, const char *b); /* NULL equals NULL */
bool starts_with(const char *s, const char *prefix);
/* The whole of s matches: '*' in the pattern is any number of characters, everything else is itself.
 * Time at most the product of both lengths. */
bool glob_match(const char *pattern, const char *s);
/* Equal in time that does not depend on where they differ. */
bool equal_secret(const void *a, const void *b, size_t n);
/* Trims ASCII white space at both ends in place; returns the start. */
char *str_trim(char *s);

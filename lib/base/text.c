/* text.c - bytes as text. */
#include "base/text.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the character that starts at s (n left), 0 when it is not one (RFC 3629: no overlong,
 * surrogate, >10FFFF). */
static size_t utf8_char(const unsigned char *s, size_t n)
{
    unsigned char c = s[0], lo = 0x80, hi = 0xbf;
    size_t len;

    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        len = 2;
    else if (c >= 0xe0 && c <= 0xef)
        len = 3;
    else if (c >= 0xf0 && c <= 0xf4)
        len = 4;
    else
        return 0;
    if (n < len)
        return 0;
    if (c == 0xe0)
        lo = 0xa0;
    else if (c == 0xed)
        hi = 0x9f;
    else if (c == 0xf0)
        lo = 0x90;
    else if (c == 0xf4)
        hi = 0x8f;
    if (s[1] < lo || s[1] > hi)
        return 0;
    for (size_t i = 2; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    return len;
}

bool utf8_valid(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s, *end = p + n;

    while (p < end) {
        size_t k = utf8_char(p, (size_t)(end - p));
        if (!k)
            return false;
        p += k;
    }
    return true;
}

size_t utf8_len(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

size_t utf8_cut(const char *s, size_t max)
{
    size_t n = strnlen(s, max + 1);

    if (n <= max)
        return n;
    n = max;
    while (n && ((unsigned char)s[n] & 0xc0) == 0x80)
        n--;
    return n;
}

char *hex_encode(const void *p, size_t n, char *out)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *b = p;

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = hex[b[i] >> 4];
        out[2 * i + 1] = hex[b[i] & 15];
    }
    out[2 * n] = 0;
    return out;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_decode(const char *s, void *out, size_t n)
{
    unsigned char *b = out;

    if (strlen(s) != 2 * n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int hi = hex_digit(s[2 * i]), lo = hex_digit(s[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        b[i] = (unsigned char)(hi << 4 | lo);
    }
    return true;
}

char *base64url_encode(const void *p, size_t n, char *out)
{
    static const char abc[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const unsigned char *b = p;
    char *o = out;

    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)b[i] << 16;
        if (i + 1 < n)
            v |= (uint32_t)b[i + 1] << 8;
        if (i + 2 < n)
            v |= b[i + 2];
        *o++ = abc[v >> 18];
        *o++ = abc[v >> 12 & 63];
        if (i + 1 < n)
            *o++ = abc[v >> 6 & 63];
        if (i + 2 < n)
            *o++ = abc[v & 63];
    }
    *o = 0;
    return out;
}

static int base64url_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool base64url_decode(const char *s, size_t n, void *out)
{
    unsigned char *o = out;
    uint32_t bits = 0;
    int have = 0;

    for (size_t i = 0; i < n; i++) {
        int v = base64url_value(s[i]);
        if (v < 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            *o++ = (unsigned char)(bits >> have);
        }
    }
    return have < 6 && (bits & ((1u << have) - 1)) == 0;
}

bool parse_int(const char *s, int64_t min, int64_t max, int64_t *ret)
{
    char *end;

    if (!s || !(isdigit((unsigned char)*s) || (*s == '-' && isdigit((unsigned char)s[1]))))
        return false;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || *end || v < min || v > max)
        return false;
    *ret = v;
    return true;
}

bool parse_duration_ms(const char *s, int64_t *ret_ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    const int64_t ten_years = 3650LL * 86400000;
    char *end;

    if (!s || !isdigit((unsigned char)*s))
        return false;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || v < 0)
        return false;
    for (size_t i = 0; i < COUNT(units); i++) {
        if (strcmp(end, units[i].unit) == 0 && v <= ten_years / units[i].ms) {
            *ret_ms = v * units[i].ms;
            return true;
        }
    }
    return false;
}

bool decimal_valid(const char *s, int decimals)
{
    int whole = 0, frac = -1;

    if (*s == '-')
        s++;
    for (; *s; s++) {
        if (*s == '.' && frac < 0 && whole)
            frac = 0;
        else if (!isdigit((unsigned char)*s))
            return false;
        else if (frac >= 0)
            frac++;
        else
            whole++;
    }
    return whole > 0 && whole <= 15 && frac != 0 && frac <= decimals;
}

size_t text_copy(char *out, size_t size, const char *s)
{
    size_t n = strnlen(s, size - 1);

    memcpy(out, s, n);
    out[n] = 0;
    return n;
}

size_t int_text(int64_t n, char *out)
{
    uint64_t left = n < 0 ? -(uint64_t)n : (uint64_t)n;
    char digits[INT_TEXT_LEN];
    size_t at = sizeof digits, len = 0;

    do
        digits[--at] = (char)('0' + left % 10);
    while (left /= 10);
    if (n < 0)
        out[len++] = '-';
    memcpy(out + len, digits + at, sizeof digits - at);
    len += sizeof digits - at;
    out[len] = 0;
    return len;
}

bool str_empty(const char *s)
{
    return !s || !*s;
}

bool str_eq(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool glob_match(const char *pattern, const char *s)
{
    const char *star = NULL, *tried = NULL; /* the last '*', and where what it stands for ends */

    while (*s) {
        if (*pattern == '*') {
            star = pattern++;
            tried = s;
        } else if (*pattern == *s) {
            pattern++;
            s++;
        } else if (star) {
            pattern = star + 1;
            s = ++tried;
        } else {
            return false;
        }
    }
    return pattern[strspn(pattern, "*")] == 0;
}

bool equal_secret(const void *a, const void *b, size_t n)
{
    const volatile unsigned char *x = a, *y = b;
    unsigned char d = 0;

    for (size_t i = 0; i < n; i++)
        d |= (unsigned char)(x[i] ^ y[i]);
    return d == 0;
}

char *str_trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    size_t n = strlen(s);
    while (n && isspace((unsigned char)s[n - 1]))
        n--;
    s[n] = 0;
    return s;
}

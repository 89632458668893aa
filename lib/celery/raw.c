/* raw.c - one strict walk over the text; after it the slices can be found without looking twice. */
#include "celery/raw.h"
#include "base/text.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- the walk */

struct walk {
    const char *p, *end;
    bool deep;
};

static void skip_space(struct walk *w)
{
    while (w->p < w->end && (*w->p == ' ' || *w->p == '\t' || *w->p == '\n' || *w->p == '\r'))
        w->p++;
}

static bool is_hex4(const char *p, const char *end)
{
    for (int i = 0; i < 4; i++)
        if (p + i >= end || !strchr("0123456789abcdefABCDEF", p[i]) || !p[i])
            return false;
    return true;
}

static bool skip_string(struct walk *w)
{
    for (w->p++; w->p < w->end && *w->p != '"'; w->p++) {
        if ((unsigned char)*w->p < ' ')
            return false;
        if (*w->p != '\\')
            continue;
        if (++w->p == w->end || !*w->p || !strchr("\"\\/bfnrtu", *w->p))
            return false;
        if (*w->p == 'u' && !is_hex4(w->p + 1, w->end))
            return false;
    }
    return w->p < w->end && *w->p++ == '"';
}

static size_t skip_digits(struct walk *w)
{
    const char *start = w->p;

    while (w->p < w->end && *w->p >= '0' && *w->p <= '9')
        w->p++;
    return (size_t)(w->p - start);
}

static bool skip_word(struct walk *w, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(w->end - w->p) < n || memcmp(w->p, word, n) != 0)
        return false;
    w->p += n;
    return true;
}

static bool skip_number(struct walk *w)
{
    const char *start;

    w->p += *w->p == '-';
    if (skip_word(w, "Infinity"))
        return true;
    start = w->p;
    size_t digits = skip_digits(w);
    if (digits == 0 || (digits > 1 && *start == '0'))
        return false;
    if (w->p < w->end && *w->p == '.') {
        w->p++;
        if (skip_digits(w) == 0)
            return false;
    }
    if (w->p < w->end && (*w->p == 'e' || *w->p == 'E')) {
        w->p++;
        w->p += w->p < w->end && (*w->p == '+' || *w->p == '-');
        if (skip_digits(w) == 0)
            return false;
    }
    return true;
}

static bool skip_value(struct walk *w, int depth);

/* Behind '[' or '{', up to and with its end. */
static bool skip_inside(struct walk *w, char close, int depth)
{
    w->p++;
    skip_space(w);
    if (w->p < w->end && *w->p == close) {
        w->p++;
        return true;
    }
    for (;;) {
        if (close == '}') {
            skip_space(w);
            if (w->p >= w->end || *w->p != '"' || !skip_string(w))
                return false;
            skip_space(w);
            if (w->p >= w->end || *w->p++ != ':')
                return false;
        }
        if (!skip_value(w, depth))
            return false;
        skip_space(w);
        if (w->p >= w->end)
            return false;
        char c = *w->p++;
        if (c == close)
            return true;
        if (c != ',')
            return false;
    }
}

static bool skip_value(struct walk *w, int depth)
{
    skip_space(w);
    if (w->p >= w->end)
        return false;
    switch (*w->p) {
    case '{':
    case '[':
        if (depth >= RAW_DEPTH) {
            w->deep = true;
            return false;
        }
        return skip_inside(w, *w->p == '{' ? '}' : ']', depth + 1);
    case '"':
        return skip_string(w);
    case 't':
        return skip_word(w, "true");
    case 'f':
        return skip_word(w, "false");
    case 'n':
        return skip_word(w, "null");
    case 'N':
        return skip_word(w, "NaN");
    case 'I':
        return skip_word(w, "Infinity");
    default:
        return skip_number(w);
    }
}

rc raw_read(struct cx *cx, const char *s, size_t n, size_t max_bytes, struct raw *ret)
{
    struct walk w = {.p = s, .end = s + n};

    if (n > max_bytes)
        return fail(cx, BODY_TOO_LARGE, "the JSON has %zu bytes, %zu are allowed", n, max_bytes);
    if (!utf8_valid(s, n))
        return fail(cx, BAD_UTF8, "the text is not valid UTF-8");
    skip_space(&w);
    const char *start = w.p;
    if (!skip_value(&w, 0)) {
        if (w.deep)
            return fail(cx, TOO_DEEP, "the JSON is nested more than %d levels deep", RAW_DEPTH);
        return fail(cx, BAD_JSON, "not valid JSON near byte %zu of %zu", (size_t)(w.p - s), n);
    }
    *ret = (struct raw){start, (size_t)(w.p - start)};
    skip_space(&w);
    if (w.p < w.end)
        return fail(cx, BAD_JSON, "text after the end of the JSON at byte %zu", (size_t)(w.p - s));
    return OK;
}

struct raw raw_of(const char *s)
{
    struct walk w;

    if (!s)
        return (struct raw){0};
    w = (struct walk){.p = s, .end = s + strlen(s)};
    skip_space(&w);
    while (w.end > w.p && strchr(" \t\r\n", w.end[-1]))
        w.end--;
    return (struct raw){w.p, (size_t)(w.end - w.p)};
}

/* ---------------------------------------------------------------- slices */

bool raw_there(struct raw r)
{
    return r.n > 0 && *r.p != 'n';
}

bool raw_is_object(struct raw r)
{
    return r.n > 0 && *r.p == '{';
}

bool raw_is_array(struct raw r)
{
    return r.n > 0 && *r.p == '[';
}

bool raw_is_string(struct raw r)
{
    return r.n > 0 && *r.p == '"';
}

/* The next value of what begins at `w`; false at the closing bracket. */
static bool take_value(struct walk *w, struct raw *ret)
{
    skip_space(w);
    const char *start = w->p;
    if (!skip_value(w, 0))
        return false;
    *ret = (struct raw){start, (size_t)(w->p - start)};
    return true;
}

/* Behind the value `at`, or behind the opening bracket: at the next element. */
static bool go_on(struct raw whole, struct raw at, struct walk *w)
{
    *w = (struct walk){.p = at.p ? at.p + at.n : whole.p + 1, .end = whole.p + whole.n};
    skip_space(w);
    if (at.p && w->p < w->end && *w->p == ',')
        w->p++;
    skip_space(w);
    return w->p < w->end && *w->p != ']' && *w->p != '}';
}

bool raw_next(struct raw array, struct raw *at)
{
    struct walk w;

    return raw_is_array(array) && go_on(array, *at, &w) && take_value(&w, at);
}

bool raw_next_member(struct raw object, struct raw *name, struct raw *at)
{
    struct walk w;

    if (!raw_is_object(object) || !go_on(object, *at, &w) || !take_value(&w, name))
        return false;
    skip_space(&w);
    w.p++; /* the colon */
    return take_value(&w, at);
}

static bool named(struct raw quoted, const char *name)
{
    size_t n = strlen(name);

    return quoted.n == n + 2 && memcmp(quoted.p + 1, name, n) == 0;
}

struct raw raw_get(struct raw object, const char *name)
{
    struct raw at = {0}, key, found = {0};

    while (raw_next_member(object, &key, &at))
        if (named(key, name))
            found = at;
    return found;
}

size_t raw_count(struct raw array)
{
    struct raw at = {0};
    size_t n = 0;

    while (raw_next(array, &at))
        n++;
    return n;
}

/* ---------------------------------------------------------------- scalars */

static unsigned hex4(const char *p)
{
    char digits[5] = {p[0], p[1], p[2], p[3], 0};

    return (unsigned)strtoul(digits, NULL, 16);
}

static char *put_utf8(char *out, unsigned c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3f));
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    }
    return out;
}

/* p is behind the 'u'; moves behind what it took. 0: not to be had. */
static unsigned take_unicode(const char **p, const char *end)
{
    unsigned c = hex4(*p), low;

    *p += 4;
    if (c >= 0xdc00 && c <= 0xdfff)
        return 0;
    if (c < 0xd800 || c > 0xdbff)
        return c;
    if (end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
        return 0;
    low = hex4(*p + 2);
    *p += 6;
    return low >= 0xdc00 && low <= 0xdfff ? 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00) : 0;
}

const char *raw_str(struct cx *cx, struct raw r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

    if (!raw_is_string(r))
        return NULL;
    char *text = arena_alloc(&cx->arena, r.n), *out = text;
    const char *p = r.p + 1, *end = r.p + r.n - 1;
    while (p < end) {
        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }
        p++;
        if (*p != 'u') {
            *out++ = to[strchr(from, *p++) - from];
            continue;
        }
        p++;
        unsigned c = take_unicode(&p, end);
        if (c == 0)
            return NULL;
        out = put_utf8(out, c);
    }
    *out = 0;
    return text;
}

bool raw_num(struct raw r, double *ret)
{
    char text[64], *end;

    if (r.n == 0 || r.n >= sizeof text || !strchr("-0123456789", *r.p))
        return false;
    memcpy(text, r.p, r.n);
    text[r.n] = 0;
    double d = strtod(text, &end);
    if (*end || !isfinite(d))
        return false;
    *ret = d;
    return true;
}

bool raw_int(struct raw r, int64_t min, int64_t max, int64_t *ret)
{
    double d;

    if (!raw_num(r, &d) || d != floor(d) || d < (double)min || d > (double)max)
        return false;
    *ret = (int64_t)d;
    return true;
}

bool raw_true(struct raw r)
{
    return r.n > 0 && *r.p == 't';
}

/* ---------------------------------------------------------------- put together */

void raw_put(struct buf *b, struct raw r)
{
    if (r.n > 0)
        buf_append(b, r.p, r.n);
    else
        buf_puts(b, "null");
}

size_t raw_put_members(struct buf *b, struct raw object, const char *const *without)
{
    struct raw at = {0}, name;
    size_t n = 0;

    while (raw_next_member(object, &name, &at)) {
        const char *const *w = without;
        while (*w && !named(name, *w))
            w++;
        if (*w)
            continue;
        if (n++)
            buf_putc(b, ',');
        raw_put(b, name);
        buf_putc(b, ':');
        raw_put(b, at);
    }
    return n;
}

static void put_elements(struct buf *b, struct raw array, bool *first)
{
    struct raw at = {0};

    while (raw_next(array, &at)) {
        if (!*first)
            buf_putc(b, ',');
        *first = false;
        raw_put(b, at);
    }
}

void raw_put_joined(struct buf *b, struct raw first, struct raw second)
{
    bool none = true;

    buf_putc(b, '[');
    put_elements(b, first, &none);
    put_elements(b, second, &none);
    buf_putc(b, ']');
}

struct raw raw_keep(struct cx *cx, struct buf *b)
{
    struct raw r = {arena_strndup(&cx->arena, buf_str(b), b->len), b->len};

    buf_release(b);
    return r;
}

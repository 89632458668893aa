/* ptext.c - decoding, cleaning, folding. */
#include "worker/providers/ptext.h"
#include "base/buf.h"
#include "base/text.h"
#include <ctype.h>
#include <string.h>

static void put_char(struct buf *b, unsigned c)
{
    if (c < 0x80) {
        buf_putc(b, (char)c);
    } else if (c < 0x800) {
        buf_putc(b, (char)(0xc0 | c >> 6));
        buf_putc(b, (char)(0x80 | (c & 63)));
    } else {
        buf_putc(b, (char)(0xe0 | c >> 12));
        buf_putc(b, (char)(0x80 | (c >> 6 & 63)));
        buf_putc(b, (char)(0x80 | (c & 63)));
    }
}

/* windows-1254: Latin-1 but for 0x80-0x9f (shared with 1252, two holes more) and six Turkish letters. */
static unsigned windows_1254(unsigned char c)
{
    static const unsigned short high[32] = {
        0x20ac, 0xfffd, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
        0x2039, 0x0152, 0xfffd, 0xfffd, 0xfffd, 0xfffd, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
        0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0xfffd, 0xfffd, 0x0178};

    switch (c) {
    case 0x00:
        return 0xfffd;
    case 0xd0:
        return 0x11e; /* Ğ */
    case 0xdd:
        return 0x130; /* İ */
    case 0xde:
        return 0x15e; /* Ş */
    case 0xf0:
        return 0x11f; /* ğ */
    case 0xfd:
        return 0x131; /* ı */
    case 0xfe:
        return 0x15f; /* ş */
    default:
        return c >= 0x80 && c < 0xa0 ? high[c - 0x80] : c;
    }
}

static char *keep(struct arena *a, struct buf *b)
{
    char *s = arena_strndup(a, buf_str(b), b->len);

    buf_release(b);
    return s;
}

char *ptext_utf8(struct arena *a, const char *s, size_t n)
{
    struct buf b = BUF(n * 3 + 16);
    bool utf8 = utf8_valid(s, n);

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c && (utf8 || c < 0x80))
            buf_putc(&b, (char)c);
        else
            put_char(&b, windows_1254(c));
    }
    return keep(a, &b);
}

static int hex_value(char c)
{
    unsigned char out[1];
    char two[3] = {'0', c, 0};

    return hex_decode(two, out, 1) ? out[0] : -1;
}

/* An encoded text has %HH and neither spaces nor bytes over 0x7f: "100 %20 indirim" is left alone. */
static bool percent_encoded(const char *s, size_t n)
{
    bool found = false;

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c <= 0x20 || c >= 0x7f)
            return false;
        if (c == '%') {
            if (i + 2 >= n || hex_value(s[i + 1]) < 0 || hex_value(s[i + 2]) < 0)
                return false;
            found = true;
        }
    }
    return found;
}

static void trim(const char **s, size_t *n)
{
    while (*n && isspace((unsigned char)**s))
        (*s)++, (*n)--;
    while (*n && isspace((unsigned char)(*s)[*n - 1]))
        (*n)--;
}

/* U+0080..U+009F: the control characters beyond ASCII. */
static bool is_c1(const char *s)
{
    return (unsigned char)s[0] == 0xc2 && (unsigned char)s[1] >= 0x80 && (unsigned char)s[1] < 0xa0;
}

char *ptext_clean(struct arena *a, const char *s, size_t n, size_t max)
{
    trim(&s, &n);
    if (percent_encoded(s, n)) {
        struct buf b = BUF(n + 1);
        for (size_t i = 0; i < n; i++) {
            if (s[i] == '%') {
                buf_putc(&b, (char)(hex_value(s[i + 1]) << 4 | hex_value(s[i + 2])));
                i += 2;
            } else {
                buf_putc(&b, s[i] == '+' ? ' ' : s[i]);
            }
        }
        n = b.len;
        s = keep(a, &b);
    }
    char *out = ptext_utf8(a, s, n);
    for (char *p = out; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
        else if (is_c1(p))
            p[0] = p[1] = ' ';
    }
    out = str_trim(out);
    out[utf8_cut(out, max)] = 0;
    return str_trim(out);
}

char *ptext_fold(struct arena *a, const char *s)
{
    static const struct {
        const char *from;
        char to;
    } letters[] = {{"ı", 'i'}, {"İ", 'i'}, {"ş", 's'}, {"Ş", 's'}, {"ğ", 'g'}, {"Ğ", 'g'},
                   {"ü", 'u'}, {"Ü", 'u'}, {"ö", 'o'}, {"Ö", 'o'}, {"ç", 'c'}, {"Ç", 'c'},
                   {"â", 'a'}, {"Â", 'a'}, {"î", 'i'}, {"Î", 'i'}, {"û", 'u'}, {"Û", 'u'}};
    char *out = arena_alloc(a, strlen(s) + 1), *o = out;

    while (*s) {
        char c = (char)tolower((unsigned char)*s);
        size_t used = 1;
        if ((unsigned char)s[0] == 0xcc && (unsigned char)s[1] == 0x87) {
            s += 2; /* combining dot: a lower-cased İ elsewhere */
            continue;
        }
        for (size_t i = 0; i < COUNT(letters); i++) {
            if (starts_with(s, letters[i].from)) {
                c = letters[i].to;
                used = strlen(letters[i].from);
                break;
            }
        }
        s += used;
        if (isspace((unsigned char)c)) {
            if (o == out || o[-1] == ' ')
                continue;
            c = ' ';
        }
        *o++ = c;
    }
    *o = 0;
    return out;
}

bool ptext_has(const char *folded, const char *const *words)
{
    for (; *words; words++) {
        if (strstr(folded, *words))
            return true;
    }
    return false;
}

static const struct {
    const char *name, *text;
} entities[] = {{"&amp;", "&"},    {"&lt;", "<"},     {"&gt;", ">"},   {"&quot;", "\""},
                {"&#39;", "'"},    {"&#039;", "'"},   {"&apos;", "'"}, {"&nbsp;", " "},
                {"&uuml;", "ü"},   {"&Uuml;", "Ü"},   {"&ouml;", "ö"}, {"&Ouml;", "Ö"},
                {"&ccedil;", "ç"}, {"&Ccedil;", "Ç"}, {"&#305;", "ı"}, {"&#304;", "İ"},
                {"&#351;", "ş"},   {"&#350;", "Ş"},   {"&#287;", "ğ"}, {"&#286;", "Ğ"}};

char *ptext_plain(struct arena *a, const char *s, size_t max)
{
    struct buf b = BUF(strlen(s) * 2 + 16);

    while (*s) {
        size_t used = 0;
        if (*s == '<' && (isalpha((unsigned char)s[1]) || s[1] == '/' || s[1] == '!')) {
            const char *end = strchr(s, '>');
            if (end) {
                buf_putc(&b, ' ');
                s = end + 1;
                continue;
            }
        }
        for (size_t i = 0; *s == '&' && i < COUNT(entities); i++) {
            if (starts_with(s, entities[i].name)) {
                buf_puts(&b, entities[i].text);
                used = strlen(entities[i].name);
                break;
            }
        }
        if (!used)
            buf_putc(&b, *s);
        s += used ? used : 1;
    }
    char *raw = keep(a, &b), *o = raw;
    for (char *p = raw; *p; p++) { /* white space runs as one */
        bool space = isspace((unsigned char)*p) || (unsigned char)*p < 0x20 || *p == 0x7f;
        if (space && (o == raw || o[-1] == ' '))
            continue;
        *o++ = space ? ' ' : *p;
    }
    *o = 0;
    while (*raw && strchr(" .-", *raw))
        raw++;
    raw[utf8_cut(raw, max)] = 0;
    for (size_t n = strlen(raw); n && strchr(" .-", raw[n - 1]); n--)
        raw[n - 1] = 0;
    return raw;
}

char *ptext_decimal(struct arena *a, const char *s, size_t n)
{
    size_t whole = 0, frac = 0;
    bool mark = false;

    trim(&s, &n);
    char *out = arena_alloc(a, n + 1), *o = out;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (c == '-' && i == 0) {
            *o++ = c;
        } else if ((c == '.' || c == ',') && !mark && whole) {
            mark = true;
            *o++ = '.';
        } else if (isdigit((unsigned char)c)) {
            *(mark ? &frac : &whole) += 1;
            *o++ = c;
        } else {
            return NULL;
        }
    }
    *o = 0;
    return whole && whole <= 15 && frac <= 6 && (!mark || frac) ? out : NULL;
}

char *ptext_redact(struct arena *a, const char *s, const char *const *secrets)
{
    struct buf b = BUF(strlen(s) * 2 + 16);

    while (*s) {
        size_t used = 0;
        for (size_t i = 0; secrets[i]; i++) {
            size_t n = strlen(secrets[i]);
            if (n >= 3 && n > used && strncmp(s, secrets[i], n) == 0)
                used = n;
        }
        if (used)
            buf_puts(&b, "***");
        else
            buf_putc(&b, *s);
        s += used ? used : 1;
    }
    return keep(a, &b);
}

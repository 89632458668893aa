/* table.c - rows are kept until the widths are known. Width is counted in columns of a terminal:
 * none for a vowel sign, two for an ideograph. */
#include "ops/table.h"
#include "base/buf.h"
#include "base/text.h"
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define COLUMNS_MAX 24

enum kind { TEXT, NUMBER, BOOLEAN, JSON };

struct table {
    size_t columns, rows, room;
    char *name[COLUMNS_MAX];
    enum kind kind[COLUMNS_MAX];
    bool detail[COLUMNS_MAX];
    char **cell; /* rows * columns; NULL for NULL */
};

static void add_column(struct table *t, const char *name)
{
    size_t n = strlen(name);
    enum kind kind = TEXT;

    if (name[n - 1] == '+') {
        t->detail[t->columns] = true;
        n--;
    }
    if (name[n - 1] == '#') {
        kind = NUMBER;
        n--;
    } else if (name[n - 1] == '?') {
        kind = BOOLEAN;
        n--;
    } else if (n > 2 && strncmp(name + n - 2, "{}", 2) == 0) {
        kind = JSON;
        n -= 2;
    }
    t->kind[t->columns] = kind;
    t->name[t->columns++] = xstrndup(name, n);
}

struct table *table_new(const char *first, ...)
{
    struct table *t = xcalloc(1, sizeof *t);
    va_list ap;

    va_start(ap, first);
    for (const char *name = first; name && t->columns < COLUMNS_MAX;
         name = va_arg(ap, const char *))
        add_column(t, name);
    va_end(ap);
    return t;
}

void table_row(struct table *t, ...)
{
    va_list ap;

    if (t->rows == t->room) {
        t->room = t->room ? t->room * 2 : 16;
        t->cell = xrealloc(t->cell, t->room * t->columns * sizeof *t->cell);
    }
    va_start(ap, t);
    for (size_t c = 0; c < t->columns; c++)
        t->cell[t->rows * t->columns + c] = xstrdup(va_arg(ap, const char *));
    va_end(ap);
    t->rows++;
}

struct table *table_free(struct table *t)
{
    if (!t)
        return NULL;
    for (size_t i = 0; i < t->rows * t->columns; i++)
        free(t->cell[i]);
    for (size_t c = 0; c < t->columns; c++)
        free(t->name[c]);
    free(t->cell);
    free(t);
    return NULL;
}

/* ------------------------------------------------------------------ for people */

/* One character; how many bytes it has (1 for what is no UTF-8, which is then '?'). */
static size_t decode(const char *s, wchar_t *ret)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    wchar_t c = n == 1 ? p[0] : p[0] & (0xff >> (n + 1));

    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            *ret = L'?';
            return 1;
        }
        c = (wchar_t)(c << 6 | (p[i] & 0x3f));
    }
    *ret = p[0] >= 0x80 && p[0] < 0xc0 ? L'?' : c;
    return n;
}

/* Would it move the cursor, ring, or turn the direction of what follows? */
static bool unprintable(wchar_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

static size_t char_width(wchar_t c)
{
    static locale_t utf8;
    int w;

    if (c < 0x300)
        return 1;
    if (!utf8)
        utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    if (!utf8)
        return 1;
    locale_t old = uselocale(utf8);
    w = wcwidth(c);
    uselocale(old);
    return w < 0 ? 1 : (size_t)w;
}

/* Prints it (out NULL: does not); how many columns it takes. */
static size_t put_text(const char *s, FILE *out)
{
    size_t width = 0, n;
    wchar_t c;

    for (; *s; s += n) {
        n = decode(s, &c);
        if (unprintable(c))
            c = L'?';
        width += char_width(c);
        if (out && c == L'?')
            putc('?', out);
        else if (out)
            fwrite(s, 1, n, out);
    }
    return width;
}

void table_put(const char *s)
{
    put_text(s, stdout);
}

static void print_padded(const char *text, size_t width, bool right, bool last)
{
    size_t len = put_text(text, NULL);
    int pad = len < width ? (int)(width - len) : 0;

    if (right)
        printf("%*s", pad, "");
    put_text(text, stdout);
    if (!right && !last)
        printf("%*s", pad, "");
    fputs(last ? "\n" : "  ", stdout);
}

static const char *shown(const struct table *t, size_t r, size_t c)
{
    const char *s = t->cell[r * t->columns + c];

    return s ? s : "-";
}

static void print_line(const struct table *t, size_t last, const size_t *width, char **cells)
{
    for (size_t c = 0; c <= last; c++) {
        if (!t->detail[c])
            print_padded(cells[c] ? cells[c] : "-", width[c], t->kind[c] == NUMBER, c == last);
    }
}

static void print_many(struct table *t)
{
    size_t width[COLUMNS_MAX], last = 0;

    for (size_t c = 0; c < t->columns; c++) {
        last = t->detail[c] ? last : c;
        width[c] = put_text(t->name[c], NULL);
        for (size_t r = 0; r < t->rows; r++)
            width[c] = MAX(width[c], put_text(shown(t, r, c), NULL));
    }
    print_line(t, last, width, t->name);
    for (size_t r = 0; r < t->rows; r++)
        print_line(t, last, width, t->cell + r * t->columns);
}

/* ------------------------------------------------------------------ for programs */

static bool is_true(const char *s)
{
    return strcmp(s, "yes") == 0 || strcmp(s, "true") == 0 || strcmp(s, "t") == 0;
}

static void print_json_row(const struct table *t, size_t r)
{
    _cleanup_(buf_release) struct buf b = BUF(MiB(64));

    for (size_t c = 0; c < t->columns; c++) {
        const char *s = t->cell[r * t->columns + c];
        buf_puts(&b, c ? "," : "{");
        buf_json_str(&b, t->name[c]);
        buf_puts(&b, ":");
        if (!s || t->kind[c] == TEXT)
            buf_json_str(&b, s);
        else if (t->kind[c] == BOOLEAN)
            buf_puts(&b, is_true(s) ? "true" : "false");
        else
            buf_puts(&b, *s ? s : "null");
    }
    buf_puts(&b, "}");
    fputs(buf_str(&b), stdout);
}

void table_print(struct table *t, bool json)
{
    if (json) {
        putchar('[');
        for (size_t r = 0; r < t->rows; r++) {
            fputs(r ? ",\n " : "", stdout);
            print_json_row(t, r);
        }
        puts("]");
    } else {
        print_many(t);
    }
    table_free(t);
}

void table_print_one(struct table *t, bool json)
{
    size_t width = 0;

    if (json && t->rows == 0) {
        puts("null");
    } else if (json) {
        print_json_row(t, 0);
        putchar('\n');
    } else if (t->rows) {
        for (size_t c = 0; c < t->columns; c++)
            width = MAX(width, put_text(t->name[c], NULL));
        for (size_t c = 0; c < t->columns; c++) {
            print_padded(t->name[c], width, false, false);
            print_padded(shown(t, 0, c), 0, false, true);
        }
    }
    table_free(t);
}

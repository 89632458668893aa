/* table.c - rows are kept until the widths are known. Width is counted in characters: good for
 * Latin and Arabic, where a cell is one column wide. */
#include "ops/table.h"
#include "base/buf.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 24

enum kind { TEXT, NUMBER, BOOLEAN, JSON };

struct table {
    size_t columns, rows, room;
    char *name[COLUMNS_MAX];
    enum kind kind[COLUMNS_MAX];
    char **cell; /* rows * columns; NULL for NULL */
};

static void add_column(struct table *t, const char *name)
{
    size_t n = strlen(name);
    enum kind kind = TEXT;

    if (name[n - 1] == '#') {
        kind = NUMBER;
        n--;
    } else if (name[n - 1] == '?') {
        kind = BOOLEAN;
        n--;
    } else if (n > 2 && strcmp(name + n - 2, "{}") == 0) {
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

static void table_free(struct table *t)
{
    for (size_t i = 0; i < t->rows * t->columns; i++)
        free(t->cell[i]);
    for (size_t c = 0; c < t->columns; c++)
        free(t->name[c]);
    free(t->cell);
    free(t);
}

static void print_padded(const char *text, size_t width, bool right, bool last)
{
    size_t len = utf8_len(text);
    int pad = len < width ? (int)(width - len) : 0;

    if (right)
        printf("%*s", pad, "");
    for (const char *p = text; *p; p++)
        putchar((unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p);
    if (!right && !last)
        printf("%*s", pad, "");
    fputs(last ? "\n" : "  ", stdout);
}

static const char *shown(const struct table *t, size_t r, size_t c)
{
    const char *s = t->cell[r * t->columns + c];

    return s ? s : "-";
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
            buf_puts(&b, strcmp(s, "yes") == 0 || strcmp(s, "true") == 0 || strcmp(s, "t") == 0
                             ? "true"
                             : "false");
        else
            buf_puts(&b, s);
    }
    buf_puts(&b, "}");
    fputs(buf_str(&b), stdout);
}

void table_print(struct table *t, bool json)
{
    size_t width[COLUMNS_MAX];

    if (json) {
        putchar('[');
        for (size_t r = 0; r < t->rows; r++) {
            fputs(r ? ",\n " : "", stdout);
            print_json_row(t, r);
        }
        puts("]");
        table_free(t);
        return;
    }
    for (size_t c = 0; c < t->columns; c++) {
        width[c] = utf8_len(t->name[c]);
        for (size_t r = 0; r < t->rows; r++)
            width[c] = MAX(width[c], utf8_len(shown(t, r, c)));
    }
    for (size_t c = 0; c < t->columns; c++)
        print_padded(t->name[c], width[c], t->kind[c] == NUMBER, c + 1 == t->columns);
    for (size_t r = 0; r < t->rows; r++) {
        for (size_t c = 0; c < t->columns; c++)
            print_padded(shown(t, r, c), width[c], t->kind[c] == NUMBER, c + 1 == t->columns);
    }
    table_free(t);
}

void table_print_one(struct table *t, bool json)
{
    size_t width = 0;

    if (t->rows == 0) {
        table_free(t);
        return;
    }
    if (json) {
        print_json_row(t, 0);
        putchar('\n');
    } else {
        for (size_t c = 0; c < t->columns; c++)
            width = MAX(width, utf8_len(t->name[c]));
        for (size_t c = 0; c < t->columns; c++) {
            print_padded(t->name[c], width, false, false);
            print_padded(shown(t, 0, c), 0, false, true);
        }
    }
    table_free(t);
}

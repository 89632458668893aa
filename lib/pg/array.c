/* array.c - array literals: {1,2,NULL} and {"a","b \"c\"",NULL}. */
#include "base/clock.h"
#include "base/text.h"
#include "pg/pg_array.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void next(struct pg_array *a)
{
    assert(!a->closed);
    buf_putc(&a->b, a->n++ ? ',' : '{');
}

void pg_array_sn(struct pg_array *a, const char *s, size_t n)
{
    const char *end = s + n, *run = s;

    next(a);
    buf_putc(&a->b, '"');
    for (; s < end; s++) {
        if (*s != '"' && *s != '\\')
            continue;
        buf_append(&a->b, run, (size_t)(s - run));
        buf_putc(&a->b, '\\');
        run = s;
    }
    buf_append(&a->b, run, (size_t)(end - run));
    buf_putc(&a->b, '"');
}

void pg_array_s(struct pg_array *a, const char *s)
{
    if (s)
        pg_array_sn(a, s, strlen(s));
    else
        pg_array_null(a);
}

void pg_array_null(struct pg_array *a)
{
    next(a);
    buf_puts(&a->b, "NULL");
}

void pg_array_i(struct pg_array *a, int64_t n)
{
    next(a);
    buf_printf(&a->b, "%lld", (long long)n);
}

void pg_array_b(struct pg_array *a, bool b)
{
    next(a);
    buf_putc(&a->b, b ? 't' : 'f');
}

void pg_array_t(struct pg_array *a, int64_t ms)
{
    char text[CLOCK_TEXT_LEN + 1];

    if (ms == 0) {
        pg_array_null(a);
        return;
    }
    next(a);
    buf_puts(&a->b, clock_format(ms, text));
}

void pg_array_bytes(struct pg_array *a, const void *p, size_t n)
{
    const unsigned char *bytes = p;

    if (!p) {
        pg_array_null(a);
        return;
    }
    next(a);
    buf_puts(&a->b, "\"\\\\x");
    for (size_t i = 0; i < n; i++) {
        char two[3];

        buf_append(&a->b, hex_encode(bytes + i, 1, two), 2);
    }
    buf_putc(&a->b, '"');
}

struct pg_arg pg_a(struct pg_array *a)
{
    if (!a->closed) {
        buf_puts(&a->b, a->n ? "}" : "{}");
        a->closed = true;
    }
    return (struct pg_arg){.s = buf_str(&a->b), .len = a->b.len, .too_big = !buf_ok(&a->b)};
}

void pg_array_release(struct pg_array *a)
{
    buf_release(&a->b);
    a->n = 0;
    a->closed = false;
}

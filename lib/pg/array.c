/* array.c - arrays as literals: {1,2,NULL} and {"a","b \"c\"",NULL}; or in the form of array_recv, all numbers big-endian:
 *
 *     1 dimension | any NULLs? | OID of the elements | how many | from index 1 |  length, bytes  |  -1  | ...
 *                                                                                an element       NULL
 */
#include "base/clock.h"
#include "base/id.h"
#include "base/text.h"
#include "pg/pg_array.h"
#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void put_int4(struct buf *b, int32_t n)
{
    uint32_t wire = htonl((uint32_t)n);

    buf_append(b, &wire, sizeof wire);
}

#define HEAD_LEN 20

/* The head's room comes before the first element; it is filled in when all is known. */
static void put_head(struct pg_array *a)
{
    const uint32_t head[HEAD_LEN / 4] = {htonl(a->n > 0), htonl(a->nulls), htonl(a->of),
                                         htonl((uint32_t)a->n), htonl(1)};

    if (a->n == 0)
        buf_append(&a->b, head, sizeof head - 8); /* no dimension */
    else if (buf_ok(&a->b))
        memcpy(a->b.p, head, sizeof head);
}

static void put_element(struct pg_array *a, const void *p, size_t n)
{
    static const char room[HEAD_LEN];

    assert(!a->closed);
    if (a->n++ == 0)
        buf_append(&a->b, room, sizeof room);
    put_int4(&a->b, p ? (int32_t)n : -1);
    a->nulls |= !p;
    if (p)
        buf_append(&a->b, p, n);
}

static void put_uuid(struct pg_array *a, const char *s, size_t n)
{
    unsigned char bytes[16];
    char text[ID_LEN + 1] = "";

    if (n == ID_LEN)
        memcpy(text, s, ID_LEN);
    if (id_bytes(text, bytes))
        put_element(a, bytes, sizeof bytes);
    else
        a->unfit = true;
}

static void next(struct pg_array *a)
{
    assert(!a->closed && a->of == PG_LITERAL);
    buf_putc(&a->b, a->n++ ? ',' : '{');
}

void pg_array_sn(struct pg_array *a, const char *s, size_t n)
{
    const char *end = s + n, *run = s;

    if (a->of == PG_TEXTS) {
        put_element(a, s, n);
        return;
    }
    if (a->of == PG_UUIDS) {
        put_uuid(a, s, n);
        return;
    }
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
    if (a->of) {
        put_element(a, NULL, 0);
        return;
    }
    next(a);
    buf_puts(&a->b, "NULL");
}

void pg_array_arg(struct pg_array *a, const struct pg_arg *arg)
{
    assert(!arg->bytes);
    pg_array_s(a, arg->num[0] ? arg->num : arg->s);
}

void pg_array_i(struct pg_array *a, int64_t n)
{
    if (a->of) {
        uint32_t wire = htonl((uint32_t)n);

        a->unfit |= a->of != PG_INT4S || n < INT32_MIN || n > INT32_MAX;
        put_element(a, &wire, sizeof wire);
        return;
    }
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
    if (!a->closed && a->of) {
        put_head(a);
        a->closed = true;
    } else if (!a->closed) {
        buf_puts(&a->b, a->n ? "}" : "{}");
        a->closed = true;
    }
    return (struct pg_arg){.s = buf_str(&a->b),
                           .len = a->b.len,
                           .bytes = a->of != PG_LITERAL,
                           .too_big = !buf_ok(&a->b),
                           .unfit = a->unfit};
}

void pg_array_release(struct pg_array *a)
{
    buf_release(&a->b);
    *a = (struct pg_array){.b = BUF(a->b.max), .of = a->of};
}

/* buf.c - growing by doubling, never past max. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(struct buf *b, size_t n)
{
    if (b->full || n > b->max - b->len) {
        b->full = true;
        return false;
    }
    if (b->len + n + 1 > b->cap) {
        size_t cap = b->cap ? b->cap : 64;

        while (cap < b->len + n + 1)
            cap *= 2;
        b->p = xrealloc(b->p, cap);
        b->cap = cap;
    }
    return true;
}

void buf_room(struct buf *b, size_t n)
{
    reserve(b, MIN(n, b->max - b->len));
}

bool buf_append(struct buf *b, const void *p, size_t n)
{
    if (!reserve(b, n))
        return false;
    if (n)
        memcpy(b->p + b->len, p, n);
    b->len += n;
    b->p[b->len] = 0;
    return true;
}

bool buf_puts(struct buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

bool buf_putc(struct buf *b, char c)
{
    return buf_append(b, &c, 1);
}

bool buf_int(struct buf *b, int64_t n)
{
    char text[INT_TEXT_LEN + 1];

    return buf_append(b, text, int_text(n, text));
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
    size_t room = b->full || !b->p ? 0 : b->cap - b->len;
    va_list ap, again;

    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(room ? b->p + b->len : NULL, room, fmt, ap); /* mostly it fits at once */
    va_end(ap);
    bool ok = n >= 0 && reserve(b, (size_t)n);
    if (ok) {
        if ((size_t)n >= room)
            vsnprintf(b->p + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    } else if (room) {
        b->p[b->len] = 0;
    }
    va_end(again);
    return ok;
}

bool buf_json_str(struct buf *b, const char *s)
{
    if (!s)
        return buf_puts(b, "null");
    buf_putc(b, '"');
    const char *run = s;
    for (;; s++) {
        unsigned char c = (unsigned char)*s;
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        buf_append(b, run, (size_t)(s - run));
        run = s + 1;
        if (c == 0)
            break;
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c == '\n')
            buf_puts(b, "\\n");
        else
            buf_printf(b, "\\u%04x", c);
    }
    return buf_putc(b, '"');
}

bool buf_json_field(struct buf *b, const char *name, const char *s)
{
    buf_puts(b, ",\"");
    buf_puts(b, name);
    buf_puts(b, "\":");
    return buf_json_str(b, s);
}

bool buf_json_time(struct buf *b, const char *name, int64_t ms)
{
    char text[CLOCK_TEXT_LEN + 1];

    return buf_json_field(b, name, ms ? clock_format(ms, text) : NULL);
}

void buf_consume(struct buf *b, size_t n)
{
    n = MIN(n, b->len);
    if (n == 0)
        return; /* p may be NULL */
    memmove(b->p, b->p + n, b->len - n + 1);
    b->len -= n;
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->full = false;
    if (b->p)
        b->p[0] = 0;
}

void buf_release(struct buf *b)
{
    free(b->p);
    *b = BUF(b->max);
}

char *buf_take(struct buf *b)
{
    char *p = b->p ? TAKE_PTR(b->p) : xstrdup("");

    *b = BUF(b->max);
    return p;
}

/* cx.c - failures with words, and deadlines that only come nearer. */
#include "base/cx.h"
#include "base/clock.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

rc cx_fail(struct cx *cx, rc code, const char *pointer, const char *file, int line, const char *fmt,
           ...)
{
    char text[sizeof cx->err.text +
              4]; /* the arguments may point into the old error; room to see a cut character */
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    text[utf8_cut(text, sizeof cx->err.text - 1)] = 0;
    cx->err.code = code;
    cx->err.file = file;
    cx->err.line = line;
    cx->err.rule[0] = 0;
    memcpy(cx->err.text, text, sizeof cx->err.text);
    pointer = pointer ? pointer : "";
    size_t n = utf8_cut(pointer, sizeof cx->err.pointer - 1);
    memmove(cx->err.pointer, pointer, n);
    cx->err.pointer[n] = 0;
    return code;
}

const char *cx_words(const struct cx *cx, rc r)
{
    return cx->err.code == r && cx->err.text[0] ? cx->err.text : error_info(r)->text;
}

void cx_release(struct cx *cx)
{
    arena_release(&cx->arena);
}

struct cx_deadline cx_deadline_within(struct cx *cx, int64_t ms)
{
    struct cx_deadline d = {cx, cx->deadline_mono_ms};
    int64_t at = clock_mono_ms() + MAX(ms, 0);

    if (cx->deadline_mono_ms == 0 || at < cx->deadline_mono_ms)
        cx->deadline_mono_ms = at;
    return d;
}

void cx_deadline_restore(struct cx_deadline *d)
{
    d->cx->deadline_mono_ms = d->old;
}

int64_t cx_left_ms(const struct cx *cx)
{
    if (cx->deadline_mono_ms == 0)
        return INT64_MAX;
    return MAX(cx->deadline_mono_ms - clock_mono_ms(), 0);
}

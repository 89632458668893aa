/* trace.c - see trace.h. */
#include "base/trace.h"
#include "base/id.h"
#include "base/text.h"
#include <string.h>

bool trace_adopt(struct cx *cx, const char *s)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = s ? strlen(s) : 0;

    if (n < 55 || (n > 55 && (starts_with(s, "00") || s[55] != '-')) || strspn(s, hex) != 2 ||
        starts_with(s, "ff") || s[2] != '-' || strspn(s + 3, hex) != 32 || s[35] != '-' ||
        strspn(s + 36, hex) != 16 || s[52] != '-' || strspn(s + 53, hex) != 2)
        return false;
    if (strspn(s + 3, "0") == 32 || strspn(s + 36, "0") == 16)
        return false;
    memcpy(cx->trace, s + 3, 32);
    memcpy(cx->span, s + 36, 16);
    cx->trace[32] = cx->span[16] = 0;
    cx->sampled = strchr("13579bdf", s[54]) != NULL;
    return true;
}

void trace_start(struct cx *cx)
{
    unsigned char raw[24];

    if (cx->trace[0])
        return;
    random_bytes(raw, sizeof raw);
    hex_encode(raw, 16, cx->trace);
    hex_encode(raw + 16, 8, cx->span);
    cx->sampled = false;
}

char *trace_parent(const struct cx *cx, char *out)
{
    out[0] = 0;
    if (!cx->trace[0])
        return out;
    memcpy(out, "00-", 3);
    memcpy(out + 3, cx->trace, 32);
    out[35] = '-';
    /* a context that was given only a trace id has it for its span, too */
    memcpy(out + 36, cx->span[0] ? cx->span : cx->trace, 16);
    memcpy(out + 52, cx->sampled ? "-01" : "-00", 4);
    return out;
}

const char *trace_text(struct cx *cx)
{
    char *out = cx->trace[0] ? arena_alloc(&cx->arena, TRACEPARENT_LEN + 1) : NULL;

    return out ? trace_parent(cx, out) : NULL;
}

/* mask.c - all pointers walk down the text together, a bit each; '*' walks every way. The text is copied, not printed anew: what is
 * not masked stays as it was written, numbers too. */
#include "domain/agents/mask.h"
#include "base/buf.h"
#include "base/text.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define STARS    "***"
#define SEGMENTS 32
#define TEXT_MAX MiB(4)

struct pointer {
    char *text; /* the segments, unescaped, each ended by a NUL */
    const char *segment[SEGMENTS];
    int n;
};
_Static_assert(MASK_MAX == 64, "a bit each");
struct mask {
    size_t n;
    struct pointer p[MASK_MAX];
};

static const char any[] = "*";

/* Unescapes s (what stood between two slashes) in place: ~1 is /, ~0 is ~. False for another ~. */
static bool unescape(char *s)
{
    char *out = s;

    for (; *s; s++) {
        if (*s == '~' && s[1] != '0' && s[1] != '1')
            return false;
        if (*s == '~')
            *out++ = *++s == '0' ? '~' : '/';
        else
            *out++ = *s;
    }
    *out = '\0';
    return true;
}

static rc pointer_read(struct cx *cx, const char *s, struct pointer *p)
{
    if (*s != '/')
        return fail(cx, CONFIG, "a JSON pointer begins with a slash: '%.80s'", s);
    p->text = xstrdup(s + 1);
    for (char *at = p->text; at;) {
        char *segment = strsep(&at, "/");
        bool star = str_eq(segment, any);

        if (p->n == SEGMENTS)
            return fail(cx, CONFIG, "a JSON pointer has at most %d parts: '%.80s'", SEGMENTS, s);
        if (!unescape(segment))
            return fail(cx, CONFIG, "after ~ a JSON pointer has 0 or 1: '%.80s'", s);
        p->segment[p->n++] = star ? any : segment;
    }
    return OK;
}

static rc add(struct cx *cx, struct mask *m, const char *s)
{
    if (m->n == MASK_MAX)
        return fail(cx, CONFIG, "at most %d JSON pointers", MASK_MAX);
    return pointer_read(cx, s, &m->p[m->n++]);
}

rc mask_new(struct cx *cx, const char *pointers, struct mask **ret)
{
    _cleanup_(freep) char *list = xstrdup(pointers ? pointers : "");
    struct mask *m = xcalloc(1, sizeof(*m));

    for (char *at = list; at;) {
        const char *s = str_trim(strsep(&at, ","));
        rc r = *s ? add(cx, m, s) : OK;
        if (r != OK) {
            mask_free(m);
            return r;
        }
    }
    *ret = m;
    return OK;
}

struct mask *mask_free(struct mask *m)
{
    for (size_t i = 0; m && i < m->n; i++)
        free(m->p[i].text);
    free(m);
    return NULL;
}

/* ---------------------------------------------------------------- a text, walked once */

struct walk {
    const struct mask *m;
    struct cx *cx;
    struct buf out;
    int masked;
};

static const char *blanks(const char *s)
{
    return s + strspn(s, " \t\r\n");
}

/* s is at the first quote; behind the last one. */
static const char *skip_string(const char *s)
{
    for (s++; *s != '"'; s++)
        s += *s == '\\';
    return s + 1;
}

/* The text was parsed before: it is JSON, and nested no deeper than JSON_DEPTH. */
static const char *skip_value(const char *s)
{
    int depth = 0;

    do {
        depth += *s == '{' || *s == '[';
        depth -= *s == '}' || *s == ']';
        s = *s == '"' ? skip_string(s) : s + 1;
    } while (depth > 0 || (*s && !strchr(",]} \t\r\n", *s)));
    return s;
}

/* A member's name without its escapes. Arena. */
static const char *name_of(struct walk *w, const char *from, const char *to)
{
    const char *raw = arena_strndup(&w->cx->arena, from, (size_t)(to - from));

    if (!strchr(raw, '\\'))
        return arena_strndup(&w->cx->arena, raw + 1, strlen(raw) - 2);
    cJSON *v = cJSON_Parse(raw);
    const char *name = arena_strdup(&w->cx->arena, cJSON_GetStringValue(v));
    cJSON_Delete(v);
    return name ? name : "";
}

/* Of the pointers that led here (a bit each), those that lead on through this member (name) or element
 * (name NULL, place). */
static uint64_t lead_on(const struct mask *m, uint64_t here, int depth, const char *name,
                        int64_t place)
{
    uint64_t on = 0;
    int64_t n;

    for (size_t i = 0; i < m->n; i++) {
        const char *segment = m->p[i].segment[MIN(depth, SEGMENTS - 1)];
        if (!(here & UINT64_C(1) << i) || depth >= m->p[i].n)
            continue;
        if (segment == any || (name && str_eq(name, segment)) ||
            (!name && parse_int(segment, 0, INT32_MAX, &n) && n == place))
            on |= UINT64_C(1) << i;
    }
    return on;
}

static bool ends_here(const struct mask *m, uint64_t here, int depth)
{
    for (size_t i = 0; i < m->n; i++) {
        if ((here & UINT64_C(1) << i) && depth == m->p[i].n)
            return true;
    }
    return false;
}

/* Copies the value at s, without what the pointers end at. A name that is there twice is masked twice. */
static const char *walk(struct walk *w, const char *s, uint64_t here, int depth)
{
    const bool object = *s == '{';

    if (here && ends_here(w->m, here, depth)) {
        buf_puts(&w->out, "\"" STARS "\"");
        w->masked++;
        return skip_value(s);
    }
    if (!here || (*s != '{' && *s != '[')) {
        const char *end = skip_value(s);
        buf_append(&w->out, s, (size_t)(end - s));
        return end;
    }
    buf_putc(&w->out, *s);
    s = blanks(s + 1);
    for (int64_t place = 0; *s != '}' && *s != ']'; place++) {
        const char *name = NULL;
        if (object) {
            const char *end = skip_string(s);
            name = name_of(w, s, end);
            buf_append(&w->out, s, (size_t)(end - s));
            buf_putc(&w->out, ':');
            s = blanks(blanks(end) + 1);
        }
        s = blanks(walk(w, s, lead_on(w->m, here, depth, name, place), depth + 1));
        if (*s == ',') {
            buf_putc(&w->out, ',');
            s = blanks(s + 1);
        }
    }
    buf_putc(&w->out, *s);
    return s + 1;
}

rc mask_text(struct cx *cx, const struct mask *m, const char *json, const char **ret)
{
    cJSON *v;

    *ret = NULL;
    if (!m || m->n == 0)
        return OK;
    try(json_parse(cx, json, strlen(json), TEXT_MAX, &v));
    struct walk w = {.m = m, .cx = cx, .out = BUF(2 * TEXT_MAX)};
    const uint64_t all = m->n == 64 ? UINT64_MAX : (UINT64_C(1) << m->n) - 1;
    walk(&w, blanks(json), all, 0);
    bool fits = buf_ok(&w.out);
    if (fits && w.masked > 0)
        *ret = arena_strdup(&cx->arena, buf_str(&w.out));
    buf_release(&w.out);
    return fits ? OK : fail(cx, BUFFER_FULL, "the masked text does not fit");
}

/* ---------------------------------------------------------------- a line */

/* Does a name that is to be masked stand here, with a value behind it? Where the value begins, or NULL. */
static const char *value_at(const struct mask *m, const char *s)
{
    for (size_t i = 0; i < m->n; i++) {
        const char *name = m->p[i].segment[m->p[i].n - 1];
        size_t n = strlen(name);
        if (name == any || n == 0 || strncasecmp(s, name, n) != 0)
            continue;
        const char *v = s + n;
        v = blanks(v + (*v == '"' || *v == '\''));
        if (*v != '=' && *v != ':')
            continue;
        return blanks(v + 1);
    }
    return NULL;
}

static const char *behind_value(const char *v)
{
    if (*v == '"' || *v == '\'') {
        const char *end = v + 1;
        while (*end && *end != *v)
            end += *end == '\\' && end[1] ? 2 : 1;
        return end + (*end != 0);
    }
    return v + strcspn(v, " \t\r\n,;&)}]");
}

static bool in_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

char *mask_line(const struct mask *m, const char *line)
{
    struct buf out = BUF(TEXT_MAX);
    bool masked = false;

    if (!m || m->n == 0)
        return NULL;
    for (const char *s = line; *s;) {
        const char *v = s == line || !in_word(s[-1]) ? value_at(m, s) : NULL;
        if (!v || !*v) {
            buf_putc(&out, *s++);
            continue;
        }
        buf_append(&out, s, (size_t)(v - s));
        buf_puts(&out, STARS);
        s = behind_value(v);
        masked = true;
    }
    if (masked)
        return buf_take(&out);
    buf_release(&out);
    return NULL;
}

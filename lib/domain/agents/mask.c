/* mask.c - pointers walked down a tree; '*' walks every way. */
#include "domain/agents/mask.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

#define STARS    "***"
#define SEGMENTS 32

struct pointer {
    char *text; /* the segments, unescaped, each ended by a NUL */
    const char *segment[SEGMENTS];
    int n;
};
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

/* ---------------------------------------------------------------- */

static bool leads_to(const char *segment, const cJSON *parent, const cJSON *child, int64_t place)
{
    int64_t n;

    if (segment == any)
        return true;
    if (cJSON_IsObject(parent))
        return str_eq(child->string, segment);
    return parse_int(segment, 0, INT32_MAX, &n) && n == place;
}

/* What `child` is replaced by, under its name and in its place. */
static void star(cJSON *child)
{
    cJSON *stars = cJSON_CreateString(STARS);

    cJSON_Delete(child->child);
    if (!(child->type & cJSON_IsReference))
        cJSON_free(child->valuestring);
    child->child = NULL;
    child->valuestring = stars->valuestring;
    child->type = cJSON_String | (child->type & cJSON_StringIsConst);
    stars->valuestring = NULL;
    cJSON_Delete(stars);
}

/* Depth is bounded by SEGMENTS. A name that is there twice is masked twice. */
static int walk(const struct pointer *p, int depth, cJSON *v)
{
    int64_t place = 0;
    int n = 0;

    for (cJSON *c = v->child; c; c = c->next, place++) {
        if (!leads_to(p->segment[depth], v, c, place))
            continue;
        if (depth + 1 == p->n) {
            star(c);
            n++;
        } else if (cJSON_IsObject(c) || cJSON_IsArray(c)) {
            n += walk(p, depth + 1, c);
        }
    }
    return n;
}

static int mask_apply(const struct mask *m, cJSON *v)
{
    int n = 0;

    for (size_t i = 0; m && i < m->n; i++) {
        if (cJSON_IsObject(v) || cJSON_IsArray(v))
            n += walk(&m->p[i], 0, v);
    }
    return n;
}

rc mask_text(struct cx *cx, const struct mask *m, const char *json, const char **ret)
{
    cJSON *v;

    *ret = NULL;
    if (!m || m->n == 0)
        return OK;
    try(json_parse(cx, json, strlen(json), MiB(4), &v));
    if (mask_apply(m, v) > 0)
        *ret = json_print(cx, v);
    return OK;
}

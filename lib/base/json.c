/* json.c - checks before and after cJSON. */
#include "base/json.h"
#include "base/id.h"
#include "base/text.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void delete_tree(void *p)
{
    cJSON_Delete(p);
}

/* Nesting without parsing: brackets outside strings; and whether a string contains an escaped
 * U+0000. Malformed text may be counted wrongly, never too low for what cJSON would recurse into
 * before it finds the fault. */
static int depth_of(const char *s, size_t n, bool *ret_nul)
{
    int depth = 0, deepest = 0;
    bool in_string = false;

    *ret_nul = false;
    for (size_t i = 0; i < n; i++) {
        if (in_string) {
            if (s[i] == '\\') {
                i++;
                *ret_nul |= n - i >= 5 && memcmp(s + i, "u0000", 5) == 0;
            } else if (s[i] == '"')
                in_string = false;
        } else if (s[i] == '"') {
            in_string = true;
        } else if (s[i] == '{' || s[i] == '[') {
            deepest = MAX(deepest, ++depth);
        } else if (s[i] == '}' || s[i] == ']') {
            depth--;
        }
    }
    return deepest;
}

rc json_parse(struct cx *cx, const char *s, size_t n, size_t max_bytes, cJSON **ret)
{
    const char *end = NULL;
    bool nul;

    if (n == 0)
        return fail(cx, BAD_JSON, "the text is empty, JSON was expected");
    if (n > max_bytes)
        return fail(cx, BODY_TOO_LARGE, "the JSON has %zu bytes, %zu are allowed", n, max_bytes);
    if (!utf8_valid(s, n))
        return fail(cx, BAD_UTF8, "the text is not valid UTF-8");
    int depth = depth_of(s, n, &nul);
    if (nul || memchr(s, 0, n))
        return fail(cx, BAD_JSON, "the JSON contains U+0000, which is not accepted");
    if (depth > JSON_DEPTH)
        return fail(cx, TOO_DEEP, "the JSON is nested more than %d levels deep", JSON_DEPTH);
    cJSON *v = cJSON_ParseWithLengthOpts(s, n, &end, false);
    if (!v)
        return fail(cx, BAD_JSON, "not valid JSON near byte %zu of %zu",
                    end ? (size_t)(end - s) : n, n);
    arena_defer(&cx->arena, delete_tree, v);
    while (end < s + n && (*end == ' ' || *end == '\t' || *end == '\r' || *end == '\n'))
        end++;
    if (end < s + n)
        return fail(cx, BAD_JSON, "text after the end of the JSON at byte %zu", (size_t)(end - s));
    *ret = v;
    return OK;
}

/* RFC 6901: "~" is written ~0, "/" is ~1. A name that does not fit is cut, never inside a character
 * (cx_fail cuts). */
static const char *pointer_to(const char *name, char out[72])
{
    size_t n = 1;

    out[0] = '/';
    for (; *name && n < 68; name++) {
        if (*name == '~' || *name == '/') {
            out[n++] = '~';
            out[n++] = *name == '~' ? '0' : '1';
        } else {
            out[n++] = *name;
        }
    }
    out[n] = 0;
    return out;
}

static const cJSON *field(const cJSON *o, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);

    return cJSON_IsNull(v) ? NULL : v;
}

rc json_str_opt(struct cx *cx, const cJSON *o, const char *name, size_t max_chars, const char **ret)
{
    const cJSON *v = field(o, name);
    char at[72];

    *ret = NULL;
    if (!v)
        return OK;
    if (!cJSON_IsString(v))
        return fail_at(cx, INVALID_FIELD, pointer_to(name, at), "%s must be a string", name);
    if (utf8_len(v->valuestring) > max_chars)
        return fail_at(cx, INVALID_FIELD, pointer_to(name, at), "%s has more than %zu characters",
                       name, max_chars);
    for (const char *p = v->valuestring; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return fail_at(cx, INVALID_FIELD, pointer_to(name, at),
                           "%s contains a control character", name);
    }
    *ret = v->valuestring;
    return OK;
}

rc json_str(struct cx *cx, const cJSON *o, const char *name, size_t max_chars, const char **ret)
{
    char at[72];

    try(json_str_opt(cx, o, name, max_chars, ret));
    if (!*ret)
        return fail_at(cx, INVALID_FIELD, pointer_to(name, at), "%s is required", name);
    if (!**ret)
        return fail_at(cx, INVALID_FIELD, pointer_to(name, at), "%s must not be empty", name);
    return OK;
}

rc json_id(struct cx *cx, const cJSON *o, const char *name, char ret[37])
{
    const char *s;
    char at[72];

    try(json_str(cx, o, name, 64, &s));
    if (!id_parse(s, ret))
        return fail_at(cx, INVALID_FIELD, pointer_to(name, at), "%s must be a UUID", name);
    return OK;
}

rc json_int_opt(struct cx *cx, const cJSON *o, const char *name, int64_t min, int64_t max,
                int64_t *ret)
{
    const cJSON *v = field(o, name);
    char at[72];

    if (!v)
        return OK;
    const double exact =
        9007199254740992; /* 2^53: whole numbers beyond are not told apart in a double */
    if (!cJSON_IsNumber(v) || v->valuedouble != floor(v->valuedouble) ||
        fabs(v->valuedouble) > exact || v->valuedouble < (double)min ||
        v->valuedouble > (double)max)
        return fail_at(cx, INVALID_FIELD, pointer_to(name, at),
                       "%s must be a whole number from %lld to %lld", name, (long long)min,
                       (long long)max);
    *ret = (int64_t)v->valuedouble;
    return OK;
}

rc json_bool_opt(struct cx *cx, const cJSON *o, const char *name, bool *ret)
{
    const cJSON *v = field(o, name);
    char at[72];

    if (!v)
        return OK;
    if (!cJSON_IsBool(v))
        return fail_at(cx, INVALID_FIELD, pointer_to(name, at), "%s must be true or false", name);
    *ret = cJSON_IsTrue(v);
    return OK;
}

rc json_only(struct cx *cx, const cJSON *o, const char *const *names)
{
    char at[72];

    if (!cJSON_IsObject(o))
        return fail(cx, BAD_REQUEST, "a JSON object was expected");
    for (const cJSON *v = o->child; v; v = v->next) {
        size_t i = 0;
        while (names[i] && strcmp(names[i], v->string) != 0)
            i++;
        if (!names[i]) {
            return fail_at(cx, INVALID_FIELD, pointer_to(v->string, at),
                           "there is no field of this name here");
        }
    }
    return OK;
}

const cJSON *json_path(const cJSON *o, const char *path)
{
    char part[64];

    if (starts_with(path, "$"))
        path += path[1] == '.' ? 2 : 1;
    while (o && *path) {
        size_t n = strcspn(path, ".");
        int64_t i;
        if (n >= sizeof part)
            return NULL;
        memcpy(part, path, n);
        part[n] = 0;
        path += n + (path[n] == '.');
        if (cJSON_IsArray(o) && parse_int(part, 0, 1000000, &i))
            o = cJSON_GetArrayItem(o, (int)i);
        else
            o = cJSON_GetObjectItemCaseSensitive(o, part);
    }
    return o;
}

const char *json_text(struct cx *cx, const cJSON *v)
{
    if (cJSON_IsString(v))
        return v->valuestring;
    if (cJSON_IsNumber(v) || cJSON_IsBool(v))
        return json_print(cx, v);
    return NULL;
}

char *json_print(struct cx *cx, const cJSON *v)
{
    char *s = cJSON_PrintUnformatted(v);
    char *p = arena_strdup(&cx->arena, s ? s : "null");

    cJSON_free(s);
    return p;
}

/* ------------------------------------------------------------------ as it was written */

#define DIGITS_MAX 300

/* What cJSON takes for white space. */
static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (unsigned char)*p <= ' ')
        p++;
    return p;
}

/* p is at a quote; behind the closing one. */
static const char *skip_string(const char *p, const char *end, bool *odd)
{
    for (p++; p < end && *p != '"'; p++) {
        *odd |= (unsigned char)*p < ' ';
        p += *p == '\\';
    }
    return p < end ? p + 1 : end;
}

static const char *skip_number(const char *p, const char *end, bool *odd)
{
    const char *start = p;

    p += *p == '-';
    *odd |= end - p > 1 && *p == '0' && p[1] >= '0' && p[1] <= '9';
    for (; p < end && strchr("+-.0123456789eE", *p); p++)
        *odd |= strchr("+-eE", *p) != NULL;
    *odd |= p[-1] == '.' || p - start > DIGITS_MAX;
    return p;
}

/* Behind the value that begins at p. */
static const char *skip_value(const char *p, const char *end, bool *odd)
{
    int depth = 0;

    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end, odd);
        } else if (*p == '-' || (*p >= '0' && *p <= '9')) {
            p = skip_number(p, end, odd);
        } else {
            *odd |= (unsigned char)*p < ' ' && !strchr("\t\r\n", *p);
            depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
            if (depth < 0 || (depth == 0 && *p == ','))
                return p;
            p++;
        }
        if (depth == 0 && (p == end || (unsigned char)*p <= ' ' || strchr(",]}", *p)))
            return p;
    }
    return end;
}

bool json_raw_member(const char *s, size_t n, const char *name, const char **ret, size_t *ret_n,
                     bool *ret_odd)
{
    const char *end = s + n, *p = skip_space(s, end);
    size_t want = strlen(name);

    if (p == end || *p != '{')
        return false;
    for (p++; (p = skip_space(p, end)) < end && *p == '"'; p++) {
        const char *key = p, *value;
        bool odd = false, ignored;

        p = skip_string(p, end, &odd);
        ignored = (size_t)(p - key) != want + 2 || memcmp(key + 1, name, want) != 0;
        p = skip_space(p, end);
        value = skip_space(p + 1, end); /* p is at the colon */
        odd = false;
        p = skip_value(value, end, &odd);
        if (!ignored) {
            *ret = value;
            *ret_n = (size_t)(p - value);
            *ret_odd = odd;
            return true;
        }
        p = skip_space(p, end);
        if (p == end || *p != ',')
            return false;
    }
    return false;
}

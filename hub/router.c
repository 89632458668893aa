/* router.c - finding the row of the table (routes.c) for a method and a path.
 *
 * A path is compared segment by segment; "{name}" takes one non-empty segment, percent-decoded. The
 * table is short, so it is walked: a comparison ends at the first segment that differs. */
#include "hub/router.h"
#include "base/text.h"
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *method_name(enum method m)
{
    switch (m) {
    case M_GET:
        return "GET";
    case M_POST:
        return "POST";
    case M_PUT:
        return "PUT";
    case M_PATCH:
        return "PATCH";
    case M_DELETE:
        return "DELETE";
    }
    return "?";
}

static bool take_param(const char *s, size_t n, char *out)
{
    char raw[REQUEST_PARAM_MAX * 3 + 1];
    size_t len = 0;
    char *text;
    bool ok;

    if (n == 0 || n >= sizeof raw)
        return false;
    memcpy(raw, s, n);
    raw[n] = 0;
    text = evhttp_uridecode(raw, /* decode_plus= */ 0, &len);
    ok =
        text && len > 0 && len <= REQUEST_PARAM_MAX && strlen(text) == len && utf8_valid(text, len);
    if (ok)
        memcpy(out, text, len + 1);
    free(text);
    return ok;
}

static bool path_matches(const char *pattern, const char *path,
                         char params[REQUEST_PARAMS][REQUEST_PARAM_MAX + 1])
{
    int param = 0;

    for (;;) {
        while (*pattern == '/')
            pattern++;
        if (*path == '/')
            path++;
        if (!*pattern || !*path)
            return !*pattern && !*path;
        size_t want = strcspn(pattern, "/"), have = strcspn(path, "/");
        if (*pattern == '{') {
            if (param == REQUEST_PARAMS || !take_param(path, have, params[param++]))
                return false;
        } else if (want != have || memcmp(pattern, path, want) != 0) {
            return false;
        }
        pattern += want;
        path += have;
    }
}

rc route_find(struct cx *cx, struct request *q, char *allow, size_t allow_size)
{
    size_t n = 0;

    allow[0] = 0;
    for (size_t i = 0; i < route_count; i++) {
        if (!path_matches(routes[i].path, q->path, q->params))
            continue;
        if (routes[i].method == q->method) {
            q->route = &routes[i];
            allow[0] = 0;
            return OK;
        }
        n += (size_t)snprintf(allow + n, n < allow_size ? allow_size - n : 0, "%s%s", n ? ", " : "",
                              method_name(routes[i].method));
    }
    if (n)
        return fail(cx, METHOD_NOT_ALLOWED, "this path takes %s", allow);
    return fail(cx, NOT_FOUND, "there is nothing at this path; /openapi.json lists what is");
}

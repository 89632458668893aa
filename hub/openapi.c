/* openapi.c - prints the document. Rows of one path stand together in the table, so one pass is
 * enough. */
#include "hub/openapi.h"
#include "base/program.h"
#include "hub/openapi.schemas.h"
#include "hub/router.h"
#include <stdio.h>
#include <string.h>

static void print_parameter(struct buf *out, const char *name, size_t n, const char *in,
                            bool required, bool *first)
{
    buf_printf(out,
               "%s{\"name\":\"%.*s\",\"in\":\"%s\",\"required\":%s,\"schema\":{\"type\":\"%s\"}}",
               *first ? "" : ",", (int)n, name, in, required ? "true" : "false",
               n == 5 && memcmp(name, "limit", 5) == 0 ? "integer" : "string");
    *first = false;
}

static void print_parameters(struct buf *out, const struct route *r)
{
    bool first = true;

    buf_puts(out, ",\"parameters\":[");
    for (const char *p = strchr(r->path, '{'); p; p = strchr(p, '{')) {
        size_t n = strcspn(++p, "}");
        print_parameter(out, p, n, "path", true, &first);
    }
    for (const char *p = r->query ? r->query : ""; *p;) {
        size_t n = strcspn(p, " ");
        print_parameter(out, p, n, "query", false, &first);
        p += n;
        p += *p == ' ';
    }
    if (r->method == M_POST && (r->ok == 201 || r->ok == 202))
        print_parameter(out, "Idempotency-Key", 15, "header", false, &first);
    buf_puts(out, "]");
}

static void print_operation(struct buf *out, const struct route *r)
{
    char method[8];

    snprintf(method, sizeof method, "%s", method_name(r->method));
    for (char *p = method; *p; p++)
        *p = (char)(*p | 0x20);
    buf_printf(out, "\"%s\":{\"operationId\":\"%s\",\"summary\":", method, r->id);
    buf_json_str(out, r->summary);
    if (r->permission == PUBLIC)
        buf_puts(out, ",\"security\":[]");
    else
        buf_printf(out, ",\"x-permission\":\"%s\"",
                   permission_word((enum permission)r->permission));
    print_parameters(out, r);
    if (r->body)
        buf_printf(
            out,
            ",\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":"
            "{\"$ref\":\"#/components/schemas/%s\"}}}}",
            r->body);
    buf_printf(out, ",\"responses\":{\"%d\":{\"description\":\"done\"", r->ok);
    if (r->answer)
        buf_printf(out,
                   ",\"content\":{\"application/json\":{\"schema\":{\"$ref\":"
                   "\"#/components/schemas/%s\"}}}",
                   r->answer);
    buf_puts(out, "},\"default\":{\"description\":\"refused or failed\",\"content\":"
                  "{\"application/problem+json\":{\"schema\":{\"$ref\":"
                  "\"#/components/schemas/Problem\"}}}}}}");
}

void openapi_print(struct buf *out)
{
    const char *path = NULL;

    buf_printf(
        out,
        "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Mihwar\",\"version\":\"%s\",\"license\":"
        "{\"name\":\"Apache-2.0\",\"identifier\":\"Apache-2.0\"}},\"security\":[{\"key\":[]}],"
        "\"paths\":{",
        program_version());
    for (size_t i = 0; i < route_count; i++) {
        bool same = path && strcmp(path, routes[i].path) == 0;
        if (!same)
            buf_puts(out, path ? "}," : "");
        if (same)
            buf_puts(out, ",");
        else
            buf_printf(out, "\"%s\":{", routes[i].path);
        path = routes[i].path;
        print_operation(out, &routes[i]);
    }
    buf_printf(
        out,
        "}},\"components\":{\"securitySchemes\":{\"key\":{\"type\":\"http\",\"scheme\":\"bearer\","
        "\"description\":\"an API key, mwk_…\"}},\"schemas\":%s}}",
        openapi_schemas);
}

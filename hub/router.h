/* router.h - the one table of what can be asked: method, path, permission, handler, and the words
 * for openapi.json.
 *
 * A route without a permission does not exist: PUBLIC is written where everybody may ask. */
#pragma once
#include "hub/request.h"

#define PUBLIC (-1) /* everybody, without credentials */

struct route {
    enum method method;
    const char *path; /* "/v1/orders/{id}"; a trailing "/" is the same path */
    int permission;   /* enum permission, or PUBLIC; PERM_AGENTS_CONNECT: an agent, by its token */
    rc (*handle)(struct cx *cx, struct request *q) MW_PARKS;
    int64_t timeout_ms; /* of the whole request; 0: REQUEST_TIMEOUT_MS */
    int ok;             /* status when all is well */
    const char *id;     /* operationId, also the metrics' label */
    const char *summary;
    const char *body, *answer; /* names under components/schemas of openapi.json; NULL: none */
    const char *query;         /* query parameters, space separated; NULL: none */
};
extern const struct route routes[];
extern const size_t route_count;

#define REQUEST_TIMEOUT_MS 30000

/* Finds the row and fills q->route and q->params. NOT_FOUND, or METHOD_NOT_ALLOWED (the methods
 * that would do are written into `allow`, "GET, POST"). */
rc route_find(struct cx *cx, struct request *q, char *allow, size_t allow_size);
const char *method_name(enum method m);

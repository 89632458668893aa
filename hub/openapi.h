/* openapi.h - the OpenAPI 3.1 document: paths from the router's table, schemas from
 * openapi.schemas.json. Because the paths are printed from what is served, the two cannot differ; a
 * test checks that every schema named exists. */
#pragma once
#include "base/buf.h"

void openapi_print(struct buf *out);

/* tenant.h - whose things a verb speaks of: --tenant NAME or id; left out, the only one there is.
 */
#pragma once
#include "domain/shop/tenants.h"
#include "ops/verb.h"

/* NOT_FOUND, or USAGE when there are several and none was named. Texts are in cx's arena. Parks. */
rc tenant_named(struct cx *cx, struct ops *o, struct tenant *ret) MW_PARKS;
/* The same where leaving it out means all: *ret_id NULL. Parks. */
rc tenant_if_named(struct cx *cx, struct ops *o, const char **ret_id) MW_PARKS;

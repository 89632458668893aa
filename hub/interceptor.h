/* interceptor.h - who asks, and may they? Before every handler, on every door; what is not allowed
 * is refused.
 *
 *   Authorization: Bearer mwk_… --> cache of verified tokens --hit--> identity
 *                                  `--miss--> row by prefix --> Argon2id on the offload --> identity
 *   identity's permissions  ∋  the route's permission ?  handler : 403
 *
 * Permissions are words ("orders:write", domain/access/permission.def) that a key is given when it is
 * made. */
#pragma once
#include "hub/request.h"

/* Fills q->who. UNAUTHENTICATED, FORBIDDEN, OVERLOADED (too many checks of unknown keys at once),
 * store errors. Parks. */
rc intercept(struct cx *cx, struct request *q) MW_PARKS;

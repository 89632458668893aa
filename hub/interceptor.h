/* interceptor.h - who asks, and may they? Before every handler, on both doors; what is not allowed is
 * refused.
 *
 *   web door    Authorization: Bearer mwk_…  --.
 *   mTLS door   the name in the certificate  --+--> identity (credentials.h) --> route's permission? --> handler
 *                                              |         |                              |
 *                                              `-- 401 <-+------ 403 <------------------'      429 instead, where there
 *                                                                                              were too many of them
 *   agents:connect  Authorization: Bearer mwa_…    on either door an agent's token is needed; on the mTLS door the certificate
 *                                                  needs the permission as well, and may be bound to one agent
 *
 * On the mTLS door the certificate decides; an API key sent there is not looked at. A name that our CA vouches for
 * and that nobody gave an identity here is 403, like a disabled one: who it is is proven, and there is
 * nothing that it may. Callers are never told whether a token is unknown, wrong, expired or revoked; the
 * record (refusals.h) tells.
 *
 * Each refusal takes a token from the bucket of its address, and from that of the key's prefix or of the
 * identity. With an empty bucket a refusal becomes 429 with Retry-After, and Argon2 is not spent. Who was
 * verified lately, or shows a known prefix whose own bucket is not empty, passes whatever others do at the
 * same address. */
#pragma once
#include "hub/request.h"

/* Fills q->who; on a route of PERM_AGENTS_CONNECT also q->agent (q->who only on the mTLS door). UNAUTHENTICATED, FORBIDDEN, RATE_LIMITED,
 * OVERLOADED (too many checks of unknown tokens at once), store errors. Parks. */
rc intercept(struct cx *cx, struct request *q) MW_PARKS;
/* What the handler returned; a FORBIDDEN of its own (a command that the identity may not send) goes on
 * record like ours. */
rc intercept_after(struct cx *cx, struct request *q, rc r);
/* The mTLS door refused somebody (door.h): on record, and one token of its address. */
void intercept_handshake(struct hub *hub, const char *ip, const char *name, const char *why);

/* interceptor.c - identity first, then permission; deny by default. */
#include "hub/interceptor.h"
#include "base/clock.h"
#include "hub/hub.h"
#include "hub/key_usage.h"
#include "hub/router.h"
#include "secure/token.h"
#include <string.h>

rc intercept(struct cx *cx, struct request *q)
{
    const char *auth = request_header(q, "Authorization");
    enum permission wanted;

    if (q->route->permission == PUBLIC)
        return OK;
    wanted = (enum permission)q->route->permission;
    if (!auth)
        return fail(cx, UNAUTHENTICATED, "send 'Authorization: Bearer mwk_…' with an API key");
    if (strncasecmp(auth, "Bearer ", 7) != 0)
        return fail(cx, UNAUTHENTICATED, "only 'Authorization: Bearer mwk_…' is understood here");
    auth += 7;
    auth += strspn(auth, " ");
    try(token_identify(cx, q->hub->tokens, auth, NULL, &q->who));
    key_used(q->hub->usage, q->who.key_id);
    if (q->who.expires_ms && q->who.expires_ms <= clock_ms())
        return fail(cx, UNAUTHENTICATED, "this API key has expired");
    if (!identity_may(&q->who, wanted))
        return fail(cx, FORBIDDEN, "this API key lacks the permission '%s'",
                    permission_word(wanted));
    return OK;
}

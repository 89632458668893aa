/* agent_session.c - GET /v1/agent/session: from HTTP to the agents' protocol (docs/agent-protocol.md).
 *
 * Who asks was settled by the interceptor: q->agent showed a good token (and on the mTLS door a certificate behind which
 * an agent may stand). Here: is it the agent it says it is, and does it speak WebSocket as we do? */
#include "base/text.h"
#include "hub/api/api.h"
#include "hub/hub.h"
#include "hub/realtime/agent_sessions.h"
#include "rt/websocket.h"
#include <event2/http.h>
#include <event2/http_struct.h>

static rc check_upgrade(struct cx *cx, struct request *q)
{
    if (q->head || q->ev->major != 1 || q->ev->minor < 1)
        return fail(cx, BAD_REQUEST, "a WebSocket begins with GET in HTTP/1.1");
    if (!websocket_header_names(request_header(q, "Upgrade"), "websocket") ||
        !websocket_header_names(request_header(q, "Connection"), "upgrade")) {
        reply_header(q, "Upgrade", "websocket");
        return fail(
            cx, UPGRADE_REQUIRED,
            "send 'Connection: Upgrade' and 'Upgrade: websocket': here agents hold their sessions");
    }
    if (!str_eq(request_header(q, "Sec-WebSocket-Version"), "13")) {
        reply_header(q, "Sec-WebSocket-Version", "13");
        reply_header(q, "Upgrade", "websocket");
        return fail(cx, UPGRADE_REQUIRED, "only version 13 of WebSocket is spoken (RFC 6455)");
    }
    if (!websocket_key_valid(request_header(q, "Sec-WebSocket-Key")))
        return fail(cx, BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64");
    if (q->body_len)
        return fail(cx, BAD_REQUEST, "an upgrade has no body");
    return OK;
}

rc agent_session_get(struct cx *cx, struct request *q)
{
    const char *agent_id = request_query(cx, q, "agent_id");
    char accept[WEBSOCKET_ACCEPT_LEN + 1];

    if (!agent_id || !agent_id_valid(agent_id))
        return fail_at(cx, INVALID_FIELD, "/agent_id", "?agent_id= must name the agent");
    if (!str_eq(agent_id, q->agent.agent_id))
        return fail(cx, FORBIDDEN, "the token is not one of this agent's");
    try(check_upgrade(cx, q));
    reply_header(q, "Upgrade", "websocket");
    reply_header(q, "Connection", "Upgrade");
    reply_header(q, "Sec-WebSocket-Accept",
                 websocket_accept(request_header(q, "Sec-WebSocket-Key"), accept));
    return agent_sessions_upgrade(cx, q->hub->agents, q, &q->agent);
}

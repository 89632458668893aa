/* test_session_door.c - who gets a session, who does not and hears why, and what ends one that nobody at the agent ended. */
#include "tests/e2e/session_world.h"
#include "tests/e2e/wire.h"

/* ---------------------------------------------------------------- at the door */

/* $K a good token, $X an expired one, $R a revoked one, $D of a disabled agent, $O another agent's, $W a wrong one. */
#define ASK "GET /v1/agent/session?agent_id=door HTTP/1.1\r\nHost: x\r\n"
#define WS                                                                                         \
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: "                         \
    "13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define KEY "Authorization: Bearer "
static const struct {
    const char *title, *request;
    int status;
    const char *has; /* in the answer */
} doors[] = {
    {"as it should be", ASK WS KEY "$K\r\n\r\n", 101,
     "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"},
    {"no upgrade", ASK KEY "$K\r\n\r\n", 426, "\"code\":\"upgrade_required\""},
    {"an upgrade to something else", ASK "Upgrade: h2c\r\nConnection: Upgrade\r\n" KEY "$K\r\n\r\n",
     426, "Upgrade: websocket\r\n"},
    {"an older version",
     ASK "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: "
         "8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" KEY "$K\r\n\r\n",
     426, "Sec-WebSocket-Version: 13\r\n"},
    {"no key",
     ASK "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" KEY
         "$K\r\n\r\n",
     400, "\"code\":\"bad_request\""},
    {"a short key",
     ASK "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: "
         "13\r\nSec-WebSocket-Key: AAAA\r\n" KEY "$K\r\n\r\n",
     400, "\"code\":\"bad_request\""},
    {"HTTP/1.0", "GET /v1/agent/session?agent_id=door HTTP/1.0\r\nHost: x\r\n" WS KEY "$K\r\n\r\n",
     400, "\"code\":\"bad_request\""},
    {"no agent", "GET /v1/agent/session HTTP/1.1\r\nHost: x\r\n" WS KEY "$K\r\n\r\n", 422,
     "\"code\":\"invalid_field\""},
    {"an agent whose name is none",
     "GET /v1/agent/session?agent_id=%2F HTTP/1.1\r\nHost: x\r\n" WS KEY "$K\r\n\r\n", 422,
     "\"code\":\"invalid_field\""},
    {"no token", ASK WS "\r\n", 401, "\"code\":\"unauthenticated\""},
    {"an API key", ASK WS KEY "$A\r\n\r\n", 401, "\"code\":\"unauthenticated\""},
    {"a wrong token", ASK WS KEY "$W\r\n\r\n", 401, "\"code\":\"unauthenticated\""},
    {"another agent's token", ASK WS KEY "$O\r\n\r\n", 403, "\"code\":\"forbidden\""},
    {"an expired token", ASK WS KEY "$X\r\n\r\n", 401, "\"code\":\"unauthenticated\""},
    {"a revoked token", ASK WS KEY "$R\r\n\r\n", 401, "\"code\":\"unauthenticated\""},
    {"a disabled agent",
     "GET /v1/agent/session?agent_id=off HTTP/1.1\r\nHost: x\r\n" WS KEY "$D\r\n\r\n", 401,
     "\"code\":\"unauthenticated\""},
    {"another method",
     "POST /v1/agent/session?agent_id=door HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" KEY
     "$K\r\n\r\n",
     405, "Allow: GET"},
};

static const char *door_token(char which)
{
    static char wrong[TOKEN_TEXT_LEN + 1];
    const char *t;

    switch (which) {
    case 'A':
        return h.key;
    case 'O':
        return token_of("other");
    case 'X':
        return token_for("door", "now() - interval '1 second'");
    case 'R':
        t = token_of("door");
        ONE("UPDATE agent_auth_tokens SET status = 'revoked', revoked_at = now() WHERE prefix = "
            "'%.12s' RETURNING 1",
            t + 4);
        return t;
    case 'D':
        t = token_of("off");
        ONE("UPDATE agents SET enabled = false WHERE agent_id = 'off' RETURNING 1");
        return t;
    case 'W':
        snprintf(wrong, sizeof wrong, "%s", token_of("door"));
        wrong[TOKEN_TEXT_LEN - 3] ^= 1;
        return wrong;
    default:
        return token_of("door");
    }
}

START_TEST(the_door)
{
    _cleanup_(buf_release) struct buf ask = BUF(KiB(16));
    const char *dollar = strchr(doors[_i].request, '$');
    char answer[8192] = "";
    int fd = wire_open(h.hub_port);

    token_of("door");
    buf_append(&ask, doors[_i].request,
               dollar ? (size_t)(dollar - doors[_i].request) : strlen(doors[_i].request));
    if (dollar)
        buf_printf(&ask, "%s%s", door_token(dollar[1]), dollar + 2);
    ck_assert(wire_send(fd, ask.p, ask.len));
    ck_assert_msg(wire_read(fd, answer, sizeof answer, doors[_i].has, CLIENT_PATIENCE_MS), "%s: %s",
                  doors[_i].title, answer);
    ck_assert_msg(atoi(answer + 9) == doors[_i].status, "%s: %s", doors[_i].title, answer);
    if (doors[_i].status != 101)
        ck_assert_msg(strstr(answer, "application/problem+json") && strstr(answer, "X-Request-Id"),
                      "%s: %s", doors[_i].title, answer);
    close(fd);
}
END_TEST

START_TEST(wrong_tokens_do_not_keep_good_ones_out)
{
    enum { FLOOD = 60 };
    const char *token = token_of("good");
    struct client flood[FLOOD], c;
    char wrong[FLOOD][TOKEN_TEXT_LEN + 1], prefix[TOKEN_PREFIX_LEN + 1];

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < FLOOD; i++) {
            token_make(&TOKEN_AGENT, prefix, wrong[i]);
            client_ask(&flood[i], h.hub_port, "good", wrong[i]);
        }
        client_enter(&c, h.hub_port, "good", token);
        client_leave(&c);
        for (int i = 0; i < FLOOD; i++) {
            int code = client_code(&flood[i]);

            ck_assert_msg(code == 401 || code == 429 || code == 503, "a wrong token: %d %s", code,
                          flood[i].reason);
            client_drop(&flood[i]);
        }
    }
}
END_TEST

/* One good token does not take all the connections that the hub has: beyond a few that say nothing, it waits. */
START_TEST(one_token_begins_a_few_sessions)
{
    enum { MANY = 40 };
    const char *token = token_of("many");
    struct client all[MANY], c;
    int begun = 0;

    for (int i = 0; i < MANY; i++)
        client_ask(&all[i], h.hub_port, "many", token);
    for (int i = 0; i < MANY; i++) {
        client_wait(all[i].opened || all[i].closed);
        begun += all[i].opened;
        ck_assert_msg(all[i].opened || all[i].code == 503, "%d %s", all[i].code, all[i].reason);
    }
    ck_assert_int_eq(begun, 16);
    client_enter(&c, h.hub_port, "few", token_of("few")); /* the others do not notice */
    client_leave(&c);
    for (int i = 0; i < MANY; i++)
        client_drop(&all[i]);
}
END_TEST

/* ---------------------------------------------------------------- revoked */

START_TEST(a_revoked_token_ends_its_session)
{
    bool told = _i; /* by a note; otherwise PostgreSQL's notice makes the hub look */
    struct client c;
    char inbox[80];

    client_enter(&c, h.hub_port, "v1", token_of("v1"));
    snprintf(inbox, sizeof inbox, "mw:hub:{%s}",
             ONE("SELECT hub_instance_id FROM agents WHERE agent_id = 'v1'"));
    if (told) {
        redis_one(h.stores.redis_url, "RPUSH %s {\"t\":\"revoked\",\"a\":\"v1\",\"k\":null}",
                  inbox);
        client_hear(&c, "error");
        ck_assert_str_eq(client_text(&c, "code"), "revoked");
        ck_assert_int_eq(client_code(&c), 4003);
    } else {
        ONE("WITH a AS (UPDATE agents SET status = 'inactive', session_id = NULL, hub_instance_id "
            "= NULL, registered_at = NULL, "
            "token_id = NULL, enabled = false WHERE agent_id = 'v1' RETURNING 1) "
            "UPDATE agent_auth_tokens SET status = 'revoked', revoked_at = now() WHERE agent_id = "
            "'v1' RETURNING 1");
        ck_assert_int_eq(client_code(&c), 4003);
        ONE("UPDATE agents SET enabled = true WHERE agent_id = 'v1' RETURNING 1");
    }
    client_drop(&c);
}
END_TEST

/* What a session stands on: the token's time, the tenant. Nobody revokes anything. */
START_TEST(a_session_does_not_outlive_its_right)
{
    static const char *const ends[][2] = {
        {"UPDATE agent_auth_tokens SET expires_at = now() WHERE agent_id = 'out' RETURNING 1",
         "SELECT 1"},
        {"UPDATE tenants SET enabled = false WHERE name = 'demo' RETURNING 1",
         "UPDATE tenants SET enabled = true WHERE name = 'demo' RETURNING 1"},
    };
    struct client c;

    client_enter(&c, h.hub_port, "out", token_of("out"));
    ONE("%s", ends[_i][0]);
    client_hear(&c, "error");
    ONE("%s", ends[_i][1]);
    ck_assert_str_eq(client_text(&c, "code"), "revoked");
    ck_assert_int_eq(client_code(&c), 4003);
    client_drop(&c);
    ck_wait(!ONE("SELECT session_id FROM agents WHERE agent_id = 'out' AND session_id IS NOT NULL"),
            CLIENT_PATIENCE_MS);
}
END_TEST

int main(void)
{
    const struct unit_row rows[] = {
        {"the door", the_door, COUNT(doors)},
        {"a flood", wrong_tokens_do_not_keep_good_ones_out},
        {"a few at once", one_token_begins_a_few_sessions},
        {"revoked", a_revoked_token_ends_its_session, 2},
        {"a right that ends", a_session_does_not_outlive_its_right, 2},
    };

    return session_main("session_door", rows, COUNT(rows));
}

/* test_session_mtls.c - an agent's session behind the mTLS door: two proofs, and what ends it when one of them is taken back. */
#include "secure/token.h"
#include "tests/e2e/mtls.h"
#include "tests/e2e/session_client.h"
#include "tests/unit/unit.h"

static struct mtls m;

#define ONE(...) pg_one(m.house.stores.database_url, __VA_ARGS__)

/* An agent with a token, as an operator makes it; the token in one of 8 buffers in turn. */
static const char *token_of(const char *agent_id)
{
    static char texts[8][TOKEN_TEXT_LEN + 1];
    static unsigned turn;
    char *text = texts[turn++ % COUNT(texts)];

    if (!ONE("SELECT 1 FROM agents WHERE agent_id = '%s'", agent_id))
        ck_assert_int_eq(house_cli(&m.house, NULL, "agent", "add", agent_id, "--tenant", "demo",
                                   "--type", "cpe", NULL),
                         0);
    snprintf(text, sizeof texts[0], "%s",
             house_cli_field(&m.house, "token", "agent", "token", "add", agent_id, "--json", NULL));
    return text;
}

static void identity(const char *name, const char *role, const char *agent)
{
    folder_issue(&m.ca, name, CA_AGENT);
    if (role && house_cli(&m.house, NULL, "identity", "add", name, "--tenant", "demo", "--role",
                          role, "--agent", agent, NULL) != 0)
        support_die("identity %s cannot be added", name);
}

static struct tls *tls_as(const char *name)
{
    struct tls_files files = {.cert = mtls_crt(&m.ca, name),
                              .key = mtls_key(&m.ca, name),
                              .ca = folder_path(&m.ca, "ca.crt")};
    struct tls *t = NULL;

    folder_ok(&m.ca, tls_new(&m.ca.cx, TLS_CLIENT, &files, &t));
    return t;
}

static void ask(struct client *c, const char *cert, const char *agent_id, const char *token)
{
    struct tls *t = tls_as(cert);

    client_ask_over(c, SSL_new(tls_ctx(t)), m.port, agent_id, token);
    tls_free(t);
}

static const struct {
    const char *title, *cert, *agent;
    bool token;
    int want; /* 101: a session */
} doors[] = {
    {"its own certificate", "cpe-1", "cpe-1", true, 101},
    {"a certificate that is bound to nobody", "fleet", "cpe-1", true, 101},
    {"a certificate of another agent", "cpe-1", "cpe-2", true, 403},
    {"no token", "cpe-1", "cpe-1", false, 401},
    {"a certificate that nobody knows", "stranger", "cpe-1", true, 403},
    {"a certificate without the permission", "front", "cpe-1", true, 403},
};

START_TEST(two_proofs)
{
    struct client c;

    ask(&c, doors[_i].cert, doors[_i].agent, doors[_i].token ? token_of(doors[_i].agent) : NULL);
    client_wait(c.opened || c.closed);
    ck_assert_msg((c.opened ? 101 : c.code) == doors[_i].want, "%s: %d %s", doors[_i].title, c.code,
                  c.reason);
    if (c.opened) {
        client_say(&c, "{\"type\":\"hello\"}");
        client_hear(&c, "welcome");
        client_say(&c, "{\"type\":\"heartbeat\"}");
        client_hear(&c, "heartbeat");
        client_leave(&c);
    } else {
        client_drop(&c);
    }
}
END_TEST

START_TEST(a_revoked_certificate_ends_its_session)
{
    struct client gone, stays;

    identity("lost", "agent", "");
    ask(&gone, "lost", "lost-1", token_of("lost-1"));
    ask(&stays, "fleet", "cpe-1", token_of("cpe-1"));
    client_wait(gone.opened && stays.opened);
    client_say(&gone, "{\"type\":\"hello\"}");
    client_hear(&gone, "welcome");
    client_say(&stays, "{\"type\":\"hello\"}");
    client_hear(&stays, "welcome");
    folder_revoke(&m.ca, "lost");
    mtls_hup(&m, HUB);
    client_hear(&gone, "error");
    ck_assert_str_eq(client_text(&gone, "code"), "revoked");
    ck_assert_int_eq(client_code(&gone), 4003);
    client_say(&stays, "{\"type\":\"heartbeat\"}");
    client_hear(&stays, "heartbeat");
    client_drop(&gone);
    client_leave(&stays);
}
END_TEST

/* A token is revoked by hand: the session ends at once, on whichever process it is. */
START_TEST(a_revoked_token_ends_its_session)
{
    struct client c;

    ask(&c, "fleet", "cpe-3", token_of("cpe-3"));
    client_wait(c.opened);
    client_say(&c, "{\"type\":\"hello\"}");
    client_hear(&c, "welcome");
    ck_assert_int_eq(
        house_cli(&m.house, NULL, "agent", "token", "revoke", "cpe-3",
                  ONE("SELECT token_id FROM agent_auth_tokens WHERE agent_id = 'cpe-3'"), NULL),
        0);
    client_hear(&c, "error");
    ck_assert_str_eq(client_text(&c, "code"), "revoked");
    ck_assert_int_eq(client_code(&c), 4003);
    client_drop(&c);
}
END_TEST

/* What an operator does to the identity of a certificate that is good as ever. */
static const char *const ends[][8] = {
    {"identity", "set", "mine", "--tenant", "demo", "--disable"},
    {"identity", "set", "mine", "--tenant", "demo", "--role", "front"},
    {"identity", "set", "mine", "--tenant", "demo", "--agent", "somebody-else"},
    {"identity", "rm", "mine", "--tenant", "demo"},
};

START_TEST(a_session_does_not_outlive_its_identity)
{
    const char *const *w = ends[_i];
    struct client gone, stays;

    house_cli(&m.house, NULL, "identity", "rm", "mine", "--tenant", "demo", NULL);
    ck_assert_int_eq(house_cli(&m.house, NULL, "identity", "add", "mine", "--tenant", "demo",
                               "--role", "agent", NULL),
                     0);
    ask(&stays, "fleet", "cpe-1", token_of("cpe-1"));
    ask(&gone, "mine", "mine-1", token_of("mine-1"));
    client_wait(gone.opened && stays.opened);
    client_say(&gone, "{\"type\":\"hello\"}");
    client_hear(&gone, "welcome");
    client_say(&stays, "{\"type\":\"hello\"}");
    client_hear(&stays, "welcome");
    ck_assert_int_eq(
        house_cli(&m.house, NULL, w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], NULL), 0);
    client_hear(&gone, "error");
    ck_assert_str_eq(client_text(&gone, "code"), "revoked");
    ck_assert_int_eq(client_code(&gone), 4003);
    client_say(&stays, "{\"type\":\"heartbeat\"}");
    client_hear(&stays, "heartbeat");
    client_drop(&gone);
    client_leave(&stays);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("session_mtls");
    const struct unit_row rows[] = {
        {"two proofs", two_proofs, COUNT(doors)},
        {"revoked certificate", a_revoked_certificate_ends_its_session},
        {"revoked token", a_revoked_token_ends_its_session},
        {"identity", a_session_does_not_outlive_its_identity, COUNT(ends)},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        TCase *tc = tcase_create(rows[i].title);

        tcase_add_loop_test(tc, rows[i].test, 0, rows[i].loops ? (int)rows[i].loops : 1);
        suite_add_tcase(s, tc);
    }
    mtls_open(&m, NULL);
    clients_begin();
    identity("cpe-1", "agent", "cpe-1");
    identity("fleet", "agent", "");
    identity("front", "front", "");
    identity("stranger", NULL, NULL);
    identity("mine", NULL, NULL);
    int failed = suite_run_unforked(s);
    clients_end();
    failed += mtls_close(&m);
    return support_end(failed);
}

/* ops_access.c - the part of test_ops about who may what: roles, identities, and what was refused. */
#include "tests/e2e/ops_world.h"
#include <string.h>

#define ROLE_FIELDS "name:s permissions:s commands:s? holders:n updated_at:s id:s tenant_id:s"
#define IDENTITY_FIELDS                                                                            \
    "name:s roles:s? agent_id:s? enabled:b created_at:s last_used_at:s? id:s tenant_id:s"

START_TEST(roles)
{
    done(CLI_WITH(&h, .expect = "role_ls", "role", "ls", "--tenant", "cedar")); /* born with it */

    AUTO(made) = CLI(&h, "role", "add", "reader", "--permissions", "requests:*", "--commands",
                     "get_*,show_*", "--tenant", "cedar", "--json");
    cli_fields(made.json, ROLE_FIELDS);
    ck_assert_str_eq(cli_text(&made, "commands"), "get_*,show_*");
    done(CLI(&h, "role", "add", "spare", "--permissions", "orders:read", "--tenant", "cedar"));
    AUTO(set) =
        CLI(&h, "role", "set", "reader", "--commands", "get_*", "--tenant", "cedar", "--json");
    cli_fields(set.json, ROLE_FIELDS);
    ck_assert_str_eq(cli_text(&set, "permissions"), "requests:*");
    done(CLI_WITH(&h, .expect = "role_set", "role", "set", "reader", "--permissions",
                  "requests:*,agents:read", "--tenant", "cedar"));
    AUTO(all) = CLI(&h, "role", "ls", "--json");
    cli_fields(all.json, ROLE_FIELDS);

    refused(CLI(&h, "role", "add", "reader", "--permissions", "*", "--tenant", "cedar"), 1,
            "there is a role 'reader' already");
    refused(CLI(&h, "role", "add", "x", "--permissions", "orders:fly", "--tenant", "cedar"), 1,
            "'orders:fly' is no permission");
    refused(CLI(&h, "role", "add", "x", "--permissions", "*", "--commands", "rm -rf/", "--tenant",
                "cedar"),
            1, "'-rf/' is no pattern of commands");
    refused(CLI(&h, "role", "set", "reader", "--tenant", "cedar"), 2, "say what changes");
    refused(CLI(&h, "role", "set", "nobody", "--permissions", "*", "--tenant", "cedar"), 1,
            "there is no role 'nobody'");
    done(CLI(&h, "role", "rm", "spare", "--tenant", "cedar"));
    refused(CLI(&h, "role", "rm", "spare", "--tenant", "cedar"), 1, "there is no role 'spare'");
}
END_TEST

START_TEST(identities)
{
    AUTO(made) = CLI(&h, "identity", "add", "urn:test:front-1", "--role", "reader, front",
                     "--tenant", "cedar", "--json");
    cli_fields(made.json, IDENTITY_FIELDS);
    ck_assert_str_eq(cli_text(&made, "roles"), "front,reader");
    done(CLI(&h, "identity", "add", "core-1.example.net", "--role", "agent", "--agent", "core-1",
             "--tenant", "cedar"));
    AUTO(off) = CLI(&h, "identity", "set", "urn:test:front-1", "--disable", "--role", "reader",
                    "--tenant", "cedar", "--json");
    cli_fields(off.json, IDENTITY_FIELDS);
    done(CLI_WITH(&h, .expect = "identity_set", "identity", "set", cli_text(&made, "id"),
                  "--enable", "--agent", "core-2", "--tenant", "cedar"));
    done(CLI_WITH(&h, .expect = "identity_ls", "identity", "ls", "--tenant", "cedar"));
    AUTO(all) = CLI(&h, "identity", "ls", "--json");
    cli_fields(all.json, IDENTITY_FIELDS);

    refused(CLI(&h, "identity", "add", "urn:test:front-1", "--tenant", "cedar"), 1,
            "there is an identity 'urn:test:front-1' already");
    refused(CLI(&h, "identity", "add", "no\tname", "--tenant", "cedar"), 1,
            "must be a name as a certificate has it");
    refused(CLI(&h, "identity", "add", "x", "--role", "pilot", "--tenant", "cedar"), 1,
            "there is no role 'pilot'");
    refused(CLI(&h, "identity", "add", "x", "--agent", "-x", "--tenant", "cedar"), 1,
            "an agent's id has");
    refused(CLI(&h, "identity", "set", "urn:test:front-1", "--tenant", "cedar"), 2,
            "say what changes");
    refused(CLI(&h, "identity", "set", "urn:test:front-1", "--enable", "--disable", "--tenant",
                "cedar"),
            2, "not both");
    refused(CLI(&h, "role", "rm", "reader", "--tenant", "cedar"), 1, "hold the role 'reader'");
    done(CLI(&h, "identity", "rm", "urn:test:front-1", "--tenant", "cedar", "--json"));
    refused(CLI(&h, "identity", "rm", "urn:test:front-1", "--tenant", "cedar"), 1,
            "there is no identity");
    done(CLI(&h, "identity", "rm", "core-1.example.net", "--tenant", "cedar"));
}
END_TEST

START_TEST(keys_hold_roles)
{
    AUTO(made) = CLI_WITH(&h, .reveals = true, "key", "add", "by role", "--role", "reader",
                          "--tenant", "cedar", "--json");
    ck_assert_str_eq(cli_text(&made, "roles"), "reader");
    refused(CLI(&h, "key", "add", "x", "--role", "pilot", "--tenant", "cedar"), 1,
            "there is no role 'pilot'");
    done(CLI(&h, "key", "revoke", cli_text(&made, "id")));
    refused(CLI(&h, "role", "rm", "reader", "--tenant", "cedar"), 1, "1 identities and keys hold");
    pg_one(DB, "DELETE FROM api_key_roles RETURNING 1");
    done(CLI(&h, "role", "rm", "reader", "--tenant", "cedar", "--json"));
}
END_TEST

START_TEST(refusals)
{
    pg_one(DB,
           "INSERT INTO security_events (at, kind, door, identity, source, route, detail, times) "
           "VALUES ('2026-01-05T10:11:12Z', 'no_credentials', 'web', NULL, '10.1.2.3', 'GET "
           "/v1/orders', 'no credentials were sent', 7), ('2026-01-05T10:11:13Z', 'forbidden', "
           "'mtls', 'cert:x', '2001:db8::1', 'GET /v1/dlq', 'lacks dlq:read', 1) RETURNING 1");
    done(CLI_WITH(&h, .expect = "security_ls", "security", "ls", "--since", "2026-01-05T00:00:00Z",
                  "--source", "10.0.0.0/8"));
    AUTO(list) = CLI(&h, "security", "ls", "--kind", "forbidden", "--source", "2001:db8::1",
                     "--limit", "1", "--json");
    cli_fields(list.json,
               "at:s kind:s door:s source:s? identity:s? route:s? times:n detail:s? id:s "
               "tenant_id:s?");
    ck_assert_int_eq(cJSON_GetArraySize(list.json), 1);
    refused(CLI(&h, "security", "ls", "--source", "everywhere"), 1, "must be an address or a net");
    refused(CLI(&h, "security", "ls", "--since", "yesterday"), 2, "--since must be a time");
    refused(CLI(&h, "security", "ls", "--after", "x"), 2, "--after must be a number");
    AUTO(none) = CLI(&h, "security", "ls", "--after", "1", "--json");
    ck_assert_str_eq(none.out, "[]\n");
}
END_TEST

size_t access_tests(struct e2e_row *rows)
{
    const struct e2e_row own[] = {
        {"roles", roles},
        {"identities", identities},
        {"keys hold roles", keys_hold_roles},
        {"refusals", refusals},
    };

    memcpy(rows, own, sizeof own);
    return COUNT(own);
}

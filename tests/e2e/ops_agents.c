/* ops_agents.c - agents and their tokens, commands to them, the black box and its chain. No worker and
 * no agent runs: what is sent waits, and is taken back. */
#include "tests/e2e/ops_world.h"

#define AGENT                                                                                      \
    "agent_id:s status:s type:s version:s? ip:s? load:n failures:n last_seen_at:s? enabled:b "     \
    "registered_at:s? first_seen_at:s? cooldown_until:s? hub:s? session:s? metadata:o "            \
    "provisioned:o created_at:s tenant_id:s"
#define REQUEST                                                                                    \
    "request_id:s status:s command:s agent:s? wanted:s sends:n error_code:s? created_at:s "        \
    "completed_at:s? error:s? by:s payload:o result:o? deadline:s job_id:s tenant_id:s"

START_TEST(agents)
{
    AUTO(made) = CLI(&h, "agent", "add", "cpe-1", "--tenant", "demo", "--type", "cpe", "--metadata",
                     "{\"site\":\"north\"}", "--json");
    cli_fields(made.json, AGENT);
    ck_assert_str_eq(cli_text(&made, "status"), "inactive");
    done(CLI(&h, "agent", "add", "core-1", "--tenant", "demo", "--type", "switch"));
    refused(CLI(&h, "agent", "add", "cpe-1", "--tenant", "cedar", "--type", "cpe"), 1, "agent_id");
    refused(CLI(&h, "agent", "add", "no/slash", "--tenant", "demo", "--type", "cpe"), 1,
            "agent_id");
    refused(CLI(&h, "agent", "add", "x", "--tenant", "demo"), 2, "needs --type VALUE");
    refused(CLI(&h, "agent", "add", "x", "--tenant", "demo", "--type", "cpe", "--metadata", "[1]"),
            1, "metadata");

    done(CLI_WITH(&h, .expect = "agent_ls", "agent", "ls", "--tenant", "demo"));
    AUTO(north) = CLI(&h, "agent", "ls", "--match", "{\"site\":\"north\"}", "--type", "cpe",
                      "--status", "inactive", "--json");
    cli_fields(north.json, AGENT);
    ck_assert_int_eq(cJSON_GetArraySize(north.json), 1);
    AUTO(none) = CLI(&h, "agent", "ls", "--type", "nothing", "--json");
    ck_assert_str_eq(none.out, "[]\n");
    refused(CLI(&h, "agent", "ls", "--status", "asleep"), 1, "status");

    done(CLI(&h, "agent", "show", "cpe-1"));
    AUTO(shown) = CLI(&h, "agent", "show", "core-1", "--json");
    cli_fields(shown.json, AGENT);
    refused(CLI(&h, "agent", "show", "nobody"), 1, "no such agent");

    done(CLI(&h, "agent", "set", "cpe-1", "--type", "cpe-v2"));
    AUTO(set) = CLI(&h, "agent", "set", "cpe-1", "--metadata", "{\"site\":\"south\"}", "--json");
    ck_assert_str_eq(cli_text(&set, "metadata.site"), "south");
    ck_assert_str_eq(cli_text(&set, "type"), "cpe-v2");
    refused(CLI(&h, "agent", "set", "cpe-1"), 2, "say what to change");
    done(CLI(&h, "agent", "disable", "core-1"));
    AUTO(on) = CLI(&h, "agent", "enable", "core-1", "--json");
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(on.json, "enabled")));
    AUTO(off) = CLI(&h, "agent", "disable", "core-1", "--json");
    ck_assert(cJSON_IsFalse(cJSON_GetObjectItem(off.json, "enabled")));
    done(CLI(&h, "agent", "enable", "core-1"));
}
END_TEST

START_TEST(tokens)
{
    AUTO(first) = CLI(&h, "agent", "token", "add", "cpe-1", "--json");
    cli_fields(first.json, "token_id:s agent_id:s expires_at:s? token:s");
    ck_assert_int_eq(strncmp(cli_text(&first, "token"), "mwa_", 4), 0);
    cli_secret(cli_text(&first, "token"));
    AUTO(second) = CLI(&h, "agent", "token", "add", "cpe-1", "--expires", "90d", "--grace", "1h");
    ck_assert_msg(strstr(second.out, "mwa_") && strstr(second.err, "not shown again"), "%s%s",
                  second.out, second.err);
    refused(CLI(&h, "agent", "token", "add", "nobody"), 1, "no such agent");

    AUTO(people) = CLI(&h, "agent", "token", "ls", "cpe-1");
    AUTO(all) = CLI(&h, "agent", "token", "ls", "cpe-1", "--json");
    cli_fields(all.json, "token_id:s prefix:s status:s created_at:s last_used_at:s? expires_at:s? "
                         "revoked_at:s?");
    ck_assert_int_eq(cJSON_GetArraySize(all.json), 2);
    ck_assert_ptr_nonnull(cJSON_GetStringValue(cJSON_GetObjectItem(
        cJSON_GetArrayItem(all.json, 1), "expires_at"))); /* the first one's grace */
    AUTO(waits) = CLI(&h, "agent", "show", "cpe-1", "--json");
    ck_assert_str_eq(cli_text(&waits, "status"), "pending_activation");

    AUTO(gone) =
        CLI(&h, "agent", "token", "revoke", "cpe-1", cli_text(&first, "token_id"), "--json");
    cli_fields(gone.json, "revoked:b session_ended:b");
    done(CLI(&h, "agent", "token", "revoke", "cpe-1", "--all"));
    refused(CLI(&h, "agent", "token", "revoke", "cpe-1"), 2, "a token's id, or --all");
    refused(CLI(&h, "agent", "token", "revoke", "core-1", cli_text(&first, "token_id")), 1, "");
    AUTO(left) = CLI(&h, "agent", "ls", "--status", "pending_activation", "--json");
    ck_assert_int_eq(pg_one_int(DB, "SELECT count(*) FROM agent_auth_tokens WHERE status = "
                                    "'active'"),
                     0);
}
END_TEST

START_TEST(requests)
{
    AUTO(sent) = CLI(&h, "request", "send", "reboot", "--tenant", "demo", "--agent", "cpe-1",
                     "--payload", "{\"delay\":5}", "--timeout", "1h", "--json");
    cli_fields(sent.json, REQUEST);
    const char *id = cli_text(&sent, "request_id");
    ck_assert_str_eq(cli_text(&sent, "status"), "pending");
    done(CLI(&h, "request", "send", "get_status", "--tenant", "demo", "--type", "cpe-v2", "--match",
             "{\"site\":\"south\"}"));
    refused(CLI(&h, "request", "send", "reboot", "--tenant", "demo", "--agent", "nobody"), 1,
            "agent_id");
    refused(CLI(&h, "request", "send", "reboot", "--tenant", "demo"), 2, "say for whom");
    refused(CLI(&h, "request", "send", "reboot", "--tenant", "demo", "--agent", "cpe-1", "--type",
                "cpe"),
            2, "not both");
    refused(CLI(&h, "request", "send", "re boot", "--tenant", "demo", "--agent", "cpe-1"), 1,
            "command");
    refused(CLI(&h, "request", "send", "reboot", "--tenant", "demo", "--agent", "cpe-1",
                "--payload", "{"),
            1, "");
    refused(CLI(&h, "request", "send", "reboot", "--tenant", "demo", "--agent", "cpe-1", "--wait",
                "300ms"),
            1, "is still pending");

    done(CLI(&h, "request", "ls", "--status", "pending"));
    AUTO(all) = CLI(&h, "request", "ls", "--command", "reboot", "--limit", "1", "--json");
    cli_fields(all.json, REQUEST);
    ck_assert_int_eq(cJSON_GetArraySize(all.json), 1);
    ck_assert_ptr_nonnull(strstr(all.err, "more: --after "));
    refused(CLI(&h, "request", "ls", "--status", "lost"), 1, "status");

    done(CLI_WITH(&h, .expect = "request_show", "request", "show", id));
    AUTO(shown) = CLI(&h, "request", "show", id, "--json");
    cli_fields(cJSON_GetObjectItem(shown.json, "request"), REQUEST);
    cli_fields(cJSON_GetObjectItem(shown.json, "timeline"),
               "at:s step:s agent:s? actor:s detail:s?");
    refused(CLI(&h, "request", "show", "01a00000-0000-7000-8000-00000000000a"), 1, "");

    AUTO(back) = CLI(&h, "request", "cancel", id, "--json");
    ck_assert_str_eq(cli_text(&back, "status"), "cancelled");
    AUTO(other) = CLI(&h, "request", "ls", "--status", "pending", "--json");
    done(CLI(&h, "request", "cancel", cli_text(&other, "0.request_id")));
}
END_TEST

/* A superuser with the triggers off; the statement must change something. */
static void behind_the_back(const char *sql)
{
    pg_one(DB, "SET session_replication_role = replica");
    ck_assert_ptr_nonnull(pg_one(DB, "%s", sql));
    pg_one(DB, "SET session_replication_role = origin");
}

START_TEST(the_black_box)
{
    done(CLI_WITH(&h, .expect = "history_ls", "history", "ls"));
    AUTO(all) = CLI(&h, "history", "ls", "--agent", "cpe-1", "--json");
    AUTO(some) = CLI(&h, "history", "ls", "--command", "reboot", "--status", "failed", "--since",
                     "2026-01-01T00:00:00Z", "--limit", "1", "--json");
    cli_fields(some.json, "seq:n status:s command:s agent:s? requested_by:s created_at:s "
                          "completed_at:s payload:o response:o job_id:s request_id:s "
                          "requested_by_user_id:s? archived_at:s tenant_id:s");
    refused(CLI(&h, "history", "ls", "--since", "yesterday"), 2, "2026-01-05T10:11:12Z");

    done(CLI(&h, "audit", "verify"));
    AUTO(whole) = CLI(&h, "audit", "verify", "--json");
    cli_fields(cJSON_GetObjectItem(whole.json, "verdict"),
               "whole:b rows:n first_seq:n last_seq:n faults:n anchor:s");
    ck_assert_int_ge(
        cJSON_GetObjectItem(cJSON_GetObjectItem(whole.json, "verdict"), "rows")->valueint, 2);
    const char *anchor = cli_text(&whole, "verdict.anchor");
    done(CLI(&h, "audit", "verify", "--anchor", anchor));
    refused(CLI(&h, "audit", "verify", "--anchor", "12"), 2, "SEQ:HASH");

    const char *job = pg_one(DB, "SELECT job_id FROM command_history WHERE seq = 1");
    behind_the_back("UPDATE command_history SET requested_by = 'nobody' WHERE seq = 1 RETURNING 1");
    AUTO(broken) = CLI_WITH(&h, .answers = true, "audit", "verify");
    ck_assert_msg(broken.status == 1 && strstr(broken.out, job) &&
                      strstr(broken.err, "not as it was written"),
                  "%d %s%s", broken.status, broken.out, broken.err);
    AUTO(json) = CLI_WITH(&h, .answers = true, "audit", "verify", "--json");
    ck_assert_msg(json.status == 1 && strstr(json.out, "\"whole\":false") && strstr(json.out, job),
                  "%d %s", json.status, json.out);
    behind_the_back(
        "UPDATE command_history h SET requested_by = r.requested_by_name FROM requests r "
        "WHERE r.job_id = h.job_id AND h.seq = 1 RETURNING 1");
    done(CLI(&h, "audit", "verify"));
    refused(CLI_WITH(&h, .answers = true, "audit", "verify", "--anchor",
                     "1:0000000000000000000000000000000000000000000000000000000000000000"),
            1, "not as it was written");
}
END_TEST

size_t agent_tests(struct e2e_row *rows)
{
    const struct e2e_row own[] = {
        {"agents", agents},
        {"their tokens", tokens},
        {"requests", requests},
        {"the black box", the_black_box},
    };

    memcpy(rows, own, sizeof own);
    return COUNT(own);
}

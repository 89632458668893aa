/* test_ops.c - `mihwar`, verb by verb, on stores of its own: what people read, what programs read,
 * what is refused, and what is on record afterwards. A worker runs only where one is needed. */
#include "tests/e2e/ops_world.h"

struct house h;

/* ---------------------------------------------------------------- schema, settings, stores */

START_TEST(the_schema)
{
    AUTO(people) = CLI(&h, "db", "status");
    AUTO(json) = CLI(&h, "db", "status", "--json");
    cli_fields(json.json, "step:n name:s state:s at:s?");
    done(CLI_WITH(&h, .unchanged = true, "db", "migrate"));
    AUTO(again) = CLI_WITH(&h, .unchanged = true, "db", "migrate", "--json");
    cli_fields(again.json, "applied:n");
    ck_assert_msg(strstr(people.out, "   1  tenants ") && strstr(people.out, "  applied  ") &&
                      !strstr(people.out, "missing"),
                  "%s", people.out);
}
END_TEST

START_TEST(a_schema_that_does_not_fit)
{
    char url[192];
    stores_new_database(&h.stores, "blank", NULL, url);
    _cleanup_(freep) char *setting = xasprintf("MIHWAR_DATABASE_URL=%s", url);
    const char *env[] = {setting, NULL};

    refused(CLI_WITH(&h, .env = env, "order", "ls"), 1, "no schema yet: run 'mihwar db migrate'");
    done(CLI_WITH(&h, .env = env, "db", "status"));
    done(CLI_WITH(&h, .env = env, "db", "migrate", "--json"));
    ck_assert_str_eq(pg_one(url, "SELECT actor || action FROM audit_log"), "cli:testerdb.migrate");
    AUTO(empty) = CLI_WITH(&h, .env = env, "order", "ls", "--json");
    ck_assert_str_eq(empty.out, "[]\n");

    pg_one(url, "INSERT INTO schema_steps SELECT number + 1, 'later', sha256, now(), 0 FROM "
                "schema_steps ORDER BY number DESC LIMIT 1 RETURNING 1");
    refused(CLI_WITH(&h, .env = env, "order", "ls"), 1, "older than the schema; run a newer");
    pg_one(url,
           "DELETE FROM schema_steps WHERE number >= (SELECT max(number) - 1 FROM schema_steps)");
    refused(CLI_WITH(&h, .env = env, "order", "ls"), 1, "run 'mihwar db migrate'");
}
END_TEST

static const struct {
    const char *title, *setting;
    const char *words[4];
    int status;
    const char *says;
} settings[] = {
    {"no database",
     "MIHWAR_DATABASE_URL=",
     {"order", "ls"},
     2,
     "set MIHWAR_DATABASE_URL or use --config FILE"},
    {"nobody there",
     "MIHWAR_DATABASE_URL=postgresql://x@127.0.0.1:1/x",
     {"order", "ls"},
     1,
     "127.0.0.1"},
    {"no Redis there",
     "MIHWAR_REDIS_URL=unix:/nowhere/redis.sock",
     {"queue", "ls"},
     1,
     "/nowhere/redis.sock"},
    {"no keys", "MIHWAR_SEAL_KEYS=", {"tenant", "add", "x"}, 2, "seal_keys"},
    {"a key file that is not there",
     "MIHWAR_SEAL_KEYS=@/nowhere",
     {"tenant", "add", "x"},
     2,
     "/nowhere"},
    {"another key",
     "MIHWAR_SEAL_KEYS=k7:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
     {"tenant", "secret"},
     1,
     "k1"},
    {"a settings file that is not there",
     "MIHWAR_CONFIG=/nowhere.ini",
     {"order", "ls"},
     2,
     "/nowhere.ini"},
    {"a setting that is none", "MIHWAR_LEASE=soon", {"order", "ls"}, 2, "lease"},
};

START_TEST(settings_that_do_not_fit)
{
    const char *env[] = {settings[_i].setting, NULL};
    AUTO(c) = cli_do(&(struct cli_run){.h = &h, .env = env, .words = settings[_i].words});

    ck_assert_msg(c.status == settings[_i].status && strstr(c.err, settings[_i].says),
                  "case: %s: %d %s", settings[_i].title, c.status, c.err);
    ck_assert_msg(!strstr(c.err, "ffffffff"), "case: %s shows a key", settings[_i].title);
}
END_TEST

START_TEST(an_answer_that_cannot_be_written)
{
    _cleanup_(freep) char *line = xasprintf("%s tenant ls >/dev/full", built("ops/mihwar"));
    const char *argv[] = {"/bin/sh", "-c", line, NULL};
    _cleanup_(freep) char *out = NULL, *err = NULL;
    const struct proc_opts o = {.name = "sh", .argv = argv, .env = h.env};

    ck_assert_int_eq(proc_run(&o, NULL, 20000, &out, &err), 1);
    ck_assert_msg(strstr(err, "cannot be written: No space left") != NULL, "%s", err);
}
END_TEST

static const struct {
    const char *words[8];
    const char *says;
} usages[] = {
    {{"order", "show"}, "usage: mihwar order show ID|REFERENCE"},
    {{"order", "ls", "--sideways"}, "does not take --sideways"},
    {{"order", "ls", "--limit", "many"}, "--limit must be a whole number from 1 to 500"},
    {{"order", "ls", "--since", "yesterday"}, "2026-01-05T10:11:12Z"},
    {{"order", "resolve", "x", "--as", "failed"}, "needs --note VALUE"},
    {{"key", "add", "k", "--permissions", "orders:fly"},
     "there is no permission 'orders:fly'; there are orders:read,"},
    {{"key", "add", "k", "--permissions", ""}, "--permissions is empty"},
    {{"key", "add", "k", "--expires", "never"}, "--expires must be a duration"},
    {{"provider", "add", "x", "--url", "http://a"}, "@FILE"},
    {{"provider", "breaker", "znet-a", "ajar"}, "'open' or 'close'"},
    {{"provider", "change", "znet-a"}, "say what to change"},
    {{"queue", "purge", "orders"}, "say --yes"},
    {{"dlq", "drop", "x"}, "say --yes"},
    {{"dlq", "replay"}, "say which: either ids, or"},
    {{"schedule", "add", "x", "y"}, "say either --every DURATION or --cron"},
    {{"top", "--every", "0"}, "--every must be a duration"},
};

START_TEST(usage_is_status_2)
{
    AUTO(c) = cli_do(&(struct cli_run){.h = &h, .words = usages[_i].words});

    ck_assert_msg(c.status == 2 && strstr(c.err, usages[_i].says), "%d %s", c.status, c.err);
}
END_TEST

/* ---------------------------------------------------------------- the record, the keys, the end */

START_TEST(the_record)
{
    AUTO(c) = CLI(&h, "audit", "ls", "--type", "order", "--limit", "5", "--json");
    cli_fields(c.json, "at:s actor:s action:s type:s object:s detail:o");
    ck_assert_int_eq(cJSON_GetArraySize(c.json), 5);
    AUTO(people) = CLI(&h, "audit", "ls", "--limit", "500");
    ck_assert_ptr_nonnull(strstr(people.out, "integration.breaker"));
    AUTO(none) = CLI(&h, "audit", "ls", "--object", "nothing", "--json");
    ck_assert_str_eq(none.out, "[]\n");
    ck_assert_int_eq(pg_one_int(DB, "SELECT count(*) FROM audit_log WHERE detail::text ~ "
                                    "'PIN-|s3cret|t0ken|mwk_'"),
                     0);
}
END_TEST

#define K1 "k1:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define K2 "k2:ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

START_TEST(the_keys_rotate)
{
    static const char *const both[] = {"MIHWAR_SEAL_KEYS=" K2 "," K1, NULL};
    static const char *const second[] = {"MIHWAR_SEAL_KEYS=" K2, NULL};
    const char *order = pg_one(DB, "SELECT id FROM product_orders WHERE pin_codes IS NOT NULL");

    AUTO(before) = CLI_WITH(&h, .reveals = true, "tenant", "secret", "--tenant", "cedar", "--json");
    done(CLI_WITH(&h, .expect = "seal_ls", "seal", "ls"));
    AUTO(rotated) = CLI_WITH(&h, .env = both, "seal", "rotate", "--json");
    ck_assert_int_eq(rotated.status, 0);
    cli_fields(rotated.json, "key:s resealed:n");
    ck_assert_int_gt(cJSON_GetObjectItem(rotated.json, "resealed")->valueint, 8);
    AUTO(left) = CLI(&h, "seal", "ls", "--json");
    cli_fields(left.json, "place:s key:s values:n");
    ck_assert_msg(!strstr(left.out, "\"k1\""), "%s", left.out);
    AUTO(again) = CLI_WITH(&h, .env = both, "seal", "rotate");
    ck_assert_str_eq(again.out, "0 values sealed anew; all are under key k2\n");

    AUTO(after) = cli_do(&(struct cli_run){
        .h = &h,
        .env = second,
        .reveals = true,
        .words = (const char *const[]){"tenant", "secret", "--tenant", "cedar", "--json", NULL}});
    ck_assert_str_eq(cli_text(&after, "webhook_secret"), cli_text(&before, "webhook_secret"));
    ck_assert(house_down(&h, HUB));
    house_set(&h, "MIHWAR_SEAL_KEYS=" K2);
    house_up(&h, HUB);
    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/v1/orders/%s", order);
    ck_assert_str_eq(web_text(&r, "pin_codes.0"), "PIN-8-one");
    ck_assert_str_eq(web_text(&r, "pin_codes.1"), "PIN-8-two");

    pg_one(DB,
           "UPDATE tenants SET webhook_secret = 'v1.k9.AAAA' WHERE name <> 'cedar' RETURNING 1");
    refused(CLI(&h, "seal", "rotate"), 1, "2 could not be opened and were left");
}
END_TEST

START_TEST(every_verb_was_done)
{
    ck_assert_msg(*cli_missing() == 0, "%s", cli_missing());
}
END_TEST

int main(void)
{
    const struct e2e_row first[] = {
        {"the schema", the_schema},
        {"a schema that does not fit", a_schema_that_does_not_fit},
        {"settings that do not fit", settings_that_do_not_fit, COUNT(settings)},
        {"an answer that cannot be written", an_answer_that_cannot_be_written},
        {"usage is status 2", usage_is_status_2, COUNT(usages)},
    };
    const struct e2e_row last[] = {
        {"the record", the_record},
        {"the keys rotate", the_keys_rotate},
        {"doctor", doctor_test()},
        {"every verb was done", every_verb_was_done},
    };
    struct e2e_row rows[64];
    size_t n = COUNT(first);

    memcpy(rows, first, sizeof first);
    n += shop_tests(rows + n);
    n += access_tests(rows + n);
    n += order_tests(rows + n);
    n += work_tests(rows + n);
    n += ca_tests(rows + n);
    n += agent_tests(rows + n);
    n += watch_tests(rows + n);
    memcpy(rows + n, last, sizeof last);
    return e2e_run("ops", &h, house_open, rows, n + COUNT(last));
}

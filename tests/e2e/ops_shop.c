/* ops_shop.c - a shop from nothing: tenants, keys, what is sold, through whom. */
#include "tests/e2e/ops_world.h"

#define PROVIDER                                                                                   \
    "name:s kind:s base_url:s enabled:b breaker:s paused_until:s? balance:s? balance_at:s? "       \
    "may_resend:b settings:o id:s"

START_TEST(tenants)
{
    done(CLI(&h, "tenant", "add", "cedar"));
    AUTO(made) = CLI(&h, "tenant", "add", "متجر الأرز", "--json");
    cli_fields(made.json, "id:s name:s enabled:b created_at:s");
    ck_assert_str_eq(cli_text(&made, "name"), "متجر الأرز");
    refused(CLI(&h, "tenant", "add", "cedar"), 1, "name: there is a tenant 'cedar' already");
    refused(CLI(&h, "tenant", "add", ""), 1, "name: must have 1 to 120 characters");
    done(CLI_WITH(&h, .expect = "tenant_ls", "tenant", "ls"));
    AUTO(all) = CLI(&h, "tenant", "ls", "--json");
    cli_fields(all.json, "id:s name:s enabled:b created_at:s");

    AUTO(secret) = CLI_WITH(&h, .reveals = true, "tenant", "secret", "--tenant", "cedar", "--json");
    cli_fields(secret.json, "tenant:s webhook_secret:s");
    cli_secret(cli_text(&secret, "webhook_secret"));
    AUTO(people) = CLI_WITH(&h, .reveals = true, "tenant", "secret", "--tenant", "cedar");
    ck_assert_ptr_nonnull(strstr(people.out, cli_text(&secret, "webhook_secret")));
    refused(CLI(&h, "tenant", "secret"), 2, "there are 3 tenants; say which with --tenant NAME");
    refused(CLI(&h, "tenant", "secret", "--tenant", "nobody"), 1, "there is no tenant 'nobody'");
}
END_TEST

static int with_key(const char *key, const char *method, const char *path)
{
    _cleanup_(freep) char *url = xasprintf("%s%s", h.url, path);
    _cleanup_(web_reply_release) struct web_reply r =
        web(.method = method, .url = url, .bearer = key, .body = "{}");
    return r.status;
}

START_TEST(keys)
{
    AUTO(made) =
        CLI_WITH(&h, .reveals = true, "key", "add", "front", "--tenant", "cedar", "--json");
    cli_fields(made.json, "id:s tenant:s name:s permissions:s? roles:s? expires_at:s? key:s");
    const char *key = cli_text(&made, "key");
    ck_assert_int_eq(with_key(key, "GET", "/v1/orders"), 200);
    ck_assert_int_eq(with_key(key, "GET", "/v1/dlq"), 403);
    cli_secret(key); /* shown once, and never again */
    ck_assert_int_eq(pg_one_int(DB, "SELECT count(*) FROM api_keys WHERE hash LIKE '%%%s%%'", key),
                     0);

    AUTO(people) = CLI_WITH(&h, .reveals = true, "key", "add", "till", "--tenant", "cedar",
                            "--permissions", "orders:read", "--expires", "90d");
    ck_assert_ptr_nonnull(strstr(people.err, "not shown again"));
    char *other = strstr(people.out, "mwk_");
    ck_assert_ptr_nonnull(other);
    other[strcspn(other, "\n")] = 0;

    done(CLI_WITH(&h, .expect = "key_ls", "key", "ls", "--tenant", "cedar"));
    AUTO(all) = CLI(&h, "key", "ls", "--json");
    cli_fields(all.json, "prefix:s name:s permissions:s? roles:s? created_at:s last_used_at:s? "
                         "expires_at:s? revoked_at:s? id:s tenant_id:s");

    char prefix[13] = "";
    memcpy(prefix, other + 4, 12);
    done(CLI(&h, "key", "revoke", prefix));
    ck_assert_int_eq(with_key(other, "GET", "/v1/orders"), 401);
    done(CLI_WITH(&h, .unchanged = true, "key", "revoke", other)); /* as it leaked */
    done(CLI(&h, "key", "revoke", cli_text(&made, "id"), "--json"));
    refused(CLI(&h, "key", "revoke", "nosuchprefix"), 1, "there is no such key");
}
END_TEST

START_TEST(products_and_packages)
{
    done(CLI(&h, "product", "add", "PUBG Mobile", "--tenant", "cedar"));
    AUTO(made) = CLI(&h, "product", "add", "شدات", "--tenant", "cedar", "--json");
    cli_fields(made.json, "id:s name:s enabled:b created_at:s");
    done(CLI_WITH(&h, .expect = "product_ls", "product", "ls", "--tenant", "cedar"));
    AUTO(products) = CLI(&h, "product", "ls", "--tenant", "cedar", "--json");
    cli_fields(products.json, "id:s name:s enabled:b created_at:s");

    const char *fields = "id:s product:s name:s enabled:b routed:b created_at:s";
    done(CLI(&h, "package", "add", "PUBG Mobile", "60 UC", "--tenant", "cedar"));
    AUTO(pack) = CLI(&h, "package", "add", "شدات", "٦٠ شدة", "--tenant", "cedar", "--json");
    cli_fields(pack.json, fields);
    refused(CLI(&h, "package", "add", "Chess", "60 UC", "--tenant", "cedar"), 1, "Chess");
    done(CLI_WITH(&h, .expect = "package_ls", "package", "ls", "--tenant", "cedar"));
    AUTO(packs) = CLI(&h, "package", "ls", "PUBG Mobile", "--tenant", "cedar", "--json");
    cli_fields(packs.json, fields);
    ck_assert_int_eq(cJSON_GetArraySize(packs.json), 1);
    done(CLI_WITH(&h, .expect = "package_show", "package", "show", "60 UC", "--tenant", "cedar"));
    AUTO(one) = CLI(&h, "package", "show", "PUBG Mobile/60 UC", "--tenant", "cedar", "--json");
    cli_fields(one.json, fields);
    done(CLI(&h, "package", "disable", "60 UC", "--tenant", "cedar"));
    AUTO(on) = CLI(&h, "package", "enable", "60 UC", "--tenant", "cedar", "--json");
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(on.json, "enabled")));
    AUTO(off) = CLI(&h, "package", "disable", "60 UC", "--tenant", "cedar", "--json");
    ck_assert(cJSON_IsFalse(cJSON_GetObjectItem(off.json, "enabled")));
    done(CLI(&h, "package", "enable", "60 UC", "--tenant", "cedar"));
}
END_TEST

START_TEST(providers)
{
    cli_secret("s3cret-sifre");
    cli_secret("t0ken-of-zdk");
    done(CLI_WITH(&h, .in = "s3cret-sifre\n", "provider", "add", "znet", "--tenant", "cedar",
                  "--url", h.sim_url, "--kod", "5551112233", "--sifre", "@-"));
    AUTO(zdk) = CLI(&h, "provider", "add", "zdk", "--tenant", "cedar", "--kind", "json", "--url",
                    "https://zdk.example/", "--token", "t0ken-of-zdk", "--settings",
                    "{\"concurrency\":4,\"may_resend\":true}", "--json");
    cli_fields(zdk.json, PROVIDER);
    refused(CLI(&h, "provider", "add", "znet", "--tenant", "cedar", "--url", h.sim_url, "--kod",
                "1", "--sifre", "s3cret-sifre"),
            1, "there is an integration 'znet' already");
    refused(CLI(&h, "provider", "add", "bad name", "--tenant", "cedar", "--url", h.sim_url, "--kod",
                "1", "--sifre", "s3cret-sifre"),
            1, "name: must be 1 to 64 of letters");
    refused(
        CLI(&h, "provider", "add", "half", "--tenant", "cedar", "--url", h.sim_url, "--kod", "1"),
        2, "znet wants both --kod and --sifre");
    refused(CLI(&h, "provider", "add", "far", "--tenant", "cedar", "--url", "ftp://x", "--token",
                "t0ken-of-zdk", "--kind", "json"),
            1, "base_url: must be http(s)://");
    refused(CLI(&h, "provider", "add", "odd", "--tenant", "cedar", "--url", h.sim_url, "--kind",
                "json", "--credentials", "{\"token\":"),
            1, "");

    done(CLI_WITH(&h, .expect = "provider_ls", "provider", "ls", "--tenant", "cedar"));
    AUTO(all) = CLI(&h, "provider", "ls", "--json");
    cli_fields(all.json, PROVIDER);

    AUTO(changed) = CLI(&h, "provider", "change", "zdk", "--tenant", "cedar", "--url",
                        "https://other.example", "--token", "t0ken-of-zdk", "--json");
    cli_fields(changed.json, PROVIDER);
    ck_assert_str_eq(cli_text(&changed, "base_url"), "https://other.example");
    done(CLI(&h, "provider", "change", "zdk", "--tenant", "cedar", "--settings", "{}"));
    refused(CLI(&h, "provider", "change", "zdk", "--tenant", "cedar", "--settings", "[]"), 1,
            "settings: must be an object");
    ck_assert_int_eq(
        pg_one_int(DB, "SELECT count(*) FROM integrations WHERE credentials LIKE 'v1.k1.%%'"), 4);
}
END_TEST

/* A verb that sets, in both shapes, and the field that shows it. */
static void sets(const char *verb, const char *more, const char *field, const char *want)
{
    done(CLI(&h, "provider", verb, "zdk", "--tenant", "cedar", more));
    AUTO(c) = CLI(&h, "provider", verb, "zdk", "--tenant", "cedar", "--json", more);
    cli_fields(c.json, PROVIDER);
    const cJSON *v = cJSON_GetObjectItem(c.json, field);
    const char *got = cJSON_IsString(v) ? v->valuestring
                      : cJSON_IsNull(v) ? "null"
                      : cJSON_IsTrue(v) ? "true"
                                        : "false";
    ck_assert_msg(strncmp(got, want, strlen(want)) == 0, "%s: %s is %s", verb, field, got);
}

START_TEST(providers_are_switched)
{
    sets("pause", "--for=30m", "paused_until", "20");
    sets("pause", "--", "paused_until", "until resumed");
    sets("resume", "--", "paused_until", "null");
    sets("disable", "--", "enabled", "false");
    sets("enable", "--", "enabled", "true");
    sets("breaker", "open", "breaker", "open");
    sets("breaker", "close", "breaker", "closed");
    done(CLI_WITH(&h, .unchanged = true, "provider", "breaker", "zdk", "--tenant", "cedar"));
    refused(CLI(&h, "provider", "pause", "nobody", "--tenant", "cedar"), 1,
            "there is no integration 'nobody'");
    done(CLI(&h, "provider", "pause", "zdk", "--tenant", "cedar"));
    refused(CLI(&h, "provider", "test", "zdk", "--tenant", "cedar"), 1,
            "zdk is paused, so nobody asks it; 'mihwar provider resume zdk' ends that");
    done(CLI(&h, "provider", "resume", "zdk", "--tenant", "cedar"));
}
END_TEST

START_TEST(a_worker_asks_the_provider)
{
    refused(CLI(&h, "provider", "test", "znet", "--tenant", "cedar", "--wait", "300ms"), 1,
            "is a worker running?");
    house_up(&h, WORKER);
    AUTO(balance) = CLI(&h, "provider", "test", "znet", "--tenant", "cedar", "--json");
    cli_fields(balance.json, PROVIDER);
    cli_text(&balance, "balance");
    done(CLI(&h, "provider", "test", "znet", "--tenant", "cedar"));
    AUTO(people) = CLI(&h, "catalogue", "import", "znet", "--tenant", "cedar");
    ck_assert_msg(strstr(people.out, " goods read, 0 passed over") != NULL, "%s", people.out);
    AUTO(json) = CLI(&h, "catalogue", "import", "znet", "--tenant", "cedar", "--json");
    cli_fields(json.json, "rows:n skipped:n collisions:n");
    AUTO(end) = CLI(&h, "job", "add", "mihwar.echo", "--args", "{\"n\":17}", "--wait", "20s");
    ck_assert_msg(strstr(end.out, "completed") && strstr(end.out, "{\"n\":17}"), "%s", end.out);
    ck_assert(house_down(&h, WORKER));

    done(CLI_WITH(&h, .expect = "catalogue_ls", "catalogue", "ls", "znet", "--tenant", "cedar",
                  "--match", "60 UC"));
    AUTO(list) = CLI(&h, "catalogue", "ls", "znet", "--tenant", "cedar", "--limit", "3", "--json");
    cli_fields(list.json,
               "external_id:s product:s kupur:s name:s game:s price:s? seen_at:s collides:b");
    ck_assert_int_eq(cJSON_GetArraySize(list.json), 3);
}
END_TEST

START_TEST(routes)
{
    refused(CLI(&h, "route", "set", "60 UC", "--primary", "znet", "--tenant", "cedar"), 1,
            "map the package at the provider first");
    done(CLI_WITH(&h, .expect = "route_map", "route", "map", "60 UC", "znet", "--product", "1",
                  "--kupur", "60", "--tenant", "cedar"));
    AUTO(map) =
        CLI(&h, "route", "map", "60 UC", "zdk", "--product", "abc", "--tenant", "cedar", "--json");
    cli_fields(map.json, "mapped:b");
    done(CLI_WITH(&h, .expect = "route_set", "route", "set", "60 UC", "--primary", "znet",
                  "--fallback", "zdk", "--tenant", "cedar"));
    AUTO(set) =
        CLI(&h, "route", "set", "60 UC", "--primary", "znet", "--tenant", "cedar", "--json");
    cli_fields(set.json, "routed:b");
    refused(CLI(&h, "route", "set", "60 UC", "--primary", "znet", "--fallback", "znet", "--tenant",
                "cedar"),
            1, "fallback: the fallback must be another provider");
    done(CLI_WITH(&h, .expect = "route_ls", "route", "ls", "--tenant", "cedar"));
    AUTO(list) = CLI(&h, "route", "ls", "--tenant", "cedar", "--json");
    cli_fields(list.json, "package:s primary:s fallback:s? package_id:s");
    AUTO(mappings) = CLI(&h, "route", "ls", "--mappings", "--tenant", "cedar", "--json");
    cli_fields(mappings.json, "package_id:s provider:s product:s kupur:s");

    pg_one(DB,
           "INSERT INTO catalogue_items SELECT integration_id, external_id || 'b', product, "
           "kupur, name, game, price, raw, seen_at FROM catalogue_items WHERE product = '1' AND "
           "kupur = '60' RETURNING 1");
    refused(CLI(&h, "route", "map", "60 UC", "znet", "--product", "1", "--kupur", "60", "--tenant",
                "cedar"),
            1, "could deliver any of them");
    done(CLI(&h, "route", "map", "60 UC", "znet", "--product", "1", "--kupur", "60", "--sure",
             "--tenant", "cedar"));
}
END_TEST

size_t shop_tests(struct e2e_row *rows)
{
    const struct e2e_row own[] = {
        {"tenants", tenants},
        {"keys", keys},
        {"products and packages", products_and_packages},
        {"providers", providers},
        {"providers are switched", providers_are_switched},
        {"a worker asks the provider", a_worker_asks_the_provider},
        {"routes", routes},
    };

    memcpy(rows, own, sizeof own);
    return COUNT(own);
}

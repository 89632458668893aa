/* ops_orders.c - orders: read, taken back, decided by hand. */
#include "tests/e2e/ops_world.h"

#define ORDER                                                                                      \
    "id:s status:s provider:s? referans:s? external_status:s? user_identifier:s quantity:n "       \
    "cost:s? created_at:s sent_at:s? completed_at:s? note:s?"

static const char *package;

static const char *new_order(const char *user, int quantity)
{
    char more[32];
    if (!package)
        package = xstrdup(house_package(&h, "60", NULL));
    snprintf(more, sizeof more, ",\"quantity\":%d", quantity);
    return house_order(&h, package, user, quantity > 1 ? more : "");
}

/* As if its provider had never said what became of it: in review, with every unit. */
static const char *review(const char *user, int quantity)
{
    static int64_t referans = 100000000000000000;
    const char *id = new_order(user, quantity);

    for (int unit = 1; unit <= quantity; unit++)
        pg_one(DB,
               "INSERT INTO order_placements (order_id, unit, integration_id, referans, status, "
               "sent_at, note) VALUES ('%s', %d, '%s', '%lld', 'review', now(), 'no answer') "
               "RETURNING 1",
               id, unit, h.znet_a, (long long)++referans);
    pg_one(
        DB,
        "UPDATE product_orders SET status = 'review', version = version + 1, provider = 'znet-a', "
        "integration_id = '%s', sent_at = now(), provider_referans = '%lld' WHERE id = '%s' "
        "RETURNING 1",
        h.znet_a, (long long)referans, id);
    pg_one(DB,
           "UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE subject = '%s' "
           "RETURNING 1",
           id);
    return id;
}

static const char *audit_of(const char *order)
{
    return pg_one(DB,
                  "SELECT actor || ' ' || action || ' ' || (detail->>'decision') || ' ' || "
                  "(detail->>'unit') || ' ' || (detail->>'note') FROM audit_log WHERE object_id = "
                  "'%s' ORDER BY id DESC LIMIT 1",
                  order);
}

START_TEST(orders_are_read)
{
    const char *id = review("5550000001", 1);
    char referans[32];

    new_order("لاعب ١", 1);
    snprintf(referans, sizeof referans, "%s",
             pg_one(DB, "SELECT provider_referans FROM product_orders WHERE id = '%s'", id));
    AUTO(page) = CLI(&h, "order", "ls", "--limit", "1");
    ck_assert_msg(strstr(page.err, "more: --after ") != NULL, "%s", page.err);
    AUTO(list) = CLI(&h, "order", "ls", "--tenant", "demo", "--json");
    cli_fields(list.json, ORDER);
    ck_assert_str_eq(cli_text(&list, "0.user_identifier"), "لاعب ١");
    done(CLI_WITH(&h, .expect = "order_ls", "order", "ls", "--status", "review"));
    refused(CLI(&h, "order", "ls", "--status", "lost"), 1, "status: ");
    AUTO(none) = CLI(&h, "order", "ls", "--tenant", "cedar", "--json");
    ck_assert_str_eq(none.out, "[]\n");

    done(CLI_WITH(&h, .expect = "order_show", "order", "show", id));
    AUTO(show) = CLI(&h, "order", "show", referans, "--json");
    cli_fields(show.json, "order:o placements:a events:a");
    cli_fields(cJSON_GetObjectItem(show.json, "order"), ORDER);
    cli_fields(cJSON_GetObjectItem(show.json, "placements"),
               "unit:n provider:s referans:s status:s calls:n asked:n external_status:s? note:s? "
               "created_at:s sent_at:s? ended_at:s?");
    cli_fields(cJSON_GetObjectItem(show.json, "events"),
               "at:s event:s status:s unit:s? provider:s? referans:s? actor:s detail:s?");
    refused(CLI(&h, "order", "show", "nothing"), 1, "no order has this reference");
    refused(CLI(&h, "order", "show", "01900000-0000-7000-8000-000000000000"), 1, "01900000-");
}
END_TEST

START_TEST(orders_are_cancelled)
{
    done(CLI(&h, "order", "cancel", new_order("5550000002", 1)));
    AUTO(c) = CLI(&h, "order", "cancel", new_order("5550000003", 1), "--json");
    cli_fields(c.json, ORDER);
    ck_assert_str_eq(cli_text(&c, "status"), "cancelled");
    refused(CLI(&h, "order", "cancel", review("5550000004", 1)), 1,
            "the order is review and cannot be cancelled");
}
END_TEST

START_TEST(resolved_as_completed)
{
    const char *id = review("5550000005", 1);

    cli_secret("PIN-5-by-hand");
    AUTO(c) = CLI_WITH(&h, .in = "PIN-5-by-hand\n", "order", "resolve", id, "--as", "completed",
                       "--note", "seen in their panel", "--pin", "@-", "--json");
    cli_fields(c.json, ORDER);
    ck_assert_str_eq(cli_text(&c, "status"), "completed");
    ck_assert_str_eq(audit_of(id), "cli:tester order.resolve completed 0 seen in their panel");
    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/v1/orders/%s", id);
    ck_assert_str_eq(web_text(&r, "pin_code"), "PIN-5-by-hand");
    ck_assert_int_eq(pg_one_int(DB,
                                "SELECT count(*) FROM product_orders WHERE pin_code LIKE "
                                "'v1.k1.%%' AND id = '%s'",
                                id),
                     1);
    refused(CLI(&h, "order", "resolve", id, "--as", "failed", "--note", "no"), 1,
            "the order has ended: completed");
}
END_TEST

START_TEST(resolved_as_failed)
{
    const char *id = review("5550000006", 1);

    refused(CLI(&h, "order", "resolve", id, "--as", "failed", "--note", "x", "--pin", "1"), 1,
            "pin: only a completed order has a PIN");
    refused(CLI(&h, "order", "resolve", id, "--as", "failed", "--note", "x", "--unit", "2"), 1,
            "the order has no unit 2");
    refused(CLI(&h, "order", "resolve", id, "--as", "perhaps", "--note", "x"), 2,
            "--as is completed, failed or ask");
    ck_assert_str_eq(house_status(&h, id), "review");
    done(CLI_WITH(&h, .expect = "order_resolve", "order", "resolve", id, "--as", "failed", "--note",
                  "لم يصل"));
    ck_assert_str_eq(house_status(&h, id), "failed");
    ck_assert_str_eq(audit_of(id), "cli:tester order.resolve failed 0 لم يصل");
}
END_TEST

/* A decision does not wait for Redis. */
START_TEST(resolved_without_redis)
{
    static const char *const env[] = {"MIHWAR_REDIS_URL=unix:/nowhere/redis.sock", NULL};
    const char *id = review("5550000009", 1);

    AUTO(c) = CLI_WITH(&h, .env = env, "order", "resolve", id, "--as", "failed", "--note", "no");
    ck_assert_msg(c.status == 0 && strstr(c.err, "waits until beat finds it"), "%d %s", c.status,
                  c.err);
    ck_assert_str_eq(audit_of(id), "cli:tester order.resolve failed 0 no");
}
END_TEST

/* Its question is in Redis at once: no sweep runs here. */
START_TEST(resolved_by_asking)
{
    const char *id = review("5550000007", 1);

    done(CLI(&h, "order", "resolve", id, "--as", "ask", "--note", "they say it is there"));
    ck_assert_str_eq(house_status(&h, id), "unconfirmed");
    ck_assert_str_eq(audit_of(id), "cli:tester order.resolve ask 0 they say it is there");
    const char *job = pg_one(DB,
                             "SELECT id FROM jobs WHERE live AND subject = '%s' AND task = "
                             "'order.check'",
                             id);
    ck_assert_ptr_nonnull(job);
    ck_assert_str_eq(redis_one(h.stores.redis_url, "HEXISTS mw:{orders}:jobs %s", job), "1");
}
END_TEST

START_TEST(resolved_unit_by_unit)
{
    const char *id = review("5550000008", 2);

    cli_secret("PIN-8-one");
    cli_secret("PIN-8-two");
    refused(
        CLI(&h, "order", "resolve", id, "--as", "completed", "--note", "x", "--pin", "PIN-8-one"),
        1, "pin: say which unit the PIN belongs to");
    done(CLI(&h, "order", "resolve", id, "--as", "completed", "--note", "first", "--unit", "1",
             "--pin", "PIN-8-one"));
    ck_assert_str_eq(house_status(&h, id), "review");
    ck_assert_str_eq(audit_of(id), "cli:tester order.resolve completed 1 first");
    done(CLI(&h, "order", "resolve", id, "--as", "completed", "--note", "second", "--unit", "2",
             "--pin=PIN-8-two"));
    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/v1/orders/%s", id);
    ck_assert_str_eq(web_text(&r, "status"), "completed");
    ck_assert_str_eq(web_text(&r, "pin_codes.0"), "PIN-8-one");
    ck_assert_str_eq(web_text(&r, "pin_codes.1"), "PIN-8-two");
    done(CLI(&h, "order", "show", id));
}
END_TEST

size_t order_tests(struct e2e_row *rows)
{
    const struct e2e_row own[] = {
        {"orders are read", orders_are_read},
        {"orders are cancelled", orders_are_cancelled},
        {"resolved as completed", resolved_as_completed},
        {"resolved as failed", resolved_as_failed},
        {"resolved without Redis", resolved_without_redis},
        {"resolved by asking", resolved_by_asking},
        {"resolved unit by unit", resolved_unit_by_unit},
    };

    memcpy(rows, own, sizeof own);
    return COUNT(own);
}

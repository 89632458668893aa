/* test_orders.c - an order from its POST to its end, through real processes: who sends and who sees
 * what. */
#include "tests/e2e/e2e.h"

static struct house h;

#define ENDS_MS 20000

static bool is(const char *order, const char *status)
{
    return strcmp(house_status(&h, order), status) == 0;
}

static const char *column(const char *order, const char *name)
{
    return pg_one(h.stores.database_url, "SELECT %s FROM product_orders WHERE id = '%s'", name,
                  order);
}

/* ---------------------------------------------------------------- the way to the PIN */

START_TEST(order_to_pin)
{
    const char *package = house_package(&h, "60", NULL);
    _cleanup_(freep) char *body = xasprintf(
        "{\"package_id\":\"%s\",\"user_identifier\":\"player-1\",\"extra_field\":\"654321\"}",
        package);
    _cleanup_(web_reply_release) struct web_reply r = house_post(&h, "/v1/orders", body);
    ck_assert_msg(r.status == 201, "%d %s %s", r.status, r.why, r.body);
    ck_assert_str_eq(web_text(&r, "status"), "pending");
    ck_assert_str_eq(web_text(&r, "package_id"), package);
    ck_assert_str_eq(web_text(&r, "pin_code"), "");
    ck_assert_ptr_nonnull(web_header(&r, "X-Request-Id"));
    _cleanup_(freep) char *order = xstrdup(web_text(&r, "id"));
    _cleanup_(freep) char *location = xasprintf("/v1/orders/%s", order);
    ck_assert_str_eq(web_header(&r, "Location"), location);

    ck_wait(is(order, "completed"), ENDS_MS);
    _cleanup_(web_reply_release) struct web_reply got = house_get(&h, "/v1/orders/%s", order);
    ck_assert_int_eq(got.status, 200);
    ck_assert_str_eq(web_text(&got, "status"), "completed");
    ck_assert_str_eq(web_text(&got, "provider"), "znet-a");
    ck_assert_str_eq(web_text(&got, "cost.currency"), "TRY");
    ck_assert_str_ne(web_text(&got, "completed_at"), "");

    /* The PIN is the provider's, it is sealed at rest, and it was delivered once. */
    _cleanup_(web_reply_release) struct web_reply ledger = house_sim(&h, "/_sim/ledger");
    ck_assert_str_eq(web_text(&got, "pin_code"), web_text(&ledger, "deliveries.0.pin"));
    ck_assert_str_ne(web_text(&got, "pin_code"), column(order, "pin_code"));
    ck_assert_str_eq(web_text(&got, "provider_referans"),
                     web_text(&ledger, "deliveries.0.reference"));
    ck_assert_int_eq(house_calls(&h, "place", column(order, "provider_referans")), 1);
    ck_assert_str_eq(web_text(&ledger, "count"), "1");
}
END_TEST

START_TEST(order_of_the_earlier_system)
{
    const char *package = house_package(&h, "60", NULL);
    _cleanup_(freep) char *body = xasprintf(
        "{\"productId\":\"%s\",\"packageId\":\"%s\",\"userIdentifier\":\"dj-1\",\"extraField\":"
        "\"654321\"}",
        pg_one(h.stores.database_url, "SELECT product_id FROM packages WHERE id = '%s'", package),
        package);
    _cleanup_(web_reply_release) struct web_reply r = house_post(&h, "/api-dj/orders/", body);
    ck_assert_msg(r.status == 201, "%d %s %s", r.status, r.why, r.body);
    _cleanup_(freep) char *order = xstrdup(web_text(&r, "id"));
    ck_wait(is(order, "completed"), ENDS_MS);
    _cleanup_(web_reply_release) struct web_reply got = house_get(&h, "/v1/orders/%s", order);
    ck_assert_str_ne(web_text(&got, "pin_code"), "");
}
END_TEST

START_TEST(units_of_a_quantity)
{
    const char *order = house_order(&h, house_package(&h, "60", NULL), "many-1", ",\"quantity\":3");
    ck_wait(is(order, "completed"), ENDS_MS);
    _cleanup_(web_reply_release) struct web_reply got = house_get(&h, "/v1/orders/%s", order);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(got.json, "pin_codes")), 3);
    ck_assert_int_eq(
        pg_one_int(h.stores.database_url,
                   "SELECT count(DISTINCT referans) FROM order_placements WHERE order_id = '%s'",
                   order),
        3);
}
END_TEST

/* ---------------------------------------------------------------- refusal and doubt */

/* znet's answers and where they lead. The kupur carries what the stand-in does with the first
 * provider's call. */
static const struct {
    const char *title, *a, *b, *status, *provider;
    int delivered, places; /* in the ledger; calls of pin_ekle at both accounts */
} ways[] = {
    {"refused, the fallback delivers", "60~place.refuse=balance", "60", "completed", "znet-b", 1,
     2},
    {"refused by both", "60~place.refuse=stock", "60~place.refuse=stock", "failed", "znet-b", 0, 2},
    {"refused, no fallback", "60~place.refuse=kupur", NULL, "failed", "znet-a", 0, 1},
    {"cancelled at the provider, the fallback delivers", "60~outcome=cancel", "60", "completed",
     "znet-b", 1, 2},
    {"reset after it was taken: asked, found, never sent again",
     "60~place.fault=reset;place.accepts=yes", "60", "completed", "znet-a", 1, 1},
    {"500 after it was taken", "60~place.fault=500;place.accepts=yes", "60", "completed", "znet-a",
     1, 1},
    {"an empty body after it was taken", "60~place.fault=empty;place.accepts=yes", "60",
     "completed", "znet-a", 1, 1},
    {"HTML after it was taken", "60~place.fault=html;place.accepts=yes", "60", "completed",
     "znet-a", 1, 1},
    {"an answer cut short after it was taken", "60~place.fault=cut;place.accepts=yes", "60",
     "completed", "znet-a", 1, 1},
    {"no answer in time after it was taken", "60~place.fault=hang;place.accepts=yes", "60",
     "completed", "znet-a", 1, 1},
    {"reset and it arrives late", "60~place.fault=reset;accept_after=700", "60", "completed",
     "znet-a", 1, 1},
    {"reset and it never arrived: a person decides", "60~place.fault=reset;place.accepts=no", "60",
     "review", "znet-a", 0, 1},
};

START_TEST(refusal_and_doubt)
{
    _cleanup_(freep) char *user = xasprintf("way-%d", _i);
    const char *order = house_order(&h, house_package(&h, ways[_i].a, ways[_i].b), user, "");
    bool there = wait_until(is(order, ways[_i].status), ENDS_MS);
    _cleanup_(freep) char *timeline = pg_table(
        h.stores.database_url,
        "SELECT kind, status, detail FROM order_events WHERE order_id = '%s' ORDER BY id", order);
    ck_assert_msg(there, "%s: %s, not %s\n%s", ways[_i].title, house_status(&h, order),
                  ways[_i].status, timeline);
    ck_assert_msg(strcmp(column(order, "provider"), ways[_i].provider) == 0, "%s: %s",
                  ways[_i].title, column(order, "provider"));
    ck_assert_msg(house_delivered(&h, user) == ways[_i].delivered, "%s: %d deliveries",
                  ways[_i].title, house_delivered(&h, user));
    ck_assert_msg(house_calls(&h, "place", user) == ways[_i].places, "%s: placed %d times\n%s",
                  ways[_i].title, house_calls(&h, "place", user), timeline);
}
END_TEST

START_TEST(a_person_settles_a_review)
{
    const char *package = house_package(&h, "60~place.fault=reset;place.accepts=no", NULL);
    const char *order = house_order(&h, package, "settled-1", "");
    ck_wait(is(order, "review"), ENDS_MS);
    ck_assert_int_eq(house_cli(&h, NULL, "order", "resolve", order, "--as", "failed", "--note",
                               "the panel does not know it", NULL),
                     0);
    ck_assert_str_eq(house_status(&h, order), "failed");
    ck_assert_int_eq(
        pg_one_int(
            h.stores.database_url,
            "SELECT count(*) FROM audit_log WHERE action = 'order.resolve' AND object_id = '%s'",
            order),
        1);
}
END_TEST

/* ---------------------------------------------------------------- cancel, replay, live */

START_TEST(cancel)
{
    const char *package = house_package(&h, "60", NULL);
    ck_assert(house_down(&h, WORKER));
    const char *order =
        house_order(&h, package, "cancelled-1", ",\"callback_url\":\"http://127.0.0.1:9/never\"");
    _cleanup_(freep) char *path = xasprintf("/v1/orders/%s/cancel", order);
    _cleanup_(web_reply_release) struct web_reply r = house_post(&h, path, "{}");
    ck_assert_msg(r.status == 200, "%d %s", r.status, r.body);
    ck_assert_str_eq(web_text(&r, "status"), "cancelled");
    /* Its callback is in Redis when the reply comes: it does not wait for a sweep. */
    const char *callback = pg_one(h.stores.database_url,
                                  "SELECT id FROM jobs WHERE task = 'webhook.deliver' "
                                  "AND args->>'order_id' = '%s'",
                                  order);
    ck_assert_ptr_nonnull(callback);
    ck_assert_str_eq(redis_one(h.stores.redis_url, "HEXISTS mw:{webhooks}:jobs %s", callback), "1");
    house_up(&h, WORKER);

    const char *late = house_order(&h, package, "cancelled-2", "");
    ck_wait(is(late, "completed"), ENDS_MS);
    _cleanup_(freep) char *late_path = xasprintf("/v1/orders/%s/cancel", late);
    _cleanup_(web_reply_release) struct web_reply refused = house_post(&h, late_path, "{}");
    ck_assert_int_eq(refused.status, 409);
    ck_assert_str_eq(web_text(&refused, "code"), "too_late");

    /* The worker is past both by now: the cancelled one was not bought. */
    ck_assert_str_eq(house_status(&h, order), "cancelled");
    ck_assert_int_eq(house_calls(&h, "place", "cancelled-1"), 0);
}
END_TEST

START_TEST(the_same_key_the_same_answer)
{
    const char *headers[] = {"Idempotency-Key: key-17", NULL};
    const char *package = house_package(&h, "60", NULL);
    _cleanup_(freep) char *url = xasprintf("%s/v1/orders", h.url);
    _cleanup_(freep) char *body =
        xasprintf("{\"package_id\":\"%s\",\"user_identifier\":\"same-1\"}", package);
    _cleanup_(freep) char *other =
        xasprintf("{\"package_id\":\"%s\",\"user_identifier\":\"same-2\"}", package);
    _cleanup_(web_reply_release) struct web_reply a =
        web(.url = url, .bearer = h.key, .body = body, .headers = headers);
    _cleanup_(web_reply_release) struct web_reply b =
        web(.url = url, .bearer = h.key, .body = body, .headers = headers);
    _cleanup_(web_reply_release) struct web_reply c =
        web(.url = url, .bearer = h.key, .body = other, .headers = headers);
    ck_assert_int_eq(a.status, 201);
    ck_assert_ptr_null(web_header(&a, "Idempotency-Replayed"));
    ck_assert_int_eq(b.status, 201);
    ck_assert_str_eq(web_header(&b, "Idempotency-Replayed"), "true");
    ck_assert_str_eq(web_text(&a, "id"), web_text(&b, "id"));
    ck_assert_int_eq(c.status, 422);
    ck_assert_str_eq(web_text(&c, "code"), "idempotency_mismatch");
    ck_assert_int_eq(
        pg_one_int(h.stores.database_url,
                   "SELECT count(*) FROM product_orders WHERE user_identifier LIKE 'same-%%'"),
        1);
}
END_TEST

static int order_status(const char *url, const char *body)
{
    _cleanup_(web_reply_release) struct web_reply r =
        web(.url = url, .bearer = h.key, .body = body);

    return r.status;
}

/* An operator has closed the queue of orders: nothing is stored, and what was accepted before is answered again. */
START_TEST(a_closed_queue_takes_no_orders)
{
    const char *headers[] = {"Idempotency-Key: key-18", NULL};
    const char *package = house_package(&h, "60", NULL);
    _cleanup_(freep) char *url = xasprintf("%s/v1/orders", h.url);
    _cleanup_(freep) char *body = xasprintf(
        "{\"package_id\":\"%s\",\"user_identifier\":\"closed-1\",\"reference\":\"r-18\"}", package);
    _cleanup_(freep) char *later =
        xasprintf("{\"package_id\":\"%s\",\"user_identifier\":\"closed-2\"}", package);
    const char *count = "SELECT count(*) FROM product_orders WHERE user_identifier LIKE 'closed-%'";

    _cleanup_(web_reply_release) struct web_reply first =
        web(.url = url, .bearer = h.key, .body = body, .headers = headers);
    ck_assert_int_eq(first.status, 201);
    ck_assert_int_eq(house_cli(&h, NULL, "queue", "drain", "orders", NULL), 0);
    ck_assert(house_down(&h, HUB)); /* each of its processes would hear of it within two seconds */
    house_up(&h, HUB);
    _cleanup_(web_reply_release) struct web_reply refused =
        web(.url = url, .bearer = h.key, .body = later);
    ck_assert_msg(refused.status == 429 && strcmp(web_text(&refused, "code"), "queue_full") == 0,
                  "%d %s", refused.status, refused.body);
    ck_assert_ptr_nonnull(web_header(&refused, "Retry-After"));
    _cleanup_(web_reply_release) struct web_reply again =
        web(.url = url, .bearer = h.key, .body = body, .headers = headers);
    ck_assert_msg(again.status == 201, "%d %s", again.status, again.body);
    ck_assert_str_eq(web_text(&first, "id"), web_text(&again, "id"));
    ck_assert_int_eq(pg_one_int(h.stores.database_url, "%s", count), 1);
    ck_wait(is(web_text(&first, "id"), "completed"), ENDS_MS); /* what is in goes on */
    ck_assert_int_eq(house_cli(&h, NULL, "queue", "resume", "orders", NULL), 0);
    ck_assert(house_down(&h, HUB));
    house_up(&h, HUB);
    ck_assert_int_eq(order_status(url, later), 201);
}
END_TEST

START_TEST(the_timeline_is_live)
{
    ck_assert(house_down(&h, WORKER));
    const char *order = house_order(&h, house_package(&h, "60", NULL), "live-1", "");
    _cleanup_(freep) char *url = xasprintf("%s/v1/orders/%s/events", h.url, order);
    struct sse *s = sse_open(url, h.key);
    const char *event, *data;
    int seen = 0;
    bool completed = false;
    /* Nothing happened yet but what the order itself tells. */
    while (sse_next(s, 300, &event, &data))
        seen++;
    house_up(&h, WORKER);
    while (!completed && sse_next(s, ENDS_MS, &event, &data)) {
        seen++;
        completed = strstr(data, "\"completed\"") != NULL;
    }
    ck_assert(completed);
    ck_assert_int_ge(seen, 3); /* placed, accepted, completed at least */
    ck_assert_msg(!sse_next(s, 5000, &event, &data), "the stream of a final order goes on: %s",
                  data);
    sse_close(s);
    _cleanup_(web_reply_release) struct web_reply page =
        house_get(&h, "/v1/orders/%s/events", order);
    ck_assert_int_eq(page.status, 200);
    ck_assert_int_ge(cJSON_GetArraySize(cJSON_GetObjectItem(page.json, "data")), 3);
}
END_TEST

START_TEST(another_shop_sees_nothing)
{
    const char *order = house_order(&h, house_package(&h, "60", NULL), "mine-1", "");
    house_cli_field(&h, "id", "tenant", "add", "other", "--json", NULL);
    const char *key =
        house_cli_field(&h, "key", "key", "add", "front", "--tenant", "other", "--json", NULL);
    _cleanup_(freep) char *url = xasprintf("%s/v1/orders/%s", h.url, order);
    _cleanup_(web_reply_release) struct web_reply theirs = web(.url = url, .bearer = key);
    _cleanup_(web_reply_release) struct web_reply nobody = web(.url = url);
    ck_assert_int_eq(theirs.status, 404);
    ck_assert_int_eq(nobody.status, 401);
}
END_TEST

START_TEST(a_lost_redis_loses_nothing)
{
    const char *package = house_package(&h, "60", NULL);
    ck_assert(house_down(&h, WORKER));
    const char *order = house_order(&h, package, "flushed-1", "");
    redis_one(h.stores.redis_url, "FLUSHALL");
    house_up(&h, WORKER);
    ck_wait(is(order, "completed"), ENDS_MS);
    ck_assert_int_eq(house_delivered(&h, "flushed-1"), 1);
}
END_TEST

E2E(orders, house_start, {"an order reaches its PIN", order_to_pin},
    {"an order of the earlier system", order_of_the_earlier_system},
    {"each unit under its own reference", units_of_a_quantity},
    {"refusal and doubt", refusal_and_doubt, COUNT(ways)},
    {"a person settles a review", a_person_settles_a_review}, {"cancel", cancel},
    {"the same key, the same answer", the_same_key_the_same_answer},
    {"a closed queue takes no orders", a_closed_queue_takes_no_orders},
    {"the timeline is live", the_timeline_is_live},
    {"another shop sees nothing", another_shop_sees_nothing},
    {"a lost Redis loses nothing", a_lost_redis_loses_nothing})

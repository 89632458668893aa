/* test_door.c - the hub's door: what is refused, in which words, with nothing stored; who may do
 * what; the same key twice.
 *
 * One house for all cases; each case asks the real hub and then counts the rows. */
#include "base/buf.h"
#include "base/trace.h"
#include "tests/support/house.h"
#include "tests/unit/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct house house;
static char routed[40];

/* $P: the routed package. Freed by the caller. */
static char *fill(const char *text)
{
    struct buf b = BUF(KiB(4));

    for (const char *p = text; *p; p++) {
        if (p[0] == '$' && p[1] == 'P') {
            buf_puts(&b, routed);
            p++;
        } else {
            buf_putc(&b, *p);
        }
    }
    return buf_take(&b);
}

static int64_t rows(void)
{
    return pg_one_int(house.stores.database_url,
                      "SELECT (SELECT count(*) FROM product_orders) + (SELECT count(*) FROM jobs "
                      "WHERE tenant_id IS NOT NULL) "
                      "+ (SELECT count(*) FROM schedules WHERE tenant_id IS NOT NULL) + (SELECT "
                      "count(*) FROM idempotency_keys)");
}

static const struct {
    const char *title, *path, *body;
    int status;
    const char *code, *pointer;
} refused[] = {
    {"the earlier system: no package", "/api-dj/orders/", "{\"userIdentifier\":\"1\"}", 422,
     "invalid_field", "/packageId"},
    {"the earlier system: empty receiver", "/api-dj/orders/",
     "{\"packageId\":\"$P\",\"userIdentifier\":\"\"}", 422, "invalid_field", "/userIdentifier"},
    {"a job without a task", "/v1/jobs", "{}", 422, "invalid_field", "/task"},
    {"a job of the platform's own", "/v1/jobs", "{\"task\":\"order.dispatch\",\"args\":{}}", 403,
     "forbidden", "/task"},
    {"a job in a queue that spells another key", "/v1/jobs",
     "{\"task\":\"mihwar.noop\",\"queue\":\"a:b\"}", 422, "invalid_field", "/queue"},
    {"a schedule without a rhythm", "/v1/schedules", "{\"name\":\"x\",\"task\":\"mihwar.noop\"}",
     422, "invalid_field", NULL},
    {"a schedule with a cron that is none", "/v1/schedules",
     "{\"name\":\"x\",\"task\":\"mihwar.noop\",\"cron\":\"61 * * * *\"}", 422, "invalid_field",
     "/cron"},
};

START_TEST(refuse)
{
    char *body = fill(refused[_i].body), url[256];
    int64_t before = rows();

    snprintf(url, sizeof url, "%s%s", house.url, refused[_i].path);
    _cleanup_(web_reply_release) struct web_reply r =
        web(.url = url, .method = "POST", .bearer = house.key, .body = body);
    ck_assert_msg(r.status == refused[_i].status, "case: %s: %d %s %s", refused[_i].title, r.status,
                  r.why, r.body);
    ck_assert_msg(strstr(r.headers, "application/problem+json") != NULL, "case: %s: %s",
                  refused[_i].title, r.headers);
    ck_assert_msg(r.json && web_text(&r, "code") &&
                      strcmp(web_text(&r, "code"), refused[_i].code) == 0,
                  "case: %s: %s", refused[_i].title, r.body);
    ck_assert_msg(web_text(&r, "detail") && *web_text(&r, "detail") &&
                      web_header(&r, "X-Request-Id"),
                  "case: %s: %s", refused[_i].title, r.body);
    if (refused[_i].pointer)
        ck_assert_msg(web_text(&r, "errors.0.pointer") &&
                          strcmp(web_text(&r, "errors.0.pointer"), refused[_i].pointer) == 0,
                      "case: %s: %s", refused[_i].title, r.body);
    ck_assert_msg(rows() == before, "case: %s: something was stored", refused[_i].title);
    free(body);
}
END_TEST

static const struct {
    const char *title, *method, *path, *bearer; /* "": none, NULL: the shop's */
    int status;
    const char *code;
} answers[] = {
    {"a job that is not there", "GET", "/v1/jobs/0197f3a0-0000-7000-8000-000000000000", NULL, 404,
     "not_found"},
    {"a status that is none", "GET", "/v1/orders?status=lost", NULL, 422, "invalid_field"},
    {"a time that is none", "GET", "/v1/orders?since=yesterday", NULL, 422, "invalid_field"},
    {"a status with a NUL", "GET", "/v1/orders?status=pending%00", NULL, 400, "bad_request"},
    {"half a character", "GET", "/v1/orders?status=%d9", NULL, 400, "bad_request"},
    {"filters left empty", "GET", "/v1/orders?status=&package_id=&since=&limit=", NULL, 200, NULL},
    {"a package that is no id", "GET", "/v1/orders?package_id=60", NULL, 422, "invalid_field"},
    {"a cursor that is none", "GET", "/v1/orders?after=x", NULL, 422, "invalid_field"},
    {"orders", "GET", "/v1/orders?limit=500&since=2026-01-01T00:00:00Z", NULL, 200, NULL},
    {"queues", "GET", "/v1/queues", NULL, 200, NULL},
    {"dead letters", "GET", "/v1/dlq", NULL, 200, NULL},
    {"schedules", "GET", "/v1/schedules", NULL, 200, NULL},
    {"alive", "GET", "/healthz", "", 200, NULL},
    {"ready", "GET", "/readyz", "", 200, NULL},
    {"numbers", "GET", "/metrics", "", 200, NULL},
    {"the contract", "GET", "/openapi.json", "", 200, NULL},
};

START_TEST(answer)
{
    const char *bearer = !answers[_i].bearer   ? house.key
                         : *answers[_i].bearer ? answers[_i].bearer
                                               : NULL;
    char url[256];

    snprintf(url, sizeof url, "%s%s", house.url, answers[_i].path);
    _cleanup_(web_reply_release) struct web_reply r =
        web(.url = url, .method = answers[_i].method, .bearer = bearer);
    ck_assert_msg(r.status == answers[_i].status, "case: %s: %d %s %s", answers[_i].title, r.status,
                  r.why, r.body);
    if (answers[_i].code)
        ck_assert_msg(r.json && strcmp(web_text(&r, "code"), answers[_i].code) == 0, "case: %s: %s",
                      answers[_i].title, r.body);
}
END_TEST

/* A shop's key without a permission, and a revoked one. */
START_TEST(a_key_may_do_what_it_was_given)
{
    const char *key = house_cli_field(&house, "key", "key", "add", "reader", "--permissions",
                                      "orders:read", "--json", NULL);
    char url[128], body[256];

    snprintf(url, sizeof url, "%s/v1/orders", house.url);
    snprintf(body, sizeof body, "{\"package_id\":\"%s\",\"user_identifier\":\"1\"}", routed);
    _cleanup_(web_reply_release) struct web_reply read = web(.url = url, .bearer = key);
    ck_assert_int_eq(read.status, 200);
    _cleanup_(web_reply_release) struct web_reply write =
        web(.url = url, .bearer = key, .body = body);
    ck_assert_int_eq(write.status, 403);
    ck_assert_str_eq(web_text(&write, "code"), "forbidden");
    ck_assert_ptr_nonnull(strstr(web_text(&write, "detail"), "orders:write"));
}
END_TEST

/* What a shop has made reads, to another shop with every permission, like something that does not
 * exist; lists are empty. $O order, $J job, $D dead letter, $S schedule. */
static const struct {
    const char *method, *path, *body;
    int status;
} foreign[] = {
    {"GET", "/v1/orders/$O", NULL, 404},
    {"GET", "/v1/orders/$O/events", NULL, 404},
    {"POST", "/v1/orders/$O/cancel", "{}", 404},
    {"GET", "/v1/orders", NULL, 200},
    {"GET", "/v1/jobs/$J", NULL, 404},
    {"POST", "/v1/jobs/$J/cancel", "{}", 404},
    {"POST", "/v1/jobs/$J/retry", "{}", 404},
    {"GET", "/v1/dlq", NULL, 200},
    {"POST", "/v1/dlq/replay", "{\"ids\":[\"$D\"]}", 404},
    {"POST", "/v1/dlq/replay", "{\"filter\":{}}", 200},
    {"DELETE", "/v1/dlq/$D", NULL, 404},
    {"GET", "/v1/schedules", NULL, 200},
    {"PATCH", "/v1/schedules/$S", "{\"enabled\":false}", 404},
    {"PATCH", "/v1/schedules/theirs", "{\"enabled\":false}", 404},
    {"DELETE", "/v1/schedules/$S", NULL, 404},
};
static struct {
    char order[40], job[40], dead[40], schedule[40], key[200];
} own;

static void make_own(void)
{
    snprintf(own.order, sizeof own.order, "%s", house_order(&house, routed, "owner-1", ""));
    _cleanup_(web_reply_release) struct web_reply job =
        house_post(&house, "/v1/jobs",
                   "{\"task\":\"mihwar.noop\",\"delay_ms\":600000,\"unique_key\":\"mine\"}");
    snprintf(own.job, sizeof own.job, "%s", web_text(&job, "id"));
    _cleanup_(web_reply_release) struct web_reply schedule = house_post(
        &house, "/v1/schedules", "{\"name\":\"theirs\",\"task\":\"mihwar.noop\",\"every\":\"1h\"}");
    snprintf(own.schedule, sizeof own.schedule, "%s", web_text(&schedule, "id"));
    _cleanup_(web_reply_release) struct web_reply bad = house_post(
        &house, "/v1/jobs", "{\"task\":\"mihwar.echo\",\"args\":{\"fail\":\"invalid_field\"}}");
    ck_assert_int_eq(bad.status, 201);
    ck_wait(({
                const char *id =
                    pg_one(house.stores.database_url, "SELECT id FROM dead_letters LIMIT 1");
                snprintf(own.dead, sizeof own.dead, "%s", id ? id : "");
                id != NULL;
            }),
            20000);
    ck_assert_int_eq(house_cli(&house, NULL, "tenant", "add", "other", NULL), 0);
    snprintf(own.key, sizeof own.key, "%s",
             house_cli_field(&house, "key", "key", "add", "theirs", "--tenant", "other",
                             "--permissions", "*", "--json", NULL));
}

static char *fill_own(const char *text)
{
    struct buf b = BUF(KiB(4));

    for (const char *p = text; p && *p; p++) {
        if (*p != '$') {
            buf_putc(&b, *p);
            continue;
        }
        p++;
        buf_puts(&b, *p == 'O'   ? own.order
                     : *p == 'J' ? own.job
                     : *p == 'D' ? own.dead
                                 : own.schedule);
    }
    return buf_take(&b);
}

START_TEST(a_shop_sees_its_own)
{
    make_own(); /* Check forks for each test */
    for (size_t i = 0; i < COUNT(foreign); i++) {
        _cleanup_(freep) char *path = fill_own(foreign[i].path), *body = fill_own(foreign[i].body);
        _cleanup_(freep) char *url = xasprintf("%s%s", house.url, path);
        _cleanup_(web_reply_release) struct web_reply r =
            web(.url = url, .method = foreign[i].method, .bearer = own.key,
                .body = foreign[i].body ? body : NULL);
        ck_assert_msg(r.status == foreign[i].status, "%s %s: %d %s", foreign[i].method, path,
                      r.status, r.body);
        if (r.status == 200 && strcmp(foreign[i].method, "GET") == 0)
            ck_assert_str_eq(r.body, "{\"data\":[],\"next\":null}");
        if (r.status == 200 && strcmp(foreign[i].method, "POST") == 0)
            ck_assert_str_eq(web_text(&r, "replayed"), "0");
    }
    /* nor does a unique key of one stand in the way of the other's */
    _cleanup_(freep) char *url = xasprintf("%s/v1/jobs", house.url);
    _cleanup_(web_reply_release) struct web_reply same =
        web(.url = url, .bearer = own.key,
            .body = "{\"task\":\"mihwar.noop\",\"delay_ms\":600000,\"unique_key\":\"mine\"}");
    ck_assert_int_eq(same.status, 201);
    ck_assert_str_eq(web_text(&same, "existed"), "false");
    _cleanup_(web_reply_release) struct web_reply mine = house_get(&house, "/v1/jobs/%s", own.job);
    ck_assert_str_eq(web_text(&mine, "state"), "scheduled");
    ck_assert_str_eq(web_text(&mine, "unique_key"), "mine");
    ck_assert_int_eq(pg_one_int(house.stores.database_url,
                                "SELECT count(*) FROM dead_letters WHERE replayed_at IS NULL"),
                     1);
}
END_TEST

static struct web_reply post_with_key(const char *path, const char *key, const char *body)
{
    char url[256], header[300];

    snprintf(url, sizeof url, "%s%s", house.url, path);
    snprintf(header, sizeof header, "Idempotency-Key: %s", key);
    return web(.url = url, .bearer = house.key, .body = body,
               .headers = (const char *const[]){header, NULL});
}

/* Path and two bodies: the second must be a mismatch. */
static const struct {
    const char *title, *path, *body, *other;
} once[] = {
    {"orders", "/v1/orders", "{\"package_id\":\"$P\",\"user_identifier\":\"once-1\"}",
     "{\"package_id\":\"$P\",\"user_identifier\":\"once-2\"}"},
    {"the earlier system", "/api-dj/orders/",
     "{\"packageId\":\"$P\",\"userIdentifier\":\"once-3\"}",
     "{\"packageId\":\"$P\",\"userIdentifier\":\"once-4\"}"},
    {"jobs", "/v1/jobs", "{\"task\":\"mihwar.echo\",\"args\":{\"a\":1}}",
     "{\"task\":\"mihwar.echo\",\"args\":{\"a\":2}}"},
    {"schedules", "/v1/schedules", "{\"name\":\"once\",\"task\":\"mihwar.noop\",\"every\":\"1h\"}",
     "{\"name\":\"twice\",\"task\":\"mihwar.noop\",\"every\":\"1h\"}"},
};

START_TEST(the_same_key_twice)
{
    char *body = fill(once[_i].body), *other = fill(once[_i].other), key[32];

    snprintf(key, sizeof key, "key-%d", _i);
    _cleanup_(web_reply_release) struct web_reply first = post_with_key(once[_i].path, key, body);
    ck_assert_msg(first.status == 201, "case: %s: %s", once[_i].title, first.body);
    ck_assert_ptr_null(web_header(&first, "Idempotency-Replayed"));
    int64_t after = rows();
    _cleanup_(web_reply_release) struct web_reply again = post_with_key(once[_i].path, key, body);
    ck_assert_msg(again.status == 201, "case: %s: %s", once[_i].title, again.body);
    ck_assert_str_eq(again.body, first.body);
    ck_assert_str_eq(web_header(&again, "Idempotency-Replayed"), "true");
    ck_assert_str_eq(web_header(&again, "Location"), web_header(&first, "Location"));
    _cleanup_(web_reply_release) struct web_reply mismatch =
        post_with_key(once[_i].path, key, other);
    ck_assert_msg(mismatch.status == 422, "case: %s: %s", once[_i].title, mismatch.body);
    ck_assert_str_eq(web_text(&mismatch, "code"), "idempotency_mismatch");
    ck_assert_int_ge(after,
                     rows() - 1); /* an order's first check may have been enqueued meanwhile */
    free(body);
    free(other);
}
END_TEST

/* W3C trace context: it goes on with the job; what is none is replaced by one of our own. */
static const struct {
    const char *title, *header;
    bool taken;
} traces[] = {
    {"as it should be", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true},
    {"a later version", "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", true},
    {"capitals", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false},
    {"the version that is none", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false},
    {"no parent", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false},
    {"no trace", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", false},
    {"something behind", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x", false},
};

START_TEST(traces_go_through)
{
    _cleanup_(freep) char *url = xasprintf("%s/v1/jobs", house.url);
    _cleanup_(freep) char *header = xasprintf("traceparent: %s", traces[_i].header);
    _cleanup_(web_reply_release) struct web_reply made =
        web(.url = url, .bearer = house.key,
            .body = "{\"task\":\"mihwar.noop\",\"delay_ms\":600000}",
            .headers = (const char *const[]){header, NULL});
    ck_assert_msg(made.status == 201, "case: %s: %s", traces[_i].title, made.body);
    const char *trace = pg_one(house.stores.database_url, "SELECT trace FROM jobs WHERE id = '%s'",
                               web_text(&made, "id"));
    ck_assert_int_eq((int)strlen(trace), TRACEPARENT_LEN);
    ck_assert_msg((strcmp(trace, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01") == 0) ==
                      traces[_i].taken,
                  "case: %s: %s", traces[_i].title, trace);
}
END_TEST

START_TEST(request_ids_go_through)
{
    char url[128];

    snprintf(url, sizeof url, "%s/healthz", house.url);
    _cleanup_(web_reply_release) struct web_reply mine =
        web(.url = url, .headers = (const char *const[]){"X-Request-Id: shop-17.a", NULL});
    ck_assert_str_eq(web_header(&mine, "X-Request-Id"), "shop-17.a");
    _cleanup_(web_reply_release) struct web_reply bad =
        web(.url = url, .headers = (const char *const[]){"X-Request-Id: a b\"c", NULL});
    ck_assert_int_eq((int)strlen(web_header(&bad, "X-Request-Id")), 36);
}
END_TEST

int main(void)
{
    const struct unit_row rows_[] = {{"refuse", refuse, COUNT(refused)},
                                     {"answer", answer, COUNT(answers)},
                                     {"permissions", a_key_may_do_what_it_was_given, 0},
                                     {"tenants", a_shop_sees_its_own, 0},
                                     {"once", the_same_key_twice, COUNT(once)},
                                     {"traces", traces_go_through, COUNT(traces)},
                                     {"request ids", request_ids_go_through, 0}};

    house_start(&house, NULL, NULL);
    snprintf(routed, sizeof routed, "%s", house_package(&house, "60", NULL));
    int failed = unit_run("door", rows_, COUNT(rows_));
    failed += house_stop(&house);
    return support_end(failed);
}

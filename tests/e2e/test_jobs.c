/* test_jobs.c - any task, by the API: run, failed, replayed, cancelled, scheduled; callbacks
 * signed. */
#include "base/clock.h"
#include "secure/digest.h"
#include "tests/e2e/catcher.h"
#include "tests/e2e/e2e.h"

static struct house h;

#define ENDS_MS 20000

static const char *state(const char *id)
{
    const char *s =
        pg_try(h.stores.database_url, NULL, "SELECT state FROM jobs WHERE id = '%s'", id);
    return s ? s : "";
}

static bool is(const char *id, const char *want)
{
    return strcmp(state(id), want) == 0;
}

static char *job_add(const char *body)
{
    _cleanup_(web_reply_release) struct web_reply r = house_post(&h, "/v1/jobs", body);
    ck_assert_msg(r.status == 201, "%s: %d %s %s", body, r.status, r.why, r.body);
    return xstrdup(web_text(&r, "id"));
}

START_TEST(a_job_runs_and_keeps_its_result)
{
    _cleanup_(freep) char *id = job_add("{\"task\":\"mihwar.echo\",\"args\":{\"n\":\"17\"}}");
    ck_wait(is(id, "completed"), ENDS_MS);
    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/v1/jobs/%s", id);
    ck_assert_int_eq(r.status, 200);
    ck_assert_str_eq(web_text(&r, "state"), "completed");
    ck_assert_str_eq(web_text(&r, "result.n"), "17");
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(r.json, "attempts")), 1);
}
END_TEST

START_TEST(jobs_by_the_batch)
{
    _cleanup_(web_reply_release) struct web_reply r =
        house_post(&h, "/v1/jobs",
                   "[{\"task\":\"mihwar.noop\"},{\"task\":\"mihwar.noop\",\"durable\":false},"
                   "{\"task\":\"mihwar.noop\",\"delay_ms\":300}]");
    ck_assert_msg(r.status == 201, "%d %s", r.status, r.body);
    ck_assert_int_eq(cJSON_GetArraySize(r.json), 3);
    _cleanup_(freep) char *first = xstrdup(web_text(&r, "0.id"));
    _cleanup_(freep) char *later = xstrdup(web_text(&r, "2.id"));
    ck_wait(is(first, "completed") && is(later, "completed"), ENDS_MS);
}
END_TEST

/* A refused one among them: none is taken. */
START_TEST(a_bad_one_in_the_batch)
{
    const char *db = h.stores.database_url;
    int64_t before = pg_one_int(db, "SELECT count(*) FROM jobs WHERE tenant_id = '%s'", h.tenant);
    static const struct {
        const char *body;
        int status;
        const char *code;
    } bad[] = {
        {"[{\"task\":\"mihwar.noop\"},{\"args\":{}}]", 422, "invalid_field"},
        {"{\"task\":\"order.dispatch\",\"args\":{}}", 403, "forbidden"},
        {"{\"task\":\"mihwar.nope\"}", 422, "unknown_task"},
        {"{\"task\":\"mihwar.noop\",\"priority\":10}", 422, "invalid_field"},
        {"{\"task\":\"mihwar.noop\",\"delay_ms\":-1}", 422, "invalid_field"},
        {"{\"task\":\"mihwar.noop\",\"queue\":\"a b\"}", 422, "invalid_field"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        _cleanup_(web_reply_release) struct web_reply r = house_post(&h, "/v1/jobs", bad[i].body);
        ck_assert_msg(r.status == bad[i].status && web_text(&r, "code") &&
                          strcmp(web_text(&r, "code"), bad[i].code) == 0,
                      "%s: %d %s", bad[i].body, r.status, r.body);
    }
    ck_assert_int_eq(pg_one_int(db, "SELECT count(*) FROM jobs WHERE tenant_id = '%s'", h.tenant),
                     before);
}
END_TEST

/* What does not fit is refused as a whole, also what would go elsewhere; nothing of it is stored anywhere. */
START_TEST(a_full_queue_takes_none_of_the_batch)
{
#define LATER(queue, durable)                                                                      \
    "{\"task\":\"mihwar.noop\",\"queue\":\"" queue "\",\"durable\":" durable ",\"delay_ms\":"      \
    "600000}"
    static const char *const too_many[] = {
        "[" LATER("small", "true") "," LATER("small", "true") "," LATER("small", "true") "]",
        "[" LATER("small", "false") "," LATER("small", "false") "," LATER("small", "false") "]",
        "[" LATER("other", "true") "," LATER("small", "true") "," LATER("small", "true") "," LATER(
            "small", "true") "]",
    };
    const char *two = "[" LATER("small", "true") "," LATER("small", "true") "]";
    const char *count = "SELECT count(*) FROM jobs WHERE live AND queue IN ('small', 'other')";

    ck_assert_int_eq(
        house_cli(&h, NULL, "queue", "policy", "set", "small", "--max-length", "2", NULL), 0);
    ck_assert(house_down(&h, HUB)); /* each of its processes would hear of it within two seconds */
    house_up(&h, HUB);
    for (size_t i = 0; i < COUNT(too_many); i++) {
        _cleanup_(web_reply_release) struct web_reply r = house_post(&h, "/v1/jobs", too_many[i]);
        ck_assert_msg(r.status == 429 && strcmp(web_text(&r, "code"), "queue_full") == 0, "%d %s",
                      r.status, r.body);
        ck_assert_ptr_nonnull(web_header(&r, "Retry-After"));
        ck_assert_int_eq(pg_one_int(h.stores.database_url, "%s", count), 0);
        ck_assert_str_eq(redis_one(h.stores.redis_url, "HLEN mw:{small}:jobs"), "0");
        ck_assert_str_eq(redis_one(h.stores.redis_url, "HLEN mw:{other}:jobs"), "0");
    }
    _cleanup_(web_reply_release) struct web_reply fits = house_post(&h, "/v1/jobs", two);
    ck_assert_msg(fits.status == 201, "%d %s", fits.status, fits.body);
    /* nobody ever claimed from this queue: Redis takes durable jobs when beat has given it an epoch */
    ck_wait(strcmp(redis_one(h.stores.redis_url, "HLEN mw:{small}:jobs"), "2") == 0, ENDS_MS);
    _cleanup_(web_reply_release) struct web_reply more =
        house_post(&h, "/v1/jobs", LATER("small", "true"));
    ck_assert_int_eq(more.status, 429);
    ck_assert_int_eq(house_cli(&h, NULL, "queue", "purge", "small", "--yes", NULL), 0);
}
END_TEST

START_TEST(one_live_job_for_a_unique_key)
{
    const char *body = "{\"task\":\"mihwar.noop\",\"unique_key\":\"one\",\"delay_ms\":60000}";
    _cleanup_(freep) char *a = job_add(body);
    _cleanup_(freep) char *b = job_add(body);
    ck_assert_str_eq(a, b);
    _cleanup_(freep) char *path = xasprintf("/v1/jobs/%s/cancel", a);
    _cleanup_(web_reply_release) struct web_reply r = house_post(&h, path, "{}");
    ck_assert_msg(r.status == 200, "%d %s", r.status, r.body);
    ck_assert_str_eq(state(a), "cancelled");
    _cleanup_(freep) char *c = job_add(body);
    ck_assert_str_ne(a, c);
    _cleanup_(freep) char *path_c = xasprintf("/v1/jobs/%s/cancel", c);
    _cleanup_(web_reply_release) struct web_reply rc_ = house_post(&h, path_c, "{}");
    ck_assert_int_eq(rc_.status, 200);
}
END_TEST

START_TEST(a_running_job_is_cancelled)
{
    _cleanup_(freep) char *id = job_add("{\"task\":\"mihwar.sleep\",\"args\":{\"ms\":600000}}");
    _cleanup_(freep) char *path = xasprintf("/v1/jobs/%s/cancel", id);
    /* Until a worker holds it. */
    ck_wait(redis_try(h.stores.redis_url, "ZCARD mw:{default}:lease") &&
                strcmp(redis_try(h.stores.redis_url, "ZCARD mw:{default}:lease"), "0") != 0,
            ENDS_MS);
    _cleanup_(web_reply_release) struct web_reply r = house_post(&h, path, "{}");
    ck_assert_msg(r.status == 200, "%d %s", r.status, r.body);
    ck_wait(is(id, "cancelled"), ENDS_MS);
}
END_TEST

START_TEST(dead_and_replayed)
{
    const char *db = h.stores.database_url;
    _cleanup_(freep) char *id =
        job_add("{\"task\":\"mihwar.echo\",\"args\":{\"fail\":\"invalid_field\"}}");
    ck_wait(is(id, "dead"), ENDS_MS);
    _cleanup_(web_reply_release) struct web_reply list = house_get(&h, "/v1/dlq?task=mihwar.echo");
    ck_assert_int_eq(list.status, 200);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(list.json, "data")), 1);
    _cleanup_(freep) char *letter = xstrdup(web_text(&list, "data.0.id"));

    /* What was wrong is put right, as an operator would with the arguments; then it is played
     * again. */
    pg_one(db, "UPDATE jobs SET args = '{\"n\":1}' WHERE id = '%s'", id);
    _cleanup_(freep) char *body = xasprintf("{\"ids\":[\"%s\"]}", letter);
    _cleanup_(web_reply_release) struct web_reply r = house_post(&h, "/v1/dlq/replay", body);
    ck_assert_msg(r.status == 200, "%d %s", r.status, r.body);
    ck_assert_str_eq(web_text(&r, "replayed"), "1");
    ck_wait(is(id, "completed"), ENDS_MS);
}
END_TEST

START_TEST(retried_until_it_is_dead)
{
    _cleanup_(freep) char *id = job_add(
        "{\"task\":\"mihwar.echo\",\"args\":{\"fail\":\"upstream_not_sent\"},\"max_attempts\":3}");
    ck_wait(is(id, "dead"), ENDS_MS);
    ck_assert_int_eq(pg_one_int(h.stores.database_url,
                                "SELECT count(*) FROM job_attempts WHERE job_id = '%s'", id),
                     3);
}
END_TEST

START_TEST(a_paused_queue_waits)
{
    _cleanup_(web_reply_release) struct web_reply p =
        house_post(&h, "/v1/queues/default/pause", "{}");
    ck_assert_msg(p.status == 200, "%d %s", p.status, p.body);
    _cleanup_(freep) char *id = job_add("{\"task\":\"mihwar.noop\"}");
    ck_assert(!wait_until(is(id, "completed"), 500));
    _cleanup_(web_reply_release) struct web_reply q = house_get(&h, "/v1/queues");
    ck_assert_int_eq(q.status, 200);
    _cleanup_(web_reply_release) struct web_reply r =
        house_post(&h, "/v1/queues/default/resume", "{}");
    ck_assert_int_eq(r.status, 200);
    ck_wait(is(id, "completed"), ENDS_MS);
}
END_TEST

START_TEST(a_schedule_fires)
{
    const char *db = h.stores.database_url;
    _cleanup_(web_reply_release) struct web_reply r = house_post(
        &h, "/v1/schedules", "{\"name\":\"tick\",\"task\":\"mihwar.noop\",\"every\":\"1s\"}");
    ck_assert_msg(r.status == 201, "%d %s", r.status, r.body);
    _cleanup_(freep) char *id = xstrdup(web_text(&r, "id"));
    ck_wait(pg_one_int(db, "SELECT count(*) FROM schedule_firings WHERE schedule_id = '%s'", id) >=
                2,
            ENDS_MS);
    /* Each firing has a job of its own, and it runs. */
    ck_wait(
        pg_one_int(
            db,
            "SELECT count(DISTINCT j.id) FROM schedule_firings f JOIN jobs j ON j.id = f.job_id "
            "WHERE f.schedule_id = '%s' AND j.state = 'completed'",
            id) >= 2,
        ENDS_MS);
    _cleanup_(freep) char *url = xasprintf("%s/v1/schedules/%s", h.url, id);
    _cleanup_(web_reply_release) struct web_reply gone =
        web(.method = "DELETE", .url = url, .bearer = h.key);
    ck_assert_int_eq(gone.status, 204);
}
END_TEST

START_TEST(another_beat_takes_over)
{
    house_kill(&h, BEAT);
    house_up(&h, BEAT);
    int64_t from = pg_one_int(h.stores.database_url, "SELECT epoch FROM engine_epoch");
    ck_wait(pg_one_int(h.stores.database_url, "SELECT epoch FROM engine_epoch") > from, 10000);
}
END_TEST

START_TEST(a_callback_is_signed)
{
    struct catcher c;
    struct caught k;
    char want[DIGEST_HEX_LEN + 1];
    catcher_open(&c);
    const char *secret = house_cli_field(&h, "webhook_secret", "tenant", "secret", "--tenant",
                                         "demo", "--json", NULL);
    _cleanup_(freep) char *more = xasprintf(",\"callback_url\":\"%s\"", c.url);
    _cleanup_(freep) char *order =
        xstrdup(house_order(&h, house_package(&h, "60", NULL), "called-1", more));

    /* The first delivery is refused: it comes again, signed anew. */
    ck_assert(catcher_take(&c, 503, ENDS_MS, &k));
    caught_release(&k);
    ck_assert(catcher_take(&c, 200, ENDS_MS, &k));
    const char *stamp = caught_header(&k, "Mihwar-Timestamp");
    const char *signature = caught_header(&k, "Mihwar-Signature");
    ck_assert_msg(stamp && signature, "%s", k.head);
    ck_assert_int_le(llabs(atoll(stamp) - clock_ms() / 1000), 30);
    webhook_sign(secret, atoll(stamp), k.body, k.body_len, want);
    ck_assert_msg(strstr(signature, want) != NULL, "%s is not %s", signature, want);
    ck_assert_msg(strstr(k.body, order) && strstr(k.body, "completed"), "%s", k.body);
    caught_release(&k);
    catcher_close(&c);
}
END_TEST

E2E(jobs, house_start, {"a job runs and keeps its result", a_job_runs_and_keeps_its_result},
    {"jobs by the batch", jobs_by_the_batch}, {"a bad one in the batch", a_bad_one_in_the_batch},
    {"a full queue takes none of the batch", a_full_queue_takes_none_of_the_batch},
    {"one live job for a unique key", one_live_job_for_a_unique_key},
    {"a running job is cancelled", a_running_job_is_cancelled},
    {"dead and replayed", dead_and_replayed},
    {"retried until it is dead", retried_until_it_is_dead},
    {"a paused queue waits", a_paused_queue_waits}, {"a schedule fires", a_schedule_fires},
    {"another beat takes over", another_beat_takes_over},
    {"a callback is signed", a_callback_is_signed})

/* test_job_waits.c - waiting for a job over HTTP: told at its end, bounded, and nobody is left standing whose caller has left.
 * And what makes a job one job: the caller's own id, a key sent by many at once; what is left of a broker job. */
#include "queue/queue.h"
#include "tests/e2e/e2e.h"
#include "tests/e2e/wire.h"
#include "tests/support/fibers.h"

static struct house h;

#define ENDS_MS 30000
#define PLACES  8 /* half of hub_queue_max */

static double metric(const char *name)
{
    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/metrics");
    _cleanup_(freep) char *line = xasprintf("\n%s ", name);
    const char *at = strstr(r.body, line);

    return at ? atof(at + strlen(line)) : -1;
}

static char *job_add(const char *body)
{
    _cleanup_(web_reply_release) struct web_reply r = house_post(&h, "/v1/jobs", body);
    ck_assert_msg(r.status == 201, "%s: %d %s %s", body, r.status, r.why, r.body);
    return xstrdup(web_text(&r, "id"));
}

static void job_cancel(const char *id)
{
    _cleanup_(freep) char *path = xasprintf("/v1/jobs/%s/cancel", id);
    _cleanup_(web_reply_release) struct web_reply r = house_post(&h, path, "{}");
    ck_assert_msg(r.status == 200, "%d %s", r.status, r.body);
}

/* Stands and waits; whoever is there is counted with the one who asks. */
static int waiter(const char *id)
{
    _cleanup_(freep) char *ask =
        xasprintf("GET /v1/jobs/%s?wait_ms=60000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                  "%s\r\n\r\n",
                  id, h.key);
    int fd = wire_open(h.hub_port);

    ck_assert(wire_send(fd, ask, strlen(ask)));
    return fd;
}

static bool under_way(int n)
{
    return metric("mihwar_hub_requests_in_flight") == n + 1; /* and the question itself */
}

/* ---------------------------------------------------------------- wait_ms */

static const struct {
    const char *title, *body, *wait_ms;
    int status;
    const char *state;
} waits[] = {
    {"until it ends", "{\"task\":\"mihwar.sleep\",\"args\":{\"ms\":300}}", "60000", 200,
     "completed"},
    {"a broker job, too",
     "{\"task\":\"mihwar.sleep\",\"args\":{\"ms\":300},\"durable\":false,\"result_ttl_ms\":60000}",
     "60000", 200, "completed"},
    {"not longer than was asked for", "{\"task\":\"mihwar.noop\",\"delay_ms\":600000}", "200", 200,
     "scheduled"},
    {"not at all", "{\"task\":\"mihwar.noop\",\"delay_ms\":600000}", "0", 200, "scheduled"},
    {"a broker job of which nothing will be left",
     "{\"task\":\"mihwar.noop\",\"delay_ms\":600000,\"durable\":false}", "200", 409, NULL},
    {"longer than a minute", "{\"task\":\"mihwar.noop\",\"delay_ms\":600000}", "60001", 422, NULL},
    {"not a number", "{\"task\":\"mihwar.noop\",\"delay_ms\":600000}", "soon", 422, NULL},
};

START_TEST(an_end_is_waited_for)
{
    _cleanup_(freep) char *id = job_add(waits[_i].body);
    _cleanup_(web_reply_release) struct web_reply r =
        house_get(&h, "/v1/jobs/%s?wait_ms=%s", id, waits[_i].wait_ms);
    ck_assert_msg(r.status == waits[_i].status, "%s: %d %s", waits[_i].title, r.status, r.body);
    if (!waits[_i].state)
        return;
    ck_assert_msg(strcmp(web_text(&r, "state"), waits[_i].state) == 0, "%s: %s", waits[_i].title,
                  r.body);
    _cleanup_(web_reply_release) struct web_reply again =
        house_get(&h, "/v1/jobs/%s?wait_ms=%s", id, waits[_i].wait_ms); /* ended already */
    ck_assert_str_eq(web_text(&again, "state"), waits[_i].state);
}
END_TEST

/* Whose caller leaves is not kept standing: by an end of the connection, or by a reset. */
START_TEST(who_leaves_is_let_go)
{
    struct linger cut = {.l_onoff = 1};
    _cleanup_(freep) char *id = job_add("{\"task\":\"mihwar.noop\",\"delay_ms\":600000}");
    double before = metric("mihwar_hub_requests_abandoned_total");
    int fds[PLACES];

    for (int i = 0; i < PLACES; i++)
        fds[i] = waiter(id);
    ck_wait(under_way(PLACES), ENDS_MS);
    for (int i = 0; i < PLACES; i++) {
        if (i % 2)
            setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &cut, sizeof cut);
        close(fds[i]);
    }
    ck_wait(under_way(0), ENDS_MS);
    ck_assert(metric("mihwar_hub_requests_abandoned_total") == before + PLACES);
    job_cancel(id);
}
END_TEST

/* Half of the places is for others. Those who wait are told all at once; one of them was in a hurry with his next question. */
START_TEST(more_than_there_is_room_for)
{
    _cleanup_(freep) char *id = job_add("{\"task\":\"mihwar.noop\",\"delay_ms\":600000}");
    static const char next[] = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    char answer[16384];
    int fds[PLACES];

    for (int i = 0; i < PLACES; i++)
        fds[i] = waiter(id);
    ck_wait(under_way(PLACES), ENDS_MS);
    _cleanup_(web_reply_release) struct web_reply full =
        house_get(&h, "/v1/jobs/%s?wait_ms=60000", id);
    ck_assert_msg(full.status == 503 && strcmp(web_text(&full, "code"), "overloaded") == 0, "%d %s",
                  full.status, full.body);
    _cleanup_(web_reply_release) struct web_reply other = house_get(&h, "/v1/jobs/%s", id);
    ck_assert_int_eq(other.status, 200);
    ck_assert(wire_send(fds[0], next, strlen(next)));
    job_cancel(id);
    for (int i = 0; i < PLACES; i++) {
        answer[0] = 0;
        ck_assert_msg(wire_read(fds[i], answer, sizeof answer, "\"cancelled\"", ENDS_MS), "%s",
                      answer);
        if (i == 0) {
            ck_assert_msg(wire_read(fds[i], answer, sizeof answer, NULL, ENDS_MS), "%s", answer);
            ck_assert_msg(strstr(strstr(answer, "\"cancelled\""), "HTTP/1.1 200") != NULL, "%s",
                          answer);
        }
        close(fds[i]);
    }
    ck_wait(under_way(0), ENDS_MS);
}
END_TEST

/* ---------------------------------------------------------------- one job */

START_TEST(an_id_of_the_callers_own)
{
    static const char *const bodies[] = {
        "{\"id\":\"0198a0b0-0000-7000-8000-00000000000a\",\"task\":\"mihwar.echo\",\"args\":{\"n\":"
        "1}}",
        "{\"id\":\"0198a0b0-0000-7000-8000-00000000000b\",\"task\":\"mihwar.echo\",\"durable\":"
        "false}",
    };
    const char *body = bodies[_i];

    for (int i = 0; i < 2; i++) {
        _cleanup_(web_reply_release) struct web_reply r = house_post(&h, "/v1/jobs", body);
        ck_assert_msg(r.status == 201 && strstr(body, web_text(&r, "id")) &&
                          strcmp(web_text(&r, "existed"), i ? "true" : "false") == 0,
                      "%s: %d %s", body, r.status, r.body);
    }
    _cleanup_(web_reply_release) struct web_reply bad =
        house_post(&h, "/v1/jobs", "{\"id\":\"mine\",\"task\":\"mihwar.echo\"}");
    ck_assert_msg(bad.status == 422 && strstr(bad.body, "\"/id\""), "%d %s", bad.status, bad.body);
}
END_TEST

START_TEST(a_key_sent_by_many_at_once)
{
    static const char body[] = "{\"task\":\"mihwar.noop\",\"delay_ms\":600000}";
    const char *db = h.stores.database_url;
    int64_t before = pg_one_int(db, "SELECT count(*) FROM jobs");
    _cleanup_(freep) char *ask = xasprintf("POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: "
                                           "Bearer %s\r\nIdempotency-Key: many-%d\r\n"
                                           "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
                                           h.key, _i, strlen(body), body);
    char answer[4096], id[40] = "";
    int fds[PLACES];

    for (int i = 0; i < PLACES; i++)
        fds[i] = wire_open(h.hub_port);
    for (int i = 0; i < PLACES; i++)
        ck_assert(wire_send(fds[i], ask, strlen(ask)));
    for (int i = 0; i < PLACES; i++) {
        answer[0] = 0;
        ck_assert(wire_read(fds[i], answer, sizeof answer, NULL, ENDS_MS));
        const char *at = strstr(answer, "{\"id\":\"");
        ck_assert_msg(strncmp(answer, "HTTP/1.1 201", 12) == 0 && at, "%s", answer);
        if (!*id)
            snprintf(id, sizeof id, "%.36s", at + 7);
        ck_assert_msg(strncmp(id, at + 7, 36) == 0, "%s is not %s", answer, id);
        close(fds[i]);
    }
    ck_assert_int_eq(pg_one_int(db, "SELECT count(*) FROM jobs"), before + 1);
    job_cancel(id);
}
END_TEST

/* ---------------------------------------------------------------- what is left of it */

static char broker_id[ID_LEN + 1];

static rc add_balance(struct cx *cx, void *arg)
{
    const struct job_options keep = {.result_ttl_ms = 60000};
    struct job_new j = {.task = "provider.balance",
                        .args = arena_printf(&cx->arena, "{\"integration_id\":\"%s\"}", h.znet_a),
                        .priority = JOB_PRIORITY,
                        .options = &keep};
    struct redis *redis;

    (void)arg;
    ck_ok(redis_new(cx, h.stores.redis_url, &redis));
    struct engine *e = engine_new(redis, NULL);
    rc r = engine_enqueue(cx, e, &j, 1);
    memcpy(broker_id, j.id, sizeof broker_id);
    engine_free(e);
    redis_free(redis);
    return r;
}

/* Its task ends it by job_complete. */
START_TEST(a_broker_job_keeps_the_result_of_its_own_end)
{
    const char *kept = NULL;

    ck_ok(on_fiber(add_balance, NULL));
    ck_wait((kept = redis_try(h.stores.redis_url, "GET mw:{default}:result:%s", broker_id)) &&
                strstr(kept, "\"balance\""),
            ENDS_MS);
    ck_assert_msg(strstr(kept, "\"state\":\"completed\"") != NULL, "%s", kept);
}
END_TEST

static void start(struct house *house, const struct stores_opts *opts, const char *const *env)
{
    (void)env;
    house_start(house, opts,
                (const char *const[]){"MIHWAR_HUB_QUEUE_MAX=16", "MIHWAR_HUB_PROCESSES=1", NULL});
}

E2E(job_waits, start, {"an end is waited for", an_end_is_waited_for, COUNT(waits)},
    {"who leaves is let go", who_leaves_is_let_go},
    {"more than there is room for", more_than_there_is_room_for},
    {"an id of the caller's own", an_id_of_the_callers_own, 2},
    {"a key sent by many at once", a_key_sent_by_many_at_once, 3},
    {"a broker job keeps the result of its own end", a_broker_job_keeps_the_result_of_its_own_end})

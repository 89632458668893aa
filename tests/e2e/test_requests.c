/* test_requests.c - a request from its POST to its record, through real processes; the agents are played
 * by the test. */
#include "base/buf.h"
#include "base/json.h"
#include "tests/e2e/player.h"
#include "tests/e2e/requests_world.h"

static struct house h;

#define WAIT_MS   REQUEST_ENDS_MS
#define PLAYER    _cleanup_(player_cutp) struct player *
#define says(...) db_says(&h, __VA_ARGS__)

/* ---------------------------------------------------------------- the whole life */

/* The steps of the timeline, in order; without a second send: what comes while the agent is being greeted may be sent by
 * the greeting and by the note. */
static char *steps_of(const struct web_reply *r)
{
    struct buf b = BUF(KiB(4));
    const cJSON *e;

    cJSON_ArrayForEach(e, cJSON_GetObjectItem(r->json, "timeline"))
    {
        const char *step = cJSON_GetStringValue(cJSON_GetObjectItem(e, "step"));
        if (strcmp(step, "resent") != 0)
            buf_printf(&b, "%s%s", b.len ? " " : "", step);
    }
    return buf_take(&b);
}

START_TEST(the_whole_life)
{
    const char *token = new_agent(&h, "life-1", "life", NULL);
    PLAYER a = player_join(h.url, "life-1", token, "{\"site\":\"x\"}");
    _cleanup_(freep) char *id = xstrdup(new_request(
        &h, "{\"command\":\"get_status\",\"agent_id\":\"life-1\",\"payload\":{\"deep\":[1,2],"
            "\"big\":12345678901234567890}}"));

    cJSON *m = player_next(a, WAIT_MS);
    ck_assert_ptr_nonnull(m);
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(m, "command")), "get_status");
    ck_assert_int_eq(
        cJSON_GetArraySize(cJSON_GetObjectItem(cJSON_GetObjectItem(m, "payload"), "deep")), 2);
    ck_assert_int_gt(cJSON_GetObjectItem(m, "timeout_ms")->valueint, 0);
    _cleanup_(freep) char *job = xstrdup(cJSON_GetStringValue(cJSON_GetObjectItem(m, "job_id")));
    cJSON_Delete(m);
    ck_assert_str_eq(job, says("SELECT job_id FROM requests WHERE request_id = '%s'", id));
    ck_assert_str_eq(says("SELECT load FROM agents WHERE agent_id = 'life-1'"), "1");
    ck_assert_str_eq(
        says("SELECT command_payload ->> 'big' FROM requests WHERE request_id = '%s'", id),
        "12345678901234567890"); /* as it was written */
    player_ack(a, job);
    ck_wait(*says("SELECT delivered_at FROM requests WHERE request_id = '%s'", id), WAIT_MS);
    player_result(a, job, "completed", "{\"up\":true}", WAIT_MS);
    ck_assert(request_is(&h, id, "completed")); /* told to the agent means kept */

    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/v1/requests/%s", id);
    _cleanup_(freep) char *steps = steps_of(&r);
    ck_assert_str_eq(web_text(&r, "status"), "completed");
    ck_assert_str_eq(web_text(&r, "assigned_agent_id"), "life-1");
    ck_assert(cJSON_IsTrue(json_path(r.json, "result.up")));
    ck_assert_int_ge(atoi(web_text(&r, "sends")), 1);
    ck_assert_str_eq(steps, "security registered found sent delivered result archived");
    _cleanup_(web_reply_release) struct web_reply past =
        house_get(&h, "/v1/command_history?agent_id=life-1");
    ck_assert_str_eq(web_text(&past, "data.0.job_id"), job);
    ck_assert_str_eq(web_text(&past, "data.0.status"), "completed");
    ck_assert_str_eq(web_text(&past, "data.0.requested_by"), "key:front");
    ck_assert_ptr_null(web_text(&past, "data.1.job_id"));
    ck_assert_str_eq(says("SELECT load FROM agents WHERE agent_id = 'life-1'"), "0");
    ck_wait(strcmp(says("SELECT state FROM jobs WHERE id = '%s'", job), "completed") == 0, WAIT_MS);
}
END_TEST

/* Serves until `wanted` different commands were answered; false when they do not come. */
static bool serve(struct player *p, size_t wanted)
{
    char done[64][40];
    size_t n = 0;

    ck_assert(wanted <= COUNT(done));
    while (n < wanted) {
        cJSON *m = player_next(p, WAIT_MS);
        if (!m)
            return false;
        const char *job = cJSON_GetStringValue(cJSON_GetObjectItem(m, "job_id"));
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(m, "type")), "command") == 0) {
            size_t i = 0;
            while (i < n && strcmp(done[i], job) != 0)
                i++;
            if (i == n)
                snprintf(done[n++], sizeof done[0], "%s", job);
            player_ack(p, job);
            player_result(p, job, "completed", "{}", 0);
        }
        cJSON_Delete(m);
    }
    return true;
}

/* What holds for HTTP's connections (here 2 s of silence) does not hold for sessions. */
START_TEST(a_session_may_be_silent)
{
    PLAYER a = player_join(h.url, "still-1", new_agent(&h, "still-1", "still", NULL), NULL);

    ck_assert_ptr_null(player_next(a, 3500));
    ck_assert_msg(!a->closed, "closed with code %d", a->close_code);
    player_say(a, "{\"type\":\"heartbeat\"}");
    ck_assert_ptr_null(player_next(a, 3500));
    ck_assert_msg(!a->closed, "closed with code %d", a->close_code);
    new_request(&h, "{\"command\":\"x\",\"agent_id\":\"still-1\"}");
    player_result(a, player_command(a, "x", WAIT_MS), "completed", "{}", WAIT_MS);
}
END_TEST

/* ---------------------------------------------------------------- finding the agent */

START_TEST(by_type_and_by_match)
{
    PLAYER north = player_join(h.url, "m-north", new_agent(&h, "m-north", "modem", NULL),
                               "{\"site\":\"north\",\"tags\":{\"lab\":true}}");
    PLAYER south = player_join(h.url, "m-south", new_agent(&h, "m-south", "modem", NULL),
                               "{\"site\":\"south\"}");
    /* what an operator provisioned counts before what the agent says */
    PLAYER west =
        player_join(h.url, "m-west", new_agent(&h, "m-west", "modem", "{\"site\":\"west\"}"),
                    "{\"site\":\"north\"}");
    PLAYER other =
        player_join(h.url, "o-1", new_agent(&h, "o-1", "other", NULL), "{\"site\":\"south\"}");
    static const struct {
        const char *body;
        int who;
    } rows[] = {
        {"{\"command\":\"a\",\"agent_type\":\"other\"}", 3},
        {"{\"command\":\"b\",\"agent_type\":\"modem\",\"match\":{\"site\":\"south\"}}", 1},
        {"{\"command\":\"c\",\"match\":{\"tags\":{\"lab\":true}}}", 0},
        {"{\"command\":\"d\",\"match\":{\"site\":\"west\"}}", 2},
    };
    struct player *players[] = {north, south, west, other};

    for (size_t i = 0; i < COUNT(rows); i++) {
        _cleanup_(freep) char *id = xstrdup(new_request(&h, rows[i].body));
        struct player *p = players[rows[i].who];
        const char *job = player_command(p, (char[]){(char)('a' + i), 0}, WAIT_MS);
        player_ack(p, job);
        player_result(p, job, "completed", "{}", WAIT_MS);
        ck_assert(request_is(&h, id, "completed"));
    }
}
END_TEST

START_TEST(the_least_loaded)
{
    PLAYER a = player_join(h.url, "l-1", new_agent(&h, "l-1", "least", NULL), NULL);
    PLAYER b = player_join(h.url, "l-2", new_agent(&h, "l-2", "least", NULL), NULL);

    for (int i = 0; i < 6; i++) { /* one after the other: each holds what it got */
        _cleanup_(freep) char *id =
            xstrdup(new_request(&h, "{\"command\":\"hold\",\"agent_type\":\"least\"}"));
        ck_wait(request_is(&h, id, "sent"), WAIT_MS);
    }
    for (int i = 0; i < 3; i++) {
        player_ack(a, player_command(a, "hold", WAIT_MS));
        player_ack(b, player_command(b, "hold", WAIT_MS));
    }
    ck_assert_str_eq(
        says("SELECT string_agg(load::text, ' ') FROM agents WHERE agent_type = 'least'"), "3 3");
}
END_TEST

START_TEST(nobody_there_then_one_comes)
{
    const char *token = new_agent(&h, "late-1", "late", NULL);
    _cleanup_(freep) char *any =
        xstrdup(new_request(&h, "{\"command\":\"any\",\"agent_type\":\"late\"}"));
    _cleanup_(freep) char *own =
        xstrdup(new_request(&h, "{\"command\":\"own\",\"agent_id\":\"late-1\"}"));

    ck_wait(strcmp(says("SELECT count(*) FROM request_events e JOIN requests r USING (request_id) "
                        "WHERE e.step = 'waiting' AND request_id IN ('%s', '%s')",
                        any, own),
                   "2") == 0,
            WAIT_MS);
    ck_assert(request_is(&h, any, "pending"));
    PLAYER a = player_join(h.url, "late-1", token, NULL);
    ck_assert(serve(a, 2));
    ck_wait(request_is(&h, any, "completed") && request_is(&h, own, "completed"), WAIT_MS);
}
END_TEST

/* By hand, with its end waited for. */
START_TEST(by_hand)
{
    PLAYER a = player_join(h.url, "hand-1", new_agent(&h, "hand-1", "hand", NULL), NULL);
    static const char *const answers[] = {"completed", "failed"};

    for (size_t i = 0; i < COUNT(answers); i++) {
        const char *argv[] = {built("ops/mihwar"),
                              "request",
                              "send",
                              "x",
                              "--agent",
                              "hand-1",
                              "--wait",
                              "60s",
                              "--json",
                              NULL};
        struct proc *p =
            proc_start(&(struct proc_opts){.name = "by-hand", .argv = argv, .env = h.env});
        player_result(a, player_command(a, "x", WAIT_MS), answers[i], "{\"error\":\"no\"}",
                      WAIT_MS);
        ck_assert_int_eq(proc_wait(p, WAIT_MS), i ? 1 : 0);
        _cleanup_(freep) char *said = proc_log(p);
        ck_assert_msg(strstr(said, i ? "ended as failed: no" : "\"status\":\"completed\""), "%s",
                      said);
        proc_free(p);
    }
}
END_TEST

/* ---------------------------------------------------------------- its time is over, or it is taken back */

START_TEST(timeouts)
{
    PLAYER a = player_join(h.url, "slow-1", new_agent(&h, "slow-1", "slow", NULL), NULL);
    _cleanup_(freep) char *lonely = xstrdup(
        new_request(&h, "{\"command\":\"x\",\"agent_type\":\"nobody\",\"timeout_ms\":300}"));
    _cleanup_(freep) char *id =
        xstrdup(new_request(&h, "{\"command\":\"x\",\"agent_id\":\"slow-1\",\"timeout_ms\":1500}"));

    _cleanup_(freep) char *job = xstrdup(player_command(a, "x", WAIT_MS));
    player_ack(a, job);
    ck_wait(request_is(&h, lonely, "timeout") && request_is(&h, id, "timeout"), WAIT_MS);
    ck_assert_str_eq(says("SELECT count(*) FROM requests WHERE request_id IN ('%s', '%s') AND "
                          "completed_at < deadline",
                          id, lonely),
                     "0");
    ck_assert_str_eq(says("SELECT load || ' ' || failures FROM agents WHERE agent_id = 'slow-1'"),
                     "0 1");
    _cleanup_(freep) char *before =
        pg_table(h.stores.database_url, "SELECT * FROM requests WHERE request_id = '%s'", id);
    player_result(a, job, "completed", "{\"late\":1}",
                  WAIT_MS); /* acked, so that it is forgotten there */
    _cleanup_(freep) char *after =
        pg_table(h.stores.database_url, "SELECT * FROM requests WHERE request_id = '%s'", id);
    ck_assert_str_eq(before, after);
    ck_wait(strcmp(says("SELECT count(*) FROM request_events WHERE request_id = '%s' AND step = "
                        "'late_result'",
                        id),
                   "1") == 0,
            WAIT_MS);
    ck_assert_str_eq(says("SELECT string_agg(status, ' ') FROM command_history WHERE request_id IN "
                          "('%s', '%s')",
                          id, lonely),
                     "timeout timeout");
}
END_TEST

START_TEST(taken_back)
{
    const char *token = new_agent(&h, "back-1", "back", NULL);
    _cleanup_(freep) char *id =
        xstrdup(new_request(&h, "{\"command\":\"x\",\"agent_id\":\"back-1\"}"));
    _cleanup_(freep) char *cancel = xasprintf("/v1/requests/%s/cancel", id);

    posted(&h, cancel, "{}", 200, "status");
    ck_assert_str_eq(posted(&h, cancel, "{}", 200, "status"), "cancelled");
    ck_assert_str_eq(
        says("SELECT status || ' ' || (response_payload ->> 'error') FROM command_history "
             "WHERE request_id = '%s'",
             id),
        "failed cancelled");

    PLAYER a = player_join(h.url, "back-1", token, NULL);
    _cleanup_(freep) char *sent =
        xstrdup(new_request(&h, "{\"command\":\"y\",\"agent_id\":\"back-1\"}"));
    _cleanup_(freep) char *job = xstrdup(player_command(a, "y", WAIT_MS)); /* not x: that is over */
    _cleanup_(freep) char *late = xasprintf("/v1/requests/%s/cancel", sent);
    ck_assert_str_eq(posted(&h, late, "{}", 409, "code"), "too_late");
    player_result(a, job, "completed", "{}", WAIT_MS);
    ck_assert(request_is(&h, sent, "completed"));
}
END_TEST

/* An operator drains the queue of requests: nothing is on record, and what was accepted before is answered again. */
START_TEST(a_closed_queue_takes_no_requests)
{
    const char *headers[] = {"Idempotency-Key: closed-1", NULL};
    const char *body = "{\"command\":\"x\",\"agent_type\":\"closed\",\"timeout_ms\":600000}";
    const char *other = "{\"command\":\"never\",\"agent_type\":\"closed\",\"timeout_ms\":600000}";
    _cleanup_(freep) char *url = xasprintf("%s/v1/requests", h.url);

    _cleanup_(web_reply_release) struct web_reply first =
        web(.url = url, .bearer = h.key, .body = body, .headers = headers);
    ck_assert_msg(first.status == 202, "%d %s", first.status, first.body);
    ck_assert_int_eq(house_cli(&h, NULL, "queue", "drain", "requests", NULL), 0);
    ck_assert(house_down(&h, HUB)); /* each of its processes would hear of it within two seconds */
    house_up(&h, HUB);
    ck_assert_str_eq(posted(&h, "/v1/requests", other, 429, "code"), "queue_full");
    _cleanup_(web_reply_release) struct web_reply again =
        web(.url = url, .bearer = h.key, .body = body, .headers = headers);
    ck_assert_msg(again.status == 202, "%d %s", again.status, again.body);
    ck_assert_str_eq(web_text(&first, "request_id"), web_text(&again, "request_id"));
    ck_assert_str_eq(says("SELECT count(*) FROM requests WHERE agent_type = 'closed'"), "1");
    ck_assert_str_eq(says("SELECT count(*) FROM command_history WHERE command_name = 'never'"),
                     "0");
    _cleanup_(freep) char *cancel =
        xasprintf("/v1/requests/%s/cancel", web_text(&first, "request_id"));
    posted(&h, cancel, "{}", 200, "status");
    ck_assert_int_eq(house_cli(&h, NULL, "queue", "resume", "requests", NULL), 0);
    ck_assert(house_down(&h, HUB));
    house_up(&h, HUB);
}
END_TEST

/* ---------------------------------------------------------------- who may say what */

START_TEST(a_result_of_another_agent)
{
    PLAYER a = player_join(h.url, "mine-1", new_agent(&h, "mine-1", "mine", NULL), NULL);
    PLAYER b = player_join(h.url, "mine-2", new_agent(&h, "mine-2", "mine", NULL), NULL);
    _cleanup_(freep) char *id =
        xstrdup(new_request(&h, "{\"command\":\"x\",\"agent_id\":\"mine-1\"}"));
    _cleanup_(freep) char *job = xstrdup(player_command(a, "x", WAIT_MS));

    player_result(b, job, "failed", "{\"error\":\"no\"}", WAIT_MS);
    player_result(b, "01a00000-0000-7000-8000-00000000000a", "completed", "{}", WAIT_MS);
    ck_assert(request_is(&h, id, "sent"));
    ck_assert_str_eq(says("SELECT string_agg(load || ' ' || failures, ', ' ORDER BY agent_id) FROM "
                          "agents WHERE agent_type = 'mine'"),
                     "1 0, 0 0");
    player_result(a, job, "failed", "{\"error\":\"not_now\"}", WAIT_MS);
    ck_assert(request_is(&h, id, "failed"));
    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/v1/requests/%s", id);
    ck_assert_str_eq(web_text(&r, "error.code"), "not_now");
    ck_assert_str_eq(web_text(&r, "result.error"), "not_now");
}
END_TEST

/* ---------------------------------------------------------------- things die */

static int64_t open_of(const char *type)
{
    return pg_one_int(h.stores.database_url,
                      "SELECT count(*) FROM requests WHERE agent_type = '%s' AND status <> "
                      "'completed'",
                      type);
}

static void post_many(const char *type, int n)
{
    _cleanup_(freep) char *body =
        xasprintf("{\"command\":\"x\",\"agent_type\":\"%s\",\"timeout_ms\":600000}", type);

    for (int i = 0; i < n; i++)
        new_request(&h, body);
}

START_TEST(not_acknowledged_sent_again)
{
    PLAYER a = player_join(h.url, "deaf-1", new_agent(&h, "deaf-1", "deaf", NULL), NULL);
    _cleanup_(freep) char *id =
        xstrdup(new_request(&h, "{\"command\":\"x\",\"agent_id\":\"deaf-1\"}"));
    _cleanup_(freep) char *first = xstrdup(player_command(a, "x", WAIT_MS));

    ck_assert_str_eq(player_command(a, "x", WAIT_MS), first);
    ck_assert_int_ge(atoi(says("SELECT sends FROM requests WHERE request_id = '%s'", id)), 2);
    player_result(a, first, "completed", "{}", WAIT_MS);
}
END_TEST

/* Killed with a command at its agent; the agent comes back, to the same hub or to another, and is given the
 * same job_id again. */
START_TEST(a_hub_dies)
{
    static const enum part back[] = {HUB, HUB_B};
    const char *name = _i ? "hub-2" : "hub-1";
    _cleanup_(freep) char *token = xstrdup(new_agent(&h, name, "hub", NULL));
    PLAYER a = player_join(h.url, name, token, NULL);
    _cleanup_(freep) char *body = xasprintf("{\"command\":\"x\",\"agent_id\":\"%s\"}", name);
    _cleanup_(freep) char *id = xstrdup(new_request(&h, body));
    _cleanup_(freep) char *job = xstrdup(player_command(a, "x", WAIT_MS));

    player_ack(a, job);
    house_kill(&h, HUB);
    house_up(&h, back[_i]);
    PLAYER b = player_join(house_hub_url(&h, back[_i]), name, token, NULL);
    ck_assert_str_eq(player_command(b, "x", WAIT_MS), job);
    player_result(b, job, "completed", "{}", WAIT_MS);
    ck_assert(request_is(&h, id, "completed"));
    ck_assert_int_ge(atoi(says("SELECT sends FROM requests WHERE request_id = '%s'", id)), 2);
    ck_assert_str_eq(says("SELECT count(*) FROM command_history WHERE job_id = '%s'", job), "1");
    house_up(&h, HUB);
}
END_TEST

START_TEST(workers_die)
{
    PLAYER a = player_join(h.url, "work-1", new_agent(&h, "work-1", "work", NULL), NULL);

    for (int i = 0; i < 5; i++) {
        post_many("work", 4);
        house_kill(&h, WORKER);
        post_many("work", 4);
        house_up(&h, WORKER);
    }
    ck_assert(serve(a, 40));
    ck_wait(open_of("work") == 0, WAIT_MS);
    ck_assert_str_eq(
        says("SELECT count(*) || ' ' || count(DISTINCT job_id) FROM command_history WHERE "
             "agent_id = 'work-1' AND status = 'completed'"),
        "40 40");
    ck_assert_str_eq(says("SELECT load FROM agents WHERE agent_id = 'work-1'"), "0");
}
END_TEST

START_TEST(redis_is_emptied)
{
    const char *token = new_agent(&h, "red-1", "red", NULL);

    post_many("red", 10); /* nobody is there: they wait */
    redis_one(h.stores.redis_url, "FLUSHALL");
    PLAYER a = player_join(h.url, "red-1", token, NULL);
    post_many("red", 10);
    redis_one(h.stores.redis_url, "FLUSHALL");
    ck_assert(serve(a, 20));
    ck_wait(open_of("red") == 0, WAIT_MS);
}
END_TEST

START_TEST(redis_is_away)
{
    PLAYER a = player_join(h.url, "away-1", new_agent(&h, "away-1", "away", NULL), NULL);

    house_kill(&h, REDIS);
    post_many("away", 5); /* accepted all the same */
    ck_assert_int_eq(open_of("away"), 5);
    house_up(&h, REDIS);
    ck_assert(serve(a, 5));
    ck_wait(open_of("away") == 0, WAIT_MS);
}
END_TEST

/* Whatever happened above, the record of it is whole. */
START_TEST(the_record_is_whole)
{
    ck_assert_str_eq(house_cli_field(&h, "verdict.anchor", "audit", "verify", "--json", NULL),
                     says("SELECT seq || ':' || encode(hash, 'hex') FROM command_history_head"));
    ck_assert_str_eq(
        says("SELECT count(*) FROM requests r WHERE (completed_at IS NOT NULL) <> EXISTS "
             "(SELECT FROM command_history c WHERE c.job_id = r.job_id)"),
        "0");
    ck_assert_str_eq(
        says("SELECT count(*) FROM agents a WHERE load <> (SELECT count(*) FROM requests r "
             "WHERE r.assigned_agent_id = a.agent_id AND r.status IN ('assigned', 'sent'))"),
        "0");
    ck_assert_str_eq(
        says("SELECT count(*) FROM jobs WHERE task = 'request.run' AND state = 'dead'"), "0");
}
END_TEST

static void start(struct house *house, const struct stores_opts *opts, const char *const *env)
{
    static const char *const own[] = {"MIHWAR_REQUEST_RESEND=2s", "MIHWAR_HUB_PROCESSES=2",
                                      "MIHWAR_HUB_IDLE_TIMEOUT=2s", NULL};

    house_start(house, opts, own);
}

E2E(requests, start, {"the whole life", the_whole_life},
    {"a session may be silent", a_session_may_be_silent},
    {"by type and by match", by_type_and_by_match}, {"the least loaded", the_least_loaded},
    {"by hand", by_hand}, {"nobody there, then one comes", nobody_there_then_one_comes},
    {"timeouts", timeouts}, {"taken back", taken_back},
    {"a closed queue takes no requests", a_closed_queue_takes_no_requests},
    {"a result of another agent", a_result_of_another_agent},
    {"not acknowledged, sent again", not_acknowledged_sent_again}, {"a hub dies", a_hub_dies, 2},
    {"workers die", workers_die}, {"Redis is emptied", redis_is_emptied},
    {"Redis is away", redis_is_away}, {"the record is whole", the_record_is_whole})

/* test_session.c - agents and their sessions, before real hubs: a client of our own make says and hears every frame, and
 * this program does what a worker does with a request.
 *
 *   test: request_create, request_assign, inbox_push ──► Redis ──► hub ══ WebSocket ══► client */
#include "tests/e2e/errand.h"
#include "tests/e2e/session_world.h"

#define HELLO           "{\"type\":\"hello\",\"version\":\"1.0\",\"metadata\":{}}"
#define STATUS_OF(id)   ONE("SELECT status FROM requests WHERE request_id = '%s'", (id))
#define AGENT_IS(id, s) str_eq(ONE("SELECT status FROM agents WHERE agent_id = '%s'", (id)), (s))

/* ---------------------------------------------------------------- the ordinary way */

START_TEST(a_session_begins_and_ends)
{
    struct client c;
    const char *session;

    client_open(&c, h.hub_port, "s1", token_of("s1"));
    ck_assert(!AGENT_IS("s1", "active")); /* not before its hello */
    client_say(&c, "{\"type\":\"hello\",\"version\":\"2.7\",\"metadata\":{\"site\":\"Aden\",\"n\":"
                   "12345678901234567890}}");
    client_hear(&c, "welcome");
    session = client_text(&c, "session_id");
    ck_assert_str_eq(client_text(&c, "agent_id"), "s1");
    ck_assert_str_eq(client_text(&c, "heartbeat_ms"), "2000");
    ck_assert_str_eq(client_text(&c, "message_max"), "262144");
    ck_assert_str_eq(ONE("SELECT concat_ws(' ', status, session_id, agent_version, "
                         "host(last_ip_address), metadata->>'n', "
                         "EXISTS (SELECT FROM hub_instances WHERE id = hub_instance_id)) FROM "
                         "agents WHERE agent_id = 's1'"),
                     ONE("SELECT 'active %s 2.7 127.0.0.1 12345678901234567890 t'", session));
    client_say(&c, "{\"type\":\"heartbeat\"}");
    client_hear(&c, "heartbeat");
    client_leave(&c);
    client_wait(AGENT_IS("s1", "inactive"));
}
END_TEST

START_TEST(a_command_and_its_result)
{
    struct client c;
    struct errand j;

    client_enter(&c, h.hub_port, "c1", token_of("c1"));
    j = (struct errand){.agent_id = "c1",
                        .payload = "{\"deep\":{\"x\":[1,2]},\"big\":12345678901234567890}",
                        .push = true};
    errand_begin(&h, &j);
    client_hear(&c, "command");
    ck_assert_str_eq(client_text(&c, "job_id"), j.job_id);
    ck_assert_str_eq(client_text(&c, "command"), "get_status");
    ck_assert(strstr(client_text(&c, "payload"), "\"x\":[1,2]"));
    ck_assert_int_gt(atoi(client_text(&c, "timeout_ms")), 60000);
    ck_assert_str_eq(STATUS_OF(j.request_id), "sent");
    client_say(&c, "{\"type\":\"ack\",\"job_id\":\"%s\"}", j.job_id);
    client_wait(ONE("SELECT 1 FROM requests WHERE request_id = '%s' AND delivered_at IS NOT NULL",
                    j.request_id));
    client_say(&c,
               "{\"type\":\"result\",\"job_id\":\"%s\",\"status\":\"completed\",\"response\":{"
               "\"up\":98765432109876543210}}",
               j.job_id);
    client_hear(&c, "result_ack");
    ck_assert_str_eq(client_text(&c, "job_id"), j.job_id);
    ck_assert_str_eq(
        ONE("SELECT status || ' ' || (result->>'up') FROM requests WHERE request_id = '%s'",
            j.request_id),
        "completed 98765432109876543210");
    ck_assert_str_eq(
        ONE("SELECT string_agg(status, ',') FROM command_history WHERE job_id = '%s'", j.job_id),
        "completed");

    /* said again, as after a lost result_ack: acknowledged, and nothing else */
    client_say(&c, "{\"type\":\"result\",\"job_id\":\"%s\",\"status\":\"failed\",\"response\":{}}",
               j.job_id);
    client_hear(&c, "result_ack");
    ck_assert_str_eq(STATUS_OF(j.request_id), "completed");
    ck_assert_str_eq(ONE("SELECT count(*) FROM command_history WHERE job_id = '%s'", j.job_id),
                     "1");
    client_leave(&c);
}
END_TEST

START_TEST(results_of_nothing_are_acknowledged)
{
    struct client c, other;
    struct errand j;

    client_enter(&c, h.hub_port, "n1", token_of("n1"));
    client_enter(&other, h.hub_port, "n2", token_of("n2"));
    j = errand_for(&h, "n2");
    client_hear(&other, "command");
    client_say(&c, "{\"type\":\"result\",\"job_id\":\"018f0000-0000-7000-8000-000000000000\","
                   "\"status\":\"completed\"}");
    client_hear(&c, "result_ack");
    client_say(&c,
               "{\"type\":\"result\",\"job_id\":\"%s\",\"status\":\"completed\",\"response\":{}}",
               j.job_id);
    client_hear(&c, "result_ack");
    ck_assert_str_eq(client_text(&c, "job_id"), j.job_id);
    ck_assert_str_eq(STATUS_OF(j.request_id), "sent"); /* another's request */
    client_leave(&c);
    client_leave(&other);
}
END_TEST

/* ---------------------------------------------------------------- sent again */

START_TEST(what_was_sent_is_sent_again)
{
    struct client c, d;
    struct errand j;
    const char *token = token_of("r1");

    client_enter(&c, h.hub_port, "r1", token);
    j = errand_for(&h, "r1");
    client_hear(&c, "command");
    client_drop(&c);
    client_enter(&d, h.hub_port, "r1", token);
    client_hear(&d, "command");
    ck_assert_str_eq(client_text(&d, "job_id"), j.job_id);
    ck_assert_str_eq(ONE("SELECT sends FROM requests WHERE request_id = '%s'", j.request_id), "2");
    /* and when the worker finds no ack */
    errand_push(&h, &j);
    client_hear(&d, "command");
    ck_assert_str_eq(client_text(&d, "job_id"), j.job_id);
    client_leave(&d);
}
END_TEST

START_TEST(what_waited_is_given_to_who_comes)
{
    struct errand byid = {.agent_id = "w1"}, bytype = {.agent_type = "cpe"};
    struct client c;
    const char *token = token_of("w1");
    bool first = false, second = false;

    errand_begin(&h, &byid);
    errand_begin(&h, &bytype);
    client_enter(&c, h.hub_port, "w1", token);
    for (int i = 0; i < 2; i++) {
        client_hear(&c, "command");
        first |= str_eq(client_text(&c, "job_id"), byid.job_id);
        second |= str_eq(client_text(&c, "job_id"), bytype.job_id);
    }
    ck_assert(first && second);
    client_leave(&c);
}
END_TEST

START_TEST(a_hub_dies_and_another_goes_on)
{
    const char *token = token_of("d1");
    struct client c, d;
    struct errand j;
    pid_t child;

    house_up(&h, HUB_B);
    client_enter(&c, h.hub_port, "d1", token);
    j = errand_for(&h, "d1");
    client_hear(&c, "command");
    ck_assert_uint_eq(proc_children(proc_pid(h.procs[HUB]), &child, 1), 1);
    kill(child, SIGKILL); /* first: without its parent it would say goodbye */
    house_kill(&h, HUB);
    ck_assert_int_eq(client_code(&c), WEBSOCKET_ABNORMAL);
    client_enter(&d, h.more_hub_port[0], "d1", token);
    client_hear(&d, "command");
    ck_assert_str_eq(client_text(&d, "job_id"), j.job_id);
    client_say(&d,
               "{\"type\":\"result\",\"job_id\":\"%s\",\"status\":\"completed\",\"response\":{}}",
               j.job_id);
    client_hear(&d, "result_ack");
    client_drop(&c);
    client_leave(&d);
    house_up(&h, HUB);
}
END_TEST

/* ---------------------------------------------------------------- one agent, one session */

START_TEST(the_newer_session_takes_over)
{
    bool across = _i;
    const char *agent = across ? "t1b" : "t1", *token = token_of(agent);
    struct client older, newer;
    struct errand j;

    house_up(&h, HUB_B);
    client_enter(&older, h.hub_port, agent, token);
    client_enter(&newer, across ? h.more_hub_port[0] : h.hub_port, agent, token);
    client_hear(&older, "error");
    ck_assert_str_eq(client_text(&older, "code"), "superseded");
    ck_assert_int_eq(client_code(&older), 4001);
    j = errand_for(&h, agent);
    client_hear(&newer, "command");
    ck_assert_str_eq(client_text(&newer, "job_id"), j.job_id);
    ck_assert(AGENT_IS(agent, "active")); /* the older one's end changed nothing */
    client_drop(&older);
    client_leave(&newer);
}
END_TEST

START_TEST(a_takeover_whose_note_is_lost)
{
    const char *token = token_of("t2");
    struct client older, newer;

    house_up(&h, HUB_B);
    client_enter(&older, h.hub_port, "t2", token);
    house_kill(&h, REDIS);
    client_enter(&newer, h.more_hub_port[0], "t2", token);
    client_say(&older, "{\"type\":\"heartbeat\"}"); /* PostgreSQL tells its hub */
    ck_assert_int_eq(client_code(&older), 4001);
    ck_assert(websocket_is_open(newer.ws));
    house_up(&h, REDIS);
    client_drop(&older);
    client_leave(&newer);
}
END_TEST

/* As the sweep does to the agents of a hub that was silent for long: it was not dead, and nobody has to come back. */
START_TEST(a_hub_that_was_taken_for_dead)
{
    struct client c;
    const char *session;
    struct errand j;

    client_enter(&c, h.hub_port, "z1", token_of("z1"));
    session = client_text(&c, "session_id");
    ONE("WITH hub AS (DELETE FROM hub_instances RETURNING 1) UPDATE agents SET status = "
        "'inactive', session_id = NULL, "
        "hub_instance_id = NULL, registered_at = NULL, token_id = NULL WHERE agent_id = 'z1' "
        "RETURNING 1");
    client_say(&c, "{\"type\":\"heartbeat\"}");
    client_wait(AGENT_IS("z1", "active"));
    ck_assert_str_eq(ONE("SELECT session_id FROM agents WHERE agent_id = 'z1'"), session);
    j = errand_for(&h, "z1");
    client_hear(&c, "command");
    ck_assert_str_eq(client_text(&c, "job_id"), j.job_id);
    client_leave(&c);
    client_wait(AGENT_IS("z1", "inactive"));
}
END_TEST

/* ---------------------------------------------------------------- what agents do wrong */

static const struct {
    const char *title, *say[3]; /* after hello, unless it begins with one of its own */
    const char *code;           /* of the error frame */
    int closed;                 /* close code; 0: goes on */
} wrongs[] = {
    {"the first frame is another", {"{\"type\":\"heartbeat\"}"}, "hello_missing", 4000},
    {"the first frame is no JSON", {"hello"}, "bad_json", 0},
    {"metadata is no object", {"{\"type\":\"hello\",\"metadata\":[]}"}, "invalid_field", 1008},
    {"a version too long",
     {"{\"type\":\"hello\",\"version\":"
      "\"1234567890123456789012345678901234567890123456789012345678901234567890\"}"},
     "invalid_field",
     1008},
    {"hello twice", {HELLO, HELLO}, "hello_again", 0},
    {"no JSON", {HELLO, "{"}, "bad_json", 0},
    {"an array", {HELLO, "[1]"}, "bad_json", 0},
    {"no type", {HELLO, "{}"}, "invalid_field", 0},
    {"a type from the future", {HELLO, "{\"type\":\"telemetry\",\"cpu\":3}"}, "unknown_type", 0},
    {"an ack of nothing", {HELLO, "{\"type\":\"ack\"}"}, "invalid_field", 0},
    {"a job_id that is none",
     {HELLO, "{\"type\":\"result\",\"job_id\":\"1\",\"status\":\"completed\"}"},
     "invalid_field",
     0},
    {"a status that is none",
     {HELLO, "{\"type\":\"result\",\"job_id\":\"018f0000-0000-7000-8000-000000000000\",\"status\":"
             "\"done\"}"},
     "invalid_field",
     0},
};

START_TEST(wrong_frames)
{
    struct client c;

    client_open(&c, h.hub_port, "e1", token_of("e1"));
    for (size_t i = 0; i < COUNT(wrongs[_i].say) && wrongs[_i].say[i]; i++)
        client_say(&c, "%s", wrongs[_i].say[i]);
    client_hear(&c, "error");
    ck_assert_msg(str_eq(client_text(&c, "code"), wrongs[_i].code), "%s: %s", wrongs[_i].title,
                  client_text(&c, "code"));
    if (wrongs[_i].closed) {
        ck_assert_int_eq(client_code(&c), wrongs[_i].closed);
        client_drop(&c);
    } else {
        client_leave(&c);
    }
}
END_TEST

START_TEST(wrong_frames_without_end)
{
    struct client c;

    client_enter(&c, h.hub_port, "e2", token_of("e2"));
    for (int i = 0; i < 16; i++)
        client_say(&c, "nonsense");
    ck_assert_int_eq(client_code(&c), 1008);
    client_drop(&c);
}
END_TEST

START_TEST(who_falls_silent_is_inactive)
{
    struct client c, early;

    client_open(&early, h.hub_port, "q2", token_of("q2")); /* never says hello */
    client_enter(&c, h.hub_port, "q1", token_of("q1"));
    ck_assert_int_eq(client_code(&c), 4008);
    client_wait(AGENT_IS("q1", "inactive"));
    ck_assert_int_eq(client_code(&early), 4000);
    ck_assert_str_eq(ONE("SELECT first_seen_at IS NULL FROM agents WHERE agent_id = 'q2'"), "t");
    client_drop(&c);
    client_drop(&early);
}
END_TEST

/* ---------------------------------------------------------------- stores and hubs that go */

/* Results of nothing, more than one agent may have waiting. */
static void talk_on(struct client *c)
{
    _cleanup_(freep) char *much = xcalloc(1, 250000);

    memset(much, 'x', 250000 - 1);
    for (int i = 0; i < 40; i++) {
        client_say(c,
                   "{\"type\":\"result\",\"job_id\":\"00000000-0000-7000-8000-%012d\",\"status\":"
                   "\"completed\",\"response\":\"%s\"}",
                   i, much);
        client_wait(c->closed || !websocket_unsent(c->ws));
    }
    client_say(c, "{\"type\":\"heartbeat\"}");
    client_hear(c, "heartbeat"); /* all of it was read */
}

static int reports_dropped(void)
{
    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/metrics");
    const char *at = strstr(r.body, "\nmihwar_hub_agent_reports_dropped_total ");

    return at ? atoi(at + strlen("\nmihwar_hub_agent_reports_dropped_total ")) : -1;
}

START_TEST(a_result_waits_for_postgresql)
{
    struct client c, greedy;
    struct errand j;

    client_enter(&greedy, h.hub_port, "greedy", token_of("greedy"));
    client_enter(&c, h.hub_port, "p1", token_of("p1"));
    j = errand_for(&h, "p1");
    client_hear(&c, "command");
    house_kill(&h, PG);
    talk_on(&greedy);
    client_say(&c,
               "{\"type\":\"result\",\"job_id\":\"%s\",\"status\":\"failed\",\"response\":{"
               "\"error\":{\"code\":\"broken\"}}}",
               j.job_id);
    client_say(&c, "{\"type\":\"heartbeat\"}");
    client_hear(&c, "heartbeat"); /* the session goes on */
    ck_assert(!client_heard(&c, "result_ack"));
    house_up(&h, PG);
    client_hear(&c, "result_ack");
    ck_assert_str_eq(ONE("SELECT status || ' ' || error_code FROM requests WHERE request_id = '%s'",
                         j.request_id),
                     "failed broken");
    ck_assert_int_ge(reports_dropped(), 40 - 8 * 1024 * 1024 / 250000);
    client_leave(&greedy);
    client_leave(&c);
}
END_TEST

START_TEST(a_hub_that_ends_says_so)
{
    struct client c;

    client_enter(&c, h.hub_port, "g1", token_of("g1"));
    proc_signal(h.procs[HUB], SIGTERM);
    client_hear(&c, "error");
    ck_assert_str_eq(client_text(&c, "code"), "going_away");
    ck_assert_int_eq(client_code(&c), 1001);
    client_wait(AGENT_IS("g1", "inactive")); /* at once, not after the hub's silence */
    client_drop(&c);
    ck_assert_int_eq(proc_wait(h.procs[HUB], CLIENT_PATIENCE_MS), 0);
    h.procs[HUB] = proc_free(h.procs[HUB]);
    house_up(&h, HUB);
}
END_TEST

/* ---------------------------------------------------------------- a foreign client */

START_TEST(npm_ws)
{
    const char *const cases = SOURCE_ROOT "/tests/e2e/foreign/agent.js";
    char port[16], *out = NULL, *err = NULL;
    struct errand j = {.agent_id = "f1"};
    int status;

    snprintf(port, sizeof port, "%d", h.hub_port);
    const char *argv[] = {"/usr/bin/node", cases, port, "f1", token_of("f1"), NULL};
    const char *env[] = {"NODE_PATH=/usr/share/nodejs", NULL};

    errand_begin(&h, &j); /* waits for it */
    status = proc_run(&(struct proc_opts){.name = "node", .argv = argv, .env = env}, NULL, 120000,
                      &out, &err);
    ck_assert_msg(status == 0, "status %d\n%s%s", status, out, err);
    ck_assert_str_eq(STATUS_OF(j.request_id), "completed");
    free(out);
    free(err);
}
END_TEST

/* What the tests before have done is in the numbers. */
START_TEST(numbers)
{
    static const char *const moved[] = {
        "acks_total",         "commands_total",         "commands_resent_total",
        "notes_total",        "refused_binary_total",   "refused_field_total",
        "refused_json_total", "refused_protocol_total", "refused_size_total",
        "refused_text_total", "refused_type_total",     "results_total",
        "results_late_total", "silent_total",
    };
    _cleanup_(web_reply_release) struct web_reply r = house_get(&h, "/metrics");

    for (size_t i = 0; i < COUNT(moved); i++) {
        _cleanup_(freep) char *line = xasprintf("\nmihwar_hub_agent_%s ", moved[i]);
        const char *at = strstr(r.body, line);

        ck_assert_msg(at && atoi(at + strlen(line)) > 0, "%s has not moved", moved[i]);
    }
    ck_assert(strstr(r.body, "\nmihwar_hub_agent_sessions 0\n"));
}
END_TEST

int main(void)
{
    const struct unit_row rows[] = {
        {"a session", a_session_begins_and_ends},
        {"a command", a_command_and_its_result},
        {"results of nothing", results_of_nothing_are_acknowledged},
        {"sent again", what_was_sent_is_sent_again},
        {"what waited", what_waited_is_given_to_who_comes},
        {"takeover", the_newer_session_takes_over, 2},
        {"takeover without Redis", a_takeover_whose_note_is_lost},
        {"taken for dead", a_hub_that_was_taken_for_dead},
        {"wrong frames", wrong_frames, COUNT(wrongs)},
        {"wrong without end", wrong_frames_without_end},
        {"npm's ws", npm_ws},
        {"silence", who_falls_silent_is_inactive},
        {"numbers", numbers},
        {"a hub dies", a_hub_dies_and_another_goes_on},
        {"PostgreSQL away", a_result_waits_for_postgresql},
        {"a hub ends", a_hub_that_ends_says_so},
    };

    return session_main("session", rows, COUNT(rows));
}

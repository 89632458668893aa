/* test_requests.c - a request from its acceptance to its end: what is refused, who is chosen, who comes too late, what is told of it.
 * Moves are in test_request_moves.c, races and agents that keep failing in test_request_races.c. */
#include "agents_world.h"
#include "base/clock.h"

/* ---------------------------------------------------------------- acceptance */

static char long_payload[REQUEST_PAYLOAD_MAX + 10];

static const struct {
    const char *title;
    struct request_new n;
    rc want;
    const char *pointer;
} bad[] = {
    {"no command", {.command = "", .agent_type = "CPE"}, E_INVALID_FIELD, "/command"},
    {"a blank in it", {.command = "a b", .agent_type = "CPE"}, E_INVALID_FIELD, "/command"},
    {"nobody is named", {.command = "c"}, E_INVALID_FIELD, "/agent_id"},
    {"named twice",
     {.command = "c", .agent_id = "a1", .agent_type = "CPE"},
     E_INVALID_FIELD,
     "/agent_id"},
    {"no agent's id", {.command = "c", .agent_id = "a/1"}, E_INVALID_FIELD, "/agent_id"},
    {"nobody knows it", {.command = "c", .agent_id = "a9"}, E_UNKNOWN_AGENT, "/agent_id"},
    {"another shop's", {.command = "c", .agent_id = "b1"}, E_UNKNOWN_AGENT, "/agent_id"},
    {"a disabled one", {.command = "c", .agent_id = "off"}, E_UNKNOWN_AGENT, "/agent_id"},
    {"no type", {.command = "c", .agent_type = "a b"}, E_INVALID_FIELD, "/agent_type"},
    {"match is a list", {.command = "c", .match = "[1]"}, E_INVALID_FIELD, "/match"},
    {"match is no JSON", {.command = "c", .match = "{"}, E_INVALID_FIELD, "/match"},
    {"payload is no JSON", {.command = "c", .agent_type = "CPE", .payload = "{"}, E_BAD_JSON, ""},
    {"a number beyond all",
     {.command = "c", .agent_type = "CPE", .payload = "[1e99999]"},
     E_INVALID_FIELD,
     "/payload"},
    {"one below all",
     {.command = "c", .agent_type = "CPE", .payload = "{\"n\":1E-99999}"},
     E_INVALID_FIELD,
     "/payload"},
    {"one in match", {.command = "c", .match = "{\"n\":1e+00099999}"}, E_INVALID_FIELD, "/match"},
    {"payload is too long",
     {.command = "c", .agent_type = "CPE", .payload = long_payload},
     E_INVALID_FIELD,
     "/payload"},
    {"no time",
     {.command = "c", .agent_type = "CPE", .timeout_ms = -1},
     E_INVALID_FIELD,
     "/timeout_ms"},
    {"more than a week",
     {.command = "c", .agent_type = "CPE", .timeout_ms = 604800001},
     E_INVALID_FIELD,
     "/timeout_ms"},
};

WORLD_LOOP_TEST(what_is_refused)
{
    struct request_new n = bad[world_row].n;
    struct command_request q;

    agent_put("a1", "CPE", "{}");
    SIDE("INSERT INTO agents (agent_id, tenant_id, agent_type, enabled) VALUES ('b1', '" TENANT2
         "', 'CPE', true), ('off', '" TENANT "', 'CPE', false)");
    memset(long_payload, ' ', sizeof(long_payload) - 1);
    memcpy(long_payload, "{}", 2);
    n.tenant_id = TENANT;
    n.requested_by_name = "front";
    n.timeout_ms = n.timeout_ms ? n.timeout_ms : 60000;
    ck_assert_msg(request_create(cx, db, NULL, &n, &q) == bad[world_row].want, "case: %s: %s",
                  bad[world_row].title, cx->err.text);
    ck_at(cx, bad[world_row].pointer);
    ck_assert_int_eq(SIDE_INT("SELECT (SELECT count(*) FROM requests) + (SELECT count(*) FROM "
                              "jobs)"),
                     0);
    return OK;
}

WORLD_TEST(a_request_is_accepted_with_its_job)
{
    struct request_new n = {.payload = "{\"port\": 4}",
                            .match = "{\"site\":\"x\"}",
                            .agent_type = "CPE",
                            .requested_by = NOBODY};
    struct command_request q, got;
    char *job;

    request_put(cx, &n, &q);
    ck_assert(q.status == REQUEST_PENDING && !n.replayed && q.created_ms && q.admitted_ms);
    ck_assert_int_eq(q.deadline_ms - q.created_ms, 60000);
    ck_ok(request_get(cx, db, TENANT, q.request_id, &got));
    ck_assert_str_eq(got.payload, "{\"port\": 4}");
    ck_assert_str_eq(got.match, "{\"site\": \"x\"}");
    ck_assert_str_eq(got.requested_by, NOBODY);
    ck_rc(request_get(cx, db, TENANT2, q.request_id, &got), E_NOT_FOUND);
    ck_rc(request_get(cx, db, TENANT, "x", &got), E_NOT_FOUND);
    job = pg_table(stores.database_url, "SELECT id, queue, task, args->>'request_id', subject, "
                                        "tenant_id, state, unique_key FROM jobs");
    ck_assert_str_eq(job,
                     arena_printf(&cx->arena,
                                  "%s|requests|request.run|%s|%s|" TENANT "|ready|request.run:%s\n",
                                  q.job_id, q.request_id, q.request_id, q.request_id));
    free(job);
    return OK;
}

WORLD_TEST(a_key_is_one_request)
{
    struct request_new n = {.idempotency_key = "k1", .agent_id = "a1"}, again, other, stranger;
    struct command_request q, q2;

    agent_put("a1", "CPE", "{}");
    sha256_hex("body", 4, n.body_hash);
    again = other = n;
    request_put(cx, &n, &q);
    SIDE("UPDATE agents SET enabled = false, status = 'inactive', session_id = NULL, "
         "hub_instance_id = NULL, registered_at = NULL"); /* the first answer stands all the same */
    request_put(cx, &again, &q2);
    ck_assert(again.replayed);
    ck_assert_str_eq(q2.request_id, q.request_id);
    ck_assert_str_eq(again.job_id, q.job_id);
    sha256_hex("another", 7, other.body_hash);
    other.tenant_id = TENANT;
    other.requested_by_name = "front";
    other.command = "get_status";
    other.timeout_ms = 1000;
    ck_rc(request_create(cx, db, NULL, &other, &q2), E_IDEMPOTENCY_MISMATCH);

    stranger = (struct request_new){.tenant_id = TENANT2, .idempotency_key = "k1"};
    strcpy(stranger.body_hash, n.body_hash);
    request_put(cx, &stranger, &q2);
    ck_assert(!stranger.replayed);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM requests"), 2);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM jobs"), 2);

    /* a commit in doubt: the same ids again are the same request */
    struct request_new twice = n;
    twice.idempotency_key = NULL;
    request_put(cx, &twice, &q2);
    ck_assert(!twice.replayed);
    ck_assert_str_eq(q2.request_id, q.request_id);
    return OK;
}

WORLD_TEST(lists_are_paged_and_filtered)
{
    struct request_filter f = {.tenant_id = TENANT, .limit = 2};
    struct command_request q[3], *list;
    char next[ID_LEN + 1];
    size_t n;

    agent_put("a1", "CPE", "{}");
    for (int i = 0; i < 3; i++)
        request_put(cx,
                    &(struct request_new){.command = i == 1 ? "reboot" : NULL,
                                          .agent_id = i == 2 ? "a1" : NULL},
                    &q[i]);
    struct assigned a;
    ck_ok(request_assign(cx, db, q[2].request_id, &a));

    ck_ok(request_list(cx, db, &f, &list, &n, next));
    ck_assert(n == 2 && str_eq(list[0].request_id, q[2].request_id) &&
              str_eq(next, q[1].request_id));
    f.after = arena_strdup(&cx->arena, next);
    ck_ok(request_list(cx, db, &f, &list, &n, next));
    ck_assert(n == 1 && str_eq(list[0].request_id, q[0].request_id) && !next[0]);
    static const struct {
        struct request_filter f;
        size_t want;
    } cases[] = {
        {{.tenant_id = TENANT2}, 0},
        {{.status = "pending"}, 2},
        {{.status = "assigned", .agent_id = "a1"}, 1},
        {{.command = "reboot"}, 1},
        {{.since_ms = 4102444800000}, 0},
        {{.until_ms = 1000}, 0},
        {{.since_ms = 1000, .until_ms = 4102444800000}, 3},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_ok(request_list(cx, db, &cases[i].f, &list, &n, next));
        ck_assert_msg(n == cases[i].want, "case %zu: %zu", i, n);
    }
    f = (struct request_filter){.status = "asleep"};
    ck_rc(request_list(cx, db, &f, &list, &n, next), E_INVALID_FIELD);
    f = (struct request_filter){.after = "x"};
    ck_rc(request_list(cx, db, &f, &list, &n, next), E_INVALID_FIELD);
    return OK;
}

/* ---------------------------------------------------------------- who is chosen */

static const struct {
    const char *title;
    struct request_new n;
    const char *prepare, *want; /* want NULL: nobody */
} choices[] = {
    {"the least loaded",
     {.agent_type = "CPE"},
     "UPDATE agents SET load = CASE agent_id WHEN 'a2' THEN 0 ELSE 3 END",
     "a2"},
    {"who waited longest",
     {.agent_type = "CPE"},
     "UPDATE agents SET assigned_at = now() - CASE agent_id WHEN 'a3' THEN interval '1 h' ELSE "
     "interval '1 s' END",
     "a3"},
    {"who was never given one",
     {.agent_type = "CPE"},
     "UPDATE agents SET assigned_at = now() WHERE agent_id <> 'a1'",
     "a1"},
    {"by metadata", {.match = "{\"site\":\"z\"}"}, NULL, "s1"},
    {"deep in the metadata", {.match = "{\"wan\":{\"vlan\":[7]}}"}, NULL, "a3"},
    {"by type and metadata",
     {.agent_type = "CPE", .match = "{\"site\":\"x\"}"},
     "UPDATE agents SET load = 9 WHERE agent_id = 'a1'",
     "a2"},
    {"the type fits, the metadata not",
     {.agent_type = "CPE", .match = "{\"site\":\"z\"}"},
     NULL,
     NULL},
    {"an empty match is anybody",
     {.match = "{}"},
     "UPDATE agents SET load = 1 WHERE agent_id <> 's1'",
     "s1"},
    {"by its id", {.agent_id = "a3"}, "UPDATE agents SET load = 50 WHERE agent_id = 'a3'", "a3"},
    {"by its id, and it is away", {.agent_id = "away"}, NULL, NULL},
    {"nobody of the type is there", {.agent_type = "Drone"}, NULL, NULL},
    {"not who is away", {.agent_type = "Lamp"}, NULL, NULL},
    {"not another shop's", {.match = "{\"site\":\"theirs\"}"}, NULL, NULL},
    {"not who rests",
     {.agent_type = "Core-Switch"},
     "UPDATE agents SET status = 'cooldown', cooldown_ms = 1000, cooldown_until = now() + interval "
     "'1 h' WHERE agent_id = 's1'",
     NULL},
    {"who rested",
     {.agent_type = "Core-Switch"},
     "UPDATE agents SET status = 'cooldown', cooldown_ms = 1000, cooldown_until = now() - interval "
     "'1 s' WHERE agent_id = 's1'",
     "s1"},
    {"not who is being probed",
     {.agent_type = "Core-Switch"},
     "UPDATE agents SET status = 'cooldown', cooldown_ms = 1000, cooldown_until = now() - interval "
     "'1 s', probing = true "
     "WHERE agent_id = 's1'",
     NULL},
    {"by its id, and it rests",
     {.agent_id = "s1"},
     "UPDATE agents SET status = 'cooldown', cooldown_ms = 1000, cooldown_until = now() + interval "
     "'1 h' WHERE agent_id = 's1'",
     NULL},
};

WORLD_LOOP_TEST(who_is_chosen)
{
    struct request_new n = choices[world_row].n;
    struct command_request q;
    struct assigned a;

    agent_put("a1", "CPE", "{\"site\":\"x\"}");
    agent_put("a2", "CPE", "{\"site\":\"x\",\"n\":2}");
    agent_put("a3", "CPE", "{\"site\":\"y\",\"wan\":{\"vlan\":[5,7]}}");
    agent_put("s1", "Core-Switch", "{\"site\":\"z\"}");
    agent_put("away", "Lamp", "{}");
    agent_leaves("away");
    agent_put("b1", "CPE", "{\"site\":\"theirs\"}");
    SIDE("UPDATE agents SET tenant_id = '" TENANT2 "' WHERE agent_id = 'b1'");
    if (choices[world_row].prepare)
        SIDE("%s", choices[world_row].prepare);
    const char *want = choices[world_row].want;
    const char *load = want ? SIDE("SELECT load + 1 FROM agents WHERE agent_id = '%s'", want) : "";
    request_put(cx, &n, &q);
    ck_ok(request_assign(cx, db, q.request_id, &a));
    ck_assert_msg(str_eq(a.agent_id, want), "%s: %s", choices[world_row].title,
                  a.agent_id ? a.agent_id : "nobody");
    ck_assert_int_eq(a.outcome, want ? ASSIGN_FOUND : ASSIGN_WAITING);
    if (want) {
        ck_assert_str_eq(a.hub_id, HUB);
        ck_assert_str_eq(SIDE("SELECT load FROM agents WHERE agent_id = '%s'", want), load);
        ck_ok(request_assign(cx, db, q.request_id, &a)); /* again: it tells how things are */
        ck_assert_int_eq(a.outcome, ASSIGN_STANDS);
        ck_assert_str_eq(a.agent_id, want);
        ck_assert_str_eq(SIDE("SELECT load FROM agents WHERE agent_id = '%s'", want), load);
    }
    ck_assert_int_eq(a.left_ms > 0 && a.left_ms <= 60000, 1);
    return OK;
}

WORLD_TEST(an_unsent_request_goes_to_the_next)
{
    struct command_request q, named;
    struct assigned a;
    struct command c;

    agent_put("a1", "CPE", "{}");
    request_put(cx, &(struct request_new){0}, &q);
    request_put(cx, &(struct request_new){.agent_id = "a1"}, &named);
    ck_ok(request_assign(cx, db, q.request_id, &a));
    ck_ok(request_assign(cx, db, named.request_id, &a));
    agent_leaves("a1");
    ck_ok(request_assign(cx, db, q.request_id, &a));
    ck_assert_int_eq(a.outcome, ASSIGN_STANDS); /* nobody else is there */
    ck_assert_ptr_null(a.hub_id);
    agent_put("a2", "CPE", "{}");
    ck_ok(request_assign(cx, db, q.request_id, &a));
    ck_assert_int_eq(a.outcome, ASSIGN_MOVED);
    ck_assert_str_eq(a.agent_id, "a2");
    ck_ok(request_assign(cx, db, named.request_id, &a)); /* it wants a1 */
    ck_assert_int_eq(a.outcome, ASSIGN_STANDS);
    ck_assert_str_eq(a.agent_id, "a1");
    ck_assert_str_eq(SIDE("SELECT step || ' ' || agent_id || ' ' || detail FROM request_events"),
                     "moved a2 from a1");
    world_is_sound();

    /* once it was sent it stays, whatever becomes of its agent */
    ck_assert_uint_eq(take(cx, q.request_id, &c), 1);
    agent_leaves("a2");
    agent_put("a3", "CPE", "{}");
    ck_ok(request_assign(cx, db, q.request_id, &a));
    ck_assert_int_eq(a.outcome, ASSIGN_STANDS);
    ck_assert_str_eq(a.agent_id, "a2");
    world_is_sound();
    return OK;
}

WORLD_TEST(a_probe_that_was_not_sent_may_move_with_its_agent_gone)
{
    struct command_request q;
    struct assigned a;

    agent_put("a1", "CPE", "{}");
    agent_rests("a1", -1000);
    request_put(cx, &(struct request_new){0}, &q);
    ck_ok(request_assign(cx, db, q.request_id, &a));
    ck_assert_str_eq(request_is(q.request_id), "assigned a1 0 t");
    ck_assert_str_eq(agent_is("a1"), "cooldown 1 3 30000 t");
    agent_put("a2", "CPE", "{}");
    ck_ok(request_assign(cx, db, q.request_id, &a)); /* the probe stays with its agent */
    ck_assert_int_eq(a.outcome, ASSIGN_STANDS);
    agent_leaves("a1");
    ck_ok(request_assign(cx, db, q.request_id, &a));
    ck_assert_str_eq(request_is(q.request_id), "assigned a2 0 f");
    ck_assert_str_eq(agent_is("a1"), "inactive 0 3 30000 f");
    world_is_sound();
    return OK;
}

WORLD_TEST(an_agent_that_comes_finds_its_work)
{
    struct command_request q[8];
    const char *const *ids;
    struct assigned a;
    size_t n;

    request_put(cx, &(struct request_new){.agent_type = "CPE"}, &q[0]);
    request_put(cx, &(struct request_new){.agent_type = "Switch"}, &q[1]);
    request_put(cx, &(struct request_new){.match = "{\"site\":\"x\"}"}, &q[2]);
    request_put(cx, &(struct request_new){.match = "{\"site\":\"y\"}"}, &q[3]);
    request_put(cx, &(struct request_new){.tenant_id = TENANT2}, &q[4]);
    request_put(cx, &(struct request_new){0}, &q[5]);
    SIDE("UPDATE requests SET deadline = now() WHERE request_id = '%s'", q[5].request_id);
    agent_put("a1", "CPE", "{\"site\":\"x\"}");
    agent_leaves("a1");
    request_put(cx, &(struct request_new){.agent_id = "a1"}, &q[6]);
    ck_ok(request_assign_waiting(cx, db, "a1", 500, &ids, &n)); /* not connected: nothing */
    ck_assert_uint_eq(n, 0);
    SIDE("DELETE FROM agents");
    agent_put("a1", "CPE", "{\"site\":\"x\"}");
    ck_ok(request_assign_waiting(cx, db, "a1", 2, &ids, &n));
    ck_assert(n == 2 && str_eq(ids[0], q[0].request_id) && str_eq(ids[1], q[2].request_id));
    ck_ok(request_assign_waiting(cx, db, "a1", 500, &ids, &n));
    ck_assert(n == 1 && str_eq(ids[0], q[6].request_id));
    ck_ok(requests_open_of(cx, db, "a1", 500, &ids, &n));
    ck_assert_uint_eq(n, 3);
    ck_assert_str_eq(agent_is("a1"), "active 3 0 0 f");

    /* one that rested takes one: its probe */
    agent_put("a2", "Switch", "{}");
    request_put(cx, &(struct request_new){.agent_type = "Switch"}, &q[7]);
    agent_rests("a2", 60000);
    ck_ok(request_assign_waiting(cx, db, "a2", 500, &ids, &n));
    ck_assert_uint_eq(n, 0);
    request_put(cx, &(struct request_new){.agent_id = "a2"}, &q[4]);
    ck_ok(request_assign(cx, db, q[4].request_id, &a));
    ck_assert(a.outcome == ASSIGN_WAITING && a.rest_ms > 50000 && a.rest_ms <= 60000);
    agent_rests("a2", -1);
    ck_ok(request_assign_waiting(cx, db, "a2", 500, &ids, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(request_is(ids[0]), "assigned a2 0 t");
    ck_ok(request_assign_waiting(cx, db, "a2", 500, &ids, &n));
    ck_assert_uint_eq(n, 0);
    world_is_sound();
    return OK;
}

/* ---------------------------------------------------------------- on its way */

WORLD_TEST(only_the_hub_of_the_session_sends)
{
    struct command_request q, q2;
    struct assigned a;
    struct command c[4];
    size_t n;

    agent_put("a1", "CPE", "{}");
    request_put(cx, &(struct request_new){.payload = "{\"p\":1}"}, &q);
    request_put(cx, &(struct request_new){0}, &q2);
    const char *ids[] = {q.request_id, q2.request_id, q.request_id, NOBODY};
    ck_ok(requests_take(cx, db, HUB, ids, 4, c, &n));
    ck_assert_uint_eq(n, 0); /* pending */
    ck_ok(request_assign(cx, db, q.request_id, &a));
    ck_ok(requests_take(cx, db, HUB2, ids, 4, c, &n));
    ck_assert_uint_eq(n, 0); /* another hub holds the session */
    ck_ok(requests_take(cx, db, HUB, ids, 4, c, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(c[0].request_id, q.request_id);
    ck_assert_str_eq(c[0].job_id, q.job_id);
    ck_assert_str_eq(c[0].session_id, SIDE("SELECT session_id FROM agents"));
    ck_assert_str_eq(c[0].agent_id, "a1");
    ck_assert_str_eq(c[0].command, "get_status");
    ck_assert_str_eq(c[0].payload, "{\"p\": 1}");
    ck_assert(c[0].sends == 1 && c[0].left_ms > 0 && c[0].left_ms <= 60000);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM request_events"), 0);

    ck_ok(requests_take(cx, db, HUB, ids, 1, c, &n)); /* again, under the same job_id */
    ck_assert(n == 1 && c[0].sends == 2 && str_eq(c[0].job_id, q.job_id));
    ck_assert_str_eq(SIDE("SELECT step FROM request_events"), "resent");
    SIDE("UPDATE requests SET deadline = now()");
    ck_ok(requests_take(cx, db, HUB, ids, 1, c, &n)); /* its time is over */
    ck_assert_uint_eq(n, 0);
    world_is_sound();
    return OK;
}

static const char *steps_of(struct cx *cx, const struct command_request *q)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(4));
    struct request_event *e;
    int64_t before = 0;
    size_t n;

    ck_ok(request_events(cx, db, q, &e, &n));
    for (size_t i = 0; i < n; i++) {
        buf_printf(&b, "%s%s", i ? " " : "", e[i].step);
        ck_assert(e[i].at_ms >= before && e[i].actor);
        before = e[i].at_ms;
    }
    return arena_strdup(&cx->arena, buf_str(&b));
}

WORLD_TEST(the_timeline_tells_five_steps)
{
    const char *agents[] = {"a1"};
    struct command_request q, got;
    struct assigned a;
    struct command c;

    agent_put("a1", "CPE", "{}");
    request_put(cx, &(struct request_new){.admitted_ms = clock_ms() - 5}, &q);
    ck_assert_str_eq(steps_of(cx, &q), "security registered");
    ck_ok(request_note(cx, db, q.request_id, "waiting", NULL, "mihwar", "nobody is there"));
    ck_ok(request_assign(cx, db, q.request_id, &a));
    take(cx, q.request_id, &c);
    ck_ok(requests_delivered(cx, db, (const char *const[]){q.job_id}, agents, 1));
    take(cx, q.request_id, &c);
    end_of(cx, q.job_id, "a1", REQUEST_COMPLETED);
    end_of(cx, q.job_id, "a1", REQUEST_COMPLETED);
    ck_assert_str_eq(
        steps_of(cx, &q),
        "security registered waiting found sent delivered resent result archived late_result");
    ck_ok(request_get(cx, db, NULL, q.request_id, &got));
    ck_assert_str_eq(got.result, "{\"uptime\": 5}");
    ck_assert_ptr_null(got.error_code);

    _cleanup_(buf_release) struct buf b = BUF(KiB(8));
    cJSON *v;
    ck_ok(request_json(cx, &got, &b));
    ck_ok(json_parse(cx, buf_str(&b), b.len, KiB(8), &v));
    ck_assert_str_eq(json_text(cx, json_path(v, "status")), "completed");
    ck_assert_str_eq(json_text(cx, json_path(v, "result.uptime")), "5");

    request_put(cx, &(struct request_new){0}, &q);
    ck_ok(request_cancel(cx, db, &rules, TENANT, q.request_id, NINA, &got));
    ck_assert_str_eq(steps_of(cx, &q), "security registered cancelled archived");
    request_put(cx, &(struct request_new){0}, &q);
    SIDE("UPDATE requests SET deadline = now() WHERE status = 'pending'");
    end_of(cx, q.job_id, NULL, REQUEST_TIMEOUT);
    ck_assert_str_eq(steps_of(cx, &q), "security registered timeout archived");
    return OK;
}

/* ---------------------------------------------------------------- ends */

WORLD_TEST(what_went_wrong_is_named)
{
    static const struct {
        const char *response, *code, *want;
    } cases[] = {
        {"{\"error\":\"no_route\"}", NULL, "no_route"},
        {"{\"code\":\"x1\",\"error\":\"y\"}", NULL, "x1"},
        {"{\"error\":{\"code\":\"deep\",\"detail\":\"z\"}}", NULL, "deep"},
        {"{\"error\":\"y\"}", "given", "given"},
        {"[1]", NULL, "failed"},
        {"\"words\"", NULL, "failed"},
        {NULL, NULL, "failed"},
    };
    struct command_request q;
    struct assigned a;
    struct command c;

    agent_put("a1", "CPE", "{}");
    for (size_t i = 0; i < COUNT(cases); i++) {
        SIDE("UPDATE agents SET failures = 0, status = 'active', cooldown_ms = 0, cooldown_until = "
             "NULL");
        request_put(cx, &(struct request_new){0}, &q);
        ck_ok(request_assign(cx, db, q.request_id, &a));
        take(cx, q.request_id, &c);
        struct request_end e = {.job_id = q.job_id,
                                .agent_id = "a1",
                                .to = REQUEST_FAILED,
                                .response = cases[i].response,
                                .error_code = cases[i].code};
        ck_ok(requests_end_all(cx, db, &rules, &e, 1));
        ck_assert_int_eq(e.verdict, END_DONE);
        ck_assert_str_eq(e.request_id, q.request_id);
        ck_assert_str_eq(
            SIDE("SELECT error_code FROM requests WHERE request_id = '%s'", q.request_id),
            cases[i].want);
    }
    return OK;
}

WORLD_TEST(many_ends_at_once)
{
    enum { N = 10 };
    struct request_end e[N + 6] = {0};
    struct command_request q[N];
    struct assigned a;
    struct command c;

    agent_put("a1", "CPE", "{}");
    for (int i = 0; i < N; i++) {
        request_put(cx, &(struct request_new){0}, &q[i]);
        ck_ok(request_assign(cx, db, q[i].request_id, &a));
        take(cx, q[i].request_id, &c);
        e[i] = (struct request_end){
            .job_id = q[i].job_id, .agent_id = "a1", .to = REQUEST_COMPLETED, .response = "{}"};
    }
    agent_put("a2", "CPE", "{}");
    e[2].response = "{\"n\":1e999999}"; /* JSON, but nothing that can be stored */
    e[N] = e[0];                        /* said twice in one batch */
    e[N].to = REQUEST_FAILED;
    e[N + 1] = (struct request_end){.job_id = NOBODY, .agent_id = "a1", .to = REQUEST_COMPLETED};
    e[N + 2] = (struct request_end){
        .job_id = q[1].job_id, .agent_id = "a1", .tenant_id = TENANT2, .to = REQUEST_COMPLETED};
    e[N + 3] =
        (struct request_end){.job_id = q[3].job_id, .agent_id = "a2", .to = REQUEST_COMPLETED};
    e[N + 4] = (struct request_end){.job_id = q[4].job_id, .to = REQUEST_CANCELLED};
    e[N + 5] = (struct request_end){.job_id = q[5].job_id, .to = REQUEST_TIMEOUT};
    /* the stranger and the others speak first */
    struct request_end all[N + 6];
    memcpy(all, e + N + 1, 5 * sizeof(*e));
    memcpy(all + 5, e, (N + 1) * sizeof(*e));
    ck_ok(requests_end_all(cx, db, &rules, all, COUNT(all)));
    static const enum end_verdict want[] = {END_UNKNOWN, END_UNKNOWN, END_STRANGER, END_TOO_LATE,
                                            END_EARLY};
    for (size_t i = 0; i < COUNT(want); i++)
        ck_assert_msg(all[i].verdict == want[i], "%zu: %d", i, all[i].verdict);
    for (int i = 0; i < N; i++)
        ck_assert_msg(all[5 + i].verdict == (i == 2 ? END_REFUSED : END_DONE), "end %d: %d", i,
                      all[5 + i].verdict);
    ck_assert_int_ne(all[7].err.code, OK);
    ck_assert_int_eq(all[5 + N].verdict, END_LATE);
    ck_assert_str_eq(SIDE("SELECT string_agg(DISTINCT status, ' ' ORDER BY status) FROM requests"),
                     "completed sent");
    ck_assert_str_eq(agent_is("a1"), "active 1 0 0 f");
    world_is_sound();
    return OK;
}

/* An agent that repeats its result for ever, and one that reconnects for ever, do not fill the timeline. */
WORLD_TEST(a_timeline_has_an_end)
{
    enum { N = 120 };
    struct request_end *e = arena_alloc(&cx->arena, N * sizeof(*e));
    struct command_request q;
    struct assigned a;
    struct command c;

    agent_put("a1", "CPE", "{}");
    request_put(cx, &(struct request_new){0}, &q);
    ck_ok(request_assign(cx, db, q.request_id, &a));
    for (int i = 0; i < 60; i++)
        ck_assert_uint_eq(take(cx, q.request_id, &c), 1);
    ck_assert_int_eq(c.sends, 60);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM request_events"), 49);
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < N; i++)
            e[i] =
                (struct request_end){.job_id = q.job_id, .agent_id = "a1", .to = REQUEST_COMPLETED};
        ck_ok(requests_end_all(cx, db, &rules, e, k ? N : 1));
        ck_assert_int_eq(e[0].verdict, k ? END_LATE : END_DONE);
    }
    ck_assert_int_le(SIDE_INT("SELECT count(*) FROM request_events"),
                     49 + 120); /* one batch may pass it */
    world_is_sound();
    return OK;
}

struct timeout_call {
    const char *job_id;
    enum end_verdict verdict;
    bool roll_back;
};
static rc time_out(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct timeout_call *t = arg;

    try(request_timeout(cx, tx, &rules, t->job_id, &t->verdict));
    return t->roll_back ? fail_rc(cx, E_STALE_ATTEMPT, "somebody else") : OK;
}

WORLD_TEST(a_timeout_is_part_of_its_jobs_transaction)
{
    struct command_request q;
    struct assigned a;

    agent_put("a1", "CPE", "{}");
    request_put(cx, &(struct request_new){0}, &q);
    ck_ok(request_assign(cx, db, q.request_id, &a));
    struct timeout_call t = {.job_id = q.job_id};
    ck_ok(pg_tx_run(cx, db, time_out, &t));
    ck_assert_int_eq(t.verdict, END_EARLY);
    SIDE("UPDATE requests SET deadline = now()");
    t.roll_back = true;
    ck_rc(pg_tx_run(cx, db, time_out, &t), E_STALE_ATTEMPT);
    ck_assert_str_eq(request_is(q.request_id), "assigned a1 0 f");
    ck_assert_int_eq(SIDE_INT("SELECT seq FROM command_history_head"), 0);
    t.roll_back = false;
    ck_ok(pg_tx_run(cx, db, time_out, &t));
    ck_assert_int_eq(t.verdict, END_DONE);
    ck_assert_str_eq(request_is(q.request_id), "timeout a1 0 f");
    ck_assert_str_eq(agent_is("a1"),
                     "active 0 0 0 f"); /* it was never sent: not the agent's fault */
    ck_assert_str_eq(SIDE("SELECT status || response_payload::text FROM command_history"),
                     "timeout{\"error\": \"timeout\"}");
    ck_ok(pg_tx_run(cx, db, time_out, &t));
    ck_assert_int_eq(t.verdict, END_LATE);
    world_is_sound();
    return OK;
}

static Suite *suite(void)
{
    Suite *s = suite_create("requests");
    TCase *tc = tcase_create("requests");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, what_is_refused, 0, COUNT(bad));
    tcase_add_test(tc, a_request_is_accepted_with_its_job);
    tcase_add_test(tc, a_key_is_one_request);
    tcase_add_test(tc, lists_are_paged_and_filtered);
    tcase_add_loop_test(tc, who_is_chosen, 0, COUNT(choices));
    tcase_add_test(tc, an_unsent_request_goes_to_the_next);
    tcase_add_test(tc, a_probe_that_was_not_sent_may_move_with_its_agent_gone);
    tcase_add_test(tc, an_agent_that_comes_finds_its_work);
    tcase_add_test(tc, only_the_hub_of_the_session_sends);
    tcase_add_test(tc, the_timeline_tells_five_steps);
    tcase_add_test(tc, what_went_wrong_is_named);
    tcase_add_test(tc, many_ends_at_once);
    tcase_add_test(tc, a_timeline_has_an_end);
    tcase_add_test(tc, a_timeout_is_part_of_its_jobs_transaction);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, world_make, suite);
}

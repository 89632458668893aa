/* test_request_moves.c - every move of a request that is legal, and every one that is not: whoever writes the row, each call of the
 * house in each state, and what time alone does. */
#include "agents_world.h"
#include "base/clock.h"
#include "domain/retention.h"

/* ---------------------------------------------------------------- moves, whoever writes: rows from, columns to */

static const char *const states[] = {"pending", "assigned", "sent",     "completed",
                                     "failed",  "timeout",  "cancelled"};
static const char *const allowed[] = {
    "assigned failed timeout cancelled",
    "pending sent failed timeout cancelled",
    "completed failed timeout",
    "",
    "",
    "",
    "",
};

#define IS_FINAL(s) (strcmp(s, "pending") && strcmp(s, "assigned") && strcmp(s, "sent"))

static void put_state(const char *s)
{
    bool sent = !strcmp(s, "sent") || !strcmp(s, "completed"), has = sent || !strcmp(s, "assigned");

    SIDE("INSERT INTO requests (request_id, tenant_id, job_id, requested_by_name, command, "
         "agent_type, status, assigned_agent_id, "
         "assigned_at, sent_at, sends, timeout_ms, deadline, admitted_at, completed_at) VALUES "
         "('" NOBODY "', '" TENANT
         "', gen_random_uuid(), 'x', 'c', 'CPE', '%s', %s, %s, %s, %d, 1, now(), now(), %s)",
         s, has ? "'a1'" : "NULL", has ? "now()" : "NULL", sent ? "now()" : "NULL", sent,
         IS_FINAL(s) ? "now()" : "NULL");
}

static const char *refused(const char *sql)
{
    const char *words = NULL;

    pg_try(stores.database_url, &words, "%s", sql);
    return words && words[0] ? words : NULL;
}

WORLD_LOOP_TEST(only_legal_moves)
{
    const char *from = states[world_row / 7], *to = states[world_row % 7];
    char sql[600];

    agent_put("a1", "CPE", "{}");
    put_state(from);
    bool sends = !strcmp(to, "sent") && strcmp(from, "sent");
    snprintf(sql, sizeof(sql),
             "UPDATE requests SET status = '%s', version = version + 1, completed_at = %s, sends = "
             "sends + %d, "
             "sent_at = coalesce(sent_at, %s), assigned_at = coalesce(assigned_at, now()), "
             "assigned_agent_id = %s",
             to,
             IS_FINAL(from) && !strcmp(from, to) ? "completed_at"
             : IS_FINAL(to)                      ? "now()"
                                                 : "NULL",
             sends, sends ? "now()" : "NULL",
             !strcmp(to, "pending")                                ? "NULL"
             : !strcmp(from, "pending") && !strcmp(to, "assigned") ? "'a1'"
                                                                   : "assigned_agent_id");
    const char *words = refused(sql);
    bool legal = !strcmp(from, to) || strstr(allowed[world_row / 7], to);
    ck_assert_msg(legal == !words, "%s -> %s: %s", from, to, words ? words : "taken");
    ck_assert_str_eq(SIDE("SELECT status FROM requests"), legal ? to : from);
    return OK;
}

static const struct {
    const char *title, *state, *sql, *words;
} rules_of_rows[] = {
    {"a sent one stays with its agent", "sent",
     "UPDATE requests SET assigned_agent_id = 'a2', version = version + 1", "may not go"},
    {"an unsent one may move", "assigned",
     "UPDATE requests SET assigned_agent_id = 'a2', version = version + 1", NULL},
    {"no agent of another shop", "assigned",
     "UPDATE requests SET assigned_agent_id = 'b1', version = version + 1", "foreign key"},
    {"sends never fall", "sent", "UPDATE requests SET sends = 0, version = version + 1",
     "may not go"},
    {"the version never falls", "sent", "UPDATE requests SET version = 0", "may not go"},
    {"a move raises it", "pending", "UPDATE requests SET status = 'failed', completed_at = now()",
     "may not go"},
    {"what ended keeps its result", "completed",
     "UPDATE requests SET result = '1', version = version + 1", "may not go"},
    {"and its time", "completed",
     "UPDATE requests SET completed_at = completed_at + interval '1 s'", "may not go"},
    {"its job is its job", "pending", "UPDATE requests SET job_id = gen_random_uuid()",
     "may not go"},
    {"a final one has its time", "pending", "UPDATE requests SET completed_at = now()",
     "request_final_has_time"},
};

WORLD_LOOP_TEST(rules_hold_whoever_writes)
{
    agent_put("a1", "CPE", "{}");
    agent_put("a2", "CPE", "{}");
    SIDE("INSERT INTO agents (agent_id, tenant_id, agent_type) VALUES ('b1', '" TENANT2
         "', 'CPE')");
    put_state(rules_of_rows[world_row].state);
    const char *words = refused(rules_of_rows[world_row].sql),
               *want = rules_of_rows[world_row].words;
    ck_assert_msg(want ? words && strstr(words, want) : !words, "%s: %s",
                  rules_of_rows[world_row].title, words ? words : "taken");
    return OK;
}

/* ---------------------------------------------------------------- every call in every state */

enum call {
    ASSIGN,
    WAITING,
    TAKE,
    DELIVERED,
    COMPLETED,
    FAILED,
    STRANGER,
    TIMEOUT,
    TIMEOUT_EARLY,
    CANCEL,
    HOUSE_FAILS,
    CALLS
};
static const char *const call_words[] = {"assign",
                                         "assign_waiting",
                                         "take",
                                         "delivered",
                                         "completed",
                                         "failed",
                                         "by another",
                                         "timeout",
                                         "timeout too early",
                                         "cancel",
                                         "failed by the house"};

static const struct {
    const char *state, *after[CALLS]; /* NULL: it stays */
    enum end_verdict verdict[CALLS];  /* of the calls that end */
} table[] = {
    {"pending",
     {[ASSIGN] = "assigned",
      [WAITING] = "assigned",
      [TIMEOUT] = "timeout",
      [CANCEL] = "cancelled",
      [HOUSE_FAILS] = "failed"},
     {[COMPLETED] = END_STRANGER,
      [FAILED] = END_STRANGER,
      [STRANGER] = END_STRANGER,
      [TIMEOUT] = END_DONE,
      [TIMEOUT_EARLY] = END_EARLY,
      [CANCEL] = END_DONE,
      [HOUSE_FAILS] = END_DONE}},
    {"assigned",
     {[TAKE] = "sent", [TIMEOUT] = "timeout", [CANCEL] = "cancelled", [HOUSE_FAILS] = "failed"},
     {[COMPLETED] = END_EARLY,
      [FAILED] = END_EARLY,
      [STRANGER] = END_STRANGER,
      [TIMEOUT] = END_DONE,
      [TIMEOUT_EARLY] = END_EARLY,
      [CANCEL] = END_DONE,
      [HOUSE_FAILS] = END_DONE}},
    {"sent",
     {[COMPLETED] = "completed",
      [FAILED] = "failed",
      [TIMEOUT] = "timeout",
      [HOUSE_FAILS] = "failed"},
     {[COMPLETED] = END_DONE,
      [FAILED] = END_DONE,
      [STRANGER] = END_STRANGER,
      [TIMEOUT] = END_DONE,
      [TIMEOUT_EARLY] = END_EARLY,
      [CANCEL] = END_TOO_LATE,
      [HOUSE_FAILS] = END_DONE}},
#define ENDED(word)                                                                                \
    {                                                                                              \
        word, {0},                                                                                 \
        {                                                                                          \
            [COMPLETED] = END_LATE, [FAILED] = END_LATE, [STRANGER] = END_STRANGER,                \
            [TIMEOUT] = END_LATE, [TIMEOUT_EARLY] = END_LATE, [CANCEL] = END_LATE,                 \
            [HOUSE_FAILS] = END_LATE                                                               \
        }                                                                                          \
    }
    ENDED("completed"),
    ENDED("failed"),
    ENDED("timeout"),
    {"cancelled",
     {0},
     {[COMPLETED] = END_LATE,
      [FAILED] = END_LATE,
      [STRANGER] = END_STRANGER,
      [TIMEOUT] = END_LATE,
      [TIMEOUT_EARLY] = END_LATE,
      [CANCEL] = END_LATE,
      [HOUSE_FAILS] = END_LATE}},
};

/* Brought there by the calls themselves, so that loads and history are as they should be. */
static void bring_to(struct cx *cx, const struct command_request *q, const char *state)
{
    struct assigned a;
    struct command c;

    if (!strcmp(state, "pending"))
        return;
    ck_ok(request_assign(cx, db, q->request_id, &a));
    ck_assert_int_eq(a.outcome, ASSIGN_FOUND);
    if (!strcmp(state, "assigned"))
        return;
    if (!strcmp(state, "cancelled")) {
        struct command_request after;
        ck_ok(request_cancel(cx, db, &rules, TENANT, q->request_id, NINA, &after));
        return;
    }
    ck_assert_uint_eq(take(cx, q->request_id, &c), 1);
    if (!strcmp(state, "completed"))
        end_of(cx, q->job_id, "a1", REQUEST_COMPLETED);
    if (!strcmp(state, "failed"))
        end_of(cx, q->job_id, "a1", REQUEST_FAILED);
    if (!strcmp(state, "timeout")) {
        SIDE("UPDATE requests SET deadline = now()");
        end_of(cx, q->job_id, NULL, REQUEST_TIMEOUT);
    }
    ck_assert_str_eq(SIDE("SELECT status FROM requests"), state);
}

static int call(struct cx *cx, const struct command_request *q, enum call c)
{
    const char *const jobs[] = {q->job_id}, *const agents[] = {"a1"}, *const * ids;
    struct assigned a;
    struct command cmd;
    size_t n;

    switch (c) {
    case ASSIGN:
        ck_ok(request_assign(cx, db, q->request_id, &a));
        return 0;
    case WAITING:
        ck_ok(request_assign_waiting(cx, db, "a1", 10, &ids, &n));
        return 0;
    case TAKE:
        take(cx, q->request_id, &cmd);
        return 0;
    case DELIVERED:
        ck_ok(requests_delivered(cx, db, jobs, agents, 1));
        return 0;
    case COMPLETED:
        return end_of(cx, q->job_id, "a1", REQUEST_COMPLETED).verdict;
    case FAILED:
        return end_of(cx, q->job_id, "a1", REQUEST_FAILED).verdict;
    case STRANGER:
        return end_of(cx, q->job_id, "a2", REQUEST_COMPLETED).verdict;
    case TIMEOUT:
        SIDE("UPDATE requests SET deadline = now() - interval '1 s'");
        return end_of(cx, q->job_id, NULL, REQUEST_TIMEOUT).verdict;
    case TIMEOUT_EARLY:
        return end_of(cx, q->job_id, NULL, REQUEST_TIMEOUT).verdict;
    case CANCEL:
        return end_of(cx, q->job_id, NULL, REQUEST_CANCELLED).verdict;
    case HOUSE_FAILS:
        return end_of(cx, q->job_id, NULL, REQUEST_FAILED).verdict;
    case CALLS:
        break;
    }
    return 0;
}

WORLD_LOOP_TEST(every_call_in_every_state)
{
    const int s = world_row / CALLS;
    const enum call c = (enum call)(world_row % CALLS);
    struct command_request q;

    request_put(cx, &(struct request_new){0}, &q);
    agent_put("a1", "CPE", "{}");
    bring_to(cx, &q, table[s].state);
    agent_put("a2", "CPE", "{}");
    const char *result = SIDE("SELECT coalesce(result::text, '') || sends FROM requests");
    int verdict = call(cx, &q, c);
    const char *want = table[s].after[c] ? table[s].after[c] : table[s].state;
    ck_assert_msg(str_eq(SIDE("SELECT status FROM requests"), want), "%s, %s: %s", table[s].state,
                  call_words[c], SIDE("SELECT status FROM requests"));
    if (c >= COMPLETED)
        ck_assert_msg(verdict == (int)table[s].verdict[c], "%s, %s: verdict %d", table[s].state,
                      call_words[c], verdict);
    if (!table[s].after[c] && !(c == TAKE && !strcmp(want, "sent")))
        ck_assert_str_eq(SIDE("SELECT coalesce(result::text, '') || sends FROM requests"), result);
    ck_assert_str_eq(SIDE("SELECT (delivered_at IS NOT NULL)::text FROM requests"),
                     c == DELIVERED && !strcmp(table[s].state, "sent") ? "true" : "false");
    world_is_sound();
    return OK;
}

WORLD_TEST(cancelled_by_hand)
{
    struct command_request q, got;
    struct assigned a;
    struct command c;

    agent_put("a1", "CPE", "{}");
    request_put(cx, &(struct request_new){0}, &q);
    ck_rc(request_cancel(cx, db, &rules, TENANT2, q.request_id, NINA, &got), E_NOT_FOUND);
    ck_ok(request_cancel(cx, db, &rules, TENANT, q.request_id, NINA, &got));
    ck_assert_int_eq(got.status, REQUEST_CANCELLED);
    ck_ok(request_cancel(cx, db, &rules, TENANT, q.request_id, NINA, &got)); /* it is cancelled */
    ck_assert_str_eq(SIDE("SELECT status || response_payload::text FROM command_history"),
                     "failed{\"error\": \"cancelled\"}");
    ck_assert_str_eq(SIDE("SELECT step || ' ' || actor FROM request_events"), "cancelled " NINA);

    request_put(cx, &(struct request_new){0}, &q);
    ck_ok(request_assign(cx, db, q.request_id, &a));
    ck_assert_str_eq(agent_is("a1"), "active 1 0 0 f");
    ck_ok(request_cancel(cx, db, &rules, NULL, q.request_id, NINA, &got));
    ck_assert_str_eq(agent_is("a1"), "active 0 0 0 f");

    request_put(cx, &(struct request_new){0}, &q);
    ck_ok(request_assign(cx, db, q.request_id, &a));
    take(cx, q.request_id, &c);
    ck_rc(request_cancel(cx, db, &rules, NULL, q.request_id, NINA, &got), E_TOO_LATE);
    ck_assert_str_eq(request_is(q.request_id), "sent a1 1 f");
    world_is_sound();
    return OK;
}

/* What the check lets through the database can keep: the edges of its numbers, and letters that only look like exponents. */
WORLD_TEST(numbers_at_the_edge)
{
    static const char *const payloads[] = {
        "[1e9999, -1.5E-9999, 1e+0009999, "
        "123456789012345678901234567890123456789012345678901234567.1e9999]",
        "{\"1e99999\":\"1e99999\",\"\\\"\":true}", "true", "[false,1]", "\"1e99999\""};
    struct command_request q;

    for (size_t i = 0; i < COUNT(payloads); i++)
        request_put(cx, &(struct request_new){.payload = payloads[i]}, &q);
    return OK;
}

/* Five hundred large ones would fill the arena of who asks: a page ends earlier, and the cursor goes on. */
WORLD_TEST(a_page_has_a_size)
{
    enum { N = 100, LARGE = 120000 };
    struct request_filter f = {.limit = 500};
    char *payload = arena_alloc(&cx->arena, LARGE + 1), next[ID_LEN + 1];
    struct command_request *list, q;
    size_t n, all = 0, pages = 0;

    memset(payload, 'x', LARGE);
    payload[0] = payload[LARGE - 1] = '"';
    payload[LARGE] = '\0';
    for (int i = 0; i < N; i++)
        request_put(cx, &(struct request_new){.agent_type = "CPE", .payload = payload}, &q);
    do {
        ck_ok(request_list(cx, db, &f, &list, &n, next));
        ck_assert_uint_gt(n, 0);
        ck_assert_uint_le(n * LARGE, MiB(8));
        all += n;
        pages++;
        f.after = arena_strdup(&cx->arena, next);
    } while (next[0]);
    ck_assert_uint_eq(all, N);
    ck_assert_uint_eq(pages, 2);
    return OK;
}

/* A few bytes are ten thousand digits in the database. */
WORLD_TEST(numbers_that_grow)
{
    struct request_new q = {.tenant_id = TENANT,
                            .requested_by_name = NINA,
                            .command = "c",
                            .agent_type = "CPE",
                            .timeout_ms = 1000};
    const char *many = "1e9999";
    struct command_request got;

    for (int i = 0; i < 7; i++)
        many = arena_printf(&cx->arena, "%s,1e9999", many);
    q.payload = arena_printf(&cx->arena, "[%s]", many);
    ck_rc(request_create(cx, db, NULL, &q, &got), E_INVALID_FIELD);
    ck_assert_str_eq(cx->err.pointer, "/payload");
    return OK;
}

/* ---------------------------------------------------------------- what time does
 */

WORLD_TEST(nobody_is_forgotten)
{
    struct command_request q[4];
    struct assigned a;
    struct command c;
    int64_t n;

    agent_put("a1", "CPE", "{}");
    for (int i = 0; i < 4; i++)
        request_put(cx, &(struct request_new){.agent_id = i == 1 ? "a1" : NULL}, &q[i]);
    ck_ok(request_assign(cx, db, q[2].request_id, &a));
    take(cx, q[2].request_id, &c);
    SIDE("UPDATE requests SET deadline = now() - interval '10 s'");
    ck_ok(requests_sweep(cx, db, &rules, &n)); /* their jobs are still about it */
    ck_assert_int_eq(n, 0);
    SIDE("UPDATE requests SET deadline = now() - interval '31 s' WHERE request_id <> '%s'",
         q[3].request_id);
    ck_ok(requests_sweep(cx, db, &rules, &n));
    ck_assert_int_eq(n, 3);
    ck_assert_str_eq(SIDE("SELECT string_agg(status, ' ' ORDER BY request_id) FROM requests"),
                     "timeout timeout timeout pending");
    world_is_sound();

    SIDE("INSERT INTO requests (request_id, tenant_id, job_id, requested_by_name, command, "
         "agent_type, timeout_ms, deadline, "
         "admitted_at) SELECT uuid_v7(), '" TENANT
         "', gen_random_uuid(), 'x', 'c', 'CPE', 1, now() - interval '1 min', now() FROM "
         "generate_series(1, 450) n");
    ck_ok(requests_sweep(cx, db, &rules, &n)); /* more than one batch */
    ck_assert_int_eq(n, 450);
    world_is_sound();
    return OK;
}

/* Old requests go with their timelines; what came of them stays. */
WORLD_TEST(what_is_old_goes)
{
    struct retention_counts counts;
    struct command_request q[4], got;
    bool more;

    for (int i = 0; i < 4; i++)
        request_put(cx, &(struct request_new){0}, &q[i]);
    for (int i = 0; i < 3; i++)
        ck_ok(request_cancel(cx, db, &rules, TENANT, q[i].request_id, NINA, &got));
    SIDE("SET session_replication_role = replica");
    SIDE("UPDATE requests SET created_at = now() - interval '9 days', deadline = now() - interval "
         "'9 days', completed_at = CASE WHEN "
         "completed_at IS NOT NULL THEN now() - CASE request_id WHEN '%s' THEN interval '8 days' "
         "WHEN '%s' THEN interval '6 days' ELSE "
         "interval '9 days' END END",
         q[0].request_id, q[1].request_id);
    SIDE("SET session_replication_role = origin");
    ck_ok(retention_prune(cx, db, clock_ms() - INT64_C(7) * 86400000, 100, &counts, &more));
    ck_assert_int_eq(counts.requests, 2);
    ck_assert_str_eq(SIDE("SELECT string_agg(status, ' ' ORDER BY request_id) FROM requests"),
                     "cancelled pending");
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM request_events"), 1);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM command_history"), 3);
    return OK;
}

static Suite *suite(void)
{
    Suite *s = suite_create("request_moves");
    TCase *tc = tcase_create("moves");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, only_legal_moves, 0, COUNT(states) * COUNT(states));
    tcase_add_loop_test(tc, rules_hold_whoever_writes, 0, COUNT(rules_of_rows));
    tcase_add_loop_test(tc, every_call_in_every_state, 0, COUNT(table) * CALLS);
    tcase_add_test(tc, cancelled_by_hand);
    tcase_add_test(tc, numbers_at_the_edge);
    tcase_add_test(tc, numbers_that_grow);
    tcase_add_test(tc, a_page_has_a_size);
    tcase_add_test(tc, nobody_is_forgotten);
    tcase_add_test(tc, what_is_old_goes);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, world_make, suite);
}

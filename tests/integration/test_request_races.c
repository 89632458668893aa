/* test_request_races.c - who comes first when several come at once, and an agent that keeps failing: a request never has two agents, never is
 * both cancelled and sent, never ends twice; and the one who chooses does it by the index at 10 000 agents. */
#include "agents_world.h"
#include "base/clock.h"
#include "domain/agents/agents.sql.h"
#include "domain/agents/request_move.sql.h"
#include <stdatomic.h>

/* ---------------------------------------------------------------- several fibers at once */

struct racer {
    void (*run)(struct cx *cx, int i);
    int i, *left;
    struct waitq *done;
};

static rc racer_fiber(struct cx *cx, void *arg)
{
    struct racer *r = arg;

    r->run(cx, r->i);
    if (--*r->left == 0)
        waitq_wake_all(r->done);
    return OK;
}

/* n fibers of run(0), run(1) ... ; back when all have ended. */
static void race(struct cx *cx, int n, void (*run)(struct cx *cx, int i))
{
    struct racer *racers = arena_alloc(&cx->arena, (size_t)n * sizeof(*racers));
    struct waitq done = {0};
    int left = n;

    for (int i = 0; i < n; i++) {
        racers[i] = (struct racer){run, i, &left, &done};
        fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "racer"}, racer_fiber, &racers[i]));
    }
    while (left > 0)
        ck_ok(waitq_wait(cx, &done));
}

enum { MANY = 60 };
static struct command_request *q; /* MANY */
static int turn;

static void put_all(struct cx *cx, int n, const char *agent_id)
{
    q = arena_alloc(&cx->arena, MANY * sizeof(*q));
    for (int i = 0; i < n; i++)
        request_put(cx, &(struct request_new){.agent_id = agent_id}, &q[i]);
}

static void assign_same(struct cx *cx, int i)
{
    struct assigned a;

    (void)i;
    ck_ok(request_assign(cx, db, q[0].request_id, &a));
    ck_assert(a.outcome == ASSIGN_FOUND || a.outcome == ASSIGN_STANDS);
}

WORLD_TEST(one_request_many_assigners)
{
    for (turn = 0; turn < 10; turn++) {
        SIDE("DELETE FROM requests");
        SIDE("DELETE FROM agents");
        for (int i = 0; i < 8; i++)
            agent_put(arena_printf(&cx->arena, "a%d", i), "CPE", "{}");
        put_all(cx, 1, NULL);
        race(cx, 8, assign_same);
        ck_assert_int_eq(SIDE_INT("SELECT sum(load) FROM agents"), 1);
        ck_assert_int_eq(SIDE_INT("SELECT version FROM requests"), 2);
        world_is_sound();
    }
    return OK;
}

static void assign_own(struct cx *cx, int i)
{
    struct assigned a;

    ck_ok(request_assign(cx, db, q[i].request_id, &a));
    ck_assert_int_eq(a.outcome, ASSIGN_FOUND);
}

WORLD_TEST(many_requests_spread_over_few_agents)
{
    for (int i = 0; i < 6; i++)
        agent_put(arena_printf(&cx->arena, "a%d", i), "CPE", "{}");
    put_all(cx, MANY, NULL);
    race(cx, MANY, assign_own);
    ck_assert_int_eq(SIDE_INT("SELECT sum(load) FROM agents"), MANY);
    /* least loaded first, but for those that others were choosing at that moment */
    ck_assert_int_le(SIDE_INT("SELECT max(load) - min(load) FROM agents"), 6);
    world_is_sound();
    return OK;
}

WORLD_TEST(one_probe_and_no_second)
{
    agent_put("a1", "CPE", "{}");
    agent_rests("a1", -1);
    put_all(cx, 2, NULL);
    q[1] = q[0];
    SIDE("UPDATE requests SET agent_type = 'Lamp' WHERE request_id <> '%s'", q[0].request_id);
    race(cx, 8, assign_same);
    ck_assert_str_eq(agent_is("a1"), "cooldown 1 3 30000 t");
    world_is_sound();
    return OK;
}

/* Somebody cancels while the hub takes it. */
static void cancel_or_take(struct cx *cx, int i)
{
    const char *ids[] = {q[i / 2].request_id};
    struct command_request got;
    struct command c;
    size_t n;

    if (i % 2) {
        ck_ok(requests_take(cx, db, HUB, ids, 1, &c, &n));
    } else {
        rc r = request_cancel(cx, db, &rules, TENANT, ids[0], NINA, &got);
        ck_assert(r == OK || r == E_TOO_LATE);
    }
}

WORLD_TEST(cancel_races_with_take)
{
    agent_put("a1", "CPE", "{}");
    put_all(cx, MANY, "a1");
    race(cx, MANY, assign_own);
    race(cx, 2 * MANY, cancel_or_take);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM requests WHERE status NOT IN ('cancelled', "
                              "'sent') OR (status = 'cancelled') = "
                              "(sends > 0)"),
                     0);
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM requests"), MANY);
    world_is_sound();
    return OK;
}

/* A result, its repetition and the deadline, all at once, in batches that overlap. */
static atomic_int ended;

static void end_batches(struct cx *cx, int i)
{
    struct request_end *e = arena_alloc(&cx->arena, MANY * sizeof(*e));

    for (int k = 0; k < MANY; k++) {
        int at =
            i % 2 ? k : MANY - 1 - k; /* in two orders: who locks in his own would wait for ever */
        e[k] = (struct request_end){.job_id = q[at].job_id,
                                    .agent_id = i < 4 ? "a1" : NULL,
                                    .to = i < 4 ? REQUEST_COMPLETED : REQUEST_TIMEOUT,
                                    .response = i < 4 ? "{}" : NULL};
    }
    ck_ok(requests_end_all(cx, db, &rules, e, MANY));
    for (int k = 0; k < MANY; k++) {
        ck_assert(e[k].verdict == END_DONE || e[k].verdict == END_LATE);
        ended += e[k].verdict == END_DONE;
    }
}

WORLD_TEST(each_ends_once)
{
    struct history_verdict v;
    struct command c[MANY];
    const char *ids[MANY];
    size_t n;

    agent_put("a1", "CPE", "{}");
    put_all(cx, MANY, "a1");
    race(cx, MANY, assign_own);
    for (int i = 0; i < MANY; i++)
        ids[i] = q[i].request_id;
    ck_ok(requests_take(cx, db, HUB, ids, MANY, c, &n));
    ck_assert_uint_eq(n, MANY);
    SIDE("UPDATE requests SET deadline = now()");
    ended = 0;
    race(cx, 6, end_batches);
    ck_assert_int_eq(ended, MANY);
    world_is_sound();
    ck_ok(history_verify(cx, db, NULL, NULL, NULL, &v));
    ck_assert(v.faults == 0 && v.rows == MANY);
    return OK;
}

/* Everybody does everything at once; what must hold holds. */
static void anything(struct cx *cx, int i)
{
    const char *ids[] = {q[i % MANY].request_id}, *agent = i % 3 ? "a1" : "a2";
    const char *const *got;
    struct command_request r;
    struct assigned a;
    struct command c;
    size_t n;

    for (int k = 0; k < 6; k++) {
        switch (random_below(7)) {
        case 0:
            ck_ok(request_assign_waiting(cx, db, agent, 5, &got, &n));
            break;
        case 1:
            ck_ok(requests_take(cx, db, HUB, ids, 1, &c, &n));
            break;
        case 2:
            end_of(cx, q[i % MANY].job_id, agent,
                   random_below(2) ? REQUEST_COMPLETED : REQUEST_FAILED);
            break;
        case 3:
            if (random_below(4) == 0)
                (void)!request_cancel(cx, db, &rules, TENANT, ids[0], NINA, &r);
            break;
        default:
            ck_ok(request_assign(cx, db, ids[0], &a));
            break;
        }
    }
}

WORLD_TEST(everything_at_once)
{
    struct history_verdict v;

    agent_put("a1", "CPE", "{}");
    agent_put("a2", "CPE", "{}");
    put_all(cx, MANY, NULL);
    race(cx, 2 * MANY, anything);
    world_is_sound();
    ck_ok(history_verify(cx, db, NULL, NULL, NULL, &v));
    ck_assert_int_eq(v.faults, 0);
    return OK;
}

/* ---------------------------------------------------------------- an agent that keeps failing */

/* One request after the other to a1; o: ok, f: failed, n: not_allowed, b: bad_arguments, t: sent and timed out, u: timed out unsent,
 * c: cancelled unsent, |: its rest is over. What cannot be given to it (it rests) shows as an error of the test. */
static const struct {
    const char *title, *life, *want; /* "status load failures cooldown_ms probing" */
} lives[] = {
    {"two failures are not three", "ff", "active 0 2 0 f"},
    {"three are", "fff", "cooldown 0 3 30000 f"},
    {"in a row, that is", "ffoff", "active 0 2 0 f"},
    {"what was asked wrongly does not count", "ffnbnb", "active 0 2 0 f"},
    {"nor does it heal", "ffnf", "cooldown 0 3 30000 f"},
    {"a timeout counts when it was sent", "fft", "cooldown 0 3 30000 f"},
    {"and not when it was not", "ffuuc", "active 0 2 0 f"},
    {"a probe that does it", "fff|o", "active 0 0 0 f"},
    {"trusted again means from the beginning", "fff|off", "active 0 2 0 f"},
    {"a probe that fails doubles the rest", "fff|f", "cooldown 0 4 60000 f"},
    {"and again", "fff|f|f", "cooldown 0 5 120000 f"},
    {"up to ten minutes", "fff|f|f|f|f|f|f|f", "cooldown 0 10 600000 f"},
    {"a probe that times out", "fff|t", "cooldown 0 4 60000 f"},
    {"a probe that was cancelled: another may try", "fff|co", "active 0 0 0 f"},
    {"a probe that was asked wrongly: another may try", "fff|nf", "cooldown 0 4 60000 f"},
    {"healed late", "fff|f|f|o", "active 0 0 0 f"},
};

static void live(struct cx *cx, char what)
{
    struct command_request r, after;
    struct assigned a;
    struct command c;

    if (what == '|') {
        SIDE("UPDATE agents SET cooldown_until = now() - interval '1 ms' WHERE cooldown_until > "
             "now()");
        return;
    }
    request_put(cx, &(struct request_new){.agent_id = "a1"}, &r);
    ck_ok(request_assign(cx, db, r.request_id, &a));
    ck_assert_int_eq(a.outcome, ASSIGN_FOUND);
    if (what == 'c') {
        ck_ok(request_cancel(cx, db, &rules, NULL, r.request_id, NINA, &after));
        return;
    }
    if (what != 'u')
        ck_assert_uint_eq(take(cx, r.request_id, &c), 1);
    struct request_end e = {.job_id = r.job_id,
                            .agent_id = "a1",
                            .to = what == 'o' ? REQUEST_COMPLETED : REQUEST_FAILED,
                            .response = what == 'n'   ? "{\"error\":\"not_allowed\"}"
                                        : what == 'b' ? "{\"error\":{\"code\":\"bad_arguments\"}}"
                                                      : "{\"error\":\"x\"}"};
    if (what == 't' || what == 'u') {
        SIDE("UPDATE requests SET deadline = now() WHERE request_id = '%s'", r.request_id);
        e = (struct request_end){.job_id = r.job_id, .to = REQUEST_TIMEOUT};
    }
    ck_ok(requests_end_all(cx, db, &rules, &e, 1));
    ck_assert_int_eq(e.verdict, END_DONE);
}

WORLD_LOOP_TEST(agents_rest_and_are_probed)
{
    agent_put("a1", "CPE", "{}");
    for (const char *l = lives[world_row].life; *l; l++)
        live(cx, *l);
    ck_assert_msg(str_eq(agent_is("a1"), lives[world_row].want), "%s: %s", lives[world_row].title,
                  agent_is("a1"));
    ck_assert_int_eq(
        SIDE_INT("SELECT count(*) FROM agents WHERE cooldown_ms > 0 AND cooldown_until NOT BETWEEN "
                 "now() + (cooldown_ms "
                 "- 20000) * interval '1 ms' AND now() + cooldown_ms * interval '1 ms'"),
        0);
    world_is_sound();
    return OK;
}

/* Ends that were gathered count as if they had come one by one. */
static const struct {
    const char *title, *ends, *want;
} batches[] = {
    {"three failures", "fff", "cooldown 0 3 30000 f"},
    {"a success behind them", "fffo", "active 0 0 0 f"},
    {"a success between", "ffof", "active 0 1 0 f"},
    {"a success before", "offf", "cooldown 0 3 30000 f"},
    {"none that counts", "nbn", "active 0 0 0 f"},
};

WORLD_LOOP_TEST(gathered_ends_count_in_their_order)
{
    const char *ends = batches[world_row].ends;
    const size_t n = strlen(ends);
    struct request_end e[8] = {0};
    struct assigned a;
    struct command c;

    agent_put("a1", "CPE", "{}");
    put_all(cx, (int)n, "a1");
    for (size_t i = 0; i < n; i++) {
        ck_ok(request_assign(cx, db, q[i].request_id, &a));
        take(cx, q[i].request_id, &c);
        e[i] = (struct request_end){.job_id = q[i].job_id,
                                    .agent_id = "a1",
                                    .to = ends[i] == 'o' ? REQUEST_COMPLETED : REQUEST_FAILED,
                                    .error_code = ends[i] == 'n'   ? "not_allowed"
                                                  : ends[i] == 'b' ? "bad_arguments"
                                                                   : NULL};
    }
    ck_ok(requests_end_all(cx, db, &rules, e, n));
    ck_assert_msg(str_eq(agent_is("a1"), batches[world_row].want), "%s: %s",
                  batches[world_row].title, agent_is("a1"));
    world_is_sound();
    return OK;
}

WORLD_TEST(while_it_rests_only_the_probe_counts)
{
    struct command_request r[5], probe;
    struct assigned a;
    struct command c;

    agent_put("a1", "CPE", "{}");
    for (int i = 0; i < 5; i++) {
        request_put(cx, &(struct request_new){.agent_id = "a1"}, &r[i]);
        ck_ok(request_assign(cx, db, r[i].request_id, &a));
        take(cx, r[i].request_id, &c);
    }
    for (int i = 0; i < 3; i++)
        end_of(cx, r[i].job_id, "a1", REQUEST_FAILED);
    ck_assert_str_eq(agent_is("a1"), "cooldown 2 3 30000 f");
    end_of(cx, r[3].job_id, "a1", REQUEST_COMPLETED); /* from before */
    ck_assert_str_eq(agent_is("a1"), "cooldown 1 3 30000 f");
    live(cx, '|');
    request_put(cx, &(struct request_new){.agent_id = "a1"}, &probe);
    ck_ok(request_assign(cx, db, probe.request_id, &a));
    ck_assert_str_eq(agent_is("a1"), "cooldown 2 3 30000 t");
    end_of(cx, r[4].job_id, "a1", REQUEST_FAILED);
    ck_assert_str_eq(agent_is("a1"), "cooldown 1 3 30000 t");
    take(cx, probe.request_id, &c);
    end_of(cx, probe.job_id, "a1", REQUEST_COMPLETED);
    ck_assert_str_eq(agent_is("a1"), "active 0 0 0 f");

    /* what it left unsent when it fell went to the next */
    agent_put("a2", "CPE", "{}");
    SIDE("UPDATE agents SET load = 0");
    request_put(cx, &(struct request_new){0}, &probe);
    SIDE("UPDATE agents SET assigned_at = now() WHERE agent_id = 'a2'");
    SIDE("UPDATE agents SET assigned_at = NULL WHERE agent_id = 'a1'");
    ck_ok(request_assign(cx, db, probe.request_id, &a));
    ck_assert_str_eq(a.agent_id, "a1");
    agent_rests("a1", 30000);
    ck_ok(request_assign(cx, db, probe.request_id, &a));
    ck_assert_int_eq(a.outcome, ASSIGN_MOVED);
    ck_assert_str_eq(a.agent_id, "a2");
    world_is_sound();
    return OK;
}

/* ---------------------------------------------------------------- ten thousand agents */

static const struct {
    const char *title;
    struct request_new n;
    const char *want; /* a LIKE pattern of who is chosen */
} at_size[] = {
    {"by type", {.agent_type = "CPE"}, "n%"},
    {"by a match that half of them fit", {.agent_type = "CPE", .match = "{\"half\":true}"}, "n%"},
    {"by a match that one fits",
     {.agent_type = "CPE", .match = "{\"serial\":\"SN7421\"}"},
     "n7421"},
    {"without a type, that one fits", {.match = "{\"serial\":\"SN7421\"}"}, "n7421"},
    {"without a type, many fit", {.match = "{\"site\":\"s3\"}"}, "n%"},
};

/* The plan that a connection settles on, whatever the parameters: each way to an agent is an index, and the table is never walked. */
static void plan_is_by_index(struct cx *cx)
{
    const char *indexes[] = {"agents_free_of_type", "agents_free ", "agents_by_metadata",
                             "requests_pkey"};
    char *plan;

    SIDE("SET plan_cache_mode = force_generic_plan");
    SIDE("PREPARE way (uuid, int) AS %s", SQL_REQUEST_ASSIGN.text);
    plan = pg_table(stores.database_url, "EXPLAIN (COSTS off) EXECUTE way ('" NOBODY "', 256)");
    for (size_t i = 0; i < COUNT(indexes); i++)
        ck_assert_msg(strstr(plan, indexes[i]), "%s is not in the plan", indexes[i]);
    ck_assert_ptr_null(strstr(plan, "Seq Scan on agents"));
    free(plan);
    SIDE("DEALLOCATE way");
    SIDE("RESET plan_cache_mode");
}

WORLD_TEST(the_index_finds_one_of_ten_thousand)
{
    SIDE("INSERT INTO agents (agent_id, tenant_id, agent_type, status, session_id, "
         "hub_instance_id, registered_at, assigned_at, "
         "metadata) SELECT 'n' || n, '" TENANT
         "', CASE n %% 10 WHEN 0 THEN 'Core-Switch' ELSE 'CPE' END, 'active', gen_random_uuid(), "
         "'" HUB "', now(), now() - n * interval '1 s', jsonb_build_object('serial', 'SN' || n, "
         "'site', 's' || n %% 100, 'half', "
         "n %% 2 = 0) FROM generate_series(1, 10000) n");
    SIDE("ANALYZE agents");
    plan_is_by_index(cx);
    for (size_t i = 0; i < COUNT(at_size); i++) {
        struct command_request r;
        struct assigned a;
        int64_t best = INT64_MAX;

        for (int again = 0; again < 8; again++) { /* past the first guesses: the plan that stays */
            request_put(cx,
                        &(struct request_new){.agent_type = at_size[i].n.agent_type,
                                              .match = at_size[i].n.match},
                        &r);
            int64_t began = clock_mono_us();
            ck_ok(request_assign(cx, db, r.request_id, &a));
            best = MIN(best, clock_mono_us() - began);
        }
        ck_assert_msg(
            a.agent_id &&
                str_eq(SIDE("SELECT ('%s' LIKE '%s')::text", a.agent_id, at_size[i].want), "true"),
            "%s: %s", at_size[i].title, a.agent_id ? a.agent_id : "nobody");
        printf("%s: %" PRId64 " us\n", at_size[i].title, best); /* told, not judged */
    }
    world_is_sound();
    return OK;
}

/* ---------------------------------------------------------------- who waited for a lock */

/* A transaction that waits for a row began before what it then finds: its times must not say so. */
enum { GREETED, TAKEN };
static const struct {
    const char *title;
    int what;
} waited[] = {
    {"a request that came while its agent was greeted", GREETED},
    {"sent by who waited for it to be assigned", TAKEN},
};

static rc waits(struct cx *cx, void *arg)
{
    const char *ids[] = {q[0].request_id};
    const char *const *got;
    struct pg *own; /* nobody stands behind it on a connection */
    struct command c;
    size_t n;

    (void)arg;
    ck_ok(pg_new(cx, stores.database_url, 1, &own));
    if (waited[world_row].what == GREETED)
        ck_ok(request_assign_waiting(cx, own, "a1", 8, &got, &n));
    else
        ck_ok(requests_take(cx, own, HUB, ids, 1, &c, &n));
    ck_assert_uint_eq(n, 1);
    pg_free(own);
    return OK;
}

/* Lets the other one begin, and does what that one then finds. */
static rc holds(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct fiber **other = arg;

    if (waited[world_row].what == GREETED)
        ck_ok(pg_tx_do(cx, tx, SQL_AGENT_LOCK, NULL, pg_s("a1"), pg_s(NULL)));
    else
        ck_ok(pg_tx_do(cx, tx, SQL_REQUEST_LOCK, NULL, pg_s(q[0].request_id)));
    *other = fiber_spawn(&(struct fiber_opts){.name = "waits"}, waits, NULL);
    while (SIDE_INT("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") < 1)
        ck_ok(fiber_sleep(cx, 2));
    if (waited[world_row].what == GREETED)
        put_all(cx, 1, "a1");
    else
        ck_ok(pg_tx_do(cx, tx, SQL_REQUEST_ASSIGN, NULL, pg_s(q[0].request_id), pg_i(8)));
    return OK;
}

WORLD_LOOP_TEST(who_waited_for_a_lock_is_later)
{
    struct fiber *other = NULL;

    agent_put("a1", "CPE", "{}");
    put_all(cx, waited[world_row].what == GREETED ? 0 : 1, NULL);
    ck_ok(pg_tx_run(cx, db, holds, &other));
    ck_ok(fiber_join(cx, other, NULL));
    ck_assert_msg(
        str_eq(SIDE("SELECT (created_at <= assigned_at AND coalesce(assigned_at <= sent_at, "
                    "true))::text FROM requests"),
               "true"),
        "%s: %s", waited[world_row].title,
        SIDE("SELECT concat_ws(' ', created_at, assigned_at, sent_at) FROM requests"));
    world_is_sound();
    return OK;
}

static Suite *suite(void)
{
    Suite *s = suite_create("request_races");
    TCase *tc = tcase_create("races");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, one_request_many_assigners);
    tcase_add_test(tc, many_requests_spread_over_few_agents);
    tcase_add_test(tc, one_probe_and_no_second);
    tcase_add_test(tc, cancel_races_with_take);
    tcase_add_test(tc, each_ends_once);
    tcase_add_test(tc, everything_at_once);
    tcase_add_loop_test(tc, agents_rest_and_are_probed, 0, COUNT(lives));
    tcase_add_loop_test(tc, gathered_ends_count_in_their_order, 0, COUNT(batches));
    tcase_add_test(tc, while_it_rests_only_the_probe_counts);
    tcase_add_test(tc, the_index_finds_one_of_ten_thousand);
    tcase_add_loop_test(tc, who_waited_for_a_lock_is_later, 0, COUNT(waited));
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, world_make, suite);
}

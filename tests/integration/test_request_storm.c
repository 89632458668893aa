/* test_request_storm.c - everybody at once, for a while, and connections that are cut in the middle.
 *
 *   64 fibers on 22 connections: requests made, cancelled, assigned, taken by three hubs, acknowledged, ended by their agent, by another, by the
 *   clock; sessions that begin, end, are superseded, lost and regained; hubs that die; agents disabled; tokens revoked; requests deleted by
 *   retention. Every now and then the server ends one of the connections.
 *
 * While it goes on: what was sent is never sent to another agent, what was cancelled is never sent, nothing ends twice, and nobody is told of a
 * deadlock. When it is over: the counters of the agents are the truth, every end is in the black box once, the chain is whole, the server
 * had no deadlock to break, and all that is left can still come to its end. */
#include "agents_world.h"
#include "base/clock.h"
#include "rt/waitq.h"

#define TYPE(i) ((i) % 2 ? "CPE" : "Lamp")

enum { FIBERS = 64, STEPS = 40, REQUESTS = 240, AGENTS = 8, CUT_EVERY = 150 };

static const char *const hubs[] = {HUB, HUB2, "01900000-0000-7000-8000-00000000a003"};

static struct life {
    char request_id[ID_LEN + 1], job_id[ID_LEN + 1];
    char sent_to[16]; /* "": not yet, as far as we were told */
    bool cancelled;
    int ends;
} lives[REQUESTS];
static int nlives, steps, done;

static struct device {
    char id[16], token[ID_LEN + 1], session[ID_LEN + 1];
    const char *hub;
} devices[AGENTS];

static struct life *some_life(void)
{
    return nlives ? &lives[random_below((uint64_t)nlives)] : NULL;
}

static struct device *some_device(void)
{
    return &devices[random_below(AGENTS)];
}

static const char *some_hub(void)
{
    return hubs[random_below(COUNT(hubs))];
}

/* What a caller may hear when connections are cut, and when others were first. Never PG_RETRY: that is a deadlock, or a lock not had. */
static void fair(struct cx *cx, const char *what, rc r)
{
    static const rc ones[] = {
        OK,          E_NOT_FOUND,     E_TOO_LATE,       E_STORE_DOWN, E_STORE_DOUBT,
        E_FORBIDDEN, E_UNKNOWN_AGENT, E_UNAUTHENTICATED};

    for (size_t i = 0; i < COUNT(ones); i++) {
        if (r == ones[i])
            return;
    }
    ck_abort_msg("%s: %s", what, cx_words(cx, r));
}

/* ---------------------------------------------------------------- what anybody may do */

static void make(struct cx *cx)
{
    int i = nlives;
    struct request_new n = {.tenant_id = TENANT,
                            .requested_by_name = "front",
                            .command = "get_status",
                            .timeout_ms = 20 + (int64_t)random_below(4000)};
    struct command_request r;

    if (i == REQUESTS)
        return;
    if (random_below(3) == 0)
        n.agent_id = some_device()->id;
    else
        n.agent_type = TYPE(random_below(2));
    if (random_below(2))
        n.match = n.agent_id ? NULL : "{\"site\":\"s1\"}";
    if (random_below(4) == 0) {
        n.idempotency_key = arena_printf(&cx->arena, "key %d", i / 3);
        memset(n.body_hash, 'a', DIGEST_HEX_LEN);
    }
    rc got = request_create(cx, db, NULL, &n, &r);
    fair(cx, "create", got);
    if (got != OK || nlives == REQUESTS || n.replayed)
        return;
    struct life *l = &lives[nlives++];
    snprintf(l->request_id, sizeof l->request_id, "%s", r.request_id);
    snprintf(l->job_id, sizeof l->job_id, "%s", r.job_id);
}

static void find_agent(struct cx *cx)
{
    struct life *l = some_life();
    struct assigned a;

    if (l)
        fair(cx, "assign", request_assign(cx, db, l->request_id, &a));
}

static void sent_once(const struct life *l)
{
    ck_assert_msg(!l->cancelled || !*l->sent_to, "request %s was cancelled, and sent to %s",
                  l->request_id, l->sent_to);
}

static void take_some(struct cx *cx, const char *hub, const char *const *ids, size_t n)
{
    struct command *c = arena_alloc(&cx->arena, (n + 1) * sizeof(*c));
    size_t taken = 0;

    fair(cx, "take", requests_take(cx, db, hub, ids, n, c, &taken));
    for (size_t i = 0; i < taken; i++) {
        for (int k = 0; k < nlives; k++) {
            struct life *l = &lives[k];
            if (!str_eq(l->request_id, c[i].request_id))
                continue;
            ck_assert_msg(!*l->sent_to || str_eq(l->sent_to, c[i].agent_id),
                          "request %s was sent to %s, and then to %s", l->request_id, l->sent_to,
                          c[i].agent_id);
            snprintf(l->sent_to, sizeof l->sent_to, "%s", c[i].agent_id);
            sent_once(l);
        }
    }
}

static void take_any(struct cx *cx)
{
    const char *ids[6];
    size_t n = 0;

    while (n < COUNT(ids) && nlives)
        ids[n++] = some_life()->request_id;
    take_some(cx, some_hub(), ids, n);
}

static void say_delivered(struct cx *cx)
{
    const char *jobs[6], *agents[6];
    size_t n = 0;

    for (; n < COUNT(jobs) && nlives; n++) {
        struct life *l = some_life();
        jobs[n] = l->job_id;
        agents[n] = *l->sent_to ? l->sent_to : some_device()->id;
    }
    fair(cx, "delivered", requests_delivered(cx, db, jobs, agents, n));
}

static void count(struct life *const *of, const struct request_end *e, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_ne(e[i].verdict, END_REFUSED);
        if (e[i].verdict != END_DONE)
            continue;
        done++;
        ck_assert_msg(++of[i]->ends == 1, "request %s ended twice", of[i]->request_id);
    }
}

static size_t draw_ends(struct request_end *e, struct life **of, size_t max)
{
    size_t n = 0, wanted = nlives ? 1 + random_below(max) : 0;

    for (; n < wanted; n++) {
        struct life *l = of[n] = some_life();
        e[n] = (struct request_end){.job_id = l->job_id, .to = REQUEST_TIMEOUT};
        if (random_below(5) == 0)
            continue;
        e[n].agent_id = *l->sent_to && random_below(8) ? l->sent_to : some_device()->id;
        e[n].to = random_below(2) ? REQUEST_COMPLETED : REQUEST_FAILED;
        e[n].response = "{\"n\":1}";
    }
    return n;
}

static void end_some(struct cx *cx)
{
    struct request_end e[12];
    struct life *of[12];
    size_t n = draw_ends(e, of, COUNT(e));
    rc r = requests_end_all(cx, db, &rules, e, n);

    fair(cx, "end", r);
    if (r == OK)
        count(of, e, n);
}

/* As the worker does it: in a transaction of several round trips. */
struct in_tx {
    struct life *life;
    enum end_verdict verdict;
};

static rc time_out(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct in_tx *t = arg;

    return request_timeout(cx, tx, &rules, t->life->job_id, &t->verdict);
}

static void time_is_over(struct cx *cx)
{
    struct in_tx t = {.life = some_life()};

    if (!t.life)
        return;
    rc r = pg_tx_run(cx, db, time_out, &t);
    fair(cx, "timeout", r);
    if (r == OK)
        count(&t.life, &(struct request_end){.verdict = t.verdict ? t.verdict : END_LATE}, 1);
}

static void cancel(struct cx *cx)
{
    struct command_request after;
    struct life *l = some_life();

    if (!l || random_below(4))
        return;
    rc r = request_cancel(cx, db, &rules, TENANT, l->request_id, NINA, &after);
    fair(cx, "cancel", r);
    l->cancelled |= r == OK;
    sent_once(l);
}

/* As the hub does it: what it has in hand, and what has waited. */
static void begin_session(struct cx *cx)
{
    struct device *d = some_device();
    const char *hub = some_hub(), *const * ids;
    char session[ID_LEN + 1];
    struct agent_session old;
    struct agent a;
    size_t n;

    id_new(session);
    rc r = agent_session_begin(cx, db,
                               &(struct agent_hello){.agent_id = d->id,
                                                     .token_id = d->token,
                                                     .session_id = session,
                                                     .hub_id = hub,
                                                     .metadata = "{\"load\":0.5}"},
                               &a, &old);
    fair(cx, "session", r);
    if (r != OK)
        return;
    memcpy(d->session, session, sizeof session);
    d->hub = hub;
    r = requests_open_of(cx, db, d->id, 20, &ids, &n);
    fair(cx, "open", r);
    if (r == OK)
        take_some(cx, hub, ids, n);
    r = request_assign_waiting(cx, db, d->id, 20, &ids, &n);
    fair(cx, "waiting", r);
    if (r == OK)
        take_some(cx, hub, ids, n);
}

static void end_session(struct cx *cx)
{
    struct device *d = some_device();

    if (*d->session)
        fair(cx, "session end", agent_session_end(cx, db, d->id, d->session));
}

static void seen(struct cx *cx)
{
    const char *agents[AGENTS], *sessions[AGENTS], *tokens[AGENTS];
    bool lost[AGENTS];
    size_t n = 0;

    for (int i = AGENTS - 1; i >= 0; i--) {
        if (!*devices[i].session)
            continue;
        agents[n] = devices[i].id;
        tokens[n] = devices[i].token;
        sessions[n++] = devices[i].session;
    }
    fair(cx, "seen", agents_seen(cx, db, agents, sessions, n, lost));
    fair(cx, "regain", agents_regain(cx, db, some_hub(), agents, sessions, tokens, n, lost));
}

static void hubs_live_and_die(struct cx *cx)
{
    const char *hub = some_hub();
    int64_t n;

    if (random_below(3) == 0)
        fair(cx, "gone", hub_instance_gone(cx, db, hub));
    fair(cx, "hub", hub_instance_seen(cx, db, hub));
    fair(cx, "sweep", agents_sweep(cx, db, &n));
    fair(cx, "overdue", requests_sweep(cx, db, &rules, &n));
}

static void change_agent(struct cx *cx)
{
    struct device *d = some_device();
    struct agent_session ended;
    struct agent a;
    bool on = random_below(3) > 0;

    fair(cx, "change",
         agent_change(cx, db, NINA, TENANT, d->id,
                      &(struct agent_change){.set_enabled = true, .enabled = on}, &a, &ended));
    if (!on)
        fair(cx, "change",
             agent_change(cx, db, NINA, TENANT, d->id,
                          &(struct agent_change){.set_enabled = true, .enabled = true}, &a,
                          &ended));
}

/* Their rest is over; what ended is deleted, as retention does it; the partitions of the black box are looked after. */
static void time_goes_by(struct cx *cx)
{
    int64_t n;

    SIDE("WITH a AS (SELECT agent_id FROM agents WHERE cooldown_until > now() FOR NO KEY UPDATE "
         "SKIP LOCKED) UPDATE agents SET "
         "cooldown_until = now() FROM a WHERE a.agent_id = agents.agent_id");
    SIDE("DELETE FROM requests WHERE request_id IN (SELECT request_id FROM requests WHERE "
         "completed_at < now() - interval '1 s' "
         "ORDER BY completed_at LIMIT 2 FOR UPDATE SKIP LOCKED)");
    fair(cx, "partitions", history_partitions(cx, db, &n));
}

static void (*const ways[])(struct cx *cx) = {
    make,
    make,
    make,
    find_agent,
    find_agent,
    find_agent,
    take_any,
    take_any,
    say_delivered,
    end_some,
    end_some,
    end_some,
    time_is_over,
    cancel,
    begin_session,
    begin_session,
    end_session,
    seen,
    hubs_live_and_die,
    change_agent,
    time_goes_by,
};

/* ---------------------------------------------------------------- the storm */

static int left;
static struct waitq calm;

static rc somebody(struct cx *cx, void *arg)
{
    (void)arg;
    for (int i = 0; i < STEPS; i++) {
        ways[random_below(COUNT(ways))](cx);
        if (++steps % CUT_EVERY == 0)
            SIDE("SELECT bool_or(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity "
                 "WHERE datname = "
                 "current_database() AND pid <> pg_backend_pid() AND backend_type = 'client "
                 "backend' ORDER BY random() LIMIT 1) p");
    }
    if (--left == 0)
        waitq_wake_all(&calm);
    return OK;
}

static void devices_put(void)
{
    for (int i = 0; i < AGENTS; i++) {
        struct device *d = &devices[i];

        *d = (struct device){0};
        snprintf(d->id, sizeof d->id, "a%d", i);
        id_new(d->token);
        SIDE("INSERT INTO agents (agent_id, tenant_id, agent_type, provisioned, metadata) VALUES "
             "('%s', '" TENANT "', '%s', '{\"site\":\"s%d\"}', '{\"site\":\"s%d\"}')",
             d->id, TYPE(i), i % 3, i % 3);
        SIDE("INSERT INTO agent_auth_tokens (token_id, agent_id, prefix, token_hash) VALUES ('%s', "
             "'%s', 'aaaaaaaaaaa%d', "
             "'$argon2id$')",
             d->token, d->id, i);
    }
}

#define PROBES_THAT_LIE                                                                            \
    "SELECT coalesce(string_agg(a.agent_id, ', '), '') FROM agents a WHERE a.probing <> EXISTS "   \
    "(SELECT FROM requests r WHERE r.assigned_agent_id = a.agent_id AND r.probe AND r.status IN "  \
    "('assigned', 'sent'))"
#define ENDED_ELSEWHERE                                                                            \
    "SELECT count(*) FROM (SELECT job_id FROM command_history GROUP BY job_id HAVING count(*) > "  \
    "1) t"

static void counters_are_true(void)
{
    world_is_sound();
    ck_assert_str_eq(SIDE(PROBES_THAT_LIE), "");
    ck_assert_int_eq(SIDE_INT(ENDED_ELSEWHERE), 0);
}

static int64_t deadlocks(void)
{
    return SIDE_INT("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
}

WORLD_TEST(what_holds_in_a_storm)
{
    struct pg *calm_db = db;
    struct history_verdict v;
    int64_t before = deadlocks(), n;

    nlives = steps = done = 0;
    memset(lives, 0, sizeof lives);
    devices_put();
    ck_ok(pg_new(cx, stores.database_url, 16, &db));
    left = FIBERS;
    for (int i = 0; i < FIBERS; i++)
        fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "somebody"}, somebody, NULL));
    while (left > 0)
        ck_ok(waitq_wait(cx, &calm));
    pg_free(db);
    db = calm_db;

    counters_are_true();
    ck_assert_int_le(done, SIDE_INT("SELECT count(*) FROM command_history"));
    /* what is left ends */
    SIDE("UPDATE requests SET deadline = now() - interval '1 hour' WHERE completed_at IS NULL");
    ck_ok(requests_sweep(cx, db, &rules, &n));
    ck_assert_int_eq(SIDE_INT("SELECT count(*) FROM requests WHERE completed_at IS NULL"), 0);
    ck_assert_int_eq(SIDE_INT("SELECT sum(load) FROM agents"), 0);
    counters_are_true();
    ck_ok(history_verify(cx, db, NULL, NULL, NULL, &v));
    ck_assert(v.faults == 0 && v.rows > 0);
    ck_assert_int_eq(deadlocks(), before);
    printf("%d steps, %d requests, %d ends and %" PRId64 " behind\n", steps, nlives, done, n);
    return OK;
}

/* ---------------------------------------------------------------- who holds the head and says no more */

static struct waitq moved;
static bool held, other_ended;
static struct command_request stuck, other;

/* As a worker that is stopped between its last statement and its commit; the second time it is quick. */
static rc end_and_stop(struct cx *cx, struct pg_tx *tx, void *arg)
{
    enum end_verdict *verdict = arg;

    try(request_timeout(cx, tx, &rules, stuck.job_id, verdict));
    held = true;
    waitq_wake_all(&moved);
    while (!other_ended)
        ck_ok(waitq_wait(cx, &moved));
    return OK;
}

static rc end_the_other(struct cx *cx, void *arg)
{
    struct request_end e = {.job_id = other.job_id, .to = REQUEST_TIMEOUT};

    (void)arg;
    while (!held)
        ck_ok(waitq_wait(cx, &moved));
    ck_ok(requests_end_all(cx, db, &rules, &e, 1)); /* within the lock_timeout */
    ck_assert_int_eq(e.verdict, END_DONE);
    other_ended = true;
    waitq_wake_all(&moved);
    return OK;
}

WORLD_TEST(a_stopped_process_does_not_hold_the_head)
{
    enum end_verdict verdict = 0;
    struct history_verdict v;

    held = other_ended = false;
    request_put(cx, &(struct request_new){.timeout_ms = 1}, &stuck);
    request_put(cx, &(struct request_new){.timeout_ms = 1}, &other);
    SIDE("UPDATE requests SET deadline = now()");
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "other"}, end_the_other, NULL));
    ck_ok(pg_tx_run(cx, db, end_and_stop, &verdict));
    ck_assert_int_eq(verdict, END_DONE);
    counters_are_true();
    ck_ok(history_verify(cx, db, NULL, NULL, NULL, &v));
    ck_assert(v.faults == 0 && v.rows == 2);
    return OK;
}

static Suite *suite(void)
{
    Suite *s = suite_create("request_storm");
    TCase *tc = tcase_create("storm");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, what_holds_in_a_storm);
    tcase_add_test(tc, a_stopped_process_does_not_hold_the_head);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.no_redis = true}, world_make, suite);
}

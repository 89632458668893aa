/* test_shape.c - policies of queues: who is next (strict, weighted, fair between tenants), how much a
 * queue takes, what of it survives Redis, and that changing it loses and doubles nothing. */
#include "base/clock.h"
#include "base/json.h"
#include "queue/shape/policy.h"
#include "tests/integration/queue_state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tenant a, b, ...; NULL for '-'. */
static const char *tenant(char c)
{
    static char ids[8][ID_LEN + 1];
    static unsigned turn;
    char *id = ids[turn++ % COUNT(ids)];

    if (c == '-')
        return NULL;
    snprintf(id, ID_LEN + 1, "00000000-0000-4000-8000-00000000000%c", c);
    return id;
}

static struct queue_policy policy(struct cx *cx, const char *json)
{
    struct queue_policy p;
    cJSON *o;

    ck_ok(json_parse(cx, json, strlen(json), KiB(64), &o));
    ck_ok(queue_policy_read(cx, o, &p));
    return p;
}

static void set(struct cx *cx, struct qtest *t, const char *json)
{
    struct queue_policy p = policy(cx, json);

    ck_ok(engine_policy_set(cx, t->e, Q, &p));
}

/* n jobs of a tenant; subject "TENANT" tells them apart in a claim. */
static rc push_many(struct cx *cx, struct qtest *t, char who, int priority, size_t n, bool durable)
{
    while (n > 0) {
        size_t k = MIN(n, (size_t)QUEUE_BATCH);
        struct job_new *jobs = xcalloc(k, sizeof *jobs);
        char subject[2] = {who, 0};

        for (size_t i = 0; i < k; i++)
            jobs[i] = (struct job_new){.queue = Q,
                                       .task = "mihwar.noop",
                                       .durable = durable,
                                       .priority = priority,
                                       .tenant_id = tenant(who),
                                       .subject = subject};
        rc r = engine_enqueue(cx, t->e, jobs, k);
        free(jobs);
        try(r);
        n -= k;
    }
    return OK;
}

/* Claims `times` batches of `max`, acking each with the next; counts by tenant ('a' + i) or priority. */
struct counts {
    int tenant[26], nobody, priority[10], all;
};
static struct counts drain(struct cx *cx, struct qtest *t, size_t max, int times)
{
    struct counts n = {0};
    _cleanup_(freep) struct lease *acks = xmalloc((max + 1) * sizeof *acks);
    size_t nacks = 0, refused;

    for (int i = 0; i < times; i++) {
        struct claim_result c;
        ck_ok(engine_claim(cx, t->e, Q, max, 30000, acks, nacks, &c, &refused));
        ck_assert_uint_eq(refused, 0);
        ck_assert(!c.lost);
        nacks = c.n;
        for (size_t k = 0; k < c.n; k++) {
            const struct job *j = &c.jobs[k];
            acks[k] = j->lease;
            n.all++;
            n.priority[j->priority]++;
            if (j->subject && *j->subject != '-')
                n.tenant[*j->subject - 'a']++;
            else
                n.nobody++;
        }
        claim_result_release(&c);
        if (nacks == 0)
            return n;
    }
    ck_ok(engine_ack(cx, t->e, Q, acks, nacks, &refused));
    return n;
}
static struct counts drain_all(struct cx *cx, struct qtest *t)
{
    return drain(cx, t, 256, 100000);
}

#define redis_says(...) redis_one(stores.redis_url, __VA_ARGS__)

/* Nothing of shaping is left in Redis. */
static void ck_nothing_left(void)
{
    static const char *const none[] = {"ring", "idle", "jobs", "lease", "held", "turns"};
    for (size_t i = 0; i < COUNT(none); i++)
        ck_assert_msg(strcmp(redis_one(stores.redis_url, "EXISTS mw:{t}:%s", none[i]), "0") == 0,
                      "%s is left", none[i]);
    ck_assert_str_eq(redis_one(stores.redis_url, "EVAL %s 0",
                               "return #redis.call('KEYS', 'mw:{t}:lane*') + "
                               "#redis.call('KEYS', 'mw:{t}:turns*')"),
                     "0");
}

/* ---------------------------------------------------------------- who is next */

static const struct fair_case {
    const char *title, *policy;
    size_t pushed[3]; /* of tenants a, b, c; in this order */
    int priority[3];
    size_t max;
    int times;
    int want[3], slack; /* how many of each were claimed, give or take */
} fair_cases[] = {
    {"equal shares", "{\"fair\":true}", {10000, 100, 100}, {5, 5, 5}, 30, 10, {100, 100, 100}, 1},
    {"by weight",
     "{\"fair\":true,\"tenant_weights\":{\"00000000-0000-4000-8000-00000000000a\":3}}",
     {10000, 1000, 0},
     {5, 5, 5},
     40,
     10,
     {300, 100, 0},
     2},
    {"one at a time", "{\"fair\":true}", {1000, 10, 0}, {5, 5, 5}, 1, 20, {10, 10, 0}, 1},
    {"what one leaves goes to the others",
     "{\"fair\":true}",
     {1000, 10, 20},
     {5, 5, 5},
     60,
     2,
     {90, 10, 20},
     0},
    {"a high priority takes nothing from another tenant",
     "{\"fair\":true}",
     {1000, 1000, 0},
     {9, 0, 5},
     50,
     4,
     {100, 100, 0},
     1},
    {"weighted priorities within the tenant",
     "{\"fair\":true,\"priorities\":\"weighted\"}",
     {1000, 1000, 0},
     {9, 0, 5},
     50,
     4,
     {100, 100, 0},
     1},
};

static rc one_fair_case(struct cx *cx, struct qtest *t, const struct fair_case *c)
{
    int all = 0;

    set(cx, t, c->policy);
    for (int i = 0; i < 3; i++) {
        try(push_many(cx, t, (char)('a' + i), c->priority[i], c->pushed[i], false));
        all += (int)c->pushed[i];
    }
    struct counts n = drain(cx, t, c->max, c->times);
    for (int i = 0; i < 3; i++)
        ck_assert_msg(abs(n.tenant[i] - c->want[i]) <= c->slack, "%s: tenant %c got %d, not %d",
                      c->title, 'a' + i, n.tenant[i], c->want[i]);
    struct counts rest = drain_all(cx, t);
    ck_assert_int_eq(n.all + rest.all, all);
    ck_nothing_left();
    return OK;
}

QTEST(fair_shares, true)
{
    for (size_t i = 0; i < COUNT(fair_cases); i++)
        try(one_fair_case(cx, t, &fair_cases[i]));
    return OK;
}

QTEST(a_newcomer_waits_for_one_claim, true)
{
    set(cx, t, "{\"fair\":true}");
    try(push_many(cx, t, 'a', 9, 20000, false));
    (void)drain(cx, t, 1000, 3);
    try(push_many(cx, t, 'b', 0, 5000, false));
    struct counts n = drain(cx, t, 2, 1);
    ck_assert_int_eq(n.tenant[1], 1);
    n = drain(cx, t, 100, 2); /* an equal share, not everything until b has caught up */
    ck_assert_int_le(abs(n.tenant[1] - 100), 1);
    return OK;
}

/* One job at a time is no way to the front of the row. */
QTEST(who_comes_back_goes_on_where_he_left, true)
{
    int a = 0, b = 0;

    set(cx, t, "{\"fair\":true,\"tenant_weights\":{\"00000000-0000-4000-8000-00000000000a\":3}}");
    try(push_many(cx, t, 'a', 5, 500, false));
    try(push_many(cx, t, 'b', 5, 1, false));
    for (int i = 0; i < 200; i++) {
        struct counts n = drain(cx, t, 1, 1);
        a += n.tenant[0];
        b += n.tenant[1];
        if (n.tenant[1])
            try(push_many(cx, t, 'b', 5, 1, false));
    }
    ck_assert_msg(abs(b - 50) <= 2 && abs(a - 150) <= 2, "a %d, b %d", a, b);
    return OK;
}

static const struct weight_case {
    const char *title, *policy;
    int pushed, max, times;
    int want[3]; /* of priorities 9, 5, 0 */
    int slack;
} weight_cases[] = {
    {"strict", "{}", 300, 50, 6, {300, 0, 0}, 0},
    {"weighted",
     "{\"priorities\":\"weighted\",\"weights\":[5,1,1,1,3,1,1,1,1,2]}",
     1000,
     50,
     10,
     {250, 150, 100},
     2},
    {"weighted, one at a time",
     "{\"priorities\":\"weighted\",\"weights\":[2,1,1,1,1,1,1,1,1,1]}",
     100,
     1,
     40,
     {20, 10, 10},
     1},
};

static rc one_weight_case(struct cx *cx, struct qtest *t, const struct weight_case *c)
{
    static const int of[] = {9, 5, 0};

    set(cx, t, c->policy);
    for (int i = 0; i < 3; i++)
        try(push_many(cx, t, '-', of[i], (size_t)c->pushed, false));
    struct counts n = drain(cx, t, (size_t)c->max, c->times);
    for (int i = 0; i < 3; i++)
        ck_assert_msg(abs(n.priority[of[i]] - c->want[i]) <= c->slack,
                      "%s: priority %d got %d, not %d", c->title, of[i], n.priority[of[i]],
                      c->want[i]);
    ck_assert_int_eq(drain_all(cx, t).all + n.all, 3 * c->pushed);
    ck_nothing_left();
    return OK;
}

QTEST(priorities, true)
{
    for (size_t i = 0; i < COUNT(weight_cases); i++)
        try(one_weight_case(cx, t, &weight_cases[i]));
    return OK;
}

/* ---------------------------------------------------------------- moves */

/* Where each step of the engine leaves a token of a fair queue. */
QTEST(a_token_in_its_lane, true)
{
    struct job_new a = qjob('a', false), b = qjob('b', false), d = qjob('d', false);
    size_t held;

    set(cx, t, "{\"fair\":true}");
    a.tenant_id = tenant('a');
    ck_ok(engine_push(cx, t->e, &a, 1));
    ck_ok(engine_push(cx, t->e, &b, 1));
    d.run_at_ms = T0 + 1000;
    ck_ok(engine_push(cx, t->e, &d, 1));
#define LANE_A "lane5:00000000-0000-4000-8000-00000000000a"
    ck_state("epoch 1\ngate s{\"f\":1}\njobs a=0.5 b=0.5 d=0.5\nlane5:- b:0.1.0\n" LANE_A
             " a:0.1.0\nring -@0 00000000-0000-4000-8000-00000000000a@0\nsched 5d:0.1.0@1001000\n"
             "stats pushed=3\nwait m");
    struct claim_result c = qclaim(cx, t, 2);
    ck_assert_uint_eq(c.n, 2);
    claim_result_release(&c);
    ck_state("epoch 1\ngate s{\"f\":1}\njobs a=0.5 b=0.5 d=0.5\nlease a:0.1.0@1030000 "
             "b:0.1.0@1030000\nsched 5d:0.1.0@1001000\nstats pushed=3\nwait m");
    /* given back */
    struct lease l = qlease("a:0.1.0");
    ck_ok(engine_return(cx, t->e, Q, &l, 1, &held));
    ck_assert_uint_eq(held, 1);
    /* expired, and due */
    engine_set_clock(t->e, T0 + 30000);
    c = qclaim(cx, t, 0);
    claim_result_release(&c);
    ck_state("epoch 1\ngate s{\"f\":1}\njobs a=0.5 b=0.5 d=0.5\nlane5:- b:0.2.0\n" LANE_A
             " a:0.2.0\nready5 d:0.1.0\nring -@0 00000000-0000-4000-8000-00000000000a@0\n"
             "stats expired=1 pushed=3 released=1\nwait m");
    struct queue_stats *s;
    size_t n;
    ck_ok(engine_queues(cx, t->e, &s, &n));
    ck_assert_int_eq(s[0].ready, 3);
    /* cancelled in its lane */
    bool running;
    ck_ok(engine_cancel(cx, t->e, qid('a'), &running));
    ck_assert(!running);
    ck_assert_int_eq(drain_all(cx, t).all, 2);
    ck_nothing_left();
    return OK;
}

QTEST(purge_finds_everything, true)
{
    struct job_new later = qjob('d', true);
    int64_t purged;

    try(push_many(cx, t, 'b', 3, 1200, false)); /* a backlog from before */
    set(cx, t, "{\"fair\":true,\"tenant_max_length\":100000}");
    try(push_many(cx, t, 'a', 5, 2500, false));
    try(push_many(cx, t, 'c', 9, 7, true));
    later.run_at_ms = clock_ms() + 3600000;
    qenqueue(cx, t, later);
    ck_ok(engine_purge(cx, t->e, Q, &purged));
    ck_assert_int_eq(purged, 1200 + 2500 + 7 + 1);
    ck_nothing_left();
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM jobs WHERE live"), 0);
    ck_assert_str_eq(redis_says("HLEN mw:{t}:tally"), "1"); /* bytes, which are none */
    ck_assert_str_eq(redis_says("HGET mw:{t}:tally bytes"), "0");
    return OK;
}

/* Policies come and go while jobs are claimed: each job is handed out once. */
QTEST(switching_loses_and_doubles_nothing, true)
{
    static const char *const policies[] = {
        "{\"fair\":true}",
        "{}",
        "{\"priorities\":\"weighted\"}",
        "{\"fair\":true,\"priorities\":\"weighted\",\"max_bytes\":1000000000}",
        "{\"max_length\":1000000}",
        "{\"tenant_max_length\":1000000}",
    };
    int all = 0, pushed = 0;

    for (int i = 0; i < 60; i++) {
        set(cx, t, policies[(unsigned)i * 7 % COUNT(policies)]);
        for (int who = 0; who < 3; who++) {
            try(push_many(cx, t, (char)('a' + who), (i + 3 * who) % 10, 40, who == 0));
            pushed += 40;
        }
        all += drain(cx, t, 50, 2).all; /* acks of what was claimed before would be refused twice */
    }
    set(cx, t, "{}");
    all += drain_all(cx, t).all;
    ck_assert_int_eq(all, pushed);
    ck_nothing_left();
    ck_assert_str_eq(redis_says("EXISTS mw:{t}:gate mw:{t}:tally"), "0");
    ck_assert_int_eq(atoi(redis_says("HGET mw:{t}:stats done")), pushed);
    return OK;
}

/* ---------------------------------------------------------------- bounds */

static const struct bound_case {
    const char *title, *policy;
    size_t fits; /* jobs of tenant a, 10 at a time */
    char other;  /* a tenant whose job still goes in, 0: none does */
    const char *words;
} bound_cases[] = {
    {"by length", "{\"max_length\":50}", 50, 0, "queue t is full: it takes 50 jobs"},
    {"by bytes", "{\"max_bytes\":4800}", 50, 0, "queue t is full: it takes 4800 bytes of jobs"},
    {"by tenant", "{\"tenant_max_length\":30}", 30, 'b', "queue t takes 30 jobs of one tenant"},
    {"by tenant, in a fair queue", "{\"fair\":true,\"tenant_max_length\":30}", 30, '-',
     "queue t takes 30 jobs of one tenant"},
};

static rc one_bound_case(struct cx *cx, struct qtest *t, const struct bound_case *c, bool durable)
{
    const char *count = "SELECT count(*) FROM jobs";
    int64_t before = pg_one_int(t->database_url, "%s", count);
    size_t n = 0;
    rc r;

    set(cx, t, c->policy);
    while ((r = push_many(cx, t, 'a', 5, 10, durable)) == OK && n < 1000)
        n += 10;
    ck_assert_msg(r == E_QUEUE_FULL, "%s: %s", c->title, cx_words(cx, r));
    ck_assert_msg(strstr(cx_words(cx, r), c->words), "%s: %s", c->title, cx_words(cx, r));
    ck_assert_msg(n + 10 > c->fits && n <= c->fits, "%s: %zu went in", c->title, n);
    ck_assert_int_eq(atoi(redis_says("HLEN mw:{t}:jobs")), (int)n); /* nothing of the last ten */
    ck_assert_int_eq(pg_one_int(t->database_url, "%s", count) - before, durable ? (int)n : 0);
    if (c->other)
        ck_ok(push_many(cx, t, c->other, 5, 1, durable));
    ck_assert_int_eq(drain(cx, t, 20, 1).all, 20);
    ck_ok(push_many(cx, t, 'a', 5, 1, durable)); /* room again */
    (void)drain_all(cx, t);
    if (strcmp(redis_says("EXISTS mw:{t}:tally"), "1") == 0) {
        ck_assert_str_eq(redis_says("HGET mw:{t}:tally bytes"), "0");
        ck_assert_str_eq(redis_says("HLEN mw:{t}:tally"), "1");
    }
    return OK;
}

QTEST(bounds, true)
{
    for (size_t i = 0; i < COUNT(bound_cases); i++)
        for (int durable = 0; durable < 2; durable++)
            try(one_bound_case(cx, t, &bound_cases[i], durable));
    return OK;
}

/* The bound is set while jobs are there: they are counted. */
QTEST(a_bound_counts_what_is_there, true)
{
    try(push_many(cx, t, 'a', 5, 3000, false));
    try(push_many(cx, t, 'b', 5, 10, true));
    set(cx, t, "{\"tenant_max_length\":3001}");
    ck_assert_str_eq(redis_says("HGET mw:{t}:tally n:00000000-0000-4000-8000-00000000000a"),
                     "3000");
    ck_ok(push_many(cx, t, 'a', 5, 1, false));
    ck_assert_int_eq(push_many(cx, t, 'a', 5, 1, false), E_QUEUE_FULL);
    ck_ok(push_many(cx, t, 'b', 5, 1, false));
    return OK;
}

/* Who enqueues in SQL hears what beat wrote down. */
static const char *in_sql(struct qtest *t)
{
    const char *words = NULL;
    const char *id =
        pg_try(t->database_url, &words, "SELECT mw_enqueue('mihwar.noop', queue => 't')");

    return id ? "" : words;
}

QTEST(a_bound_is_told_to_sql, true)
{
    set(cx, t, "{\"max_length\":2}");
    try(push_many(cx, t, 'a', 5, 2, true));
    ck_assert_str_eq(in_sql(t), ""); /* nobody has looked yet: it may overshoot */
    ck_ok(engine_rooms_note(cx, t->e));
    ck_assert_msg(strstr(in_sql(t), "queue t is full: it takes 2 jobs"), "%s", in_sql(t));
    ck_assert_msg(strstr(in_sql(t), "roll back and try again"), "%s", in_sql(t));
    ck_assert_str_eq(pg_one(t->database_url,
                            "SELECT mw_enqueue('mihwar.noop', queue => 't', id => id) = id "
                            "FROM jobs WHERE queue = 't' LIMIT 1"),
                     "t");              /* what it has already is told again */
    ck_ok(engine_rooms_note(cx, t->e)); /* once more: it is written only when it is news */
    ck_assert_int_eq(drain_all(cx, t).all, 2);
    ck_ok(engine_rooms_note(cx, t->e));
    ck_assert_str_eq(in_sql(t), "");

    /* beat is gone: its word holds for a while only */
    pg_one(t->database_url,
           "UPDATE queue_states SET full_of = 'bytes', full_bound = 7, full_until = now() + "
           "interval '1 minute' RETURNING 1");
    ck_assert_msg(strstr(in_sql(t), "is full: it takes 7 bytes of jobs"), "%s", in_sql(t));
    pg_one(t->database_url,
           "UPDATE queue_states SET full_until = now() - interval '1 second' RETURNING 1");
    ck_assert_str_eq(in_sql(t), "");

    /* another policy, and spread: what was said of the old one does not count, all shards do */
    set(cx, t, "{\"max_length\":4,\"shards\":2}");
    ck_assert_str_eq(in_sql(t), "");
    try(push_many(cx, t, 'b', 5, 4, true));
    ck_ok(engine_rooms_note(cx, t->e));
    ck_assert_msg(strstr(in_sql(t), "it takes 4 jobs"), "%s", in_sql(t));
    set(cx, t, "{}");
    ck_assert_str_eq(in_sql(t), "");

    /* a drained queue needs nobody to look */
    ck_ok(engine_drain(cx, t->e, Q));
    ck_assert_msg(strstr(in_sql(t), "queue t is being drained"), "%s", in_sql(t));
    ck_ok(engine_pause(cx, t->e, Q, false));
    ck_assert_str_eq(in_sql(t), "");
    return OK;
}

QTEST(a_drained_queue_takes_nothing, true)
{
    try(push_many(cx, t, 'a', 5, 3, true));
    ck_ok(engine_drain(cx, t->e, Q));
    for (int durable = 0; durable < 2; durable++) {
        rc r = push_many(cx, t, 'a', 5, 1, durable);
        ck_assert_int_eq(r, E_QUEUE_FULL);
        ck_assert_ptr_nonnull(strstr(cx_words(cx, r), "queue t is being drained"));
    }
    ck_assert_int_eq(drain_all(cx, t).all, 3); /* workers go on */
    ck_ok(engine_pause(cx, t->e, Q, false));
    ck_ok(push_many(cx, t, 'a', 5, 1, false));
    ck_ok(push_many(cx, t, 'a', 5, 1, true));
    ck_assert_str_eq(redis_says("EXISTS mw:{t}:gate"), "0");
    return OK;
}

/* ---------------------------------------------------------------- not begun in time */

/* "state/attempt/error" of a job, and what its only attempt says. */
static const char *ended(struct qtest *t, char c)
{
    return pg_one(t->database_url,
                  "SELECT concat_ws('/', state, attempt, last_error_code, "
                  "(SELECT string_agg(outcome || ' ' || error_code || ' ' || worker, ',') FROM "
                  "job_attempts WHERE job_id = j.id)) FROM jobs j WHERE id = '%s'",
                  qid(c));
}

QTEST(late_jobs_end, true)
{
    const struct job_options late = {.expires_at_ms = T0},
                             early = {.expires_at_ms = INT64_C(1) << 45};
    struct job_new a = qjob('a', true), b = qjob('b', true), c = qjob('c', true),
                   d = qjob('d', true);
    int64_t expired;

    engine_set_clock(t->e, clock_ms() + 60000);
    b.options = a.options = d.options = &late;
    c.options = &early;
    b.priority = 9;
    d.run_at_ms = clock_ms() + 3600000;
    set(cx, t, "{\"fair\":true,\"max_bytes\":100000}");
    qenqueue(cx, t, b);
    struct job under_way = qonly(qclaim(cx, t, 1));
    qenqueue(cx, t, a);
    qenqueue(cx, t, c);
    qenqueue(cx, t, d);
    ck_ok(engine_expire(cx, t->e, &expired));
    ck_assert_int_eq(expired, 2);
    ck_assert_str_eq(ended(t, 'a'), "cancelled/1/expired/cancelled expired beat");
    ck_assert_str_eq(ended(t, 'b'), "ready/0");
    ck_assert_str_eq(ended(t, 'c'), "ready/0");
    ck_assert_str_eq(ended(t, 'd'), "cancelled/1/expired/cancelled expired beat");
    ck_ok(engine_expire(cx, t->e, &expired));
    ck_assert_int_eq(expired, 0);
    struct job next = qonly(qclaim(cx, t, 5));
    ck_assert_str_eq(next.lease.id, qid('c'));
    job_release(&under_way);
    job_release(&next);
    return OK;
}

/* ---------------------------------------------------------------- Redis is lost */

QTEST(a_policy_outlives_redis, true)
{
    struct queue_setting s;
    int64_t jobs;

    set(cx, t,
        "{\"fair\":true,\"tenant_weights\":{\"00000000-0000-4000-8000-00000000000a\":3},"
        "\"tenant_max_length\":300}");
    try(push_many(cx, t, 'a', 5, 200, true));
    try(push_many(cx, t, 'b', 5, 200, true));
    redis_says("FLUSHALL");
    engine_set_clock(t->e, clock_ms() + 60000); /* when the rows say, they are due */
    ck_ok(engine_recover(cx, t->e, &jobs));
    ck_assert_int_eq(jobs, 400);
    ck_assert_str_eq(redis_says("GET mw:{t}:gate"), "s{\"f\":1,\"t\":300}");
    ck_assert_str_eq(redis_says("HGET mw:{t}:tally n:00000000-0000-4000-8000-00000000000a"), "200");
    struct counts n = drain(cx, t, 40, 2);
    ck_assert_int_le(abs(n.tenant[0] - 60), 1);
    /* lost alone, beat brings it back */
    redis_says("DEL mw:{t}:gate mw:{t}:weights mw:{t}:tally");
    ck_ok(engine_gates_copy(cx, t->e));
    ck_assert_str_eq(redis_says("HGET mw:{t}:tally n:00000000-0000-4000-8000-00000000000b"), "180");
    n = drain(cx, t, 40, 2);
    ck_assert_int_le(abs(n.tenant[0] - 60), 1);
    ck_ok(engine_setting(cx, t->e, Q, &s));
    ck_assert(s.policy.fair && s.policy.ntenants == 1 && s.policy.tenants[0].weight == 3);
    ck_assert_int_eq(drain_all(cx, t).all, 400 - 160);
    ck_nothing_left();
    return OK;
}

/* An old snapshot has lanes full of durable jobs: dropped, and rebuilt into lanes. */
QTEST(an_old_snapshot_of_a_shaped_queue, true)
{
    int64_t jobs;

    set(cx, t, "{\"fair\":true,\"max_bytes\":100000000}");
    try(push_many(cx, t, 'a', 5, 100, true));
    try(push_many(cx, t, 'b', 7, 50, false));
    engine_set_clock(t->e, clock_ms() + 60000);
    pg_one(t->database_url, "UPDATE engine_epoch SET epoch = 9 RETURNING 1");
    ck_ok(engine_recover(cx, t->e, &jobs));
    ck_assert_int_eq(jobs, 100);
    struct counts n = drain_all(cx, t);
    ck_assert_int_eq(n.tenant[0], 100);
    ck_assert_int_eq(n.tenant[1], 50);
    ck_assert_str_eq(redis_says("HGET mw:{t}:tally bytes"), "0");
    ck_nothing_left();
    return OK;
}

/* ---------------------------------------------------------------- what may be set */

static const struct {
    const char *title, *json, *pointer; /* pointer NULL: taken */
} policy_cases[] = {
    {"plain", "{}", NULL},
    {"all of it",
     "{\"priorities\":\"weighted\",\"weights\":[10,9,8,7,6,5,4,3,2,1],\"fair\":true,"
     "\"tenant_weights\":{\"00000000-0000-4000-8000-00000000000a\":3},\"max_length\":5,"
     "\"max_bytes\":6,\"tenant_max_length\":7}",
     NULL},
    {"nulls", "{\"weights\":null,\"max_length\":null,\"tenant_weights\":null}", NULL},
    {"nine weights", "{\"weights\":[1,1,1,1,1,1,1,1,1]}", "/weights"},
    {"a weight of nothing", "{\"weights\":[1,1,1,1,1,1,1,1,1,0]}", "/weights"},
    {"half a weight", "{\"weights\":[1,1,1,1,1,1,1,1,1,1.5]}", "/weights"},
    {"unknown word", "{\"priorities\":\"random\"}", "/priorities"},
    {"a tenant that is none", "{\"tenant_weights\":{\"shop\":3}}", "/tenant_weights"},
    {"room for none", "{\"max_length\":0}", "/max_length"},
    {"a stranger", "{\"length\":5}", "/length"},
};

static rc policy_body(struct cx *cx, void *arg)
{
    int i = *(int *)arg;
    struct queue_policy p;
    cJSON *o;

    ck_ok(json_parse(cx, policy_cases[i].json, strlen(policy_cases[i].json), KiB(64), &o));
    rc r = queue_policy_read(cx, o, &p);
    if (policy_cases[i].pointer) {
        ck_assert_msg(r == E_INVALID_FIELD, "%s", policy_cases[i].title);
        ck_assert_str_eq(cx->err.pointer, policy_cases[i].pointer);
        return OK;
    }
    ck_ok(r);
    _cleanup_(buf_release) struct buf first = BUF(KiB(8)), second = BUF(KiB(8));
    struct queue_policy again;
    queue_policy_write(&p, &first);
    ck_ok(json_parse(cx, buf_str(&first), first.len, KiB(64), &o));
    ck_ok(queue_policy_read(cx, o, &again));
    queue_policy_write(&again, &second);
    ck_assert_str_eq(buf_str(&first), buf_str(&second));
    return OK;
}

START_TEST(policies_as_json)
{
    ck_ok(on_fiber(policy_body, &(int){_i}));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("shape");
    TCase *tc = tcase_create("shape");

    tcase_add_loop_test(tc, policies_as_json, 0, COUNT(policy_cases));
    tcase_add_test(tc, fair_shares);
    tcase_add_test(tc, a_newcomer_waits_for_one_claim);
    tcase_add_test(tc, who_comes_back_goes_on_where_he_left);
    tcase_add_test(tc, priorities);
    tcase_add_test(tc, a_token_in_its_lane);
    tcase_add_test(tc, purge_finds_everything);
    tcase_add_test(tc, switching_loses_and_doubles_nothing);
    tcase_add_test(tc, bounds);
    tcase_add_test(tc, a_bound_counts_what_is_there);
    tcase_add_test(tc, a_bound_is_told_to_sql);
    tcase_add_test(tc, a_drained_queue_takes_nothing);
    tcase_add_test(tc, late_jobs_end);
    tcase_add_test(tc, a_policy_outlives_redis);
    tcase_add_test(tc, an_old_snapshot_of_a_shaped_queue);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, NULL, suite);
}

/* test_queue.c - every step of the engine against a real Redis: the state of every key before and
 * after. Broker jobs are enough for the moves; what durable ones add is in test_durable.c. */
#include "queue/dlq.h"
#include "tests/integration/queue_state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rc push1(struct cx *cx, struct qtest *t, struct job_new j)
{
    return engine_push(cx, t->e, &j, 1);
}

/* Claims up to max and gives the tokens' short forms, joined by a space. */
static const char *claimed(struct cx *cx, struct qtest *t, size_t max)
{
    static char text[512];
    struct claim_result c = qclaim(cx, t, max);
    size_t n = 0;

    text[0] = 0;
    for (size_t i = 0; i < c.n; i++) {
        char token[TOKEN_MAX];
        token_format(&c.jobs[i].lease, token);
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? " " : "", token + ID_LEN - 1);
    }
    claim_result_release(&c);
    return text;
}

/* ---------------------------------------------------------------- push */

QTEST(push_makes_ready, false)
{
    ck_ok(push1(cx, t, qjob('a', false)));
    ck_state("jobs a=0.5\nready5 a:0.1.0\nstats pushed=1\nwait m");
    ck_assert_str_eq(redis_one(stores.redis_url, "SMEMBERS mw:queues"), "t");
    return OK;
}

QTEST(push_of_a_known_id_changes_nothing, false)
{
    struct job_new j = qjob('a', false);

    ck_ok(push1(cx, t, j));
    j.priority = 9;
    ck_ok(engine_push(cx, t->e, &j, 1));
    ck_assert(j.existed);
    ck_state("jobs a=0.5\nready5 a:0.1.0\nstats pushed=1\nwait m");
    return OK;
}

QTEST(push_of_one_id_twice_in_a_batch, false)
{
    struct job_new j[] = {qjob('a', false), qjob('a', false), qjob('b', false)};

    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    ck_assert(!j[0].existed && j[1].existed && !j[2].existed);
    ck_state("jobs a=0.5 b=0.5\nready5 a:0.1.0 b:0.1.0\nstats pushed=2\nwait m");
    return OK;
}

QTEST(push_spreads_priorities_and_times, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false), qjob('c', false), qjob('d', false)};

    j[0].priority = 0;
    j[1].priority = 9;
    j[2].run_at_ms = T0 + 5000;
    j[3].run_at_ms = T0 - 5000;
    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    ck_state("jobs a=0.0 b=0.9 c=0.5 d=0.5\nready0 a:0.1.0\nready5 d:0.1.0\nready9 b:0.1.0\nsched "
             "5c:0.1.0@1005000\n"
             "stats pushed=4\nwait m");
    return OK;
}

QTEST(unique_key_answers_with_the_first, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false)};
    size_t refused;

    j[0].unique_key = j[1].unique_key = "order 7";
    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    ck_assert(!j[0].existed && j[1].existed);
    ck_assert_str_eq(j[1].id, qid('a'));
    ck_state("jobs a=0.5\nready5 a:0.1.0\nstats pushed=1\nunique order 7=a\nunique_of a=order "
             "7\nwait m");
    ck_assert_str_eq(claimed(cx, t, 1), "a:0.1.0");
    struct lease l = qlease("a:0.1.0");
    ck_ok(engine_ack(cx, t->e, Q, &l, 1, &refused));
    ck_state("rate 1\nstats done=1 pushed=1\nwait m");
    return OK;
}

QTEST(unique_keys_of_a_batch, false)
{
    struct job_new first = qjob('a', false),
                   j[] = {qjob('b', false), qjob('c', false), qjob('d', false), qjob('e', false),
                          qjob('f', false)};

    first.unique_key = "taken";
    ck_ok(push1(cx, t, first));
    j[0].unique_key = "one";
    j[1].unique_key = "taken";
    j[3].unique_key = "two";
    j[4].unique_key = "one"; /* as the first of this batch */
    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    ck_assert(!j[0].existed && j[1].existed && !j[2].existed && !j[3].existed && j[4].existed);
    ck_assert_str_eq(j[1].id, qid('a'));
    ck_assert_str_eq(j[4].id, qid('b'));
    ck_state(
        "jobs a=0.5 b=0.5 d=0.5 e=0.5\nready5 a:0.1.0 b:0.1.0 d:0.1.0 e:0.1.0\nstats pushed=4\n"
        "unique one=b taken=a two=e\nunique_of a=taken b=one e=two\nwait m");
    return OK;
}

QTEST(two_queues_in_one_batch, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false), qjob('c', false)};

    j[1].queue = "other";
    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    ck_state("jobs a=0.5 c=0.5\nready5 a:0.1.0 c:0.1.0\nstats pushed=2\nwait m");
    ck_assert_str_eq(redis_one(stores.redis_url, "LLEN mw:{other}:ready5"), "1");
    return OK;
}

/* ---------------------------------------------------------------- claim */

QTEST(claim_takes_a_lease, false)
{
    struct job_new j = qjob('a', false);

    j.args = "{\"x\":1}";
    j.subject = "order 7";
    j.trace = "00-1-2-01";
    j.timeout_ms = 5000;
    j.max_attempts = 4;
    ck_ok(push1(cx, t, j));
    struct claim_result c = qclaim(cx, t, 10);
    ck_assert_uint_eq(c.n, 1);
    ck_assert(!c.lost && !c.paused);
    ck_assert_str_eq(c.jobs[0].lease.id, qid('a'));
    ck_assert_str_eq(c.jobs[0].task, "mihwar.noop");
    ck_assert_str_eq(c.jobs[0].args, "{\"x\":1}");
    ck_assert_uint_eq(c.jobs[0].args_len, 7);
    ck_assert_str_eq(c.jobs[0].subject, "order 7");
    ck_assert_ptr_null(c.jobs[0].tenant_id);
    ck_assert_str_eq(c.jobs[0].trace, "00-1-2-01");
    ck_assert_str_eq(c.jobs[0].queue, Q);
    ck_assert_int_eq(c.jobs[0].attempt, 1);
    ck_assert_int_eq(c.jobs[0].max_attempts, 4);
    ck_assert_int_eq(c.jobs[0].timeout_ms, 5000);
    ck_assert(!c.jobs[0].durable);
    claim_result_release(&c);
    ck_state("jobs a=0.5\nlease a:0.1.0@1030000\nstats pushed=1\nwait m");
    return OK;
}

QTEST(claim_is_strict_about_priority, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false), qjob('c', false), qjob('d', false)};

    j[0].priority = 1;
    j[1].priority = 9;
    j[3].priority = 9;
    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    ck_assert_str_eq(claimed(cx, t, 3), "b:0.1.0 d:0.1.0 c:0.1.0");
    ck_state("jobs a=0.1 b=0.9 c=0.5 d=0.9\nlease b:0.1.0@1030000 c:0.1.0@1030000 "
             "d:0.1.0@1030000\nready1 a:0.1.0\n"
             "stats pushed=4\nwait m");
    return OK;
}

QTEST(claim_leaves_the_marker_when_more_waits, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false)};

    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    redis_one(stores.redis_url, "DEL mw:{t}:wait");
    ck_assert_str_eq(claimed(cx, t, 1), "a:0.1.0");
    ck_state("jobs a=0.5 b=0.5\nlease a:0.1.0@1030000\nready5 b:0.1.0\nstats pushed=2\nwait m");
    redis_one(stores.redis_url, "DEL mw:{t}:wait");
    ck_assert_str_eq(claimed(cx, t, 1), "b:0.1.0");
    ck_state("jobs a=0.5 b=0.5\nlease a:0.1.0@1030000 b:0.1.0@1030000\nstats pushed=2");
    return OK;
}

QTEST(claim_promotes_what_is_due, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false)};

    j[0].run_at_ms = T0 + 1000;
    j[1].run_at_ms = T0 + 2000;
    j[1].priority = 9;
    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    ck_assert_str_eq(claimed(cx, t, 5), "");
    struct claim_result c = qclaim(cx, t, 5);
    ck_assert(c.next_due_ms != 0);
    claim_result_release(&c);
    engine_set_clock(t->e, T0 + 1000);
    ck_assert_str_eq(claimed(cx, t, 5), "a:0.1.0");
    engine_set_clock(t->e, T0 + 2000);
    ck_assert_str_eq(claimed(cx, t, 5), "b:0.1.0");
    return OK;
}

QTEST(claim_returns_what_expired, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false)};

    ck_ok(push1(cx, t, j[0]));
    ck_assert_str_eq(claimed(cx, t, 5), "a:0.1.0");
    ck_ok(push1(cx, t, j[1]));
    engine_set_clock(t->e, T0 + 29999);
    ck_assert_str_eq(claimed(cx, t, 0), "");
    ck_state("jobs a=0.5 b=0.5\nlease a:0.1.0@1030000\nready5 b:0.1.0\nstats pushed=2\nwait m");
    engine_set_clock(t->e, T0 + 30000);
    ck_assert_str_eq(claimed(cx, t, 1), "a:0.2.0"); /* at the head: the older first */
    ck_state("jobs a=0.5 b=0.5\nlease a:0.2.0@1060000\nready5 b:0.1.0\nstats expired=1 "
             "pushed=2\nwait m");
    return OK;
}

QTEST(claim_of_a_paused_queue, false)
{
    ck_ok(push1(cx, t, qjob('a', false)));
    ck_ok(engine_pause(cx, t->e, Q, true));
    struct claim_result c = qclaim(cx, t, 5);
    ck_assert(c.paused && c.n == 0);
    claim_result_release(&c);
    ck_state("gate p{}\njobs a=0.5\nready5 a:0.1.0\nstats pushed=1\nwait m");
    ck_ok(engine_pause(cx, t->e, Q, false));
    ck_assert_str_eq(claimed(cx, t, 5), "a:0.1.0");
    return OK;
}

QTEST(claim_drops_tokens_without_a_job, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false)};

    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    redis_one(stores.redis_url, "HDEL mw:{t}:jobs %s", qid('a'));
    ck_assert_str_eq(claimed(cx, t, 5), "b:0.1.0");
    ck_state("jobs b=0.5\nlease b:0.1.0@1030000\nstats pushed=2\nwait m");
    return OK;
}

QTEST(claim_forgets_tokens_of_another_generation, false)
{
    ck_ok(push1(cx, t, qjob('a', false)));
    redis_one(stores.redis_url, "LPUSH mw:{t}:ready5 %s:7.1.0", qid('a'));
    ck_assert_str_eq(claimed(cx, t, 5), "a:0.1.0");
    ck_state("jobs a=0.5\nlease a:0.1.0@1030000\nstats pushed=1\nwait m");
    return OK;
}

/* Redis takes a moment off, or its connection breaks, behind a claim: those that it handed out are here. */
QTEST(claim_brings_the_neighbours_of_what_cannot_be_forgotten, false)
{
    ck_ok(push1(cx, t, qjob('a', false)));
    redis_one(stores.redis_url, "LPUSH mw:{t}:ready5 %s:7.1.0", qid('a'));
    redis_one(stores.redis_url, "ACL SETUSER default -zrem");
    const char *got = claimed(cx, t, 5);
    redis_one(stores.redis_url, "ACL SETUSER default +zrem");
    ck_assert_str_eq(got, "a:0.1.0");
    return OK;
}

QTEST(claim_acks_on_its_way, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false), qjob('c', false)};
    struct claim_result c;
    size_t refused;

    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    ck_assert_str_eq(claimed(cx, t, 2), "a:0.1.0 b:0.1.0");
    struct lease acks[] = {qlease("a:0.1.0"), qlease("b:0.9.0")};
    ck_ok(engine_claim(cx, t->e, Q, 5, 30000, acks, COUNT(acks), &c, &refused));
    ck_assert_uint_eq(refused, 1);
    ck_assert_uint_eq(c.n, 1);
    claim_result_release(&c);
    ck_state("jobs b=0.5 c=0.5\nlease b:0.1.0@1030000 c:0.1.0@1030000\nrate 1\nstats done=1 "
             "pushed=3 refused=1\nwait m");
    return OK;
}

QTEST(a_claim_leaves_a_note, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false), qjob('c', false)};
    _cleanup_(freep) struct lease *last = NULL, *none = NULL;
    size_t n, held;

    engine_name(t->e, "host:1");
    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    ck_assert_str_eq(claimed(cx, t, 1), "a:0.1.0");
    ck_assert_str_eq(claimed(cx, t, 2), "b:0.1.0 c:0.1.0");
    ck_state("jobs a=0.5 b=0.5 c=0.5\nlast:host:1 b:0.1.0 c:0.1.0\n"
             "lease a:0.1.0@1030000 b:0.1.0@1030000 c:0.1.0@1030000\nstats pushed=3\nwait m");
    ck_assert_str_eq(claimed(cx, t, 2), ""); /* nothing was handed out: the note stays */
    ck_ok(engine_last_claim(cx, t->e, Q, "host:1", &last, &n));
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(last[1].id, qid('c'));
    ck_ok(engine_return(cx, t->e, Q, last, n, &held));
    ck_assert_uint_eq(held, 2);
    ck_ok(engine_last_claim(cx, t->e, Q, "host:2", &none, &n));
    ck_assert_uint_eq(n, 0);
    return OK;
}

QTEST(an_envelope_that_is_none_is_buried, true)
{
    redis_one(stores.redis_url, "HSET mw:{t}:jobs %s nonsense\xff", qid('a'));
    redis_one(stores.redis_url, "RPUSH mw:{t}:ready5 %s:0.1.0", qid('a'));
    ck_ok(push1(cx, t, qjob('b', false)));
    ck_assert_str_eq(claimed(cx, t, 5), "b:0.1.0");
    ck_state("epoch 1\njobs b=0.5\nlease b:0.1.0@1030000\nrate 1\nstats died=1 pushed=1\nwait m");
    ck_assert_str_eq(pg_one(t->database_url, "SELECT args || '/' || error_code FROM dead_letters"),
                     "nonsense?/bad_request");
    return OK;
}

/* ---------------------------------------------------------------- hold and end */

#define HELD       "jobs a=0.5\nlease a:0.1.0@1030000\nstats pushed=1"
#define STALE_HELD "jobs a=0.5\nlease a:0.1.0@1030000\nstats pushed=1 refused=1"

static void hold_a(struct cx *cx, struct qtest *t)
{
    ck_ok(push1(cx, t, qjob('a', false)));
    ck_assert_str_eq(claimed(cx, t, 1), "a:0.1.0");
    redis_one(stores.redis_url, "DEL mw:{t}:wait");
    ck_state(HELD);
}

static rc do_ack(struct cx *cx, struct qtest *t, const struct lease *l)
{
    size_t refused;

    try(engine_ack(cx, t->e, Q, l, 1, &refused));
    return refused ? E_STALE_ATTEMPT : OK;
}

static rc do_died(struct cx *cx, struct qtest *t, const struct lease *l)
{
    struct lease d = *l;

    d.died = true;
    return do_ack(cx, t, &d);
}

static rc do_extend(struct cx *cx, struct qtest *t, const struct lease *l)
{
    bool lost, cancel;

    try(engine_extend(cx, t->e, Q, l, 1, 60000, &lost, &cancel));
    ck_assert(!cancel);
    return lost ? E_STALE_ATTEMPT : OK;
}

static rc do_retry(struct cx *cx, struct qtest *t, const struct lease *l)
{
    return engine_reschedule(cx, t->e, Q, l, T0 + 5000, false);
}

static rc do_snooze(struct cx *cx, struct qtest *t, const struct lease *l)
{
    return engine_reschedule(cx, t->e, Q, l, T0 + 5000, true);
}

static rc do_release(struct cx *cx, struct qtest *t, const struct lease *l)
{
    return engine_release(cx, t->e, Q, l, 1);
}

static rc do_return(struct cx *cx, struct qtest *t, const struct lease *l)
{
    size_t held;

    try(engine_return(cx, t->e, Q, l, 1, &held));
    return held == 1 ? OK : E_STALE_ATTEMPT;
}

static const struct {
    const char *title, *token;
    rc (*act)(struct cx *cx, struct qtest *t, const struct lease *l);
    rc want;
    const char *after;
} moves[] = {
    {"ack ends it", "a:0.1.0", do_ack, OK, "rate 1\nstats done=1 pushed=1"},
    {"a death is counted as one", "a:0.1.0", do_died, OK, "rate 1\nstats died=1 pushed=1"},
    {"a stale ack is refused", "a:0.2.0", do_ack, E_STALE_ATTEMPT, STALE_HELD},
    {"an ack under another generation", "a:1.1.0", do_ack, E_STALE_ATTEMPT, STALE_HELD},
    {"an ack under another snooze", "a:0.1.1", do_ack, E_STALE_ATTEMPT, STALE_HELD},
    {"extend", "a:0.1.0", do_extend, OK, "jobs a=0.5\nlease a:0.1.0@1060000\nstats pushed=1"},
    {"a stale extend is lost", "a:0.2.0", do_extend, E_STALE_ATTEMPT, STALE_HELD},
    {"a retry uses an attempt", "a:0.1.0", do_retry, OK,
     "jobs a=0.5\nsched 5a:0.2.0@1005000\nstats pushed=1 retried=1\nwait m"},
    {"a snooze uses none", "a:0.1.0", do_snooze, OK,
     "jobs a=0.5\nsched 5a:0.2.1@1005000\nstats pushed=1 snoozed=1\nwait m"},
    {"a stale retry is refused", "a:0.2.0", do_retry, E_STALE_ATTEMPT, STALE_HELD},
    {"release uses no attempt", "a:0.1.0", do_release, OK,
     "jobs a=0.5\nready5 a:0.2.1\nstats pushed=1 released=1\nwait m"},
    {"a stale release changes nothing", "a:0.2.0", do_release, OK, HELD},
    {"a dead holder's lease uses an attempt", "a:0.1.0", do_return, OK,
     "jobs a=0.5\nready5 a:0.2.0\nstats pushed=1 released=1\nwait m"},
    {"a stale return changes nothing", "a:0.2.0", do_return, E_STALE_ATTEMPT, HELD},
};
static int move;

static rc move_body(struct cx *cx, struct qtest *t)
{
    struct lease l = qlease(moves[move].token);

    hold_a(cx, t);
    rc r = moves[move].act(cx, t, &l);
    ck_assert_msg(r == moves[move].want, "case: %s: %s", moves[move].title, error_info(r)->code);
    ck_assert_msg(strcmp(qstate(), moves[move].after) == 0, "case: %s\n%s\nnot\n%s",
                  moves[move].title, qstate(), moves[move].after);
    return OK;
}

START_TEST(moves_of_a_holder)
{
    move = _i;
    qtest_run(false, move_body);
}
END_TEST

QTEST(a_loser_cannot_end_what_another_holds, false)
{
    struct lease old = qlease("a:0.1.0");

    hold_a(cx, t);
    engine_set_clock(t->e, T0 + 30000);
    ck_assert_str_eq(claimed(cx, t, 1), "a:0.2.0");
    ck_rc(do_ack(cx, t, &old), E_STALE_ATTEMPT);
    ck_rc(do_extend(cx, t, &old), E_STALE_ATTEMPT);
    ck_rc(do_retry(cx, t, &old), E_STALE_ATTEMPT);
    ck_state("jobs a=0.5\nlease a:0.2.0@1060000\nstats expired=1 pushed=1 refused=3");
    return OK;
}

QTEST(extend_tells_each_lease_apart, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false)};
    struct lease l[] = {qlease("a:0.1.0"), qlease("c:0.1.0"), qlease("b:0.1.0")};
    bool lost[3], cancel[3], running;

    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    ck_assert_str_eq(claimed(cx, t, 2), "a:0.1.0 b:0.1.0");
    ck_ok(engine_cancel(cx, t->e, qid('b'), &running));
    ck_assert(running);
    ck_ok(engine_extend(cx, t->e, Q, l, 3, 60000, lost, cancel));
    ck_assert(!lost[0] && lost[1] && !lost[2]);
    ck_assert(!cancel[0] && !cancel[1] && cancel[2]);
    ck_ok(do_ack(cx, t, &l[2]));
    ck_state("jobs a=0.5\nlease a:0.1.0@1060000\nrate 1\nstats done=1 pushed=2 refused=1\nwait m");
    return OK;
}

/* ---------------------------------------------------------------- control */

QTEST(cancel_takes_a_queued_job_out, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false), qjob('c', false)};
    bool running = true;

    j[1].run_at_ms = T0 + 5000;
    j[2].unique_key = "k";
    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    for (const char *c = "abc"; *c; c++) {
        ck_ok(engine_cancel(cx, t->e, qid(*c), &running));
        ck_assert(!running);
    }
    ck_state("stats pushed=3\nwait m");
    ck_rc(engine_cancel(cx, t->e, qid('a'), &running), E_NOT_FOUND);
    return OK;
}

QTEST(a_wish_outlives_its_holder, false)
{
    bool running;

    hold_a(cx, t);
    ck_ok(engine_cancel(cx, t->e, qid('a'), &running));
    ck_assert(running);
    ck_state("cancel a\n" HELD);
    engine_set_clock(t->e, T0 + 30000);
    ck_assert_str_eq(claimed(cx, t, 1), "");
    ck_state("stats expired=1 pushed=1");
    return OK;
}

QTEST(purge_leaves_leased_jobs, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false), qjob('c', false), qjob('d', false)};
    int64_t n;

    j[2].run_at_ms = T0 + 5000;
    j[3].priority = 0;
    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    ck_assert_str_eq(claimed(cx, t, 1), "a:0.1.0");
    ck_ok(engine_purge(cx, t->e, Q, &n));
    ck_assert_int_eq(n, 3);
    ck_state("jobs a=0.5\nlease a:0.1.0@1030000\nstats pushed=4\nwait m");
    return OK;
}

QTEST(stats_count, false)
{
    struct job_new j[] = {qjob('a', false), qjob('b', false), qjob('c', false)};
    struct lease l = qlease("a:0.1.0");
    struct queue_stats *s;
    size_t n;

    j[2].run_at_ms = T0 + 60000;
    ck_ok(engine_push(cx, t->e, j, COUNT(j)));
    ck_assert_str_eq(claimed(cx, t, 1), "a:0.1.0");
    ck_ok(do_ack(cx, t, &l));
    engine_set_clock(t->e, T0 + 15000);
    ck_ok(engine_queues(cx, t->e, &s, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(s->name, Q);
    ck_assert_int_eq(s->ready, 1);
    ck_assert_int_eq(s->leased, 0);
    ck_assert_int_eq(s->scheduled, 1);
    ck_assert_int_eq(s->done, 1);
    ck_assert_int_eq(s->oldest_age_ms, 15000);
    ck_assert(s->rate_per_s > 0.016 && s->rate_per_s < 0.017);
    ck_assert(!s->paused);
    return OK;
}

/* ---------------------------------------------------------------- wait */

struct waiter {
    struct qtest *t;
    struct redis *blocking;
    size_t which;
};

static rc wait_for_work(struct cx *cx, void *arg)
{
    struct waiter *w = arg;

    return engine_wait(cx, w->t->e, w->blocking, (const char *const[]){"x", Q}, 2, INT64_MAX / 2,
                       &w->which);
}

QTEST(wait_ends_with_a_push, false)
{
    struct waiter w = {.t = t};
    struct job_new later = qjob('b', false), sooner = qjob('c', false);
    rc result;

    ck_ok(redis_new(cx, stores.redis_url, &w.blocking));
    struct fiber *f = fiber_spawn(&(struct fiber_opts){.name = "waiter"}, wait_for_work, &w);
    ck_ok(fiber_sleep(cx, 50));
    ck_ok(push1(cx, t, qjob('a', false)));
    ck_ok(fiber_join(cx, f, &result));
    ck_ok(result);
    ck_assert_uint_eq(w.which, 1);
    ck_state("jobs a=0.5\nready5 a:0.1.0\nstats pushed=1"); /* it took the marker */

    /* The first of the scheduled ones wakes, a later one does not. */
    sooner.run_at_ms = T0 + 5000;
    later.run_at_ms = T0 + 9000;
    ck_ok(push1(cx, t, sooner));
    ck_assert_str_eq(redis_one(stores.redis_url, "DEL mw:{t}:wait"), "1");
    ck_ok(push1(cx, t, later));
    ck_assert_str_eq(redis_one(stores.redis_url, "DEL mw:{t}:wait"), "0");

    ck_ok(engine_wait(cx, t->e, w.blocking, (const char *const[]){Q}, 1, 0, &w.which));
    ck_assert_uint_eq(w.which, 1); /* nobody: the time is over */
    redis_free(w.blocking);
    return OK;
}

/* ---------------------------------------------------------------- what may be asked for */

static const struct {
    const char *title, *pointer;
    struct job_new j;
} bad[] = {
    {"no task", "/task", {.task = NULL}},
    {"a task with a space", "/task", {.task = "a b"}},
    {"a queue with a colon", "/queue", {.task = "a", .queue = "a:b"}},
    {"an empty queue", "/queue", {.task = "a", .queue = ""}},
    {"an id that is none", "/id", {.task = "a", .id = "x"}},
    {"an id in upper case", "/id", {.task = "a", .id = "00000000-0000-7000-8000-00000000000A"}},
    {"arguments that are not UTF-8", "/args", {.task = "a", .args = "\"\xff\""}},
    {"a priority of ten", "/priority", {.task = "a", .priority = 10}},
    {"a negative priority", "/priority", {.task = "a", .priority = -1}},
    {"before 1970", "/run_at", {.task = "a", .run_at_ms = -1}},
    {"a negative limit", "/timeout_ms", {.task = "a", .timeout_ms = -1}},
    {"a limit of a year", "/timeout_ms", {.task = "a", .timeout_ms = INT64_C(31536000000)}},
    {"too many attempts", "/max_attempts", {.task = "a", .max_attempts = 1001}},
    {"an empty unique key", "/unique_key", {.task = "a", .unique_key = ""}},
    {"a unique key with a line feed", "/unique_key", {.task = "a", .unique_key = "a\nb"}},
    {"a unique key that is not UTF-8", "/unique_key", {.task = "a", .unique_key = "\xff"}},
    {"a tenant that is none", "/tenant_id", {.task = "a", .tenant_id = "me"}},
};

START_TEST(refused)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");

    ck_assert_msg(job_new_check(&cx, &bad[_i].j) == E_INVALID_FIELD, "case: %s", bad[_i].title);
    ck_assert_msg(strcmp(cx.err.pointer, bad[_i].pointer) == 0, "case: %s: %s", bad[_i].title,
                  cx.err.pointer);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("queue");
    TCase *tc = tcase_create("moves");

    tcase_add_test(tc, push_makes_ready);
    tcase_add_test(tc, push_of_a_known_id_changes_nothing);
    tcase_add_test(tc, push_of_one_id_twice_in_a_batch);
    tcase_add_test(tc, push_spreads_priorities_and_times);
    tcase_add_test(tc, unique_key_answers_with_the_first);
    tcase_add_test(tc, unique_keys_of_a_batch);
    tcase_add_test(tc, two_queues_in_one_batch);
    tcase_add_test(tc, claim_takes_a_lease);
    tcase_add_test(tc, claim_is_strict_about_priority);
    tcase_add_test(tc, claim_leaves_the_marker_when_more_waits);
    tcase_add_test(tc, claim_promotes_what_is_due);
    tcase_add_test(tc, claim_returns_what_expired);
    tcase_add_test(tc, claim_of_a_paused_queue);
    tcase_add_test(tc, claim_drops_tokens_without_a_job);
    tcase_add_test(tc, claim_forgets_tokens_of_another_generation);
    tcase_add_test(tc, claim_brings_the_neighbours_of_what_cannot_be_forgotten);
    tcase_add_test(tc, claim_acks_on_its_way);
    tcase_add_test(tc, a_claim_leaves_a_note);
    tcase_add_test(tc, an_envelope_that_is_none_is_buried);
    tcase_add_loop_test(tc, moves_of_a_holder, 0, COUNT(moves));
    tcase_add_test(tc, a_loser_cannot_end_what_another_holds);
    tcase_add_test(tc, extend_tells_each_lease_apart);
    tcase_add_test(tc, cancel_takes_a_queued_job_out);
    tcase_add_test(tc, a_wish_outlives_its_holder);
    tcase_add_test(tc, purge_leaves_leased_jobs);
    tcase_add_test(tc, stats_count);
    tcase_add_test(tc, wait_ends_with_a_push);
    tcase_add_loop_test(tc, refused, 0, COUNT(bad));
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, NULL, suite);
}

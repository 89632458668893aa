/* test_durable.c - durable jobs: insert, unique keys, the fenced end, cancel and retry, dead
 * letters, views. Redis and PostgreSQL are both looked at. */
#include "base/clock.h"
#include "queue/dlq.h"
#include "queue/end.h"
#include "queue/jobs.h"
#include "queue/retry.h"
#include "tests/integration/queue_state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "state/generation.attempt.snoozes" of a job. */
static const char *row(struct qtest *t, char c)
{
    return pg_one(t->database_url,
                  "SELECT state || '/' || generation || '.' || attempt || '.' || snoozes FROM jobs "
                  "WHERE id = '%s'",
                  qid(c));
}
#define ck_row(c, want) ck_assert_str_eq(row(t, c), (want))

static struct job claim1(struct cx *cx, struct qtest *t)
{
    return qonly(qclaim(cx, t, 1));
}

/* ---------------------------------------------------------------- enqueue */

QTEST(enqueue_writes_both, true)
{
    struct job_new j[] = {qjob('a', true), qjob('b', false), qjob('c', true)};

    j[2].run_at_ms = clock_ms() + 3600000;
    j[2].args = "{\"n\": 1}";
    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    ck_row('a', "ready/1.0.0");
    ck_row('c', "scheduled/1.0.0");
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM jobs"), 2);
    ck_assert_str_eq(pg_one(t->database_url, "SELECT args FROM jobs WHERE id = '%s'", qid('c')),
                     "{\"n\": 1}");
    const char *state = qstate();
    ck_assert_ptr_nonnull(strstr(state, "jobs a=1.5 b=0.5 c=1.5\n"));
    ck_assert_ptr_nonnull(strstr(state, "ready5 a:1.1.0 b:0.1.0\n"));
    ck_assert_ptr_nonnull(strstr(state, "sched 5c:1.1.0@"));
    return OK;
}

QTEST(the_same_id_twice, true)
{
    struct job_new j = qjob('a', true), again = qjob('a', true);

    ck_ok(engine_enqueue(cx, t->e, &j, 1));
    ck_ok(engine_enqueue(cx, t->e, &again, 1));
    ck_assert(!j.existed && again.existed);
    ck_state("epoch 1\njobs a=1.5\nready5 a:1.1.0\nstats pushed=1\nwait m");
    return OK;
}

QTEST(unique_keys_are_decided_in_postgresql, true)
{
    struct job_new j[] = {qjob('a', true), qjob('b', true), qjob('c', true), qjob('d', true)};

    for (size_t i = 0; i < 3; i++)
        j[i].unique_key = "order 7";
    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    ck_assert(!j[0].existed && j[1].existed && j[2].existed && !j[3].existed);
    ck_assert_str_eq(j[1].id, qid('a'));
    ck_assert_str_eq(j[2].id, qid('a'));
    ck_state("epoch 1\njobs a=1.5 d=1.5\nready5 a:1.1.0 d:1.1.0\nstats pushed=2\nwait m");

    struct job held = claim1(cx, t);
    ck_ok(engine_end(cx, t->e, &held, &(struct job_end){.outcome = JOB_COMPLETED}));
    job_release(&held);
    struct job_new next = qjob('e', true);
    next.unique_key = "order 7";
    ck_ok(engine_enqueue(cx, t->e, &next, 1));
    ck_assert(!next.existed); /* the first has ended */
    return OK;
}

struct racer {
    struct qtest *t;
    struct job_new j;
};

static rc race(struct cx *cx, void *arg)
{
    struct racer *r = arg;

    return engine_enqueue(cx, r->t->e, &r->j, 1);
}

QTEST(a_race_for_a_unique_key_has_one_winner, true)
{
    struct racer r[12];
    struct fiber *f[COUNT(r)];
    rc result;
    int winners = 0;

    for (size_t i = 0; i < COUNT(r); i++) {
        r[i] = (struct racer){
            t, {.queue = Q, .task = "mihwar.noop", .durable = true, .unique_key = "one"}};
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "racer", .inherit = cx}, race, &r[i]);
    }
    for (size_t i = 0; i < COUNT(r); i++) {
        ck_ok(fiber_join(cx, f[i], &result));
        ck_ok(result);
        winners += !r[i].j.existed;
        ck_assert_str_eq(r[i].j.id, r[0].j.id);
    }
    ck_assert_int_eq(winners, 1);
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM jobs"), 1);
    return OK;
}

/* ---------------------------------------------------------------- the fenced end */

static const struct {
    const char *title;
    struct job_end end;
    const char *row, *attempt;
    int dead;
} ends[] = {
    {"completed",
     {.outcome = JOB_COMPLETED, .result = "{\"pin\": true}"},
     "completed/1.1.0",
     "completed//",
     0},
    {"retry",
     {.outcome = JOB_RETRY,
      .run_at_ms = INT64_C(4000000000000),
      .error_code = "overloaded",
      .error = "busy"},
     "scheduled/1.1.0",
     "retry/overloaded/busy",
     0},
    {"retry at once",
     {.outcome = JOB_RETRY, .run_at_ms = 1, .error_code = "overloaded", .error = "busy"},
     "ready/1.1.0",
     "retry/overloaded/busy",
     0},
    {"snooze",
     {.outcome = JOB_SNOOZED, .run_at_ms = INT64_C(4000000000000)},
     "scheduled/1.1.1",
     "snoozed//",
     0},
    {"dead",
     {.outcome = JOB_DEAD, .error_code = "not_found", .error = "gone"},
     "dead/1.1.0",
     "dead/not_found/gone",
     1},
    {"words that are not UTF-8",
     {.outcome = JOB_DEAD, .error_code = "os", .error = "caf\xe9"},
     "dead/1.1.0",
     "dead/os/caf?",
     1},
    {"cancelled", {.outcome = JOB_CANCELLED}, "cancelled/1.1.0", "cancelled//", 0},
};
static int end_case;

static rc end_body(struct cx *cx, struct qtest *t)
{
    struct job_end end = ends[end_case].end;

    qenqueue(cx, t, qjob('a', true));
    struct job j = claim1(cx, t);
    end.worker = "host:1";
    end.started_ms = clock_ms() - 5;
    ck_ok(engine_end(cx, t->e, &j, &end));
    ck_assert_msg(strcmp(row(t, 'a'), ends[end_case].row) == 0, "case: %s: %s",
                  ends[end_case].title, row(t, 'a'));
    ck_assert_str_eq(
        pg_one(t->database_url,
               "SELECT outcome || '/' || coalesce(error_code, '') || '/' || coalesce(error, '')"
               " FROM job_attempts WHERE worker = 'host:1'"),
        ends[end_case].attempt);
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM dead_letters"),
                     ends[end_case].dead);
    ck_rc(engine_end(cx, t->e, &j, &end), E_STALE_ATTEMPT); /* once */
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM job_attempts"), 1);
    job_release(&j);
    return OK;
}

START_TEST(each_end)
{
    end_case = _i;
    qtest_run(true, end_body);
}
END_TEST

static rc write_and_end(struct cx *cx, struct pg_tx *tx, void *arg)
{
    static const struct sql domain_write = {
        .name = "test_domain_write",
        .text = "INSERT INTO queue_states (queue) VALUES ('written')",
        .nparams = 0};

    try(pg_tx_query(cx, tx, &domain_write, NULL, PG_NO_ARGS));
    return engine_end_tx(cx, tx, arg, &(struct job_end){.outcome = JOB_COMPLETED});
}

static const struct {
    const char *title, *spoil; /* SQL that makes the held attempt stale */
} stales[] = {
    {"a later claim has ended", "UPDATE jobs SET attempt = 1"},
    {"Redis was rebuilt: the generation moved", "UPDATE jobs SET generation = 2"},
    {"somebody cancelled it", "UPDATE jobs SET state = 'cancelled', finished_at = now()"},
    {"the row is gone", "DELETE FROM jobs"},
};
static int stale_case;

static rc stale_body(struct cx *cx, struct qtest *t)
{
    qenqueue(cx, t, qjob('a', true));
    struct job j = claim1(cx, t);
    pg_one(t->database_url, "WITH x AS (%s RETURNING 1) SELECT count(*) FROM x",
           stales[stale_case].spoil);
    ck_assert_msg(pg_tx_run(cx, t->db, write_and_end, &j) == E_STALE_ATTEMPT, "case: %s",
                  stales[stale_case].title);
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM queue_states"),
                     0); /* rolled back */
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM job_attempts"), 0);
    job_release(&j);
    return OK;
}

START_TEST(stale_ends_roll_back)
{
    stale_case = _i;
    qtest_run(true, stale_body);
}
END_TEST

QTEST(the_domain_write_lands_with_the_end, true)
{
    qenqueue(cx, t, qjob('a', true));
    struct job j = claim1(cx, t);
    ck_ok(pg_tx_run(cx, t->db, write_and_end, &j));
    ck_row('a', "completed/1.1.0");
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM queue_states"), 1);
    job_release(&j);
    return OK;
}

/* ---------------------------------------------------------------- control */

QTEST(cancel_of_a_durable_job, true)
{
    struct job_new j[] = {qjob('a', true), qjob('b', true), qjob('c', true), qjob('d', true)};
    bool running;

    j[1].run_at_ms = clock_ms() + 3600000;
    ck_ok(engine_enqueue(cx, t->e, j, 3));
    struct job held = claim1(cx, t); /* a */
    for (const char *c = "abc"; *c; c++) {
        ck_ok(engine_cancel(cx, t->e, qid(*c), &running));
        ck_assert(running == (*c == 'a'));
    }
    ck_row('a', "ready/1.0.0");
    ck_assert_str_eq(
        pg_one(t->database_url, "SELECT cancel_requested FROM jobs WHERE id = '%s'", qid('a')),
        "t");
    ck_row('b', "cancelled/1.0.0");
    ck_row('c', "cancelled/1.0.0");
    ck_state("cancel a\nepoch 1\njobs a=1.5\nlease a:1.1.0@1030000\nstats pushed=3\nwait m");
    ck_rc(engine_cancel(cx, t->e, qid('b'), &running), E_CONFLICT);
    ck_rc(engine_cancel(cx, t->e, qid('e'), &running), E_NOT_FOUND);
    ck_rc(engine_cancel(cx, t->e, "nonsense", &running), E_NOT_FOUND);

    ck_ok(engine_enqueue(cx, t->e, &j[3], 1)); /* PostgreSQL alone knows it */
    redis_one(stores.redis_url, "HDEL mw:{t}:jobs %s", qid('d'));
    ck_ok(engine_cancel(cx, t->e, qid('d'), &running));
    ck_row('d', "cancelled/1.0.0");
    job_release(&held);
    return OK;
}

QTEST(retry_now_brings_back, true)
{
    struct lease l = qlease("a:1.1.0");
    size_t refused;

    qenqueue(cx, t, qjob('a', true));
    ck_rc(engine_retry_now(cx, t->e, qid('a')), E_CONFLICT);
    struct job j = claim1(cx, t);
    ck_ok(engine_end(cx, t->e, &j,
                     &(struct job_end){.outcome = JOB_DEAD, .error_code = "pg", .error = "x"}));
    engine_set_clock(t->e, clock_ms() + 1000); /* PostgreSQL's clock is the real one */
    /* The ack has not arrived yet: the push of the new generation takes the old lease away. */
    ck_ok(engine_retry_now(cx, t->e, qid('a')));
    ck_row('a', "ready/2.0.0");
    ck_state("epoch 1\njobs a=2.5\nready5 a:2.1.0\nstats pushed=2\nwait m");
    ck_assert_int_eq(pg_one_int(t->database_url,
                                "SELECT count(*) FROM dead_letters WHERE replayed_at IS NOT NULL"),
                     1);
    ck_ok(engine_ack(cx, t->e, Q, &l, 1, &refused));
    job_release(&j);

    ck_assert_uint_eq(refused, 1); /* that late ack is nobody's */
    j = claim1(cx, t);
    ck_assert_int_eq(j.lease.generation, 2);
    ck_assert_int_eq(j.attempt, 1);
    ck_ok(engine_end(cx, t->e, &j, &(struct job_end){.outcome = JOB_COMPLETED}));
    job_release(&j);
    ck_rc(engine_retry_now(cx, t->e, qid('a')), E_CONFLICT);
    ck_rc(engine_retry_now(cx, t->e, qid('b')), E_NOT_FOUND);
    return OK;
}

QTEST(retry_now_respects_unique_keys, true)
{
    struct job_new first = qjob('a', true), second = qjob('b', true);
    bool running;

    first.unique_key = second.unique_key = "k";
    qenqueue(cx, t, first);
    ck_ok(engine_cancel(cx, t->e, qid('a'), &running));
    qenqueue(cx, t, second);
    ck_rc(engine_retry_now(cx, t->e, qid('a')), E_CONFLICT);
    ck_row('a', "cancelled/1.0.0");
    return OK;
}

QTEST(purge_cancels_durable_jobs, true)
{
    struct job_new j[] = {qjob('a', true), qjob('b', true), qjob('c', false)};
    int64_t n;

    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    struct job held = claim1(cx, t);
    ck_ok(engine_purge(cx, t->e, Q, &n));
    ck_assert_int_eq(n, 2);
    ck_row('a', "ready/1.0.0");
    ck_row('b', "cancelled/1.0.0");
    job_release(&held);
    return OK;
}

/* ---------------------------------------------------------------- dead letters */

static void kill_job(struct cx *cx, struct qtest *t, char c, const char *error)
{
    qenqueue(cx, t, qjob(c, true));
    struct job j = claim1(cx, t);
    size_t refused;
    ck_ok(engine_end(cx, t->e, &j,
                     &(struct job_end){.outcome = JOB_DEAD,
                                       .error_code = "upstream_unclear",
                                       .error = error,
                                       .worker = "host:1"}));
    ck_ok(engine_ack(cx, t->e, Q, &j.lease, 1, &refused));
    job_release(&j);
}

QTEST(dead_letters_are_grouped_listed_dropped, true)
{
    struct dead_letter *d;
    struct dlq_filter f = {.limit = 2};
    size_t n;

    kill_job(cx, t, 'a', "order 123 of 0190a1b2-c3d4-7e5f-8a6b-123456789abc timed out");
    kill_job(cx, t, 'b', "order 77 of 0190a1b2-c3d4-7e5f-8a6b-000000000000 timed out");
    kill_job(cx, t, 'c', "another trouble");
    ck_assert_int_eq(
        pg_one_int(t->database_url, "SELECT count(DISTINCT fingerprint) FROM dead_letters"), 2);

    ck_ok(dlq_list(cx, t->db, &f, &d, &n));
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(d[0].job_id, qid('c')); /* newest first */
    ck_assert_str_eq(d[1].job_id, qid('b'));
    f.after = d[1].id;
    ck_ok(dlq_list(cx, t->db, &f, &d, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(d[0].job_id, qid('a'));
    f = (struct dlq_filter){.error = d[0].fingerprint};
    ck_ok(dlq_list(cx, t->db, &f, &d, &n));
    ck_assert_uint_eq(n, 2);
    f = (struct dlq_filter){.error = "upstream_unclear", .queue = Q, .task = "mihwar.noop"};
    ck_ok(dlq_list(cx, t->db, &f, &d, &n));
    ck_assert_uint_eq(n, 3);
    f.queue = "other";
    ck_ok(dlq_list(cx, t->db, &f, &d, &n));
    ck_assert_uint_eq(n, 0);
    f = (struct dlq_filter){.after = "nonsense"};
    ck_rc(dlq_list(cx, t->db, &f, &d, &n), E_INVALID_FIELD);

    const char *id =
        pg_one(t->database_url, "SELECT id FROM dead_letters WHERE job_id = '%s'", qid('a'));
    struct dead_letter one;
    ck_ok(dlq_get(cx, t->db, id, &one));
    ck_assert_ptr_nonnull(strstr(one.errors, "timed out"));
    const char *both[] = {id, qid('z')};
    ck_rc(dlq_drop(cx, t->db, both, 2), E_NOT_FOUND);
    ck_ok(dlq_drop(cx, t->db, both, 1));
    ck_rc(dlq_drop(cx, t->db, both, 1), E_NOT_FOUND);
    ck_rc(dlq_get(cx, t->db, id, &one), E_NOT_FOUND);
    return OK;
}

static rc count_line(struct cx *cx, const char *line, void *arg)
{
    ck_assert_ptr_nonnull(strstr(line, "\"error_code\":\"upstream_unclear\""));
    ck_assert_ptr_null(strchr(line, '\n'));
    (*(int *)arg)++;
    return OK;
}

QTEST(dead_letters_are_replayed, true)
{
    int64_t replayed, skipped;
    int lines = 0;

    kill_job(cx, t, 'a', "x");
    kill_job(cx, t, 'b', "x");
    kill_job(cx, t, 'c', "y");
    ck_ok(dlq_export(cx, t->db, &(struct dlq_filter){.queue = Q}, count_line, &lines));
    ck_assert_int_eq(lines, 3);

    const char *id =
        pg_one(t->database_url, "SELECT id FROM dead_letters WHERE job_id = '%s'", qid('a'));
    const char *twice[] = {id, id};
    ck_rc(dlq_replay(cx, t->e, (const char *[]){id, qid('z')}, 2, NULL, 0, &replayed, &skipped),
          E_NOT_FOUND);
    ck_row('a', "dead/1.1.0");
    ck_ok(dlq_replay(cx, t->e, twice, 2, NULL, 0, &replayed, &skipped));
    ck_assert_int_eq(replayed, 1);
    ck_row('a', "ready/2.0.0");
    ck_ok(dlq_replay(cx, t->e, twice, 1, NULL, 0, &replayed, &skipped));
    ck_assert_int_eq(replayed, 0);
    ck_assert_int_eq(skipped, 1);

    struct dlq_filter f = {.error = "upstream_unclear"};
    ck_ok(dlq_replay(cx, t->e, NULL, 0, &f, /* rate_per_s= */ 0.5, &replayed, &skipped));
    ck_assert_int_eq(replayed, 2);
    ck_row('b', "ready/2.0.0");     /* the first may run now */
    ck_row('c', "scheduled/2.0.0"); /* the second two seconds later */
    return OK;
}

QTEST(a_dead_broker_job_comes_back_too, true)
{
    int64_t replayed, skipped;
    size_t refused;
    struct job_info info;

    qenqueue(cx, t, qjob('a', false));
    struct job j = claim1(cx, t);
    ck_ok(engine_end(cx, t->e, &j,
                     &(struct job_end){.outcome = JOB_DEAD, .error_code = "os", .error = "x"}));
    ck_ok(engine_ack(cx, t->e, Q, &j.lease, 1, &refused));
    job_release(&j);
    ck_ok(job_load(cx, t->e, qid('a'), NULL, &info));
    ck_assert_str_eq(info.state, "dead");
    ck_ok(dlq_replay(cx, t->e, NULL, 0, &(struct dlq_filter){.queue = Q}, 0, &replayed, &skipped));
    ck_assert_int_eq(replayed, 1);
    j = claim1(cx, t);
    ck_assert_str_eq(j.lease.id, qid('a'));
    ck_assert(!j.durable);
    job_release(&j);
    return OK;
}

/* ---------------------------------------------------------------- many ends at once */

struct one_end {
    struct qtest *t;
    struct job job;
    struct job_end end;
    rc want;
};

static rc end_one(struct cx *cx, void *arg)
{
    const struct one_end *o = arg;

    return engine_end(cx, o->t->e, &o->job, &o->end);
}

/* One statement carries them; the stale one and the one whose result is no JSON hear of it alone. */
QTEST(ends_that_come_together, true)
{
    struct one_end all[] = {
        {t, .end = {.outcome = JOB_COMPLETED, .result = "{\"n\":1}"}, .want = OK},
        {t, .end = {.outcome = JOB_RETRY, .run_at_ms = T0, .error_code = "os", .error = "no disk"},
         .want = OK},
        {t, .end = {.outcome = JOB_COMPLETED, .result = "no JSON"}, .want = E_PG},
        {t, .end = {.outcome = JOB_COMPLETED}, .want = E_STALE_ATTEMPT},
        {t, .end = {.outcome = JOB_CANCELLED}, .want = OK},
        {t, .end = {.outcome = JOB_SNOOZED, .run_at_ms = T0}, .want = OK},
    };
    static const char *const rows[] = {"completed/1.1.0", "ready/1.1.0",     "ready/1.0.0",
                                       "completed/1.1.0", "cancelled/1.1.0", "ready/1.1.1"};
    struct fiber *f[COUNT(all)];

    for (size_t i = 0; i < COUNT(all); i++)
        qenqueue(cx, t, qjob((char)('a' + (int)i), true));
    for (size_t i = 0; i < COUNT(all); i++) {
        struct claim_result c = qclaim(cx, t, 1);
        all[i].job = qonly(c);
    }
    ck_ok(engine_end(cx, t->e, &all[3].job, &(struct job_end){.outcome = JOB_COMPLETED}));
    for (size_t i = 0; i < COUNT(all); i++)
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "end"}, end_one, &all[i]);
    for (size_t i = 0; i < COUNT(all); i++) {
        rc r;
        ck_ok(fiber_join(cx, f[i], &r));
        ck_assert_msg(r == all[i].want, "end %zu: %s", i, error_info(r)->code);
        ck_row((char)('a' + (int)i), rows[i]);
        job_release(&all[i].job);
    }
    ck_assert_str_eq(pg_one(t->database_url,
                            "SELECT string_agg(outcome || coalesce(error_code, ''), ' ' ORDER BY "
                            "job_id) FROM job_attempts"),
                     "completed retryos completed cancelled snoozed");
    ck_assert_str_eq(pg_one(t->database_url, "SELECT result FROM jobs WHERE id = '%s'", qid('a')),
                     "{\"n\":1}");
    return OK;
}

/* Each with a time to live of its own, of which the clock begins with the end of the job and not of an attempt. */
QTEST(results_with_a_time_to_live_end_together, true)
{
    static const struct {
        int64_t ttl_ms;
        enum job_outcome outcome;
        const char *lives_s; /* between its end and result_until, whole seconds */
    } cases[] = {{60000, JOB_COMPLETED, "60"},
                 {5000, JOB_COMPLETED, "5"},
                 {0, JOB_COMPLETED, "none"},
                 {60000, JOB_RETRY, "none"},
                 {60000, JOB_CANCELLED, "60"}};
    struct one_end all[COUNT(cases)] = {0};
    struct fiber *f[COUNT(cases)];

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct job_options o = {.result_ttl_ms = cases[i].ttl_ms};
        struct job_new j = qjob((char)('a' + (int)i), true);
        j.options = &o;
        qenqueue(cx, t, j);
        struct claim_result c = qclaim(cx, t, 1);
        all[i] = (struct one_end){t, qonly(c), {.outcome = cases[i].outcome, .result = "1"}, OK};
    }
    for (size_t i = 0; i < COUNT(cases); i++)
        f[i] = fiber_spawn(&(struct fiber_opts){.name = "end"}, end_one, &all[i]);
    for (size_t i = 0; i < COUNT(cases); i++) {
        rc r;
        ck_ok(fiber_join(cx, f[i], &r));
        ck_ok(r);
        ck_assert_str_eq(
            pg_one(t->database_url,
                   "SELECT coalesce(round(extract(epoch FROM result_until - finished_at))::text, "
                   "'none') FROM jobs WHERE id = '%s'",
                   qid((char)('a' + (int)i))),
            cases[i].lives_s);
        job_release(&all[i].job);
    }
    return OK;
}

/* ---------------------------------------------------------------- options */

static const struct job_options limited = {
    .expires_at_ms = INT64_C(4000000000000), .soft_ms = 2000, .limit_key = "znet:7"};

/* What most jobs do not have travels with a job whatever happens to it. */
static void ck_limited(struct cx *cx, struct qtest *t)
{
    struct job j = claim1(cx, t);

    ck_assert_ptr_nonnull(j.options);
    ck_assert_mem_eq(j.options, &limited, sizeof limited);
    ck_ok(
        engine_end(cx, t->e, &j,
                   &(struct job_end){.outcome = JOB_DEAD, .error_code = "os", .error = "no disk"}));
    size_t refused;
    ck_ok(engine_ack(cx, t->e, Q, &j.lease, 1, &refused));
    job_release(&j);
}

QTEST(options_survive_the_dead_letters, true)
{
    struct job_new j[] = {qjob('a', true), qjob('b', false)};
    int64_t replayed, skipped;
    struct job_info info;

    j[0].options = j[1].options = &limited;
    ck_ok(engine_enqueue(cx, t->e, &j[0], 1));
    ck_assert_str_eq(pg_one(t->database_url, "SELECT options FROM jobs WHERE id = '%s'", qid('a')),
                     "{\"expires_at_ms\":4000000000000,\"soft_ms\":2000,\"limit_key\":\"znet:7\"}");
    ck_ok(job_load(cx, t->e, qid('a'), NULL, &info));
    ck_assert_str_eq(info.options->limit_key, "znet:7");
    ck_limited(cx, t);
    ck_ok(engine_enqueue(cx, t->e, &j[1], 1));
    ck_ok(job_load(cx, t->e, qid('b'), NULL, &info));
    ck_assert_str_eq(info.options->limit_key, "znet:7");
    ck_limited(cx, t);

    ck_ok(dlq_replay(cx, t->e, NULL, 0, &(struct dlq_filter){.queue = Q}, 0, &replayed, &skipped));
    ck_assert_int_eq(replayed, 2);
    engine_set_clock(t->e, 0); /* PostgreSQL's clock says when the durable one may run */
    ck_limited(cx, t);
    ck_limited(cx, t);
    return OK;
}

/* ---------------------------------------------------------------- views */

QTEST(a_job_is_shown, true)
{
    struct job_new j[] = {qjob('a', true), qjob('b', false), qjob('c', false)};
    struct job_info info;
    _cleanup_(buf_release) struct buf json = BUF(KiB(64));

    j[0].args = "{\"n\": 1}";
    j[0].subject = "order 7";
    j[0].tenant_id = qid('f');
    j[2].run_at_ms = T0 + 60000;
    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    ck_ok(job_load(cx, t->e, qid('a'), NULL, &info));
    ck_assert_str_eq(info.state, "ready");
    struct job held = claim1(cx, t);
    ck_ok(job_load(cx, t->e, qid('a'), qid('f'), &info));
    ck_assert_str_eq(info.state, "leased");
    ck_rc(job_load(cx, t->e, qid('a'), qid('e'), &info), E_NOT_FOUND); /* a stranger's */
    ck_ok(engine_end(
        cx, t->e, &held,
        &(struct job_end){.outcome = JOB_COMPLETED, .result = "[1]", .worker = "host:1"}));
    job_release(&held);
    ck_ok(job_load(cx, t->e, qid('a'), NULL, &info));
    ck_assert_str_eq(info.state, "completed");
    ck_assert_uint_eq(info.nattempts, 1);
    ck_assert_str_eq(info.attempts[0].worker, "host:1");
    job_info_json(&info, &json);
    ck_assert_ptr_nonnull(strstr(json.p, "\"args\":{\"n\": 1}"));
    ck_assert_ptr_nonnull(strstr(json.p, "\"result\":[1]"));
    ck_assert_ptr_nonnull(strstr(json.p, "\"outcome\":\"completed\""));
    ck_ok(job_load(cx, t->e, qid('b'), NULL, &info));
    ck_assert_str_eq(info.state, "ready");
    ck_assert(!info.durable);
    ck_ok(job_load(cx, t->e, qid('c'), NULL, &info));
    ck_assert_str_eq(info.state, "scheduled");
    ck_assert_int_eq(info.run_at_ms, T0 + 60000);
    ck_rc(job_load(cx, t->e, qid('d'), NULL, &info), E_NOT_FOUND);
    return OK;
}

static Suite *suite(void)
{
    Suite *s = suite_create("durable");
    TCase *tc = tcase_create("durable");

    tcase_add_test(tc, enqueue_writes_both);
    tcase_add_test(tc, the_same_id_twice);
    tcase_add_test(tc, unique_keys_are_decided_in_postgresql);
    tcase_add_test(tc, a_race_for_a_unique_key_has_one_winner);
    tcase_add_loop_test(tc, each_end, 0, COUNT(ends));
    tcase_add_loop_test(tc, stale_ends_roll_back, 0, COUNT(stales));
    tcase_add_test(tc, the_domain_write_lands_with_the_end);
    tcase_add_test(tc, cancel_of_a_durable_job);
    tcase_add_test(tc, retry_now_brings_back);
    tcase_add_test(tc, retry_now_respects_unique_keys);
    tcase_add_test(tc, purge_cancels_durable_jobs);
    tcase_add_test(tc, dead_letters_are_grouped_listed_dropped);
    tcase_add_test(tc, dead_letters_are_replayed);
    tcase_add_test(tc, a_dead_broker_job_comes_back_too);
    tcase_add_test(tc, ends_that_come_together);
    tcase_add_test(tc, results_with_a_time_to_live_end_together);
    tcase_add_test(tc, options_survive_the_dead_letters);
    tcase_add_test(tc, a_job_is_shown);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, NULL, suite);
}

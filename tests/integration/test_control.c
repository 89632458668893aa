/* test_control.c - what is asked of running work and of enqueueing, seen from outside: limits, keys, ids, results. */
#include "base/clock.h"
#include "queue/await.h"
#include "queue/end.h"
#include "queue/jobs.h"
#include "queue/outbox.h"
#include "tests/integration/worker_bench.h"

static const char *error_of(const struct bench *b, char c)
{
    return pg_one(b->url,
                  "SELECT state || ' ' || coalesce(last_error_code, '-') FROM jobs WHERE id = '%s'",
                  qid(c));
}

static struct job_new with(struct job_new j, const struct job_options *o)
{
    j.options = o;
    return j;
}

/* ---------------------------------------------------------------- limits of time */

START_TEST(a_soft_limit_cancels_and_is_tried_again)
{
    static const struct job_options soft = {.soft_ms = 100};
    struct bench b = new_bench();
    struct job_new j[] = {with(job('a', "mihwar.sleep", "{\"ms\": 60000}"), &soft),
                          with(job('b', "mihwar.sleep", "{\"ms\": 1}"), &soft)};

    j[0].max_attempts = 2;
    START_ON(&b, Q);
    enqueue(&b, j, COUNT(j));
    ck_wait(state_is(&b, 'a', "dead") && state_is(&b, 'b', "completed"), 30000);
    ck_assert_str_eq(error_of(&b, 'a'), "dead deadline");
    ck_assert_int_eq(
        pg_one_int(b.url,
                   "SELECT count(*) FROM job_attempts WHERE error LIKE '%%soft limit of 100 ms%%'"),
        2);
    stop_worker(&b);
}
END_TEST

START_TEST(what_has_expired_does_not_begin)
{
    struct job_options past = {.expires_at_ms = clock_ms() - 5},
                       future = {.expires_at_ms = clock_ms() + 600000};
    struct bench b = new_bench();
    struct job_new j[] = {with(job('a', "mihwar.noop", NULL), &past),
                          with(job('b', "mihwar.noop", NULL), &future),
                          with(job('c', "mihwar.noop", NULL), &past)};

    j[2].durable = false;
    START_ON(&b, Q);
    enqueue(&b, j, COUNT(j));
    ck_wait(state_is(&b, 'a', "cancelled") && state_is(&b, 'b', "completed") && redis_forgot('c'),
            30000);
    ck_assert_str_eq(error_of(&b, 'a'), "cancelled expired");
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM dead_letters"), 0);
    stop_worker(&b);
}
END_TEST

/* ---------------------------------------------------------------- cancel */

/* Cancelled while nobody worked and Redis was emptied: it does not run. */
START_TEST(a_stored_cancel_outlives_redis)
{
    struct bench b = new_bench();

    START_ON(&b, Q);
    stop_worker(&b);
    enqueue1(&b, job('a', "mihwar.noop", NULL));
    ck_assert_str_eq(pg_one(b.url, "SELECT mw_cancel('%s')", qid('a')), "t");
    redis_one(stores.redis_url, "FLUSHALL");
    START_ON(&b, Q);
    ck_wait(state_is(&b, 'a', "cancelled"), 30000);
    ck_assert_int_eq(
        pg_one_int(b.url, "SELECT count(*) FROM job_attempts WHERE outcome = 'completed'"), 0);
    ck_assert_str_eq(pg_one(b.url, "SELECT mw_cancel('%s')", qid('a')), "f");
    stop_worker(&b);
}
END_TEST

QTEST(the_outbox_cancels_what_is_queued, true)
{
    int64_t pushed;

    ck_ok(engine_recover(cx, t->e, NULL));
    qenqueue(cx, t, qjob('a', true));
    ck_assert_str_eq(pg_one(t->database_url, "SELECT mw_cancel('%s')", qid('a')), "t");
    ck_ok(outbox_empty(cx, t->e, &pushed));
    ck_assert_str_eq(pg_one(t->database_url, "SELECT state FROM jobs"), "cancelled");
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM job_outbox"), 0);
    return OK;
}

/* ---------------------------------------------------------------- ended in SQL */

START_TEST(what_ends_itself_in_sql_has_completed)
{
    struct bench b = new_bench();
    const char *words;

    START_ON(&b, Q);
    enqueue1(&b, job('a', "mihwar.sleep", "{\"ms\": 1500}"));
    ck_wait(said(&b, "ev=job.started"), 30000);
    ck_assert_ptr_null(
        pg_try(b.url, &words, "SELECT mw_complete('%s', '%s:1.0.0', '1')", qid('a'), qid('a')));
    ck_assert_msg(strstr(words, "another attempt") != NULL, "%s", words);
    ck_assert_str_eq(pg_one(b.url, "SELECT mw_complete('%s', '%s:1.1.0', '{\"by\":\"sql\"}')",
                            qid('a'), qid('a')),
                     "t");
    ck_assert_str_eq(pg_one(b.url, "SELECT mw_complete('%s', '%s:1.1.0', '2')", qid('a'), qid('a')),
                     "f");
    ck_wait(said(&b, "ev=job.ended_in_sql") && redis_forgot('a'), 30000);
    ck_assert(!said(&b, "ev=attempt.stale"));
    ck_assert_str_eq(pg_one(b.url, "SELECT result FROM jobs"), "{\"by\":\"sql\"}");
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM job_attempts"), 1);
    stop_worker(&b);
}
END_TEST

/* ---------------------------------------------------------------- keys */

static const char *first_of(struct cx *cx, struct qtest *t, struct job_new j)
{
    ck_ok(engine_enqueue(cx, t->e, &j, 1));
    return arena_printf(&cx->arena, "%c%s", j.id[ID_LEN - 1], j.existed ? " existed" : "");
}

static void end_all(struct cx *cx, struct qtest *t)
{
    struct claim_result c = qclaim(cx, t, 10);
    size_t refused;

    for (size_t i = 0; i < c.n; i++) {
        ck_ok(engine_end(cx, t->e, &c.jobs[i], &(struct job_end){.outcome = JOB_COMPLETED}));
        ck_ok(engine_ack(cx, t->e, Q, &c.jobs[i].lease, 1, &refused));
    }
    claim_result_release(&c);
}

static void each_mode(struct cx *cx, struct qtest *t, bool durable)
{
    struct job_options window = {.unique = JOB_UNIQUE_WINDOW, .unique_ms = 700},
                       start = {.unique = JOB_UNIQUE_START};
    struct job_new a = qjob('a', durable), b = qjob('b', durable), c = qjob('c', durable);

    a.unique_key = b.unique_key = c.unique_key = "w";
    a.options = b.options = c.options = &window;
    ck_assert_str_eq(first_of(cx, t, a), "a");
    int64_t taken = clock_mono_ms();
    ck_assert_str_eq(first_of(cx, t, b), "a existed");
    end_all(cx, t);
    ck_assert_str_eq(first_of(cx, t, b), "a existed"); /* it has ended, its window not */
    ck_ok(fiber_sleep(cx, MAX(750 - (clock_mono_ms() - taken), 1)));
    ck_assert_str_eq(first_of(cx, t, c), "c");
    end_all(cx, t);

    struct job_new d = qjob('d', durable), e = qjob('e', durable), f = qjob('f', durable);
    d.unique_key = e.unique_key = f.unique_key = "s";
    d.options = e.options = f.options = &start;
    ck_assert_str_eq(first_of(cx, t, d), "d");
    ck_assert_str_eq(first_of(cx, t, e), "d existed");
    struct job held = qonly(qclaim(cx, t, 10));
    ck_ok(engine_started(cx, t->e, &held));
    ck_ok(engine_started(cx, t->e, &held));    /* each attempt says it */
    ck_assert_str_eq(first_of(cx, t, e), "e"); /* d runs still */
    ck_assert_str_eq(first_of(cx, t, f), "e existed");
    job_release(&held);
}

QTEST(durable_keys, true)
{
    engine_set_clock(t->e, 0);
    ck_ok(engine_recover(cx, t->e, NULL));
    each_mode(cx, t, true);
    struct job_new g = qjob('9', true);
    int64_t windows, results;
    g.remembered = true;
    ck_assert_str_eq(first_of(cx, t, g), "9");
    ck_assert_str_eq(first_of(cx, t, g), "9 existed");
    pg_one(t->database_url, "UPDATE job_windows SET until = now() - interval '1s' RETURNING 1");
    ck_ok(engine_forget(cx, t->e, &windows, &results));
    ck_assert_int_eq(windows, 1);
    return OK;
}

QTEST(broker_keys, false)
{
    engine_set_clock(t->e, 0);
    each_mode(cx, t, false);
    struct job_new g = qjob('9', false);
    g.remembered = true;
    ck_assert_str_eq(first_of(cx, t, g), "9");
    end_all(cx, t);
    ck_assert_str_eq(first_of(cx, t, g), "9 existed");
    return OK;
}

/* ---------------------------------------------------------------- results */

struct load {
    const char *url, *id;
    char state[16], result[64];
    rc found;
};

static rc load_body(struct cx *cx, void *arg)
{
    struct load *l = arg;
    struct redis *redis;
    struct job_info j;
    struct pg *db;

    ck_ok(redis_new(cx, stores.redis_url, &redis));
    ck_ok(pg_new(cx, l->url, 1, &db));
    struct engine *e = engine_new(redis, db);
    l->found = job_load(cx, e, l->id, NULL, &j);
    snprintf(l->state, sizeof l->state, "%s", l->found ? "" : j.state);
    snprintf(l->result, sizeof l->result, "%s", l->found || !j.result ? "" : j.result);
    engine_free(e);
    pg_free(db);
    redis_free(redis);
    return OK;
}

static bool shows(const struct bench *b, char c, const char *state, const char *result)
{
    struct load l = {.url = b->url, .id = qid(c)};

    ck_ok(on_fiber(load_body, &l));
    return l.found == OK && !strcmp(l.state, state) && !strcmp(l.result, result);
}

START_TEST(results_have_their_time)
{
    static const struct job_options minute = {.result_ttl_ms = 60000}, blink = {.result_ttl_ms = 1};
    struct bench b = new_bench();
    struct job_new j[] = {with(job('a', "mihwar.echo", "{\"x\":1}"), &minute),
                          with(job('b', "mihwar.echo", "{\"x\":2}"), &blink),
                          with(job('c', "mihwar.echo", "{\"x\":3}"), &minute),
                          with(job('d', "mihwar.echo", "{\"fail\":\"invalid_field\"}"), &minute)};

    j[2].durable = j[3].durable = false;
    START_ON(&b, Q);
    enqueue(&b, j, COUNT(j));
    ck_wait(shows(&b, 'a', "completed", "{\"x\":1}") && shows(&b, 'b', "completed", "") &&
                shows(&b, 'c', "completed", "{\"x\":3}") && shows(&b, 'd', "dead", ""),
            30000);
    ck_assert_int_ge(atoi(redis_one(stores.redis_url, "PTTL mw:{t}:result:%s", qid('c'))), 1);
    stop_worker(&b);
}
END_TEST

/* ---------------------------------------------------------------- waiting */

struct waiting {
    const char *url, *id;
    int64_t took_ms;
    rc r;
};

static rc wait_body(struct cx *cx, void *arg)
{
    struct waiting *w = arg;
    struct redis *redis;
    struct pg *db;

    ck_ok(redis_new(cx, stores.redis_url, &redis));
    ck_ok(pg_new(cx, w->url, 1, &db));
    struct engine *e = engine_new(redis, db);
    struct await *a = await_new(e);
    w->took_ms = clock_mono_ms();
    w->r = await_end(cx, a, w->id, NULL, 60000);
    if (w->r != OK)
        fprintf(stderr, "await: %s %s:%d\n", cx_words(cx, w->r), cx->err.file, cx->err.line);
    w->took_ms = clock_mono_ms() - w->took_ms;
    await_free(a);
    engine_free(e);
    pg_free(db);
    redis_free(redis);
    return OK;
}

START_TEST(who_waits_is_told)
{
    static const struct job_options kept = {.result_ttl_ms = 60000};
    struct bench b = new_bench();
    struct job_new j[] = {job('a', "mihwar.sleep", "{\"ms\": 300}"),
                          with(job('b', "mihwar.sleep", "{\"ms\": 300}"), &kept),
                          job('c', "mihwar.sleep", "{\"ms\": 3000}")};

    j[1].durable = j[2].durable = false;
    START_ON(&b, Q);
    for (int i = 0; i < 2; i++) {
        struct waiting w = {.url = b.url, .id = qid((char)('a' + i))};
        enqueue(&b, &j[i], 1);
        ck_ok(on_fiber(wait_body, &w));
        ck_rc(w.r, OK);
    }
    ck_assert(state_is(&b, 'a', "completed"));
    ck_assert(shows(&b, 'b', "completed", ""));
    enqueue(&b, &j[2], 1);
    struct waiting nothing_left = {.url = b.url, .id = qid('c')};
    ck_ok(on_fiber(wait_body, &nothing_left));
    ck_rc(nothing_left.r, E_CONFLICT);
    stop_worker(&b);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("control");
    TCase *tc = tcase_create("control");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, NULL, kill_living);
    tcase_add_test(tc, a_soft_limit_cancels_and_is_tried_again);
    tcase_add_test(tc, what_has_expired_does_not_begin);
    tcase_add_test(tc, a_stored_cancel_outlives_redis);
    tcase_add_test(tc, the_outbox_cancels_what_is_queued);
    tcase_add_test(tc, what_ends_itself_in_sql_has_completed);
    tcase_add_test(tc, durable_keys);
    tcase_add_test(tc, broker_keys);
    tcase_add_test(tc, results_have_their_time);
    tcase_add_test(tc, who_waits_is_told);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, NULL, NULL, suite);
}

/* test_timeline.c - what jobs tell while they run: kept in order, bounded, never in a job's way. */
#include "base/clock.h"
#include "base/text.h"
#include "queue/jobs.h"
#include "tests/integration/worker_bench.h"
#include "worker/timeline.h"

/* "generation.attempt.seq kind body" of each, a line each. */
#define EVENTS                                                                                     \
    "SELECT coalesce(string_agg(generation || '.' || attempt || '.' || seq || ' ' || kind || ' ' " \
    "|| body, E'\\n' ORDER BY generation, attempt, seq), '') FROM job_events WHERE job_id = '%s'"

START_TEST(a_job_tells)
{
    struct bench b = new_bench();
    struct job_new j[] = {job('a', "mihwar.sleep", "{\"ms\": 3, \"steps\": 3}"),
                          job('b', "mihwar.noop", NULL),
                          job('c', "mihwar.sleep", "{\"ms\": 1, \"steps\": 1}")};

    j[2].durable = false;
    START_ON(&b, Q);
    enqueue(&b, j, COUNT(j));
    ck_wait(pg_one_int(b.url, "SELECT count(*) FROM job_events") == 6, 30000);
    /* of its progress the latest stays */
    ck_assert_str_eq(pg_one(b.url, EVENTS, qid('a')),
                     "1.1.1 log step 1 of 3\n1.1.3 log step 2 of 3\n1.1.5 log step 3 of 3\n"
                     "1.1.6 progress {\"done\":3,\"of\":3}");
    ck_assert_str_eq(pg_one(b.url, EVENTS, qid('c')),
                     "0.1.1 log step 1 of 1\n0.1.2 progress {\"done\":1,\"of\":1}");
    stop_worker(&b);
}
END_TEST

/* What was told just before the end of the process is written. */
START_TEST(a_drained_worker_leaves_nothing_unsaid)
{
    struct bench b = new_bench();

    START_ON(&b, Q);
    enqueue1(&b, job('a', "mihwar.sleep", "{\"ms\": 2, \"steps\": 2}"));
    ck_wait(state_is(&b, 'a', "completed"), 30000);
    stop_worker(&b);
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM job_events"), 3);
}
END_TEST

START_TEST(the_newest_lines_stay)
{
    struct bench b = new_bench();

    START_ON(&b, Q);
    enqueue1(&b, job('a', "mihwar.sleep", "{\"steps\": 1000}"));
    ck_wait(pg_one_int(b.url, "SELECT max(seq) FROM job_events") == 2000, 30000);
    ck_assert_int_eq(pg_one_int(b.url, "SELECT count(*) FROM job_events"), 200);
    ck_assert_str_eq(pg_one(b.url, "SELECT body FROM job_events ORDER BY seq LIMIT 1"),
                     "step 802 of 1000");
    stop_worker(&b);
}
END_TEST

/* ---------------------------------------------------------------- the writer and the reader */

static struct job_event line(int attempt, int64_t n, const char *body)
{
    struct job_event ev = {.generation = 1,
                           .attempt = attempt,
                           .slot = (int)(1 + (n - 1) % JOB_EVENT_LINES),
                           .seq = n,
                           .at_ms = clock_ms(),
                           .level = "info",
                           .body = body};
    memcpy(ev.job_id, qid('a'), sizeof ev.job_id);
    return ev;
}

QTEST(earlier_attempts_are_pruned, true)
{
    struct job_event ev[JOB_EVENT_LINES];
    char long_line[901] = "";

    for (int attempt = 1; attempt <= 7; attempt++) {
        for (int i = 0; i < JOB_EVENT_LINES; i++)
            ev[i] = line(attempt, i + 1, "x");
        ck_ok(timeline_write(cx, t->db, ev, COUNT(ev)));
        ck_ok(timeline_write(cx, t->db, ev, COUNT(ev))); /* twice is once */
    }
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM job_events"), 1000);
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT min(attempt) FROM job_events"), 2);
    memset(long_line, 'y', sizeof long_line - 1);
    for (int attempt = 8; attempt <= 10; attempt++) {
        for (int i = 0; i < JOB_EVENT_LINES; i++)
            ev[i] = line(attempt, i + 1, long_line);
        ck_ok(timeline_write(cx, t->db, ev, COUNT(ev)));
    }
    ck_assert_int_le(pg_one_int(t->database_url, "SELECT sum(octet_length(body)) FROM job_events"),
                     262144);
    return OK;
}

QTEST(pages_follow_a_cursor, true)
{
    struct job_event ev[7], *page;
    char cursor[48] = "";
    const char *progress;
    size_t n, all = 0;

    for (int i = 0; i < 7; i++)
        ev[i] = line(1 + i / 4, 1 + i % 4, arena_printf(&cx->arena, "%d", i));
    ck_ok(timeline_write(cx, t->db, ev, COUNT(ev)));
    do {
        ck_ok(timeline_list(cx, t->e, qid('a'), cursor[0] ? cursor : NULL, 3, &page, &n));
        for (size_t i = 0; i < n; i++)
            ck_assert_str_eq(page[i].body, ev[all++].body);
        if (n)
            job_event_cursor(&page[n - 1], cursor);
    } while (n > 0);
    ck_assert_uint_eq(all, 7);
    ck_ok(timeline_last(cx, t->e, qid('a'), 2, &page, &n, &progress));
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(page[0].body, "5");
    ck_assert_str_eq(page[1].body, "6");
    ck_assert_ptr_null(progress);
    ck_rc(timeline_list(cx, t->e, qid('a'), "1.2", 3, &page, &n), E_INVALID_FIELD);
    ck_rc(timeline_list(cx, t->e, qid('a'), "1.2.3x", 3, &page, &n), E_INVALID_FIELD);
    return OK;
}

QTEST(more_than_can_wait_is_lost_and_counted, true)
{
    struct timeline *tl = timeline_new(t->db);

    for (int i = 1; i <= TIMELINE_MAX + 7; i++) {
        struct job_event ev = line(i, 1, "x");
        timeline_put(tl, &ev);
    }
    ck_assert_int_eq(timeline_lost(tl), 7);
    ck_ok(timeline_flush(cx, tl));
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT max(attempt) FROM job_events"),
                     TIMELINE_MAX);
    timeline_free(tl);
    return OK;
}

QTEST(a_store_that_is_away_is_waited_for, true)
{
    struct timeline *tl = timeline_new(t->db);
    struct job_event ev = line(1, 1, "x");
    rc r;

    stores_kill_pg(&stores);
    timeline_put(tl, &ev);
    {
        _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, 300);
        r = timeline_flush(cx, tl);
    }
    ck_rc(r, E_DEADLINE);
    stores_up_pg(&stores);
    ck_ok(timeline_flush(cx, tl));
    ck_assert_int_eq(pg_one_int(t->database_url, "SELECT count(*) FROM job_events"), 1);
    ck_assert_int_eq(timeline_lost(tl), 0);
    timeline_free(tl);
    return OK;
}

static Suite *make_suite(void)
{
    Suite *s = suite_create("timeline");
    TCase *tc = tcase_create("timeline");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, NULL, kill_living);
    tcase_add_test(tc, a_job_tells);
    tcase_add_test(tc, a_drained_worker_leaves_nothing_unsaid);
    tcase_add_test(tc, the_newest_lines_stay);
    tcase_add_test(tc, earlier_attempts_are_pruned);
    tcase_add_test(tc, pages_follow_a_cursor);
    tcase_add_test(tc, more_than_can_wait_is_lost_and_counted);
    tcase_add_test(tc, a_store_that_is_away_is_waited_for);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    /* a server that is started anew is this process' child */
    return stores_main_unforked(&stores, &(struct stores_opts){.durable = true}, NULL, make_suite);
}

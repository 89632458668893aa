/* test_follow.c - attempts as they end are told once each, also those that come to light late. */
#include "queue/follow.h"
#include "tests/integration/queue_state.h"
#include <libpq-fe.h>

static struct told {
    size_t n;
    char last[ID_LEN + 1];
    int attempt;
} told;

static void tell(const struct ended_attempt *a, void *arg)
{
    (void)arg;
    told.n++;
    memcpy(told.last, a->job_id, sizeof told.last);
    told.attempt = a->end.attempt;
    ck_assert_str_eq(a->queue, Q);
    ck_assert(a->end.finished_ms > 0 && a->end.outcome[0]);
}

static size_t news(struct cx *cx, struct follow *f)
{
    told = (struct told){0};
    ck_ok(follow_round(cx, f, tell, NULL));
    return told.n;
}

static void psql(PGconn *c, const char *sql)
{
    PGresult *r = PQexec(c, sql);

    ck_assert_msg(PQresultStatus(r) == PGRES_COMMAND_OK, "%s: %s", sql, PQerrorMessage(c));
    PQclear(r);
}

#define ATTEMPT                                                                                    \
    "INSERT INTO job_attempts (job_id, generation, attempt, outcome, started_at) "                 \
    "SELECT id, 1, %d, 'retry', now() FROM jobs WHERE task = '%s'"

QTEST(what_commits_late_is_told_once, true)
{
    PGconn *late = PQconnectdb(t->database_url);
    struct job_new j[] = {qjob('a', true), qjob('b', true)};
    struct follow *f;
    char sql[512];

    ck_assert(PQstatus(late) == CONNECTION_OK);
    j[0].task = "one";
    j[1].task = "two";
    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    ck_ok(follow_new(cx, t->e, NULL, NULL, &f));
    ck_assert_uint_eq(news(cx, f), 0);

    psql(late, "BEGIN");
    snprintf(sql, sizeof sql, ATTEMPT, 1, "one");
    psql(late, sql);
    for (int i = 1; i <= 3; i++) { /* others go on, far past the horizon of a quiet server */
        pg_one(t->database_url, ATTEMPT, i, "two");
        ck_ok(fiber_sleep(cx, 150));
        ck_assert_uint_eq(news(cx, f), 1);
        ck_assert_int_eq(told.attempt, i);
    }
    psql(late, "COMMIT");
    ck_assert_uint_eq(news(cx, f), 1);
    ck_assert_str_eq(told.last, qid('a'));
    ck_assert_uint_eq(news(cx, f), 0);
    follow_free(f);
    PQfinish(late);
    return OK;
}

/* More than a page, all of one moment. */
QTEST(none_of_many_is_left_out, true)
{
    struct job_new j[] = {qjob('a', true), qjob('b', true)};
    struct follow *f, *g;

    j[0].task = "one";
    j[1].task = "two";
    ck_ok(engine_enqueue(cx, t->e, j, COUNT(j)));
    ck_ok(follow_new(cx, t->e, NULL, NULL, &f));
    ck_ok(follow_new(cx, t->e, Q, "two", &g));
    pg_one(t->database_url, "INSERT INTO job_attempts (job_id, generation, attempt, outcome, "
                            "started_at) SELECT id, 1, n, 'retry', now() "
                            "  FROM jobs, generate_series(1, 2500) AS n");
    ck_assert_uint_eq(news(cx, f), 5000);
    ck_assert_uint_eq(news(cx, f), 0);
    ck_assert_uint_eq(news(cx, g), 2500);
    ck_assert_str_eq(told.last, qid('b'));
    follow_free(f);
    follow_free(g);
    ck_ok(follow_new(cx, t->e, NULL, NULL, &f)); /* who comes later sees the newest */
    ck_assert_uint_ge(news(cx, f), 200);
    follow_free(f);
    return OK;
}

static Suite *make_suite(void)
{
    Suite *s = suite_create("follow");
    TCase *tc = tcase_create("follow");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, what_commits_late_is_told_once);
    tcase_add_test(tc, none_of_many_is_left_out);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return stores_main(&stores, &(struct stores_opts){.durable = true}, NULL, make_suite);
}

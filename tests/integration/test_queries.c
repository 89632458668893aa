/* test_queries.c - every named query of the house, prepared against the migrated schema.
 *
 * A query that names a column which a migration renamed, or passes a parameter whose type cannot be
 * told, fails here and not at its first use. */
#include "all_queries.h"
#include "base/buf.h"
#include "tests/support/fibers.h"
#include "tests/support/stores.h"
#include <libpq-fe.h>
#include <string.h>

static struct stores stores;
static PGconn *conn;

static void connect_setup(void)
{
    conn = PQconnectdb(stores.database_url);
    ck_assert_int_eq(PQstatus(conn), CONNECTION_OK);
    /* otherwise "id = NULL" is planned as nothing at all, and shows nothing */
    PQclear(PQexec(conn, "SET plan_cache_mode = force_generic_plan"));
}

static void connect_teardown(void)
{
    PQfinish(conn);
}

START_TEST(it_prepares)
{
    const struct sql *q = &all_queries[_i].q;
    PGresult *res = PQprepare(conn, q->name, q->text, 0, NULL);

    ck_assert_msg(PQresultStatus(res) == PGRES_COMMAND_OK, "%s: %s: %s", all_queries[_i].file,
                  q->name, PQresultErrorMessage(res));
    PQclear(res);
    res = PQdescribePrepared(conn, q->name);
    ck_assert_int_eq(PQresultStatus(res), PGRES_COMMAND_OK);
    ck_assert_msg(PQnparams(res) == q->nparams, "%s: %s takes %d parameters, counted %d",
                  all_queries[_i].file, q->name, PQnparams(res), q->nparams);
    PQclear(res);
}
END_TEST

static const char *const writing[] = {"LockRows", "Insert on", "Update on", "Delete on"};

/* A statement that is repeated after a lost connection must not write: the server's plan is asked.
 */
START_TEST(what_reads_only_reads)
{
    const struct sql *q = &all_queries[_i].q;
    _cleanup_(buf_release) struct buf text = BUF(KiB(64));
    PGresult *res;

    if (!q->reads)
        return;
    buf_printf(&text, "PREPARE reads AS %s", q->text);
    PQclear(PQexec(conn, buf_str(&text)));
    buf_reset(&text);
    buf_puts(&text, "EXPLAIN EXECUTE reads");
    for (int i = 0; i < q->nparams; i++)
        buf_puts(&text, i ? ", NULL" : " (NULL");
    buf_puts(&text, q->nparams ? ")" : "");
    res = PQexec(conn, buf_str(&text));
    ck_assert_msg(PQresultStatus(res) == PGRES_TUPLES_OK, "%s: %s: %s", all_queries[_i].file,
                  q->name, PQresultErrorMessage(res));
    for (int i = 0; i < PQntuples(res); i++) {
        for (size_t k = 0; k < COUNT(writing); k++)
            ck_assert_msg(!strstr(PQgetvalue(res, i, 0), writing[k]),
                          "%s: %s is said to read only: %s", all_queries[_i].file, q->name,
                          PQgetvalue(res, i, 0));
    }
    PQclear(res);
    PQclear(PQexec(conn, "DEALLOCATE reads"));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("queries");
    TCase *tc = tcase_create("all");

    tcase_add_unchecked_fixture(tc, connect_setup, connect_teardown);
    tcase_add_loop_test(tc, it_prepares, 0, ALL_QUERIES);
    tcase_add_loop_test(tc, what_reads_only_reads, 0, ALL_QUERIES);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    stores_start(&stores, &(struct stores_opts){.no_redis = true});
    stores_migrate(stores.database_url);
    int failed = suite_run_unforked(suite());
    stores_stop(&stores);
    return support_end(failed);
}

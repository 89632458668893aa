/* migrate.c - bring the schema to the last step that this program knows, or say why not.
 *
 *   known     1 2 3 4 5        migrations[], compiled in
 *   recorded  1 2 3            schema_steps: a prefix of the known ones, with the same checksums
 *
 * Each missing step is a transaction of its own: lock, look again what is recorded, apply, record.
 * Two runners alternate or wait for each other; a step that fails leaves the ones before it in
 * place and nothing of itself. */
#include "pg/migrate.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "pg/migrate.sql.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Compares what is recorded with what is known; *ret_next is the index of the first known step that
 * is missing. */
static rc compare(struct cx *cx, const struct pg_result *recorded, size_t *ret_next)
{
    for (int i = 0; i < pg_rows(recorded); i++) {
        int64_t number = pg_int(recorded, i, 0);

        if (number > (int64_t)migration_count)
            return fail(cx, SCHEMA,
                        "the database is at step %" PRId64
                        " (%s), this program knows %zu: it is older than the "
                        "schema; run a newer release",
                        pg_int(recorded, pg_rows(recorded) - 1, 0),
                        pg_text(recorded, pg_rows(recorded) - 1, 1), migration_count);
        if (number != i + 1)
            return fail(cx, SCHEMA,
                        "step %d is missing from schema_steps although step %" PRId64
                        " was applied: the table was changed by hand",
                        i + 1, number);
        if (!str_eq(pg_text(recorded, i, 2), migrations[i].sha256))
            return fail(cx, SCHEMA,
                        "step %d (%s) is not the one that was applied to this database: its "
                        "checksum differs; "
                        "run the release that belongs to this database",
                        migrations[i].number, migrations[i].name);
    }
    *ret_next = (size_t)pg_rows(recorded);
    return OK;
}

struct step_run {
    bool applied;
    size_t next;
};

static rc apply(struct cx *cx, struct pg_tx *tx, const struct migration *m)
{
    int64_t start = clock_mono_ms();
    struct pg_step steps[] = {{.q = &SQL_MIGRATE_TEXT, .args = PG_ARGS(pg_s(m->text))},
                              {.q = &SQL_MIGRATE_APPLY, .args = PG_NO_ARGS}};
    rc r = pg_tx_steps(cx, tx, steps, COUNT(steps));

    if (r == E_PG || r == E_PG_CONSTRAINT || r == E_PG_UNIQUE)
        return fail(cx, SCHEMA, "step %d (%s) failed and was undone: %s", m->number, m->name,
                    cx->err.text);
    try(r);
    for (size_t i = 0; i < COUNT(steps); i++)
        pg_result_freep(&steps[i].result);
    return pg_tx_do(cx, tx, SQL_MIGRATE_RECORD, NULL, pg_i(m->number), pg_s(m->name),
                    pg_s(m->sha256), pg_i(clock_mono_ms() - start));
}

static rc next_step(struct cx *cx, struct pg_tx *tx, void *arg)
{
    _cleanup_(pg_result_freep) struct pg_result *recorded = NULL;
    struct step_run *run = arg;

    run->applied = false;
    try(pg_tx_query(cx, tx, &SQL_MIGRATE_LIMITS, NULL, PG_NO_ARGS));
    try(pg_tx_query(cx, tx, &SQL_MIGRATE_LOCK, NULL, PG_NO_ARGS));
    try(pg_tx_query(cx, tx, &SQL_MIGRATE_BEGIN, NULL, PG_NO_ARGS));
    try(pg_tx_query(cx, tx, &SQL_MIGRATE_RECORDED, &recorded, PG_NO_ARGS));
    try(compare(cx, recorded, &run->next));
    if (run->next == migration_count)
        return OK;
    try(apply(cx, tx, &migrations[run->next]));
    run->applied = true;
    return OK;
}

rc migrate_run(struct cx *cx, struct pg *db, int *ret_applied)
{
    struct step_run run = {.applied = true};
    int applied = 0;

    while (run.applied) {
        try(pg_tx_run(cx, db, next_step, &run));
        if (!run.applied)
            break;
        applied++;
        log_ev(LOG_INFO, "schema.step", kv_int("number", migrations[run.next].number),
               kv_str("name", migrations[run.next].name));
    }
    if (ret_applied)
        *ret_applied = applied;
    return OK;
}

/* What is recorded; *ret stays NULL in a database without our table. */
static rc load_recorded(struct cx *cx, struct pg *db, struct pg_result **ret)
{
    _cleanup_(pg_result_freep) struct pg_result *begun = NULL;

    try(pg_query(cx, db, &SQL_MIGRATE_BEGUN, &begun, PG_NO_ARGS));
    if (!pg_bool(begun, 0, 0))
        return OK;
    return pg_query(cx, db, &SQL_MIGRATE_RECORDED, ret, PG_NO_ARGS);
}

rc migrate_check(struct cx *cx, struct pg *db)
{
    _cleanup_(pg_result_freep) struct pg_result *recorded = NULL;
    size_t next = 0;

    try(load_recorded(cx, db, &recorded));
    if (!recorded)
        return fail(cx, SCHEMA, "the database has no schema yet: run 'mihwar db migrate'");
    try(compare(cx, recorded, &next));
    if (next < migration_count)
        return fail(cx, SCHEMA, "the database is at step %zu of %zu: run 'mihwar db migrate'", next,
                    migration_count);
    return OK;
}

static const char *state_of(const struct pg_result *recorded, int row)
{
    int64_t number = pg_int(recorded, row, 0);

    if (number < 1 || number > (int64_t)migration_count)
        return "unknown";
    return str_eq(pg_text(recorded, row, 2), migrations[number - 1].sha256) ? "applied" : "changed";
}

rc migrate_status(struct cx *cx, struct pg *db,
                  void (*row)(int number, const char *name, const char *state, const char *at,
                              void *arg),
                  void *arg)
{
    _cleanup_(pg_result_freep) struct pg_result *recorded = NULL;
    size_t k = 0;
    int n, i = 0;

    try(load_recorded(cx, db, &recorded));
    n = recorded ? pg_rows(recorded) : 0;
    while (k < migration_count || i < n) {
        int64_t known = k < migration_count ? migrations[k].number : INT64_MAX;
        int64_t seen = i < n ? pg_int(recorded, i, 0) : INT64_MAX;
        char at[CLOCK_TEXT_LEN + 1];

        if (known < seen) {
            row(migrations[k].number, migrations[k].name, "missing", NULL, arg);
        } else {
            row((int)seen, pg_text(recorded, i, 1), state_of(recorded, i),
                clock_format(pg_ms(recorded, i, 3), at), arg);
            i++;
        }
        k += known <= seen;
    }
    return OK;
}

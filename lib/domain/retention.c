/* retention.c - one small statement a table, so that nobody waits long for a lock. */
#include "domain/retention.h"
#include "domain/retention.sql.h"

static rc prune(struct cx *cx, struct pg *db, const struct sql *q, int64_t before_ms, int batch,
                int64_t *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_query(cx, db, q, &res, PG_ARGS(pg_t(before_ms), pg_i(batch))));
    *ret = pg_affected(res);
    return OK;
}

rc retention_prune(struct cx *cx, struct pg *db, int64_t before_ms, int batch,
                   struct retention_counts *ret, bool *ret_more)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL, *flows = NULL;
    struct retention_counts c = {0};

    try(pg_do(cx, db, SQL_RETENTION_JOBS, &res, pg_t(before_ms), pg_i(batch)));
    c.jobs = pg_int(res, 0, 0);
    c.attempts = pg_int(res, 0, 1);
    try(pg_do(cx, db, SQL_RETENTION_WORKFLOWS, &flows, pg_t(before_ms), pg_i(batch)));
    c.workflows = pg_int(flows, 0, 0);
    try(prune(cx, db, &SQL_RETENTION_DEAD_LETTERS, before_ms, batch, &c.dead_letters));
    try(prune(cx, db, &SQL_RETENTION_EVENTS, before_ms, batch, &c.events));
    try(prune(cx, db, &SQL_RETENTION_FIRINGS, before_ms, batch, &c.firings));
    try(prune(cx, db, &SQL_RETENTION_KEYS, before_ms, batch, &c.keys));
    try(prune(cx, db, &SQL_RETENTION_REQUESTS, before_ms, batch, &c.requests));
    try(prune(cx, db, &SQL_RETENTION_REFUSALS, before_ms, batch, &c.refusals));
    *ret = c;
    *ret_more = c.jobs == batch || c.dead_letters == batch || c.events == batch ||
                c.firings == batch || c.keys == batch || c.requests == batch ||
                c.refusals == batch || c.workflows > 0;
    return OK;
}

/* control.c - cancel, bring back, pause, purge.
 *
 * Redis decides whether a job runs: cancel.lua takes a waiting job out (from then on nobody can
 * claim it) or notes the wish for a leased one. PostgreSQL is told after that. A crash in between
 * leaves a live row that Redis does not know, and the sweep brings the job back: the cancel did
 * not happen, and whoever asked for it was not told that it had. */
#include "base/log.h"
#include "pg/pg_array.h"
#include "queue/control.sql.h"
#include "queue/flow/reached.h"
#include "queue/internal.h"
#include "queue/names.h"
#include "queue/outbox.h"
#include "queue/retry.h"
#include "queue/rows.h"
#include "queue/shards.h"
#include "queue/view.sql.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum taken { NOT_KNOWN, TAKEN_OUT, LEASED };

static rc take_out(struct cx *cx, struct engine *e, const char *place, const struct lease *probably,
                   enum taken *ret)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    try(engine_keys(cx, e, place, &k));
    call_begin(&c, e, &SCRIPT_CANCEL, k,
               KEYS_OF(QK_JOBS, QK_LEASE, QK_SCHED, QK_CANCEL, QK_UNIQUE, QK_UNIQUE_OF), true, 2);
    call_bytes(&c, probably->id, ID_LEN);
    call_token(&c, probably);
    try(call_run(cx, &c, REDIS_REPLY_INTEGER, &reply));
    *ret = (enum taken)reply->integer;
    return OK;
}

/* Redis has the wish: a holder that does not hear of it now sees it when it extends its lease. */
static void tell_holder(struct cx *cx, struct engine *e, const char *id)
{
    rc r = e->db ? pg_do(cx, e->db, SQL_CANCEL_TELL, NULL, pg_s(id)) : OK;

    if (r != OK)
        log_fail(LOG_WARN, "cancel.not_told", cx, r, kv_str("job", id));
}

/* Only Redis knows a broker job, and only its queue knows it there. */
static rc cancel_broker(struct cx *cx, struct engine *e, const struct lease *first,
                        bool *ret_running)
{
    _cleanup_(names_release) struct names q = {0};

    try(names_of_places(cx, e, /* all= */ false, &q));
    for (size_t i = 0; i < q.n; i++) {
        enum taken t;
        try(take_out(cx, e, q.name[i], first, &t));
        *ret_running = t == LEASED;
        if (t == TAKEN_OUT && e->db) /* whoever waits for it hears that nothing will come */
            return pg_do(cx, e->db, SQL_END_TELL, NULL, pg_s(first->id));
        if (t == LEASED)
            tell_holder(cx, e, first->id);
        if (t != NOT_KNOWN)
            return OK;
    }
    return fail(cx, NOT_FOUND, "job %s does not exist, or has ended", first->id);
}

/* Redis cannot be asked: the wish is stored, and whoever empties the outbox carries it out as soon as it can be. */
static rc wish_only(struct cx *cx, struct engine *e, const char *id, rc why, bool *ret_running)
{
    _cleanup_(pg_result_freep) struct pg_result *moved = NULL;
    struct job_new job = {.durable = true};

    log_fail(LOG_WARN, "cancel.postponed", cx, why, kv_str("job", id));
    try(pg_do(cx, e->db, SQL_JOB_CANCEL_WISH, &moved, pg_s(id)));
    if (pg_rows(moved) == 0)
        return fail(cx, CONFLICT, "job %s has ended", id);
    memcpy(job.id, id, sizeof job.id);
    *ret_running = true;
    return outbox_note(cx, e, &job, 1);
}

rc engine_cancel(struct cx *cx, struct engine *e, const char *job_id, bool *ret_running)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL, *moved = NULL;
    struct lease probably = {.claim = 1};
    const char *place;
    enum taken t;

    *ret_running = false;
    if (!id_parse(job_id, probably.id))
        return fail(cx, NOT_FOUND, "there is no such job");
    if (e->db)
        try(pg_do(cx, e->db, SQL_JOB_STATE, &res, pg_s(probably.id)));
    if (!e->db || pg_rows(res) == 0)
        return cancel_broker(cx, e, &probably, ret_running);
    if (!pg_bool(res, 0, 2))
        return fail(cx, CONFLICT, "job %s has ended: %s", probably.id, pg_text(res, 0, 1));
    probably.generation = (int)pg_int(res, 0, 3);
    probably.claim = (int)pg_int(res, 0, 4) + 1;
    probably.snoozes = (int)pg_int(res, 0, 5);
    rc r = shards_find(cx, e, pg_text(res, 0, 0), probably.id, &place);
    if (r == OK)
        r = take_out(cx, e, place, &probably, &t);
    if (r == E_STORE_DOWN || r == E_STORE_DOUBT)
        return wish_only(cx, e, probably.id, r, ret_running);
    try(r);
    if (t == LEASED)
        try(pg_do(cx, e->db, SQL_JOB_CANCEL_WISH, &moved, pg_s(probably.id)));
    else
        try(flow_end(cx, e, &SQL_JOB_CANCEL, PG_ARGS(pg_s(probably.id)), &moved));
    if (pg_rows(moved) == 0)
        return fail(cx, CONFLICT, "job %s has ended", probably.id);
    *ret_running = t == LEASED;
    return OK;
}

rc engine_retry_at(struct cx *cx, struct engine *e, const char *job_id, int64_t run_at_ms)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL, *state = NULL;
    char id[ID_LEN + 1];
    int64_t pushed;

    if (!id_parse(job_id, id))
        return fail(cx, NOT_FOUND, "there is no such job");
    rc r = pg_do(cx, e->db, SQL_JOB_REVIVE, &res, pg_s(id), pg_i(run_at_ms));
    if (r == E_PG_UNIQUE)
        return fail(cx, CONFLICT, "another live job has the unique key of job %s", id);
    try(r);
    if (pg_rows(res) == 1)
        return engine_push_result(cx, e, res, /* rebuild= */ false, &pushed);
    try(pg_do(cx, e->db, SQL_JOB_STATE, &state, pg_s(id)));
    if (pg_rows(state) == 0)
        return fail(cx, NOT_FOUND, "job %s does not exist", id);
    return fail(cx, CONFLICT, "job %s is %s: only dead and cancelled jobs can be tried again", id,
                pg_text(state, 0, 1));
}

rc engine_retry_now(struct cx *cx, struct engine *e, const char *job_id)
{
    return engine_retry_at(cx, e, job_id, 0);
}

static rc purge_place(struct cx *cx, struct engine *e, const char *place, int64_t *ret_count)
{
    const struct queue_keys *k;

    try(engine_keys(cx, e, place, &k));
    for (;;) {
        _cleanup_(pg_array_release) struct pg_array durable = PG_ARRAY(MiB(4));
        _cleanup_(redis_reply_freep) redisReply *reply = NULL;
        _cleanup_(call_release) struct call c = {0};
        call_begin(&c, e, &SCRIPT_PURGE, k,
                   KEYS_OF(QK_JOBS, QK_SCHED, QK_CANCEL, QK_UNIQUE, QK_UNIQUE_OF), true, 1);
        call_int(&c, QUEUE_BATCH);
        try(call_run(cx, &c, REDIS_REPLY_ARRAY, &reply));
        if (!reply_has(reply, 2))
            return fail(cx, REDIS, "purge.lua answered with %zu elements", reply->elements);
        for (size_t i = 2; i < reply->elements; i++)
            pg_array_s(&durable, reply->element[i]->str);
        if (durable.n > 0 && e->db)
            try(flow_end(cx, e, &SQL_JOBS_CANCEL, PG_ARGS(pg_a(&durable)), NULL));
        *ret_count += reply_int(reply, 1);
        if (reply_int(reply, 0) == 0)
            return OK;
    }
}

rc engine_purge(struct cx *cx, struct engine *e, const char *queue, int64_t *ret_count)
{
    char place[PLACE_NAME_MAX + 1];
    int held;

    *ret_count = 0;
    try(queue_name_check(cx, queue));
    try(shards_held(cx, e, queue, &held));
    for (int shard = 0; shard < held; shard++)
        try(purge_place(cx, e, place_name(queue, shard, place), ret_count));
    return OK;
}

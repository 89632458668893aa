/* reconcile.c - Redis is made to agree with PostgreSQL.
 *
 *   all of it    An epoch is advanced in both stores, PostgreSQL first. A queue whose epoch is
 *                missing (emptied) or more than one step behind (an old snapshot, a stale
 *                replica) is not trusted: claims stop, its durable jobs are dropped, every live
 *                job gets generation + 1 in PostgreSQL and is pushed again, the epoch is set,
 *                claims go on.
 *   one of them  The sweep: live in PostgreSQL but unknown to Redis: pushed under generation + 1;
 *                known to Redis but ended: forgotten.
 *   at a claim   A job that was claimed before is looked up before it runs (engine_confirm).
 *
 * While a queue has no epoch, push.lua takes no durable job for it, so that nobody pushes a
 * generation that the rebuild has just left behind; what was committed meanwhile is found by the
 * look behind the rebuild. */
#include "queue/reconcile.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "pg/pg_array.h"
#include "queue/internal.h"
#include "queue/names.h"
#include "queue/outbox.h"
#include "queue/outbox.sql.h"
#include "queue/reconcile.sql.h"
#include "queue/rows.h"
#include "queue/shape/policy.h"
#include "queue/shape/room.h"
#include "queue/shards.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ID     "00000000-0000-0000-0000-000000000000"
#define PAGE         500
#define STEPS_A_LOOK 64 /* of drop.lua, about a thousand jobs each */
#define SCAN_PAGES   40
#define YOUNG_PAGES  4
#define CLOCK_SLIP   (60 * 1000) /* hubs' clocks may differ by this much */
#define SETTLED_MS   2000        /* a push that is under way has arrived */

/* ---------------------------------------------------------------- the epoch */

rc engine_epoch_read(struct cx *cx, struct engine *e)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_query(cx, e->db, &SQL_EPOCH_GET, &res, PG_NO_ARGS));
    if (pg_rows(res) != 1)
        return fail(cx, SCHEMA, "engine_epoch has no row");
    e->epoch = MAX(e->epoch, pg_int(res, 0, 0));
    return OK;
}

/* *ret_trusted: Redis has at least `from` (then it has `to` now). */
static rc epoch_step(struct cx *cx, struct engine *e, const char *queue, int64_t from, int64_t to,
                     bool *ret_trusted)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    try(engine_keys(cx, e, queue, &k));
    call_begin(&c, e, &SCRIPT_EPOCH, k, KEYS_OF(QK_EPOCH), false, 2);
    call_int(&c, from);
    call_int(&c, to);
    try(call_run(cx, &c, REDIS_REPLY_INTEGER, &reply));
    *ret_trusted = reply->integer == 1;
    return OK;
}

rc engine_epoch_advance(struct cx *cx, struct engine *e)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    _cleanup_(names_release) struct names q = {0};
    bool lost = false;

    /* Every queue takes the epoch of today before PostgreSQL goes on (a beat may have died between
     * the stores). One that cannot take it, whatever the reason, stops the epoch for all: it would
     * look old afterwards, be dropped, and its running jobs would run twice. */
    try(names_of_places(cx, e, /* all= */ false, &q));
    try(engine_epoch_read(cx, e));
    for (size_t i = 0; i < q.n; i++) {
        bool trusted;
        try(epoch_step(cx, e, q.name[i], e->epoch - 1, e->epoch, &trusted));
        lost |= !trusted;
    }
    try(pg_query(cx, e->db, &SQL_EPOCH_ADVANCE, &res, PG_NO_ARGS));
    if (pg_rows(res) != 1)
        return fail(cx, SCHEMA, "engine_epoch has no row");
    int64_t now = pg_int(res, 0, 0);
    e->epoch = MAX(e->epoch, now);
    for (size_t i = 0; i < q.n; i++) {
        bool trusted;
        try(epoch_step(cx, e, q.name[i], now - 1, now, &trusted));
        lost |= !trusted;
    }
    return lost ? engine_recover(cx, e, NULL) : OK;
}

/* ---------------------------------------------------------------- all of it */

/* Redis answers, but not for this queue (a key of another type under one of its names): the others
 * go on. */
static bool only_this_queue(struct cx *cx, rc r, const char *queue)
{
    if (r != E_REDIS)
        return false;
    log_fail(LOG_ERROR, "queue.not_mended", cx, r, kv_str("queue", queue));
    return true;
}

struct rebuild {
    struct engine *e;
    const char *queue;
    int64_t jobs;
    bool was_lost;
    int shards; /* that may have jobs */
    bool lost[QUEUE_SHARDS_MAX];
};

/* Also to say that we are still at it: a transaction that is idle for too long would be ended. */
static rc take_lock(struct cx *cx, struct pg_tx *tx, const char *queue)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    return pg_tx_do(cx, tx, SQL_RECOVER_LOCK, &res, pg_s(queue));
}

/* One step of it; `at` says where, and is where the next one goes on: empty at the end. */
static rc drop_step(struct cx *cx, struct engine *e, const struct queue_keys *k, struct buf *at)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};

    call_begin(&c, e, &SCRIPT_DROP, k, KEYS_OF(QK_JOBS, QK_LEASE, QK_SCHED, QK_EPOCH, QK_CANCEL),
               true, 1);
    call_str(&c, buf_str(at));
    try(call_run(cx, &c, REDIS_REPLY_ARRAY, &reply));
    if (!reply_has(reply, 2) || reply->element[0]->type != REDIS_REPLY_STRING)
        return fail(cx, REDIS, "drop.lua answered with %zu elements", reply->elements);
    buf_reset(at);
    buf_append(at, reply->element[0]->str, reply->element[0]->len);
    return buf_ok(at) ? OK : fail(cx, BUFFER_FULL, "drop.lua: the name of a list is too long");
}

/* `lock`: of the rebuild, which is told that we are still at it; or NULL. */
static rc drop_durable(struct cx *cx, struct engine *e, struct pg_tx *lock, const char *queue,
                       const char *place)
{
    _cleanup_(buf_release) struct buf at = BUF(KiB(4));
    const struct queue_keys *k;

    try(engine_keys(cx, e, place, &k));
    for (int steps = 1;; steps++) {
        try(drop_step(cx, e, k, &at));
        if (at.len == 0)
            return OK;
        if (lock && steps % STEPS_A_LOOK == 0)
            try(take_lock(cx, lock, queue));
    }
}

/* From here on it is claimed from. */
static rc place_trust(struct cx *cx, struct engine *e, const char *place)
{
    bool trusted;

    try(epoch_step(cx, e, place, -1, e->epoch, &trusted));
    return engine_wake(cx, e, place);
}

rc engine_place_open(struct cx *cx, struct engine *e, const char *place)
{
    try(engine_epoch_read(cx, e));
    try(drop_durable(cx, e, NULL, place, place));
    return place_trust(cx, e, place);
}

static rc push_live(struct cx *cx, struct engine *e, struct pg_tx *lock, const char *queue,
                    int64_t *ret_jobs)
{
    char after[ID_LEN + 1] = FIRST_ID;

    for (;;) {
        _cleanup_(pg_result_freep) struct pg_result *res = NULL;
        int64_t pushed;
        /* Each page commits before it is pushed: the new generation is written first. */
        try(pg_do(cx, e->db, SQL_LIVE_BUMP, &res, pg_s(queue), pg_s(after), pg_i(PAGE)));
        int n = pg_rows(res);
        if (n == 0)
            return OK;
        try(engine_push_result(cx, e, res, /* rebuild= */ true, &pushed));
        *ret_jobs += pushed;
        /* Still ours. */
        try(take_lock(cx, lock, queue));
        memcpy(after, pg_text(res, n - 1, 0), ID_LEN);
    }
}

static rc sweep_page(struct cx *cx, struct engine *e, const struct pg_result *page, bool rebuild,
                     int64_t *ret_pushed);

/* Some shards are well, and their jobs stay as they are: those that no shard knows are pushed, as a sweep does.
 * What was born a moment ago may be on its way, and is left to whoever empties the outbox. */
static rc push_missing(struct cx *cx, struct engine *e, struct pg_tx *lock, const char *queue,
                       int64_t *ret_jobs)
{
    char after[ID_LEN + 1] = FIRST_ID;

    for (;;) {
        _cleanup_(pg_result_freep) struct pg_result *page = NULL;
        try(pg_do(cx, e->db, SQL_LIVE_PAGE, &page, pg_s(after), pg_i(SETTLED_MS), pg_s(queue)));
        int n = pg_rows(page);
        if (n == 0)
            return OK;
        try(sweep_page(cx, e, page, /* rebuild= */ true, ret_jobs));
        try(take_lock(cx, lock, queue));
        memcpy(after, pg_text(page, n - 1, 0), ID_LEN);
    }
}

/* Which of its shards are not trusted; the others have the epoch of today then. */
static rc look_at_shards(struct cx *cx, struct rebuild *r, int *ret_lost)
{
    char place[PLACE_NAME_MAX + 1];

    *ret_lost = 0;
    bounds_forget(r->e);
    try(shards_held(cx, r->e, r->queue, &r->shards));
    for (int k = 0; k < r->shards; k++) {
        bool trusted;
        try(epoch_step(cx, r->e, place_name(r->queue, k, place), r->e->epoch - 1, r->e->epoch,
                       &trusted));
        r->lost[k] = !trusted;
        *ret_lost += !trusted;
    }
    return OK;
}

/* The transaction holds the lock and nothing else: the pages are committed on their own. */
static rc rebuild_locked(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct rebuild *r = arg;
    struct engine *e = r->e;
    char place[PLACE_NAME_MAX + 1];
    int lost;

    r->jobs = 0;
    r->was_lost = false;
    try(take_lock(cx, tx, r->queue));
    try(engine_epoch_read(cx, e));
    try(look_at_shards(cx, r, &lost));
    if (lost == 0)
        return OK; /* somebody did it while we waited for the lock */
    r->was_lost = true;
    for (int k = 0; k < r->shards; k++)
        if (r->lost[k])
            try(drop_durable(cx, e, tx, r->queue, place_name(r->queue, k, place)));
    try(engine_gate_put(cx, e,
                        r->queue)); /* first: what is pushed finds its lane, and is counted */
    if (lost == r->shards)
        try(push_live(cx, e, tx, r->queue, &r->jobs));
    else
        try(push_missing(cx, e, tx, r->queue, &r->jobs));
    try(redis_cmd(cx, e->redis, NULL, "SADD %s %s", KEY_QUEUES, r->queue));
    try(engine_epoch_read(cx, e));
    for (int k = 0; k < r->shards; k++)
        if (r->lost[k])
            try(place_trust(cx, e, place_name(r->queue, k, place)));
    return OK;
}

static rc sweep_live(struct cx *cx, struct engine *e, const char *queue, const char *from_id,
                     int64_t min_age_ms, int64_t *ret_pushed);

/* An id as a process whose clock is late would have made it then. */
static void id_at(int64_t ms, char out[ID_LEN + 1])
{
    char text[ID_LEN * 2];

    snprintf(text, sizeof text, "%08" PRIx64 "-%04" PRIx64 "-0000-0000-000000000000",
             (uint64_t)ms >> 16, (uint64_t)ms & 0xffff);
    memcpy(out, text, ID_LEN);
    out[ID_LEN] = 0;
}

static rc recover_queue(struct cx *cx, struct engine *e, const char *queue, int64_t *ret_jobs)
{
    struct rebuild r = {.e = e, .queue = queue};
    int64_t began = clock_ms(), more = 0;
    char from[ID_LEN + 1];

    try(pg_tx_run(cx, e->db, rebuild_locked, &r));
    if (!r.was_lost)
        return OK;
    try(engine_gate_copy(cx, e, queue)); /* somebody may have set it meanwhile */
    /* Committed behind the walk and refused by push.lua, because the epoch was not there yet. (With an
     * id that its caller made up, it is found by beat's next sweep.) */
    id_at(began - CLOCK_SLIP, from);
    try(sweep_live(cx, e, queue, from, r.shards > 1 ? SETTLED_MS : 0, &more));
    *ret_jobs += r.jobs + more;
    if (r.jobs + more > 0)
        log_ev(LOG_WARN, "queue.recovered", kv_str("queue", queue), kv_int("jobs", r.jobs + more),
               kv_int("took_ms", clock_ms() - began));
    return OK;
}

rc engine_recover(struct cx *cx, struct engine *e, int64_t *ret_jobs)
{
    _cleanup_(names_release) struct names q = {0};
    int64_t jobs = 0;

    if (!e->db)
        return fail(cx, CONFIG, "a rebuild needs PostgreSQL");
    rc first = OK;

    try(names_of_all_queues(cx, e, &q));
    for (size_t i = 0; i < q.n; i++) {
        rc r = recover_queue(cx, e, q.name[i], &jobs);
        if (r != OK && !only_this_queue(cx, r, q.name[i]))
            return r;
        first = first ? first : r;
    }
    if (ret_jobs)
        *ret_jobs = jobs;
    return first == OK ? OK : fail_rc(cx, first, "not every queue could be rebuilt");
}

/* ---------------------------------------------------------------- one of them */

/* The ids of one queue that Redis does not have, in none of its shards. */
static rc find_missing(struct cx *cx, struct engine *e, const char *queue,
                       const struct pg_result *page, bool *done, struct pg_array *missing)
{
    _cleanup_(freep) const char **ids = xmalloc(((size_t)pg_rows(page) + 1) * sizeof *ids);
    _cleanup_(freep) int *at = xmalloc(((size_t)pg_rows(page) + 1) * sizeof *at);
    size_t n = 0;

    for (int r = 0; r < pg_rows(page); r++)
        if (!done[r] && strcmp(pg_text(page, r, 1), queue) == 0) {
            done[r] = true;
            ids[n++] = pg_text(page, r, 0);
        }
    try(shards_locate(cx, e, queue, ids, n, at));
    for (size_t i = 0; i < n; i++)
        if (at[i] < 0)
            pg_array_s(missing, ids[i]);
    return OK;
}

static rc sweep_page(struct cx *cx, struct engine *e, const struct pg_result *page, bool rebuild,
                     int64_t *ret_pushed)
{
    _cleanup_(pg_array_release) struct pg_array missing = PG_ARRAY(MiB(1));
    _cleanup_(pg_result_freep) struct pg_result *bumped = NULL;
    _cleanup_(freep) bool *done = xcalloc((size_t)pg_rows(page) + 1, sizeof *done);
    int64_t pushed = 0;

    for (int r = 0; r < pg_rows(page); r++) {
        if (done[r])
            continue;
        rc code = find_missing(cx, e, pg_text(page, r, 1), page, done, &missing);
        if (code != OK && !only_this_queue(cx, code, pg_text(page, r, 1)))
            return code;
    }
    if (missing.n == 0)
        return OK;
    try(pg_do(cx, e->db, SQL_MISSING_BUMP, &bumped, pg_a(&missing)));
    try(engine_push_result(cx, e, bumped, rebuild, &pushed));
    *ret_pushed += pushed;
    return OK;
}

static rc sweep_live(struct cx *cx, struct engine *e, const char *queue, const char *from_id,
                     int64_t min_age_ms, int64_t *ret_pushed)
{
    char after[ID_LEN + 1];

    memcpy(after, from_id, sizeof after);
    for (;;) {
        _cleanup_(pg_result_freep) struct pg_result *page = NULL;
        try(pg_do(cx, e->db, SQL_LIVE_PAGE, &page, pg_s(after), pg_i(min_age_ms), pg_s(queue)));
        int n = pg_rows(page);
        if (n == 0)
            return OK;
        try(sweep_page(cx, e, page, /* rebuild= */ false, ret_pushed));
        memcpy(after, pg_text(page, n - 1, 0), ID_LEN);
    }
}

rc engine_sweep_young(struct cx *cx, struct engine *e, int64_t from_ms, int64_t min_age_ms,
                      int64_t *ret_pushed)
{
    char after[ID_LEN + 1], until[ID_LEN + 1];

    *ret_pushed = 0;
    id_at(from_ms, after);
    id_at(clock_ms() - min_age_ms, until);
    for (int pages = 0; pages < YOUNG_PAGES; pages++) {
        _cleanup_(pg_result_freep) struct pg_result *page = NULL;
        try(pg_do(cx, e->db, SQL_YOUNG_PAGE, &page, pg_s(after), pg_s(until), pg_i(min_age_ms)));
        int n = pg_rows(page);
        if (n == 0)
            return OK;
        try(sweep_page(cx, e, page, /* rebuild= */ false, ret_pushed));
        memcpy(after, pg_text(page, n - 1, 0), ID_LEN);
    }
    return OK;
}

rc engine_drop_ended(struct cx *cx, struct engine *e, const char *queue, const char *const *ids,
                     size_t n, int64_t *ret_dropped)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    *ret_dropped = 0;
    if (n == 0)
        return OK;
    try(engine_keys(cx, e, queue, &k));
    call_begin(&c, e, &SCRIPT_DROP_ENDED, k, KEYS_OF(QK_JOBS, QK_CANCEL, QK_UNIQUE, QK_UNIQUE_OF),
               false, n);
    for (size_t i = 0; i < n; i++)
        call_bytes(&c, ids[i], ID_LEN);
    try(call_run(cx, &c, REDIS_REPLY_INTEGER, &reply));
    *ret_dropped = reply->integer;
    return OK;
}

/* Of the ids that a page of Redis shows (element 1 on), those that PostgreSQL has ended are
 * forgotten. */
static rc drop_page(struct cx *cx, struct engine *e, const char *queue, const redisReply *page,
                    int64_t *ret_dropped)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(MiB(4));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    int64_t dropped;

    for (size_t i = 1; i < page->elements; i++) {
        char id[ID_LEN + 1];
        if (id_parse(page->element[i]->str, id)) /* else somebody else wrote it */
            pg_array_s(&ids, id);
    }
    try(pg_do(cx, e->db, SQL_ENDED_AMONG, &res, pg_a(&ids)));
    _cleanup_(freep) const char **ended = xmalloc(((size_t)pg_rows(res) + 1) * sizeof *ended);
    for (int r = 0; r < pg_rows(res); r++)
        ended[r] = pg_text(res, r, 0);
    try(engine_drop_ended(cx, e, queue, ended, (size_t)pg_rows(res), &dropped));
    *ret_dropped += dropped;
    return OK;
}

/* A part of the queue each time: a walk over all of a long queue would cost Redis more than the few
 * envelopes that it finds. */
static rc sweep_known(struct cx *cx, struct engine *e, const char *queue, int64_t *ret_dropped)
{
    const struct queue_keys *k;

    try(engine_keys(cx, e, queue, &k));
    for (int pages = 0; pages < SCAN_PAGES; pages++) {
        _cleanup_(redis_reply_freep) redisReply *page = NULL;
        _cleanup_(call_release) struct call c = {0};
        char cursor[sizeof k->scanned_to];
        snprintf(cursor, sizeof cursor, "%s", k->scanned_to[0] ? k->scanned_to : "0");
        call_begin(&c, e, &SCRIPT_SCAN, k, KEYS_OF(QK_JOBS), false, 1);
        call_str(&c, cursor);
        try(call_run(cx, &c, REDIS_REPLY_ARRAY, &page));
        if (!reply_has(page, 1) || page->element[0]->type != REDIS_REPLY_STRING)
            return fail(cx, REDIS, "scan.lua answered without a cursor");
        snprintf(engine_queue(e, k)->scanned_to, sizeof k->scanned_to, "%s", page->element[0]->str);
        if (page->elements > 1)
            try(drop_page(cx, e, queue, page, ret_dropped));
        if (strcmp(k->scanned_to, "0") == 0)
            break;
    }
    return OK;
}

rc engine_sweep(struct cx *cx, struct engine *e, int64_t min_age_ms, int64_t *ret_pushed,
                int64_t *ret_dropped)
{
    _cleanup_(names_release) struct names q = {0};

    *ret_pushed = *ret_dropped = 0;
    try(sweep_live(cx, e, NULL, FIRST_ID, min_age_ms, ret_pushed));
    try(names_of_places(cx, e, /* all= */ true, &q));
    rc first = OK;
    for (size_t i = 0; i < q.n; i++) {
        rc r = sweep_known(cx, e, q.name[i], ret_dropped);
        if (r != OK && !only_this_queue(cx, r, q.name[i]))
            return r;
        first = first ? first : r;
    }
    return first == OK ? OK : fail_rc(cx, first, "not every queue could be swept");
}

/* ---------------------------------------------------------------- at a claim */

bool engine_wants_look(const struct job *j)
{
    return j->durable && (j->lease.claim > 1 || j->lease.generation > 1);
}

static void judge(struct claim_check *c, const struct pg_result *res, int row, int64_t now_ms)
{
    bool live = pg_bool(res, row, 1), cancel = pg_bool(res, row, 5);
    int64_t generation = pg_int(res, row, 2), attempt = pg_int(res, row, 3),
            run_at = pg_ms(res, row, 4);

    if (!live || generation != c->job->lease.generation || attempt >= c->job->lease.claim)
        return; /* ended, or another token's */
    c->verdict = cancel ? CLAIM_CANCEL : run_at > now_ms + 1000 ? CLAIM_LATER : CLAIM_RUN;
    c->run_at_ms = run_at;
    if (attempt == c->job->lease.claim - 1) /* not from a lease that expired */
        c->due_ms = run_at;
}

rc engine_confirm(struct cx *cx, struct engine *e, struct claim_check *c, size_t n)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(MiB(4));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    _cleanup_(freep) struct claim_check **asked = xmalloc((n + 1) * sizeof *asked);

    for (size_t i = 0; i < n; i++) {
        c[i].verdict = CLAIM_RUN;
        if (!engine_wants_look(c[i].job))
            continue;
        asked[ids.n] = &c[i];
        pg_array_s(&ids, c[i].job->lease.id);
    }
    if (ids.n == 0)
        return OK;
    try(pg_do(cx, e->db, SQL_CLAIM_CHECK, &res, pg_a(&ids)));
    for (size_t i = 0; i < ids.n; i++)
        asked[i]->verdict = CLAIM_ENDED;
    for (int r = 0; r < pg_rows(res); r++) {
        size_t i = (size_t)pg_int(res, r, 0) - 1;
        if (i < ids.n)
            judge(asked[i], res, r, clock_ms());
    }
    return OK;
}

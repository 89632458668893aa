/* push.c - a job is born: checked, written into the caller's transaction, made known to Redis
 * after the commit.
 *
 *   durable   engine_insert --commit--> engine_push
 *             (a crash in between: the sweep of reconcile.c pushes it)
 *   broker    engine_push: Redis is all it has
 *
 * The token that waits in Redis is that of the first claim: "id:1.1.0", "id:0.1.0" for a broker
 * job. */
#include "base/clock.h"
#include "base/inject.h"
#include "base/log.h"
#include "base/text.h"
#include "pg/pg_array.h"
#include "queue/envelope.h"
#include "queue/internal.h"
#include "queue/options.h"
#include "queue/outbox.h"
#include "queue/queue.sql.h"
#include "queue/shape/policy.h"
#include "queue/shape/room.h"
#include "queue/shards.h"
#include "queue/unique.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SUBJECT_MAX 128
/* push.lua's word for a shard that takes nothing new. */
#define CLOSED (-2)
/* Of a row on its way to a shard: which is not chosen yet, was closed, has it. */
enum { NOWHERE = -1, MOVED = -2, DONE = -3 };

/* ---------------------------------------------------------------- what may be asked for */

static bool plain_text(const char *s, size_t max_bytes)
{
    size_t n = strlen(s);

    if (n == 0 || n > max_bytes || !utf8_valid(s, n))
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    return true;
}

rc job_new_check(struct cx *cx, const struct job_new *j)
{
    char id[ID_LEN + 1];

    if (!task_name_valid(j->task))
        return fail_at(cx, INVALID_FIELD, "/task",
                       "a task's name has 1 to %d characters of A-Z a-z 0-9 _ . -", TASK_NAME_MAX);
    if (j->queue && !queue_name_valid(j->queue))
        return fail_at(cx, INVALID_FIELD, "/queue",
                       "a queue's name has 1 to %d characters of a-z 0-9 _ . -", QUEUE_NAME_MAX);
    if (j->id[0] && (!id_parse(j->id, id) || strcmp(id, j->id) != 0))
        return fail_at(cx, INVALID_FIELD, "/id", "an id is a UUID in lower case");
    if (j->args && strlen(j->args) > JOB_ARGS_MAX)
        return fail_at(cx, INVALID_FIELD, "/args", "arguments have at most %zu bytes",
                       JOB_ARGS_MAX);
    if (j->args && !utf8_valid(j->args, strlen(j->args)))
        return fail_at(cx, INVALID_FIELD, "/args", "arguments are JSON in UTF-8");
    if (j->priority < 0 || j->priority > 9)
        return fail_at(cx, INVALID_FIELD, "/priority", "a priority is 0 to 9");
    if (j->run_at_ms < 0)
        return fail_at(cx, INVALID_FIELD, "/run_at", "a job cannot run before 1970");
    if (j->timeout_ms < 0 || j->timeout_ms > INT64_C(7) * 24 * 3600 * 1000)
        return fail_at(cx, INVALID_FIELD, "/timeout_ms", "a time limit is at most 7 days");
    if (j->max_attempts < 0 || j->max_attempts > 1000)
        return fail_at(cx, INVALID_FIELD, "/max_attempts", "at most 1000 attempts");
    if (j->unique_key && !plain_text(j->unique_key, UNIQUE_KEY_MAX))
        return fail_at(cx, INVALID_FIELD, "/unique_key",
                       "a unique key has 1 to %d bytes of UTF-8 without control characters",
                       UNIQUE_KEY_MAX);
    if (j->subject && !plain_text(j->subject, SUBJECT_MAX))
        return fail_at(cx, INVALID_FIELD, "/subject", "a subject has 1 to %d bytes", SUBJECT_MAX);
    if (j->tenant_id && !id_parse(j->tenant_id, id))
        return fail_at(cx, INVALID_FIELD, "/tenant_id", "a tenant's id is a UUID");
    if (j->trace && !plain_text(j->trace, 128))
        return fail_at(cx, INVALID_FIELD, "/trace", "a trace has 1 to 128 bytes");
    return j->options ? job_options_check(cx, j->options) : OK;
}

static const char *queue_of(const struct job_new *j)
{
    return j->queue ? j->queue : "default";
}

/* ---------------------------------------------------------------- PostgreSQL */

/* Who of the jobs was not new, and whose id stands for it. `missing`: nobody does any more (the
 * first job has just ended). */
static rc read_firsts(struct cx *cx, struct pg_tx *tx, struct job_new **rest, size_t n,
                      size_t *ret_missing)
{
    _cleanup_(pg_array_release) struct pg_array ids = PG_ARRAY(MiB(4)), keys = PG_ARRAY(MiB(4));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    size_t missing = 0;

    for (size_t i = 0; i < n; i++) {
        pg_array_s(&ids, rest[i]->id);
        pg_array_s(&keys, rest[i]->unique_key);
    }
    try(pg_tx_do(cx, tx, SQL_JOB_FIRST, &res, pg_a(&ids), pg_a(&keys)));
    for (int r = 0; r < pg_rows(res); r++) {
        size_t i = (size_t)pg_int(res, r, 0) - 1;
        if (i >= n || rest[i]->existed)
            continue;
        memcpy(rest[i]->id, pg_text(res, r, 1), ID_LEN);
        rest[i]->existed = true;
    }
    for (size_t i = 0; i < n; i++)
        if (!rest[i]->existed)
            rest[missing++] = rest[i];
    *ret_missing = missing;
    return OK;
}

static rc insert_rows(struct cx *cx, struct pg_tx *tx, struct job_new **jobs, size_t n,
                      struct pg_result **ret)
{
    enum {
        ID,
        QUEUE,
        TASK,
        ARGS,
        RUN_AT,
        PRIORITY,
        ATTEMPTS,
        TIMEOUT,
        KEY,
        SUBJECT,
        TENANT,
        TRACE,
        OPTIONS,
        COLUMNS
    };
    struct pg_array a[COLUMNS];
    struct pg_arg args[COLUMNS];

    for (int c = 0; c < COLUMNS; c++)
        a[c] = PG_ARRAY(MiB(256));
    for (size_t i = 0; i < n; i++) {
        const struct job_new *j = jobs[i];
        pg_array_s(&a[ID], j->id);
        pg_array_s(&a[QUEUE], queue_of(j));
        pg_array_s(&a[TASK], j->task);
        pg_array_s(&a[ARGS], j->args ? j->args : "{}");
        pg_array_i(&a[RUN_AT], j->run_at_ms);
        pg_array_i(&a[PRIORITY], j->priority);
        pg_array_i(&a[ATTEMPTS], j->max_attempts);
        pg_array_i(&a[TIMEOUT], j->timeout_ms);
        pg_array_s(&a[KEY], j->unique_key);
        pg_array_s(&a[SUBJECT], j->subject);
        pg_array_s(&a[TENANT], j->tenant_id);
        pg_array_s(&a[TRACE], j->trace);
        pg_array_s(&a[OPTIONS], job_options_text(cx, j->options));
    }
    for (int c = 0; c < COLUMNS; c++)
        args[c] = pg_a(&a[c]);
    rc r = pg_tx_query(cx, tx, &SQL_JOB_INSERT, ret, args);
    for (int c = 0; c < COLUMNS; c++)
        pg_array_release(&a[c]);
    return r;
}

static int by_id(const void *a, const void *b)
{
    return strcmp((*(struct job_new *const *)a)->id, (*(struct job_new *const *)b)->id);
}

/* Sorted by id so that two batches with common keys wait for each other in one order. */
rc engine_insert(struct cx *cx, struct pg_tx *tx, struct job_new *jobs, size_t n)
{
    _cleanup_(freep) struct job_new **rest = xmalloc((n + 1) * sizeof *rest);

    if (n > QUEUE_BATCH)
        return fail(cx, INVALID_FIELD, "at most %d jobs at once", QUEUE_BATCH);
    for (size_t i = 0; i < n; i++) {
        jobs[i].existed = false;
        if (!jobs[i].id[0])
            id_new(jobs[i].id);
        rest[i] = &jobs[i];
    }
    try(windows_take(cx, tx, rest, &n));
    for (int round = 0; n > 0; round++) {
        _cleanup_(pg_result_freep) struct pg_result *res = NULL;
        if (round == 5)
            return fail(cx, PG_RETRY, "a unique key changes hands faster than it can be read");
        try(insert_rows(cx, tx, rest, n, &res));
        if ((size_t)pg_rows(res) == n)
            return OK;
        qsort(rest, n, sizeof(struct job_new *), by_id);
        for (int r = 0; r < pg_rows(res); r++) {
            struct job_new key = {0}, *k = &key;
            memcpy(key.id, pg_text(res, r, 0), ID_LEN);
            struct job_new **hit = bsearch(&k, rest, n, sizeof(struct job_new *), by_id);
            if (!hit)
                return fail(cx, INTERNAL, "PostgreSQL answered with an id that was not sent");
            /* Taken out of the row: a job is new once. */
            memmove(hit, hit + 1, (n - (size_t)(hit - rest) - 1) * sizeof(struct job_new *));
            n--;
        }
        try(read_firsts(cx, tx, rest, n, &n));
    }
    return OK;
}

/* ---------------------------------------------------------------- Redis */

/* Listed for engine_queues; the first push after Redis was emptied lists a queue again. */
static rc list_queue(struct cx *cx, struct engine *e, const char *queue)
{
    return redis_cmd(cx, e->redis, NULL, "SADD %s %s", KEY_QUEUES, queue);
}

/* Six arguments of push.lua a row; row i's envelope ends at ends[i] of bodies. */
static void put_rows(struct cx *cx, struct call *c, const struct push_row *rows, size_t n,
                     const struct buf *bodies, const size_t *ends)
{
    for (size_t i = 0; i < n; i++) {
        const struct job_new *j = rows[i].job;
        size_t from = i ? ends[i - 1] : 0;
        call_bytes(c, rows[i].next.id, ID_LEN);
        call_numbers(c, &rows[i].next);
        call_int(c, j->priority);
        call_int(c, j->run_at_ms);
        /* The unique key of a durable job is PostgreSQL's business. */
        call_str(c, rows[i].next.generation == 0 ? unique_word(cx, j) : "");
        call_bytes(c, bodies->p + from, ends[i] - from);
    }
}

/* What is not new: the place of each, and the id that stands for it ('': there is no epoch, the
 * rebuild will bring the job). */
static rc take_others(struct cx *cx, struct engine *e, const char *queue, const redisReply *reply,
                      const struct push_row *rows, size_t n, size_t *ret_others)
{
    size_t others = reply->elements / 2;

    if (reply->elements % 2 == 0)
        return fail(cx, REDIS, "push.lua answered with %zu elements", reply->elements);
    if (reply->elements == 3 && reply_int(reply, 0) < 0)
        return queue_is_full(cx, queue, reply->element[1]->str, reply_int(reply, 2));
    for (size_t i = 0; i < others; i++) {
        int64_t at = reply_int(reply, 1 + 2 * i) - 1;
        const redisReply *id = reply->element[2 + 2 * i];
        if (at < 0 || (size_t)at >= n || id->type != REDIS_REPLY_STRING)
            return fail(cx, REDIS, "push.lua answered with job %" PRId64 " of %zu", at + 1, n);
        if (id->len == ID_LEN) {
            rows[at].job->existed = true;
            memcpy(rows[at].job->id, id->str, ID_LEN);
        } else {
            e->refusals++;
        }
    }
    *ret_others = others;
    return OK;
}

/* "OOM command not allowed when used memory > 'maxmemory'." */
static bool is_full(const struct cx *cx, rc r)
{
    return r == E_REDIS && starts_with(cx_words(cx, r), "OOM ");
}

/* Of one place. *ret_moved: it takes nothing new any more; nothing was stored, and the engine has heard where new
 * jobs go. */
static rc push_place(struct cx *cx, struct engine *e, const struct queue_keys *home, int shard,
                     const struct push_row *rows, size_t n, enum push_how how, size_t *ret_pushed,
                     bool *ret_moved)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(buf_release) struct buf bodies = BUF(MiB(512));
    _cleanup_(freep) size_t *ends = xmalloc((n + 1) * sizeof *ends);
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k = home;
    int64_t now = e->test_now_ms ? e->test_now_ms : clock_ms();
    char place[PLACE_NAME_MAX + 1];

    *ret_pushed = 0;
    *ret_moved = false;
    if (shard > 0)
        try(engine_keys(cx, e, place_name(home->base, shard, place), &k));
    for (size_t i = 0; i < n; i++) {
        envelope_write(&bodies, rows[i].job, rows[i].next.generation,
                       MAX(now, rows[i].job->run_at_ms));
        ends[i] = bodies.len;
    }
    if (!buf_ok(&bodies))
        return fail(cx, BUFFER_FULL, "a batch of jobs is too large");
    call_begin(&c, e, &SCRIPT_PUSH, k, KEYS_OF(PUSH_KEYS), true, 2 + 6 * n);
    call_now(&c);
    call_int(&c, how);
    put_rows(cx, &c, rows, n, &bodies, ends);
    rc r = call_run(cx, &c, REDIS_REPLY_ARRAY, &reply);
    if (r != OK)
        return is_full(cx, r) ? fail(cx, OVERLOADED, "Redis is full and takes no more jobs") : r;
    if (reply->elements % 2 == 0 && reply->elements > 0) { /* its last word: how many shards */
        int spread = (int)reply_int(reply, reply->elements - 1);
        if (spread >= 1 && spread <= QUEUE_SHARDS_MAX)
            shards_heard(e, home, spread, home->held);
        *ret_moved = reply_int(reply, 0) == CLOSED;
        if (*ret_moved)
            return OK;
        freeReplyObject(reply->element[--reply->elements]);
    }
    size_t others = 0;
    try(take_others(cx, e, home->base, reply, rows, n, &others));
    *ret_pushed = n - others;
    if (n > others && reply_int(reply, 0) == (int64_t)(n - others))
        try(list_queue(cx, e, home->base));
    return OK;
}

/* Those that were given a shard, a call for each; those of a closed one stay at -1 or more (`left`). A shard that
 * cannot be reached does not keep the others from theirs. */
static rc push_shards(struct cx *cx, struct engine *e, const struct queue_keys *home,
                      const struct push_row *rows, size_t n, enum push_how how, int *at,
                      size_t *ret_pushed, size_t *ret_left)
{
    _cleanup_(freep) struct push_row *some = xmalloc((n + 1) * sizeof *some);
    struct err first_words = {0};
    rc first = OK;

    *ret_left = 0;
    for (int shard = 0; shard < QUEUE_SHARDS_MAX; shard++) {
        size_t k = 0, pushed;
        bool moved;
        for (size_t i = 0; i < n; i++)
            if (at[i] == shard)
                some[k++] = rows[i];
        if (k == 0)
            continue;
        rc r = push_place(cx, e, home, shard, some, k, how, &pushed, &moved);
        if (r == E_CANCELLED)
            return r;
        if (r != OK && first == OK) {
            first = r;
            first_words = cx->err;
        }
        *ret_pushed += pushed;
        *ret_left += moved ? k : 0;
        for (size_t i = 0; i < n; i++)
            if (at[i] == shard)
                at[i] = moved ? MOVED : DONE;
    }
    if (first != OK)
        cx->err = first_words;
    return first;
}

static rc find_places(struct cx *cx, struct engine *e, const struct queue_keys *home,
                      const struct push_row *rows, size_t n, enum push_how how, int *at)
{
    _cleanup_(freep) const char **ids = xmalloc((n + 1) * sizeof *ids);

    for (size_t i = 0; i < n; i++) {
        ids[i] = rows[i].job->id;
        at[i] = NOWHERE;
    }
    if (how == PUSH_AGAIN)
        try(shards_locate(cx, e, home->base, ids, n, at));
    for (size_t i = 0; i < n; i++)
        if (at[i] == NOWHERE)
            at[i] = shard_of(home, rows[i].job);
    return OK;
}

static rc push_spread(struct cx *cx, struct engine *e, const struct queue_keys *home,
                      const struct push_row *rows, size_t n, enum push_how how, size_t *ret_pushed)
{
    _cleanup_(freep) int *at = xmalloc((n + 1) * sizeof *at);
    size_t left;

    try(find_places(cx, e, home, rows, n, how, at));
    for (int turn = 0; turn < 4; turn++) {
        try(push_shards(cx, e, home, rows, n, how, at, ret_pushed, &left));
        if (left == 0)
            return OK;
        for (size_t i = 0; i < n; i++)
            if (at[i] == MOVED)
                at[i] = shard_of(home, rows[i].job);
    }
    return fail(cx, REDIS, "queue %s changes its shards faster than it can be pushed to",
                home->base);
}

rc engine_push_rows(struct cx *cx, struct engine *e, const char *queue, const struct push_row *rows,
                    size_t n, enum push_how how, size_t *ret_pushed)
{
    const struct queue_keys *k;
    int held;
    bool moved;

    *ret_pushed = 0;
    if (n == 0)
        return OK;
    if (how != PUSH_NEW) /* whoever pushes new jobs hears of shards by the answers */
        try(shards_held(cx, e, queue, &held));
    try(engine_keys(cx, e, queue, &k));
    if (k->spread <= 1 && (how != PUSH_AGAIN || k->held <= 1))
        try(push_place(cx, e, k, 0, rows, n, how, ret_pushed, &moved));
    else
        moved = true;
    return !moved ? OK : push_spread(cx, e, k, rows, n, how, ret_pushed);
}

/* The jobs from `at` on that share its queue, at most a batch; marks them done. */
static size_t gather(struct job_new *jobs, size_t n, size_t at, bool *done, struct push_row *rows)
{
    const char *queue = queue_of(&jobs[at]);
    size_t k = 0;

    for (size_t i = at; i < n && k < QUEUE_BATCH; i++) {
        struct job_new *j = &jobs[i];
        if (done[i] || strcmp(queue_of(j), queue) != 0)
            continue;
        done[i] = true;
        if (j->durable && j->existed)
            continue; /* whoever wrote the first one pushes it */
        if (!j->id[0])
            id_new(j->id);
        rows[k].job = j;
        rows[k].next = (struct lease){.generation = j->durable ? 1 : 0, .claim = 1};
        memcpy(rows[k++].next.id, j->id, sizeof j->id);
    }
    return k;
}

static rc push_all(struct cx *cx, struct engine *e, struct job_new *jobs, size_t n)
{
    _cleanup_(freep) bool *done = xcalloc(n + 1, sizeof *done);
    _cleanup_(freep) struct push_row *rows = xcalloc(MIN(n, (size_t)QUEUE_BATCH) + 1, sizeof *rows);

    for (size_t i = 0; i < n; i++)
        if (jobs[i].durable && inject(PUSH_LOST))
            return OK;
    for (size_t i = 0; i < n; i++) {
        size_t pushed;
        if (done[i])
            continue;
        size_t k = gather(jobs, n, i, done, rows);
        try(engine_push_rows(cx, e, queue_of(&jobs[i]), rows, k, PUSH_NEW, &pushed));
    }
    return OK;
}

/* What Redis did not take, or has no epoch for, is noted: whoever empties the outbox sees to it at once. If that
 * fails too the sweep finds the jobs. */
rc engine_push(struct cx *cx, struct engine *e, struct job_new *jobs, size_t n)
{
    int64_t refusals = e->refusals;
    rc r = push_all(cx, e, jobs, n);
    if (r == OK && e->refusals == refusals)
        return OK;
    struct err first = cx->err;
    rc noted = outbox_note(cx, e, jobs, n);
    if (noted != OK && noted != E_CANCELLED)
        log_fail(LOG_WARN, "outbox.not_noted", cx, noted, kv_int("jobs", (int64_t)n));
    cx->err = first;
    return r;
}

/* ---------------------------------------------------------------- both */

struct insert_arg {
    struct job_new *jobs;
    size_t n;
};

static rc insert_fn(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct insert_arg *a = arg;

    return engine_insert(cx, tx, a->jobs, a->n);
}

/* The durable jobs of a mixed batch are written as one transaction; copied out and back, since
 * the rest must not be. */
static rc insert_durable(struct cx *cx, struct engine *e, struct job_new *jobs, size_t n,
                         size_t durable)
{
    _cleanup_(freep) struct job_new *some = xmalloc(durable * sizeof *some);
    size_t k = 0;

    for (size_t i = 0; i < n; i++)
        if (jobs[i].durable)
            some[k++] = jobs[i];
    try(pg_tx_run(cx, e->db, insert_fn, &(struct insert_arg){some, k}));
    k = 0;
    for (size_t i = 0; i < n; i++)
        if (jobs[i].durable)
            jobs[i] = some[k++];
    return OK;
}

rc engine_enqueue(struct cx *cx, struct engine *e, struct job_new *jobs, size_t n)
{
    size_t durable = 0;

    for (size_t i = 0; i < n; i++) {
        durable += jobs[i].durable;
        jobs[i].existed = false;
        if (!jobs[i].id[0])
            id_new(jobs[i].id); /* before the transaction: it may run twice */
    }
    if (durable > 0 && !e->db)
        return fail(cx, CONFIG, "durable jobs need PostgreSQL");
    try(engine_room(cx, e, jobs, n));
    if (durable > 0)
        try(insert_durable(cx, e, jobs, n, durable));
    rc r = engine_push(cx, e, jobs, n);
    if (r != OK && durable == n) { /* kept: the reconciler pushes what Redis did not take */
        log_fail(LOG_WARN, "push.postponed", cx, r, kv_int("jobs", (int64_t)n));
        return OK;
    }
    return r;
}

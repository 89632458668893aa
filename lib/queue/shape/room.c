/* room.c - is there room for jobs that are about to be written? See room.h, policy.h. */
#include "queue/shape/room.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "queue/envelope.h"
#include "queue/internal.h"
#include "queue/shape/policy.h"
#include "queue/shape/policy.sql.h"
#include "queue/shards.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BOUNDS_MS 2000
#define FIRST_MS  5000 /* a program that has just begun waits so long for Redis, once */

struct bound {
    char queue[QUEUE_NAME_MAX + 1];
    bool draining;
    int spread, held;
    int64_t jobs, bytes, of_tenant; /* 0: none */
};
struct bounds {
    int64_t asked_mono_ms; /* 0: it shall be asked anew */
    bool heard;            /* PostgreSQL has told once */
    bool waited;           /* for the first connection to Redis, in vain */
    size_t n;
    struct bound *queues;
};

void bounds_free(struct bounds *b)
{
    if (b)
        free(b->queues);
    free(b);
}

void bounds_forget(struct engine *e)
{
    if (e->bounds)
        e->bounds->asked_mono_ms = 0;
}

static const struct bound *bound_of(const struct bounds *b, const char *queue)
{
    for (size_t i = 0; i < b->n; i++)
        if (strcmp(b->queues[i].queue, queue) == 0)
            return &b->queues[i];
    return NULL;
}

/* What is not listed has one shard. */
static rc shards_spread(struct cx *cx, struct engine *e)
{
    const struct bounds *b = e->bounds;

    for (size_t i = 0; i < e->nqueues; i++)
        if (e->queues[i]->held > 1 && !bound_of(b, e->queues[i]->base))
            shards_heard(e, e->queues[i], 1, 1);
    for (size_t i = 0; i < b->n; i++) {
        const struct queue_keys *k;
        if (b->queues[i].held <= 1)
            continue;
        try(engine_keys(cx, e, b->queues[i].queue, &k));
        shards_heard(e, k, b->queues[i].spread, b->queues[i].held);
    }
    return OK;
}

static rc bounds_read(struct cx *cx, struct engine *e)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct bounds *b = e->bounds;

    rc r = pg_query(cx, e->db, &SQL_QUEUES_BOUNDED, &res, PG_NO_ARGS);
    if (r != OK)
        return r;
    b->heard = true;
    b->n = (size_t)pg_rows(res);
    b->queues = xrealloc(b->queues, (b->n + 1) * sizeof *b->queues);
    for (int i = 0; i < pg_rows(res); i++) {
        struct bound *q = &b->queues[i];
        snprintf(q->queue, sizeof q->queue, "%s", pg_text(res, i, 0));
        q->draining = pg_bool(res, i, 1);
        q->spread = (int)pg_int(res, i, 2);
        q->held = (int)pg_int(res, i, 3);
        q->jobs = pg_int(res, i, 4);
        q->bytes = pg_int(res, i, 5);
        q->of_tenant = pg_int(res, i, 6);
    }
    return shards_spread(cx, e);
}

rc bounds_look(struct cx *cx, struct engine *e)
{
    struct bounds *b = e->bounds;

    if (!b)
        b = e->bounds = xcalloc(1, sizeof *b);
    if (b->heard && b->asked_mono_ms && clock_mono_ms() - b->asked_mono_ms < BOUNDS_MS)
        return OK;
    b->asked_mono_ms = clock_mono_ms(); /* whoever comes meanwhile goes by the old ones */
    return bounds_read(cx, e);
}

rc queue_is_full(struct cx *cx, const char *queue, const char *word, int64_t bound)
{
    if (str_eq(word, "draining"))
        return fail(cx, QUEUE_FULL,
                    "queue %s is being drained and takes no jobs until it is resumed "
                    "('mihwar queue resume %s')",
                    queue, queue);
    if (str_eq(word, "bytes"))
        return fail(cx, QUEUE_FULL,
                    "queue %s is full: it takes %" PRId64
                    " bytes of jobs; try again when some have ended",
                    queue, bound);
    if (str_eq(word, "tenant"))
        return fail(cx, QUEUE_FULL,
                    "queue %s takes %" PRId64
                    " jobs of one tenant; try again when some of yours have ended",
                    queue, bound);
    return fail(cx, QUEUE_FULL,
                "queue %s is full: it takes %" PRId64 " jobs; try again when some have ended",
                queue, bound);
}

static const char *queue_name(const struct job_new *j)
{
    return j->queue ? j->queue : "default";
}

/* ---------------------------------------------------------------- what is to come */

struct coming {
    int64_t jobs, bytes;
    const char **tenants; /* of each job */
};

static rc weigh(struct cx *cx, const char *queue, const struct job_new *jobs, size_t n,
                struct coming *ret)
{
    _cleanup_(buf_release) struct buf body = BUF(MiB(1));
    struct coming c = {.tenants = arena_alloc(&cx->arena, (n + 1) * sizeof *c.tenants)};

    for (size_t i = 0; i < n; i++) {
        if (strcmp(queue_name(&jobs[i]), queue) != 0)
            continue;
        buf_reset(&body);
        envelope_write(&body, &jobs[i], jobs[i].durable, clock_ms());
        c.bytes += (int64_t)body.len;
        c.tenants[c.jobs++] = jobs[i].tenant_id ? jobs[i].tenant_id : "-";
    }
    *ret = c;
    return OK;
}

/* The bound that they do not fit into; "": they do. */
struct lack {
    char word[16];
    int64_t bound;
};

static void lacks(struct lack *ret, const char *word, int64_t bound)
{
    snprintf(ret->word, sizeof ret->word, "%s", word);
    ret->bound = bound;
}

/* One round trip: what is to come against what is there. */
static rc ask_room(struct cx *cx, struct engine *e, const char *queue, const struct coming *w,
                   struct lack *ret)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    try(engine_keys(cx, e, queue, &k));
    call_begin(&c, e, &SCRIPT_ROOM_ASKED, k, KEYS_OF(QK_GATE, QK_JOBS), false,
               2 + 2 * (size_t)w->jobs);
    call_int(&c, w->jobs);
    call_int(&c, w->bytes);
    for (int64_t i = 0; i < w->jobs; i++) {
        call_str(&c, w->tenants[i]);
        call_int(&c, 1);
    }
    try(call_run(cx, &c, REDIS_REPLY_ARRAY, &reply));
    if (reply->elements == 2)
        lacks(ret, reply->element[0]->str, reply_int(reply, 1));
    return OK;
}

/* What stands in one shard is added to sums[0] jobs, [1] bytes, [2...] jobs of each of the tenants. */
static rc add_shard(struct cx *cx, struct engine *e, const char *place, const struct coming *w,
                    int64_t *sums)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;

    try(engine_keys(cx, e, place, &k));
    call_begin(&c, e, &SCRIPT_ROOM_COUNT, k, KEYS_OF(QK_JOBS), false, (size_t)w->jobs);
    for (int64_t i = 0; i < w->jobs; i++)
        call_str(&c, w->tenants[i]);
    try(call_run(cx, &c, REDIS_REPLY_ARRAY, &reply));
    if (!reply_has(reply, 2 + (size_t)w->jobs))
        return fail(cx, REDIS, "room_count.lua answered with %zu elements", reply->elements);
    for (size_t i = 0; i < 2 + (size_t)w->jobs; i++)
        sums[i] += reply_int(reply, i);
    return OK;
}

/* A bound is one of the queue, so what is in its shards is added up: a round trip each. */
static rc sum_room(struct cx *cx, struct engine *e, const struct bound *q, const struct coming *w,
                   struct lack *ret)
{
    _cleanup_(freep) int64_t *sums = xcalloc(2 + (size_t)w->jobs, sizeof *sums);
    char place[PLACE_NAME_MAX + 1];

    for (int shard = 0; shard < q->held; shard++)
        try(add_shard(cx, e, place_name(q->queue, shard, place), w, sums));
    if (q->jobs && sums[0] + w->jobs > q->jobs) {
        lacks(ret, "length", q->jobs);
        return OK;
    }
    if (q->bytes && sums[1] + w->bytes > q->bytes) {
        lacks(ret, "bytes", q->bytes);
        return OK;
    }
    for (int64_t i = 0; q->of_tenant && i < w->jobs; i++) {
        int64_t more = 0;
        for (int64_t j = 0; j < w->jobs; j++)
            more += strcmp(w->tenants[i], w->tenants[j]) == 0;
        if (sums[2 + i] + more > q->of_tenant)
            lacks(ret, "tenant", q->of_tenant);
    }
    return OK;
}

/* While Redis is away nobody waits for it: there is room. A program that has just begun does not know yet
 * whether it is. */
static rc look_for_room(struct cx *cx, struct engine *e, const struct bound *q,
                        const struct coming *w, struct lack *ret)
{
    bool first = !redis_connected(e->redis);

    *ret = (struct lack){0};
    if (first && (redis_generation(e->redis) > 0 || e->bounds->waited))
        return OK;
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, first ? FIRST_MS : INT32_MAX);
    rc r = q->held > 1 ? sum_room(cx, e, q, w, ret) : ask_room(cx, e, q->queue, w, ret);
    e->bounds->waited |= first && r != OK && r != E_CANCELLED;
    return r;
}

static bool is_bounded(const struct bound *q)
{
    return q->jobs || q->bytes || q->of_tenant;
}

rc engine_room(struct cx *cx, struct engine *e, const struct job_new *jobs, size_t n)
{
    if (!e->db || n == 0)
        return OK;
    rc r = bounds_look(cx, e);
    /* What PostgreSQL is too busy to tell is as it was. One that is away was waited for: who writes there
     * next need not wait for it a second time. */
    if (r == E_CANCELLED || r == E_DEADLINE || r == E_STORE_DOWN || (r != OK && !e->bounds->heard))
        return r;
    const struct bounds *b = e->bounds;
    for (size_t i = 0; i < b->n; i++) {
        struct bound q = b->queues[i]; /* they may be read again while we are parked */
        struct coming w;
        struct lack lack;
        if (!is_bounded(&q) && !q.draining)
            continue;
        try(weigh(cx, q.queue, jobs, n, &w));
        if (w.jobs == 0)
            continue;
        if (q.draining)
            return queue_is_full(cx, q.queue, "draining", 0);
        r = look_for_room(cx, e, &q, &w, &lack);
        if (r == OK && lack.word[0])
            return queue_is_full(cx, q.queue, lack.word, lack.bound);
        if (r == E_CANCELLED)
            return r;
        if (r != OK)
            log_fail(LOG_WARN, "queue.room_unknown", cx, r, kv_str("queue", q.queue));
    }
    return OK;
}

/* ---------------------------------------------------------------- for those who cannot ask Redis */

static rc note_room(struct cx *cx, struct engine *e, struct bound q)
{
    const char *nobody = "-";
    struct lack lack;

    q.of_tenant = 0; /* what one tenant lacks, others may have */
    try(look_for_room(cx, e, &q, &(struct coming){1, 1, &nobody}, &lack));
    bool full = lack.word[0] && !str_eq(lack.word, "tenant");
    return pg_do(cx, e->db, SQL_QUEUE_FULL_NOTE, NULL, pg_s(q.queue), pg_s(full ? lack.word : NULL),
                 full ? pg_i(lack.bound) : pg_s(NULL));
}

rc engine_rooms_note(struct cx *cx, struct engine *e)
{
    if (!e->db)
        return OK;
    try(bounds_look(cx, e));
    const struct bounds *b = e->bounds;
    for (size_t i = 0; i < b->n; i++)
        if ((b->queues[i].jobs || b->queues[i].bytes) && !b->queues[i].draining)
            try(note_room(cx, e, b->queues[i]));
    return OK;
}

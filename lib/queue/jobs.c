/* jobs.c - a job as it is shown; see jobs.h. PostgreSQL tells of durable jobs, Redis adds whether
 * one is leased just now; of broker jobs only Redis and the dead letters know. */
#include "queue/jobs.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "queue/dlq.h"
#include "queue/envelope.h"
#include "queue/internal.h"
#include "queue/names.h"
#include "queue/options.h"
#include "queue/shards.h"
#include "queue/view.sql.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- Redis */

struct found {
    enum { UNKNOWN, READY, LEASED, SCHEDULED, KEPT } where;
    int64_t due_ms;
    struct job job; /* valid while reply lives */
    redisReply *reply;
};

static void found_release(struct found *f)
{
    free((void *)f->job.options);
    f->job.options = NULL;
    redis_reply_freep(&f->reply);
}

static rc look_up(struct cx *cx, struct engine *e, const char *queue, const struct lease *probably,
                  struct found *f)
{
    _cleanup_(call_release) struct call c = {0};
    const struct queue_keys *k;
    int generation;

    found_release(f);
    f->where = UNKNOWN;
    try(engine_keys(cx, e, queue, &k));
    call_begin(&c, e, &SCRIPT_LOOKUP, k, KEYS_OF(QK_JOBS, QK_LEASE, QK_SCHED), false, 2);
    call_bytes(&c, probably->id, ID_LEN);
    call_token(&c, probably);
    try(call_run(cx, &c, REDIS_REPLY_ARRAY, &f->reply));
    if (reply_has(f->reply, 2) && reply_int(f->reply, 0) == KEPT)
        f->where = KEPT;
    if (!reply_has(f->reply, 3))
        return OK;
    const redisReply *body = f->reply->element[1];
    if (body->type != REDIS_REPLY_STRING ||
        !envelope_read(body->str, body->len, &f->job, &generation))
        return fail(cx, REDIS, "the envelope of job %s cannot be read", probably->id);
    f->where = reply_int(f->reply, 0);
    f->due_ms = reply_int(f->reply, 2);
    return OK;
}

static const char *copy(struct cx *cx, const char *s)
{
    return arena_strdup(&cx->arena, s);
}

/* What came of a broker job that asked for it (results.c wrote it). */
static rc read_kept(struct cx *cx, const char *queue, const char *text, size_t len,
                    const char *tenant_id, struct job_info *j)
{
    const char *created, *finished;
    cJSON *o;
    int64_t attempts = 0, max_attempts = 0, priority = 0;

    try(json_parse(cx, text, len, MiB(32), &o));
    try(json_str_opt(cx, o, "tenant_id", ID_LEN, &j->tenant_id));
    if (tenant_id && !str_eq(tenant_id, j->tenant_id))
        return fail(cx, NOT_FOUND, "there is no such job");
    try(json_str(cx, o, "state", 16, &j->state));
    try(json_str(cx, o, "task", TASK_NAME_MAX, &j->task));
    try(json_str_opt(cx, o, "subject", 128, &j->subject));
    try(json_str_opt(cx, o, "trace", 128, &j->trace));
    try(json_str_opt(cx, o, "error_code", 64, &j->last_error_code));
    j->last_error = json_text(cx, cJSON_GetObjectItemCaseSensitive(o, "error"));
    try(json_str_opt(cx, o, "created_at", 64, &created));
    try(json_str_opt(cx, o, "finished_at", 64, &finished));
    try(json_int_opt(cx, o, "attempts", 0, INT32_MAX, &attempts));
    try(json_int_opt(cx, o, "max_attempts", 0, INT32_MAX, &max_attempts));
    try(json_int_opt(cx, o, "priority", 0, 9, &priority));
    if (created && finished &&
        (!clock_parse(created, &j->created_ms) || !clock_parse(finished, &j->finished_ms)))
        return fail(cx, REDIS, "what was kept of job %s cannot be read", j->id);
    j->run_at_ms = j->created_ms;
    j->attempts_used = (int)attempts;
    j->max_attempts = (int)max_attempts;
    j->priority = (int)priority;
    j->queue = copy(cx, queue);
    j->args = json_print(cx, cJSON_GetObjectItemCaseSensitive(o, "args"));
    cJSON *result = cJSON_GetObjectItemCaseSensitive(o, "result");
    j->result = cJSON_IsNull(result) ? NULL : json_print(cx, result);
    return OK;
}

static rc load_broker(struct cx *cx, struct engine *e, const char *tenant_id, struct job_info *ret)
{
    _cleanup_(found_release) struct found f = {0};
    _cleanup_(names_release) struct names q = {0};
    static const char *const words[] = {
        [READY] = "ready", [LEASED] = "leased", [SCHEDULED] = "scheduled"};
    struct lease first = {.claim = 1};

    memcpy(first.id, ret->id, sizeof first.id);
    try(names_of_places(cx, e, /* all= */ false, &q));
    for (size_t i = 0; i < q.n; i++) {
        const char *queue =
            arena_strndup(&cx->arena, q.name[i], strcspn(q.name[i], "#")); /* not the shard */
        try(look_up(cx, e, q.name[i], &first, &f));
        if (f.where == KEPT)
            return read_kept(cx, queue, f.reply->element[1]->str, f.reply->element[1]->len,
                             tenant_id, ret);
        if (f.where == UNKNOWN || (tenant_id && !str_eq(tenant_id, f.job.tenant_id)))
            continue;
        ret->queue = queue;
        ret->task = copy(cx, f.job.task);
        ret->args = copy(cx, f.job.args);
        ret->state = words[f.where];
        ret->durable = f.job.durable;
        ret->priority = f.job.priority;
        ret->max_attempts = f.job.max_attempts;
        ret->timeout_ms = f.job.timeout_ms;
        ret->created_ms = id_time_ms(ret->id) ? id_time_ms(ret->id) : f.job.due_ms;
        ret->run_at_ms = f.due_ms ? f.due_ms : f.job.due_ms;
        ret->subject = copy(cx, f.job.subject);
        ret->tenant_id = copy(cx, f.job.tenant_id);
        ret->trace = copy(cx, f.job.trace);
        ret->options = job_options_parse(cx, job_options_text(cx, f.job.options));
        return OK;
    }
    return fail(cx, NOT_FOUND, "job %s does not exist, or it was a broker job and has ended",
                ret->id);
}

static rc load_dead(struct cx *cx, struct engine *e, const char *letter, struct job_info *ret)
{
    struct dead_letter d;

    try(dlq_get(cx, e->db, letter, &d));
    ret->queue = d.queue;
    ret->task = d.task;
    ret->args = d.args;
    ret->state = "dead";
    ret->priority = d.priority;
    ret->attempts_used = d.attempts;
    ret->created_ms = ret->run_at_ms = ret->finished_ms = d.died_ms;
    ret->subject = d.subject;
    ret->tenant_id = d.tenant_id;
    ret->trace = d.trace;
    ret->last_error_code = d.error_code;
    ret->last_error = d.error;
    return OK;
}

/* ---------------------------------------------------------------- PostgreSQL */

static void read_job(struct cx *cx, const struct pg_result *res, struct job_info *j)
{
    const struct {
        const char **to, *column;
    } texts[] = {
        {&j->queue, "queue"},
        {&j->task, "task"},
        {&j->args, "args"},
        {&j->state, "state"},
        {&j->subject, "subject"},
        {&j->unique_key, "unique_key"},
        {&j->tenant_id, "tenant_id"},
        {&j->trace, "trace"},
        {&j->result, "result"},
        {&j->last_error, "last_error"},
        {&j->last_error_code, "last_error_code"},
    };
    for (size_t i = 0; i < COUNT(texts); i++)
        *texts[i].to = copy(cx, pg_col(res, 0, texts[i].column));
    j->durable = true;
    j->generation = (int)pg_int(res, 0, 6);
    j->attempts_used = (int)(pg_int(res, 0, 7) - pg_int(res, 0, 8));
    j->snoozes = (int)pg_int(res, 0, 8);
    j->max_attempts = (int)pg_int(res, 0, 9);
    j->priority = (int)pg_int(res, 0, 10);
    j->run_at_ms = pg_ms(res, 0, 11);
    j->timeout_ms = pg_int(res, 0, 12);
    j->cancel_requested = pg_bool(res, 0, 17);
    j->created_ms = pg_ms(res, 0, 22);
    j->finished_ms = pg_ms(res, 0, 23);
    j->options = job_options_parse(cx, pg_text(res, 0, 24));
}

static rc load_attempts(struct cx *cx, struct engine *e, struct job_info *j)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, e->db, SQL_JOB_ATTEMPTS_LIST, &res, pg_s(j->id)));
    j->nattempts = (size_t)pg_rows(res);
    j->attempts = arena_alloc(&cx->arena, (j->nattempts + 1) * sizeof *j->attempts);
    for (int r = 0; r < pg_rows(res); r++)
        j->attempts[r] = (struct job_attempt){
            .generation = (int)pg_int(res, r, 0),
            .attempt = (int)pg_int(res, r, 1),
            .outcome = copy(cx, pg_text(res, r, 2)),
            .error_code = copy(cx, pg_text(res, r, 3)),
            .error = copy(cx, pg_text(res, r, 4)),
            .worker = copy(cx, pg_text(res, r, 5)),
            .started_ms = pg_ms(res, r, 6),
            .finished_ms = pg_ms(res, r, 7),
        };
    return OK;
}

/* A live job may be under way: only Redis knows. When it cannot be asked, PostgreSQL's word
 * stands. */
static void add_lease(struct cx *cx, struct engine *e, int attempt, int snoozes, struct job_info *j)
{
    _cleanup_(found_release) struct found f = {0};
    struct lease probably = {.generation = j->generation, .claim = attempt + 1, .snoozes = snoozes};

    const char *place;

    memcpy(probably.id, j->id, sizeof probably.id);
    if (shards_find(cx, e, j->queue, j->id, &place) == OK &&
        look_up(cx, e, place, &probably, &f) == OK && f.where == LEASED)
        j->state = "leased";
}

static rc load_timeline(struct cx *cx, struct engine *e, struct job_info *j)
{
    return e->db ? timeline_last(cx, e, j->id, JOB_EVENTS_SHOWN, &j->events, &j->nevents,
                                 &j->progress)
                 : OK;
}

/* NOT_FOUND: there is no row; *ret has the id nevertheless. */
static rc load_row(struct cx *cx, struct engine *e, const char *id, const char *tenant_id,
                   bool with_lease, struct job_info *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    *ret = (struct job_info){0};
    if (!id_parse(id, ret->id))
        return fail(cx, NOT_FOUND, "there is no such job");
    if (e->db)
        try(pg_do(cx, e->db, SQL_JOB_GET, &res, pg_s(ret->id), pg_s(tenant_id)));
    if (!e->db || pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no such job");
    read_job(cx, res, ret);
    if (with_lease && pg_bool(res, 0, 5))
        add_lease(cx, e, (int)pg_int(res, 0, 7), (int)pg_int(res, 0, 8), ret);
    return load_attempts(cx, e, ret);
}

rc job_load_stored(struct cx *cx, struct engine *e, const char *id, const char *tenant_id,
                   struct job_info *ret)
{
    try(load_row(cx, e, id, tenant_id, /* with_lease= */ false, ret));
    return load_timeline(cx, e, ret);
}

rc job_load(struct cx *cx, struct engine *e, const char *id, const char *tenant_id,
            struct job_info *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *dead = NULL;
    struct job_info j;
    rc r = load_row(cx, e, id, tenant_id, /* with_lease= */ true, &j);

    if (r == E_NOT_FOUND && *j.id) {
        if (e->db)
            try(pg_do(cx, e->db, SQL_DEAD_OF_JOB, &dead, pg_s(j.id), pg_s(tenant_id)));
        r = load_broker(cx, e, tenant_id, &j);
        if (r == E_NOT_FOUND && dead && pg_rows(dead) == 1)
            r = load_dead(cx, e, pg_text(dead, 0, 0), &j);
    }
    try(r);
    try(load_timeline(cx, e, &j));
    *ret = j;
    return OK;
}

/* ---------------------------------------------------------------- JSON */

static void put_raw(struct buf *out, const char *name, const char *json)
{
    buf_printf(out, ",\"%s\":%s", name, json ? json : "null");
}

static void put_attempt(struct buf *out, const struct job_attempt *a)
{
    buf_printf(out, "{\"generation\":%d,\"attempt\":%d", a->generation, a->attempt);
    buf_json_field(out, "outcome", a->outcome);
    buf_json_field(out, "error_code", a->error_code);
    buf_json_field(out, "error", a->error);
    buf_json_field(out, "worker", a->worker);
    buf_json_time(out, "started_at", a->started_ms);
    buf_json_time(out, "finished_at", a->finished_ms);
    buf_putc(out, '}');
}

static void put_options(struct buf *out, const struct job_options *o)
{
    if (!o)
        return;
    if (o->expires_at_ms)
        buf_json_time(out, "expires_at", o->expires_at_ms);
    if (o->soft_ms)
        buf_printf(out, ",\"soft_timeout_ms\":%" PRId64, o->soft_ms);
    if (o->result_ttl_ms)
        buf_printf(out, ",\"result_ttl_ms\":%" PRId64, o->result_ttl_ms);
    if (o->unique == JOB_UNIQUE_START)
        buf_json_field(out, "unique_until", "start");
    if (o->unique == JOB_UNIQUE_WINDOW)
        buf_printf(out, ",\"unique_for_ms\":%" PRId64, o->unique_ms);
    if (o->limit_key[0])
        buf_json_field(out, "limit_key", o->limit_key);
    if (o->workflow[0])
        buf_json_field(out, "workflow", o->workflow);
}

void job_info_json(const struct job_info *j, struct buf *out)
{
    buf_printf(out, "{\"id\":\"%s\"", j->id);
    buf_json_field(out, "state", j->state);
    buf_json_field(out, "task", j->task);
    buf_json_field(out, "queue", j->queue);
    put_raw(out, "args", j->args);
    buf_printf(out,
               ",\"durable\":%s,\"priority\":%d,\"max_attempts\":%d,\"attempts_used\":%d,\"timeout_"
               "ms\":%" PRId64,
               j->durable ? "true" : "false", j->priority, j->max_attempts, j->attempts_used,
               j->timeout_ms);
    buf_json_field(out, "unique_key", j->unique_key);
    buf_json_field(out, "subject", j->subject);
    buf_json_field(out, "tenant_id", j->tenant_id);
    buf_json_field(out, "trace", j->trace);
    buf_printf(out, ",\"cancel_requested\":%s", j->cancel_requested ? "true" : "false");
    buf_json_time(out, "created_at", j->created_ms);
    buf_json_time(out, "run_at", j->run_at_ms);
    buf_json_time(out, "finished_at", j->finished_ms);
    buf_json_field(out, "error_code", j->last_error_code);
    buf_json_field(out, "error", j->last_error);
    put_options(out, j->options);
    put_raw(out, "progress", j->progress);
    put_raw(out, "result", j->result);
    buf_puts(out, ",\"attempts\":[");
    for (size_t i = 0; i < j->nattempts; i++) {
        if (i)
            buf_putc(out, ',');
        put_attempt(out, &j->attempts[i]);
    }
    buf_puts(out, "],\"events\":[");
    for (size_t i = 0; i < j->nevents; i++) {
        if (i)
            buf_putc(out, ',');
        job_event_json(&j->events[i], out);
    }
    buf_puts(out, "]}");
}

/* dlq.c - the dead letters; see dlq.h. */
#include "queue/dlq.h"
#include "base/clock.h"
#include "base/text.h"
#include "pg/pg_array.h"
#include "queue/internal.h"
#include "queue/jobs.h"
#include "queue/options.h"
#include "queue/retry.h"
#include "queue/view.sql.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- read */

static const char *col(struct cx *cx, const struct pg_result *res, int row, const char *name)
{
    return arena_strdup(&cx->arena, pg_col(res, row, name));
}

static void read_letter(struct cx *cx, const struct pg_result *res, int r, struct dead_letter *d)
{
    *d = (struct dead_letter){
        .generation = (int)pg_int(res, r, 2),
        .durable = pg_bool(res, r, 3),
        .queue = col(cx, res, r, "queue"),
        .task = col(cx, res, r, "task"),
        .args = col(cx, res, r, "args"),
        .priority = (int)pg_int(res, r, 7),
        .subject = col(cx, res, r, "subject"),
        .tenant_id = col(cx, res, r, "tenant_id"),
        .trace = col(cx, res, r, "trace"),
        .attempts = (int)pg_int(res, r, 11),
        .error_code = col(cx, res, r, "error_code"),
        .error = col(cx, res, r, "error"),
        .errors = col(cx, res, r, "errors"),
        .worker = col(cx, res, r, "worker"),
        .fingerprint = col(cx, res, r, "fingerprint"),
        .died_ms = pg_ms(res, r, 17),
        .replayed_ms = pg_ms(res, r, 18),
    };
    snprintf(d->id, sizeof d->id, "%s", pg_text(res, r, 0));
    snprintf(d->job_id, sizeof d->job_id, "%s", pg_text(res, r, 1));
}

static rc query_page(struct cx *cx, struct pg *db, const struct dlq_filter *f, const char *after,
                     int limit, struct pg_result **ret)
{
    char id[ID_LEN + 1];

    if (after && !id_parse(after, id))
        return fail_at(cx, INVALID_FIELD, "/after", "that is no place in the list");
    if (f->tenant_id && !id_parse(f->tenant_id, id))
        return fail_at(cx, INVALID_FIELD, "/tenant_id", "a tenant's id is a UUID");
    return pg_do(cx, db, SQL_DLQ_LIST, ret, pg_s(f->queue), pg_s(f->task), pg_s(f->error),
                 pg_s(f->tenant_id), pg_b(f->replayed), pg_s(after), pg_i(limit));
}

rc dlq_list(struct cx *cx, struct pg *db, const struct dlq_filter *f, struct dead_letter **ret,
            size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(query_page(cx, db, f, f->after, f->limit ? f->limit : 50, &res));
    size_t n = (size_t)pg_rows(res);
    struct dead_letter *d = arena_alloc(&cx->arena, (n + 1) * sizeof *d);
    for (size_t i = 0; i < n; i++)
        read_letter(cx, res, (int)i, &d[i]);
    *ret = d;
    *ret_n = n;
    return OK;
}

rc dlq_get(struct cx *cx, struct pg *db, const char *id, struct dead_letter *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char good[ID_LEN + 1];

    if (!id_parse(id, good))
        return fail(cx, NOT_FOUND, "there is no such dead letter");
    try(pg_do(cx, db, SQL_DLQ_GET, &res, pg_s(good)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "dead letter %s does not exist", good);
    read_letter(cx, res, 0, ret);
    return OK;
}

/* ---------------------------------------------------------------- JSON */

void dead_letter_json(const struct dead_letter *d, struct buf *out)
{
    buf_printf(out, "{\"id\":\"%s\",\"job_id\":\"%s\"", d->id, d->job_id);
    buf_json_field(out, "queue", d->queue);
    buf_json_field(out, "task", d->task);
    buf_json_field(out, "args", d->args); /* as text: what was malformed must fit too */
    buf_printf(out, ",\"durable\":%s,\"priority\":%d,\"attempts\":%d",
               d->durable ? "true" : "false", d->priority, d->attempts);
    buf_json_field(out, "error_code", d->error_code);
    buf_json_field(out, "error", d->error);
    buf_json_field(out, "fingerprint", d->fingerprint);
    buf_json_field(out, "worker", d->worker);
    buf_json_field(out, "subject", d->subject);
    buf_json_field(out, "tenant_id", d->tenant_id);
    buf_json_field(out, "trace", d->trace);
    buf_json_time(out, "died_at", d->died_ms);
    buf_json_time(out, "replayed_at", d->replayed_ms);
    buf_printf(out, ",\"errors\":%s}", d->errors);
}

rc dlq_export(struct cx *cx, struct pg *db, const struct dlq_filter *f,
              rc (*fn)(struct cx *cx, const char *line, void *arg), void *arg)
{
    char after[ID_LEN + 1] = "";

    for (;;) {
        _cleanup_(pg_result_freep) struct pg_result *res = NULL;
        _cleanup_(buf_release) struct buf line = BUF(MiB(4));
        /* A page lives in an arena of its own: an export may be longer than one context may
         * keep. */
        _cleanup_(cx_release) struct cx page = CX_PLAIN("dlq.export");
        struct dead_letter d;
        try(query_page(cx, db, f, after[0] ? after : NULL, 200, &res));
        for (int r = 0; r < pg_rows(res); r++) {
            read_letter(&page, res, r, &d);
            buf_reset(&line);
            dead_letter_json(&d, &line);
            if (!buf_ok(&line))
                return fail(cx, BUFFER_FULL, "dead letter %s is too large", d.id);
            try(fn(cx, line.p, arg));
            memcpy(after, d.id, sizeof after);
        }
        if (pg_rows(res) < 200)
            return OK;
    }
}

/* ---------------------------------------------------------------- replay, drop */

struct replay {
    struct engine *e;
    int64_t began_ms, replayed, skipped;
    double rate;
};

static int64_t slot(const struct replay *r)
{
    return r->rate > 0 ? r->began_ms + (int64_t)((double)r->replayed * 1000 / r->rate) : 0;
}

/* Marked first: two operators who replay the same letter push it once. */
static rc replay_broker(struct cx *cx, struct replay *r, const struct pg_result *res, int row)
{
    _cleanup_(pg_result_freep) struct pg_result *marked = NULL;
    struct job_new j = {
        .queue = pg_text(res, row, 3),
        .task = pg_text(res, row, 4),
        .args = pg_text(res, row, 5),
        .priority = (int)pg_int(res, row, 6),
        .max_attempts = (int)pg_int(res, row, 7),
        .timeout_ms = pg_int(res, row, 8),
        .subject = pg_text(res, row, 9),
        .tenant_id = pg_text(res, row, 10),
        .trace = pg_text(res, row, 11),
        .options = job_options_parse(cx, pg_text(res, row, 13)),
        .run_at_ms = slot(r),
    };
    snprintf(j.id, sizeof j.id, "%s", pg_text(res, row, 1));
    try(pg_do(cx, r->e->db, SQL_DLQ_MARK, &marked, pg_s(pg_text(res, row, 0))));
    if (pg_rows(marked) == 0) {
        r->skipped++;
        return OK;
    }
    try(engine_push(cx, r->e, &j, 1));
    r->replayed++;
    return OK;
}

static rc replay_one(struct cx *cx, struct replay *r, const struct pg_result *res, int row)
{
    if (pg_text(res, row, 12)) {
        r->skipped++;
        return OK;
    }
    if (!pg_bool(res, row, 2))
        return replay_broker(cx, r, res, row);
    rc code = engine_retry_at(cx, r->e, pg_text(res, row, 1), slot(r));
    if (code == E_CONFLICT || code == E_NOT_FOUND) { /* alive again, or swept away by retention */
        r->skipped++;
        return OK;
    }
    try(code);
    r->replayed++;
    return OK;
}

static rc replay_ids(struct cx *cx, struct replay *r, struct pg_array *ids, bool all_must_exist)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, r->e->db, SQL_DLQ_SOME, &res, pg_a(ids)));
    if (all_must_exist && (size_t)pg_rows(res) < ids->n)
        return fail(cx, NOT_FOUND, "one of the dead letters does not exist");
    for (int row = 0; row < pg_rows(res); row++)
        try(replay_one(cx, r, res, row));
    return OK;
}

static rc collect(struct cx *cx, const char *const *ids, size_t n, struct pg_array *out)
{
    for (size_t i = 0; i < n; i++) {
        char good[ID_LEN + 1];
        bool again = false;
        if (!id_parse(ids[i], good))
            return fail(cx, NOT_FOUND, "there is no dead letter %.40s", ids[i]);
        for (size_t k = 0; k < i; k++)
            again |= strcasecmp(ids[k], good) == 0;
        if (!again)
            pg_array_s(out, good);
    }
    return OK;
}

rc dlq_replay(struct cx *cx, struct engine *e, const char *const *ids, size_t n,
              const struct dlq_filter *f, double rate_per_s, int64_t *ret_replayed,
              int64_t *ret_skipped)
{
    struct replay r = {.e = e, .began_ms = clock_ms(), .rate = rate_per_s};
    char after[ID_LEN + 1] = "";
    rc code = OK;

    if (n > QUEUE_BATCH)
        return fail_at(cx, INVALID_FIELD, "/ids", "at most %d at once", QUEUE_BATCH);
    if (n > 0) {
        _cleanup_(pg_array_release) struct pg_array some = PG_ARRAY(MiB(1));
        try(collect(cx, ids, n, &some));
        code = replay_ids(cx, &r, &some, /* all_must_exist= */ true);
    }
    for (bool more = n == 0; code == OK && more;) {
        _cleanup_(pg_array_release) struct pg_array some = PG_ARRAY(MiB(1));
        _cleanup_(pg_result_freep) struct pg_result *page = NULL;
        struct dlq_filter open = *f;
        open.replayed = false;
        try(query_page(cx, e->db, &open, after[0] ? after : NULL, 200, &page));
        int rows = pg_rows(page);
        for (int row = 0; row < rows; row++)
            pg_array_s(&some, pg_text(page, row, 0));
        if (rows > 0)
            memcpy(after, pg_text(page, rows - 1, 0), sizeof after);
        more = rows == 200;
        code = replay_ids(cx, &r, &some, /* all_must_exist= */ false);
    }
    *ret_replayed = r.replayed;
    *ret_skipped = r.skipped;
    return code;
}

rc dlq_drop(struct cx *cx, struct pg *db, const char *const *ids, size_t n)
{
    _cleanup_(pg_array_release) struct pg_array some = PG_ARRAY(MiB(1));
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    if (n == 0)
        return OK;
    try(collect(cx, ids, n, &some));
    try(pg_do(cx, db, SQL_DLQ_DROP, &res, pg_a(&some)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND,
                    n == 1 ? "there is no such dead letter"
                           : "one of the dead letters does not exist");
    return OK;
}

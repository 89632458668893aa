/* schedules.c - schedules as rows. One firing per due time: the primary key of schedule_firings
 * decides who was first. */
#include "domain/clock/schedules.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "domain/clock/cron.h"
#include "domain/clock/schedules.sql.h"
#include "domain/row.h"
#include <inttypes.h>
#include <string.h>

#define NAME_MAX_CHARS 120
#define EVERY_MIN_MS   100
#define JITTER_MAX_MS  (24LL * 3600 * 1000)
#define LIST_MAX       500

static const char name_chars[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-";

/* ---------------------------------------------------------------- form */

static struct schedule with_defaults(const struct schedule *s)
{
    struct schedule d = *s;

    d.args = s->args ? s->args : "{}";
    d.timezone = s->timezone ? s->timezone : "UTC";
    d.misfire = s->misfire ? s->misfire : "once";
    return d;
}

static rc check_rule(struct cx *cx, const struct schedule *s)
{
    if ((s->cron != NULL) == (s->every_ms != 0))
        return fail_at(cx, INVALID_FIELD, s->cron ? "/every" : "/cron",
                       "give either cron or every");
    if (s->cron &&
        (str_empty(s->cron) || strlen(s->cron) > 255 || !utf8_valid(s->cron, strlen(s->cron))))
        return fail_at(cx, INVALID_FIELD, "/cron", "must have 1 to 255 characters");
    if (!s->cron && s->every_ms < EVERY_MIN_MS)
        return fail_at(cx, INVALID_FIELD, "/every", "must be at least %d ms", EVERY_MIN_MS);
    if (s->jitter_ms < 0 || s->jitter_ms > JITTER_MAX_MS)
        return fail_at(cx, INVALID_FIELD, "/jitter_ms", "must be 0 to 24 hours");
    if (s->misfire && !str_eq(s->misfire, "skip") && !str_eq(s->misfire, "once") &&
        !str_eq(s->misfire, "all"))
        return fail_at(cx, INVALID_FIELD, "/misfire", "must be skip, once or all");
    if (s->timezone && (str_empty(s->timezone) || strlen(s->timezone) > 64))
        return fail_at(cx, INVALID_FIELD, "/timezone", "must be the name of a time zone");
    struct due_rule rule;
    return due_rule_make(cx, s->cron, s->every_ms, s->timezone, clock_ms(), &rule);
}

rc schedule_check(struct cx *cx, const struct schedule *s)
{
    size_t n = s->name ? strlen(s->name) : 0;

    if (n < 1 || n > NAME_MAX_CHARS || strspn(s->name, name_chars) != n)
        return fail_at(cx, INVALID_FIELD, "/name",
                       "must be 1 to %d of letters, digits, '_', '.', ':', '-'", NAME_MAX_CHARS);
    const struct job_new job = {
        .queue = s->queue, .task = s->task, .args = s->args, .priority = s->priority};
    cJSON *args;

    try(job_new_check(cx, &job));
    if (s->args && json_parse(cx, s->args, strlen(s->args), JOB_ARGS_MAX, &args) != OK)
        return fail_at(cx, INVALID_FIELD, "/args", "must be JSON");
    return check_rule(cx, s);
}

/* ---------------------------------------------------------------- rows */

static void schedule_read(struct cx *cx, const struct pg_result *res, int row, struct schedule *s)
{
    struct row r = ROW(cx, res, row);

    s->id = row_text(&r);
    s->tenant_id = row_text(&r);
    s->name = row_text(&r);
    s->task = row_text(&r);
    s->args = row_text(&r);
    s->queue = row_text(&r);
    s->priority = (int)row_int(&r);
    s->cron = row_text(&r);
    s->every_ms = row_int(&r);
    s->timezone = row_text(&r);
    s->enabled = row_bool(&r);
    s->jitter_ms = row_int(&r);
    s->misfire = row_text(&r);
    s->next_due_ms = row_ms(&r);
    s->created_ms = row_ms(&r);
    s->last_fired_ms = row_ms(&r);
    s->version = (int)row_int(&r);
}

static void schedules_read(struct cx *cx, const struct pg_result *res, struct schedule **ret,
                           size_t *ret_n)
{
    struct schedule *list = rows_alloc(cx, res, struct schedule);

    for (int i = 0; i < pg_rows(res); i++)
        schedule_read(cx, res, i, &list[i]);
    *ret = list;
    *ret_n = (size_t)pg_rows(res);
}

static rc insert(struct cx *cx, struct pg *db, const char *actor, const struct schedule *given,
                 struct pg_result **ret)
{
    const struct schedule s = with_defaults(given);
    char id[ID_LEN + 1];

    try(schedule_check(cx, &s));
    return pg_do(cx, db, SQL_SCHEDULE_ADD, ret, pg_s(id_new(id)), pg_s(s.tenant_id), pg_s(s.name),
                 pg_s(s.task), pg_s(s.args), pg_s(s.queue), pg_i(s.priority), pg_s(s.cron),
                 pg_i(s.every_ms), pg_s(s.timezone), pg_b(s.enabled), pg_i(s.jitter_ms),
                 pg_s(s.misfire), pg_s(actor));
}

rc schedule_add(struct cx *cx, struct pg *db, const char *actor, const struct schedule *s,
                struct schedule *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(insert(cx, db, actor, s, &res));
    if (pg_rows(res) == 0)
        return fail_at(cx, ALREADY_EXISTS, "/name", "there is a schedule '%s' already", s->name);
    schedule_read(cx, res, 0, ret);
    return OK;
}

rc schedule_ensure(struct cx *cx, struct pg *db, const struct schedule *s)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    return insert(cx, db, NULL, s, &res);
}

rc schedule_get(struct cx *cx, struct pg *db, const char *tenant_id, const char *by,
                struct schedule *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1];
    bool is_id = id_parse(by, id);

    try(pg_do(cx, db, SQL_SCHEDULE_LIST, &res, pg_s(tenant_id), pg_s(is_id ? id : NULL),
              pg_s(is_id ? NULL : by), pg_s(NULL), pg_i(1)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no schedule '%s'", by);
    schedule_read(cx, res, 0, ret);
    return OK;
}

rc schedule_list(struct cx *cx, struct pg *db, const char *tenant_id, const char *after, int limit,
                 struct schedule **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_SCHEDULE_LIST, &res, pg_s(tenant_id), pg_s(NULL), pg_s(NULL), pg_s(after),
              pg_i(limit > 0 && limit <= LIST_MAX ? limit : LIST_MAX)));
    schedules_read(cx, res, ret, ret_n);
    return OK;
}

rc schedule_change(struct cx *cx, struct pg *db, const char *actor, const struct schedule *given,
                   struct schedule *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    const struct schedule s = with_defaults(given);

    try(schedule_check(cx, &s));
    rc r = pg_do(cx, db, SQL_SCHEDULE_CHANGE, &res, pg_s(s.id), pg_i(s.version), pg_s(s.name),
                 pg_s(s.task), pg_s(s.args), pg_s(s.queue), pg_i(s.priority), pg_s(s.cron),
                 pg_i(s.every_ms), pg_s(s.timezone), pg_b(s.enabled), pg_i(s.jitter_ms),
                 pg_s(s.misfire), pg_s(actor));
    if (r == E_PG_UNIQUE)
        return fail_at(cx, ALREADY_EXISTS, "/name", "there is a schedule '%s' already", s.name);
    try(r);
    if (pg_rows(res) == 0)
        return fail(cx, CONFLICT, "the schedule was changed or removed meanwhile");
    schedule_read(cx, res, 0, ret);
    return OK;
}

rc schedule_remove(struct cx *cx, struct pg *db, const char *actor, const char *id)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_SCHEDULE_REMOVE, &res, pg_s(id), pg_s(actor)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "there is no such schedule");
    return OK;
}

/* ---------------------------------------------------------------- shown */

rc schedule_json(struct cx *cx, const struct schedule *s, struct buf *out)
{
    buf_puts(out, "{\"id\":");
    buf_json_str(out, s->id);
    buf_json_field(out, "tenant_id", s->tenant_id);
    buf_json_field(out, "name", s->name);
    buf_json_field(out, "task", s->task);
    buf_puts(out, ",\"args\":");
    buf_puts(out, s->args);
    buf_json_field(out, "queue", s->queue);
    buf_printf(out, ",\"priority\":%d", s->priority);
    buf_json_field(out, "cron", s->cron);
    buf_puts(out, ",\"every\":");
    if (s->every_ms)
        buf_printf(out, "\"%" PRId64 "ms\"", s->every_ms);
    else
        buf_puts(out, "null");
    buf_json_field(out, "timezone", s->timezone);
    buf_printf(out, ",\"enabled\":%s,\"jitter_ms\":%" PRId64, s->enabled ? "true" : "false",
               s->jitter_ms);
    buf_json_field(out, "misfire", s->misfire);
    buf_json_time(out, "next_due_at", s->next_due_ms);
    buf_json_time(out, "last_fired_at", s->last_fired_ms);
    buf_json_time(out, "created_at", s->created_ms);
    buf_putc(out, '}');
    if (!buf_ok(out))
        return fail(cx, BUFFER_FULL, "the schedule does not fit into the answer");
    return OK;
}

/* ---------------------------------------------------------------- for beat */

rc schedules_due(struct cx *cx, struct pg *db, int64_t now_ms, int limit, struct schedule **ret,
                 size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_SCHEDULES_DUE, &res, pg_t(now_ms), pg_i(limit)));
    schedules_read(cx, res, ret, ret_n);
    return OK;
}

rc schedules_next(struct cx *cx, struct pg *db, int64_t *ret_ms)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_query(cx, db, &SQL_SCHEDULES_NEXT, &res, PG_NO_ARGS));
    *ret_ms = pg_ms(res, 0, 0);
    return OK;
}

rc schedule_set_due(struct cx *cx, struct pg *db, const struct schedule *s, int64_t next_due_ms)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    return pg_do(cx, db, SQL_SCHEDULE_SET_DUE, &res, pg_s(s->id), pg_i(s->version),
                 pg_t(next_due_ms));
}

rc schedule_due_now(struct cx *cx, struct pg *db, const char *id)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_SCHEDULE_DUE_NOW, &res, pg_s(id), pg_t(clock_ms())));
    if (pg_rows(res) == 0)
        return fail(cx, CONFLICT, "the schedule is paused or gone");
    return OK;
}

struct fire {
    const struct schedule *s;
    int64_t due_ms, next_due_ms;
    struct job_new *j;
};

static rc fire_tx(struct cx *cx, struct pg_tx *tx, void *arg)
{
    struct fire *f = arg;
    _cleanup_(pg_result_freep) struct pg_result *lock = NULL, *firing = NULL, *due = NULL;

    try(pg_tx_do(cx, tx, SQL_SCHEDULE_LOCK, &lock, pg_s(f->s->id), pg_i(f->s->version)));
    if (pg_rows(lock) == 0)
        return fail(cx, CONFLICT, "the schedule was changed meanwhile");
    if (f->j)
        try(engine_insert(cx, tx, f->j, 1));
    try(pg_tx_do(cx, tx, SQL_SCHEDULE_FIRING, &firing, pg_s(f->s->id), pg_t(f->due_ms),
                 pg_s(f->j ? f->j->id : NULL)));
    if (pg_affected(firing) == 0)
        return fail(cx, CONFLICT, "another beat fired it");
    if (f->next_due_ms)
        try(pg_tx_do(cx, tx, SQL_SCHEDULE_SET_DUE, &due, pg_s(f->s->id), pg_i(f->s->version),
                     pg_t(f->next_due_ms)));
    return OK;
}

rc schedule_fire(struct cx *cx, struct pg *db, const struct schedule *s, int64_t due_ms,
                 int64_t next_due_ms, struct job_new *j, bool *ret_mine)
{
    struct fire f = {.s = s, .due_ms = due_ms, .next_due_ms = next_due_ms, .j = j};

    rc r = pg_tx_run(cx, db, fire_tx, &f);
    *ret_mine = r == OK;
    return r == E_CONFLICT ? OK : r; /* somebody else's, and rolled back */
}

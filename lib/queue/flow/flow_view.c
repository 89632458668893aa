/* flow_view.c - see flow_view.h. */
#include "queue/flow/flow_view.h"
#include "base/text.h"
#include "queue/flow/flow.sql.h"
#include "queue/flow/reached.h"
#include <inttypes.h>
#include <string.h>

static const char *copy(struct cx *cx, const struct pg_result *res, int row, int col)
{
    return arena_strdup(&cx->arena, pg_text(res, row, col));
}

/* ---------------------------------------------------------------- what stood before */

rc flow_previous(struct cx *cx, struct pg *db, const struct job *j, const char **ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    *ret = NULL;
    if (!in_workflow(j))
        return OK;
    try(pg_do(cx, db, SQL_FLOW_PREVIOUS, &res, pg_s(j->options->workflow),
              pg_i(j->options->workflow_step), pg_i(FLOW_PREVIOUS_MAX)));
    if (pg_rows(res) == 0)
        return OK;
    if (!pg_text(res, 0, 0))
        return fail(cx, BUFFER_FULL,
                    "what stood before job %s gave %" PRId64 " bytes of results; at most %zu are "
                    "handed on",
                    j->lease.id, pg_int(res, 0, 1), (size_t)FLOW_PREVIOUS_MAX);
    *ret = copy(cx, res, 0, 0);
    return OK;
}

/* ---------------------------------------------------------------- one */

static void read_step(struct cx *cx, const struct pg_result *res, int r, struct flow_step *s)
{
    *s = (struct flow_step){
        .step = (int)pg_int(res, r, 0),
        .parent = pg_text(res, r, 1) ? (int)pg_int(res, r, 1) : 0,
        .kind = copy(cx, res, r, 2),
        .state = copy(cx, res, r, 3),
        .continues = pg_bool(res, r, 4),
        .task = copy(cx, res, r, 5),
        .queue = copy(cx, res, r, 6),
        .args = copy(cx, res, r, 7),
        .job_id = copy(cx, res, r, 8),
        .result = copy(cx, res, r, 9),
        .result_bytes = pg_text(res, r, 10) ? pg_int(res, r, 10) : 0,
        .error_code = copy(cx, res, r, 11),
        .error = copy(cx, res, r, 12),
        .started_ms = pg_ms(res, r, 13),
        .finished_ms = pg_ms(res, r, 14),
    };
}

static rc load_steps(struct cx *cx, struct pg *db, int after, int limit, struct flow_info *f)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;

    try(pg_do(cx, db, SQL_FLOW_STEPS, &res, pg_s(f->id), pg_i(after), pg_i(limit + 1),
              pg_i(FLOW_STEP_SHOWN)));
    f->more = pg_rows(res) > limit;
    f->nsteps = (size_t)MIN(pg_rows(res), limit);
    f->steps = arena_alloc(&cx->arena, (f->nsteps + 1) * sizeof *f->steps);
    for (size_t i = 0; i < f->nsteps; i++)
        read_step(cx, res, (int)i, &f->steps[i]);
    return OK;
}

rc flow_load(struct cx *cx, struct pg *db, const char *id, const char *tenant_id, int after,
             int limit, struct flow_info *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct flow_info f = {0};

    if (!id_parse(id, f.id))
        return fail(cx, NOT_FOUND, "there is no such workflow");
    try(pg_do(cx, db, SQL_FLOW_GET, &res, pg_s(f.id), pg_s(tenant_id), pg_i(FLOW_RESULT_SHOWN)));
    if (pg_rows(res) == 0)
        return fail(cx, NOT_FOUND, "workflow %s does not exist", f.id);
    f.name = copy(cx, res, 0, 0);
    f.state = copy(cx, res, 0, 1);
    f.tenant_id = copy(cx, res, 0, 2);
    f.trace = copy(cx, res, 0, 3);
    f.jobs = pg_int(res, 0, 4);
    f.created_ms = pg_ms(res, 0, 5);
    f.finished_ms = pg_ms(res, 0, 6);
    f.result = copy(cx, res, 0, 7);
    f.result_bytes = pg_text(res, 0, 8) ? pg_int(res, 0, 8) : 0;
    f.waiting = pg_int(res, 0, 9);
    f.running = pg_int(res, 0, 10);
    f.done = pg_int(res, 0, 11);
    f.failed = pg_int(res, 0, 12);
    f.cancelled = pg_int(res, 0, 13);
    try(load_steps(cx, db, after, limit, &f));
    *ret = f;
    return OK;
}

/* ---------------------------------------------------------------- many */

static bool state_known(const char *state)
{
    static const char *const states[] = {"running", "completed", "failed", "cancelled"};
    bool known = !state;

    for (size_t i = 0; i < COUNT(states); i++)
        known |= str_eq(state, states[i]);
    return known;
}

rc flow_list(struct cx *cx, struct pg *db, const struct flow_filter *f, struct flow_info **ret,
             size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    char id[ID_LEN + 1];

    if (!state_known(f->state))
        return fail_at(cx, INVALID_FIELD, "/state", "say running, completed, failed or cancelled");
    if (f->after && !id_parse(f->after, id))
        return fail_at(cx, INVALID_FIELD, "/after", "that is no place in the list");
    if (f->tenant_id && !id_parse(f->tenant_id, id))
        return fail_at(cx, INVALID_FIELD, "/tenant_id", "a tenant's id is a UUID");
    try(pg_do(cx, db, SQL_FLOW_LIST, &res, pg_s(f->tenant_id), pg_s(f->state), pg_s(f->after),
              pg_i(f->limit ? f->limit : 50)));
    size_t n = (size_t)pg_rows(res);
    struct flow_info *list = arena_alloc(&cx->arena, (n + 1) * sizeof *list);
    for (int r = 0; r < pg_rows(res); r++) {
        list[r] = (struct flow_info){.name = copy(cx, res, r, 1),
                                     .state = copy(cx, res, r, 2),
                                     .tenant_id = copy(cx, res, r, 3),
                                     .jobs = pg_int(res, r, 4),
                                     .created_ms = pg_ms(res, r, 5),
                                     .finished_ms = pg_ms(res, r, 6)};
        memcpy(list[r].id, pg_text(res, r, 0), ID_LEN);
    }
    *ret = list;
    *ret_n = n;
    return OK;
}

/* ---------------------------------------------------------------- JSON */

static void put_head(const struct flow_info *f, struct buf *out)
{
    buf_printf(out, "{\"id\":\"%s\"", f->id);
    buf_json_field(out, "name", f->name);
    buf_json_field(out, "state", f->state);
    buf_json_field(out, "tenant_id", f->tenant_id);
    buf_printf(out, ",\"jobs\":%" PRId64, f->jobs);
    buf_json_time(out, "created_at", f->created_ms);
    buf_json_time(out, "finished_at", f->finished_ms);
}

void flow_row_json(const struct flow_info *f, struct buf *out)
{
    put_head(f, out);
    buf_putc(out, '}');
}

static void put_result(struct buf *out, const char *result, int64_t bytes)
{
    buf_printf(out, ",\"result\":%s,\"result_bytes\":%" PRId64, result ? result : "null", bytes);
}

static void put_step(const struct flow_step *s, struct buf *out)
{
    buf_printf(out, "{\"step\":%d,\"parent\":", s->step);
    if (s->parent)
        buf_printf(out, "%d", s->parent);
    else
        buf_puts(out, "null");
    buf_json_field(out, "kind", s->kind);
    buf_json_field(out, "state", s->state);
    if (str_eq(s->kind, "group"))
        buf_json_field(out, "on_failure", s->continues ? "continue" : "fail");
    if (s->task) {
        buf_json_field(out, "task", s->task);
        buf_json_field(out, "queue", s->queue);
        buf_printf(out, ",\"args\":%s", s->args);
        buf_json_field(out, "job_id", s->job_id);
        put_result(out, s->result, s->result_bytes);
        buf_json_field(out, "error_code", s->error_code);
        buf_json_field(out, "error", s->error);
    }
    buf_json_time(out, "started_at", s->started_ms);
    buf_json_time(out, "finished_at", s->finished_ms);
    buf_putc(out, '}');
}

void flow_info_json(const struct flow_info *f, struct buf *out)
{
    put_head(f, out);
    buf_json_field(out, "trace", f->trace);
    buf_printf(out,
               ",\"counts\":{\"waiting\":%" PRId64 ",\"running\":%" PRId64 ",\"done\":%" PRId64
               ",\"failed\":%" PRId64 ",\"cancelled\":%" PRId64 "}",
               f->waiting, f->running, f->done, f->failed, f->cancelled);
    put_result(out, f->result, f->result_bytes);
    buf_puts(out, ",\"steps\":[");
    for (size_t i = 0; i < f->nsteps; i++) {
        buf_puts(out, i ? "," : "");
        put_step(&f->steps[i], out);
    }
    buf_puts(out, "],\"next\":");
    if (f->more)
        buf_printf(out, "%d", f->steps[f->nsteps - 1].step);
    else
        buf_puts(out, "null");
    buf_putc(out, '}');
}

/* flow.c - workflows by hand: begin one that is written in a file, look, cancel, try again, wait. */
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "domain/audit.h"
#include "ops/table.h"
#include "ops/tenant.h"
#include "ops/verbs.h"
#include "queue/flow/flow_view.h"
#include "rt/fiber.h"
#include <stdio.h>
#include <string.h>

#define LOOK_MS  200 /* between two looks at a workflow that somebody waits for */
#define FILE_MAX MiB(16)

static rc note(struct cx *cx, struct ops *o, const char *action, const char *id)
{
    return audit_note(
        cx, o->db,
        &(struct audit){
            .actor = o->actor, .action = action, .object_type = "workflow", .object_id = id});
}

static void print_head(struct cx *cx, const struct flow_info *f)
{
    struct table *t =
        table_new("id", "name", "state", "jobs#", "waiting#", "running#", "done#", "failed#",
                  "cancelled#", "created_at", "finished_at", "tenant_id", "result{}", NULL);

    table_row(t, f->id, f->name, f->state, number(cx, f->jobs), number(cx, f->waiting),
              number(cx, f->running), number(cx, f->done), number(cx, f->failed),
              number(cx, f->cancelled), when(cx, f->created_ms), when(cx, f->finished_ms),
              f->tenant_id, f->result);
    table_print_one(t, false);
}

static void print_steps(struct cx *cx, const struct flow_info *f)
{
    struct table *t = table_new("step#", "in#", "kind", "state", "task", "job_id", "finished_at",
                                "error_code", "result{}", NULL);

    printf("\n");
    for (size_t i = 0; i < f->nsteps; i++) {
        const struct flow_step *s = &f->steps[i];
        table_row(t, number(cx, s->step), s->parent ? number(cx, s->parent) : NULL, s->kind,
                  s->state, s->task, s->job_id, when(cx, s->finished_ms), s->error_code, s->result);
    }
    table_print(t, false);
}

static rc show(struct cx *cx, struct ops *o, const char *id, int after, int limit)
{
    struct flow_info f;

    try(flow_load(cx, o->db, id, NULL, after, limit, &f));
    if (o->json) {
        _cleanup_(buf_release) struct buf b = BUF(MiB(16));
        flow_info_json(&f, &b);
        if (!buf_ok(&b))
            return fail(cx, BUFFER_FULL, "that is more than 16 MiB: ask for fewer with --limit");
        printf("%s\n", buf_str(&b));
        return OK;
    }
    print_head(cx, &f);
    print_steps(cx, &f);
    if (f.more)
        hint("more: --after %d", f.steps[f.nsteps - 1].step);
    return OK;
}

/* Waiting may last hours: what one look needs is given back after it. */
static rc has_ended(struct cx *cx, struct ops *o, const char *id, bool *ret)
{
    struct arena kept = cx->arena;
    struct flow_info f;

    cx->arena = (struct arena){0};
    rc r = flow_load(cx, o->db, id, NULL, 0, 1, &f);
    *ret = r == OK && f.finished_ms;
    arena_release(&cx->arena);
    cx->arena = kept;
    return r;
}

static rc wait_for_end(struct cx *cx, struct ops *o, const char *id, int64_t wait_ms)
{
    const int64_t end_ms = clock_mono_ms() + wait_ms;
    struct flow_info f;
    bool over = false;

    cx->deadline_mono_ms = 0; /* the one who asked says how long */
    for (;;) {
        try(has_ended(cx, o, id, &over));
        if (over || clock_mono_ms() >= end_ms)
            break;
        try(fiber_sleep(cx, MIN(LOOK_MS, MAX(end_ms - clock_mono_ms(), 1))));
    }
    try(flow_load(cx, o->db, id, NULL, 0, 1, &f));
    if (!over)
        return fail(cx, DEADLINE, "workflow %s is still running; 'mihwar flow show %s'", id, id);
    if (!str_eq(f.state, "completed"))
        return fail(cx, CANCELLED, "workflow %s has %s; 'mihwar flow show %s'", id,
                    str_eq(f.state, "failed") ? "failed" : "been cancelled", id);
    return OK;
}

rc verb_flow_add(struct cx *cx, struct ops *o)
{
    const char *text, *tenant_id;
    struct flow *f;
    int64_t wait_ms;
    cJSON *tree;

    try(opt_duration(cx, o, "wait", 0, &wait_ms));
    try(text_of_file(cx, "the workflow", o->argv[0], FILE_MAX, &text));
    try(json_parse(cx, text, strlen(text), FILE_MAX, &tree));
    try(flow_read(cx, tree, NULL, &f));
    try(tenant_if_named(cx, o, &tenant_id));
    f->tenant_id = tenant_id;
    try(flow_start(cx, o->engine, f));
    try(note(cx, o, "flow.add", f->id));
    if (wait_ms) {
        try(wait_for_end(cx, o, f->id, wait_ms));
        return show(cx, o, f->id, 0, 50);
    }
    if (o->json)
        printf("{\"id\":\"%s\",\"jobs\":%d}\n", f->id, f->jobs);
    else
        printf("%s\n", f->id);
    return OK;
}

rc verb_flow_show(struct cx *cx, struct ops *o)
{
    int64_t after, limit;

    try(opt_int(cx, o, "after", 0, INT32_MAX, 0, &after));
    try(opt_int(cx, o, "limit", 1, 500, 50, &limit));
    return show(cx, o, o->argv[0], (int)after, (int)limit);
}

rc verb_flow_ls(struct cx *cx, struct ops *o)
{
    struct flow_filter filter = {.state = opt(o, "status"), .after = opt(o, "after")};
    struct flow_info *f;
    int64_t limit;
    size_t n;

    try(opt_int(cx, o, "limit", 1, 500, 50, &limit));
    filter.limit = (int)limit;
    try(tenant_if_named(cx, o, &filter.tenant_id));
    try(flow_list(cx, o->db, &filter, &f, &n));
    struct table *t =
        table_new("id", "name", "state", "jobs#", "created_at", "finished_at", "tenant_id+", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(t, f[i].id, f[i].name, f[i].state, number(cx, f[i].jobs),
                  when(cx, f[i].created_ms), when(cx, f[i].finished_ms), f[i].tenant_id);
    table_print(t, o->json);
    if (n == (size_t)limit)
        hint("more: --after %s", f[n - 1].id);
    return OK;
}

rc verb_flow_cancel(struct cx *cx, struct ops *o)
{
    try(flow_cancel(cx, o->engine, o->argv[0], NULL));
    try(note(cx, o, "flow.cancel", o->argv[0]));
    return show(cx, o, o->argv[0], 0, 50);
}

rc verb_flow_retry(struct cx *cx, struct ops *o)
{
    try(flow_retry(cx, o->engine, o->argv[0], NULL));
    try(note(cx, o, "flow.retry", o->argv[0]));
    return show(cx, o, o->argv[0], 0, 50);
}

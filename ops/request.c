/* request.c - commands to agents by hand, and the black box that keeps what came of all of them. */
#include "base/clock.h"
#include "base/text.h"
#include "domain/agents/command_history.h"
#include "domain/agents/request_move.h"
#include "domain/agents/requests.h"
#include "domain/audit.h"
#include "ops/table.h"
#include "ops/tenant.h"
#include "ops/verbs.h"
#include "rt/fiber.h"
#include <stdio.h>

#define LOOK_MS 100 /* between two looks at a request that somebody waits for */

static struct table *request_table(struct cx *cx, const struct command_request *r, size_t n)
{
    struct table *t =
        table_new("request_id", "status", "command", "agent", "wanted", "sends#", "error_code",
                  "created_at", "completed_at", "error+", "by+", "payload{}+", "result{}+",
                  "deadline+", "job_id+", "tenant_id+", NULL);

    for (size_t i = 0; i < n; i++) {
        const char *wanted = r[i].agent_id ? r[i].agent_id
                             : r[i].match  ? arena_printf(&cx->arena, "%s%s%s",
                                                         r[i].agent_type ? r[i].agent_type : "",
                                                         r[i].agent_type ? " " : "", r[i].match)
                                           : r[i].agent_type;
        table_row(t, r[i].request_id, request_status_word(r[i].status), r[i].command,
                  r[i].assigned_agent_id, wanted, number(cx, r[i].sends), r[i].error_code,
                  when(cx, r[i].created_ms), when(cx, r[i].completed_ms), r[i].error,
                  r[i].requested_by_name, r[i].payload, r[i].result, when(cx, r[i].deadline_ms),
                  r[i].job_id, r[i].tenant_id);
    }
    return t;
}

static rc note(struct cx *cx, struct ops *o, const char *action, const struct command_request *r)
{
    return audit_note(cx, o->db,
                      &(struct audit){.tenant_id = r->tenant_id,
                                      .actor = o->actor,
                                      .action = action,
                                      .object_type = "request",
                                      .object_id = r->request_id});
}

/* Waiting may last long: what one look needs is given back after it. */
static rc has_ended(struct cx *cx, struct ops *o, const char *id, bool *ret)
{
    struct arena kept = cx->arena;
    struct command_request r;

    cx->arena = (struct arena){0};
    rc code = request_get(cx, o->db, NULL, id, &r);
    *ret = code == OK && request_status_final(r.status);
    arena_release(&cx->arena);
    cx->arena = kept;
    return code;
}

/* Completed, or a failure that says how it ended. */
static rc wait_for_end(struct cx *cx, struct ops *o, const char *id, int64_t wait_ms,
                       struct command_request *ret)
{
    const int64_t end_ms = clock_mono_ms() + wait_ms;
    bool over = false;

    cx->deadline_mono_ms = 0; /* the one who asked says how long */
    for (;;) {
        try(has_ended(cx, o, id, &over));
        if (over || clock_mono_ms() >= end_ms)
            break;
        try(fiber_sleep(cx, MIN(LOOK_MS, MAX(end_ms - clock_mono_ms(), 1))));
    }
    try(request_get(cx, o->db, NULL, id, ret));
    if (!over)
        return fail(cx, DEADLINE, "request %s is still %s; 'mihwar request show %s'", id,
                    request_status_word(ret->status), id);
    if (ret->status != REQUEST_COMPLETED)
        return fail(cx, UPSTREAM_REFUSED,
                    "request %s ended as %s: %s%s%s; 'mihwar request show %s'", id,
                    request_status_word(ret->status), ret->error_code ? ret->error_code : "",
                    ret->error_code && ret->error ? ": " : "", ret->error ? ret->error : "", id);
    return OK;
}

rc verb_request_send(struct cx *cx, struct ops *o)
{
    struct request_new n = {.requested_by_name = o->actor,
                            .command = o->argv[0],
                            .agent_id = opt(o, "agent"),
                            .agent_type = opt(o, "type"),
                            .match = opt(o, "match")};
    struct command_request r;
    struct mask *mask;
    struct tenant t;
    int64_t wait_ms;

    try(opt_text(cx, o, "payload", &n.payload));
    try(opt_duration(cx, o, "timeout", o->settings->request_timeout, &n.timeout_ms));
    try(opt_duration(cx, o, "wait", 0, &wait_ms));
    if (!n.agent_id && !n.agent_type && !n.match)
        return fail(cx, USAGE, "say for whom: --agent, or --type or --match, or both of these");
    if (n.agent_id && (n.agent_type || n.match))
        return fail(cx, USAGE, "say --agent, or --type and --match, not both");
    try(tenant_named(cx, o, &t));
    n.tenant_id = t.id;
    try(mask_new(cx, o->settings->history_mask, &mask));
    n.mask = mask;
    rc code = request_create(cx, o->db, o->engine, &n, &r);
    mask_free(mask);
    try(code);
    try(note(cx, o, "request.send", &r));
    if (wait_ms)
        try(wait_for_end(cx, o, r.request_id, wait_ms, &r));
    table_print_one(request_table(cx, &r, 1), o->json);
    return OK;
}

rc verb_request_ls(struct cx *cx, struct ops *o)
{
    struct request_filter f = {.status = opt(o, "status"),
                               .agent_id = opt(o, "agent"),
                               .command = opt(o, "command"),
                               .after = opt(o, "after")};
    char next[ID_LEN + 1];
    struct command_request *r;
    int64_t limit;
    size_t n;

    try(opt_int(cx, o, "limit", 1, 500, 50, &limit));
    f.limit = (int)limit;
    try(opt_time(cx, o, "since", &f.since_ms));
    try(tenant_if_named(cx, o, &f.tenant_id));
    try(request_list(cx, o->db, &f, &r, &n, next));
    table_print(request_table(cx, r, n), o->json);
    if (*next)
        hint("more: --after %s", next);
    return OK;
}

rc verb_request_show(struct cx *cx, struct ops *o)
{
    struct command_request r;
    struct request_event *e;
    struct table *t;
    size_t n;

    try(request_get(cx, o->db, NULL, o->argv[0], &r));
    try(request_events(cx, o->db, &r, &e, &n));
    if (o->json)
        printf("{\"request\":");
    table_print_one(request_table(cx, &r, 1), o->json);
    printf(o->json ? ",\"timeline\":" : "\n");
    t = table_new("at", "step", "agent", "actor", "detail", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(t, when(cx, e[i].at_ms), e[i].step, e[i].agent_id, e[i].actor, e[i].detail);
    table_print(t, o->json);
    if (o->json)
        printf("}\n");
    return OK;
}

rc verb_request_cancel(struct cx *cx, struct ops *o)
{
    struct end_rules rules = {.cooldown_after = (int)o->settings->agent_cooldown_after,
                              .cooldown_ms = o->settings->agent_cooldown};
    struct command_request r;

    try(request_cancel(cx, o->db, &rules, NULL, o->argv[0], o->actor, &r));
    try(note(cx, o, "request.cancel", &r));
    table_print_one(request_table(cx, &r, 1), o->json);
    return OK;
}

rc verb_history_ls(struct cx *cx, struct ops *o)
{
    struct history_filter f = {.agent_id = opt(o, "agent"),
                               .command = opt(o, "command"),
                               .status = opt(o, "status"),
                               .job_id = opt(o, "job")};
    const char *since = opt(o, "since"), *until = opt(o, "until"), *after = opt(o, "after");
    struct history_row *h;
    struct table *t;
    int64_t limit, next;
    size_t n;

    try(opt_int(cx, o, "limit", 1, 500, 50, &limit));
    f.limit = (int)limit;
    if ((since && !clock_parse(since, &f.since_ms)) || (until && !clock_parse(until, &f.until_ms)))
        return fail(cx, USAGE, "--since and --until are times such as 2026-01-05T10:11:12Z");
    if (after && !parse_int(after, 1, INT64_MAX, &f.after))
        return fail(cx, USAGE, "--after is the number that the page before named");
    try(tenant_if_named(cx, o, &f.tenant_id));
    try(history_list(cx, o->db, &f, &h, &n, &next));
    t = table_new("seq#", "status", "command", "agent", "requested_by", "created_at",
                  "completed_at", "payload{}+", "response{}+", "job_id", "request_id+",
                  "requested_by_user_id+", "archived_at+", "tenant_id+", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(t, number(cx, h[i].seq), h[i].status, h[i].command, h[i].agent_id,
                  h[i].requested_by, when(cx, h[i].created_ms), when(cx, h[i].completed_ms),
                  h[i].payload, h[i].response, h[i].job_id, h[i].request_id,
                  h[i].requested_by_user_id, when(cx, h[i].archived_ms), h[i].tenant_id);
    table_print(t, o->json);
    if (next)
        hint("more: --after %lld", (long long)next);
    return OK;
}

/* dlq.c - dead letters: jobs that nobody will try again by himself. */
#include "queue/dlq.h"
#include "base/json.h"
#include "domain/audit.h"
#include "ops/table.h"
#include "ops/verbs.h"
#include <stdio.h>
#include <string.h>

static struct dlq_filter filter_of(const struct ops *o)
{
    return (struct dlq_filter){
        .queue = opt(o, "queue"), .task = opt(o, "task"), .error = opt(o, "error")};
}

rc verb_dlq_ls(struct cx *cx, struct ops *o)
{
    struct dlq_filter f = filter_of(o);
    struct dead_letter *d;
    struct table *t;
    int64_t limit;
    size_t n;

    try(opt_int(cx, o, "limit", 1, 500, 50, &limit));
    f.limit = (int)limit;
    f.after = opt(o, "after");
    try(dlq_list(cx, o->db, &f, &d, &n));
    t = table_new("id", "died_at", "task", "queue", "attempts#", "error_code", "error",
                  "fingerprint", "subject", "job_id+", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(t, d[i].id, when(cx, d[i].died_ms), d[i].task, d[i].queue,
                  number(cx, d[i].attempts), d[i].error_code, d[i].error, d[i].fingerprint,
                  d[i].subject, d[i].job_id);
    table_print(t, o->json);
    if (n == (size_t)limit)
        hint("perhaps more: --after %s", d[n - 1].id);
    return OK;
}

/* Every attempt: [{"attempt":…,"at":…,"worker":…,"code":…,"error":…}]. */
static void print_errors(struct cx *cx, const char *errors)
{
    static const char *const names[] = {"attempt", "at", "worker", "code", "error"};
    struct table *t;
    const cJSON *e;
    cJSON *list;

    if (!errors || json_parse(cx, errors, strlen(errors), MiB(4), &list) != OK)
        return;
    printf("\n");
    t = table_new("attempt#", "at", "worker", "error_code", "error", NULL);
    cJSON_ArrayForEach(e, list)
    {
        const char *v[COUNT(names)];
        for (size_t i = 0; i < COUNT(names); i++) {
            const cJSON *x = cJSON_GetObjectItemCaseSensitive(e, names[i]);
            v[i] =
                cJSON_IsNumber(x) ? number(cx, (int64_t)x->valuedouble) : cJSON_GetStringValue(x);
        }
        table_row(t, v[0], v[1], v[2], v[3], v[4]);
    }
    table_print(t, false);
}

rc verb_dlq_show(struct cx *cx, struct ops *o)
{
    _cleanup_(buf_release) struct buf b = BUF(MiB(4));
    struct dead_letter d;
    struct table *t;

    try(dlq_get(cx, o->db, o->argv[0], &d));
    if (o->json) {
        dead_letter_json(&d, &b);
        if (!buf_ok(&b))
            return fail(cx, BUFFER_FULL, "dead letter %s is too large to be shown", d.id);
        printf("%s\n", buf_str(&b));
        return OK;
    }
    t = table_new("id", "job_id", "task", "queue", "died_at", "replayed_at", "attempts#", "worker",
                  "error_code", "error", "fingerprint", "subject", "tenant_id", "args{}", NULL);
    table_row(t, d.id, d.job_id, d.task, d.queue, when(cx, d.died_ms), when(cx, d.replayed_ms),
              number(cx, d.attempts), d.worker, d.error_code, d.error, d.fingerprint, d.subject,
              d.tenant_id, d.args);
    table_print_one(t, false);
    print_errors(cx, d.errors);
    return OK;
}

/* Which ones, or by which filter, and what came of it: {"ids":[…],"task":…,"replayed":3}. */
static rc note(struct cx *cx, struct ops *o, const char *action, const char *outcome)
{
    static const char *const filters[] = {"queue", "task", "error"};
    _cleanup_(buf_release) struct buf b = BUF(KiB(16));

    buf_puts(&b, "{");
    for (int i = 0; i < o->argc; i++) {
        buf_puts(&b, i ? "," : "\"ids\":[");
        buf_json_str(&b, o->argv[i]);
    }
    buf_puts(&b, o->argc ? "]," : "");
    for (size_t i = 0; i < COUNT(filters); i++) {
        if (!opt(o, filters[i]))
            continue;
        buf_printf(&b, "\"%s\":", filters[i]);
        buf_json_str(&b, opt(o, filters[i]));
        buf_puts(&b, ",");
    }
    buf_printf(&b, "%s}", outcome);
    if (!buf_ok(&b))
        return fail(cx, USAGE, "the filter is too long");
    return audit_note(cx, o->db,
                      &(struct audit){.actor = o->actor,
                                      .action = action,
                                      .object_type = "dlq",
                                      .object_id = o->argc == 1 ? o->argv[0] : "many",
                                      .detail = buf_str(&b)});
}

rc verb_dlq_replay(struct cx *cx, struct ops *o)
{
    struct dlq_filter f = filter_of(o);
    int64_t rate, replayed, skipped;
    bool filtered = f.queue || f.task || f.error;

    try(opt_int(cx, o, "rate", 1, 100000, 0, &rate));
    if ((o->argc > 0) == filtered)
        return fail(cx, USAGE, "say which: either ids, or --queue, --task, --error");
    try(dlq_replay(cx, o->engine, o->argv, (size_t)o->argc, &f, (double)rate, &replayed, &skipped));
    try(note(cx, o, "dlq.replay",
             arena_printf(&cx->arena, "\"replayed\":%lld,\"skipped\":%lld", (long long)replayed,
                          (long long)skipped)));
    if (o->json)
        printf("{\"replayed\":%lld,\"skipped\":%lld}\n", (long long)replayed, (long long)skipped);
    else
        printf("%lld put back, %lld passed over (alive or put back already)\n", (long long)replayed,
               (long long)skipped);
    return OK;
}

rc verb_dlq_drop(struct cx *cx, struct ops *o)
{
    if (!opt(o, "yes"))
        return fail(cx, USAGE, "this forgets %d dead letter%s with the reasons; say --yes to do it",
                    o->argc, o->argc == 1 ? "" : "s");
    try(dlq_drop(cx, o->db, o->argv, (size_t)o->argc));
    try(note(cx, o, "dlq.drop", arena_printf(&cx->arena, "\"dropped\":%d", o->argc)));
    if (o->json)
        printf("{\"dropped\":%d}\n", o->argc);
    else
        printf("%d dropped\n", o->argc);
    return OK;
}

static rc print_line(struct cx *cx, const char *line, void *arg)
{
    (void)arg;
    if (puts(line) < 0)
        return fail(cx, OS, "the output cannot be written");
    return OK;
}

rc verb_dlq_export(struct cx *cx, struct ops *o)
{
    struct dlq_filter f = filter_of(o);

    cx->deadline_mono_ms = 0; /* as long as there is something to tell */
    return dlq_export(cx, o->db, &f, print_line, NULL);
}

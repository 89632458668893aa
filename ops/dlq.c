/* dlq.c - dead letters: jobs that nobody will try again by himself. */
#include "queue/dlq.h"
#include "domain/audit.h"
#include "ops/table.h"
#include "ops/verbs.h"
#include <stdio.h>

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
                  "fingerprint", "subject", "job_id", NULL);
    for (size_t i = 0; i < n; i++)
        table_row(t, d[i].id, when(cx, d[i].died_ms), d[i].task, d[i].queue,
                  number(cx, d[i].attempts), d[i].error_code, d[i].error, d[i].fingerprint,
                  d[i].subject, d[i].job_id);
    table_print(t, o->json);
    return OK;
}

rc verb_dlq_show(struct cx *cx, struct ops *o)
{
    _cleanup_(buf_release) struct buf b = BUF(MiB(4));
    struct dead_letter d;
    struct table *t;

    try(dlq_get(cx, o->db, o->argv[0], &d));
    if (o->json) {
        dead_letter_json(&d, &b);
        printf("%s\n", buf_str(&b));
        return OK;
    }
    t = table_new("id", "job_id", "task", "queue", "died_at", "replayed_at", "attempts#", "worker",
                  "error_code", "error", "fingerprint", "subject", "tenant_id", "args", "errors{}",
                  NULL);
    table_row(t, d.id, d.job_id, d.task, d.queue, when(cx, d.died_ms), when(cx, d.replayed_ms),
              number(cx, d.attempts), d.worker, d.error_code, d.error, d.fingerprint, d.subject,
              d.tenant_id, d.args, d.errors);
    table_print_one(t, false);
    return OK;
}

static rc note(struct cx *cx, struct ops *o, const char *action, const char *detail)
{
    return audit_note(cx, o->db,
                      &(struct audit){.actor = o->actor,
                                      .action = action,
                                      .object_type = "dlq",
                                      .object_id = o->argc == 1 ? o->argv[0] : "many",
                                      .detail = detail});
}

rc verb_dlq_replay(struct cx *cx, struct ops *o)
{
    struct dlq_filter f = filter_of(o);
    int64_t rate, replayed, skipped;

    try(opt_int(cx, o, "rate", 1, 100000, 0, &rate));
    if (o->argc == 0 && !f.queue && !f.task && !f.error)
        return fail(cx, USAGE, "say which: ids, or --queue, --task, --error");
    try(dlq_replay(cx, o->engine, o->argv, (size_t)o->argc, &f, (double)rate, &replayed, &skipped));
    try(note(cx, o, "dlq.replay",
             arena_printf(&cx->arena, "{\"replayed\":%lld,\"skipped\":%lld}", (long long)replayed,
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
    try(dlq_drop(cx, o->db, o->argv, (size_t)o->argc));
    try(note(cx, o, "dlq.drop", NULL));
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

    return dlq_export(cx, o->db, &f, print_line, NULL);
}

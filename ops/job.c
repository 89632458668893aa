/* job.c - one job: start it, look at it, end it, wait for it. */
#include "base/clock.h"
#include "base/json.h"
#include "domain/audit.h"
#include "ops/table.h"
#include "ops/verbs.h"
#include "queue/await.h"
#include "queue/explain.h"
#include "queue/jobs.h"
#include <stdio.h>
#include <string.h>

static bool ended(const struct job_info *j)
{
    return strcmp(j->state, "completed") == 0 || strcmp(j->state, "dead") == 0 ||
           strcmp(j->state, "cancelled") == 0;
}

rc job_wait(struct cx *cx, struct ops *o, const char *job_id, int64_t wait_ms,
            const char **ret_result)
{
    struct job_info j;

    cx->deadline_mono_ms = 0; /* the one who asked says how long */
    struct await *a = await_new(o->engine);
    rc r = await_end(cx, a, job_id, NULL, wait_ms);
    await_free(a);
    try(r);
    try(job_load(cx, o->engine, job_id, NULL, &j));
    if (!ended(&j))
        return fail(cx, DEADLINE,
                    "job %s is still %s%s%s; is a worker running? 'mihwar job show %s'", job_id,
                    j.state, j.last_error ? ", last error: " : "", j.last_error ? j.last_error : "",
                    job_id);
    if (strcmp(j.state, "completed") != 0)
        return fail_rc(cx, j.last_error_code ? error_from_code(j.last_error_code) : E_CANCELLED,
                       "job %s is %s: %s", job_id, j.state,
                       j.last_error ? j.last_error : "no error is on record");
    *ret_result = j.result;
    return OK;
}

static void print_attempts(struct cx *cx, const struct job_info *j)
{
    struct table *t = table_new("attempt#", "outcome", "started_at", "finished_at", "worker",
                                "error_code", "error", NULL);

    printf("\n");
    for (size_t i = 0; i < j->nattempts; i++)
        table_row(t, number(cx, j->attempts[i].attempt), j->attempts[i].outcome,
                  when(cx, j->attempts[i].started_ms), when(cx, j->attempts[i].finished_ms),
                  j->attempts[i].worker, j->attempts[i].error_code, j->attempts[i].error);
    table_print(t, false);
}

static void print_events(struct cx *cx, const struct job_event *e, size_t n, bool json)
{
    struct table *t =
        table_new("at", "attempt#", "seq#", "level", "text", "progress{}", "cursor+", NULL);
    char cursor[48];

    for (size_t i = 0; i < n; i++)
        table_row(t, when(cx, e[i].at_ms), number(cx, e[i].attempt), number(cx, e[i].seq),
                  e[i].level, e[i].level ? e[i].body : NULL, e[i].level ? NULL : e[i].body,
                  job_event_cursor(&e[i], cursor));
    table_print(t, json);
}

static void print_job(struct cx *cx, const struct ops *o, const struct job_info *j)
{
    struct table *t;

    if (o->json) {
        _cleanup_(buf_release) struct buf b = BUF(MiB(4));
        job_info_json(j, &b);
        printf("%s\n", buf_str(&b));
        return;
    }
    t = table_new("id", "task", "queue", "state", "durable?", "attempts#", "generation#", "run_at",
                  "created_at", "finished_at", "unique_key", "subject", "tenant_id", "args{}",
                  "progress{}", "result{}", "last_error", NULL);
    table_row(t, j->id, j->task, j->queue, j->state, j->durable ? "yes" : "no",
              number(cx, j->attempts_used), number(cx, j->generation), when(cx, j->run_at_ms),
              when(cx, j->created_ms), when(cx, j->finished_ms), j->unique_key, j->subject,
              j->tenant_id, j->args, j->progress, j->result, j->last_error);
    table_print_one(t, false);
    if (j->nattempts)
        print_attempts(cx, j);
    if (j->nevents) {
        printf("\n");
        print_events(cx, j->events, j->nevents, false);
    }
}

static rc show(struct cx *cx, struct ops *o, const char *id)
{
    struct job_info j;

    try(job_load(cx, o->engine, id, NULL, &j));
    print_job(cx, o, &j);
    return OK;
}

static rc note(struct cx *cx, struct ops *o, const char *action, const char *job_id)
{
    return audit_note(
        cx, o->db,
        &(struct audit){
            .actor = o->actor, .action = action, .object_type = "job", .object_id = job_id});
}

static rc read_new_job(struct cx *cx, struct ops *o, struct job_new *j)
{
    int64_t priority, attempts, delay_ms;
    cJSON *args;

    *j = (struct job_new){.task = o->argv[0],
                          .queue = opt(o, "queue"),
                          .unique_key = opt(o, "unique"),
                          .durable = !opt(o, "broker")};
    try(opt_text(cx, o, "args", &j->args));
    if (j->args)
        try(json_parse(cx, j->args, strlen(j->args), JOB_ARGS_MAX, &args));
    try(opt_int(cx, o, "priority", 0, 9, JOB_PRIORITY, &priority));
    try(opt_int(cx, o, "max-attempts", 1, 1000, 0, &attempts));
    try(opt_duration(cx, o, "delay", 0, &delay_ms));
    try(opt_duration(cx, o, "timeout", 0, &j->timeout_ms));
    j->priority = (int)priority;
    j->max_attempts = (int)attempts;
    j->run_at_ms = delay_ms ? clock_ms() + delay_ms : 0;
    return job_new_check(cx, j);
}

rc verb_job_add(struct cx *cx, struct ops *o)
{
    struct job_new j;
    int64_t wait_ms;
    const char *result;

    try(read_new_job(cx, o, &j));
    try(opt_duration(cx, o, "wait", 0, &wait_ms));
    if (wait_ms && !j.durable)
        return fail(cx, USAGE,
                    "--wait needs a durable job: nothing is left of a --broker job when "
                    "it has ended");
    try(engine_enqueue(cx, o->engine, &j, 1));
    try(note(cx, o, "job.add", j.id));
    if (wait_ms) {
        try(job_wait(cx, o, j.id, wait_ms, &result));
        return show(cx, o, j.id);
    }
    if (o->json)
        printf("{\"id\":\"%s\",\"existed\":%s}\n", j.id, j.existed ? "true" : "false");
    else
        printf("%s%s\n", j.id, j.existed ? "  (there already: it holds the unique key)" : "");
    return OK;
}

rc verb_job_show(struct cx *cx, struct ops *o)
{
    return show(cx, o, o->argv[0]);
}

rc verb_job_explain(struct cx *cx, struct ops *o)
{
    struct explanation *x;

    try(engine_explain(cx, o->engine, o->argv[0], NULL, &x));
    if (o->json) {
        _cleanup_(buf_release) struct buf b = BUF(MiB(4));
        explanation_json(x, &b);
        printf("%s\n", buf_str(&b));
        return OK;
    }
    printf("%s\n", x->headline->text);
    for (size_t i = 0; i < x->n; i++)
        if (&x->list[i] != x->headline)
            printf("  also: %s\n", x->list[i].text);
    return OK;
}

rc verb_job_log(struct cx *cx, struct ops *o)
{
    struct job_event *e;
    struct job_info j;
    int64_t limit;
    size_t n;

    try(opt_int(cx, o, "limit", 1, 10000, 500, &limit));
    try(job_load(cx, o->engine, o->argv[0], NULL, &j));
    try(timeline_list(cx, o->engine, j.id, opt(o, "after"), (size_t)limit, &e, &n));
    print_events(cx, e, n, o->json);
    return OK;
}

rc verb_job_wait(struct cx *cx, struct ops *o)
{
    int64_t wait_ms;
    const char *result;

    try(opt_duration(cx, o, "timeout", 60000, &wait_ms));
    try(job_wait(cx, o, o->argv[0], wait_ms, &result));
    return show(cx, o, o->argv[0]);
}

rc verb_job_cancel(struct cx *cx, struct ops *o)
{
    bool running;

    try(engine_cancel(cx, o->engine, o->argv[0], &running));
    try(note(cx, o, "job.cancel", o->argv[0]));
    if (running && !o->json)
        hint("it is running: its worker will end it at its next wait");
    return show(cx, o, o->argv[0]);
}

rc verb_job_retry(struct cx *cx, struct ops *o)
{
    try(engine_retry_now(cx, o->engine, o->argv[0]));
    try(note(cx, o, "job.retry", o->argv[0]));
    return show(cx, o, o->argv[0]);
}

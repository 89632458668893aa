/* schedule.c - what is started by the clock: the house's own and the tenants'. */
#include "base/json.h"
#include "base/text.h"
#include "domain/audit.h"
#include "domain/clock/schedules.h"
#include "ops/table.h"
#include "ops/tenant.h"
#include "ops/verbs.h"
#include <stdio.h>
#include <string.h>

#define PAGE 500

static const char *rhythm(struct cx *cx, const struct schedule *s)
{
    int64_t ms = s->every_ms;

    if (s->cron)
        return s->cron;
    if (ms % 3600000 == 0)
        return arena_printf(&cx->arena, "every %lldh", (long long)(ms / 3600000));
    if (ms % 60000 == 0)
        return arena_printf(&cx->arena, "every %lldm", (long long)(ms / 60000));
    if (ms % 1000 == 0)
        return arena_printf(&cx->arena, "every %llds", (long long)(ms / 1000));
    return arena_printf(&cx->arena, "every %lldms", (long long)ms);
}

static struct table *schedule_table(struct cx *cx, const struct schedule *s, size_t n)
{
    struct table *t = table_new("name", "when", "timezone", "task", "queue", "args{}", "enabled?",
                                "misfire", "next_at", "last_at", "tenant_id+", "id+", NULL);

    for (size_t i = 0; i < n; i++)
        table_row(t, s[i].name, rhythm(cx, &s[i]), s[i].timezone, s[i].task, s[i].queue, s[i].args,
                  s[i].enabled ? "yes" : "no", s[i].misfire, when(cx, s[i].next_due_ms),
                  when(cx, s[i].last_fired_ms), s[i].tenant_id, s[i].id);
    return t;
}

rc verb_schedule_ls(struct cx *cx, struct ops *o)
{
    const char *tenant;
    struct schedule *s;
    size_t n;

    try(tenant_if_named(cx, o, &tenant));
    try(schedule_list(cx, o->db, tenant, opt(o, "after"), PAGE, &s, &n));
    table_print(schedule_table(cx, s, n), o->json);
    if (n == PAGE)
        hint("perhaps more: --after %s", s[n - 1].name);
    return OK;
}

rc verb_schedule_add(struct cx *cx, struct ops *o)
{
    const char *every = opt(o, "every");
    struct schedule s = {.name = o->argv[0],
                         .task = o->argv[1],
                         .cron = opt(o, "cron"),
                         .queue = opt(o, "queue"),
                         .timezone = opt(o, "timezone"),
                         .misfire = opt(o, "misfire"),
                         .enabled = true};
    struct schedule made;
    int64_t priority;
    cJSON *args;

    if ((every != NULL) == (s.cron != NULL))
        return fail(cx, USAGE,
                    "say either --every DURATION or --cron \"MIN HOUR DAY MONTH WEEKDAY\"");
    try(opt_duration(cx, o, "every", 0, &s.every_ms));
    try(opt_duration(cx, o, "jitter", 0, &s.jitter_ms));
    try(opt_int(cx, o, "priority", 0, 9, JOB_PRIORITY, &priority));
    s.priority = (int)priority;
    try(opt_text(cx, o, "args", &s.args));
    if (s.args)
        try(json_parse(cx, s.args, strlen(s.args), JOB_ARGS_MAX, &args));
    try(tenant_if_named(cx, o, &s.tenant_id));
    try(schedule_add(cx, o->db, o->actor, &s, &made));
    table_print_one(schedule_table(cx, &made, 1), o->json);
    return OK;
}

static rc set_enabled(struct cx *cx, struct ops *o, bool enabled)
{
    struct schedule s, changed;

    try(schedule_get(cx, o->db, NULL, o->argv[0], &s));
    s.enabled = enabled;
    try(schedule_change(cx, o->db, o->actor, &s, &changed));
    table_print_one(schedule_table(cx, &changed, 1), o->json);
    return OK;
}

rc verb_schedule_pause(struct cx *cx, struct ops *o)
{
    return set_enabled(cx, o, false);
}

rc verb_schedule_resume(struct cx *cx, struct ops *o)
{
    return set_enabled(cx, o, true);
}

static rc note_run(struct cx *cx, struct ops *o, const struct schedule *s)
{
    return audit_note(cx, o->db,
                      &(struct audit){.actor = o->actor,
                                      .action = "schedule.run",
                                      .object_type = "schedule",
                                      .object_id = s->id});
}

/* What beat does itself is no job: it is made due. */
static rc run_by_beat(struct cx *cx, struct ops *o, const struct schedule *s)
{
    try(schedule_due_now(cx, o->db, s->id));
    try(note_run(cx, o, s));
    if (o->json)
        printf("{\"due\":true}\n");
    else
        printf("%s is due now\n", s->name);
    return OK;
}

/* Now, besides its times: an ordinary job, not a firing. */
rc verb_schedule_run(struct cx *cx, struct ops *o)
{
    struct schedule s;
    struct job_new j;

    try(schedule_get(cx, o->db, NULL, o->argv[0], &s));
    if (starts_with(s.task, "beat."))
        return run_by_beat(cx, o, &s);
    j = (struct job_new){.queue = s.queue,
                         .task = s.task,
                         .args = s.args,
                         .durable = true,
                         .priority = s.priority,
                         .tenant_id = s.tenant_id};
    try(job_new_check(cx, &j));
    try(engine_enqueue(cx, o->engine, &j, 1));
    try(note_run(cx, o, &s));
    if (o->json)
        printf("{\"job_id\":\"%s\"}\n", j.id);
    else
        printf("job %s\n", j.id);
    return OK;
}

rc verb_schedule_rm(struct cx *cx, struct ops *o)
{
    struct schedule s;

    try(schedule_get(cx, o->db, NULL, o->argv[0], &s));
    if (!opt(o, "yes"))
        return fail(cx, USAGE,
                    "this removes '%s' and what is known of its times ('schedule pause' keeps it); "
                    "say --yes to do it",
                    s.name);
    try(schedule_remove(cx, o->db, o->actor, s.id));
    if (o->json)
        printf("{\"removed\":true}\n");
    else
        printf("%s is removed\n", s.name);
    return OK;
}

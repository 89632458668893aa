/* presence.c - a beat is in the register of processes, whether it leads or stands by: metrics count it, the doctor
 * misses it. The card of the one that leads also tells which duty failed last time. */
#include "base/clock.h"
#include "base/log.h"
#include "base/program.h"
#include "beat/beat.h"
#include "queue/workers.h"
#include "rt/fiber.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_MS 5000
#define LEAVE_MS    200 /* the office is given up already: nobody waits for this */

struct presence {
    struct beat *b;
    char name[WORKER_NAME_MAX];
    int host_len;
    int64_t started_ms;
    int64_t told_us, batch_us; /* processor time: handed in; of the batch under way, 0: none */
    int64_t batch;
    bool ill;
};

static void put_card(struct buf *out, const struct presence *s)
{
    bool leads = leader_holds(s->b->leader);

    buf_puts(out, "{\"kind\":\"beat\",\"name\":");
    buf_json_str(out, s->name);
    buf_printf(out, ",\"host\":\"%.*s\"", s->host_len, s->name);
    buf_printf(out,
               ",\"pid\":%d,\"version\":\"%s\",\"started_ms\":%lld,\"rss_bytes\":%lld,\"leads\":%s",
               (int)getpid(), program_version(), (long long)s->started_ms,
               (long long)program_resident_bytes(), leads ? "true" : "false");
    if (leads)
        duties_print(out);
    buf_putc(out, '}');
}

/* A batch whose answer was lost is handed in again under its number. */
static rc register_now(struct cx *cx, struct presence *s, int64_t within_ms, bool leaves)
{
    _cleanup_(buf_release) struct buf card = BUF(KiB(16));
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
        cx_deadline_within(cx, within_ms);
    char n[24];
    const char *count[] = {"p|beat|cpu_us", n};
    bool drain;

    if (s->batch_us == 0) {
        s->batch++;
        s->batch_us = program_cpu_us() - s->told_us;
    }
    snprintf(n, sizeof n, "%lld", (long long)s->batch_us);
    if (!leaves)
        put_card(&card, s);
    rc r = workers_beat(cx, s->b->engine,
                        &(struct worker_beat){.name = s->name,
                                              .card = leaves ? NULL : buf_str(&card),
                                              .batch = s->batch,
                                              .count = count,
                                              .ncount = COUNT(count)},
                        &drain);
    if (r == OK) {
        s->told_us += s->batch_us;
        s->batch_us = 0;
    } else if (r != E_CANCELLED && !s->ill) {
        log_fail(LOG_WARN, "beat.not_registered", cx, r);
    }
    s->ill = r != OK;
    return r;
}

rc presence_run(struct cx *cx, void *arg)
{
    struct presence s = {.b = arg, .started_ms = clock_ms()};

    /* the leader's name is host:pid:mark */
    snprintf(s.name, sizeof s.name, "%s", leader_name(s.b->leader));
    *strrchr(s.name, ':') = 0;
    s.host_len = (int)(strrchr(s.name, ':') - s.name);
    while (register_now(cx, &s, PATIENCE_MS, false) != E_CANCELLED &&
           fiber_sleep(cx, s.b->settings->worker_beat) == OK)
        ;
    cx->cancelled = false;
    (void)register_now(cx, &s, LEAVE_MS, true); /* else the register finds out by itself */
    return OK;
}

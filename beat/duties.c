/* duties.c - what beat does itself, besides making jobs.
 *
 * They are rows of `schedules` like any other (`mihwar schedule ls` shows them, their period can be
 * changed, they can be paused); a task that begins with "beat." is run here instead of becoming a
 * job, because it mends what jobs stand on: it must not wait in a queue that is lost. Each is
 * fenced by its firing; each is safe to run twice.
 *
 *   beat.agents      agents of hubs that died are inactive
 *   beat.expiry      jobs that nobody began in time are cancelled
 *   beat.history     the command history has its partitions ahead
 *   beat.orders      orders that nobody looks after get their job back
 *   beat.reconcile   jobs that only PostgreSQL knows are pushed, those only Redis knows are dropped;
 *                    Redis hears the queues' policies again
 *   beat.balances    a job provider.balance for each enabled integration
 *   beat.catalogues  a job provider.catalogue for each
 *   beat.requests    requests whose time is over and that no job ended are timed out
 *   beat.results     results and windows of uniqueness whose time is over are forgotten
 *   beat.retention   what is old and over is deleted
 *
 * The epoch is advanced more often than a schedule should fire: it has a fiber of its own. */
#include "base/clock.h"
#include "base/log.h"
#include "beat/beat.h"
#include "domain/agents/agents.h"
#include "domain/agents/command_history.h"
#include "domain/agents/request_move.h"
#include "domain/orders/order_sweep.h"
#include "domain/retention.h"
#include "domain/shop/integrations.h"
#include "queue/shape/policy.h"
#include "rt/fiber.h"
#include <string.h>

#define RECONCILE_AGE_MS 10000 /* a push that is under way is no loss */
#define EPOCH_MS         60000 /* it rebuilds Redis when that is empty */
#define ROOMS_MS         5000
#define PRUNE_BATCH      1000
#define PRUNE_NAP_MS     20 /* between batches: others want the disk, too */

static rc sweep_orders(struct cx *cx, struct beat *b)
{
    int64_t n = 0;

    try(orders_sweep(cx, b->db, b->engine, b->settings->sweep_min_age, &n));
    if (n > 0)
        log_ev(LOG_WARN, "orders.swept", kv_int("jobs", n));
    return OK;
}

static rc sweep_agents(struct cx *cx, struct beat *b)
{
    int64_t n = 0;

    try(agents_sweep(cx, b->db, &n));
    if (n > 0)
        log_ev(LOG_WARN, "agents.swept", kv_int("agents", n));
    return OK;
}

static rc sweep_requests(struct cx *cx, struct beat *b)
{
    const struct end_rules rules = {.cooldown_after = (int)b->settings->agent_cooldown_after,
                                    .cooldown_ms = b->settings->agent_cooldown};
    int64_t n = 0;

    try(requests_sweep(cx, b->db, &rules, &n));
    if (n > 0)
        log_ev(LOG_WARN, "requests.swept", kv_int("requests", n));
    return OK;
}

static rc make_partitions(struct cx *cx, struct beat *b)
{
    int64_t n = 0;

    try(history_partitions(cx, b->db, &n));
    if (n > 0)
        log_ev(LOG_INFO, "history.partitions", kv_int("made", n));
    return OK;
}

static rc expire(struct cx *cx, struct beat *b)
{
    int64_t n = 0;

    try(engine_expire(cx, b->engine, &n));
    if (n > 0)
        log_ev(LOG_INFO, "jobs.expired", kv_int("jobs", n));
    return OK;
}

static rc reconcile(struct cx *cx, struct beat *b)
{
    int64_t pushed = 0, dropped = 0;

    try(engine_gates_copy(cx, b->engine));
    try(engine_sweep(cx, b->engine, RECONCILE_AGE_MS, &pushed, &dropped));
    if (pushed || dropped)
        log_ev(LOG_WARN, "jobs.reconciled", kv_int("pushed", pushed), kv_int("dropped", dropped));
    return OK;
}

/* One job of a task for each enabled integration, unless the last one is still under way. */
static rc for_each_provider(struct cx *cx, struct beat *b, const char *task)
{
    struct integration *list;
    struct job_new *jobs;
    size_t n;

    try(integration_list(cx, b->db, NULL, /* enabled_only= */ true, &list, &n));
    jobs = arena_alloc(&cx->arena, (n + 1) * sizeof(*jobs));
    for (size_t i = 0; i < n; i++)
        jobs[i] = (struct job_new){
            .task = task,
            .args = arena_printf(&cx->arena, "{\"integration_id\":\"%s\"}", list[i].id),
            .durable = true,
            .priority = JOB_PRIORITY,
            .unique_key = arena_printf(&cx->arena, "%s:%s", task, list[i].id),
            .subject = list[i].id,
            .tenant_id = list[i].tenant_id,
        };
    for (size_t i = 0; i < n; i += QUEUE_BATCH)
        try(engine_enqueue(cx, b->engine, jobs + i, MIN(n - i, (size_t)QUEUE_BATCH)));
    return OK;
}

static rc forget(struct cx *cx, struct beat *b)
{
    int64_t windows, results;

    do {
        try(engine_forget(cx, b->engine, &windows, &results));
        if (windows || results)
            log_ev(LOG_INFO, "results.forgotten", kv_int("results", results),
                   kv_int("windows", windows));
    } while (windows == 1000 || results == 1000);
    return OK;
}

static rc ask_balances(struct cx *cx, struct beat *b)
{
    return for_each_provider(cx, b, "provider.balance");
}

static rc import_catalogues(struct cx *cx, struct beat *b)
{
    return for_each_provider(cx, b, "provider.catalogue");
}

static rc prune(struct cx *cx, struct beat *b)
{
    int64_t before = clock_ms() - b->settings->retention_done;
    struct retention_counts sum = {0};
    bool more = true;

    while (more) {
        struct retention_counts c = {0};

        try(retention_prune(cx, b->db, before, PRUNE_BATCH, &c, &more));
        sum.jobs += c.jobs;
        sum.attempts += c.attempts;
        sum.dead_letters += c.dead_letters;
        sum.events += c.events;
        sum.firings += c.firings;
        sum.keys += c.keys;
        sum.requests += c.requests;
        sum.refusals += c.refusals;
        sum.workflows += c.workflows;
        if (more)
            try(fiber_sleep(cx, PRUNE_NAP_MS));
    }
    log_ev(LOG_INFO, "retention.pruned", kv_int("jobs", sum.jobs), kv_int("attempts", sum.attempts),
           kv_int("dead_letters", sum.dead_letters), kv_int("events", sum.events),
           kv_int("firings", sum.firings), kv_int("keys", sum.keys),
           kv_int("requests", sum.requests), kv_int("refusals", sum.refusals),
           kv_int("workflows", sum.workflows));
    return OK;
}

#define MINUTE ((int64_t)60000)
#define SECOND ((int64_t)1000)

static struct duty {
    const char *task, *name; /* of the schedule */
    rc (*run)(struct cx *cx, struct beat *b);
    int64_t every_ms;
    const char *cron;
    int64_t timeout_ms;
    struct fiber *fiber; /* while it runs */
} duties[] = {
    {"beat.agents", "agent-sweep", sweep_agents, 5 * SECOND, NULL, MINUTE, NULL},
    {"beat.balances", "provider-balances", ask_balances, 10 * MINUTE, NULL, 5 * MINUTE, NULL},
    {"beat.catalogues", "provider-catalogues", import_catalogues, 0, "20 */6 * * *", 5 * MINUTE,
     NULL},
    {"beat.expiry", "job-expiry", expire, 15 * SECOND, NULL, MINUTE, NULL},
    {"beat.history", "history-partitions", make_partitions, 0, "10 3 * * *", 5 * MINUTE, NULL},
    {"beat.orders", "order-sweep", sweep_orders, 5 * MINUTE, NULL, 5 * MINUTE, NULL},
    {"beat.reconcile", "reconcile", reconcile, MINUTE / 2, NULL, 5 * MINUTE, NULL},
    {"beat.requests", "request-sweep", sweep_requests, MINUTE, NULL, 5 * MINUTE, NULL},
    {"beat.results", "results", forget, MINUTE, NULL, 5 * MINUTE, NULL},
    {"beat.retention", "retention", prune, 0, "40 * * * *", 60 * MINUTE, NULL},
};

rc duties_ensure(struct cx *cx, struct beat *b)
{
    for (size_t i = 0; i < COUNT(duties); i++)
        try(schedule_ensure(cx, b->db,
                            &(struct schedule){
                                .name = duties[i].name,
                                .task = duties[i].task,
                                .priority = JOB_PRIORITY,
                                .cron = duties[i].cron,
                                .every_ms = duties[i].every_ms,
                                .enabled = true,
                                .misfire = "once",
                            }));
    return OK;
}

static char *errors[COUNT(duties)]; /* of its last run; NULL: none */

static void duty_ended(struct cx *cx, const struct duty *d, rc r)
{
    char **error = &errors[d - duties];

    if (r == E_CANCELLED)
        return;
    free(*error);
    *error = r == OK ? NULL : xstrdup(cx_words(cx, r));
}

void duties_print(struct buf *out)
{
    for (size_t i = 0; i < COUNT(duties); i++) {
        buf_printf(out, "%s{\"name\":\"%s\",\"error\":", i ? "," : ",\"duties\":[", duties[i].task);
        if (errors[i])
            buf_json_str(out, errors[i]);
        else
            buf_puts(out, "null");
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

struct start {
    struct beat *b;
    struct duty *d;
    int64_t delay_ms;
};

static rc duty_run(struct cx *cx, struct start *s)
{
    try(fiber_sleep(cx, s->delay_ms));
    return s->d->run(cx, s->b);
}

static rc duty_fiber(struct cx *cx, void *arg)
{
    struct start s = *(struct start *)arg;
    int64_t began = clock_mono_ms();
    rc r;

    freep(&arg);
    r = duty_run(cx, &s);
    duty_ended(cx, s.d, r);
    if (r != OK && r != E_CANCELLED) /* it comes again with its schedule */
        log_fail(LOG_WARN, "duty.failed", cx, r, kv_str("duty", s.d->task),
                 kv_int("took_ms", clock_mono_ms() - began));
    else
        log_ev(LOG_DEBUG, "duty.done", kv_str("duty", s.d->task),
               kv_int("took_ms", clock_mono_ms() - began));
    if (s.d->fiber == cx->fiber)
        s.d->fiber = NULL;
    return OK;
}

void duty_start(struct beat *b, const char *task, int64_t delay_ms)
{
    struct duty *d = NULL;
    struct start *s;

    for (size_t i = 0; i < COUNT(duties); i++)
        if (!strcmp(duties[i].task, task))
            d = &duties[i];
    if (!d) {
        log_ev(LOG_ERROR, "duty.unknown", kv_str("duty", task));
        return;
    }
    if (d->fiber) {
        log_ev(LOG_WARN, "duty.still_running", kv_str("duty", task));
        return;
    }
    s = xmalloc(sizeof(*s));
    *s = (struct start){b, d, delay_ms};
    d->fiber =
        fiber_spawn(&(struct fiber_opts){.name = d->task, .timeout_ms = d->timeout_ms + delay_ms},
                    duty_fiber, s);
    fiber_detach(d->fiber);
}

void duties_cancel(void)
{
    for (size_t i = 0; i < COUNT(duties); i++) {
        if (duties[i].fiber)
            fiber_cancel(TAKE_PTR(duties[i].fiber));
        freep(&errors[i]);
        errors[i] = NULL;
    }
}

/* A Redis that was away may be a replica that took over, and lack what was pushed last: looked for as
 * soon as that is old enough to be missed, not only with the next round. */
static void heed_reconnection(struct beat *b, uint64_t *seen)
{
    uint64_t now = redis_generation(b->redis);

    if (*seen && now != *seen && leader_holds(b->leader))
        duty_start(b, "beat.reconcile", RECONCILE_AGE_MS);
    *seen = now;
}

/* A bound that cannot be looked at is looked at again with the next epoch: until then mw_enqueue goes by what was seen last. */
static rc rooms_note(struct cx *cx, struct beat *b)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, ROOMS_MS);
    rc r = engine_rooms_note(cx, b->engine);

    if (r == OK || r == E_CANCELLED)
        return r;
    log_fail(LOG_WARN, "queue.room_unknown", cx, r,
             kv_int("retry_in_ms", b->settings->epoch_every));
    return OK;
}

rc epoch_run(struct cx *cx, void *arg)
{
    struct beat *b = arg;
    bool ill = false;
    uint64_t seen = 0;

    for (;;) {
        rc r;
        {
            _cleanup_(cx_deadline_restore) struct cx_deadline d =
                cx_deadline_within(cx, MAX(b->settings->epoch_every, EPOCH_MS));

            r = leader_holds(b->leader) ? engine_epoch_advance(cx, b->engine) : OK;
        }
        if (r == OK && leader_holds(b->leader))
            r = rooms_note(cx, b);
        if (r == E_CANCELLED)
            return r;
        if (r != OK && !ill)
            log_fail(LOG_WARN, "epoch.failed", cx, r,
                     kv_int("retry_in_ms", b->settings->epoch_every));
        else if (r == OK && ill)
            log_ev(LOG_INFO, "epoch.advances_again");
        ill = r != OK;
        if (r == OK)
            heed_reconnection(b, &seen);
        try(fiber_sleep(cx, b->settings->epoch_every));
    }
}

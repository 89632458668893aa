/* main.c - mihwar-beat: starts by the clock what must be started, and mends what was left lying.
 *
 *   leader.c    one of several beats leads
 *     pusher.c    tells Redis what was committed by SQL
 *     firing.c    fires schedules when they are due      misfire.c   what is made up for
 *     duties.c    sweeps, reconcile, retention, the epoch
 *   presence.c  it is in the register of processes
 *
 * SIGTERM: duties are cancelled, the office is given up, so that another beat leads at once.
 * SIGHUP: time zones, and the settings that may change, are read again. */
#include "base/log.h"
#include "base/program.h"
#include "beat/beat.h"
#include "domain/clock/tz.h"
#include "pg/migrate.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "rt/supervisor.h"
#include <stdlib.h>

#define RESIGN_MS 2000

struct program {
    struct settings settings;
    struct beat beat;
    struct fiber *main;
};

static void on_schedules(const char *payload, void *arg)
{
    (void)payload;
    firing_wake(arg);
}

static void on_gap(void *arg)
{
    firing_wake(arg);
}

static void on_outbox(const char *payload, void *arg)
{
    (void)payload;
    pusher_wake(arg);
}

static void on_outbox_gap(void *arg)
{
    pusher_wake(arg);
}

static rc ensure(struct cx *cx, struct beat *b)
{
    rc r;

    while ((r = duties_ensure(cx, b)) != OK && r != E_CANCELLED) {
        log_fail(LOG_WARN, "duties.not_written", cx, r, kv_int("retry_in_ms", 1000));
        try(fiber_sleep(cx, 1000));
    }
    return r;
}

/* While we lead. Ends only when it is cancelled. */
static rc lead(struct cx *cx, void *arg)
{
    struct beat *b = arg;
    struct fiber *epoch = fiber_spawn(&(struct fiber_opts){.name = "beat.epoch"}, epoch_run, b);
    struct fiber *pusher = fiber_spawn(&(struct fiber_opts){.name = "beat.pusher"}, pusher_run, b);
    struct pg_listen *listen = pg_listen(b->db, "mihwar_schedules", on_schedules, on_gap, b);
    struct pg_listen *outbox = pg_listen(b->db, "mihwar_outbox", on_outbox, on_outbox_gap, b);
    rc r = ensure(cx, b);

    if (r == OK)
        r = firing_run(cx, b);
    pg_listen_free(listen);
    pg_listen_free(outbox);
    fiber_cancel(pusher);
    fiber_detach(pusher);
    fiber_cancel(epoch);
    fiber_detach(epoch);
    duties_cancel();
    return r;
}

static rc leader_main(struct cx *cx, void *arg)
{
    struct program *p = arg;

    return leader_run(cx, p->beat.leader);
}

static rc stop(struct cx *cx, void *arg)
{
    struct program *p = arg;
    rc r;

    fiber_cancel(p->main);
    r = fiber_join(cx, TAKE_PTR(p->main), NULL);
    if (r == OK)
        r = leader_resign(cx, p->beat.leader);
    if (r != OK) /* then it ends by itself, a lease later */
        log_fail(LOG_WARN, "leader.cannot_resign", cx, r);
    log_ev(LOG_INFO, "beat.stopped");
    fiber_cancel_all();
    loop_stop();
    return OK;
}

static void on_stop(void *arg)
{
    fiber_detach(
        fiber_spawn(&(struct fiber_opts){.name = "beat.stop", .timeout_ms = RESIGN_MS}, stop, arg));
}

/* What is read anew at each use. */
static bool may_change(const char *name)
{
    return setting_in(name, (const char *const[]){"agent_cooldown", "agent_cooldown_after",
                                                  "epoch_every", "log_format", "log_level",
                                                  "retention_done", "sweep_min_age", NULL});
}

/* Zones are read again: the tz database may have been updated. Nobody holds one across a park. */
static void on_reload(void *arg)
{
    struct program *p = arg;

    program_reread(&p->settings, may_change);
    tz_forget();
    firing_wake(&p->beat);
}

static rc open_stores(struct cx *cx, struct program *p)
{
    struct beat *b = &p->beat;

    b->settings = &p->settings;
    try(redis_new(cx, p->settings.redis_url, &b->redis));
    try(pg_from_settings(cx, &p->settings, &b->db));
    b->engine = engine_new(b->redis, b->db);
    b->leader = leader_new(&(struct leader_opts){
        .db = b->db, .role = "beat", .lease_ms = p->settings.beat_lease, .lead = lead, .arg = b});
    return OK;
}

static void close_stores(struct beat *b)
{
    b->leader = leader_free(b->leader);
    b->engine = engine_free(b->engine);
    b->db = pg_free(b->db);
    b->redis = redis_free(b->redis);
    tz_forget();
}

static int beat_main(int index, void *arg)
{
    struct program *p = arg;
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("beat");
    rc r = loop_init(&cx);

    if (r == OK)
        r = open_stores(&cx, p);
    if (r != OK) {
        log_fail(LOG_ERROR, "beat.cannot_start", &cx, r);
        return error_info(r)->exit_status;
    }
    child_signals(on_stop, on_reload, p);
    p->main = fiber_spawn(&(struct fiber_opts){.name = "beat.leader"}, leader_main, p);
    fiber_detach(
        fiber_spawn(&(struct fiber_opts){.name = "beat.presence"}, presence_run, &p->beat));
    log_ev(LOG_INFO, "beat.started", kv_str("name", leader_name(p->beat.leader)));
    loop_run();

    close_stores(&p->beat);
    loop_free();
    return 0;
}

static rc check(struct cx *cx, const struct settings *s)
{
    return pg_check_settings(cx, s);
}

int main(int argc, char **argv)
{
    struct program p = {0};
    int status = program_begin(argc, argv, "mihwar-beat", "starts what is due by the clock",
                               &p.settings, check);

    if (status >= 0)
        return status;
    status = migrate_gate(p.settings.database_url, "mihwar-beat");
    if (status == 0)
        status = supervisor_run(&(struct supervisor_opts){.name = "beat",
                                                          .grace_ms = p.settings.shutdown_grace,
                                                          .child_main = beat_main,
                                                          .arg = &p});
    settings_release(&p.settings);
    return status;
}

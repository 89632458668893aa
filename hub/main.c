/* main.c - mihwar-hub: the front end. A parent that watches, children that listen on one port
 * (SO_REUSEPORT), at each of two doors.
 *
 *   parent: settings, metrics, addresses  --fork-->  child: loop, stores, doors, a fiber a request
 *
 * SIGHUP: the doors read their certificates anew (door.h), and the settings that may change are read again.
 * SIGTERM: no more connections, requests under way are answered, then the child ends
 * (shutdown_grace at the latest). */
#include "base/clock.h"
#include "base/log.h"
#include "base/program.h"
#include "domain/access/security_events.h"
#include "hub/api/api.h"
#include "hub/credentials.h"
#include "hub/forwarded.h"
#include "hub/gather.h"
#include "hub/key_usage.h"
#include "hub/limiter.h"
#include "hub/metrics.h"
#include "hub/realtime/agent_sessions.h"
#include "hub/realtime/order_feed.h"
#include "hub/refusals.h"
#include "hub/server.h"
#include "pg/migrate.h"
#include "queue/await.h"
#include "rt/http.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include "rt/spans.h"
#include "rt/supervisor.h"
#include "secure/seal.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STUCK_MS    30000 /* a child whose loop does not come round for so long is ended */
#define SOURCES_MAX 16384 /* addresses that were refused lately */
#define CALLERS_MAX 16384 /* prefixes and identities */

struct program {
    struct settings settings;
    struct metrics *metrics;
    struct door_address at[DOOR_KINDS];
};

/* ------------------------------------------------------------------ a child */

static rc write_port_file(struct cx *cx, const char *setting, const char *path, int port)
{
    _cleanup_(freep) char *next = xasprintf("%s.next", path);
    FILE *f = fopen(next, "we");

    if (!f)
        return fail(cx, OS, "%s: %s cannot be written: %s", setting, next, strerror(errno));
    fprintf(f, "%d\n", port);
    if (fclose(f) != 0 || rename(next, path) != 0)
        return fail(cx, OS, "%s: %s cannot be written: %s", setting, path, strerror(errno));
    return OK;
}

static rc write_port_files(struct cx *cx, const struct program *p)
{
    const struct settings *s = &p->settings;

    if (*s->port_file)
        try(write_port_file(cx, "port_file", s->port_file, p->at[DOOR_WEB].port));
    if (*s->mtls_port_file && p->at[DOOR_MTLS].fd >= 0)
        try(write_port_file(cx, "mtls_port_file", s->mtls_port_file, p->at[DOOR_MTLS].port));
    return OK;
}

/* The last second's, while there is time. */
static void tell_refusals(struct cx *cx, struct hub *hub)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d =
        cx_deadline_within(cx, hub->settings->shutdown_grace / 10);
    rc r = refusals_flush(cx, hub->refusals);

    if (r != OK)
        log_fail(LOG_WARN, "refusals.lost", cx, r);
}

static rc drain(struct cx *cx, void *arg)
{
    struct hub *hub = arg;
    /* the supervisor kills at the end of the grace: leave some of it for ending what is cut off */
    int64_t grace = hub->settings->shutdown_grace * 8 / 10;
    int64_t end = clock_mono_ms() + grace;
    rc r;

    hub->draining = true;
    server_stop(hub->server);
    order_feed_wake(hub->feed);
    await_stop(hub->await);
    agent_sessions_drain(cx, hub->agents, grace);
    r = server_drained(cx, hub->server, MAX(end - clock_mono_ms(), (int64_t)1));
    log_ev(r == OK ? LOG_INFO : LOG_WARN, "hub.drained",
           kv_int("cut_off", (int64_t)server_in_flight(hub->server)));
    gather_stop(cx, hub->gather);
    gather_stop(cx, hub->gather_requests);
    tell_refusals(cx, hub);
    fiber_cancel_all();
    loop_stop();
    return OK;
}

static void on_stop(void *arg)
{
    fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "hub.drain"}, drain, arg));
}

/* What is read anew at each use; the rest is in the doors and memories that a child made at its start. */
static bool may_change(const char *name)
{
    return setting_in(name, (const char *const[]){"agent_heartbeat", "log_format", "log_level",
                                                  "request_timeout", "shutdown_grace", NULL});
}

static void on_reload(void *arg)
{
    struct hub *hub = arg;

    program_reread((struct settings *)(uintptr_t)hub->settings, may_change);
    server_reload(hub->server);
}

static rc open_stores(struct cx *cx, struct hub *hub)
{
    const struct settings *s = hub->settings;

    try(seal_keys_load(cx, s->seal_keys, &hub->keys));
    try(redis_new(cx, s->redis_url, &hub->redis));
    try(pg_from_settings(cx, s, &hub->db));
    hub->engine = engine_new(hub->redis, hub->db);
    hub->await = await_new(hub->engine);
    try(mask_new(cx, s->history_mask, &hub->mask));
    hub->end_rules = (struct end_rules){.mask = hub->mask,
                                        .cooldown_after = (int)s->agent_cooldown_after,
                                        .cooldown_ms = s->agent_cooldown};
    hub->credentials = credentials_new(hub->db);
    hub->usage = key_usage_new(hub->db);
    hub->sources = limiter_new(s->refusals_burst, s->refusals_rate, SOURCES_MAX);
    hub->callers = limiter_new(s->refusals_burst, s->refusals_rate, CALLERS_MAX);
    hub->refusals = refusals_new(hub->db, hub->metrics, security_events_add);
    hub->feed = order_feed_new(hub->db);
    id_new(hub->instance_id);
    return agent_sessions_new(cx, hub, &hub->agents);
}

static void close_stores(struct hub *hub)
{
    hub->feed = order_feed_free(hub->feed);
    hub->refusals = refusals_free(hub->refusals);
    hub->callers = limiter_free(hub->callers);
    hub->sources = limiter_free(hub->sources);
    hub->usage = key_usage_free(hub->usage);
    hub->mask = mask_free(hub->mask);
    hub->credentials = credentials_free(hub->credentials);
    hub->await = await_free(hub->await);
    hub->engine = engine_free(hub->engine);
    hub->db = pg_free(hub->db);
    hub->redis = redis_free(hub->redis);
    hub->keys = seal_keys_free(hub->keys);
}

static void open_gathers(struct hub *hub)
{
    hub->gather = gather_new(hub, &gather_orders);
    hub->gather_requests = gather_new(hub, &gather_requests);
}

static void count_spans(int64_t sent, int64_t dropped, void *arg)
{
    metric_add(arg, METRIC_SPANS_SENT, sent);
    metric_add(arg, METRIC_SPANS_DROPPED, dropped);
}

static int child_main(int index, void *arg)
{
    struct program *p = arg;
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("hub");
    struct hub hub = {.settings = &p->settings, .metrics = p->metrics, .index = index};
    rc r;

    metrics_child(p->metrics, index);
    child_raise_files((long)p->settings.hub_connections_max + 512);
    loop_never_forks();
    loop_serves_many();
    r = loop_init(&cx);
    if (r == OK && *p->settings.otlp_url) {
        http_init(/* max_host_connections= */ 1);
        spans_init(p->settings.otlp_url, "mihwar-hub", p->settings.trace_sample, count_spans,
                   p->metrics);
    }
    if (r == OK)
        r = open_stores(&cx, &hub);
    if (r == OK)
        open_gathers(&hub);
    if (r == OK)
        r = server_open(&cx, &hub, p->at, &hub.server);
    if (r == OK && index == 0)
        r = write_port_files(&cx, p);
    if (r != OK) {
        log_fail(LOG_ERROR, "hub.cannot_start", &cx, r);
        return error_info(r)->exit_status;
    }
    child_signals(on_stop, on_reload, &hub);
    log_ev(LOG_INFO, "hub.listening", kv_int("port", p->at[DOOR_WEB].port),
           kv_int("mtls_port", p->at[DOOR_MTLS].port), kv_int("child", index));
    loop_run();

    server_flush(hub.server);
    spans_free();
    hub.agents = agent_sessions_free(hub.agents); /* its connections are the server's */
    hub.server = server_free(hub.server);
    hub.gather = gather_free(hub.gather);
    hub.gather_requests = gather_free(hub.gather_requests);
    close_stores(&hub);
    http_free();
    offload_free();
    loop_free();
    return 0;
}

/* ------------------------------------------------------------------ the parent */

static rc check_settings(struct cx *cx, const struct settings *s)
{
    struct seal_keys *keys = NULL;
    struct mask *mask;

    try(pg_check_settings(cx, s));
    if (!*s->seal_keys)
        return fail(cx, CONFIG, "seal_keys is not set; it opens PINs and provider credentials");
    try(seal_keys_load(cx, s->seal_keys, &keys));
    seal_keys_free(keys);
    try(forwarded_check(cx, s->trusted_proxies));
    try(mask_new(cx, s->history_mask, &mask));
    mask_free(mask);
    try(door_check(cx, s, DOOR_WEB));
    return door_check(cx, s, DOOR_MTLS);
}

/* The parent's own: how long it waits for a drain, and what it logs. */
static enum reload on_parent_reload(void *arg)
{
    struct program *p = arg;

    if (program_reread(&p->settings, may_change))
        supervisor_retime(p->settings.shutdown_grace, STUCK_MS);
    return RELOAD_PASS; /* certificates, in any case */
}

/* A process is worth a processor's work, and PostgreSQL needs as much for what it is given: two processes on two
 * processors would only halve the batches. */
static int processes(const struct settings *s)
{
    cpu_set_t mine;

    if (s->hub_processes)
        return (int)s->hub_processes;
    return sched_getaffinity(0, sizeof mine, &mine) == 0 ? MAX(MIN(CPU_COUNT(&mine) / 2, 64), 1)
                                                         : 1;
}

int main(int argc, char **argv)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("hub");
    struct program p = {.at = {{.fd = -1}, {.fd = -1}}};
    int status =
        program_begin(argc, argv, "mihwar-hub", "takes requests over HTTP and answers at once",
                      &p.settings, check_settings);
    rc r;

    if (status >= 0)
        return status;
    status = migrate_gate(p.settings.database_url, "mihwar-hub");
    if (status == 0) {
        p.metrics = metrics_new();
        if (*p.settings.otlp_url)
            http_global_init(); /* curl's TLS: a megabyte that nobody else here asks for */
        r = server_reserve(&cx, &p.settings, p.at);
        if (r == OK) {
            status = supervisor_run(&(struct supervisor_opts){
                .name = "hub",
                .children = processes(&p.settings),
                .grace_ms = p.settings.shutdown_grace,
                .stuck_ms = STUCK_MS,
                .child_main = child_main,
                .arg = &p,
                .on_reload = on_parent_reload,
            });
        } else {
            fprintf(stderr, "mihwar-hub: %s\n", cx_words(&cx, r));
            status = error_info(r)->exit_status;
        }
        metrics_free(p.metrics);
    }
    for (size_t i = 0; i < DOOR_KINDS; i++)
        closep(&p.at[i].fd);
    settings_release(&p.settings);
    return status;
}

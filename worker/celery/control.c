/* control.c - the remote control: `celery inspect …`, `celery control …`, Flower.
 *
 *   subscription --on_push--> inbox --> one fiber: a row of `methods` each --> answer
 *
 * shutdown ends this worker's part in Celery (it drains and goes offline); the process has other work, and stays. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "celery/pidbox.h"
#include "worker/celery/consumer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SHOWN_MAX  100 /* of the schedule */
#define ANSWER_MAX MiB(4)

typedef rc (*method_fn)(struct cx *cx, struct consumer *c, const struct celery_request *q,
                        struct buf *b);

/* ---------------------------------------------------------------- what is aboard */

static void put_request(struct consumer *c, struct buf *b, const struct celery_message *m,
                        double started, bool acked, const char *queue)
{
    buf_puts(b, "{\"id\":");
    buf_json_str(b, m->id);
    buf_json_field(b, "name", m->task);
    buf_puts(b, ",\"args\":");
    raw_put(b, m->args);
    buf_puts(b, ",\"kwargs\":");
    raw_put(b, m->kwargs);
    buf_json_field(b, "type", m->task);
    buf_json_field(b, "hostname", c->node);
    if (started > 0)
        buf_printf(b, ",\"time_start\":%.3f", started);
    else
        buf_puts(b, ",\"time_start\":null");
    buf_printf(b,
               ",\"acknowledged\":%s,\"delivery_info\":{\"exchange\":", acked ? "true" : "false");
    buf_json_str(b, m->exchange ? m->exchange : "");
    buf_json_field(b, "routing_key", m->routing_key ? m->routing_key : queue);
    buf_printf(b, ",\"priority\":%d,\"redelivered\":%s},\"worker_pid\":%d}", m->priority,
               m->redelivered ? "true" : "false", (int)getpid());
}

static rc list_runs(struct consumer *c, struct buf *b, bool begun)
{
    struct celery_run *r;
    size_t n = 0;

    buf_putc(b, '[');
    TAILQ_FOREACH(r, &c->runs, link)
    {
        if (r->unread != OK || r->begun != begun)
            continue;
        buf_puts(b, n++ ? "," : "");
        put_request(c, b, &r->m, r->started, false, c->lists.queues[r->list]);
    }
    buf_putc(b, ']');
    return OK;
}

static rc say_active(struct cx *cx, struct consumer *c, const struct celery_request *q,
                     struct buf *b)
{
    return list_runs(c, b, true);
}

static rc say_reserved(struct cx *cx, struct consumer *c, const struct celery_request *q,
                       struct buf *b)
{
    return list_runs(c, b, false);
}

static rc say_scheduled(struct cx *cx, struct consumer *c, const struct celery_request *q,
                        struct buf *b)
{
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;
    size_t n = 0;

    try(redis_cmd(cx, c->celery->broker, &reply, "ZRANGE %s 0 %d WITHSCORES", c->claimer.schedule,
                  SHOWN_MAX - 1));
    buf_putc(b, '[');
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        const char *text = strchr(reply->element[i]->str, '\n');
        struct celery_message m;
        char eta[40];
        if (!text || celery_message_read(cx, text + 1, strlen(text + 1), &m) != OK)
            continue;
        buf_printf(b, "%s{\"eta\":\"%s\",\"priority\":6,\"request\":", n++ ? "," : "",
                   celery_time((int64_t)(strtod(reply->element[i + 1]->str, NULL) * 1000), eta));
        put_request(c, b, &m, 0, true, "");
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
    return OK;
}

static rc say_query(struct cx *cx, struct consumer *c, const struct celery_request *q,
                    struct buf *b)
{
    struct raw ids = raw_get(q->arguments, "ids"), at = {0};
    size_t n = 0;

    buf_putc(b, '{');
    while (raw_is_string(ids) ? !at.n : raw_next(ids, &at)) {
        if (raw_is_string(ids))
            at = ids;
        const char *id = raw_str(cx, at);
        struct celery_run *r;
        TAILQ_FOREACH(r, &c->runs, link)
        {
            if (r->unread != OK || !str_eq(id, r->m.id))
                continue;
            buf_puts(b, n++ ? "," : "");
            buf_json_str(b, id);
            buf_printf(b, ":[\"%s\",", r->begun ? "active" : "reserved");
            put_request(c, b, &r->m, r->started, false, c->lists.queues[r->list]);
            buf_putc(b, ']');
        }
    }
    buf_putc(b, '}');
    return OK;
}

/* ---------------------------------------------------------------- what we are */

static rc say_ping(struct cx *cx, struct consumer *c, const struct celery_request *q, struct buf *b)
{
    buf_puts(b, "{\"ok\":\"pong\"}");
    return OK;
}

static rc say_registered(struct cx *cx, struct consumer *c, const struct celery_request *q,
                         struct buf *b)
{
    buf_putc(b, '[');
    for (size_t i = 0; i < registry_count(); i++) {
        buf_puts(b, i ? "," : "");
        buf_json_str(b, registry_at(i)->name);
    }
    buf_putc(b, ']');
    return OK;
}

static rc say_queues(struct cx *cx, struct consumer *c, const struct celery_request *q,
                     struct buf *b)
{
    size_t n = 0;

    buf_putc(b, '[');
    for (size_t i = 0; i < c->nqueues; i++) {
        if (c->cancelled[i])
            continue;
        buf_puts(b, n++ ? ",{\"name\":" : "{\"name\":");
        buf_json_str(b, c->queues[i]);
        buf_puts(b, ",\"exchange\":{\"name\":");
        buf_json_str(b, c->queues[i]);
        buf_puts(b, ",\"type\":\"direct\",\"arguments\":null,\"durable\":true,\"passive\":false,"
                    "\"auto_delete\":false,"
                    "\"delivery_mode\":null,\"no_declare\":false},\"routing_key\":");
        buf_json_str(b, c->queues[i]);
        buf_puts(b, ",\"queue_arguments\":null,\"binding_arguments\":null,\"consumer_arguments\":"
                    "null,\"durable\":true,"
                    "\"exclusive\":false,\"auto_delete\":false,\"no_ack\":false,\"alias\":null,"
                    "\"bindings\":[],"
                    "\"no_declare\":null,\"expires\":null,\"message_ttl\":null,\"max_length\":null,"
                    "\"max_length_bytes\":null,\"max_priority\":null}");
    }
    buf_putc(b, ']');
    return OK;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static rc say_stats(struct cx *cx, struct consumer *c, const struct celery_request *q,
                    struct buf *b)
{
    struct rusage u = {0};
    size_t n = 0;

    getrusage(RUSAGE_SELF, &u);
    buf_puts(b, "{\"total\":{");
    for (size_t i = 0; i < registry_count(); i++) {
        if (c->counts[i] == 0)
            continue;
        buf_puts(b, n++ ? "," : "");
        buf_json_str(b, registry_at(i)->name);
        buf_printf(b, ":%lld", (long long)c->counts[i]);
    }
    buf_printf(b, "},\"pid\":%d,\"clock\":\"%lld\",\"uptime\":%lld,\"prefetch_count\":%zu,",
               (int)getpid(), (long long)c->clock.now,
               (long long)(clock_ms() - c->started_ms) / 1000, c->limit);
    buf_printf(b,
               "\"pool\":{\"implementation\":\"mihwar\",\"max-concurrency\":%zu,\"processes\":[%d],"
               "\"max-tasks-per-child\":\"N/"
               "A\",\"put-guarded-by-semaphore\":false,\"timeouts\":[0,0],\"writes\":{}},",
               c->limit, (int)getpid());
    buf_printf(
        b,
        "\"broker\":{\"hostname\":\"\",\"userid\":null,\"virtual_host\":\"%d\",\"port\":null,"
        "\"insist\":false,\"ssl\":false,\"transport\":\"redis\",\"connect_timeout\":4,"
        "\"transport_options\":{},\"login_method\":null,\"uri_prefix\":null,\"heartbeat\":0,"
        "\"failover_strategy\":\"round-robin\",\"alternates\":[]},",
        c->celery->names.db);
    buf_printf(b,
               "\"rusage\":{\"utime\":%.6f,\"stime\":%.6f,\"maxrss\":%ld,\"ixrss\":0,\"idrss\":0,"
               "\"isrss\":0,"
               "\"minflt\":%ld,\"majflt\":%ld,\"nswap\":0,\"inblock\":%ld,\"oublock\":%ld,"
               "\"msgsnd\":0,\"msgrcv\":0,"
               "\"nsignals\":0,\"nvcsw\":%ld,\"nivcsw\":%ld}}",
               seconds(u.ru_utime), seconds(u.ru_stime), u.ru_maxrss, u.ru_minflt, u.ru_majflt,
               u.ru_inblock, u.ru_oublock, u.ru_nvcsw, u.ru_nivcsw);
    return OK;
}

static rc say_conf(struct cx *cx, struct consumer *c, const struct celery_request *q, struct buf *b)
{
    const struct settings *s = c->settings;

    buf_puts(b, "{\"accept_content\":[\"json\"],\"task_serializer\":\"json\",\"result_serializer\":"
                "\"json\","
                "\"task_default_queue\":\"celery\",\"enable_utc\":true,\"timezone\":\"UTC\",\"task_"
                "acks_late\":true");
    buf_printf(b, ",\"result_expires\":%lld,\"worker_concurrency\":%zu",
               (long long)s->celery_result_ttl / 1000, c->limit);
    buf_json_field(b, "celery_queues", s->celery_queues);
    buf_json_field(b, "celery_unknown", s->celery_unknown);
    buf_json_field(b, "celery_routes", s->celery_routes);
    buf_putc(b, '}');
    return OK;
}

static rc say_report(struct cx *cx, struct consumer *c, const struct celery_request *q,
                     struct buf *b)
{
    buf_puts(b, "{\"ok\":\"software -> mihwar:" MIHWAR_VERSION "\"}");
    return OK;
}

static rc say_clock(struct cx *cx, struct consumer *c, const struct celery_request *q,
                    struct buf *b)
{
    buf_printf(b, "{\"clock\":%lld}", (long long)c->clock.now);
    return OK;
}

static rc say_revoked(struct cx *cx, struct consumer *c, const struct celery_request *q,
                      struct buf *b)
{
    buf_putc(b, '[');
    for (size_t i = 0; i < c->revoked.n; i++) {
        buf_puts(b, i ? "," : "");
        buf_json_str(b, c->revoked.ids[i].id);
    }
    buf_putc(b, ']');
    return OK;
}

/* A worker that begins asks what is revoked, and tells what it knows. */
static rc say_hello(struct cx *cx, struct consumer *c, const struct celery_request *q,
                    struct buf *b)
{
    struct raw theirs = raw_get(q->arguments, "revoked"), at = {0}, name;

    if (str_eq(raw_str(cx, raw_get(q->arguments, "from_node")), c->node))
        return OK; /* nothing said: our own */
    while (raw_next_member(theirs, &name, &at)) {
        const char *id = raw_str(cx, name);
        if (id)
            revoked_add(&c->revoked, id, clock_ms());
    }
    buf_puts(b, "{\"revoked\":");
    revoked_json(&c->revoked, b);
    buf_printf(b, ",\"clock\":%lld}", (long long)c->clock.now);
    return OK;
}

/* ---------------------------------------------------------------- what is wished */

static void say(struct buf *b, const char *what, const char *text)
{
    buf_printf(b, "{\"%s\":", what);
    buf_json_str(b, text);
    buf_putc(b, '}');
}

static void terminate(struct consumer *c, const char *id)
{
    struct celery_run *r;

    TAILQ_FOREACH(r, &c->runs, link)
    {
        if (r->unread != OK || strcmp(r->m.id, id) != 0 || r->run.finishing)
            continue;
        log_ev(LOG_WARN, "celery.terminated", kv_str("task", r->m.task), kv_str("id", id));
        r->terminated = true;
        r->run.wished_away = true;
        if (!r->run.held)
            fiber_cancel(r->run.fiber);
    }
}

static rc revoke_one(struct cx *cx, struct consumer *c, struct raw which, bool ending)
{
    const char *id = raw_str(cx, which);

    if (!id || strlen(id) > CELERY_NAME_MAX)
        return OK;
    revoked_add(&c->revoked, id, clock_ms());
    if (ending)
        terminate(c, id);
    return revoked_keep(cx, c->celery, id);
}

static rc revoke_all(struct cx *cx, struct consumer *c, const struct celery_request *q,
                     struct buf *b, bool ending)
{
    struct raw ids = raw_get(q->arguments, "task_id"), at = {0};
    _cleanup_(buf_release) struct buf text = BUF(KiB(64));
    size_t n = 0;

    buf_puts(&text, "tasks ");
    if (raw_is_string(ids)) {
        try(revoke_one(cx, c, ids, ending));
        buf_puts(&text, raw_str(cx, ids));
    }
    while (raw_next(ids, &at)) {
        const char *id = raw_str(cx, at);
        try(revoke_one(cx, c, at, ending));
        buf_printf(&text, "%s%s", n++ ? ", " : "", id ? id : "?");
    }
    buf_puts(&text, " flagged as revoked");
    say(b, "ok", buf_str(&text));
    return OK;
}

static rc do_revoke(struct cx *cx, struct consumer *c, const struct celery_request *q,
                    struct buf *b)
{
    return revoke_all(cx, c, q, b, raw_true(raw_get(q->arguments, "terminate")));
}

static rc do_terminate(struct cx *cx, struct consumer *c, const struct celery_request *q,
                       struct buf *b)
{
    return revoke_all(cx, c, q, b, true);
}

static rc do_enable(struct cx *cx, struct consumer *c, const struct celery_request *q,
                    struct buf *b)
{
    say(b, "ok", c->events_on ? "task events already enabled" : "task events enabled");
    c->events_on = true;
    return OK;
}

static rc do_disable(struct cx *cx, struct consumer *c, const struct celery_request *q,
                     struct buf *b)
{
    say(b, "ok", c->events_on ? "task events disabled" : "task events already disabled");
    c->events_on = false;
    return OK;
}

static rc do_heartbeat(struct cx *cx, struct consumer *c, const struct celery_request *q,
                       struct buf *b)
{
    c->heart = true;
    fiber_wake(c->post);
    return OK; /* no answer, as in Celery */
}

static rc do_shutdown(struct cx *cx, struct consumer *c, const struct celery_request *q,
                      struct buf *b)
{
    log_ev(LOG_WARN, "celery.shutdown", kv_str("node", c->node));
    consumer_drain(c);
    return OK;
}

static rc set_queue(struct cx *cx, struct consumer *c, const struct celery_request *q,
                    struct buf *b, bool cancelled)
{
    const char *name = raw_str(cx, raw_get(q->arguments, "queue"));

    for (size_t i = 0; i < c->nqueues; i++) {
        if (!str_eq(c->queues[i], name))
            continue;
        c->cancelled[i] = cancelled;
        c->hot = true;
        if (c->pump)
            fiber_wake(c->pump);
        say(b, "ok",
            arena_printf(&cx->arena, cancelled ? "no longer consuming from %s" : "add consumer %s",
                         name));
        return OK;
    }
    say(b, "error", "only the queues of celery_queues can be cancelled and added again");
    return OK;
}

static rc do_cancel_queue(struct cx *cx, struct consumer *c, const struct celery_request *q,
                          struct buf *b)
{
    return set_queue(cx, c, q, b, true);
}

static rc do_add_queue(struct cx *cx, struct consumer *c, const struct celery_request *q,
                       struct buf *b)
{
    return set_queue(cx, c, q, b, false);
}

static rc cannot(struct cx *cx, struct consumer *c, const struct celery_request *q, struct buf *b)
{
    say(b, "error", "a Mihwar worker does not take that from the remote control; see its settings");
    return OK;
}

static const struct {
    const char *name;
    method_fn fn;
} methods[] = {
    {"active", say_active},
    {"active_queues", say_queues},
    {"add_consumer", do_add_queue},
    {"autoscale", cannot},
    {"cancel_consumer", do_cancel_queue},
    {"clock", say_clock},
    {"conf", say_conf},
    {"disable_events", do_disable},
    {"enable_events", do_enable},
    {"heartbeat", do_heartbeat},
    {"hello", say_hello},
    {"ping", say_ping},
    {"pool_grow", cannot},
    {"pool_restart", cannot},
    {"pool_shrink", cannot},
    {"query_task", say_query},
    {"rate_limit", cannot},
    {"registered", say_registered},
    {"report", say_report},
    {"reserved", say_reserved},
    {"revoke", do_revoke},
    {"revoked", say_revoked},
    {"scheduled", say_scheduled},
    {"shutdown", do_shutdown},
    {"stats", say_stats},
    {"terminate", do_terminate},
    {"time_limit", cannot},
};

/* ---------------------------------------------------------------- in and out */

static rc handle(struct cx *cx, struct consumer *c, const char *text, size_t n)
{
    _cleanup_(buf_release) struct buf b = BUF(ANSWER_MAX);
    struct celery_request q;

    try(celery_request_read(cx, text, n, c->node, &q));
    celery_clock_seen(&c->clock, q.clock);
    if (!q.mine || c->ended)
        return OK;
    for (size_t i = 0; i < COUNT(methods); i++) {
        if (strcmp(methods[i].name, q.method) != 0)
            continue;
        try(methods[i].fn(cx, c, &q, &b));
        if (!buf_ok(&b)) {
            buf_reset(&b);
            say(&b, "error", "the answer is too large");
        }
        return b.len ? celery_answer(cx, c->celery, &q, &c->clock, c->node, b.p, b.len) : OK;
    }
    log_ev(LOG_INFO, "celery.control_unknown", kv_str("method", q.method));
    return OK;
}

static void on_message(void *arg, const redisReply *reply)
{
    struct consumer *c = arg;
    const redisReply *text = reply->element[reply->elements - 1];
    uint32_t n = (uint32_t)text->len;

    if (text->type != REDIS_REPLY_STRING || c->inbox.len + n + sizeof n > c->inbox.max) {
        log_ev(LOG_WARN, "celery.control_dropped");
        return;
    }
    buf_append(&c->inbox, &n, sizeof n);
    buf_append(&c->inbox, text->str, n);
    fiber_wake(c->control);
}

static void on_connect(void *arg)
{
    struct consumer *c = arg;

    fiber_wake(c->control);
}

void consumer_listen(struct consumer *c)
{
    redis_on_push(c->sub, on_message, c);
    redis_on_connect(c->sub, on_connect, c);
}

static void handle_all(struct cx *cx, struct consumer *c)
{
    while (c->inbox.len > 0) {
        struct arena kept = cx->arena;
        uint32_t n;

        cx->arena = (struct arena){0};
        memcpy(&n, c->inbox.p, sizeof n);
        const char *text = arena_strndup(&cx->arena, c->inbox.p + sizeof n, n);
        buf_consume(&c->inbox, sizeof n + n);
        rc r = handle(cx, c, text, n);
        if (r != OK)
            log_fail(LOG_WARN, "celery.control_failed", cx, r);
        arena_release(&cx->arena);
        cx->arena = kept;
    }
}

rc consumer_control(struct cx *cx, void *arg)
{
    struct consumer *c = arg;
    uint64_t generation = 0;
    rc r = revoked_load(cx, &c->revoked, c->celery);

    if (r != OK)
        log_fail(LOG_WARN, "celery.revoked_not_loaded", cx, r);
    while (!c->ended) {
        if (!redis_connected(c->sub) || redis_generation(c->sub) != generation) {
            const char *binding =
                arena_printf(&cx->arena, "%s_kombu.binding.celery.pidbox", c->celery->names.prefix);
            const char *member = arena_printf(&cx->arena, "%s%s%s.celery.pidbox",
                                              c->celery->names.sep, c->celery->names.sep, c->node);
            r = redis_cmd(cx, c->sub, NULL, "PSUBSCRIBE %s",
                          celery_channel(cx, c->celery, "celery.pidbox", NULL));
            if (r == OK)
                r = redis_cmd(cx, c->celery->broker, NULL, "SADD %s %s", binding, member);
            if (r == E_CANCELLED)
                return r;
            if (r != OK) {
                log_fail(LOG_WARN, "celery.control_away", cx, r);
                try(fiber_sleep(cx, 1000));
                continue;
            }
            generation = redis_generation(c->sub);
        }
        handle_all(cx, c);
        if (c->inbox.len == 0)
            try(fiber_park(cx));
    }
    return OK;
}

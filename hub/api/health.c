/* health.c - for those who watch: alive, ready, numbers, the contract. */
#include "hub/api/api.h"
#include "hub/hub.h"
#include "hub/metrics.h"
#include "hub/openapi.h"
#include "pg/migrate.h"
#include "redis/redis.h"

#define CHECK_MS 2000

rc health_get(struct cx *cx, struct request *q)
{
    buf_puts(&q->out, "{\"status\":\"ok\"}");
    return reply_json(cx, q, 200);
}

/* One store's line. */
static bool print_check(struct cx *cx, struct request *q, const char *name, rc r)
{
    buf_printf(&q->out, "%s\"%s\":", q->out.p[q->out.len - 1] == '{' ? "" : ",", name);
    buf_json_str(&q->out, r == OK ? "ok" : cx_words(cx, r));
    return r == OK;
}

static rc ask_redis(struct cx *cx, struct hub *hub)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, CHECK_MS);

    return redis_cmd(cx, hub->redis, NULL, "PING");
}

static rc ask_postgres(struct cx *cx, struct hub *hub)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, CHECK_MS);

    return migrate_check(cx, hub->db);
}

/* Stores reachable, schema current, not on the way out. */
rc ready_get(struct cx *cx, struct request *q)
{
    bool ready = !q->hub->draining;

    buf_puts(&q->out, "{\"checks\":{");
    ready &= print_check(cx, q, "redis", ask_redis(cx, q->hub));
    ready &= print_check(cx, q, "postgresql", ask_postgres(cx, q->hub));
    buf_printf(&q->out, "},\"draining\":%s,\"status\":\"%s\"}", q->hub->draining ? "true" : "false",
               ready ? "ready" : "unavailable");
    if (!ready)
        reply_header(q, "Retry-After", "1");
    return reply_json(cx, q, ready ? 200 : 503);
}

static const struct {
    const char *name, *type, *help;
} queue_metrics[] = {
    {"mihwar_queue_ready", "gauge", "jobs that a worker may claim now"},
    {"mihwar_queue_leased", "gauge", "jobs that workers hold"},
    {"mihwar_queue_scheduled", "gauge", "jobs whose time has not come"},
    {"mihwar_queue_dead", "gauge", "dead letters"},
    {"mihwar_queue_done_total", "counter", "jobs completed"},
    {"mihwar_queue_retried_total", "counter", "attempts that will be tried again"},
    {"mihwar_queue_expired_total", "counter", "leases that ran out"},
    {"mihwar_queue_refused_total", "counter", "ends refused because the lease was lost"},
    {"mihwar_queue_oldest_age_seconds", "gauge", "age of the oldest ready job"},
    {"mihwar_queue_paused", "gauge", "1 while the queue is paused"},
};

static double queue_value(const struct queue_stats *s, size_t which)
{
    switch (which) {
    case 0:
        return (double)s->ready;
    case 1:
        return (double)s->leased;
    case 2:
        return (double)s->scheduled;
    case 3:
        return (double)s->dead;
    case 4:
        return (double)s->done;
    case 5:
        return (double)s->retried;
    case 6:
        return (double)s->expired;
    case 7:
        return (double)s->refused;
    case 8:
        return (double)s->oldest_age_ms / 1000.0;
    default:
        return s->paused;
    }
}

/* The hub's own numbers always; the queues' when the stores answer (mihwar_queues_known says whether). */
rc metrics_get(struct cx *cx, struct request *q)
{
    _cleanup_(cx_deadline_restore) struct cx_deadline d = cx_deadline_within(cx, CHECK_MS);
    struct queue_stats *s = NULL;
    size_t n = 0;
    rc r = engine_queues(cx, q->hub->engine, &s, &n);

    metrics_print(q->hub->metrics, &q->out);
    buf_printf(&q->out,
               "# HELP mihwar_queues_known 1 if the stores answered this scrape\n"
               "# TYPE mihwar_queues_known gauge\nmihwar_queues_known %d\n",
               r == OK);
    for (size_t m = 0; r == OK && m < COUNT(queue_metrics); m++) {
        buf_printf(&q->out, "# HELP %s %s\n# TYPE %s %s\n", queue_metrics[m].name,
                   queue_metrics[m].help, queue_metrics[m].name, queue_metrics[m].type);
        for (size_t i = 0; i < n; i++)
            buf_printf(&q->out, "%s{queue=\"%s\"} %g\n", queue_metrics[m].name, s[i].name,
                       queue_value(&s[i], m));
    }
    try(reply_json(cx, q, 200));
    q->content_type = "text/plain; version=0.0.4; charset=utf-8";
    return OK;
}

rc openapi_get(struct cx *cx, struct request *q)
{
    openapi_print(&q->out);
    return reply_json(cx, q, 200);
}

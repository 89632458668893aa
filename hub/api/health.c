/* health.c - for those who watch: alive, ready, the contract. */
#include "hub/api/api.h"
#include "hub/hub.h"
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

rc openapi_get(struct cx *cx, struct request *q)
{
    openapi_print(&q->out);
    return reply_json(cx, q, 200);
}

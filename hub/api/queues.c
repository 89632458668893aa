/* queues.c - what waits where, and the switches: pause, resume, drain, purge, policy. For operators'
 * keys: a queue serves all tenants. */
#include "domain/audit.h"
#include "hub/api/api.h"
#include "hub/hub.h"
#include "queue/shape/policy.h"
#include <string.h>

static void print_bound(struct buf *out, const char *name, int64_t bound)
{
    if (bound)
        buf_printf(out, ",\"%s\":%lld", name, (long long)bound);
    else
        buf_printf(out, ",\"%s\":null", name);
}

static void print_queue(struct buf *out, const struct queue_stats *s)
{
    buf_puts(out, "{\"name\":");
    buf_json_str(out, s->name);
    buf_printf(
        out,
        ",\"ready\":%lld,\"leased\":%lld,\"scheduled\":%lld,\"dead\":%lld,\"rate_per_s\":%.3f,"
        "\"oldest_age_ms\":%lld,\"paused\":%s,\"draining\":%s,\"held\":%lld,\"done\":%lld,"
        "\"retried\":%lld,\"expired\":%lld,"
        "\"refused\":%lld,\"shards\":%d,\"length\":%lld",
        (long long)s->ready, (long long)s->leased, (long long)s->scheduled, (long long)s->dead,
        s->rate_per_s, (long long)s->oldest_age_ms, s->paused ? "true" : "false",
        s->draining ? "true" : "false", (long long)s->held, (long long)s->done,
        (long long)s->retried, (long long)s->expired, (long long)s->refused, s->shards,
        (long long)s->length);
    if (s->max_bytes)
        buf_printf(out, ",\"bytes\":%lld", (long long)s->bytes);
    else
        buf_puts(out, ",\"bytes\":null");
    print_bound(out, "max_length", s->max_length);
    print_bound(out, "max_bytes", s->max_bytes);
    print_bound(out, "tenant_max_length", s->tenant_max_length);
    buf_putc(out, '}');
}

rc queues_list(struct cx *cx, struct request *q)
{
    struct queue_stats *s;
    size_t n;

    try(engine_queues(cx, q->hub->engine, &s, &n));
    buf_puts(&q->out, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&q->out, i ? "," : "");
        print_queue(&q->out, &s[i]);
    }
    buf_puts(&q->out, "],\"next\":null}");
    return reply_json(cx, q, 200);
}

/* A queue exists once it was used: switching one that nobody knows is a spelling mistake. */
static rc find_queue(struct cx *cx, struct request *q, struct queue_stats *ret)
{
    struct queue_stats *s;
    size_t n;

    try(engine_queues(cx, q->hub->engine, &s, &n));
    for (size_t i = 0; i < n; i++) {
        if (strcmp(s[i].name, q->params[0]) == 0) {
            *ret = s[i];
            return OK;
        }
    }
    return fail(cx, NOT_FOUND, "no job was ever put into a queue of this name");
}

static rc note(struct cx *cx, struct request *q, const char *action, const char *queue,
               const char *detail)
{
    return audit_note(cx, q->hub->db,
                      &(struct audit){.actor = request_actor(cx, q),
                                      .action = action,
                                      .object_type = "queue",
                                      .object_id = queue,
                                      .detail = detail});
}

static rc switch_queue(struct cx *cx, struct request *q, bool paused)
{
    struct queue_stats s;

    try(find_queue(cx, q, &s));
    try(engine_pause(cx, q->hub->engine, s.name, paused));
    try(note(cx, q, paused ? "queue.pause" : "queue.resume", s.name, NULL));
    s.paused = paused;
    s.draining &= paused;
    print_queue(&q->out, &s);
    return reply_json(cx, q, 200);
}

rc queues_pause(struct cx *cx, struct request *q)
{
    return switch_queue(cx, q, true);
}

rc queues_resume(struct cx *cx, struct request *q)
{
    return switch_queue(cx, q, false);
}

rc queues_drain(struct cx *cx, struct request *q)
{
    struct queue_stats s;

    try(find_queue(cx, q, &s));
    try(engine_drain(cx, q->hub->engine, s.name));
    try(note(cx, q, "queue.drain", s.name, NULL));
    s.draining = true;
    s.paused = false;
    print_queue(&q->out, &s);
    return reply_json(cx, q, 200);
}

static rc reply_setting(struct cx *cx, struct request *q)
{
    const char *name = q->params[0];
    struct queue_setting s;

    try(engine_setting(cx, q->hub->engine, name, &s));
    buf_puts(&q->out, "{\"name\":");
    buf_json_str(&q->out, name);
    buf_printf(&q->out, ",\"paused\":%s,\"draining\":%s,\"policy\":", s.paused ? "true" : "false",
               s.draining ? "true" : "false");
    queue_policy_write(&s.policy, &q->out);
    buf_putc(&q->out, '}');
    return reply_json(cx, q, 200);
}

rc queues_policy_get(struct cx *cx, struct request *q)
{
    return reply_setting(cx, q);
}

/* A queue may have its policy before its first job. */
rc queues_policy_put(struct cx *cx, struct request *q)
{
    _cleanup_(buf_release) struct buf text = BUF(KiB(256));
    struct queue_policy p;
    cJSON *body;

    try(request_body(cx, q, &body));
    try(queue_policy_read(cx, body, &p));
    try(engine_policy_set(cx, q->hub->engine, q->params[0], &p));
    queue_policy_write(&p, &text);
    try(note(cx, q, "queue.policy", q->params[0], buf_str(&text)));
    return reply_setting(cx, q);
}

rc queues_purge(struct cx *cx, struct request *q)
{
    struct queue_stats s;
    int64_t count = 0;

    try(find_queue(cx, q, &s));
    try(engine_purge(cx, q->hub->engine, s.name, &count));
    try(note(cx, q, "queue.purge", s.name,
             arena_printf(&cx->arena, "{\"jobs\":%lld}", (long long)count)));
    buf_printf(&q->out, "{\"name\":\"%s\",\"purged\":%lld}", s.name, (long long)count);
    return reply_json(cx, q, 200);
}

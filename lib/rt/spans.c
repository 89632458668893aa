/* spans.c - see spans.h.
 *
 * A span is printed when it ends, into one text of finished spans; the exporter takes the whole text.
 * So the queue is bounded in bytes, and a span costs no allocation of its own. */
#include "rt/spans.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/program.h"
#include "base/text.h"
#include "base/trace.h"
#include "rt/fiber.h"
#include "rt/http.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_MAX MiB(2)
#define ENOUGH    KiB(128) /* so much is sent at once, without waiting for the second to end */
#define EVERY_MS  1000
#define POST_MS   5000
#define LAST_MS   300 /* what is left when the process ends */
#define QUIET_MS  60000

static struct {
    char *url;
    char head[512]; /* {"resourceSpans":[{"resource":...,"scopeSpans":[{"scope":...,"spans":[ */
    int64_t percent;
    struct buf waiting;
    size_t nwaiting;
    struct fiber *fiber;
    bool asleep;
    void (*count)(int64_t sent, int64_t dropped, void *arg);
    void *arg;
    int64_t warned_mono_ms;
} spans;

bool spans_on(void)
{
    return spans.url != NULL;
}

void spans_root(struct cx *cx)
{
    bool fresh = !cx->trace[0];

    trace_start(cx);
    if (fresh && spans.url) {
        cx->sampled = (int64_t)random_below(100) < spans.percent;
        cx->span[0] = 0; /* the first span of ours has no parent */
    }
}

/* ---------------------------------------------------------------- a span */

void span_begin(struct cx *cx, struct span *s, enum span_kind kind, const char *name)
{
    unsigned char raw[8];

    s->live = spans.url && cx->sampled && cx->trace[0];
    if (!s->live)
        return;
    s->kind = kind;
    s->name = name;
    memcpy(s->parent, cx->span, sizeof s->parent);
    s->start_us = clock_us();
    random_bytes(raw, sizeof raw);
    raw[0] |= 1; /* never all zeros */
    hex_encode(raw, sizeof raw, cx->span);
}

static void put_facts(struct buf *b, const struct span_fact *f)
{
    bool first = true;

    buf_puts(b, ",\"attributes\":[");
    for (; f && f->name; f++) {
        if (!f->value)
            continue;
        buf_puts(b, first ? "{\"key\":" : ",{\"key\":");
        buf_json_str(b, f->name);
        buf_puts(b, ",\"value\":{\"stringValue\":");
        buf_json_str(b, utf8_valid(f->value, strlen(f->value)) ? f->value : "?");
        buf_puts(b, "}}");
        first = false;
    }
    buf_puts(b, "]");
}

static void drop(int64_t n, const char *why)
{
    spans.count(0, n, spans.arg);
    if (spans.warned_mono_ms && clock_mono_ms() - spans.warned_mono_ms < QUIET_MS)
        return;
    spans.warned_mono_ms = clock_mono_ms();
    log_ev(LOG_WARN, "spans.dropped", kv_int("spans", n), kv_str("why", why));
}

void span_end(struct cx *cx, struct span *s, bool ok, const struct span_fact *facts)
{
    if (!s->live)
        return;
    s->live = false;
    size_t before = spans.waiting.len;
    struct buf *b = &spans.waiting;
    buf_printf(b,
               "%s{\"traceId\":\"%s\",\"spanId\":\"%s\",\"parentSpanId\":\"%s\",\"kind\":%d,"
               "\"startTimeUnixNano\":\"%lld000\",\"endTimeUnixNano\":\"%lld000\",\"name\":",
               before ? "," : "", cx->trace, cx->span, s->parent, (int)s->kind,
               (long long)s->start_us, (long long)MAX(clock_us(), s->start_us));
    buf_json_str(b, s->name);
    put_facts(b, facts);
    buf_printf(b, ",\"status\":{\"code\":%d}}", ok ? 1 : 2);
    memcpy(cx->span, s->parent, sizeof cx->span);
    if (!buf_ok(b)) { /* the last one is cut off again */
        b->len = before;
        b->full = false;
        if (b->p)
            b->p[before] = 0;
        drop(1, "too many wait");
        return;
    }
    spans.nwaiting++;
    if (b->len > ENOUGH && spans.asleep)
        fiber_wake(spans.fiber);
}

/* ---------------------------------------------------------------- the exporter */

static void post(struct cx *cx, int64_t ms)
{
    _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d = cx_deadline_within(cx, ms);
    _cleanup_(buf_release) struct buf body = BUF(QUEUE_MAX + KiB(4));
    struct http_response r;
    int64_t n = (int64_t)spans.nwaiting;
    static const struct http_header json[] = {{"Content-Type", "application/json"}, {NULL, NULL}};

    buf_puts(&body, spans.head);
    buf_append(&body, buf_str(&spans.waiting), spans.waiting.len);
    buf_puts(&body, "]}]}]}");
    buf_reset(&spans.waiting);
    spans.nwaiting = 0;
    rc sent = http_call(cx,
                        &(struct http_request){.method = "POST",
                                               .url = spans.url,
                                               .headers = json,
                                               .body = body.p,
                                               .body_len = body.len,
                                               .connect_ms = ms,
                                               .total_ms = ms},
                        &r);
    bool taken = sent == OK && r.outcome == HTTP_ANSWERED && r.status / 100 == 2;
    if (taken)
        spans.count(n, 0, spans.arg);
    else
        drop(n, sent != OK                   ? cx_words(cx, sent)
                : r.outcome == HTTP_ANSWERED ? "the collector refused them"
                                             : r.why);
    http_response_release(&r);
}

static rc export_fiber(struct cx *cx, void *arg)
{
    rc r = OK;

    (void)arg;
    while (r == OK) {
        {
            _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
                cx_deadline_within(cx, EVERY_MS);
            spans.asleep = true;
            r = fiber_park(cx);
            spans.asleep = false;
            r = r == E_DEADLINE ? OK : r;
        }
        if (spans.nwaiting && r == OK)
            post(cx, POST_MS);
    }
    spans.fiber = NULL;
    cx->cancelled = false;
    if (spans.nwaiting)
        post(cx, LAST_MS);
    return OK;
}

/* ---------------------------------------------------------------- per process */

void spans_init(const char *url, const char *service, int64_t percent,
                void (*count)(int64_t sent, int64_t dropped, void *arg), void *arg)
{
    char host[128] = "";

    if (str_empty(url))
        return;
    gethostname(host, sizeof host - 1);
    spans.url = xstrdup(url);
    spans.percent = percent;
    spans.count = count;
    spans.arg = arg;
    spans.waiting = BUF(QUEUE_MAX);
    snprintf(spans.head, sizeof spans.head,
             "{\"resourceSpans\":[{\"resource\":{\"attributes\":["
             "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"%s\"}},"
             "{\"key\":\"service.version\",\"value\":{\"stringValue\":\"%s\"}},"
             "{\"key\":\"service.instance.id\",\"value\":{\"stringValue\":\"%s:%d\"}}]},"
             "\"scopeSpans\":[{\"scope\":{\"name\":\"mihwar\"},\"spans\":[",
             service, program_version(), host, (int)getpid());
    spans.fiber = fiber_spawn(&(struct fiber_opts){.name = "spans.export"}, export_fiber, NULL);
    fiber_detach(spans.fiber);
}

void spans_free(void)
{
    free(spans.url);
    buf_release(&spans.waiting);
    memset(&spans, 0, sizeof spans);
}

/* quarantine.c - what no worker could read, as dead letters in PostgreSQL.
 *
 *   broken message --claim or parse--> mihwar.celery.quarantine (list) --here--> dead_letters
 *
 * While PostgreSQL is away they wait in the list. An entry is its reason as JSON, a line feed, and the message as it
 * came; its id is made of its bytes, so that the same entry twice is one letter. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "queue/end.h"
#include "worker/celery/consumer.h"
#include <openssl/evp.h>
#include <string.h>

#define LOOK_MS  60000
#define KEPT_MAX KiB(256) /* of a message */

static void id_of(const char *p, size_t n, char out[ID_LEN + 1])
{
    unsigned char d[EVP_MAX_MD_SIZE] = {0};
    char hex[33];

    EVP_Digest(p, n, d, NULL, EVP_sha256(), NULL);
    d[6] = (unsigned char)((d[6] & 0x0f) | 0x80);
    d[8] = (unsigned char)((d[8] & 0x3f) | 0x80);
    hex_encode(d, 16, hex);
    memcpy(out, hex, 8);
    out[8] = '-';
    memcpy(out + 9, hex + 8, 4);
    out[13] = '-';
    memcpy(out + 14, hex + 12, 4);
    out[18] = '-';
    memcpy(out + 19, hex + 16, 4);
    out[23] = '-';
    memcpy(out + 24, hex + 20, 13);
}

/* PostgreSQL takes no bytes that are no text: those as hex. */
static const char *args_of(struct cx *cx, const char *p, size_t n)
{
    _cleanup_(buf_release) struct buf b = BUF(MiB(4));
    size_t kept = n <= KEPT_MAX ? n : utf8_cut(p, KEPT_MAX);

    if (utf8_valid(p, kept) && !memchr(p, 0, kept)) {
        buf_puts(&b, "{\"message\":");
        buf_json_str(&b, arena_strndup(&cx->arena, p, kept));
    } else {
        char *hex = arena_alloc(&cx->arena, kept * 2 + 1);
        buf_printf(&b, "{\"message_hex\":\"%s\"", hex_encode(p, kept, hex));
    }
    buf_printf(&b, ",\"bytes\":%zu}", n);
    return arena_strdup(&cx->arena, buf_str(&b));
}

static rc bury(struct cx *cx, struct consumer *c, const char *entry, size_t n)
{
    const char *cut = memchr(entry, '\n', n), *text = cut ? cut + 1 : entry;
    struct raw head = {0};
    struct job j = {.lease = {.generation = 1, .claim = 1},
                    .task = "celery.unreadable",
                    .priority = JOB_PRIORITY};

    if (cut && raw_read(cx, entry, (size_t)(cut - entry), KiB(64), &head) != OK)
        head = (struct raw){0};
    const char *queue = raw_str(cx, raw_get(head, "queue")),
               *why = raw_str(cx, raw_get(head, "why"));
    id_of(entry, n, j.lease.id);
    j.queue = queue ? queue : "celery";
    j.args = args_of(cx, text, n - (size_t)(text - entry));
    j.args_len = strlen(j.args);
    j.attempt = 1;
    j.due_ms = clock_ms();
    log_ev(LOG_ERROR, "celery.unreadable", kv_str("queue", j.queue), kv_str("why", why),
           kv_str("dead_letter", j.lease.id));
    return engine_end(cx, c->pool->env.engine, &j,
                      &(struct job_end){.outcome = JOB_DEAD,
                                        .error_code = "bad_request",
                                        .error = why ? why : "it cannot be read",
                                        .worker = c->pool->worker,
                                        .started_ms = clock_ms()});
}

/* The oldest one; *ret_more: there was one. */
static rc take_one(struct cx *cx, struct consumer *c, bool *ret_more)
{
    _cleanup_(redis_reply_freep) redisReply *last = NULL;
    const char *key = c->claimer.quarantine;

    try(redis_cmd(cx, c->celery->broker, &last, "LINDEX %s -1", key));
    *ret_more = last->type == REDIS_REPLY_STRING;
    if (!*ret_more)
        return OK;
    try(bury(cx, c, last->str, last->len));
    return redis_cmd(cx, c->celery->broker, NULL, "LREM %s -1 %b", key, last->str,
                     (size_t)last->len);
}

rc consumer_quarantine(struct cx *cx, void *arg)
{
    struct consumer *c = arg;

    for (;;) {
        struct arena kept = cx->arena;
        bool more = false;
        cx->arena = (struct arena){0};
        rc r = take_one(cx, c, &more);
        arena_release(&cx->arena);
        cx->arena = kept;
        if (r == E_CANCELLED)
            return r;
        if (r != OK) {
            log_fail(LOG_WARN, "celery.quarantine_waits", cx, r);
            try(fiber_sleep(cx, 2000));
            continue;
        }
        if (more)
            continue;
        _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
            cx_deadline_within(cx, LOOK_MS);
        if (fiber_park(cx) == E_CANCELLED)
            return fail(cx, CANCELLED, "the worker ends");
    }
}

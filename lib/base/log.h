/* log.h - one event name, then facts.
 *
 *     log_ev(LOG_WARN, "lease.lost", kv_str("job", id), kv_int("age_ms", age));
 *
 *     ts=2026-01-05T10:11:12.345Z lvl=warn ev=lease.lost fiber=order.check trace=9f2c41
 *        subject=88121 job=88121 age_ms=30412          (one line)
 *
 * Units go in the key. Secrets are masked by type here, at the one place that prints: a PIN, a
 * token or `sifre` is handed over as kv_secret (shown as *** with its length), a phone or player id
 * as kv_phone (last two digits shown), a URL as kv_url (query values and user info masked). */
#pragma once
#include "base/cx.h"
#include <stdio.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum kv_type { KV_END, KV_STR, KV_INT, KV_REAL, KV_BOOL, KV_SECRET, KV_PHONE, KV_URL };

struct kv {
    enum kv_type type;
    const char *key;
    union {
        const char *s;
        int64_t i;
        double d;
    };
};

static inline struct kv kv_str(const char *k, const char *v)
{
    return (struct kv){.type = KV_STR, .key = k, .s = v};
}
static inline struct kv kv_int(const char *k, int64_t v)
{
    return (struct kv){.type = KV_INT, .key = k, .i = v};
}
static inline struct kv kv_real(const char *k, double v)
{
    return (struct kv){.type = KV_REAL, .key = k, .d = v};
}
static inline struct kv kv_bool(const char *k, bool v)
{
    return (struct kv){.type = KV_BOOL, .key = k, .i = v};
}
static inline struct kv kv_secret(const char *k, const char *v)
{
    return (struct kv){.type = KV_SECRET, .key = k, .s = v};
}
static inline struct kv kv_phone(const char *k, const char *v)
{
    return (struct kv){.type = KV_PHONE, .key = k, .s = v};
}
static inline struct kv kv_url(const char *k, const char *v)
{
    return (struct kv){.type = KV_URL, .key = k, .s = v};
}

#define log_ev(level, event, ...)                                                                  \
    log_write((level), (event), (struct kv[]){__VA_ARGS__ __VA_OPT__(, ){0}})
void log_write(enum log_level level, const char *event, const struct kv *facts);
/* The failure in cx with code, sentence and place, then the facts; for the one who handles it. */
#define log_fail(level, event, cx, r, ...)                                                         \
    log_write_fail((level), (event), (cx), (r), (struct kv[]){__VA_ARGS__ __VA_OPT__(, ){0}})
void log_write_fail(enum log_level level, const char *event, const struct cx *cx, rc r,
                    const struct kv *facts);

enum log_format { LOG_LOGFMT, LOG_JSON };
/* Lines below min are not written; out is borrowed (default stderr, LOG_INFO, logfmt). */
void log_setup(FILE *out, enum log_level min, enum log_format format);
bool log_level_from(const char *word, enum log_level *ret);
/* The context whose name, trace and subject are added to each line of this thread; the fiber switch
 * sets it. */
void log_set_cx(const struct cx *cx);
/* A program's name (hub, worker, beat), added as prog=; borrowed. */
void log_set_prog(const char *prog);

/* What was said last, in memory that outlives its writer: shared with a supervisor before the fork. Lines of several threads
 * may be mixed in it, never lost beside it. */
#define LOG_RING_BYTES 16384
struct log_ring {
    _Atomic unsigned at; /* bytes ever written */
    char text[LOG_RING_BYTES];
};
/* From now on each line that is written is copied there too; NULL: nowhere. Borrowed. */
void log_keep(struct log_ring *ring);
/* Words of a process that is about to die, to stderr and the ring. Async-signal-safe. */
void log_raw(const char *text);
/* The whole lines that stand in the ring, oldest first; the caller frees. */
char *log_ring_text(const struct log_ring *ring);

/* Masking, for places that store text instead of logging it. out is NUL-terminated; returns out. */
char *mask_phone(const char *s, char *out, size_t size);
char *mask_url(const char *s, char *out, size_t size);

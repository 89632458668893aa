/* log.c - formats one line in a stack buffer and writes it with one write, so that lines of
 * processes do not mix. */
#include "base/log.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"
#include <ctype.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define VALUE_MAX 2048 /* bytes of one fact */

static struct {
    FILE *out;
    enum log_level min;
    enum log_format format;
    const char *prog;
} conf = {.min = LOG_INFO};
static _Thread_local const struct cx *log_cx;
static struct log_ring *kept;

static const char *const level_words[] = {"debug", "info", "warn", "error"};

void log_setup(FILE *out, enum log_level min, enum log_format format)
{
    conf.out = out;
    conf.min = min;
    conf.format = format;
}

void log_set_prog(const char *prog)
{
    conf.prog = prog;
}

void log_set_cx(const struct cx *cx)
{
    log_cx = cx;
}

/* ---------------------------------------------------------------- what is kept */

void log_keep(struct log_ring *ring)
{
    kept = ring;
}

static void keep(const char *line, size_t n)
{
    struct log_ring *r = kept;

    if (!r)
        return;
    if (n > LOG_RING_BYTES) {
        line += n - LOG_RING_BYTES;
        n = LOG_RING_BYTES;
    }
    size_t at = atomic_fetch_add(&r->at, (unsigned)n) % LOG_RING_BYTES;
    size_t first = MIN(n, LOG_RING_BYTES - at);
    memcpy(r->text + at, line, first);
    memcpy(r->text, line + first, n - first);
}

void log_raw(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));

    (void)n; /* nobody is left to hear of it */
    keep(text, strlen(text));
}

char *log_ring_text(const struct log_ring *r)
{
    unsigned end = atomic_load(&r->at);
    size_t n = MIN(end, (unsigned)LOG_RING_BYTES);
    char *text = xmalloc(n + 1), *line;

    for (size_t i = 0; i < n; i++)
        text[i] = r->text[(end - n + i) % LOG_RING_BYTES];
    text[n] = 0;
    if (n < LOG_RING_BYTES)
        return text;
    line = strchr(text, '\n'); /* the oldest one is cut */
    memmove(text, line ? line + 1 : text + n, strlen(line ? line + 1 : text + n) + 1);
    return text;
}

/* ---------------------------------------------------------------- lines */

bool log_level_from(const char *word, enum log_level *ret)
{
    for (size_t i = 0; i < COUNT(level_words); i++) {
        if (strcmp(word, level_words[i]) == 0) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

char *mask_phone(const char *s, char *out, size_t size)
{
    size_t n = s ? strlen(s) : 0;

    if (n <= 2) {
        snprintf(out, size, "**");
    } else {
        const char *last = s + n - 2;
        while (last > s && ((unsigned char)*last & 0xc0) == 0x80)
            last--; /* a whole character */
        snprintf(out, size, "***%s", last > s ? last : "");
    }
    return out;
}

/* scheme://user:***@host/path?a=***&b=*** : names are useful, values may be secrets (znet carries
 * `sifre` there). The keyword form of a PostgreSQL connection string may stand for a URL: its
 * password is masked likewise. */
char *mask_url(const char *s, char *out, size_t size)
{
    struct buf b = BUF(size - 1);
    const char *q = strchrnul(s, '?'), *host = strstr(s, "://"), *at = NULL, *secret;

    if (host && host < q)
        at = memrchr(host + 3, '@',
                     (size_t)(q - host - 3)); /* the last: passwords may contain one */
    if (at) {
        buf_append(&b, s, (size_t)(host + 3 - s));
        buf_puts(&b, "***");
        s = at;
    } else if (!host && (secret = strstr(s, "password"))) {
        buf_append(&b, s, (size_t)(secret - s));
        buf_puts(&b, "password=***");
        s = q = ""; /* quoting rules decide where it ends: nothing after it is shown */
    }
    buf_append(&b, s, (size_t)(q - s));
    for (const char *p = q; p && *p; p = strpbrk(p + 1, "&;")) {
        size_t name = strcspn(p + 1, "=&;");
        buf_append(&b, p, name + 1);
        if (p[name + 1] == '=')
            buf_puts(&b, "=***");
    }
    snprintf(out, size, "%s", buf_str(&b));
    buf_release(&b);
    return out;
}

static void put_logfmt(struct buf *b, const char *v)
{
    bool plain = *v != 0;

    for (const char *p = v; *p && plain; p++)
        plain = (unsigned char)*p > ' ' && *p != '"' && *p != '=' && *p != '\\' && *p != 0x7f;
    if (plain)
        buf_puts(b, v);
    else
        buf_json_str(b, v);
}

/* What an outside system sent may be long and may not be UTF-8; a line of the log is neither. NULL:
 * it is fine. */
static char *repaired(const char *v)
{
    size_t len = strlen(v), cut = utf8_cut(v, VALUE_MAX);

    if (len == cut && utf8_valid(v, len))
        return NULL;
    char *r = cut < len ? xasprintf("%.*s...", (int)cut, v) : xstrdup(v);
    for (char *p = r; *p; p++) {
        size_t n = 1;
        while (n < 4 && p[n] && ((unsigned char)p[n] & 0xc0) == 0x80)
            n++;
        if (utf8_valid(p, n))
            p += n - 1;
        else
            *p = '?';
    }
    return r;
}

static void put_str(struct buf *b, const char *k, const char *v)
{
    _cleanup_(freep) char *copy = v ? repaired(v) : NULL;

    v = copy ? copy : v;
    if (conf.format == LOG_JSON) {
        buf_puts(b, b->len ? "," : "{");
        buf_json_str(b, k);
        buf_putc(b, ':');
        buf_json_str(b, v);
        return;
    }
    buf_printf(b, "%s%s=", b->len ? " " : "", k);
    put_logfmt(b, v ? v : "-");
}

static void put_bare(struct buf *b, const char *k, const char *v)
{
    if (conf.format == LOG_JSON)
        buf_printf(b, "%s\"%s\":%s", b->len ? "," : "{", k, v);
    else
        buf_printf(b, "%s%s=%s", b->len ? " " : "", k, v);
}

static void put_fact(struct buf *b, const struct kv *f)
{
    char text[512];

    switch (f->type) {
    case KV_STR:
        put_str(b, f->key, f->s);
        return;
    case KV_INT:
        snprintf(text, sizeof text, "%lld", (long long)f->i);
        break;
    case KV_REAL:
        snprintf(text, sizeof text, "%.6g", f->d);
        break;
    case KV_BOOL:
        snprintf(text, sizeof text, "%s", f->i ? "true" : "false");
        break;
    case KV_SECRET:
        snprintf(text, sizeof text, "***(%zu)", f->s ? strlen(f->s) : 0);
        put_str(b, f->key, text);
        return;
    case KV_PHONE:
        put_str(b, f->key, mask_phone(f->s, text, sizeof text));
        return;
    case KV_URL:
        put_str(b, f->key, f->s ? mask_url(f->s, text, sizeof text) : NULL);
        return;
    case KV_END:
        return;
    }
    put_bare(b, f->key, text);
}

static void write_line(enum log_level level, const char *event, const struct kv *head,
                       const struct kv *facts)
{
    char ts[CLOCK_TEXT_LEN + 1];
    _cleanup_(buf_release) struct buf b = BUF(KiB(16));

    if (level < conf.min)
        return;
    put_str(&b, "ts", clock_format(clock_ms(), ts));
    put_str(&b, "lvl", level_words[level]);
    put_str(&b, "ev", event);
    if (conf.prog) {
        put_str(&b, "prog", conf.prog);
        put_fact(&b, &(struct kv){.type = KV_INT, .key = "pid", .i = getpid()});
    }
    if (log_cx) {
        if (log_cx->name)
            put_str(&b, "fiber", log_cx->name);
        if (log_cx->trace[0])
            put_str(&b, "trace", log_cx->trace);
        if (log_cx->subject[0])
            put_str(&b, "subject", log_cx->subject);
    }
    for (const struct kv *f = head; f && f->type != KV_END; f++)
        put_fact(&b, f);
    for (const struct kv *f = facts; f->type != KV_END; f++)
        put_fact(&b, f);
    if (conf.format == LOG_JSON)
        buf_putc(&b, '}');
    if (!buf_ok(&b)) { /* too many facts for a line: the event alone, so that a reader of JSON can
                          go on */
        buf_reset(&b);
        put_str(&b, "ts", ts);
        put_str(&b, "lvl", level_words[level]);
        put_str(&b, "ev", event);
        put_bare(&b, "too_long", "true");
        buf_puts(&b, conf.format == LOG_JSON ? "}" : "");
    }
    buf_putc(&b, '\n');
    FILE *out = conf.out ? conf.out : stderr;
    fwrite(b.p, 1, b.len, out);
    fflush(out);
    keep(b.p, b.len);
}

void log_write(enum log_level level, const char *event, const struct kv *facts)
{
    write_line(level, event, NULL, facts);
}

void log_write_fail(enum log_level level, const char *event, const struct cx *cx, rc r,
                    const struct kv *facts)
{
    const char *place = cx->err.code == r ? cx->err.file : NULL;
    char at[128] = "";

    if (place) {
        const char *slash = strrchr(place, '/');
        snprintf(at, sizeof at, "%s:%d", slash ? slash + 1 : place, cx->err.line);
    }
    struct kv head[] = {kv_str("code", error_info(r)->code),
                        kv_str("err", cx_words(cx, r)),
                        place ? kv_str("at", at) : (struct kv){0},
                        {0}};
    write_line(level, event, head, facts);
}

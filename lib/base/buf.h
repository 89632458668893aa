/* buf.h - bytes that grow up to a ceiling.
 *
 * Invariants: len <= max; p is NULL or has room for len + 1 bytes and p[len] == 0. A buffer that
 * once hit its ceiling is `full`: later appends are refused too, so a row of appends needs one
 * check at its end (buf_ok).
 *
 *     _cleanup_(buf_release) struct buf b = BUF(MiB(1));
 *     buf_printf(&b, "{\"id\":\"%s\"", id);
 *     buf_puts(&b, "}");
 *     if (!buf_ok(&b)) ...
 */
#pragma once
#include "base/util.h"

struct buf {
    char *p;
    size_t len, cap, max;
    bool full;
};

#define BUF(max_) ((struct buf){.max = (max_)})

/* Memory for n more bytes, or as many as the ceiling allows, at once: where many small appends follow. */
void buf_room(struct buf *b, size_t n);
/* Append. False (and `full` from then on) when the ceiling would be passed; what was there stays.
 */
bool buf_append(struct buf *b, const void *p, size_t n);
bool buf_puts(struct buf *b, const char *s);
bool buf_putc(struct buf *b, char c);
bool buf_int(struct buf *b, int64_t n); /* in decimal */
bool buf_printf(struct buf *b, const char *fmt, ...) _printf_(2, 3);
/* A JSON string with its quotes; s must be UTF-8; NULL gives null. */
bool buf_json_str(struct buf *b, const char *s);
/* One more field of an object that has some: ,"name":"s" (NULL gives null; name is ours). */
bool buf_json_field(struct buf *b, const char *name, const char *s);
/* The same for a moment in ms, as RFC 3339; 0, which is never one, gives null. */
bool buf_json_time(struct buf *b, const char *name, int64_t ms);

/* Drop n bytes from the front. */
void buf_consume(struct buf *b, size_t n);
void buf_reset(struct buf *b); /* empty, keeps the memory, clears full */
void buf_release(struct buf *b);
/* Gives the bytes (never NULL, NUL-terminated) to the caller, who frees them; the buffer is empty
 * afterwards. */
char *buf_take(struct buf *b);

static inline bool buf_ok(const struct buf *b)
{
    return !b->full;
}
static inline const char *buf_str(const struct buf *b)
{
    return b->p ? b->p : "";
}

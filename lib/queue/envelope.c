/* envelope.c - see envelope.h. */
#include "queue/envelope.h"
#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

static size_t text_len(const char *s)
{
    return s ? strlen(s) : 0;
}

void envelope_write(struct buf *out, const struct job_new *j, int generation, int64_t enqueued_ms)
{
    const char *strings[] = {j->task, j->subject, j->tenant_id, j->trace};

    buf_printf(out, "1 %d %d %d %" PRId64 " %" PRId64 " %zu %zu %zu %zu\n", generation, j->priority,
               j->max_attempts, j->timeout_ms, enqueued_ms, text_len(strings[0]),
               text_len(strings[1]), text_len(strings[2]), text_len(strings[3]));
    for (size_t i = 0; i < COUNT(strings); i++) {
        buf_append(out, strings[i] ? strings[i] : "", text_len(strings[i]));
        buf_putc(out, 0);
    }
    buf_puts(out, j->args ? j->args : "{}");
}

/* A non-negative number, followed by `end`; *p moves behind it. */
static bool number(char **p, char end, int64_t max, int64_t *ret)
{
    int64_t n = 0;
    char *s = *p;

    if (!isdigit((unsigned char)*s))
        return false;
    for (; isdigit((unsigned char)*s); s++) {
        if (n > max / 10)
            return false;
        n = n * 10 + (*s - '0');
    }
    if (n > max || *s != end)
        return false;
    *p = s + 1;
    *ret = n;
    return true;
}

bool envelope_read(char *body, size_t len, struct job *j, int *ret_generation)
{
    int64_t version, generation, priority, attempts, lens[4];
    const char *strings[4];
    char *p = body, *end = body + len;

    if (!number(&p, ' ', 1, &version) || version != 1 || !number(&p, ' ', INT_MAX, &generation) ||
        !number(&p, ' ', 9, &priority) || !number(&p, ' ', INT_MAX, &attempts) ||
        !number(&p, ' ', INT64_MAX, &j->timeout_ms) || !number(&p, ' ', INT64_MAX, &j->enqueued_ms))
        return false;
    for (int i = 0; i < 4; i++)
        if (!number(&p, i < 3 ? ' ' : '\n', TASK_NAME_MAX * 8, &lens[i]))
            return false;
    for (int i = 0; i < 4; i++) {
        if (end - p <= lens[i] || p[lens[i]] != 0 || memchr(p, 0, (size_t)lens[i]))
            return false;
        strings[i] = lens[i] ? p : NULL;
        p += lens[i] + 1;
    }
    if (!strings[0])
        return false;
    j->task = strings[0];
    j->subject = strings[1];
    j->tenant_id = strings[2];
    j->trace = strings[3];
    j->args = p;
    j->args_len = (size_t)(end - p);
    j->priority = (int)priority;
    j->max_attempts = (int)attempts;
    j->durable = generation > 0;
    *ret_generation = (int)generation;
    return true;
}

/* envelope.c - see envelope.h. */
#include "queue/envelope.h"
#include "queue/options.h"
#include <ctype.h>
#include <limits.h>
#include <string.h>

#define TEXTS 4 /* task, subject, tenant, trace */

static size_t text_len(const char *s)
{
    return s ? strlen(s) : 0;
}

static void put_number(struct buf *out, int64_t n)
{
    buf_putc(out, ' ');
    buf_int(out, n);
}

void envelope_write(struct buf *out, const struct job_new *j, int generation, int64_t due_ms)
{
    _cleanup_(buf_release) struct buf options = BUF(JOB_OPTIONS_MAX);
    const char *strings[TEXTS] = {j->task, j->subject, j->tenant_id, j->trace};

    const int64_t numbers[] = {generation, j->priority, j->max_attempts, j->timeout_ms, due_ms};

    buf_putc(out, '1');
    for (size_t i = 0; i < COUNT(numbers); i++)
        put_number(out, numbers[i]);
    for (size_t i = 0; i < TEXTS; i++)
        put_number(out, (int64_t)text_len(strings[i]));
    if (j->options)
        job_options_write(j->options, &options);
    if (options.len > 2) /* more than {} */
        put_number(out, (int64_t)options.len);
    buf_putc(out, '\n');
    for (size_t i = 0; i < TEXTS; i++) {
        buf_append(out, strings[i] ? strings[i] : "", text_len(strings[i]));
        buf_putc(out, 0);
    }
    if (options.len > 2) {
        buf_append(out, options.p, options.len);
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
        if (n > (max - (*s - '0')) / 10)
            return false;
        n = n * 10 + (*s - '0');
    }
    if (n > max || *s != end)
        return false;
    *p = s + 1;
    *ret = n;
    return true;
}

/* LENGTH ... LENGTH\n; a fifth one only with options. */
static bool lengths(char **p, int64_t lens[TEXTS + 1])
{
    for (int i = 0; i < TEXTS - 1; i++)
        if (!number(p, ' ', TASK_NAME_MAX * 8, &lens[i]))
            return false;
    lens[TEXTS] = 0;
    return number(p, '\n', TASK_NAME_MAX * 8, &lens[TEXTS - 1]) ||
           (number(p, ' ', TASK_NAME_MAX * 8, &lens[TEXTS - 1]) &&
            number(p, '\n', JOB_OPTIONS_MAX, &lens[TEXTS]));
}

static bool text(char **p, const char *end, int64_t len, const char **ret)
{
    if (end - *p <= len || (*p)[len] != 0 || memchr(*p, 0, (size_t)len))
        return false;
    *ret = len ? *p : NULL;
    *p += len + 1;
    return true;
}

static bool read_options(char **p, const char *end, int64_t len, const struct job_options **ret)
{
    struct job_options o;
    const char *s;

    *ret = NULL;
    if (len == 0)
        return true;
    if (!text(p, end, len, &s) || !job_options_read(s, (size_t)len, &o))
        return false;
    struct job_options *kept = xmalloc(sizeof *kept);
    *kept = o;
    *ret = kept;
    return true;
}

bool envelope_read(char *body, size_t len, struct job *j, int *ret_generation)
{
    int64_t version, generation, priority, attempts, lens[TEXTS + 1];
    const char *strings[TEXTS];
    char *p = body, *end = body + len;

    if (!number(&p, ' ', 1, &version) || version != 1 || !number(&p, ' ', INT_MAX, &generation) ||
        !number(&p, ' ', 9, &priority) || !number(&p, ' ', INT_MAX, &attempts) ||
        !number(&p, ' ', INT64_MAX, &j->timeout_ms) || !number(&p, ' ', INT64_MAX, &j->due_ms) ||
        !lengths(&p, lens))
        return false;
    for (int i = 0; i < TEXTS; i++)
        if (!text(&p, end, lens[i], &strings[i]))
            return false;
    if (!strings[0] || !read_options(&p, end, lens[TEXTS], &j->options))
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

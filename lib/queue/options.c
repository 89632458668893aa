/* options.c - see options.h. */
#include "queue/options.h"
#include "base/log.h"
#include "base/text.h"
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define YEAR_MS INT64_C(31536000000)

static const char *const unique_words[] = {
    [JOB_UNIQUE_FINISH] = NULL, [JOB_UNIQUE_START] = "start", [JOB_UNIQUE_WINDOW] = "window"};

bool limit_key_valid(const char *s)
{
    size_t n = 0;

    for (; s[n]; n++) {
        bool good = (s[n] >= 'a' && s[n] <= 'z') || (s[n] >= 'A' && s[n] <= 'Z') ||
                    (s[n] >= '0' && s[n] <= '9') || strchr("_.:@-", s[n]);
        if (!good || n == LIMIT_KEY_MAX)
            return false;
    }
    return n > 0;
}

rc job_options_check(struct cx *cx, const struct job_options *o)
{
    char id[ID_LEN + 1];

    if (o->expires_at_ms < 0)
        return fail_at(cx, INVALID_FIELD, "/expires_at", "a job cannot expire before 1970");
    if (o->soft_ms < 0 || o->soft_ms > 7 * 24 * INT64_C(3600000))
        return fail_at(cx, INVALID_FIELD, "/soft_timeout_ms", "a time limit is at most 7 days");
    if (o->result_ttl_ms < 0 || o->result_ttl_ms > YEAR_MS)
        return fail_at(cx, INVALID_FIELD, "/result_ttl_ms", "a result is kept a year at most");
    if ((o->unique == JOB_UNIQUE_WINDOW) != (o->unique_ms > 0) || o->unique_ms < 0 ||
        o->unique_ms > YEAR_MS)
        return fail_at(cx, INVALID_FIELD, "/unique_for_ms",
                       "a window of uniqueness has 1 ms to a year");
    if (o->limit_key[0] && !limit_key_valid(o->limit_key))
        return fail_at(cx, INVALID_FIELD, "/limit_key",
                       "a limit's key has 1 to %d characters of A-Z a-z 0-9 _ . : @ -",
                       LIMIT_KEY_MAX);
    if (o->workflow[0] && (!id_parse(o->workflow, id) || o->workflow_step < 0))
        return fail_at(cx, INVALID_FIELD, "/workflow", "a workflow's id is a UUID");
    return OK;
}

static void put_int(struct buf *out, const char *name, int64_t n)
{
    if (n)
        buf_printf(out, "%s\"%s\":%" PRId64, out->p[out->len - 1] == '{' ? "" : ",", name, n);
}

/* None of these texts needs an escape (job_options_check). */
static void put_word(struct buf *out, const char *name, const char *s)
{
    if (s && *s)
        buf_printf(out, "%s\"%s\":\"%s\"", out->p[out->len - 1] == '{' ? "" : ",", name, s);
}

void job_options_write(const struct job_options *o, struct buf *out)
{
    if (!buf_putc(out, '{'))
        return;
    put_int(out, "expires_at_ms", o->expires_at_ms);
    put_int(out, "soft_ms", o->soft_ms);
    put_int(out, "result_ttl_ms", o->result_ttl_ms);
    put_word(out, "unique", unique_words[o->unique]);
    put_int(out, "unique_ms", o->unique_ms);
    put_word(out, "limit_key", o->limit_key);
    put_word(out, "workflow", o->workflow);
    put_int(out, "step", o->workflow_step);
    buf_putc(out, '}');
}

const char *job_options_text(struct cx *cx, const struct job_options *o)
{
    _cleanup_(buf_release) struct buf b = BUF(JOB_OPTIONS_MAX);

    if (!o)
        return NULL;
    job_options_write(o, &b);
    return b.len > 2 ? arena_strdup(&cx->arena, buf_str(&b)) : NULL;
}

/* A whole number that a double holds exactly; *ret unchanged if missing. */
static bool read_int(const cJSON *o, const char *name, int64_t *ret)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);

    if (!v)
        return true;
    if (!cJSON_IsNumber(v) || v->valuedouble < 0 || v->valuedouble > 9e15 ||
        (double)(int64_t)v->valuedouble != v->valuedouble)
        return false;
    *ret = (int64_t)v->valuedouble;
    return true;
}

static bool read_word(const cJSON *o, const char *name, char *ret, size_t size)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);

    if (!v)
        return true;
    if (!cJSON_IsString(v) || strlen(v->valuestring) >= size)
        return false;
    strcpy(ret, v->valuestring);
    return true;
}

static bool read_unique(const char *word, enum job_unique *ret)
{
    for (size_t i = 0; *word && i < COUNT(unique_words); i++)
        if (unique_words[i] && strcmp(unique_words[i], word) == 0) {
            *ret = (enum job_unique)i;
            return true;
        }
    return !*word;
}

static bool read_all(const cJSON *j, struct job_options *o)
{
    int64_t step = 0;
    char unique[8] = "", id[ID_LEN + 1];

    bool good = cJSON_IsObject(j) && read_int(j, "expires_at_ms", &o->expires_at_ms) &&
                read_int(j, "soft_ms", &o->soft_ms) &&
                read_int(j, "result_ttl_ms", &o->result_ttl_ms) &&
                read_word(j, "unique", unique, sizeof unique) && read_unique(unique, &o->unique) &&
                read_int(j, "unique_ms", &o->unique_ms) &&
                read_word(j, "limit_key", o->limit_key, sizeof o->limit_key) &&
                read_word(j, "workflow", o->workflow, sizeof o->workflow) &&
                read_int(j, "step", &step) && step <= INT32_MAX;
    o->workflow_step = (int)step;
    return good && (!o->limit_key[0] || limit_key_valid(o->limit_key)) &&
           (!o->workflow[0] || id_parse(o->workflow, id));
}

bool job_options_read(const char *s, size_t n, struct job_options *ret)
{
    struct job_options o = {0};
    bool good = false;

    *ret = o;
    /* Flat, so that the parser has nothing to recurse into. */
    if (n >= 2 && n <= JOB_OPTIONS_MAX && s[0] == '{' && !memchr(s + 1, '{', n - 1) &&
        !memchr(s, '[', n)) {
        cJSON *j = cJSON_ParseWithLength(s, n);
        good = j && read_all(j, &o);
        cJSON_Delete(j);
    }
    if (good)
        *ret = o;
    return good;
}

const struct job_options *job_options_parse(struct cx *cx, const char *text)
{
    struct job_options *o;

    if (!text)
        return NULL;
    o = arena_alloc(&cx->arena, sizeof *o);
    if (job_options_read(text, strlen(text), o))
        return o;
    log_ev(LOG_ERROR, "job.options_malformed", kv_str("options", text));
    return NULL;
}

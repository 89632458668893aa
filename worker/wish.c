/* wish.c - see wish.h. */
#include "worker/wish.h"
#include "base/json.h"
#include "queue/options.h"
#include "secure/digest.h"
#include <string.h>

static rc args_check(struct cx *cx, const char *args)
{
    _cleanup_(cx_release) struct cx scratch = CX_PLAIN("wish");
    cJSON *tree;
    rc r = json_parse(&scratch, args, strlen(args), JOB_ARGS_MAX, &tree);

    return r == OK ? OK : fail_at(cx, INVALID_FIELD, "/args", "args: %s", cx_words(&scratch, r));
}

/* Same task, same arguments: same job. */
static const char *key_of_args(struct arena *a, const char *task, const char *args)
{
    char hex[DIGEST_HEX_LEN + 1];

    return arena_printf(a, "%s:%.32s", task, sha256_hex(args, strlen(args), hex));
}

static void read_unique(struct arena *a, const struct mw_new *n, struct wish *w)
{
    enum mw_unique mode = n->unique || !n->of ? n->unique : n->of->unique;
    int64_t ms = n->unique_ms || !n->of ? n->unique_ms : n->of->unique_ms;

    w->job.unique_key = arena_strdup(a, n->unique_key);
    if (!w->job.unique_key && mode != MW_UNIQUE_NONE)
        w->job.unique_key = key_of_args(a, w->job.task, w->job.args);
    if (mode == MW_UNIQUE_START)
        w->options.unique = JOB_UNIQUE_START;
    if (mode == MW_UNIQUE_WINDOW) {
        w->options.unique = JOB_UNIQUE_WINDOW;
        w->options.unique_ms = ms;
    }
}

static rc read_options(struct cx *cx, const struct mw_new *n, struct wish *w)
{
    w->options.expires_at_ms = n->expires_at_ms;
    w->options.soft_ms = n->soft_timeout_ms || !n->of ? n->soft_timeout_ms : n->of->soft_timeout_ms;
    w->options.result_ttl_ms = n->result_ttl_ms;
    if (n->limit_key) {
        if (!limit_key_valid(n->limit_key))
            return fail_at(cx, INVALID_FIELD, "/limit_key",
                           "'%.70s' is no key of limits (A-Z a-z 0-9 _ . : @ -)", n->limit_key);
        strcpy(w->options.limit_key, n->limit_key);
    }
    if (memcmp(&w->options, &(struct job_options){0}, sizeof w->options) == 0)
        return OK;
    w->job.options = &w->options;
    return job_options_check(cx, &w->options);
}

rc wish_read(struct cx *cx, struct arena *a, const struct mw_new *n, int64_t now_ms,
             struct wish *ret)
{
    const char *task = n->task ? n->task : n->of ? n->of->name : NULL;
    const char *queue = n->queue ? n->queue : n->of ? n->of->queue : NULL;

    memset(ret, 0, sizeof *ret); /* padding too: it is compared */
    if (!task)
        return fail_at(cx, INVALID_FIELD, "/task", "the job names no task");
    if (n->args && strlen(n->args) > JOB_ARGS_MAX)
        return fail_at(cx, INVALID_FIELD, "/args", "args: more than %zu bytes", JOB_ARGS_MAX);
    if (n->delay_ms < 0 || n->run_at_ms < 0 || n->timeout_ms < 0 || n->max_attempts < 0)
        return fail(cx, INVALID_FIELD, "times and attempts are not negative");
    ret->job = (struct job_new){
        .queue = arena_strdup(a, queue ? queue : "default"),
        .task = arena_strdup(a, task),
        .args = arena_strdup(a, n->args ? n->args : "{}"),
        .durable = !(n->broker || (n->of && n->of->broker)),
        .priority = n->priority ? n->priority : JOB_PRIORITY,
        .run_at_ms = n->delay_ms ? now_ms + n->delay_ms : n->run_at_ms,
        .timeout_ms = n->timeout_ms,
        .max_attempts = n->max_attempts,
        .subject = arena_strdup(a, n->subject),
        .tenant_id = arena_strdup(a, n->tenant),
        .trace = arena_strdup(a, n->traceparent),
    };
    if (!n->id)
        id_new(ret->job.id);
    else if (!id_parse(n->id, ret->job.id))
        return fail_at(cx, INVALID_FIELD, "/id", "'%.40s' is no UUID", n->id);
    try(args_check(cx, ret->job.args));
    read_unique(a, n, ret);
    try(read_options(cx, n, ret));
    return job_new_check(cx, &ret->job);
}

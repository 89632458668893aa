/* names.c - broker_transport_options, read once. */
#include "celery/names.h"
#include "base/text.h"
#include "celery/raw.h"
#include "redis/url.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rc take_text(struct cx *cx, struct raw o, const char *name, const char *def, char **ret)
{
    struct raw v = raw_get(o, name);
    const char *text = raw_there(v) ? raw_str(cx, v) : def;

    if (!text || strlen(text) > CELERY_NAME_MAX)
        return fail(cx, CONFIG, "celery_transport_options: %s must be a string of at most %d bytes",
                    name, CELERY_NAME_MAX);
    *ret = xstrdup(text);
    return OK;
}

static rc take_key(struct cx *cx, struct raw o, const struct celery_names *n, const char *name,
                   const char *def, char **ret)
{
    _cleanup_(freep) char *text = NULL;

    try(take_text(cx, o, name, def, &text));
    *ret = xasprintf("%s%s", n->prefix, text);
    return OK;
}

static rc take_seconds(struct cx *cx, struct raw o, const char *name, double def, int64_t *ret_ms)
{
    struct raw v = raw_get(o, name);
    double s = def;

    if (raw_there(v) && (!raw_num(v, &s) || s < 0.1 || s > 10.0 * 365 * 86400))
        return fail(cx, CONFIG, "celery_transport_options: %s must be seconds", name);
    *ret_ms = (int64_t)(s * 1000);
    return OK;
}

static rc take_steps(struct cx *cx, struct raw o, struct celery_names *n)
{
    struct raw v = raw_get(o, "priority_steps"), at = {0};
    int64_t step, last = -1;

    if (!raw_there(v))
        v = RAW("[0,3,6,9]");
    while (raw_next(v, &at)) {
        if (n->nsteps == CELERY_STEPS_MAX || !raw_int(at, 0, 255, &step) || step <= last)
            break;
        n->steps[n->nsteps++] = (int)(last = step);
    }
    if (n->nsteps == 0 || n->nsteps != raw_count(v) || n->steps[0] != 0)
        return fail(cx, CONFIG,
                    "celery_transport_options: priority_steps must be growing numbers from 0, at "
                    "most %d",
                    CELERY_STEPS_MAX);
    return OK;
}

/* True (the default): "/DB."; false or "": nothing; a string: that, with {db} filled in. */
static rc take_fanout(struct cx *cx, struct raw o, struct celery_names *n)
{
    struct raw v = raw_get(o, "fanout_prefix");
    const char *text = !raw_there(v) || raw_true(v) ? "/{db}." : "", *db;

    if (raw_is_string(v) && !(text = raw_str(cx, v)))
        return fail(cx, CONFIG, "celery_transport_options: fanout_prefix cannot be read");
    db = strstr(text, "{db}");
    n->fanout = db ? xasprintf("%s%.*s%d%s", n->prefix, (int)(db - text), text, n->db, db + 4)
                   : xasprintf("%s%s", n->prefix, text);
    v = raw_get(o, "fanout_patterns");
    n->fanout_patterns = !raw_there(v) || raw_true(v);
    return OK;
}

rc celery_names_read(struct cx *cx, const char *options, int db, struct celery_names *n)
{
    struct raw o = RAW("{}");
    const char *order;

    *n = (struct celery_names){.db = db};
    if (*options && raw_read(cx, options, strlen(options), KiB(64), &o) != OK)
        return fail(cx, CONFIG, "celery_transport_options is not valid JSON");
    if (!raw_is_object(o))
        return fail(cx, CONFIG, "celery_transport_options must be a JSON object");
    try(take_text(cx, o, "global_keyprefix", "", &n->prefix));
    try(take_text(cx, o, "sep", "\x06\x16", &n->sep));
    try(take_steps(cx, o, n));
    try(take_key(cx, o, n, "unacked_key", "unacked", &n->unacked));
    try(take_key(cx, o, n, "unacked_index_key", "unacked_index", &n->unacked_index));
    try(take_key(cx, o, n, "unacked_mutex_key", "unacked_mutex", &n->unacked_mutex));
    try(take_seconds(cx, o, "unacked_mutex_expire", 300, &n->mutex_ms));
    try(take_seconds(cx, o, "visibility_timeout", 3600, &n->visibility_ms));
    order = raw_str(cx, raw_get(o, "queue_order_strategy"));
    n->rotate = !order || str_eq(order, "round_robin");
    return take_fanout(cx, o, n);
}

void celery_names_release(struct celery_names *n)
{
    free(n->prefix);
    free(n->sep);
    free(n->unacked);
    free(n->unacked_index);
    free(n->unacked_mutex);
    free(n->fanout);
    *n = (struct celery_names){0};
}

void celery_put_step_key(struct buf *b, const struct celery_names *n, const char *queue,
                         size_t step)
{
    buf_printf(b, "%s%s", n->prefix, queue);
    if (n->steps[step] > 0)
        buf_printf(b, "%s%d", n->sep, n->steps[step]);
}

void celery_put_queue_key(struct buf *b, const struct celery_names *n, const char *queue,
                          int priority)
{
    size_t step = n->nsteps - 1;

    priority = MIN(MAX(priority, 0), 9);
    while (step > 0 && n->steps[step] > priority)
        step--;
    celery_put_step_key(b, n, queue, step);
}

char *celery_own_key(struct cx *cx, const struct celery_names *n, const char *name)
{
    return arena_printf(&cx->arena, "%smihwar.celery.%s", n->prefix, name);
}

/* ---------------------------------------------------------------- URLs */

#define SOCKET_SCHEME "redis+socket://"

rc celery_url(struct cx *cx, const char *url, const char **ret, int *ret_db)
{
    struct redis_url u;

    if (starts_with(url, SOCKET_SCHEME)) {
        char *text = arena_printf(&cx->arena, "unix:%s", url + strlen(SOCKET_SCHEME));
        char *db = strstr(text, "virtual_host=");
        if (db) { /* "virtual_host=" is longer than "db=" */
            const char *value = db + strlen("virtual_host=");
            memcpy(db, "db=", 3);
            memmove(db + 3, value, strlen(value) + 1);
        }
        url = text;
    }
    rc r = redis_url_parse(cx, url, &u);
    if (r == OK && u.kind == REDIS_CLUSTER)
        r = fail(cx, CONFIG,
                 "Celery's transport takes no Redis Cluster: its steps need keys of several slots");
    *ret_db = u.db;
    redis_url_release(&u);
    *ret = arena_strdup(&cx->arena, url);
    return r;
}

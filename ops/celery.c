/* celery.c - Celery's tasks from here: send one, look at what came of it. */
#include "celery/celery.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "ops/table.h"
#include "ops/verbs.h"
#include "queue/queue.h"
#include <stdio.h>
#include <string.h>

static void celery_freep(struct celery **c)
{
    *c = celery_free(*c);
}

static rc read_json(struct cx *cx, const struct ops *o, const char *name, bool list,
                    struct raw *ret)
{
    const char *text;

    try(opt_text(cx, o, name, &text));
    *ret = (struct raw){0};
    if (!text)
        return OK;
    rc r = raw_read(cx, text, strlen(text), JOB_ARGS_MAX, ret);
    if (r != OK)
        return fail(cx, USAGE, "--%s: %s", name, cx_words(cx, r));
    if (list ? !raw_is_array(*ret) : !raw_is_object(*ret))
        return fail(cx, USAGE, "--%s must be a JSON %s", name, list ? "list" : "object");
    return OK;
}

static rc read_message(struct cx *cx, const struct ops *o, struct celery_new *m)
{
    int64_t countdown, expires;

    *m = (struct celery_new){
        .task = o->argv[0], .queue = opt(o, "queue"), .group_index = -1, .headers = {0}};
    try(read_json(cx, o, "args", true, &m->args));
    try(read_json(cx, o, "kwargs", false, &m->kwargs));
    try(opt_duration(cx, o, "countdown", 0, &countdown));
    try(opt_duration(cx, o, "expires", 0, &expires));
    try(opt_time(cx, o, "eta", &m->eta_ms));
    if (countdown && m->eta_ms)
        return fail(cx, USAGE, "--eta or --countdown, not both");
    if (countdown)
        m->eta_ms = clock_ms() + countdown;
    m->expires_ms = expires ? clock_ms() + expires : 0;
    return OK;
}

static void print_result(struct cx *cx, const struct ops *o, const char *id,
                         const struct celery_result *r)
{
    const char *result = r->result.n ? arena_strndup(&cx->arena, r->result.p, r->result.n) : "null";
    _cleanup_(buf_release) struct buf b = BUF(MiB(64));

    if (o->json) {
        buf_puts(&b, "{\"id\":");
        buf_json_str(&b, id);
        buf_json_field(&b, "status", r->status);
        buf_printf(&b, ",\"result\":%s", result);
        buf_json_field(&b, "traceback", r->traceback);
        printf("%s}\n", buf_str(&b));
        return;
    }
    struct table *t = table_new("id", "status", "result{}", "traceback", NULL);
    table_row(t, id, r->status, result, r->traceback);
    table_print_one(t, false);
}

/* Whoever waits for a result wants its success. */
static rc wait_and_print(struct cx *cx, struct ops *o, struct celery *c, const char *id,
                         int64_t wait_ms)
{
    struct celery_result r;

    cx->deadline_mono_ms = 0; /* the one who asked says how long */
    {
        _cleanup_(cx_deadline_restore) _unused_ struct cx_deadline d =
            cx_deadline_within(cx, wait_ms);
        try(celery_result_wait(cx, c, o->settings, id, &r));
    }
    print_result(cx, o, id, &r);
    if (str_eq(r.status, "SUCCESS"))
        return OK;
    return fail(cx, UPSTREAM_REFUSED, "task %s ended as %s", id, r.status);
}

rc verb_celery_send(struct cx *cx, struct ops *o)
{
    _cleanup_(celery_freep) struct celery *c = NULL;
    struct celery_new m;
    int64_t wait_ms;

    try(read_message(cx, o, &m));
    try(opt_duration(cx, o, "wait", 0, &wait_ms));
    try(celery_open(cx, o->settings, &c));
    try(celery_send(cx, c, &m));
    if (wait_ms)
        return wait_and_print(cx, o, c, m.id, wait_ms);
    if (o->json)
        printf("{\"id\":\"%s\"}\n", m.id);
    else
        printf("%s\n", m.id);
    return OK;
}

rc verb_celery_result(struct cx *cx, struct ops *o)
{
    _cleanup_(celery_freep) struct celery *c = NULL;
    struct celery_result r;
    int64_t wait_ms;

    try(opt_duration(cx, o, "wait", 0, &wait_ms));
    if (strlen(o->argv[0]) > CELERY_NAME_MAX)
        return fail(cx, USAGE, "an id has at most %d bytes", CELERY_NAME_MAX);
    try(celery_open(cx, o->settings, &c));
    if (wait_ms)
        return wait_and_print(cx, o, c, o->argv[0], wait_ms);
    try(celery_result_get(cx, c, o->argv[0], &r));
    print_result(cx, o, o->argv[0], &r);
    return OK;
}

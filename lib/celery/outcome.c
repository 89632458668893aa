/* outcome.c - results are written, told, and what hangs on them goes on. */
#include "celery/outcome.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "celery/celery.lua.h"
#include <stdio.h>
#include <string.h>

#define RESULT_MAX (CELERY_MESSAGE_MAX * 2)

/* ---------------------------------------------------------------- one result */

static rc store(struct cx *cx, struct celery *c, const char *id, const struct buf *b)
{
    const char *argv[] = {celery_result_key(cx, id),
                          arena_printf(&cx->arena, "%lld", (long long)c->result_ttl_ms),
                          buf_str(b)};
    size_t lens[] = {strlen(argv[0]), strlen(argv[1]), b->len};

    if (!buf_ok(b))
        return fail(cx, BUFFER_FULL, "the result is larger than %zu bytes", RESULT_MAX);
    return redis_eval(cx, c->results, NULL, &SCRIPT_STORE_RESULT, COUNT(argv), argv, lens);
}

struct told {
    const char *id, *status, *traceback, *group, *parent;
    struct raw result;
    const struct buf *children; /* ",[[id,null],null]…"; NULL: none */
};

static rc tell(struct cx *cx, struct celery *c, const struct told *t)
{
    _cleanup_(buf_release) struct buf b = BUF(RESULT_MAX);
    char now[CLOCK_TEXT_LEN + 1];
    bool final = strcmp(t->status, "RETRY") != 0;

    buf_printf(&b, "{\"status\": \"%s\", \"result\": ", t->status);
    raw_put(&b, t->result);
    buf_puts(&b, ", \"traceback\": ");
    buf_json_str(&b, t->traceback);
    buf_puts(&b, ", \"children\": [");
    if (t->children && t->children->len > 0)
        buf_append(&b, t->children->p + 1, t->children->len - 1);
    buf_puts(&b, "], \"date_done\": ");
    if (final)
        buf_printf(&b, "\"%.23s000\"", clock_format(clock_ms(), now));
    else
        buf_puts(&b, "null");
    if (t->group)
        buf_json_field(&b, "group_id", t->group);
    if (t->parent)
        buf_json_field(&b, "parent_id", t->parent);
    buf_json_field(&b, "task_id", t->id);
    buf_putc(&b, '}');
    return store(cx, c, t->id, &b);
}

/* {"exc_type": "ValueError", "exc_message": ["bad"], "exc_module": "builtins"} */
static struct raw exception_json(struct cx *cx, const struct celery_failure *f)
{
    struct buf b = BUF(KiB(64));

    buf_puts(&b, "{\"exc_type\": ");
    buf_json_str(&b, f->type);
    buf_puts(&b, ", \"exc_message\": [");
    buf_json_str(&b, f->message);
    buf_puts(&b, "], \"exc_module\": ");
    buf_json_str(&b, f->module);
    buf_putc(&b, '}');
    return raw_keep(cx, &b);
}

const char *celery_failure_repr(struct cx *cx, const struct celery_failure *f)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(64));

    buf_puts(&b, f->type);
    buf_puts(&b, "('");
    for (const char *p = f->message; *p; p++) {
        if (*p == '\'' || *p == '\\')
            buf_putc(&b, '\\');
        buf_putc(&b, *p == '\n' ? ' ' : *p);
    }
    buf_puts(&b, "')");
    return arena_strdup(&cx->arena, buf_str(&b));
}

/* ---------------------------------------------------------------- chords */

struct part {
    const char *id, *group;
    int64_t group_index; /* -1: none */
    struct raw body;     /* n = 0: no chord */
};

static struct part part_of(const struct celery_message *m)
{
    return (struct part){m->id, m->group, m->group_index, m->chord};
}

static rc fail_body(struct cx *cx, struct celery *c, struct raw body, const char *why)
{
    const struct celery_failure f = {"ChordError", "celery.exceptions", why, NULL};
    const char *id = celery_final_id(cx, body);

    log_ev(LOG_WARN, "celery.chord_failed", kv_str("body", id), kv_str("why", why));
    if (!id)
        return OK;
    struct raw errbacks = raw_get(raw_get(body, "options"), "link_error");
    if (raw_there(errbacks))
        try(celery_errbacks(cx, c, errbacks, id, NULL));
    return tell(cx, c,
                &(struct told){.id = id, .status = "FAILURE", .result = exception_json(cx, &f)});
}

/* The results of all parts as one array; the words of the first failed one. Parts are [1, id, status, result]. */
static rc collect(struct cx *cx, const redisReply *parts, struct raw *ret, const char **ret_why)
{
    struct buf b = BUF(RESULT_MAX);

    *ret_why = NULL;
    buf_puts(&b, "[[");
    for (size_t i = 0; i < parts->elements; i++) {
        struct raw part, at = {0}, id, status;
        if (raw_read(cx, parts->element[i]->str, parts->element[i]->len, RESULT_MAX, &part) != OK) {
            *ret_why = "a part of the chord cannot be read";
            break;
        }
        raw_next(part, &at);
        id = raw_next(part, &at) ? at : (struct raw){0};
        status = raw_next(part, &at) ? at : (struct raw){0};
        if (!raw_next(part, &at)) {
            *ret_why = "a part of the chord cannot be read";
            break;
        }
        const char *word = raw_str(cx, status);
        if (str_eq(word, "FAILURE") || str_eq(word, "REVOKED")) {
            const char *type = raw_str(cx, raw_get(at, "exc_type")), *tid = raw_str(cx, id);
            struct raw said = {0};
            raw_next(raw_get(at, "exc_message"), &said);
            const char *message = raw_str(cx, said);
            *ret_why =
                arena_printf(&cx->arena, "Dependency %s raised %s", tid ? tid : "?",
                             celery_failure_repr(
                                 cx, &(struct celery_failure){.type = type ? type : "Exception",
                                                              .message = message ? message : ""}));
            break;
        }
        if (i)
            buf_putc(&b, ',');
        raw_put(&b, at);
    }
    buf_puts(&b, "]]");
    if (!buf_ok(&b))
        *ret_why = "the results of the chord's parts are too large";
    *ret = raw_keep(cx, &b);
    return OK;
}

static rc join(struct cx *cx, struct celery *c, const struct part *p, int priority,
               const char *root)
{
    const char *j = celery_group_key(cx, p->group, ".j"), *why;
    _cleanup_(redis_reply_freep) redisReply *parts = NULL;
    struct raw results;

    rc r = redis_cmd(cx, c->results, &parts, "ZRANGE %s 0 -1", j);
    if (r == E_REDIS)
        r = redis_cmd(cx, c->results, &parts, "LRANGE %s 0 -1", j);
    try(r);
    try(collect(cx, parts, &results, &why));
    if (why)
        return fail_body(cx, c, p->body, why);
    r = celery_apply(cx, c, p->body,
                     &(struct celery_partial){.prepend = results,
                                              .group_index = -1,
                                              .root = root,
                                              .parent = p->id,
                                              .priority = priority});
    if (r == E_INVALID_FIELD || r == E_BUFFER_FULL)
        try(fail_body(cx, c, p->body,
                      arena_printf(&cx->arena, "Callback error: %s", cx_words(cx, r))));
    else
        try(r);
    return redis_cmd(cx, c->results, NULL, "DEL %s %s %s", j, celery_group_key(cx, p->group, ".t"),
                     celery_group_key(cx, p->group, ".s"));
}

static rc chord_part(struct cx *cx, struct celery *c, const struct part *p, const char *status,
                     struct raw result, int priority, const char *root)
{
    _cleanup_(buf_release) struct buf b = BUF(RESULT_MAX), quoted = BUF(KiB(4));
    _cleanup_(redis_reply_freep) redisReply *reply = NULL;

    if (p->body.n == 0 || !p->group)
        return OK;
    buf_json_str(&quoted, p->id);
    buf_printf(&b, "[1, %s, \"%s\", ", buf_str(&quoted), status);
    raw_put(&b, result);
    buf_putc(&b, ']');
    if (!buf_ok(&b))
        return fail(cx, BUFFER_FULL, "the result is too large for its chord");
    const char *argv[] = {
        celery_group_key(cx, p->group, ".j"),
        celery_group_key(cx, p->group, ".t"),
        celery_group_key(cx, p->group, ".s"),
        p->group_index >= 0 ? arena_printf(&cx->arena, "%lld", (long long)p->group_index) : "+inf",
        b.p,
        arena_printf(&cx->arena, "%lld", (long long)(c->result_ttl_ms + 999) / 1000),
        quoted.p};
    size_t lens[COUNT(argv)];
    for (size_t i = 0; i < COUNT(argv); i++)
        lens[i] = strlen(argv[i]);
    try(redis_eval(cx, c->results, &reply, &SCRIPT_CHORD_PART, COUNT(argv), argv, lens));
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->integer < 0 || reply->element[0]->integer < reply->element[1]->integer)
        return OK;
    return join(cx, c, p, priority, root);
}

/* ---------------------------------------------------------------- ends */

/* Callbacks, and the next step of the chain. */
static rc send_next(struct cx *cx, struct celery *c, const struct celery_message *m,
                    struct raw result, struct buf *children)
{
    struct raw at = {0}, next = {0}, last = {0};
    struct buf b = BUF(RESULT_MAX), rest = BUF(RESULT_MAX);
    struct celery_partial p = {.group_index = -1,
                               .root = m->root_id ? m->root_id : m->id,
                               .parent = m->id,
                               .priority = m->priority,
                               .children = children};

    if (m->callbacks.n == 0 && m->chain.n == 0)
        return OK;
    buf_putc(&b, '[');
    raw_put(&b, result);
    buf_putc(&b, ']');
    if (!buf_ok(&b)) {
        buf_release(&b);
        return fail(cx, BUFFER_FULL, "the result is too large to be handed on");
    }
    p.prepend = raw_keep(cx, &b);
    while (raw_next(m->callbacks, &at))
        try(celery_apply(cx, c, at, &p));
    buf_putc(&rest, '[');
    for (at = (struct raw){0}; raw_next(m->chain, &at); last = at) {
        if (last.n == 0)
            continue;
        buf_puts(&rest, rest.len > 1 ? "," : "");
        raw_put(&rest, last);
    }
    buf_putc(&rest, ']');
    next = last;
    p.chain = raw_keep(cx, &rest);
    return next.n ? celery_apply(cx, c, next, &p) : OK;
}

rc celery_succeed(struct cx *cx, struct celery *c, const struct celery_message *m,
                  struct raw result)
{
    _cleanup_(buf_release) struct buf children = BUF(MiB(1));
    struct part part = part_of(m);

    try(send_next(cx, c, m, result, &children));
    if (!m->ignore_result)
        try(tell(cx, c,
                 &(struct told){.id = m->id,
                                .status = "SUCCESS",
                                .group = m->group,
                                .parent = m->parent_id,
                                .result = result,
                                .children = buf_ok(&children) ? &children : NULL}));
    return chord_part(cx, c, &part, "SUCCESS", result, m->priority, m->root_id);
}

/* The steps behind a failed one will never run: whoever waits for them, or counts on them, is told. */
static rc fail_chain(struct cx *cx, struct celery *c, const struct celery_message *m,
                     struct raw exception, const char *traceback)
{
    struct raw at = {0};

    while (raw_next(m->chain, &at)) {
        struct raw options = raw_get(at, "options"), body = raw_get(options, "chord");
        const char *id = raw_str(cx, raw_get(options, "task_id"));
        int64_t index = -1;
        if (!id)
            continue;
        if (!m->ignore_result)
            try(tell(
                cx, c,
                &(struct told){
                    .id = id, .status = "FAILURE", .result = exception, .traceback = traceback}));
        raw_int(raw_get(options, "group_index"), 0, 1 << 30, &index);
        struct part part = {id, raw_str(cx, raw_get(options, "group_id")), index,
                            raw_there(body) ? body : (struct raw){0}};
        try(chord_part(cx, c, &part, "FAILURE", exception, m->priority, m->root_id));
    }
    return OK;
}

rc celery_fail(struct cx *cx, struct celery *c, const struct celery_message *m,
               const struct celery_failure *f)
{
    struct raw exception = exception_json(cx, f);
    struct part part = part_of(m);

    if (!m->ignore_result)
        try(tell(cx, c,
                 &(struct told){.id = m->id,
                                .status = "FAILURE",
                                .group = m->group,
                                .parent = m->parent_id,
                                .result = exception,
                                .traceback = f->traceback}));
    try(chord_part(cx, c, &part, "FAILURE", exception, m->priority, m->root_id));
    try(fail_chain(cx, c, m, exception, f->traceback));
    return m->errbacks.n ? celery_errbacks(cx, c, m->errbacks, m->id, m->root_id) : OK;
}

rc celery_revoke(struct cx *cx, struct celery *c, const struct celery_message *m,
                 const char *reason)
{
    const struct celery_failure f = {"TaskRevokedError", "celery.exceptions", reason, NULL};
    struct raw exception = exception_json(cx, &f);
    struct part part = part_of(m);

    if (!m->ignore_result)
        try(tell(cx, c,
                 &(struct told){.id = m->id,
                                .status = "REVOKED",
                                .group = m->group,
                                .parent = m->parent_id,
                                .result = exception}));
    return chord_part(cx, c, &part, "REVOKED", exception, m->priority, m->root_id);
}

rc celery_retrying(struct cx *cx, struct celery *c, const struct celery_message *m,
                   const struct celery_failure *f)
{
    if (m->ignore_result)
        return OK;
    return tell(cx, c,
                &(struct told){.id = m->id,
                               .status = "RETRY",
                               .group = m->group,
                               .parent = m->parent_id,
                               .result = exception_json(cx, f),
                               .traceback = f->traceback});
}

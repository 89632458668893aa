/* canvas.c - from signatures to messages. */
#include "celery/canvas.h"
#include "base/clock.h"
#include "base/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIG_MAX (CELERY_MESSAGE_MAX * 2)

enum kind { PLAIN, CHAIN, GROUP, CHORD };

static enum kind kind_of(struct raw sig)
{
    struct raw type = raw_get(sig, "subtask_type");

    if (type.n == 7 && memcmp(type.p, "\"chain\"", 7) == 0)
        return CHAIN;
    if (type.n == 7 && memcmp(type.p, "\"group\"", 7) == 0)
        return GROUP;
    return type.n == 7 && memcmp(type.p, "\"chord\"", 7) == 0 ? CHORD : PLAIN;
}

static struct raw option(struct raw sig, const char *name)
{
    struct raw v = raw_get(raw_get(sig, "options"), name);

    return raw_there(v) ? v : (struct raw){0};
}

static struct raw kwarg(struct raw sig, const char *name)
{
    return raw_get(raw_get(sig, "kwargs"), name);
}

/* The tasks of a chord's header: a list, or a group. */
static struct raw header_of(struct raw chord)
{
    struct raw header = kwarg(chord, "header");

    return raw_is_object(header) ? kwarg(header, "tasks") : header;
}

/* The i-th element. */
static struct raw element(struct raw array, size_t i)
{
    struct raw at = {0};

    while (raw_next(array, &at))
        if (i-- == 0)
            return at;
    return (struct raw){0};
}

static struct raw last_element(struct raw array)
{
    size_t n = raw_count(array);

    return n ? element(array, n - 1) : (struct raw){0};
}

const char *celery_group_key(struct cx *cx, const char *group, const char *suffix)
{
    return arena_printf(&cx->arena, "celery-taskset-meta-%s%s", group, suffix);
}

const char *celery_final_id(struct cx *cx, struct raw sig)
{
    const char *id = raw_str(cx, option(sig, "task_id"));

    switch (kind_of(sig)) {
    case CHAIN: {
        const char *last = celery_final_id(cx, last_element(kwarg(sig, "tasks")));
        return last ? last : id;
    }
    case CHORD:
        return id ? id : celery_final_id(cx, kwarg(sig, "body"));
    case GROUP:
    case PLAIN:
        break;
    }
    return id;
}

static size_t parts_of_all(struct raw tasks)
{
    struct raw at = {0};
    size_t n = 0;

    while (raw_next(tasks, &at))
        n += celery_parts(at);
    return n;
}

size_t celery_parts(struct raw sig)
{
    switch (kind_of(sig)) {
    case CHAIN:
        return celery_parts(last_element(kwarg(sig, "tasks")));
    case GROUP:
        return parts_of_all(kwarg(sig, "tasks"));
    case CHORD:
        return celery_parts(kwarg(sig, "body"));
    case PLAIN:
        break;
    }
    return raw_is_object(sig) ? 1 : 0;
}

/* ---------------------------------------------------------------- signatures anew */

/* The same signature with some options set: `more` is members, comma separated, whose names are in `names`. */
static struct raw with_options(struct cx *cx, struct raw sig, const char *const *names,
                               const struct buf *more)
{
    static const char *const parts[] = {"options", NULL};
    struct buf b = BUF(SIG_MAX);

    buf_putc(&b, '{');
    if (raw_put_members(&b, sig, parts) > 0)
        buf_putc(&b, ',');
    buf_puts(&b, "\"options\":{");
    if (raw_put_members(&b, raw_get(sig, "options"), names) > 0 && more->len > 0)
        buf_putc(&b, ',');
    buf_append(&b, buf_str(more), more->len);
    buf_puts(&b, "}}");
    if (buf_ok(&b))
        return raw_keep(cx, &b);
    buf_release(&b);
    return (struct raw){0};
}

static void put_option(struct buf *b, const char *name, struct raw value)
{
    if (value.n == 0)
        return;
    buf_printf(b, "%s\"%s\":", b->len ? "," : "", name);
    raw_put(b, value);
}

static void put_text_option(struct buf *b, const char *name, const char *value)
{
    if (!value)
        return;
    buf_printf(b, "%s\"%s\":", b->len ? "," : "", name);
    buf_json_str(b, value);
}

/* A step's place in the whole, written into its options: what must happen when it is done. */
static struct raw placed(struct cx *cx, struct raw sig, const char *task_id,
                         const struct celery_partial *p)
{
    static const char *const all[] = {"task_id",     "chain",   "chord", "group_id",
                                      "group_index", "root_id", NULL};
    const char *names[COUNT(all)];
    _cleanup_(buf_release) struct buf b = BUF(SIG_MAX);
    size_t n = 0;
    char index[24];

    if (task_id)
        names[n++] = "task_id";
    put_text_option(&b, "task_id", task_id);
    if (p->chain.n && raw_count(p->chain) > 0) {
        names[n++] = "chain";
        put_option(&b, "chain", p->chain);
    }
    if (p->chord.n) {
        names[n++] = "chord";
        put_option(&b, "chord", p->chord);
    }
    if (p->group) {
        names[n++] = "group_id";
        put_text_option(&b, "group_id", p->group);
    }
    if (p->group_index >= 0) {
        names[n++] = "group_index";
        snprintf(index, sizeof index, "%lld", (long long)p->group_index);
        put_option(&b, "group_index", (struct raw){index, strlen(index)});
    }
    if (p->root) {
        names[n++] = "root_id";
        put_text_option(&b, "root_id", p->root);
    }
    names[n] = NULL;
    return with_options(cx, sig, names, &b);
}

/* ---------------------------------------------------------------- plain */

/* A list, or a single signature as a list. */
static struct raw listed(struct cx *cx, struct raw v)
{
    struct buf b = BUF(SIG_MAX);

    if (!raw_is_object(v))
        return raw_is_array(v) ? v : (struct raw){0};
    buf_putc(&b, '[');
    raw_put(&b, v);
    buf_putc(&b, ']');
    return raw_keep(cx, &b);
}

/* A name, or a declared queue that has one. */
static const char *queue_of(struct cx *cx, struct raw sig)
{
    struct raw queue = option(sig, "queue");

    if (raw_is_object(queue))
        queue = raw_get(queue, "name");
    if (!raw_is_string(queue))
        queue = option(sig, "routing_key");
    return raw_str(cx, queue);
}

/* Seconds from now, or a time as text. */
static int64_t moment(struct cx *cx, struct raw v)
{
    int64_t ms;
    double s;

    if (raw_num(v, &s))
        return clock_ms() + (int64_t)(MIN(MAX(s, 0.0), 1e9) * 1000);
    const char *text = raw_str(cx, v);
    if (text && (clock_parse(text, &ms) || clock_parse(arena_printf(&cx->arena, "%sZ", text), &ms)))
        return ms;
    return 0;
}

static int64_t seconds_option(struct raw sig, const char *name)
{
    double s;

    return raw_num(option(sig, name), &s) && s > 0 && s < 1e9 ? (int64_t)(s * 1000) : 0;
}

static struct raw joined(struct cx *cx, struct raw first, struct raw second)
{
    struct buf b = BUF(SIG_MAX);

    raw_put_joined(&b, first, second);
    if (buf_ok(&b))
        return raw_keep(cx, &b);
    buf_release(&b);
    return (struct raw){0};
}

static void note_child(struct buf *children, const char *id)
{
    if (!children)
        return;
    buf_puts(children, ",[[");
    buf_json_str(children, id);
    buf_puts(children, ",null],null]");
}

static rc apply_plain(struct cx *cx, struct celery *c, struct raw sig,
                      const struct celery_partial *p)
{
    const char *task = raw_str(cx, raw_get(sig, "task")), *id = raw_str(cx, option(sig, "task_id"));
    const char *group = raw_str(cx, option(sig, "group_id"));
    struct raw args = raw_get(sig, "args"), eta = option(sig, "eta");
    int64_t priority = p->priority, index = p->group_index;

    if (str_empty(task) || (id && strlen(id) > CELERY_NAME_MAX))
        return fail(cx, INVALID_FIELD, "a signature has no task, or an id that is too long");
    raw_int(option(sig, "priority"), 0, 9, &priority);
    raw_int(option(sig, "group_index"), 0, 1 << 30, &index);
    struct celery_new m = {
        .task = task,
        .queue = queue_of(cx, sig),
        .priority = (int)priority,
        .args = p->prepend.n && !raw_true(raw_get(sig, "immutable")) ? joined(cx, p->prepend, args)
                                                                     : args,
        .kwargs = raw_get(sig, "kwargs"),
        .callbacks = listed(cx, option(sig, "link")),
        .errbacks = listed(cx, option(sig, "link_error")),
        .chain = p->chain.n || option(sig, "chain").n ? joined(cx, p->chain, option(sig, "chain"))
                                                      : (struct raw){0},
        .chord = p->chord.n ? p->chord : option(sig, "chord"),
        .root_id = p->root ? p->root : raw_str(cx, option(sig, "root_id")),
        .parent_id = p->parent,
        .group = group ? group : p->group,
        .reply_to = raw_str(cx, option(sig, "reply_to")),
        .group_index = index,
        .eta_ms = moment(cx, eta.n ? eta : option(sig, "countdown")),
        .expires_ms = moment(cx, option(sig, "expires")),
        .hard_ms = seconds_option(sig, "time_limit"),
        .soft_ms = seconds_option(sig, "soft_time_limit"),
        .ignore_result = raw_true(option(sig, "ignore_result")),
        .headers = option(sig, "headers"),
    };
    snprintf(m.id, sizeof m.id, "%s", id ? id : "");
    try(celery_send(cx, c, &m));
    note_child(p->children, m.id);
    return OK;
}

/* ---------------------------------------------------------------- put together */

static rc apply(struct cx *cx, struct celery *c, struct raw sig, const struct celery_partial *p);

/* The first step now; the others reversed, the last of them with what is to happen when all is done. */
static rc apply_chain(struct cx *cx, struct celery *c, struct raw sig,
                      const struct celery_partial *p)
{
    struct raw steps = kwarg(sig, "tasks"), first = element(steps, 0);
    struct celery_partial end = *p, begin = *p;
    const char *id = raw_str(cx, option(sig, "task_id"));
    _cleanup_(buf_release) struct buf b = BUF(SIG_MAX);
    size_t n = raw_count(steps);

    if (n == 0)
        return OK;
    if (!end.chord.n)
        end.chord = option(sig, "chord");
    if (!end.group)
        end.group = raw_str(cx, option(sig, "group_id"));
    raw_int(option(sig, "group_index"), 0, 1 << 30, &end.group_index);
    end.chain = option(sig, "chain").n || p->chain.n ? joined(cx, p->chain, option(sig, "chain"))
                                                     : (struct raw){0};
    end.root = NULL;
    if (p->prepend.n || raw_there(raw_get(sig, "args")))
        begin.prepend = joined(cx, p->prepend, raw_get(sig, "args"));
    if (n == 1) {
        end.prepend = begin.prepend;
        end.root = p->root;
        return apply(
            cx, c, id ? placed(cx, first, id, &(struct celery_partial){.group_index = -1}) : first,
            &end);
    }
    buf_putc(&b, '[');
    for (size_t i = n - 1; i > 0; i--) {
        struct raw step = element(steps, i);
        raw_put(&b, i == n - 1
                        ? placed(cx, step, raw_there(option(step, "task_id")) ? NULL : id, &end)
                        : step);
        buf_puts(&b, i > 1 ? "," : "]");
    }
    if (!buf_ok(&b))
        return fail(cx, BUFFER_FULL, "the chain is too long");
    begin.chain = raw_keep(cx, &b);
    begin.chord = (struct raw){0};
    begin.group = NULL;
    begin.group_index = -1;
    return apply(cx, c, first, &begin);
}

/* Nested groups are one. */
static rc apply_all(struct cx *cx, struct celery *c, struct raw tasks, struct celery_partial *p)
{
    struct raw at = {0};

    while (raw_next(tasks, &at)) {
        if (kind_of(at) == GROUP) {
            try(apply_all(cx, c, kwarg(at, "tasks"), p));
            continue;
        }
        try(celery_apply(cx, c, at, p));
        p->group_index++;
    }
    return OK;
}

static rc set_parts(struct cx *cx, struct celery *c, const char *group, size_t parts)
{
    const char *key = celery_group_key(cx, group, ".s");

    if (c->result_ttl_ms > 0)
        return redis_cmd(cx, c->results, NULL, "SET %s %lld PX %lld", key, (long long)parts,
                         (long long)c->result_ttl_ms);
    return redis_cmd(cx, c->results, NULL, "SET %s %lld", key, (long long)parts);
}

/* The messages of a header, or of a plain group (chord.n = 0). */
static rc apply_tasks(struct cx *cx, struct celery *c, struct raw tasks, const char *group,
                      const struct celery_partial *p, struct raw chord)
{
    struct celery_partial part = *p;
    char id[ID_LEN + 1];

    part.group = group ? group : arena_strdup(&cx->arena, id_new(id));
    part.group_index = 0;
    part.chord = chord;
    part.chain = (struct raw){0};
    if (chord.n)
        try(set_parts(cx, c, part.group, parts_of_all(tasks)));
    return apply_all(cx, c, tasks, &part);
}

static rc apply_chord(struct cx *cx, struct celery *c, struct raw tasks, const char *group,
                      struct raw body, const char *body_id, const struct celery_partial *p)
{
    struct raw whole;
    char id[ID_LEN + 1];

    if (!raw_is_object(body))
        return fail(cx, INVALID_FIELD, "a chord has no body");
    if (!body_id && !celery_final_id(cx, body))
        body_id = id_new(id);
    whole = placed(cx, body, body_id, p);
    if (whole.n == 0)
        return fail(cx, BUFFER_FULL, "the chord is too large");
    if (parts_of_all(tasks) > 0)
        return apply_tasks(cx, c, tasks, group, p, whole);
    return apply(cx, c, whole,
                 &(struct celery_partial){.prepend = RAW("[[]]"),
                                          .group_index = -1,
                                          .root = p->root,
                                          .parent = p->parent,
                                          .priority = p->priority,
                                          .children = p->children});
}

/* A group with steps behind it: the next of them is the body of a chord, the others come behind the body. */
static rc apply_group(struct cx *cx, struct celery *c, struct raw sig,
                      const struct celery_partial *p)
{
    struct raw chain = p->chain.n ? p->chain : option(sig, "chain"), tasks = kwarg(sig, "tasks"),
               body;
    const char *group = raw_str(cx, option(sig, "task_id"));
    struct celery_partial behind = *p;
    size_t n = raw_count(chain);
    _cleanup_(buf_release) struct buf b = BUF(SIG_MAX);

    if (n == 0 &&
        (p->chord.n ||
         p->group)) { /* it ends a chain that is itself a part: each is a part of the whole */
        struct celery_partial part = *p;
        part.group_index = MAX(part.group_index, (int64_t)0);
        return apply_all(cx, c, tasks, &part);
    }
    if (n == 0)
        return apply_tasks(cx, c, tasks, group, p, option(sig, "chord"));
    body = last_element(chain);
    buf_putc(&b, '[');
    for (size_t i = 0; i + 1 < n; i++) {
        buf_puts(&b, i ? "," : "");
        raw_put(&b, element(chain, i));
    }
    buf_putc(&b, ']');
    behind.chain = raw_keep(cx, &b);
    return apply_chord(cx, c, tasks, group, body, NULL, &behind);
}

static rc apply(struct cx *cx, struct celery *c, struct raw sig, const struct celery_partial *p)
{
    if (!raw_is_object(sig))
        return fail(cx, INVALID_FIELD, "a signature must be an object");
    switch (kind_of(sig)) {
    case CHAIN:
        return apply_chain(cx, c, sig, p);
    case GROUP:
        return apply_group(cx, c, sig, p);
    case CHORD: {
        struct celery_partial whole = *p;
        if (!whole.chain.n)
            whole.chain = option(sig, "chain");
        if (!whole.chord.n)
            whole.chord = option(sig, "chord");
        return apply_chord(cx, c, header_of(sig),
                           raw_str(cx, option(kwarg(sig, "header"), "task_id")), kwarg(sig, "body"),
                           raw_str(cx, option(sig, "task_id")), &whole);
    }
    case PLAIN:
        break;
    }
    return apply_plain(cx, c, sig, p);
}

/* With an arena of its own: a group may have thousands. */
rc celery_apply(struct cx *cx, struct celery *c, struct raw sig, const struct celery_partial *p)
{
    struct arena kept = cx->arena;

    cx->arena = (struct arena){0};
    rc r = apply(cx, c, sig, p);
    arena_release(&cx->arena);
    cx->arena = kept;
    return r;
}

rc celery_errbacks(struct cx *cx, struct celery *c, struct raw errbacks, const char *failed_id,
                   const char *root)
{
    struct raw at = {0};
    struct buf b = BUF(KiB(4));

    buf_putc(&b, '[');
    buf_json_str(&b, failed_id);
    buf_putc(&b, ']');
    struct raw prepend = raw_keep(cx, &b);
    errbacks = listed(cx, errbacks);
    while (raw_next(errbacks, &at))
        try(celery_apply(cx, c, at,
                         &(struct celery_partial){.prepend = prepend,
                                                  .group_index = -1,
                                                  .root = root ? root : failed_id,
                                                  .parent = failed_id}));
    return OK;
}

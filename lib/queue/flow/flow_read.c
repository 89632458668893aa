/* flow_read.c - a workflow as people write it; see flow_read. The pointer of a failure leads to the
 * job: /chain/1/group/5/task. */
#include "base/text.h"
#include "queue/flow/internal.h"
#include "queue/job_read.h"
#include <stdio.h>
#include <string.h>

struct reader {
    struct flow *f;
    rc (*allow)(struct cx *cx, const struct job_new *j);
};

static rc read_node(struct cx *cx, struct reader *r, struct flow_node *in, const cJSON *o);

/* What failed inside is at `place` of what is outside. */
static rc below(struct cx *cx, rc r, const char *fmt, ...) _printf_(3, 4);
static rc below(struct cx *cx, rc r, const char *fmt, ...)
{
    char inner[sizeof cx->err.pointer], place[32];
    va_list ap;

    if (r == OK || cx->err.code != r)
        return r;
    va_start(ap, fmt);
    vsnprintf(place, sizeof place, fmt, ap);
    va_end(ap);
    memcpy(inner, cx->err.pointer, sizeof inner);
    snprintf(cx->err.pointer, sizeof cx->err.pointer, "%s%.*s", place,
             (int)(sizeof cx->err.pointer - sizeof place), inner);
    return r;
}

static rc read_members(struct cx *cx, struct reader *r, struct flow_node *in, const cJSON *list,
                       const char *name)
{
    int i = 0;

    if (!cJSON_IsArray(list) || !list->child)
        return below(cx, fail(cx, INVALID_FIELD, "%s must be a list of at least one", name), "/%s",
                     name);
    for (const cJSON *m = list->child; m; m = m->next, i++)
        try(below(cx, read_node(cx, r, in, m), "/%s/%d", name, i));
    return OK;
}

static rc read_policy(struct cx *cx, const cJSON *o, enum flow_policy *ret)
{
    const char *word;

    try(json_str_opt(cx, o, "on_failure", 16, &word));
    if (word && !str_eq(word, "fail") && !str_eq(word, "continue"))
        return fail_at(cx, INVALID_FIELD, "/on_failure", "say fail or continue");
    *ret = str_eq(word, "continue") ? FLOW_CONTINUE : FLOW_FAIL;
    return OK;
}

static rc read_chord(struct cx *cx, struct reader *r, struct flow_node *in, const cJSON *o)
{
    static const char *const names[] = {"group", "then", "on_failure", NULL};
    const cJSON *then = cJSON_GetObjectItemCaseSensitive(o, "then");
    enum flow_policy policy;

    if (!cJSON_IsObject(o))
        return fail(cx, INVALID_FIELD, "a chord is an object with group and then");
    try(json_only(cx, o, names));
    try(read_policy(cx, o, &policy));
    struct flow_node *chain = flow_chain(r->f, in);
    struct flow_node *group = flow_group(r->f, chain, policy);
    try(read_members(cx, r, group, cJSON_GetObjectItemCaseSensitive(o, "group"), "group"));
    if (!then)
        return fail_at(cx, INVALID_FIELD, "/then", "then is missing: what is called back?");
    return below(cx, read_node(cx, r, chain, then), "/then");
}

static rc read_job(struct cx *cx, struct reader *r, struct flow_node *in, const cJSON *o)
{
    struct job_new j;
    int64_t delay_ms;

    try(job_new_read(cx, o, &j, &delay_ms));
    if (!j.durable)
        return fail_at(cx, INVALID_FIELD, "/durable", "the jobs of a workflow are durable");
    if (j.unique_key)
        return fail_at(cx, INVALID_FIELD, "/unique_key",
                       "a member of a workflow runs in its place: it has no unique key");
    if (r->allow)
        try(r->allow(cx, &j));
    try(job_new_check(cx, &j));
    flow_delay(flow_job(r->f, in, &j), delay_ms);
    if (r->f->jobs > FLOW_JOBS_MAX)
        return fail(cx, INVALID_FIELD, "a workflow has at most %d jobs", FLOW_JOBS_MAX);
    return OK;
}

/* The one of the three that o has; NULL: it is a job. */
static const char *shape_of(const cJSON *o)
{
    static const char *const shapes[] = {"chain", "group", "chord"};

    for (size_t i = 0; i < COUNT(shapes); i++)
        if (cJSON_GetObjectItemCaseSensitive(o, shapes[i]))
            return shapes[i];
    return NULL;
}

static rc read_shape(struct cx *cx, struct reader *r, struct flow_node *in, const cJSON *o,
                     const char *shape)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, shape);
    enum flow_policy policy;

    if (str_eq(shape, "chord"))
        return below(cx, read_chord(cx, r, in, v), "/chord");
    if (str_eq(shape, "chain"))
        return read_members(cx, r, flow_chain(r->f, in), v, shape);
    try(read_policy(cx, o, &policy));
    return read_members(cx, r, flow_group(r->f, in, policy), v, shape);
}

static rc only_shape(struct cx *cx, const cJSON *o, const char *shape, bool whole)
{
    const char *names[4] = {shape};
    size_t n = 1;

    if (str_eq(shape, "group"))
        names[n++] = "on_failure";
    if (whole)
        names[n++] = "name";
    return json_only(cx, o, names);
}

static rc read_node(struct cx *cx, struct reader *r, struct flow_node *in, const cJSON *o)
{
    const char *shape = shape_of(o);

    if (!shape)
        return read_job(cx, r, in, o);
    if (in && in->depth + 1 > FLOW_DEPTH_MAX)
        return fail(cx, TOO_DEEP, "chains and groups are nested at most %d deep", FLOW_DEPTH_MAX);
    try(only_shape(cx, o, shape, /* whole= */ false));
    return read_shape(cx, r, in, o, shape);
}

rc flow_read(struct cx *cx, const cJSON *o, rc (*allow)(struct cx *cx, const struct job_new *j),
             struct flow **ret)
{
    struct reader r = {flow_new(cx), allow};
    const char *shape = shape_of(o);

    if (!cJSON_IsObject(o) || !shape)
        return fail(cx, INVALID_FIELD, "a workflow is an object with chain, group or chord");
    try(only_shape(cx, o, shape, /* whole= */ true));
    try(json_str_opt(cx, o, "name", FLOW_NAME_MAX, &r.f->name));
    try(read_shape(cx, &r, NULL, o, shape));
    try(flow_check(cx, r.f));
    *ret = r.f;
    return OK;
}

/* flow.c - a workflow is drawn, numbered, and written.
 *
 * Numbering lays the tree flat, depth first, so that every statement of the schema's functions is
 * about a range of steps:
 *
 *   opens_with   the step whose being reached begins this one: its own in a chain, except for the
 *                first; otherwise its parent's
 *   previous     the step whose result it sees: the one before it in its chain; for the first of a
 *                chain and for members of a group their parent's
 *
 * Jobs that open with step 1 are written along with the steps. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "pg/pg_array.h"
#include "queue/flow/flow.sql.h"
#include "queue/flow/internal.h"
#include <stdlib.h>
#include <string.h>

#define SMALL_GROUP 16 /* members that share one row */
#define BUCKETS_MAX 64

/* ---------------------------------------------------------------- drawn */

struct flow *flow_new(struct cx *cx)
{
    struct flow *f = arena_alloc(&cx->arena, sizeof *f);

    f->arena = &cx->arena;
    id_new(f->id);
    return f;
}

static struct flow_node *node_new(struct flow *f, struct flow_node *in, enum flow_kind kind)
{
    struct flow_node *n = arena_alloc(f->arena, sizeof *n);

    n->kind = kind;
    n->parent = in;
    n->depth = (in ? in->depth : 0) + (kind != FLOW_JOB);
    f->deepest = MAX(f->deepest, n->depth);
    f->jobs += kind == FLOW_JOB;
    f->steps++;
    if (!in) {
        f->root = n;
        return n;
    }
    n->place = in->children++;
    if (in->last)
        in->last->next = n;
    else
        in->first = n;
    in->last = n;
    return n;
}

struct flow_node *flow_chain(struct flow *f, struct flow_node *in)
{
    return node_new(f, in, FLOW_CHAIN);
}

struct flow_node *flow_group(struct flow *f, struct flow_node *in, enum flow_policy p)
{
    struct flow_node *n = node_new(f, in, FLOW_GROUP);

    n->policy = p;
    return n;
}

struct flow_node *flow_job(struct flow *f, struct flow_node *in, const struct job_new *j)
{
    struct flow_node *n = node_new(f, in, FLOW_JOB);

    n->job = *j;
    n->job.durable = true;
    if (j->options)
        n->options = *j->options;
    n->job.options = &n->options;
    return n;
}

void flow_delay(struct flow_node *job, int64_t ms)
{
    job->delay_ms = ms;
}

/* ---------------------------------------------------------------- checked */

static rc check_node(struct cx *cx, const struct flow_node *n)
{
    if (n->kind != FLOW_JOB)
        return n->children > 0 ? OK
                               : fail(cx, INVALID_FIELD,
                                      "a chain or group of a workflow has at least one member");
    if (n->job.unique_key)
        return fail_at(cx, INVALID_FIELD, "/unique_key",
                       "a member of a workflow runs in its place: it has no unique key");
    if (n->delay_ms < 0)
        return fail_at(cx, INVALID_FIELD, "/delay_ms", "a delay is not negative");
    return job_new_check(cx, &n->job);
}

rc flow_check(struct cx *cx, const struct flow *f)
{
    if (f->jobs == 0 || f->jobs > FLOW_JOBS_MAX)
        return fail(cx, INVALID_FIELD, "a workflow has 1 to %d jobs", FLOW_JOBS_MAX);
    if (f->deepest > FLOW_DEPTH_MAX)
        return fail(cx, TOO_DEEP, "chains and groups are nested %d deep; at most %d", f->deepest,
                    FLOW_DEPTH_MAX);
    if (f->name && (!*f->name || utf8_len(f->name) > FLOW_NAME_MAX))
        return fail_at(cx, INVALID_FIELD, "/name", "a name has 1 to %d characters", FLOW_NAME_MAX);
    for (struct flow_node *n = f->root; n; n = flow_walk(n))
        try(check_node(cx, n));
    return OK;
}

/* ---------------------------------------------------------------- numbered */

struct flow_node *flow_walk(struct flow_node *n)
{
    if (n->first)
        return n->first;
    while (n && !n->next)
        n = n->parent;
    return n ? n->next : NULL;
}

int flow_buckets(int members)
{
    return members <= SMALL_GROUP ? 1 : MIN(members / 8, BUCKETS_MAX);
}

/* The links between siblings; all of them have their numbers. */
static void link_children(struct flow_node *n)
{
    struct flow_node *before = NULL;

    for (struct flow_node *c = n->first; c; before = c, c = c->next) {
        bool behind = n->kind == FLOW_CHAIN && before;
        c->opens_with = behind ? c->step : n->opens_with;
        c->previous = behind ? before->step : n->previous;
        c->before = behind ? before->step : 0;
        c->behind = n->kind == FLOW_CHAIN && c->next ? c->next->step : 0;
    }
}

static void number(struct flow *f)
{
    int step = 0;

    for (struct flow_node *n = f->root; n; n = flow_walk(n)) {
        n->step = ++step;
        for (struct flow_node *a = n; a; a = a->parent)
            a->last_step = step;
    }
    f->root->opens_with = 1;
    for (struct flow_node *n = f->root; n; n = flow_walk(n))
        link_children(n);
}

/* ---------------------------------------------------------------- written */

enum column {
    STEP,
    KIND,
    PARENT,
    LAST,
    PREVIOUS,
    OPENS_WITH,
    BEFORE,
    NEXT,
    BUCKET,
    CONTINUES,
    OPEN,
    QUEUE,
    TASK,
    ARGS,
    PRIORITY,
    ATTEMPTS,
    TIMEOUT,
    DELAY,
    RUN_AT,
    SUBJECT,
    OPTIONS,
    JOB_ID,
    COLUMNS
};

static void put_number(struct pg_array *a, int n)
{
    if (n)
        pg_array_i(a, n);
    else
        pg_array_null(a);
}

static void put_job(struct cx *cx, struct flow *f, struct flow_node *n, struct pg_array *a)
{
    struct job_new *j = &n->job;

    memcpy(n->options.workflow, f->id, sizeof n->options.workflow);
    n->options.workflow_step = n->step;
    pg_array_s(&a[QUEUE], j->queue ? j->queue : "default");
    pg_array_s(&a[TASK], j->task);
    pg_array_s(&a[ARGS], j->args ? j->args : "{}");
    pg_array_i(&a[PRIORITY], j->priority);
    pg_array_i(&a[ATTEMPTS], j->max_attempts);
    pg_array_i(&a[TIMEOUT], j->timeout_ms);
    pg_array_i(&a[DELAY], n->delay_ms);
    pg_array_t(&a[RUN_AT], j->run_at_ms);
    pg_array_s(&a[SUBJECT], j->subject);
    pg_array_s(&a[OPTIONS], job_options_text(cx, &n->options));
    if (n->opens_with == 1 && !j->id[0])
        id_new(j->id);
    pg_array_s(&a[JOB_ID], n->opens_with == 1 ? j->id : NULL);
}

static void put_step(struct cx *cx, struct flow *f, struct flow_node *n, struct pg_array *a)
{
    static const char *const kinds[] = {
        [FLOW_JOB] = "job", [FLOW_CHAIN] = "chain", [FLOW_GROUP] = "group"};
    bool member = n->parent && n->parent->kind == FLOW_GROUP;

    pg_array_i(&a[STEP], n->step);
    pg_array_s(&a[KIND], kinds[n->kind]);
    put_number(&a[PARENT], n->parent ? n->parent->step : 0);
    pg_array_i(&a[LAST], n->last_step);
    put_number(&a[PREVIOUS], n->previous);
    pg_array_i(&a[OPENS_WITH], n->opens_with);
    put_number(&a[BEFORE], n->before);
    put_number(&a[NEXT], n->behind);
    if (member)
        pg_array_i(&a[BUCKET], n->place % flow_buckets(n->parent->children));
    else
        pg_array_null(&a[BUCKET]);
    pg_array_b(&a[CONTINUES], n->kind == FLOW_GROUP && n->policy == FLOW_CONTINUE);
    pg_array_i(&a[OPEN], n->kind == FLOW_GROUP ? flow_buckets(n->children) : 0);
    if (n->kind == FLOW_JOB) {
        put_job(cx, f, n, a);
        return;
    }
    for (int c = QUEUE; c < COLUMNS; c++)
        pg_array_null(&a[c]);
}

/* The steps from *at on, at most a batch; *at moves behind them. */
static rc insert_batch(struct cx *cx, struct pg_tx *tx, struct flow *f, struct flow_node **at)
{
    struct pg_array a[COLUMNS];
    struct pg_arg args[1 + COLUMNS] = {pg_s(f->id)};

    for (int c = 0; c < COLUMNS; c++)
        a[c] = PG_ARRAY(MiB(256));
    for (int n = 0; *at && n < QUEUE_BATCH; n++, *at = flow_walk(*at))
        put_step(cx, f, *at, a);
    for (int c = 0; c < COLUMNS; c++)
        args[1 + c] = pg_a(&a[c]);
    rc r = pg_tx_query(cx, tx, &SQL_FLOW_STEPS_INSERT, NULL, args);
    for (int c = 0; c < COLUMNS; c++)
        pg_array_release(&a[c]);
    return r;
}

static rc insert_buckets(struct cx *cx, struct pg_tx *tx, struct flow *f)
{
    _cleanup_(pg_array_release) struct pg_array steps = PG_ARRAY(MiB(4)),
                                                buckets = PG_ARRAY(MiB(4)),
                                                members = PG_ARRAY(MiB(4));

    for (struct flow_node *n = f->root; n; n = flow_walk(n)) {
        if (n->kind != FLOW_GROUP)
            continue;
        pg_array_i(&steps, n->step);
        pg_array_i(&buckets, flow_buckets(n->children));
        pg_array_i(&members, n->children);
    }
    if (steps.n == 0)
        return OK;
    return pg_tx_do(cx, tx, SQL_FLOW_BUCKETS_INSERT, NULL, pg_s(f->id), pg_a(&steps),
                    pg_a(&buckets), pg_a(&members));
}

rc flow_insert(struct cx *cx, struct pg_tx *tx, struct flow *f)
{
    _cleanup_(pg_result_freep) struct pg_result *res = NULL;
    struct flow_node *at = f->root;

    number(f);
    try(pg_tx_do(cx, tx, SQL_FLOW_INSERT, &res, pg_s(f->id), pg_s(f->tenant_id), pg_s(f->name),
                 pg_i(f->jobs), pg_s(f->trace)));
    f->existed = pg_rows(res) == 0;
    if (f->existed)
        return OK;
    while (at)
        try(insert_batch(cx, tx, f, &at));
    return insert_buckets(cx, tx, f);
}

void flow_push(struct cx *cx, struct engine *e, struct flow *f)
{
    _cleanup_(freep) struct job_new *jobs = xcalloc((size_t)f->jobs + 1, sizeof *jobs);
    int64_t now = clock_ms();
    size_t n = 0;

    for (struct flow_node *s = f->root; s && !f->existed; s = flow_walk(s)) {
        if (s->kind != FLOW_JOB || s->opens_with != 1)
            continue;
        jobs[n] = s->job;
        jobs[n].tenant_id = f->tenant_id;
        jobs[n].trace = f->trace;
        if (s->delay_ms)
            jobs[n].run_at_ms = MAX(now, s->job.run_at_ms) + s->delay_ms;
        n++;
    }
    rc r = engine_push(cx, e, jobs, n);
    if (r != OK) /* kept: the reconciler pushes what Redis did not take */
        log_fail(LOG_WARN, "push.postponed", cx, r, kv_str("workflow", f->id),
                 kv_int("jobs", (int64_t)n));
}

static rc insert_fn(struct cx *cx, struct pg_tx *tx, void *arg)
{
    return flow_insert(cx, tx, arg);
}

rc flow_start(struct cx *cx, struct engine *e, struct flow *f)
{
    if (!engine_db(e))
        return fail(cx, CONFIG, "workflows need PostgreSQL");
    try(flow_check(cx, f));
    try(pg_tx_run(cx, engine_db(e), insert_fn, f));
    flow_push(cx, e, f);
    return OK;
}

/* flow.h - workflows: jobs that follow from each other.
 *
 *   chain   one after the other; each sees what the one before it gave
 *   group   side by side; what comes behind it sees all of their results, in the order of the group
 *   chord   a chain of a group and what is called back when all of it has ended
 *
 * They nest. A workflow is drawn in memory, checked, and written in one transaction; its jobs are
 * durable jobs like any other, and begin when they are reached:
 *
 *     struct flow *f = flow_new(cx);
 *     struct flow_node *all = flow_chain(f, NULL);
 *     struct flow_node *parts = flow_group(f, all, FLOW_CONTINUE);
 *     for (i = 0; i < n; i++)
 *         flow_job(f, parts, &(struct job_new){.task = "page.render", .args = pages[i]});
 *     flow_job(f, all, &(struct job_new){.task = "book.bind"});
 *     try(flow_start(cx, engine, f));
 *
 * What follows from an end is written by PostgreSQL in the transaction of that end, whoever ends the
 * job (schema, workflows): nothing is lost or begun twice by a crash. Everything here needs
 * PostgreSQL. */
#pragma once
#include "base/json.h"
#include "queue/queue.h"

#define FLOW_JOBS_MAX     10000
#define FLOW_DEPTH_MAX    8 /* chains and groups inside each other */
#define FLOW_NAME_MAX     128
#define FLOW_PREVIOUS_MAX MiB(4) /* of results, handed on to one job */

/* What a group is when members of it died or were cancelled, once all have ended. */
enum flow_policy {
    FLOW_FAIL,     /* failed: nothing behind it begins. The others are let go on until they end */
    FLOW_CONTINUE, /* done: each of them gives {"error":{"code","message","job_id"}} as its result */
};

struct flow_node;
struct flow {
    char id[ID_LEN + 1]; /* "": made by flow_new; may be replaced by one that the caller derived */
    const char *name;    /* NULL: none */
    const char *tenant_id; /* of all of its jobs; NULL: none */
    const char *trace;     /* traceparent, NULL: none */
    bool existed;          /* out: a workflow with this id was there; nothing was written */
    /* flow.c's own */
    struct arena *arena;
    struct flow_node *root;
    int jobs, steps, deepest;
};
/* All in cx's arena, as long as it. */
struct flow *flow_new(struct cx *cx);
/* In `in`, behind what is there; NULL: it is the whole. */
struct flow_node *flow_chain(struct flow *f, struct flow_node *in);
struct flow_node *flow_group(struct flow *f, struct flow_node *in, enum flow_policy p);
/* Of j: queue, task, args, priority, run_at_ms, timeout_ms, max_attempts, subject, options; what it
 * points to must live as long as the arena. A member has no unique key, is always durable, and is of
 * the flow's tenant. */
struct flow_node *flow_job(struct flow *f, struct flow_node *in, const struct job_new *j);
/* So long after it is reached, and not before its run_at_ms. */
void flow_delay(struct flow_node *job, int64_t ms);

/* A tree as people write it:
 *   {"name":"book","chain":[NODE,…]}   {"group":[NODE,…],"on_failure":"continue"}
 *   {"chord":{"group":[NODE,…],"then":NODE,"on_failure":"fail"}}      on_failure: "fail" where not said
 * NODE: one of these, or a job (job_read.h) without unique_key and durable. allow (may be NULL) has a
 * say over each job. INVALID_FIELD with the pointer, TOO_DEEP. Checked as by flow_check. */
rc flow_read(struct cx *cx, const cJSON *o, rc (*allow)(struct cx *cx, const struct job_new *j),
             struct flow **ret);

/* 1 to FLOW_JOBS_MAX jobs, no empty chain or group, FLOW_DEPTH_MAX, each job by job_new_check.
 * INVALID_FIELD, TOO_DEEP. What follows assumes that it passed. */
rc flow_check(struct cx *cx, const struct flow *f);
/* Inside the caller's transaction; call flow_push after its commit. May be called again after a
 * rollback. Parks. */
rc flow_insert(struct cx *cx, struct pg_tx *tx, struct flow *f) MW_PARKS;
/* Makes the first jobs known to Redis. What fails is logged and left to the reconciler. Parks. */
void flow_push(struct cx *cx, struct engine *e, struct flow *f) MW_PARKS;
/* flow_check, flow_insert in a transaction of its own, flow_push. Parks. */
rc flow_start(struct cx *cx, struct engine *e, struct flow *f) MW_PARKS;

/* What stood before this job in its workflow gave: the result of the job or chain before it, or an
 * array of the results of the group before it; for members of a group, what stood before the group.
 * JSON text in cx's arena; *ret NULL: nothing stands before it, or it is in no workflow. BUFFER_FULL
 * past FLOW_PREVIOUS_MAX. Parks. */
rc flow_previous(struct cx *cx, struct pg *db, const struct job *j, const char **ret) MW_PARKS;

/* Jobs that have not begun never will; queued ones are cancelled at once, running ones at their next
 * wait. Cancelling what is cancelled goes on with what is left of it. tenant_id NULL: of any tenant.
 * NOT_FOUND, CONFLICT when it has ended otherwise. Parks. */
rc flow_cancel(struct cx *cx, struct engine *e, const char *id, const char *tenant_id) MW_PARKS;
/* What died or was cancelled is run again, attempts counted anew; what is done keeps its result.
 * CONFLICT when nothing of it died, and while jobs of a cancelled one are still on their way out.
 * Parks. */
rc flow_retry(struct cx *cx, struct engine *e, const char *id, const char *tenant_id) MW_PARKS;

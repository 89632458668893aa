/* internal.h - a workflow as it is drawn, before it is rows. */
#pragma once
#include "queue/flow/flow.h"
#include "queue/options.h"

enum flow_kind { FLOW_JOB, FLOW_CHAIN, FLOW_GROUP };

struct flow_node {
    enum flow_kind kind;
    struct flow_node *parent, *first, *last,
        *next; /* last, next: of its children, of its siblings */
    int depth, children;
    enum flow_policy policy; /* of a group */
    struct job_new job;
    struct job_options options;
    int64_t delay_ms;
    /* The columns of workflow_steps (number); 0: NULL. */
    int step, last_step, previous, opens_with, before, behind, place;
};

/* The node behind n in the order of the steps; NULL: n is the last. */
struct flow_node *flow_walk(struct flow_node *n);
/* How many rows the members of a group of n count down. */
int flow_buckets(int members);

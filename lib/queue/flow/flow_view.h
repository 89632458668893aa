/* flow_view.h - a workflow as it is shown: GET /v1/workflows/{id}, `mihwar flow show`. */
#pragma once
#include "queue/flow/flow.h"

#define FLOW_RESULT_SHOWN KiB(256) /* of the whole */
#define FLOW_STEP_SHOWN   KiB(16)  /* of one step */

struct flow_step {
    int step, parent;          /* parent 0: the whole */
    const char *kind, *state;  /* job chain group; waiting running done failed cancelled */
    bool continues;            /* on_failure of a group */
    const char *task, *queue;  /* of a job; NULL otherwise */
    const char *args, *job_id; /* job_id NULL: not begun */
    const char *result;        /* JSON text; NULL: none, or longer than FLOW_STEP_SHOWN */
    int64_t result_bytes;      /* 0: none */
    const char *error_code, *error;
    int64_t started_ms, finished_ms; /* 0: not yet */
};
struct flow_info {
    char id[ID_LEN + 1];
    const char *name, *state, *tenant_id, *trace; /* state: running completed failed cancelled */
    int64_t jobs, waiting, running, done, failed, cancelled; /* of its jobs; not in a list */
    int64_t created_ms, finished_ms;
    const char *result; /* once completed; NULL: none, or longer than FLOW_RESULT_SHOWN */
    int64_t result_bytes;
    struct flow_step *steps; /* a page of them */
    size_t nsteps;
    bool more; /* steps behind the page */
};
/* Texts are in cx's arena. Steps behind `after` (0: from the first), at most `limit`. tenant_id NULL:
 * of any tenant; a stranger's is NOT_FOUND. Parks. */
rc flow_load(struct cx *cx, struct pg *db, const char *id, const char *tenant_id, int after,
             int limit, struct flow_info *ret) MW_PARKS;
void flow_info_json(const struct flow_info *f, struct buf *out);

struct flow_filter {
    const char *tenant_id, *state; /* NULL: any */
    const char *after;             /* the last id seen; NULL: from the newest */
    int limit;                     /* 0: 50 */
};
/* Newest first; without counts, result and steps. Parks. */
rc flow_list(struct cx *cx, struct pg *db, const struct flow_filter *f, struct flow_info **ret,
             size_t *ret_n) MW_PARKS;
void flow_row_json(const struct flow_info *f, struct buf *out);

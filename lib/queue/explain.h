/* explain.h - why is this job not being carried out? One answer, for GET /v1/jobs/{id}/explain and
 * `mihwar job explain`.
 *
 *   what PostgreSQL says of the job ---.
 *   what is set for its queue ---------+--> facts --> checks, one after the other --> findings
 *   where Redis has it ----------------'              (a row each in explain.c)
 *
 * A finding has a code, which stays, and a sentence, which says what to do. The first that hinders
 * it is the headline; of a job that nothing hinders the last check says so. */
#pragma once
#include "queue/jobs.h"

struct finding {
    const char *code; /* "paused" */
    const char *text;
    int64_t until_ms; /* it is over by then without anybody's doing; 0: not known, or never */
    bool hinders;
    const char **
        jobs; /* ids of others that have what it waits for, at most FINDING_JOBS; none for a tenant, as
                          they may be another's */
    size_t njobs;
};
#define FINDING_JOBS 10
#define FINDINGS_MAX 32
struct explanation {
    struct job_info job;
    const struct finding *headline; /* one of the list */
    struct finding list[FINDINGS_MAX];
    size_t n;
};
/* Into cx's arena. Errors and tenant_id as of job_load. A Redis that does not answer within two seconds is a
 * finding; of a broker job nothing is known then, and the failure says so. Parks. */
rc engine_explain(struct cx *cx, struct engine *e, const char *id, const char *tenant_id,
                  struct explanation **ret) MW_PARKS;
/* As the API and --json show it: an object. */
void explanation_json(const struct explanation *x, struct buf *out);

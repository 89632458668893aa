/* jobs.h - a job as it is shown: GET /v1/jobs/{id}, `mihwar job show`. */
#pragma once
#include "queue/timeline.h"

#define JOB_EVENTS_SHOWN 20

struct job_attempt {
    int generation, attempt;        /* attempt: the claim number */
    const char *outcome;            /* completed retry snoozed dead cancelled */
    const char *error_code, *error; /* NULL: none */
    const char *worker;
    int64_t started_ms, finished_ms;
};
struct job_info {
    char id[ID_LEN + 1];
    const char *queue, *task, *args; /* args: JSON text */
    const char *state;               /* ready scheduled leased completed dead cancelled */
    bool durable, cancel_requested;
    int priority, generation, max_attempts,
        attempts_used; /* attempts_used: those that ended, without snoozes */
    int snoozes;       /* claims that used no attempt */
    int64_t timeout_ms, run_at_ms, created_ms, finished_ms; /* finished_ms 0: lives */
    const char *unique_key, *subject, *tenant_id, *trace;   /* NULL: none */
    const struct job_options *options;                      /* NULL: none */
    const char *progress, *result;                          /* JSON text, NULL: none */
    const char *last_error_code, *last_error;
    struct job_attempt *attempts; /* oldest first */
    size_t nattempts;
    struct job_event *events; /* the newest JOB_EVENTS_SHOWN, oldest of them first */
    size_t nevents;
};
/* Texts are in cx's arena. A broker job is known while Redis has it, and as a dead letter;
 * NOT_FOUND afterwards. tenant_id NULL: of any tenant; otherwise a stranger's job is NOT_FOUND.
 * Parks. */
rc job_load(struct cx *cx, struct engine *e, const char *id, const char *tenant_id,
            struct job_info *ret) MW_PARKS;
/* A durable job as PostgreSQL knows it: Redis is not asked, so a job under way is "ready" still. NOT_FOUND also for
 * broker jobs. Parks. */
rc job_load_stored(struct cx *cx, struct engine *e, const char *id, const char *tenant_id,
                   struct job_info *ret) MW_PARKS;
/* The job as the API and the command line show it, appended. */
void job_info_json(const struct job_info *j, struct buf *out);

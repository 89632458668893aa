/* dlq.h - the dead letters: jobs that nobody will try again by himself. They live in PostgreSQL,
 * grouped by what went wrong (fingerprint: the task, the error's code, and its words without
 * digits and ids). What people do here is audited by the caller. */
#pragma once
#include "queue/queue.h"

struct dlq_filter {
    const char *queue, *task; /* NULL: any */
    const char *error;        /* a fingerprint or an error code; NULL: any */
    const char *tenant_id;    /* NULL: any */
    const char *after; /* the id of the last one seen (newest first); NULL: from the newest */
    int limit;         /* 0: 50 */
    bool replayed;     /* also those that were put back already */
};
struct dead_letter {
    char id[ID_LEN + 1], job_id[ID_LEN + 1];
    int generation, priority, attempts;
    bool durable;
    const char *queue, *task, *args;
    const char *error_code, *error, *fingerprint, *worker;
    const char *errors;                      /* JSON: [{attempt, at, worker, code, error}] */
    const char *subject, *tenant_id, *trace; /* NULL: none */
    int64_t died_ms, replayed_ms;            /* replayed_ms 0: not yet */
};
/* Newest first, in cx's arena. Parks. */
rc dlq_list(struct cx *cx, struct pg *db, const struct dlq_filter *f, struct dead_letter **ret,
            size_t *ret_n) MW_PARKS;
rc dlq_get(struct cx *cx, struct pg *db, const char *id,
           struct dead_letter *ret) MW_PARKS; /* NOT_FOUND */
void dead_letter_json(const struct dead_letter *d, struct buf *out);

/* Puts jobs back: durable ones under the next generation with their attempts counted anew, broker
 * ones as a new job with the same id. Ids, or (n = 0) all that match the filter (its limit and
 * after are not looked at). rate_per_s > 0 spreads them: the k-th may run k/rate seconds from
 * now. Passed over and counted in *ret_skipped: replayed or alive already, or another live job
 * has the unique key. An id that is none: NOT_FOUND, nothing is replayed. Parks. */
rc dlq_replay(struct cx *cx, struct engine *e, const char *const *ids, size_t n,
              const struct dlq_filter *f, double rate_per_s, int64_t *ret_replayed,
              int64_t *ret_skipped) MW_PARKS;
/* Forgets dead letters (the jobs stay dead). NOT_FOUND when one of the ids is none (then nothing
 * is dropped). Parks. */
rc dlq_drop(struct cx *cx, struct pg *db, const char *const *ids, size_t n) MW_PARKS;
/* Each match as one line of JSON (without line feed) to fn, newest first; its failure ends the
 * walk. Parks. */
rc dlq_export(struct cx *cx, struct pg *db, const struct dlq_filter *f,
              rc (*fn)(struct cx *cx, const char *line, void *arg), void *arg) MW_PARKS;

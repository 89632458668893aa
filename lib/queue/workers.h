/* workers.h - the register: which processes live, what they do, and what is wished of them.
 *
 *   process --worker_beat--> card (JSON)                     who asks: worker ls, GET /v1/workers,
 *       |    one step      seen (name @ last beat)           top, metrics, explain, doctor
 *       |                  counts (counts.h) + what it counted since
 *       `<--- wish -----   wishes (name -> "drain")  <------ worker drain
 *
 * Nothing here is needed to carry out jobs: a Redis that was emptied has it again with the next
 * beat, but for wishes and counts, which begin anew. All of it is one hash slot. */
#pragma once
#include "base/json.h"
#include "queue/queue.h"

#define WORKERS_SILENT_MS 15000 /* three beats missed */
#define WORKERS_KEEP_MS   3600000
#define WORKERS_MAX       1000 /* listed; the latest seen */
#define WORKER_NAME_MAX   96

/* ---------------------------------------------------------------- for the process itself */

struct worker_beat {
    const char *name;   /* "host:pid", unique among the living */
    const char *card;   /* JSON text (worker_card_* below); NULL: it leaves */
    int64_t batch;      /* number of this batch of counts: another for each new one */
    const char **count; /* field, n, field, n ... (counts.h); may be NULL */
    size_t ncount;      /* of both together */
};
/* One round trip. *ret_drain: somebody wishes that it claims nothing more. Parks. */
rc workers_beat(struct cx *cx, struct engine *e, const struct worker_beat *b,
                bool *ret_drain) MW_PARKS;

/* ---------------------------------------------------------------- for those who ask */

struct worker_queue {
    const char *name;
    double busy;       /* slots taken by its jobs, on average of the last minute */
    double rate_per_s; /* ends, on the same average */
};
struct worker_job {
    const char *id, *task, *queue;
    int attempt;
    int64_t started_ms; /* wall */
};
struct worker_info {
    const char *name, *kind; /* kind: "worker", "beat" */
    int64_t age_ms;          /* since its last beat, by Redis' clock */
    bool silent;             /* no card any more: it died, or does not come through */
    bool drain;              /* wished; it is so once `draining` says so */
    const char *host, *version;
    int64_t pid, child, started_ms, concurrency, running, rss_bytes;
    bool draining; /* claims nothing more, by wish or because it ends */
    size_t nqueues, ntasks, noldest;
    struct worker_queue *queues;
    const char **tasks;        /* names that it knows, sorted */
    struct worker_job *oldest; /* running longest, the first first; a few */
    const cJSON *card;         /* the whole of it; NULL when silent */
};
/* By name; in cx's arena. A card that cannot be read counts as silent. Parks. */
rc workers_list(struct cx *cx, struct engine *e, struct worker_info **ret, size_t *ret_n) MW_PARKS;
/* Wish that it claims nothing more and only finishes what it has (drain), or that it claims again.
 * Taken notice of with its next beat. NOT_FOUND for a name that nobody bears. Parks. */
rc workers_wish(struct cx *cx, struct engine *e, const char *name, bool drain) MW_PARKS;
/* Does a living worker that serves the queue know the task? Parks. */
rc workers_know(struct cx *cx, struct engine *e, const char *queue, const char *task,
                bool *ret) MW_PARKS;
/* The same among workers that were listed already. queue NULL: any. */
bool worker_serves(const struct worker_info *w, const char *queue);
bool worker_knows(const struct worker_info *w, const char *task);
/* "up", "draining", "silent" */
const char *worker_state(const struct worker_info *w);
/* One as the API and --json show it: an object. */
void worker_print(struct buf *out, const struct worker_info *w);

/* counts.h - what worker processes have counted, all of them together: how attempts of a task ended
 * and how long they took, how long after its due time a job began.
 *
 *   field of the hash                      value
 *   t|QUEUE|TASK|OUTCOME                   attempts that ended so
 *   t|QUEUE|TASK|b0 .. b18                 attempts by how long they took (a bucket is not cumulative)
 *   t|QUEUE|TASK|us                        how long they took together, microseconds
 *   q|QUEUE|b0 .. b18, q|QUEUE|us          the same for due -> start
 *   p|KIND|cpu_us                          processor time of processes of a kind
 *   p|KIND|spans_sent, p|KIND|spans_dropped   spans of traces (rt/spans.h)
 *
 * Each process adds what is new with its beat (workers.h), each batch once. So the numbers only grow,
 * whoever restarts; they begin anew when Redis is emptied, and Prometheus knows that as a reset. What a
 * process counted in its last seconds is lost when it is killed. */
#pragma once
#include "queue/queue.h"

/* Upper bounds of the buckets; the last bucket has none. */
#define COUNT_BUCKETS 19
extern const int64_t count_bounds_us[COUNT_BUCKETS - 1];
size_t count_bucket(int64_t us);

enum count_outcome {
    COUNT_COMPLETED,
    COUNT_RETRY,
    COUNT_SNOOZED,
    COUNT_DEAD,
    COUNT_CANCELLED,
    COUNT_STALE,    /* it ended, and the fence refused: somebody else had the job */
    COUNT_RELEASED, /* given back by a drain */
    COUNT_UNKNOWN,  /* left to workers that know its task; of the task "_other" */
    COUNT_OUTCOMES,
};
const char *count_outcome_word(enum count_outcome o);

struct histogram {
    int64_t bucket[COUNT_BUCKETS];
    int64_t sum_us;
};
int64_t histogram_count(const struct histogram *h);
/* The bound under which a share of the values lies (0.5, 0.99), interpolated; ms; 0: no values. */
double histogram_quantile_ms(const struct histogram *h, double share);

struct task_counts {
    const char *queue, *task;
    int64_t ends[COUNT_OUTCOMES];
    struct histogram took;
};
struct queue_counts {
    const char *queue;
    struct histogram waited; /* due -> start */
};
struct kind_counts {
    const char *kind;
    int64_t cpu_us, spans_sent, spans_dropped;
};
struct counts {
    size_t ntasks, nqueues, nkinds;
    struct task_counts *tasks; /* by queue, then task */
    struct queue_counts *queues;
    struct kind_counts *kinds;
};
/* In cx's arena. Parks. */
rc counts_read(struct cx *cx, struct engine *e, struct counts *ret) MW_PARKS;

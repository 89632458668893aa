/* exposition.h - Prometheus' text format (0.0.4): a family's head once, then its samples.
 *
 *     family(out, "mihwar_queue_ready", "gauge", "jobs that a worker may claim now");
 *     sample(out, "mihwar_queue_ready", LABELS({"queue", name}), n);
 *
 * Values of labels are escaped; names are ours. */
#pragma once
#include "base/buf.h"
#include "queue/counts.h"

struct label {
    const char *name, *value;
};
#define LABELS(...)                                                                                \
    (const struct label[])                                                                         \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            NULL, NULL                                                                             \
        }                                                                                          \
    }
#define NO_LABELS ((const struct label *)NULL)

void family(struct buf *out, const char *name, const char *type, const char *help);
void sample(struct buf *out, const char *name, const struct label *labels, double value);
/* NAME_bucket, NAME_sum, NAME_count; bounds in seconds. */
void sample_histogram(struct buf *out, const char *name, const struct label *labels,
                      const struct histogram *h);

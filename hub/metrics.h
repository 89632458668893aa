/* metrics.h - numbers of all hub processes together, for Prometheus.
 *
 * Any process may answer /metrics, so the numbers live in one shared mapping made before the fork;
 * children add to it atomically. Each child's gauges are kept apart and cleared when it dies, so
 * that a crash leaves no ghost in them. */
#pragma once
#include "base/buf.h"

enum metric {
#define METRIC(NAME, type, name, help) METRIC_##NAME,
#include "hub/metrics.def"
#undef METRIC
    METRIC_COUNT
};
#define METRICS_CHILDREN 64

struct metrics;
/* Before the fork; aborts when memory cannot be mapped. */
struct metrics *metrics_new(void);
struct metrics *metrics_free(struct metrics *m);
/* In a child: its place among the gauges; clears what a predecessor left. */
void metrics_child(struct metrics *m, int index);
void metric_add(struct metrics *m, enum metric which, int64_t n);
/* This process's value of a gauge, or of a "lowest": of those, the smallest that is not 0 is shown, and none if there is none. */
void metric_set(struct metrics *m, enum metric which, int64_t value);
int64_t metric_lowest(const struct metrics *m, enum metric which);
int64_t metric_sum(const struct metrics *m, enum metric which);
/* One finished request of route number `route` (route_count: none matched). */
void metrics_request(struct metrics *m, size_t route, int status, int64_t took_us);
/* Prometheus text (exposition format 0.0.4). */
void metrics_print(const struct metrics *m, struct buf *out);

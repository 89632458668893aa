/* metrics.c - one shared mapping, atomic adds, no lock.
 *
 *   row per child:  [counters and gauges] [route × status class] [route × duration bucket, sum]
 *
 * Durations are cumulative only when printed. */
#include "hub/metrics.h"
#include "base/log.h"
#include "hub/router.h"
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ROUTES_MAX 64
#define CLASSES    6 /* 1xx .. 5xx at their number */

static const int64_t bucket_us[] = {500,   1000,   2500,   5000,   10000,   25000,
                                    50000, 100000, 250000, 500000, 1000000, 5000000};
#define BUCKETS (COUNT(bucket_us) + 1)

struct metrics_row {
    _Atomic int64_t value[METRIC_COUNT];
    _Atomic int64_t requests[ROUTES_MAX][CLASSES];
    _Atomic int64_t took[ROUTES_MAX][BUCKETS];
    _Atomic int64_t took_us[ROUTES_MAX];
};
struct metrics {
    int self;
    struct metrics_row *rows; /* METRICS_CHILDREN, shared */
};

static const struct {
    const char *type, *name, *help;
} metric_rows[] = {
#define METRIC(NAME, type, name, help) {type, name, help},
#include "hub/metrics.def"
#undef METRIC
};

struct metrics *metrics_new(void)
{
    struct metrics *m = xcalloc(1, sizeof *m);

    assert(route_count < ROUTES_MAX);
    m->rows = mmap(NULL, sizeof *m->rows * METRICS_CHILDREN, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (m->rows == MAP_FAILED) {
        log_ev(LOG_ERROR, "metrics.no_memory");
        abort();
    }
    return m;
}

struct metrics *metrics_free(struct metrics *m)
{
    if (m) {
        munmap(m->rows, sizeof *m->rows * METRICS_CHILDREN);
        free(m);
    }
    return NULL;
}

void metrics_child(struct metrics *m, int index)
{
    assert(index >= 0 && index < METRICS_CHILDREN);
    m->self = index;
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        if (strcmp(metric_rows[i].type, "counter") != 0)
            atomic_store(&m->rows[index].value[i], 0);
    }
}

void metric_add(struct metrics *m, enum metric which, int64_t n)
{
    atomic_fetch_add_explicit(&m->rows[m->self].value[which], n, memory_order_relaxed);
}

void metric_set(struct metrics *m, enum metric which, int64_t value)
{
    atomic_store_explicit(&m->rows[m->self].value[which], value, memory_order_relaxed);
}

int64_t metric_lowest(const struct metrics *m, enum metric which)
{
    int64_t lowest = 0;

    for (int i = 0; i < METRICS_CHILDREN; i++) {
        int64_t n = atomic_load_explicit(&m->rows[i].value[which], memory_order_relaxed);
        if (n && (!lowest || n < lowest))
            lowest = n;
    }
    return lowest;
}

int64_t metric_sum(const struct metrics *m, enum metric which)
{
    int64_t n = 0;

    for (int i = 0; i < METRICS_CHILDREN; i++)
        n += atomic_load_explicit(&m->rows[i].value[which], memory_order_relaxed);
    return n;
}

void metrics_request(struct metrics *m, size_t route, int status, int64_t took_us)
{
    struct metrics_row *row = &m->rows[m->self];
    size_t b = 0;

    assert(route <= route_count);
    while (b < COUNT(bucket_us) && took_us > bucket_us[b])
        b++;
    atomic_fetch_add_explicit(&row->requests[route][status / 100 % CLASSES], 1,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&row->took[route][b], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&row->took_us[route], took_us, memory_order_relaxed);
}

#define SUM(m, field)                                                                              \
    ({                                                                                             \
        int64_t sum_ = 0;                                                                          \
        for (int i_ = 0; i_ < METRICS_CHILDREN; i_++)                                              \
            sum_ += atomic_load_explicit(&(m)->rows[i_].field, memory_order_relaxed);              \
        sum_;                                                                                      \
    })

static void print_requests(const struct metrics *m, struct buf *out)
{
    buf_puts(out, "# HELP mihwar_hub_requests_total requests answered, by route and status class\n"
                  "# TYPE mihwar_hub_requests_total counter\n");
    for (size_t r = 0; r <= route_count; r++) {
        for (int c = 1; c < CLASSES; c++) {
            int64_t n = SUM(m, requests[r][c]);
            if (n)
                buf_printf(out, "mihwar_hub_requests_total{route=\"%s\",status=\"%dxx\"} %lld\n",
                           r < route_count ? routes[r].id : "none", c, (long long)n);
        }
    }
}

static void print_durations(const struct metrics *m, struct buf *out)
{
    buf_puts(out,
             "# HELP mihwar_hub_request_seconds time from the request's last byte to its reply\n"
             "# TYPE mihwar_hub_request_seconds histogram\n");
    for (size_t r = 0; r <= route_count; r++) {
        const char *id = r < route_count ? routes[r].id : "none";
        int64_t so_far = 0, total = 0;
        for (size_t b = 0; b < BUCKETS; b++)
            total += SUM(m, took[r][b]);
        if (total == 0)
            continue;
        for (size_t b = 0; b < COUNT(bucket_us); b++) {
            so_far += SUM(m, took[r][b]);
            buf_printf(out, "mihwar_hub_request_seconds_bucket{route=\"%s\",le=\"%g\"} %lld\n", id,
                       (double)bucket_us[b] / 1e6, (long long)so_far);
        }
        buf_printf(out,
                   "mihwar_hub_request_seconds_bucket{route=\"%s\",le=\"+Inf\"} %lld\n"
                   "mihwar_hub_request_seconds_sum{route=\"%s\"} %.6f\n"
                   "mihwar_hub_request_seconds_count{route=\"%s\"} %lld\n",
                   id, (long long)total, id, (double)SUM(m, took_us[r]) / 1e6, id,
                   (long long)total);
    }
}

void metrics_print(const struct metrics *m, struct buf *out)
{
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        bool lowest = strcmp(metric_rows[i].type, "lowest") == 0;
        int64_t n = lowest ? metric_lowest(m, (enum metric)i) : metric_sum(m, (enum metric)i);
        if (lowest && !n)
            continue;
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %lld\n", metric_rows[i].name,
                   metric_rows[i].help, metric_rows[i].name, lowest ? "gauge" : metric_rows[i].type,
                   metric_rows[i].name, (long long)n);
    }
    print_requests(m, out);
    print_durations(m, out);
}

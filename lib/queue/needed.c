/* needed.c - see needed.h. */
#include "queue/needed.h"
#include "base/util.h"

#define NEEDED_MAX 100000

static int64_t round_up(double x)
{
    int64_t n = x < NEEDED_MAX ? (int64_t)x : NEEDED_MAX;

    return n + ((double)n + 1e-9 < x && n < NEEDED_MAX);
}

int64_t workers_needed(const struct needed *n)
{
    double mean = n->mean_s > 0 ? n->mean_s : 1;
    double slots = n->busy + (double)n->ready * mean / NEEDED_DRAIN_S;
    int64_t by_slots = round_up(slots / (double)MAX(n->slots, 1)), by_rate = 0;

    if (n->ready == 0 && n->leased == 0)
        return 0;
    if (n->ready > 0 && n->oldest_s >= NEEDED_LATE_S && n->rate_per_s > 0) {
        double factor = 1 + (double)n->ready / (NEEDED_DRAIN_S * n->rate_per_s);
        by_rate = round_up((double)n->workers * MIN(factor, 2.0));
    }
    return MAX(MAX(by_slots, by_rate), INT64_C(1));
}

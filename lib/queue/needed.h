/* needed.h - how many worker processes a queue needs: a figure for whoever scales them. Pure.
 *
 *   slots = busy + ready x mean / 60 s         what it takes now, and to be through the backlog in a minute
 *   by slots = ceil(slots / slots of one worker)
 *   by rate  = ceil(workers x min(2, 1 + ready / (60 s x rate)))
 *              only while the oldest ready job has waited for 10 s: then what the workers do is not
 *              enough, whatever their slots say (a worker may be short of processor, not of slots); at most
 *              doubled at a time
 *   needed   = the larger of both; at least 1 while anything is ready or leased; 0 when nothing is */
#pragma once
#include <stdint.h>

#define NEEDED_DRAIN_S 60
#define NEEDED_LATE_S  10

struct needed {
    int64_t ready, leased;
    double oldest_s;   /* of the oldest ready job */
    double busy;       /* slots taken, on average of the last minute */
    double rate_per_s; /* ends, on the same average */
    double mean_s;     /* of one attempt; 0: not known, then a second */
    int64_t workers;   /* that serve the queue now */
    int64_t slots;     /* of one worker */
};
int64_t workers_needed(const struct needed *n);

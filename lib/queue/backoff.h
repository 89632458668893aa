/* backoff.h - when to try again: min(cap, base * factor^(attempt-1)), then jitter. Pure; the
 * caller brings the random number. */
#pragma once
#include <stdint.h>

enum jitter { JITTER_NONE, JITTER_FULL, JITTER_EQUAL, JITTER_DECORRELATED };
struct backoff {
    int64_t base_ms, cap_ms;
    double factor;
    enum jitter jitter;
};
/* attempt 1 is the first that failed; previous_ms the delay before it (decorrelated jitter; 0:
 * none); random uniform in [0, 2^64). At least 1, at most cap_ms. */
int64_t backoff_delay_ms(const struct backoff *b, int attempt, int64_t previous_ms,
                         uint64_t random);

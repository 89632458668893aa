/* backoff.c - the delay before the next try.
 *
 *   grown = min(cap, base * factor^(attempt-1))
 *   none          grown
 *   full          uniform in [0, grown]: spreads a crowd the widest
 *   equal         grown/2 + uniform in [0, grown/2]: spreads, but never comes back at once
 *   decorrelated  uniform in [base, 3 * previous]: wanders instead of marching in step
 */
#include "queue/backoff.h"
#include "base/util.h"

/* A 64-bit random number scaled to [0, span]. The 128-bit product keeps it uniform without a
 * loop. */
static int64_t spread(uint64_t random, int64_t span)
{
    return (int64_t)(((unsigned __int128)random * ((uint64_t)span + 1)) >> 64);
}

static int64_t grown_ms(const struct backoff *b, int attempt)
{
    double d = (double)b->base_ms;

    for (int i = 1; i < attempt && d < (double)b->cap_ms && b->factor > 1; i++)
        d *= b->factor;
    return d < (double)b->cap_ms ? (int64_t)d : b->cap_ms;
}

int64_t backoff_delay_ms(const struct backoff *b, int attempt, int64_t previous_ms, uint64_t random)
{
    int64_t d = grown_ms(b, attempt), top;

    switch (b->jitter) {
    case JITTER_NONE:
        break;
    case JITTER_FULL:
        d = spread(random, d);
        break;
    case JITTER_EQUAL:
        d = d / 2 + spread(random, d - d / 2);
        break;
    case JITTER_DECORRELATED:
        top = previous_ms > b->cap_ms / 3 ? b->cap_ms : previous_ms * 3;
        d = top > b->base_ms ? b->base_ms + spread(random, top - b->base_ms) : b->base_ms;
        break;
    }
    d = MIN(d, b->cap_ms);
    return MAX(d, 1);
}

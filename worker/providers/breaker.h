/* breaker.h - stop calling a provider that keeps failing, and find out gently when it is well again.
 *
 *                share of failures over the window reached `ratio`
 *      closed ------------------------------------------------------> open
 *        ^                                                             | open_ms passed (doubling to open_max_ms)
 *        |   `probes` calls in a row went well                         v
 *        `--------------------------------------------------------- half open: one call at a time
 *                                                a failure: open again, for twice as long
 *
 * Time is an argument (wall, ms): tests own the clock. One breaker serves one integration in one process; the states that
 * processes share are exchanged by the pool (breaker_adopt). */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum breaker_state; /* domain/shop/integrations.h: CLOSED, OPEN, HALF_OPEN */

struct breaker_opts {
    int64_t window_ms;
    int min_calls; /* fewer calls in the window decide nothing */
    double ratio;  /* of failures, in (0, 1] */
    int64_t open_ms, open_max_ms;
    int probes;
};
extern const struct breaker_opts breaker_defaults;

#define BREAKER_SLOTS 10
struct breaker {
    struct breaker_opts opts;
    int state; /* enum breaker_state */
    struct breaker_slot {
        int64_t start_ms;
        int calls, failures;
    } slots[BREAKER_SLOTS];
    int64_t until_ms;    /* open: until then */
    int64_t open_for_ms; /* how long it was opened last */
    int64_t probe_ms;    /* half open: when the probe under way began; 0: none */
    int good_probes;
};

void breaker_init(struct breaker *b, const struct breaker_opts *o);
/* May a call be made? Counts as the probe when half open. Otherwise *ret_until_ms says when to ask again. */
bool breaker_admits(struct breaker *b, int64_t now_ms, int64_t *ret_until_ms);
/* How a call ended. True when the state changed. */
bool breaker_note(struct breaker *b, bool ok, int64_t now_ms);
/* A call that was admitted and never made. */
void breaker_forget(struct breaker *b);
/* What another process decided. */
void breaker_adopt(struct breaker *b, int state, int64_t until_ms, int64_t now_ms);
/* Calls and failures of the window. */
void breaker_counts(const struct breaker *b, int64_t now_ms, int *ret_calls, int *ret_failures);

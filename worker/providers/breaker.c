/* breaker.c - a ring of slots over the window, and three states. */
#include "worker/providers/breaker.h"
#include "base/util.h"
#include "domain/shop/integrations.h"
#include <string.h>

const struct breaker_opts breaker_defaults = {
    .window_ms = 60 * 1000,
    .min_calls = 20,
    .ratio = 0.5,
    .open_ms = 15 * 1000,
    .open_max_ms = 5 * 60 * 1000,
    .probes = 2,
};

void breaker_init(struct breaker *b, const struct breaker_opts *o)
{
    *b = (struct breaker){.opts = *o, .state = BREAKER_CLOSED};
}

static int64_t slot_ms(const struct breaker *b)
{
    return MAX(b->opts.window_ms / BREAKER_SLOTS, 1);
}

static struct breaker_slot *slot_at(struct breaker *b, int64_t now_ms)
{
    int64_t start = now_ms - now_ms % slot_ms(b);
    struct breaker_slot *s = &b->slots[now_ms / slot_ms(b) % BREAKER_SLOTS];

    if (s->start_ms != start)
        *s = (struct breaker_slot){.start_ms = start};
    return s;
}

void breaker_counts(const struct breaker *b, int64_t now_ms, int *ret_calls, int *ret_failures)
{
    *ret_calls = *ret_failures = 0;
    for (int i = 0; i < BREAKER_SLOTS; i++) {
        int64_t age = now_ms - b->slots[i].start_ms;
        if (age >= 0 && age < slot_ms(b) * BREAKER_SLOTS) {
            *ret_calls += b->slots[i].calls;
            *ret_failures += b->slots[i].failures;
        }
    }
}

static void open_for(struct breaker *b, int64_t ms, int64_t now_ms)
{
    b->state = BREAKER_OPEN;
    b->open_for_ms = MIN(ms, b->opts.open_max_ms);
    b->until_ms = now_ms + b->open_for_ms;
    b->probe_ms = 0;
    b->good_probes = 0;
}

static void close_again(struct breaker *b)
{
    b->state = BREAKER_CLOSED;
    b->until_ms = b->open_for_ms = b->probe_ms = 0;
    b->good_probes = 0;
    memset(b->slots, 0,
           sizeof b->slots); /* the storm is over: it does not open the breaker twice */
}

bool breaker_admits(struct breaker *b, int64_t now_ms, int64_t *ret_until_ms)
{
    if (b->state == BREAKER_CLOSED)
        return true;
    if (b->state == BREAKER_OPEN && now_ms < b->until_ms) {
        *ret_until_ms = b->until_ms;
        return false;
    }
    b->state = BREAKER_HALF_OPEN;
    /* A probe whose end is never told (its process died, it was cancelled) is replaced after a while. */
    if (b->probe_ms && now_ms - b->probe_ms < b->opts.open_ms) {
        *ret_until_ms = b->probe_ms + b->opts.open_ms;
        return false;
    }
    b->probe_ms = now_ms;
    return true;
}

bool breaker_note(struct breaker *b, bool ok, int64_t now_ms)
{
    int before = b->state, calls, failures;

    if (b->state == BREAKER_HALF_OPEN) {
        b->probe_ms = 0;
        if (!ok)
            open_for(b, MAX(b->open_for_ms, b->opts.open_ms) * 2, now_ms);
        else if (++b->good_probes >= b->opts.probes)
            close_again(b);
        return b->state != before;
    }
    if (b->state == BREAKER_OPEN) /* a call that was under way when it opened */
        return false;
    struct breaker_slot *s = slot_at(b, now_ms);
    s->calls++;
    s->failures += !ok;
    breaker_counts(b, now_ms, &calls, &failures);
    if (!ok && calls >= b->opts.min_calls && failures >= b->opts.ratio * calls)
        open_for(b, b->opts.open_ms, now_ms);
    return b->state != before;
}

void breaker_forget(struct breaker *b)
{
    b->probe_ms = 0;
}

void breaker_adopt(struct breaker *b, int state, int64_t until_ms, int64_t now_ms)
{
    if (state == BREAKER_CLOSED && b->state != BREAKER_CLOSED) {
        close_again(b);
    } else if (state == BREAKER_OPEN && (b->state != BREAKER_OPEN || b->until_ms < until_ms)) {
        open_for(b, b->opts.open_ms, now_ms);
        b->until_ms = until_ms;
    }
}

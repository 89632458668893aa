/* misfire.c - beat was away, or late: which due times are made up for?
 *
 *     D . . . . L . now . N      D: the due time that is written down
 *                                L: the last one up to now, N: the next
 *
 *     skip   L, if it is not late by more than the grace
 *     once   L, however late
 *     all    D ... L, the newest BEAT_MISFIRE_MAX of them
 *
 * A change of leaders is no misfire: the grace is longer than that. */
#include "beat/beat.h"
#include "domain/clock/cron.h"
#include <string.h>

static void plan_all(const struct due_rule *r, int64_t due_ms, int64_t now_ms,
                     struct firing_plan *p)
{
    int64_t at = due_ms, next;
    size_t seen = 0;

    /* a period may have passed millions of times: only the end of the row counts */
    if (!r->tz && (now_ms - due_ms) / r->every_ms > BEAT_MISFIRE_MAX) {
        p->passed = (now_ms - due_ms) / r->every_ms - BEAT_MISFIRE_MAX;
        at += p->passed * r->every_ms;
    }
    for (;; at = next) {
        p->fire_ms[seen++ % BEAT_MISFIRE_MAX] = at;
        if (!due_next(r, at, &next) || next > now_ms)
            break;
    }
    p->n = MIN(seen, (size_t)BEAT_MISFIRE_MAX);
    p->passed += (int64_t)(seen - p->n);
    if (seen > BEAT_MISFIRE_MAX) { /* the ring, oldest first */
        int64_t ring[BEAT_MISFIRE_MAX];

        memcpy(ring, p->fire_ms, sizeof(ring));
        for (size_t i = 0; i < p->n; i++)
            p->fire_ms[i] = ring[(seen + i) % BEAT_MISFIRE_MAX];
    }
}

void firing_plan(const struct due_rule *r, const char *misfire, int64_t due_ms, int64_t now_ms,
                 struct firing_plan *p)
{
    int64_t last = due_last(r, due_ms, now_ms);

    *p = (struct firing_plan){0};
    if (!due_next(r, now_ms, &p->next_ms))
        p->next_ms = 0;
    if (!strcmp(misfire, "all") && last > due_ms) {
        plan_all(r, due_ms, now_ms, p);
        return;
    }
    p->passed = last > due_ms;
    if (!strcmp(misfire, "skip") && now_ms - last > BEAT_GRACE_MS) {
        p->skip_ms = last;
        p->passed++;
    } else
        p->fire_ms[p->n++] = last;
}

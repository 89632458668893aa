/* doctor.h - what is wrong, or soon will be, with the house: its stores, its engine, its processes.
 *
 * Each finding is one line: how bad, what was found, what it means, what to do. Reads only; takes a
 * second or two on a large house. */
#pragma once
#include "base/settings.h"
#include "queue/queue.h"

enum finding_level { FINDING_OK, FINDING_WARN, FINDING_BAD };
struct finding {
    enum finding_level level;
    const char *check;   /* "redis-eviction": stable */
    const char *found;   /* "maxmemory-policy is allkeys-lru" */
    const char *meaning; /* NULL when all is well */
    const char *todo;    /* NULL when all is well */
};
const char *finding_word(enum finding_level l); /* "ok", "warn", "bad" */

struct doctor {
    const struct settings *settings;
    struct pg *db;
    struct redis *redis;
    struct engine *engine;
};
/* In the order of the checks; in cx's arena. A store that does not answer is a finding, not a failure:
 * only DEADLINE and CANCELLED of the caller are returned. Parks. */
rc doctor_look(struct cx *cx, const struct doctor *d, struct finding **ret, size_t *ret_n) MW_PARKS;

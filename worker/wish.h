/* wish.h - a job that somebody asks for through mihwar.h, read and copied.
 *
 * struct mw_new is the caller's; struct job_new is the engine's. What lies between is checked here, so
 * that a task hears of a mistake where it made it. */
#pragma once
#include "lib/mihwar.h"
#include "queue/queue.h"

struct wish {
    struct job_new job; /* its texts are in the arena */
    struct job_options options;
};
/* Texts are copied into `a`. INVALID_FIELD and the like. now_ms: wall. */
rc wish_read(struct cx *cx, struct arena *a, const struct mw_new *n, int64_t now_ms,
             struct wish *ret);

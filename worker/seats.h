/* seats.h - places for jobs that need more than a fiber: a process or a thread of their own.
 *
 *   claimed --> standing --seat free--> seated --> ended
 *
 * Who stands holds its lease and its slot, and its time has not begun. When as many stand as there are
 * seats, the pool claims nothing more: the others are for other workers. */
#pragma once
#include "rt/waitq.h"

struct pool;
struct job;

enum seat { SEAT_PROCESS, SEAT_THREAD, SEATS };

struct seats {
    struct gate gate; /* limit 0: no task here needs one */
    size_t standing;
};

/* Sits down; the job's deadline counts from then on. CANCELLED: the drain came first, the job goes back. Parks. */
rc seat_take(struct cx *cx, struct job *job, enum seat s) MW_PARKS;
void seat_leave(struct pool *p, enum seat s);
/* The drain: who stands goes back at once. */
void seats_dismiss(struct pool *p);
/* Enough stand. */
bool seats_crowded(const struct pool *p);
/* So many jobs are worth claiming at once. */
size_t seats_batch(const struct pool *p);

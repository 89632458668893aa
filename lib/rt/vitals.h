/* vitals.h - what a child tells its supervisor, in memory that both see.
 *
 *     child   beats: a timer of its loop          turns: what it is there for (a worker's claims)
 *             wishes: ready, replace me           ring: its last log lines
 *     parent  looks a few times in `stuck_ms`; SIGUSR1 tells it to look at the wishes now
 *
 * Counters that only grow, written by one side: no lock, and a child that is killed between two instructions leaves nothing torn. */
#pragma once
#include "base/log.h"

struct vitals {
    _Atomic unsigned beats, turns;
    _Atomic bool working; /* turns are expected: it could take work */
    _Atomic bool ready;   /* it is up: whom it replaces may leave */
    _Atomic bool weary;   /* it wants to be replaced */
    struct log_ring ring;
};

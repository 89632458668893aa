/* obituary.h - how a process ended, in the words that a dead letter and an attempt's error use.
 *
 *     "signal 6 (Aborted), peak memory 41 MiB; its last lines: lvl=fatal ev=child.aborted ..."
 *
 * The same for a child of a supervisor and for a program that a task ran. */
#pragma once
#include "base/buf.h"
#include <sys/types.h>

enum stuck {
    STUCK_NOT,
    STUCK_LOOP,   /* no heartbeat: a fiber blocked, or computed without end */
    STUCK_IDLE,   /* heartbeats, but does nothing of what it is there for */
    STUCK_FROZEN, /* not even SIGABRT was heard: stopped, or in the kernel */
};

struct obituary {
    pid_t pid;
    int status;       /* of wait4 */
    int64_t peak_kib; /* rusage.ru_maxrss; 0: not known */
    int64_t alive_ms;
    enum stuck stuck; /* why its supervisor ended it */
    char *lines;      /* what it said last, whole lines; NULL: not known. Owned. */
};

/* "exit status 3, peak memory 12 MiB", without the lines. */
void obituary_words(const struct obituary *o, struct buf *b);
/* Its last lines that name `about` (an id; NULL: all) or were its very last words (lvl=fatal), at most `max` of
 * them, each behind "| ". Nothing when there are none. Another job's lines are nobody's business. */
void obituary_lines(const struct obituary *o, const char *about, size_t max, struct buf *b);
bool obituary_killed(const struct obituary *o); /* from outside: SIGKILL, SIGTERM */

/* child.h - what the supervisor hands to a child; inside lib/rt only. */
#pragma once
#include "rt/vitals.h"
#include <sys/types.h>

struct child_link {
    struct vitals *vitals; /* NULL: nobody watches */
    pid_t parent;
    bool replaceable;
    int64_t beat_every_ms; /* 0: no heartbeat */
};
void child_linked(const struct child_link *link);

/* room.h - what a process has heard of queues that are bounded, drained or spread: read from PostgreSQL
 * when it is wanted, every two seconds at most. For this room; engine_room is in policy.h. */
#pragma once
#include "queue/queue.h"

struct bounds;
void bounds_free(struct bounds *b);
/* It is asked anew by whoever wants it next. */
void bounds_forget(struct engine *e);
/* Parks, at times. */
rc bounds_look(struct cx *cx, struct engine *e) MW_PARKS;
/* The refusal in words: `word` as of room.lua. */
rc queue_is_full(struct cx *cx, const char *queue, const char *word, int64_t bound);

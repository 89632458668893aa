/* events.h - what `celery events` and Flower read: fanout messages on a channel a type.
 *
 *   /3.celeryev/task.succeeded   {"type", "hostname", "pid", "clock", "timestamp", "utcoffset", + the type's own} */
#pragma once
#include "celery/celery.h"

/* Lamport's clock of one worker: seen() for what comes, one more for each event sent. */
struct celery_clock {
    int64_t now;
};
void celery_clock_seen(struct celery_clock *k, int64_t other);

/* `fields`: further members of the event, beginning with a comma, or "". Nobody may be listening: that is no error.
 * Parks. */
rc celery_event(struct cx *cx, struct celery *c, struct celery_clock *k, const char *node,
                const char *type, const char *fields) MW_PARKS;
/* The same in two steps: one event as JSON, appended; and a list of them, on a channel of its own ("task.multi"). */
void celery_event_put(struct buf *b, struct celery_clock *k, const char *node, const char *type,
                      const char *fields);
rc celery_events_send(struct cx *cx, struct celery *c, const char *node, const char *key,
                      const char *body, size_t len) MW_PARKS;
/* The channel (in cx's arena) of a fanout exchange; `key` may be NULL. */
const char *celery_channel(struct cx *cx, const struct celery *c, const char *exchange,
                           const char *key);

/* names.h - where things stand in a Celery broker: its database and the names that Celery's
 * broker_transport_options can change.
 *
 *   {"global_keyprefix": "shop:", "visibility_timeout": 3600, "sep": "\u0006\u0016", "priority_steps": [0,3,6,9],
 *    "unacked_key": "unacked", "unacked_index_key": "unacked_index", "unacked_mutex_key": "unacked_mutex",
 *    "unacked_mutex_expire": 300, "fanout_prefix": true, "fanout_patterns": true, "queue_order_strategy": "round_robin"}
 *
 * are the defaults of kombu 5.2 (but the prefix, which is empty). The setting is that object as it stands in the
 * Python application; what concerns only Python's client (socket_timeout and the like) is passed over. */
#pragma once
#include "base/buf.h"
#include "base/cx.h"

#define CELERY_STEPS_MAX 10
#define CELERY_NAME_MAX  255 /* of queues, exchanges, tasks, ids: characters */

struct celery_names {
    int db;
    char *prefix; /* global_keyprefix: before every key and channel of the broker */
    char *sep;
    int steps[CELERY_STEPS_MAX];
    size_t nsteps;
    char *unacked, *unacked_index, *unacked_mutex; /* with the prefix */
    int64_t mutex_ms, visibility_ms;
    char *fanout; /* "/3." (with the prefix), or "" */
    bool fanout_patterns;
    bool
        rotate; /* round_robin; otherwise the queues are served in the order in which they are named */
};

/* `options`: JSON text, "" for the defaults; db: of the broker's URL. Error: CONFIG. Release in both cases. */
rc celery_names_read(struct cx *cx, const char *options, int db, struct celery_names *ret);
void celery_names_release(struct celery_names *n);

/* The list that a message of this queue and priority (0 first, clamped to 0..9) waits in. */
void celery_put_queue_key(struct buf *b, const struct celery_names *n, const char *queue,
                          int priority);
/* The same for a step, by its place in steps. */
void celery_put_step_key(struct buf *b, const struct celery_names *n, const char *queue,
                         size_t step);
/* A name of ours in the same database: PREFIX + "mihwar.celery." + name. */
char *celery_own_key(struct cx *cx, const struct celery_names *n, const char *name);

/* A Celery URL as lib/redis reads it: redis+socket:///path?virtual_host=1 becomes unix:/path?db=1, others stay. In
 * cx's arena; *ret_db is its database. Error: CONFIG. */
rc celery_url(struct cx *cx, const char *url, const char **ret, int *ret_db);

/* celery.h - one application of Celery as we see it: its broker, its result store, who gets which task.
 *
 *     struct celery *c;
 *     try(celery_open(cx, settings, &c));
 *     struct celery_new m = {.task = "shop.tasks.mail", .args = RAW("[42]"), .group_index = -1};
 *     try(celery_send(cx, c, &m));                        the id is in m.id
 *     try(celery_result_wait(cx, c, settings, m.id, &r)); until cx's deadline
 *
 * Parks, so on fibers only. */
#pragma once
#include "base/settings.h"
#include "celery/message.h"
#include "redis/redis.h"

struct celery {
    struct redis *broker, *results; /* may be the same */
    struct celery_names names;
    int64_t result_ttl_ms; /* 0: for ever */
    const char *routes;    /* of the settings */
    char origin[96];       /* "gen123@host" */
};

/* CONFIG when celery_broker_url is empty or a setting is wrong. Opens no connection yet. */
rc celery_open(struct cx *cx, const struct settings *s, struct celery **ret);
struct celery *celery_free(struct celery *c);
/* A further connection to its broker: to block or to listen on. */
rc celery_connect(struct cx *cx, const struct settings *s, struct redis **ret);

/* The queue that celery_routes gives to a task; "celery" if none fits. In cx's arena. */
const char *celery_route(struct cx *cx, const struct celery *c, const char *task);
/* Puts it into its queue (queue NULL: celery_route). Error besides Redis': BUFFER_FULL, INVALID_FIELD. Parks. */
rc celery_send(struct cx *cx, struct celery *c, struct celery_new *m) MW_PARKS;

struct celery_result {
    const char *status;     /* "PENDING" when there is none */
    struct raw result, all; /* all: the whole; n = 0: there is none */
    const char *traceback;  /* NULL: none */
    bool ready;             /* SUCCESS, FAILURE or REVOKED */
};
/* In cx's arena. Parks. */
rc celery_result_get(struct cx *cx, struct celery *c, const char *id,
                     struct celery_result *ret) MW_PARKS;
/* Until it is ready; DEADLINE when it is not by cx's deadline. Told by Redis, not asked for. Parks. */
rc celery_result_wait(struct cx *cx, struct celery *c, const struct settings *s, const char *id,
                      struct celery_result *ret) MW_PARKS;
/* "celery-task-meta-ID" in cx's arena. */
const char *celery_result_key(struct cx *cx, const char *id);

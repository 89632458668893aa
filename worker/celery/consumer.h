/* consumer.h - the worker at Celery's table: takes messages from its queues, carries them out, answers in its words.
 *
 *   watchers: BLMOVE list list (a look that takes nothing) ──> pump ──claim──> run fibers (≤ celery_concurrency)
 *   beat: claims as fresh as now, dead claimers restored       control: pidbox     events: heartbeats, task events
 *
 * One for each child of the worker, beside its pool, with the same tasks; it costs nothing where celery_broker_url
 * is empty. */
#pragma once
#include "celery/claims.h"
#include "celery/events.h"
#include "rt/waitq.h"
#include "worker/celery/revoked.h"
#include "worker/run.h"
#include <sys/queue.h>

struct celery_run {
    TAILQ_ENTRY(celery_run) link;
    struct consumer *consumer;
    struct job_run run; /* what the task and its calls see; its `pool` is ours */
    char *text, *tag;   /* of the message */
    size_t len, list;
    struct celery_message m;
    struct arena arena; /* of m */
    rc unread;          /* why the message cannot be read; OK: it was */
    char *why;
    bool begun;      /* its task runs, or ran */
    bool leaving;    /* its claim is being given up */
    bool suspect;    /* counted in suspects */
    bool terminated; /* by the remote control */
    double started;  /* wall, seconds */
};
TAILQ_HEAD(celery_run_list, celery_run);

struct watcher {
    struct consumer *consumer;
    struct redis *redis;
    struct fiber *fiber;
    size_t list;
};

struct consumer {
    struct pool *pool;
    const struct settings *settings;
    struct celery *celery;
    struct celery_claimer claimer;
    struct celery_lists lists;
    char **queues;
    size_t nqueues, turn;
    bool *cancelled;    /* by queue: control cancel_consumer */
    int64_t *rest_mono; /* by list: nothing but unknown tasks in it, look again then */
    int64_t *rest_ms;   /* by list: how long the last rest was */
    struct watcher *watchers;
    struct redis *sub; /* the remote control */
    struct celery_run_list runs;
    size_t nruns, limit;
    size_t suspects; /* under way, of messages that a worker died over */
    struct waitq idle;
    bool hot, draining, cut, ended;
    bool looking;   /* the watchers may block: there was nothing to claim */
    int64_t due_ms; /* of the schedule; 0: none */
    struct fiber *pump, *beat, *control, *post, *quarantine;
    struct revoked revoked;
    struct celery_clock clock;
    char node[160]; /* mihwar-0@host */
    int64_t started_ms, processed;
    int64_t *counts; /* by the task's place in the registry: how often (stats) */
    bool events_on;
    struct buf events; /* gathered, comma separated */
    size_t nevents;
    bool heart;       /* a heartbeat is wanted now */
    struct buf inbox; /* control messages: length, text */
    struct arena arena;
};

/* NULL in *ret when celery_broker_url is empty. CONFIG. */
rc consumer_open(struct cx *cx, struct pool *p, struct consumer **ret);
void consumer_start(struct consumer *c);
/* No more claims; what runs may finish; at the end the pool's pump is woken. All take NULL. */
void consumer_drain(struct consumer *c);
/* The grace is nearly over: what still runs is cancelled and put back. */
void consumer_cut(struct consumer *c);
bool consumer_ended(const struct consumer *c);
struct consumer *consumer_close(struct consumer *c);

/* carry.c: one message; takes the run over. */
void carry_begin(struct celery_run *r);
struct celery_run *celery_run_free(struct celery_run *r);
/* consumer.c, for carry.c: a run has ended. */
void consumer_done(struct consumer *c, struct celery_run *r);
/* Something of the schedule is due then (0: nothing); the pump looks at that time. */
void consumer_due(struct consumer *c, int64_t at_ms);
/* beat.c, post.c, control.c, quarantine.c: fibers of the consumer (arg). */
rc consumer_beat(struct cx *cx, void *arg) MW_PARKS;
rc consumer_post(struct cx *cx, void *arg) MW_PARKS;
rc consumer_control(struct cx *cx, void *arg) MW_PARKS;
rc consumer_quarantine(struct cx *cx, void *arg) MW_PARKS;
/* post.c: an event of a task, sent with the others of this turn; `fields` as in celery_event. */
void consumer_event(struct consumer *c, const char *type, const char *fields);
/* The fields of worker-heartbeat and its like. */
void consumer_vitals(const struct consumer *c, struct buf *b);
/* control.c: subscribes when the connection is (re)made. */
void consumer_listen(struct consumer *c);

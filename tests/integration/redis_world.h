/* redis_world.h - more than one Redis: servers with roles, a real worker and a real beat on them, a
 * producer that never stops, and the books at the end.
 *
 *   producer ──jobs──► PostgreSQL ◄── worker ──► [ Redis servers: killed, moved, frozen ] ◄── beat
 *
 * Every durable job that was committed must have come to its end, once: one completed attempt in
 * PostgreSQL, written in the transaction that ended it. */
#pragma once
#include "queue/queue.h"
#include "tests/support/fibers.h"
#include "tests/support/stores.h"

#define WORLD_SERVERS 8
#define WORLD_QUEUES  4

struct world {
    struct stores stores; /* PostgreSQL only, migrated */
    struct proc *server[WORLD_SERVERS];
    int port[WORLD_SERVERS], bus[WORLD_SERVERS]; /* bus: of a cluster's nodes */
    bool cluster;                                /* servers are nodes of one */
    char url[512];                               /* for the programs */
    struct proc *worker, *beat;
    struct redis *redis; /* the producer's; made by world_run */
    struct pg *db;
    struct engine *engine;
    bool stop; /* the producers */
    int producing;
    int64_t produced;
};

/* PostgreSQL, and nothing else yet. */
void world_open(struct world *w);
/* redis-server number n on its port (a free one the first time), with more options ("--name",
 * "value", …, NULL). Files in DIR/redis-n. Waits until it answers. A port that somebody else took
 * meanwhile is changed for another one, unless the server was there before. */
void world_server(struct world *w, int n, const char *const *more);
/* As redis_one, to server n; "" when it does not answer. password may be NULL. */
const char *world_ask(struct world *w, int n, const char *fmt, ...) _printf_(3, 4);
#define WORLD_PASSWORD "s3cret"

/* Worker (two children) and beat on w->url. env: more settings, NULL-terminated, may be NULL. */
void world_programs(struct world *w, const char *const *env);
/* SIGTERM to both; each must end with status 0. */
void world_end_programs(struct world *w);
void world_close(struct world *w);

/* body on a fiber, with w->redis, w->engine, w->db. */
void world_run(struct world *w, rc (*body)(struct cx *cx, struct world *w));

/* From now on durable jobs go into all queues, from several fibers; what Redis does not take is left
 * to the reconciler. */
void world_produce(struct world *w);
int64_t world_done(struct world *w); /* jobs that came to their end */
/* Parks until cond (looked at every 20 ms). */
#define world_wait(cx, cond, ms)                                                                   \
    do {                                                                                           \
        int64_t end_ = support_now_ms() + (ms);                                                    \
        while (!(cond)) {                                                                          \
            ck_assert_msg(support_now_ms() < end_, "not within %d ms: %s", (int)(ms), #cond);      \
            ck_ok(fiber_sleep((cx), 20));                                                          \
        }                                                                                          \
    } while (0)
/* How often the trouble comes: MIHWAR_CHAOS_ROUNDS, or once. */
int world_rounds(void);
/* Jobs go on being finished: 50 more than now. Prints how long it took after `what`. */
void world_goes_on(struct cx *cx, struct world *w, const char *what);
/* Stops the producer, sweeps until everything has ended, and compares the books. */
void world_books(struct cx *cx, struct world *w);

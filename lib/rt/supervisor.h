/* supervisor.h - prefork: a parent that only watches, children that work.
 *
 *   parent: SIGTERM, SIGINT    TERM to the children, wait `grace_ms`, then KILL
 *           SIGHUP             on_reload decides: passed on to each, or each is replaced
 *           SIGQUIT            passed on to each (fiber dump)
 *   child:  died untold        restarted after 100 ms, doubling to 10 s, with jitter;
 *                              100 ms again after 60 s alive
 *           weary              replaced: its successor is up before it drains
 *           stuck              told to dump its fibers, aborted, killed; restarted at once
 *
 *   seats   [up] [up] | [ ] [ ]        `children` work; with `spares` as many seats again, for successors
 *            `-- weary: successor starts in a free seat, says ready -> TERM to this one -> [ ]
 *
 * Everything process-wide (curl_global_init, settings, sockets to listen on) is made before; loops,
 * connections and fibers after the fork, in child_main. Children end when the parent is gone
 * (PR_SET_PDEATHSIG). */
#pragma once
#include "base/cx.h"
#include "rt/obituary.h"

enum reload {
    RELOAD_PASS,    /* children get the SIGHUP */
    RELOAD_REPLACE, /* one after the other is replaced by one that is forked now */
    RELOAD_NOTHING,
};

struct supervisor_opts {
    const char *name; /* "hub" */
    int children;     /* 0: child_main runs in this process, with the same signals */
    bool spares;      /* child_main gets an index below 2 * children, not below children */
    int64_t grace_ms;
    int64_t stuck_ms; /* without a heartbeat or a turn for so long it is stuck; 0: nobody looks */
    int (*child_main)(int index, void *arg); /* returns the exit status */
    void *arg;
    void (*on_exit)(int index, const struct obituary *o,
                    void *arg);          /* in the parent; may be NULL */
    enum reload (*on_reload)(void *arg); /* in the parent; NULL: RELOAD_PASS */
};
/* Runs until told to stop; the exit status of the program (0 after a clean drain). */
int supervisor_run(const struct supervisor_opts *o);
/* The delay before a restart, without its jitter (up to a quarter more); last_delay_ms 0: never
 * restarted before. */
int64_t supervisor_delay_ms(int64_t last_delay_ms, int64_t alive_ms);
/* In on_reload: the grace and the stuck_ms from now on. */
void supervisor_retime(int64_t grace_ms, int64_t stuck_ms);

/* ---------------------------------------------------------------- in a child (child.c)
 *
 * After loop_init: what its signals do. on_stop runs once on the loop at SIGTERM/SIGINT
 * (or when the parent is gone), on_reload at SIGHUP. SIGQUIT dumps fibers; so does an abort(), as far as a
 * signal handler can. The heartbeat begins, and the successor of another is ready. */
void child_signals(void (*on_stop)(void *), void (*on_reload)(void *), void *arg);
/* Raises RLIMIT_NOFILE to its hard limit and says so when that is < need. */
void child_raise_files(long need);
/* Turns are expected from now on, or not (a full worker takes no work). */
void child_working(bool working);
/* It did what it is there for. An increment in shared memory. */
void child_turn(void);
/* Replace me: a successor is started, then this process is told to stop. Once is enough. Without a supervisor or without
 * spares nothing happens. */
void child_weary(const char *why, int64_t amount);

/* supervisor.h - prefork: a parent that only watches, children that work.
 *
 *   parent: SIGTERM, SIGINT    TERM to the children, wait `grace_ms`, then KILL
 *           SIGHUP, SIGQUIT    passed on to each (reload, fiber dump)
 *   child:  died untold        restarted after 100 ms, doubling to 10 s, with jitter;
 *                              100 ms again after 60 s alive
 *
 * Everything process-wide (curl_global_init, settings, sockets to listen on) is made before; loops,
 * connections and fibers after the fork, in child_main. Children end when the parent is gone
 * (PR_SET_PDEATHSIG). */
#pragma once
#include "base/cx.h"

struct supervisor_opts {
    const char *name; /* "hub" */
    int children;     /* 0: child_main runs in this process, with the same signals */
    int64_t grace_ms;
    int (*child_main)(int index, void *arg); /* returns the exit status */
    void *arg;
    void (*on_exit)(int index, int status, void *arg); /* in the parent; may be NULL */
};
/* Runs until told to stop; the exit status of the program (0 after a clean drain). */
int supervisor_run(const struct supervisor_opts *o);
/* The delay before a restart, without its jitter (up to a quarter more); last_delay_ms 0: never
 * restarted before. */
int64_t supervisor_delay_ms(int64_t last_delay_ms, int64_t alive_ms);

/* In a child, after loop_init: what its signals do. on_stop runs once on the loop at SIGTERM/SIGINT
 * (or when the parent is gone), on_reload at SIGHUP. SIGQUIT dumps fibers. Raises RLIMIT_NOFILE to
 * its hard limit and says so when that is < need. */
void child_signals(void (*on_stop)(void *), void (*on_reload)(void *), void *arg);
void child_raise_files(long need);

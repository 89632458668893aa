/* errand.h - one job in a process of its own: what it is given, what it says, how it is ended.
 *
 *      job's fiber ── memory file ──> fd 0      read as it likes: nobody waits with writing
 *          on_out  <── pipe ───────── fd 1 (a task: 3)
 *          lines   <── pipe ───────── fd 2      lines of the job's log; the last ones are kept for its error
 *          previous ── memory file ─> fd 3      a program in a workflow: what stood before it (MIHWAR_PREVIOUS=/dev/fd/3)
 *
 *      cancelled (soft limit, a wish, the drain)   SIGTERM, then SIGKILL: at the hard limit, or after worker_kill_grace
 *      hard limit                                  SIGKILL
 *
 * Always to the whole process group. What is still in the pipes when the process has ended is read, what its
 * descendants write later is not waited for. */
#pragma once
#include "base/buf.h"
#include "worker/nursery.h"
#include "worker/task.h"

#define ERRAND_TAIL_MAX KiB(2) /* bytes of its last lines */

struct errand {
    struct job *job;
    /* n bytes that it wrote to its output; not called after errand_run has returned */
    void (*on_out)(struct errand *e, const char *p, size_t n);
    void *arg;
    const char *previous; /* for a program's descriptor 3; NULL: none */
    /* what became of it */
    struct ward ward;
    rc cut; /* OK, CANCELLED or DEADLINE: we ended it, or asked it to end */
    bool killed;
    int64_t snooze_ms; /* "::snooze 30s" on stderr; 0: not said */
    /* own */
    int fds[2];
    struct event *on_read[2];
    struct buf line, tail;
    size_t lines;
};

/* Waits for a place among worker_children, then carries it out, in the time that the job has from then on. in: its
 * standard input. What the process made of it is in *e; errors are of our own house. Parks. */
rc errand_run(struct cx *cx, struct errand *e, const struct birth *b, const void *in,
              size_t in_len) MW_PARKS;
void errand_release(struct errand *e);
/* A sentence on an end that was not good: exit status or signal, peak memory, last lines. */
void errand_story(const struct errand *e, struct buf *out);

/* child.h - one program, run to its end under limits.
 *
 *      fork, exec argv (never a shell) ── stdin: the input, from memory; or nothing
 *        own process group              ── stdout, stderr: kept up to a ceiling, the rest is read and thrown away
 *        dies with us                   ── time limit: TERM to the group, KILL after kill_ms
 *
 * What is left of the group when the program has ended is killed: a command leaves nothing behind, unless it begins a session of its own
 * (setsid). Its environment is PATH, LANG and what the caller adds. */
#pragma once
#include "base/buf.h"
#include "base/cx.h"

struct child_opts {
    char *const *argv;      /* argv[0] is an absolute path; ends with NULL */
    const char *const *env; /* "NAME=value", added; ends with NULL; may be NULL */
    const char *input;      /* NULL: stdin is empty */
    size_t output_max;      /* bytes of stdout */
    int64_t limit_ms, kill_ms;
};

struct child_end {
    struct buf out, err; /* as the program wrote them, to their ceilings */
    bool cut;            /* stdout had more */
    bool late;           /* the time limit ended it */
    int exit_status;     /* or -1 */
    int signal;          /* that ended it, or 0 */
};

/* OK however it ended, also when argv[0] cannot be started (exit status 127, and stderr says why). OS: no process, no pipe.
 * CANCELLED: it was killed. The context's deadline ends it like limit_ms. Parks. */
rc child_run(struct cx *cx, const struct child_opts *o, struct child_end *ret) MW_PARKS;
void child_end_release(struct child_end *e); /* for _cleanup_ */

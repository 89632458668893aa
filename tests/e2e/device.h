/* device.h - a machine with mihwar-agent on it: a directory with its file, its token, its journal, and three programs that it allows.
 *
 *   mark   writes its job's id into DIR/marks and answers {"marked":true}
 *   slow   the same at its beginning, then waits until the test lets it go
 *   echo   answers with its payload
 *
 * A command that is there twice in DIR/marks was carried out twice, whatever anybody believes. */
#pragma once
#include "tests/support/proc.h"

struct device {
    char dir[128], agent_id[64];
    struct proc *agent; /* while it runs */
};

/* url: of the hub; more: lines for [agent]. Times are short. */
void device_make(struct device *d, const char *agent_id, const char *url, const char *token,
                 const char *more);
/* Write a file of the device anew. */
void device_put(const struct device *d, const char *name, const char *text);
void device_start(struct device *d);
/* kill -9 of the agent, and what is known of the process. */
void device_kill(struct device *d);
/* How often a program of its began its work. */
int device_marks(const struct device *d);
void device_let_go(const struct device *d); /* slow ends */

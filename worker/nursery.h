/* nursery.h - processes for jobs: tasks of kind MW_CHILD, and programs (--exec).
 *
 *      worker child ──fork, before its loop and threads──> nursery (cradle.c): no loop, no threads, no stores
 *        │  order: program or task, its descriptors               │
 *        ├──────────────── socketpair ───────────────────────────>├─ fork ─> ward (a process group of its own)
 *        │<─────────────── started, ended ────────────────────────┤  wait4
 *        `─ kill ─────────────────────────────────────────────────>`─ kill(-group)
 *
 * The nursery is small and knows nobody, so forking it is cheap and safe, and a ward inherits nothing of ours. Only
 * the nursery reaps, so a signal can never meet a stranger with the same pid. When its worker is gone it reads
 * the end of the socket, kills all that it has and leaves; it is the subreaper of what its wards leave behind. A ward
 * whose nursery is gone is killed by the kernel. */
#pragma once
#include "rt/fiber.h"
#include <sys/queue.h>
#include <sys/types.h>

/* ---------------------------------------------------------------- the worker's side (nursery.c) */

/* In a worker process, before its loop and its threads; at most one. task_main runs the task of that
 * number in a ward (fd 0: what it is given, fd 3: what it tells), and returns its exit status. OS. */
rc nursery_start(struct cx *cx, int (*task_main)(size_t task));
/* After loop_init. gone(arg): the nursery died (its wards are dead too). */
void nursery_open(void (*gone)(void *arg), void *arg);
/* Kills what is left and waits for the nursery's end. Nothing without nursery_start. */
void nursery_close(void);

struct ward {
    TAILQ_ENTRY(ward) link;
    uint64_t id;
    pid_t pid; /* also of its group; 0: not told yet */
    bool ended;
    int status;           /* of wait(2) */
    int errno_of_fork;    /* it was never born */
    int64_t peak_kb;      /* most memory that it, or one of its own, ever had */
    struct fiber *waiter; /* woken by its end */
};

struct birth {
    const char *path;       /* of a program; NULL: a task */
    size_t task;            /* its number in the registry */
    const char *const *env; /* "NAME=value" beside ours, NULL-terminated */
    int in, out, err;       /* the ward's; stay the caller's to close */
    int more;               /* of a program: its descriptor 3; 0: none */
};
/* OS when the nursery is not there. *ret stays where it is until it has ended or is forgotten. */
rc nursery_bear(struct cx *cx, const struct birth *b, struct ward *ret);
/* To its whole group. */
void nursery_signal(struct ward *w, int sig);
/* Until it has ended (w->ended). Parks. */
rc nursery_wait(struct cx *cx, struct ward *w) MW_PARKS;
/* Nobody waits for it any more. */
void nursery_forget(struct ward *w);

/* ---------------------------------------------------------------- between the two */

enum { NURSERY_BEAR, NURSERY_SIGNAL };
struct nursery_order {
    int verb, sig;
    uint64_t id;
    size_t task;
    bool program; /* path and environment follow, each with its NUL */
};
#define NURSERY_ORDER_MAX KiB(16)
#define NURSERY_FDS       4
struct nursery_report {
    uint64_t id;
    pid_t pid;
    bool ended;
    int status, errno_of_fork;
    int64_t peak_kb;
};
/* The nursery's whole life (cradle.c). */
_Noreturn void cradle_main(int sock, pid_t worker, int (*task_main)(size_t task));

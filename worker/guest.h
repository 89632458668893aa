/* guest.h - tasks of others (struct mw_task of mihwar.h) among the worker's own.
 *
 *      struct mw_task --guest_add--> row of the registry --claimed--> fiber --> by kind:
 *         MW_FIBER     runs here          MW_BLOCKING  blocking.c       MW_CHILD  child.c
 *      then guest_end(): what the task wrote down becomes the job's end. */
#pragma once
#include "worker/face.h"
#include "worker/run.h"

struct guest {
    struct task task;
    const struct mw_task *spec;
};

/* Before the fork. `spec` stays the caller's and must live as long as the process. CONFIG. */
rc guest_add(struct cx *cx, const struct mw_task *spec, size_t n);
/* Loads a plug-in (a shared object with MW_PLUGIN) and adds its tasks; it stays loaded. CONFIG, with what
 * the linker says. */
rc guest_load(struct cx *cx, const char *path);
/* Whether a registered task is of that kind: then its helpers are worth starting. */
bool guest_has(enum mw_kind kind);
/* The guest of a job of ours. */
const struct guest *guest_of(const struct job *job);
size_t guest_number(const struct guest *g);
const struct guest *guest_at(size_t number);
void guest_free(void);

/* On the job's fiber, when the function has returned: ends the job as *f says, or returns what shall
 * decide. Parks. */
rc guest_end(struct cx *cx, struct job *job, struct mw_job *f, int returned) MW_PARKS;

/* One kind each: run the job and end it. Park. */
rc blocking_run(struct cx *cx, struct job *job) MW_PARKS;
rc child_run(struct cx *cx, struct job *job) MW_PARKS;
/* In a ward: the task of that number. */
int child_task_main(size_t number);

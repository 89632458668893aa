/* registry.h - the tasks that this worker knows.
 *
 * A task's file defines `struct task task_order_check = {.name = "order.check", ...};` and its
 * header declares it; the table in registry.c has one row a task. What a setting decides
 * (order.check's back-off) is written into the task by `configure`, before the fork. */
#pragma once
#include "base/settings.h"
#include "worker/task.h"

struct task_row {
    struct task *task;
    void (*configure)(struct task *t, const struct settings *s); /* NULL: nothing to decide */
};

/* Our own tasks; forgets what was added. */
void registry_init(const struct settings *s);
/* One more, before the fork; *t stays the caller's and must live as long. CONFIG for a task that
 * cannot be carried out, and for a name that is taken. */
rc registry_add(struct cx *cx, const struct task *t);
/* What settings decide, once more: they have changed. */
void registry_configure(const struct settings *s);
void registry_free(void);
/* NULL: nobody knows it here. */
const struct task *registry_find(const char *name);
/* Sorted by name. */
size_t registry_count(void);
const struct task *registry_at(size_t i);

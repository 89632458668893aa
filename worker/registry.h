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

/* Call once; asserts that names are valid and no two are the same. */
void registry_init(const struct settings *s);
/* NULL: nobody knows it here. */
const struct task *registry_find(const char *name);
size_t registry_count(void);
const struct task *registry_at(size_t i);

/* order_check.h - the task order.check: {"order_id"}. */
#pragma once
#include "base/settings.h"
#include "worker/task.h"

extern struct task task_order_check;
/* Its back-off is the settings' check_base, check_cap, check_retries. */
void order_check_configure(struct task *t, const struct settings *s);

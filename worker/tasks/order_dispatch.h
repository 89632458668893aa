/* order_dispatch.h - the task order.dispatch: {"order_id"}. */
#pragma once
#include "base/settings.h"
#include "worker/task.h"

extern struct task task_order_dispatch;

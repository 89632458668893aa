/* webhook_deliver.h - the task webhook.deliver: {"order_id","event"}. */
#pragma once
#include "worker/task.h"

extern struct task task_webhook_deliver;

/* provider_refresh.h - the tasks provider.balance and provider.catalogue: {"integration_id"}. */
#pragma once
#include "worker/task.h"

extern struct task task_provider_balance, task_provider_catalogue;

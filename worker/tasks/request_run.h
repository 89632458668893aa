/* request_run.h - the task request.run: {"request_id"}. */
#pragma once
#include "worker/task.h"

extern struct task task_request_run;

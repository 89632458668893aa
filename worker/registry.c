/* registry.c - one row a task, sorted by name. */
#include "worker/registry.h"
#include "queue/keys.h"
#include "worker/tasks/builtin.h"
#include "worker/tasks/order_check.h"
#include "worker/tasks/order_dispatch.h"
#include "worker/tasks/provider_refresh.h"
#include "worker/tasks/request_run.h"
#include "worker/tasks/webhook_deliver.h"
#include <assert.h>
#include <string.h>

static const struct task_row rows[] = {
    {&task_echo, NULL},
    {&task_noop, NULL},
    {&task_sleep, NULL},
    {&task_order_check, order_check_configure},
    {&task_order_dispatch, NULL},
    {&task_provider_balance, NULL},
    {&task_provider_catalogue, NULL},
    {&task_request_run, NULL},
    {&task_webhook_deliver, NULL},
};

void registry_init(const struct settings *s)
{
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct task *t = rows[i].task;
        assert(task_name_valid(t->name) && queue_name_valid(t->queue) && t->run);
        assert(i == 0 || strcmp(rows[i - 1].task->name, t->name) < 0);
        if (rows[i].configure)
            rows[i].configure(t, s);
        assert(t->max_attempts > 0 && t->timeout_ms > 0 && t->backoff.cap_ms > 0);
    }
}

const struct task *registry_find(const char *name)
{
    size_t low = 0, high = COUNT(rows);

    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = strcmp(rows[mid].task->name, name);
        if (c == 0)
            return rows[mid].task;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

size_t registry_count(void)
{
    return COUNT(rows);
}

const struct task *registry_at(size_t i)
{
    assert(i < COUNT(rows));
    return rows[i].task;
}

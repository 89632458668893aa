/* registry.c - one row a task of ours, and beside them those that were added; all found by name. */
#include "worker/registry.h"
#include "queue/keys.h"
#include "worker/celery/send.h"
#include "worker/tasks/builtin.h"
#include "worker/tasks/order_check.h"
#include "worker/tasks/order_dispatch.h"
#include "worker/tasks/provider_refresh.h"
#include "worker/tasks/request_run.h"
#include "worker/tasks/webhook_deliver.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct task_row rows[] = {
    {&task_celery_send, NULL},
    {&task_echo, NULL},
    {&task_fail, NULL},
    {&task_noop, NULL},
    {&task_previous, NULL},
    {&task_sleep, NULL},
    {&task_order_check, order_check_configure},
    {&task_order_dispatch, NULL},
    {&task_provider_balance, NULL},
    {&task_provider_catalogue, NULL},
    {&task_request_run, NULL},
    {&task_webhook_deliver, NULL},
};

static struct {
    const struct task **tasks; /* sorted by name */
    size_t n;
} known;

/* The place of the name, or where it would stand. */
static size_t place_of(const char *name, bool *ret_there)
{
    size_t low = 0, high = known.n;

    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = strcmp(known.tasks[mid]->name, name);
        if (c == 0) {
            *ret_there = true;
            return mid;
        }
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *ret_there = false;
    return low;
}

static void insert(const struct task *t, size_t at)
{
    known.tasks = xrealloc(known.tasks, (known.n + 1) * sizeof *known.tasks);
    memmove(known.tasks + at + 1, known.tasks + at, (known.n - at) * sizeof *known.tasks);
    known.tasks[at] = t;
    known.n++;
}

rc registry_add(struct cx *cx, const struct task *t)
{
    bool there;

    if (!t->name || !task_name_valid(t->name))
        return fail(cx, CONFIG, "'%.140s' is no name of a task (A-Z a-z 0-9 _ . -)",
                    t->name ? t->name : "");
    if (!t->run)
        return fail(cx, CONFIG, "task %s has no function", t->name);
    if (!queue_name_valid(t->queue))
        return fail(cx, CONFIG, "task %s: '%.70s' is no name of a queue (a-z 0-9 _ . -)", t->name,
                    t->queue);
    if (t->max_attempts <= 0 || t->timeout_ms <= 0 || t->soft_ms < 0 || t->backoff.base_ms <= 0 ||
        t->backoff.cap_ms < t->backoff.base_ms)
        return fail(cx, CONFIG, "task %s: attempts, limits and back-off must be positive", t->name);
    size_t at = place_of(t->name, &there);
    if (there)
        return fail(cx, CONFIG, "there are two tasks of the name %s", t->name);
    insert(t, at);
    return OK;
}

void registry_configure(const struct settings *s)
{
    for (size_t i = 0; i < COUNT(rows); i++)
        if (rows[i].configure)
            rows[i].configure(rows[i].task, s);
}

void registry_init(const struct settings *s)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("registry");

    registry_free();
    registry_configure(s);
    for (size_t i = 0; i < COUNT(rows); i++) {
        rc r = registry_add(&cx, rows[i].task);
        assert(r == OK);
        (void)r;
    }
}

void registry_free(void)
{
    free(known.tasks);
    known.tasks = NULL;
    known.n = 0;
}

const struct task *registry_find(const char *name)
{
    bool there;
    size_t at = place_of(name, &there);

    return there ? known.tasks[at] : NULL;
}

size_t registry_count(void)
{
    return known.n;
}

const struct task *registry_at(size_t i)
{
    assert(i < known.n);
    return known.tasks[i];
}

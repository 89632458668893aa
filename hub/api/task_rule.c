/* task_rule.c - which tasks a caller of the API may start: any but the platform's own. Whether a name is that of a task only workers
 * know, and one of them may learn it later; what begins with "mihwar." is built in (worker/registry.c), and known here. */
#include "base/text.h"
#include "hub/api/api.h"

static bool built_in(const char *task)
{
    static const char *const names[] = {"echo", "fail", "noop", "previous", "sleep"};

    for (size_t i = 0; i < COUNT(names); i++)
        if (str_eq(task + strlen("mihwar."), names[i]))
            return true;
    return false;
}

rc task_allowed(struct cx *cx, const char *task)
{
    static const char *const own[] = {"order.", "webhook.", "provider.", "request.", "beat."};

    for (size_t i = 0; task && i < COUNT(own); i++) {
        if (starts_with(task, own[i]))
            return fail_at(cx, FORBIDDEN, "/task", "'%s*' are started by the platform itself",
                           own[i]);
    }
    return OK;
}

rc task_startable(struct cx *cx, const char *task)
{
    try(task_allowed(cx, task));
    if (task && starts_with(task, "mihwar.") && !built_in(task))
        return fail_at(cx, UNKNOWN_TASK, "/task", "there is no task '%.80s'", task);
    return OK;
}

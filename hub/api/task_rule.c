/* task_rule.c - which tasks a caller of the API may start. */
#include "base/text.h"
#include "hub/api/api.h"

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

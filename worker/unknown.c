/* unknown.c - see unknown.h. */
#include "worker/unknown.h"
#include "base/clock.h"
#include "base/log.h"
#include <stdio.h>
#include <string.h>

#define FIRST_MS 100
#define LAST_MS  60000
#define QUIET_MS 10000
#define TASKS    64 /* told apart; of more than these some share a place */

/* By the snoozes that it has behind it, but never for longer than it has been waiting anyway: snoozes may have been its own. */
int64_t unknown_put_off_ms(const struct job *j, int64_t now_ms, uint64_t random)
{
    int64_t ms = FIRST_MS << MIN(j->lease.snoozes, 10);
    int64_t age = MAX(now_ms - j->due_ms, (int64_t)FIRST_MS);

    ms = MIN(MIN(ms, age), (int64_t)LAST_MS);
    return ms / 2 + (int64_t)(random % (uint64_t)(ms / 2 + 1));
}

void unknown_note(const struct job *j, int64_t again_in_ms)
{
    static struct {
        char task[TASK_NAME_MAX + 1];
        int64_t quiet_until_mono_ms, jobs;
    } told[TASKS];
    unsigned place = 0;
    int64_t now = clock_mono_ms();

    for (const char *c = j->task; *c; c++)
        place = place * 31 + (unsigned char)*c;
    __auto_type t = &told[place % TASKS];
    if (strncmp(t->task, j->task, TASK_NAME_MAX) != 0) {
        memset(t, 0, sizeof *t);
        snprintf(t->task, sizeof t->task, "%s", j->task);
    }
    t->jobs++;
    if (now < t->quiet_until_mono_ms)
        return;
    log_ev(LOG_WARN, "task.unknown", kv_str("task", j->task), kv_str("queue", j->queue),
           kv_str("job", j->lease.id), kv_int("jobs", t->jobs), kv_int("again_in_ms", again_in_ms));
    t->jobs = 0;
    t->quiet_until_mono_ms = now + QUIET_MS;
}

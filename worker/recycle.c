/* recycle.c - see recycle.h. */
#include "worker/recycle.h"
#include <stdio.h>
#include <unistd.h>

#define LOOK_MS 1000

/* Bytes; 0: not known. */
static int64_t resident(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long long pages = 0;

    if (!f)
        return 0;
    if (fscanf(f, "%*s %lld", &pages) != 1)
        pages = 0;
    fclose(f);
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

static rc watch_memory(struct cx *cx, void *arg)
{
    const struct pool *p = arg;

    for (;;) {
        try(fiber_sleep(cx, LOOK_MS));
        int64_t now = resident();
        if (now > p->settings->worker_recycle_rss)
            child_weary("memory", now);
    }
}

void recycle_start(struct pool *p)
{
    if (p->settings->worker_recycle_rss > 0)
        fiber_detach(fiber_spawn(&(struct fiber_opts){.name = "worker.recycle"}, watch_memory, p));
}

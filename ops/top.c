/* top.c - the queues, again and again, until Ctrl-C (or --times N). */
#include "ops/table.h"
#include "ops/verbs.h"
#include "rt/fiber.h"
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* Somebody may watch for days: what one look needs is given back after it. */
static rc look(struct cx *cx, struct ops *o)
{
    struct arena kept = cx->arena;

    cx->arena = (struct arena){0};
    rc r = verb_queue_ls(cx, o);
    arena_release(&cx->arena);
    cx->arena = kept;
    return r;
}

rc verb_top(struct cx *cx, struct ops *o)
{
    int64_t every_ms, times;
    bool screen = !o->json && isatty(STDOUT_FILENO);

    try(opt_duration(cx, o, "every", 1000, &every_ms));
    try(opt_int(cx, o, "times", 1, 1000000, 0, &times));
    cx->deadline_mono_ms = 0; /* a person ends it */
    for (int64_t i = 0; times == 0 || i < times; i++) {
        char clock[32];
        struct tm tm;

        if (i > 0)
            try(fiber_sleep(cx, every_ms));
        time_t now = time(NULL);
        strftime(clock, sizeof clock, "%H:%M:%S", localtime_r(&now, &tm));
        if (screen)
            printf("\033[H\033[2J");
        if (!o->json)
            printf("mihwar top  %s  (Ctrl-C ends it)\n\n", clock);
        try(look(cx, o));
        if (fflush(stdout) != 0)
            return fail(cx, OS, "the answer cannot be written");
    }
    return OK;
}

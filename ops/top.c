/* top.c - the queues, again and again, until Ctrl-C (or --times N). */
#include "ops/table.h"
#include "ops/verbs.h"
#include "rt/fiber.h"
#include <stdio.h>
#include <time.h>

rc verb_top(struct cx *cx, struct ops *o)
{
    int64_t every_ms, times;

    try(opt_int(cx, o, "every-ms", 100, 60000, 1000, &every_ms));
    try(opt_int(cx, o, "times", 0, 1000000, 0, &times));
    cx->deadline_mono_ms = 0; /* a person ends it */
    for (int64_t i = 0; times == 0 || i < times; i++) {
        char clock[32];
        time_t now = time(NULL);
        struct tm tm;

        if (i > 0)
            try(fiber_sleep(cx, every_ms));
        strftime(clock, sizeof clock, "%H:%M:%S", localtime_r(&now, &tm));
        if (!o->json)
            printf("\033[H\033[2Jmihwar top  %s  (Ctrl-C ends it)\n\n", clock);
        try(verb_queue_ls(cx, o));
        fflush(stdout);
    }
    return OK;
}

/* options.h - the options of a measuring program, one table: --NAME VALUE, numbers within bounds.
 *
 *   static const struct option_row options[] = {
 *       {"jobs", .number = &jobs, .least = 1, .most = 1000000},
 *       {"redis", .text = &redis_url},
 *   };
 *   options_read(argc, argv, options, COUNT(options)); */
#pragma once
#include "base/text.h"
#include "base/util.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct option_row {
    const char *name;
    int *number; /* set within least and most, or */
    int least, most;
    const char **text;
};

static inline _Noreturn void options_usage(const struct option_row *rows, size_t n)
{
    fprintf(stderr, "usage: %s", program_invocation_short_name);
    for (size_t i = 0; i < n; i++)
        if (rows[i].number)
            fprintf(stderr, " [--%s %d..%d]", rows[i].name, rows[i].least, rows[i].most);
        else
            fprintf(stderr, " [--%s TEXT]", rows[i].name);
    fputc('\n', stderr);
    exit(2);
}

/* Ends the program with its usage when it does not understand. */
static inline void options_read(int argc, char **argv, const struct option_row *rows, size_t n)
{
    for (int a = 1; a < argc; a += 2) {
        const struct option_row *row = NULL;
        int64_t v;

        for (size_t i = 0; i < n; i++)
            if (strncmp(argv[a], "--", 2) == 0 && strcmp(argv[a] + 2, rows[i].name) == 0)
                row = &rows[i];
        if (!row || a + 1 == argc)
            options_usage(rows, n);
        if (row->text) {
            *row->text = argv[a + 1];
        } else {
            if (!parse_int(argv[a + 1], row->least, row->most, &v))
                options_usage(rows, n);
            *row->number = (int)v;
        }
    }
}

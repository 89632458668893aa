/* ops_output.h - what a function prints to stdout, as text. */
#pragma once
#include "base/util.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Freed by the caller. */
static inline char *output_of(void (*fn)(const void *arg), const void *arg)
{
    FILE *was = stdout;
    char *text = NULL;
    size_t n = 0;

    stdout = open_memstream(&text, &n);
    fn(arg);
    fclose(stdout);
    stdout = was;
    return text;
}

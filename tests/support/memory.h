/* memory.h - what this process has in memory. */
#pragma once
#include <stdio.h>

/* Resident, in KiB; -1 when it cannot be told. */
static inline long resident_kib(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kib = -1;

    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    }
    if (f)
        fclose(f);
    return kib;
}

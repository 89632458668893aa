/* bench.h - what the measuring programs share: how they give up, CPU that was spent, a crowd. */
#pragma once
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

static inline _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, why);
    exit(1);
}

/* Of Redis, since it started: out of its answer to INFO cpu. */
static inline double info_cpu_us(const char *info)
{
    double sys = 0, user = 0;

    sscanf(strstr(info, "used_cpu_sys:"), "used_cpu_sys:%lf", &sys);
    sscanf(strstr(info, "used_cpu_user:"), "used_cpu_user:%lf", &user);
    return (sys + user) * 1e6;
}

/* Of children that were waited for. */
static inline double children_cpu_us(void)
{
    struct rusage u;

    getrusage(RUSAGE_CHILDREN, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Waits for n children; one that failed ends the program. */
static inline void clients_end(int n, const char *what)
{
    for (int i = 0, status; i < n; i++)
        if (wait(&status) < 0 || status != 0)
            die(what, "a client failed");
}

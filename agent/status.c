/* status.c - see status.h. */
#include "agent/status.h"
#include "base/clock.h"
#include "base/util.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

static int64_t began_mono_ms;

/* The clock of agent_uptime_s starts with the program. */
__attribute__((constructor)) static void begin(void)
{
    began_mono_ms = clock_mono_ms();
}

/* "MemAvailable:   123 kB"; -1: no such line. */
static int64_t meminfo(const char *name)
{
    FILE *f = fopen("/proc/meminfo", "re");
    char line[128];
    long long kb = -1;

    while (f && kb < 0 && fgets(line, sizeof line, f)) {
        if (strncmp(line, name, strlen(name)) == 0)
            sscanf(line + strlen(name), ": %lld kB", &kb);
    }
    if (f)
        fclose(f);
    return kb < 0 ? -1 : kb * 1024;
}

static void add_bytes(cJSON *o, const char *name, const char *total_name, int64_t total,
                      const char *free_name, int64_t rest)
{
    cJSON *part = cJSON_AddObjectToObject(o, name);

    cJSON_AddNumberToObject(part, total_name, (double)total);
    cJSON_AddNumberToObject(part, free_name, (double)rest);
}

void status_add(cJSON *o, const char *version, const char *dir)
{
    struct sysinfo info;
    struct statvfs disk;
    double load[3];
    char host[256] = "";

    gethostname(host, sizeof host - 1);
    cJSON_AddStringToObject(o, "host", host);
    cJSON_AddStringToObject(o, "version", version);
    if (sysinfo(&info) == 0)
        cJSON_AddNumberToObject(o, "uptime_s", (double)info.uptime);
    cJSON_AddNumberToObject(o, "agent_uptime_s",
                            (double)((clock_mono_ms() - began_mono_ms) / 1000));
    if (getloadavg(load, 3) == 3)
        cJSON_AddItemToObject(o, "load", cJSON_CreateDoubleArray(load, 3));
    if (meminfo("MemTotal") >= 0)
        add_bytes(o, "memory", "total", meminfo("MemTotal"), "available", meminfo("MemAvailable"));
    if (statvfs(dir, &disk) == 0)
        add_bytes(o, "disk", "total", (int64_t)(disk.f_blocks * disk.f_frsize), "available",
                  (int64_t)(disk.f_bavail * disk.f_frsize));
}

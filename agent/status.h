/* status.h - get_status: how this machine is. */
#pragma once
#include <cjson/cJSON.h>
#include <stdint.h>

/* Adds to o: host, version, uptime_s (the machine's), agent_uptime_s, load (1, 5, 15 minutes), memory and disk (the file system of
 * dir) in bytes. What the kernel does not tell is left out. */
void status_add(cJSON *o, const char *version, const char *dir);

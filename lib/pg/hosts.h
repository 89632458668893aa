/* hosts.h - the hosts of a connection string, from another one on; inside lib/pg only. */
#pragma once

struct hosts {
    char *host, *hostaddr, *port; /* lists with commas; NULL: not given */
};

/* How many hosts a connection string names (a valid one). */
int hosts_count(const char *conninfo);
/* The same hosts, beginning with number `first`: into h, and as keywords for libpq behind the connection string (at most
 * three pairs and a NULL). */
void hosts_from(const char *conninfo, int first, struct hosts *h, const char **keys,
                const char **values);
void hosts_release(struct hosts *h);

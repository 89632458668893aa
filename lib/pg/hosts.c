/* hosts.c - see hosts.h.
 *
 *   "a,b,c" from 1 -> "b,c,a"; a port that is given once is everybody's and stays as it is */
#include "pg/hosts.h"
#include "base/util.h"
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

static int commas(const char *s)
{
    int n = 0;

    for (; *s; s++)
        n += *s == ',';
    return n;
}

int hosts_count(const char *conninfo)
{
    PQconninfoOption *all = PQconninfoParse(conninfo, NULL);
    int n = 1;

    for (PQconninfoOption *o = all; o && o->keyword; o++)
        if (o->val && (strcmp(o->keyword, "host") == 0 || strcmp(o->keyword, "hostaddr") == 0))
            n = MAX(n, commas(o->val) + 1);
    PQconninfoFree(all);
    return n;
}

static char *rotated(const char *list, int first)
{
    const char *at = list;

    if (commas(list) < first)
        return xstrdup(list);
    while (first-- > 0)
        at = strchr(at, ',') + 1;
    if (at == list)
        return xstrdup(list);
    return xasprintf("%s,%.*s", at, (int)(at - 1 - list), list);
}

void hosts_from(const char *conninfo, int first, struct hosts *h, const char **keys,
                const char **values)
{
    PQconninfoOption *all = PQconninfoParse(conninfo, NULL);
    const struct {
        const char *keyword;
        char **list;
    } wanted[] = {{"host", &h->host}, {"hostaddr", &h->hostaddr}, {"port", &h->port}};

    for (PQconninfoOption *o = all; o && o->keyword; o++)
        for (size_t i = 0; i < COUNT(wanted); i++)
            if (o->val && strcmp(o->keyword, wanted[i].keyword) == 0) {
                *wanted[i].list = rotated(o->val, first);
                *keys++ = wanted[i].keyword;
                *values++ = *wanted[i].list;
            }
    PQconninfoFree(all);
}

void hosts_release(struct hosts *h)
{
    free(h->host);
    free(h->hostaddr);
    free(h->port);
}

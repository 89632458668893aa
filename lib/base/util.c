/* util.c - memory that aborts instead of failing, and cleanup helpers. */
#include "base/util.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *out_of_memory(size_t n)
{
    fprintf(stderr, "lvl=fatal ev=memory.exhausted bytes=%zu\n", n);
    abort();
}

void *xmalloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    return p ? p : out_of_memory(n);
}

void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);
    return p ? p : out_of_memory(n * size);
}

void *xrealloc(void *old, size_t n)
{
    void *p = realloc(old, n ? n : 1);
    return p ? p : out_of_memory(n);
}

char *xstrdup(const char *s)
{
    return s ? xstrndup(s, strlen(s)) : NULL;
}

char *xstrndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *p = xmalloc(len + 1);

    memcpy(p, s, len);
    p[len] = 0;
    return p;
}

char *xasprintf(const char *fmt, ...)
{
    char *p = NULL;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&p, fmt, ap);
    va_end(ap);
    return n < 0 ? out_of_memory(0) : p;
}

void freep(void *pp)
{
    void *p;

    memcpy(&p, pp, sizeof p); /* any pointer type: read it without an aliasing lie */
    free(p);
}

void closep(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

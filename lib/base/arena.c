/* arena.c - bump allocation with deferred frees.
 *
 * First blocks come and go with every request: a thread keeps some of them, wiped, because malloc has no short way for pieces of
 * this size. Not under a sanitizer, which would miss who uses them too late. */
#include "base/arena.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Most requests and attempts need little, and thousands of them wait at once. */
static size_t block_size(const struct arena *a)
{
    return a->used <= KiB(2) ? 2304 : a->used <= KiB(16) ? KiB(2) : KiB(16);
}

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    _Alignas(max_align_t) unsigned char bytes[];
};

struct arena_defer { /* lives in the arena itself */
    struct arena_defer *next;
    void (*free_fn)(void *);
    void *arg;
};

#ifdef __SANITIZE_ADDRESS__
#define SPARE_MAX 0
#else
#define SPARE_MAX 128
#endif
#define FIRST_SIZE (2304 - sizeof(struct arena_block))

static _Thread_local struct spare {
    struct arena_block *blocks;
    int n;
    bool known; /* to its thread's end */
} spare;

static pthread_key_t at_thread_end;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void free_spare(void *arg)
{
    struct spare *s = arg;

    for (struct arena_block *b = s->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    s->blocks = NULL;
    s->n =
        SPARE_MAX; /* other ends of the thread may come behind this one: they keep nothing more */
}

static void make_key(void)
{
    if (pthread_key_create(&at_thread_end, free_spare) != 0)
        abort();
}

static void know_end(void)
{
    pthread_once(&once, make_key);
    if (pthread_setspecific(at_thread_end, &spare) != 0)
        abort();
    spare.known = true;
}

static struct arena_block *take_block(size_t size)
{
    struct arena_block *b = spare.blocks;

    if (size != FIRST_SIZE || !b)
        return xcalloc(1, sizeof *b + size);
    spare.blocks = b->next;
    spare.n--;
    return b;
}

static void give_block(struct arena_block *b)
{
    if (b->size != FIRST_SIZE || spare.n >= SPARE_MAX) {
        free(b);
        return;
    }
    if (!spare.known)
        know_end();
    memset(b->bytes, 0, b->used);
    b->used = 0;
    b->next = spare.blocks;
    spare.blocks = b;
    spare.n++;
}

static struct arena_block *add_block(struct arena *a, size_t size)
{
    struct arena_block *b = take_block(size);

    b->size = size;
    b->next = a->blocks;
    a->blocks = b;
    return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
    const size_t align = _Alignof(max_align_t), max = a->max ? a->max : ARENA_MAX;
    struct arena_block *b = a->blocks;

    if (n > max || ((n + align - 1) & ~(align - 1)) > max - a->used) {
        fprintf(stderr, "lvl=fatal ev=arena.full used=%zu asked=%zu\n", a->used, n);
        abort();
    }
    n = (n + align - 1) & ~(align - 1);
    a->used += n;
    if (!b || b->size - b->used < n)
        b = add_block(a, MAX(n, block_size(a) - sizeof *b));
    void *p = b->bytes + b->used;
    b->used += n;
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *p = arena_alloc(a, len + 1);

    memcpy(p, s, len);
    return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return s ? arena_strndup(a, s, strlen(s)) : NULL;
}

char *arena_join(struct arena *a, const char *p, const char *q, const char *r)
{
    size_t np = strlen(p), nq = strlen(q), nr = strlen(r);
    char *out = arena_alloc(a, np + nq + nr + 1);

    memcpy(out, p, np);
    memcpy(out + np, q, nq);
    memcpy(out + np + nq, r, nr);
    return out;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    char text[128]; /* mostly it fits */
    va_list ap, again;

    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    char *p = arena_alloc(a, (size_t)MAX(n, 0) + 1);
    if (n > 0 && (size_t)n < sizeof text)
        memcpy(p, text, (size_t)n);
    else
        vsnprintf(p, (size_t)MAX(n, 0) + 1, fmt, again);
    va_end(again);
    return p;
}

void arena_defer(struct arena *a, void (*free_fn)(void *), void *p)
{
    struct arena_defer *d = arena_alloc(a, sizeof *d);

    *d = (struct arena_defer){a->defers, free_fn, p};
    a->defers = d;
}

void arena_release(struct arena *a)
{
    struct arena_block *next;

    for (struct arena_defer *d = a->defers; d; d = d->next)
        d->free_fn(d->arg); /* may still look at what is in the arena */
    for (struct arena_block *b = a->blocks; b; b = next) {
        next = b->next;
        give_block(b);
    }
    *a = (struct arena){.max = a->max};
}

/* arena.h - memory that lives exactly as long as a request or an attempt; freed all at once, never
 * by hand.
 *
 * Blocks of 2 KiB, later 16, in a chain, larger pieces get a block of their own. The ceiling keeps a visitor
 * from growing it. What was in a first block is wiped when the arena is released. */
#pragma once
#include "base/util.h"

struct arena_block;
struct arena_defer;
struct arena {
    struct arena_block *blocks;
    struct arena_defer *defers;
    size_t used, max; /* bytes handed out; max 0: ARENA_MAX */
};
#define ARENA_MAX MiB(64)

/* Zeroed, aligned for anything. Aborts past the ceiling (callers bound their input first). */
void *arena_alloc(struct arena *a, size_t n);
char *arena_strdup(struct arena *a, const char *s); /* NULL gives NULL */
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_join(struct arena *a, const char *p, const char *q,
                 const char *r); /* one behind the other */
char *arena_printf(struct arena *a, const char *fmt, ...) _printf_(2, 3);
/* Calls free_fn(p) when the arena is released, latest first: for what a library allocated. */
void arena_defer(struct arena *a, void (*free_fn)(void *), void *p);
void arena_release(struct arena *a);

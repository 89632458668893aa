/* util.h - ownership and small things that every file needs.
 *
 * Cleanup is written where the thing is born; giving away nulls the giver:
 *
 *     _cleanup_(freep) char *s = xstrdup(x);
 *     ...
 *     *ret_s = TAKE_PTR(s);
 *
 * Running out of memory aborts: the supervisor restarts the process and its leases return. What a
 * visitor can make grow lives in a struct buf with a ceiling instead. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define _cleanup_(fn)  __attribute__((cleanup(fn)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_       __attribute__((unused))
#define _warn_unused_  __attribute__((warn_unused_result))

/* On a declaration: may park the calling fiber; the world may have changed when it returns. */
#define MW_PARKS

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
/* Each argument is evaluated once; not for constant expressions. */
#define MIN(a, b)            MW_PICK(a, <, b, __COUNTER__)
#define MAX(a, b)            MW_PICK(a, >, b, __COUNTER__)
#define MW_PICK(a, op, b, n) MW_PICK_(a, op, b, n)
#define MW_PICK_(a, op, b, n)                                                                      \
    ({                                                                                             \
        __auto_type pick_a_##n = (a);                                                              \
        __auto_type pick_b_##n = (b);                                                              \
        pick_a_##n op pick_b_##n ? pick_a_##n : pick_b_##n;                                        \
    })
/* A macro's value as text. */
#define STR_OF(x)                       STR_OF_(x)
#define STR_OF_(x)                      #x
#define KiB(n)                          ((size_t)(n) << 10)
#define MiB(n)                          ((size_t)(n) << 20)
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define TAKE_PTR(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) take_ = (p);                                                                 \
        (p) = NULL;                                                                                \
        take_;                                                                                     \
    })

/* A wrong pointer dies at the door, not later: structs handed through void * begin with a magic
 * number. */
#define CHECK_MAGIC(p, m) assert((p) != NULL && (p)->magic == (m))

void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s); /* NULL gives NULL */
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) _printf_(1, 2);

/* for _cleanup_: frees what a pointer variable points to. */
void freep(void *pp);
/* for _cleanup_: closes a file descriptor unless negative. */
void closep(const int *fd);

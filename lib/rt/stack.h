/* stack.h - memory that fibers run on. Only fiber.c uses it.
 *
 *      map   |///////// guard, no access /////////|<-- the stack grows down ---  |
 *            map                                   low                           low + size
 *
 * An overflow touches the guard: the process dies of SIGSEGV, after a line that names the fiber.
 * Stacks of the usual size are kept for the next fiber, up to a ceiling. */
#pragma once
#include "base/util.h"

struct stack {
    char *low;
    size_t size;
    const char *name; /* the fiber's, for the line about an overflow */
    unsigned valgrind_id;
};

/* size in bytes, 0: FIBER_STACK; more under sanitizers. Aborts when the kernel gives no memory. */
void stack_get(struct stack *s, size_t size);
void stack_put(struct stack *s);
/* Gives the pages below sp back to the kernel. Not under the address sanitizer. */
void stack_shrink(const struct stack *s, const void *sp);
/* Tells the overflow handler who runs now; NULL: the loop's own stack. */
void stack_running(const struct stack *s);
/* The fiber on whose stack we are; NULL on the loop's own. Async-signal-safe. */
const char *stack_running_name(void);
/* Installs the overflow handler on an alternate stack; once is enough. */
void stack_watch_overflow(void);
/* Unmaps the kept stacks. */
void stack_forget(void);

/* stack.c - stacks with a guard below, kept and reused.
 *
 * 64 KiB are reserved, but only the pages that a fiber touched are resident: 4 KiB for most. The
 * guard is wider than a page because libraries that were built without -fstack-clash-protection can
 * step over one page with a single frame. Each stack is two mappings of the kernel's 65530
 * (vm.max_map_count): 30 000 fibers in one process are the limit there.
 *
 * Leak checks look at thread stacks and the heap; a pointer that only a parked fiber holds is found
 * because its stack is a root region while it is in use. */
#include "rt/stack.h"
#include "base/log.h"
#include "rt/fiber.h"
#include "rt/sanitize.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUARD    KiB(32)
#define KEPT_MAX 512
#define USUAL    ((size_t)FIBER_STACK * STACK_FACTOR)

static struct {
    char *low[KEPT_MAX];
    unsigned valgrind_id[KEPT_MAX];
    size_t n;
} kept;

static const struct stack *volatile running;
static struct sigaction old_segv, old_bus;

static void map(struct stack *s)
{
    char *p = mmap(NULL, GUARD + s->size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

    if (p == MAP_FAILED || mprotect(p, GUARD, PROT_NONE) != 0) {
        fprintf(stderr,
                "lvl=fatal ev=fiber.no_stack fiber=%s bytes=%zu err=\"%s\" hint=\"memory, or "
                "vm.max_map_count\"\n",
                s->name, s->size, strerror(errno));
        abort();
    }
    s->low = p + GUARD;
    s->valgrind_id = VALGRIND_STACK_REGISTER(s->low, s->low + s->size - 1);
}

static void unmap(char *low, size_t size, unsigned valgrind_id)
{
    VALGRIND_STACK_DEREGISTER(valgrind_id);
    munmap(low - GUARD, GUARD + size);
}

void stack_get(struct stack *s, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    s->size = size ? (size * STACK_FACTOR + page - 1) & ~(page - 1) : USUAL;
    if (s->size == USUAL && kept.n) {
        kept.n--;
        s->low = kept.low[kept.n];
        s->valgrind_id = kept.valgrind_id[kept.n];
    } else {
        map(s);
    }
#ifdef MW_ASAN
    __lsan_register_root_region(s->low, s->size);
#endif
}

void stack_put(struct stack *s)
{
#ifdef MW_ASAN
    __lsan_unregister_root_region(s->low, s->size);
    __asan_unpoison_memory_region(s->low, s->size); /* the last frames never returned */
#endif
    if (s->size == USUAL && kept.n < KEPT_MAX) {
        kept.low[kept.n] = s->low;
        kept.valgrind_id[kept.n] = s->valgrind_id;
        kept.n++;
    } else {
        unmap(s->low, s->size, s->valgrind_id);
    }
    s->low = NULL;
}

void stack_shrink(const struct stack *s, const void *sp)
{
#ifndef MW_ASAN
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    char *end = (char *)((uintptr_t)sp & ~(page - 1));

    if (end > s->low) /* a failure costs memory and nothing else */
        (void)madvise(s->low, (size_t)(end - s->low), MADV_DONTNEED);
#endif
}

void stack_forget(void)
{
    while (kept.n) {
        kept.n--;
        unmap(kept.low[kept.n], USUAL, kept.valgrind_id[kept.n]);
    }
}

void stack_running(const struct stack *s)
{
    running = s;
}

const char *stack_running_name(void)
{
    return running ? running->name : NULL;
}

/* Signal handler: only async-signal-safe calls. Returning runs the faulting instruction again,
 * under the old handler: the sanitizer's report, or death by the signal with a core. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
    const struct stack *s = running;
    const char *at = info->si_addr;

    (void)context;
    if (s && at >= s->low - GUARD && at < s->low) {
        log_raw("lvl=fatal ev=fiber.stack_overflow err=\"stack overflow in fiber ");
        log_raw(s->name);
        log_raw("\"\n");
    }
    sigaction(sig, sig == SIGBUS ? &old_bus : &old_segv, NULL);
    if (info->si_code <= 0) /* sent by somebody: there is no faulting instruction to run again */
        raise(sig);
}

void stack_watch_overflow(void)
{
    static char alternate[KiB(32)];
    static bool watching;
    struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    stack_t mine = {.ss_sp = alternate, .ss_size = sizeof alternate}, there;

    if (watching)
        return;
    watching = true;
    if (sigaltstack(NULL, &there) == 0 &&
        there.ss_flags & SS_DISABLE) /* the sanitizer brings its own */
        sigaltstack(&mine, NULL);
    sigemptyset(&act.sa_mask);
    sigaction(SIGSEGV, &act, &old_segv);
    sigaction(SIGBUS, &act, &old_bus);
}

/* inject.h - failure points with names, switched on by tests.
 *
 *     if (inject(REDIS_DROP_REPLY)) ...
 *
 * MIHWAR_INJECT="redis_drop_reply:3,worker_die_after_store" arms them: once, or that many times.
 * "word@FILE" fires only in the one process that finds FILE and takes it away.
 * Compiled in only with -Dinject=true (test builds); otherwise inject() is a constant false and
 * leaves no code behind. */
#pragma once
#include <stdbool.h>

enum inject_point {
#define INJECT(NAME, word) INJECT_##NAME,
#include "base/inject.def"
#undef INJECT
    INJECT_COUNT
};

#ifdef MW_INJECT
#define inject(NAME) inject_fires(INJECT_##NAME)
#else
#define inject(NAME) false
#endif
bool inject_fires(enum inject_point p);
/* Tests in the same process: arm for `times` passes. False for an unknown word. */
bool inject_arm(const char *word, int times);

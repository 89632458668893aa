/* fuzz.h - what each target is: bytes in, nothing out, and what must hold whatever they are.
 *
 *     FUZZ(data, n) { ... FUZZ_MUST(depth <= JSON_DEPTH); return 0; }
 *
 * Built with clang and -Dfuzz=true it becomes a libFuzzer program (scripts/fuzz); everywhere else replay.c runs
 * the kept corpus through it, as a unit test. */
#pragma once
#include "base/util.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define FUZZ(data, n) int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
/* A rule that was broken ends the process: the fuzzer keeps the input. */
#define FUZZ_MUST(rule)                                                                            \
    do {                                                                                           \
        if (!(rule)) {                                                                             \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #rule);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* A NUL-terminated copy of exactly its size, so that the sanitizer sees a step too far. The caller
 * frees. */
static inline char *fuzz_text(const uint8_t *data, size_t n)
{
    char *s = xmalloc(n + 1);

    memcpy(s, data, n);
    s[n] = 0;
    return s;
}

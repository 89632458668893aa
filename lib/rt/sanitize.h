/* sanitize.h - what sanitizers and valgrind want to hear about stacks; nothing in other builds. */
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define MW_ASAN 1
#elif defined(__SANITIZE_THREAD__)
#define MW_TSAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MW_ASAN 1
#elif __has_feature(thread_sanitizer)
#define MW_TSAN 1
#endif
#endif

#ifdef MW_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif
#ifdef MW_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if defined(MW_ASAN) || defined(MW_TSAN)
#define STACK_FACTOR 4 /* instrumented frames are larger: red zones around each array, a report */
#else
#define STACK_FACTOR 1
#endif

#ifdef MW_VALGRIND
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) 0u
#define VALGRIND_STACK_DEREGISTER(id)      ((void)(id))
#endif

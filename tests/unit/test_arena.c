/* test_arena.c - alignment, zeroes, large pieces, deferred frees, the ceiling. */
#include "base/arena.h"
#include "base/buf.h"
#include "unit.h"
#include <signal.h>
#include <string.h>

static const size_t sizes[] = {0, 1, 15, 16, 17, 100, 4000, 4096, 5000, 100000};

START_TEST(pieces_are_aligned_zeroed_and_apart)
{
    _cleanup_(arena_release) struct arena a = {0};
    unsigned char *p[COUNT(sizes)];

    for (size_t i = 0; i < COUNT(sizes); i++) {
        p[i] = arena_alloc(&a, sizes[i]);
        ck_assert_uint_eq((uintptr_t)p[i] % _Alignof(max_align_t), 0);
        for (size_t k = 0; k < sizes[i]; k++)
            ck_assert_uint_eq(p[i][k], 0);
        memset(p[i], (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < COUNT(sizes); i++) {
        for (size_t k = 0; k < sizes[i]; k++)
            ck_assert_uint_eq(p[i][k], i + 1);
    }
}
END_TEST

START_TEST(strings)
{
    _cleanup_(arena_release) struct arena a = {0};

    ck_assert_ptr_null(arena_strdup(&a, NULL));
    ck_assert_str_eq(arena_strdup(&a, ""), "");
    ck_assert_str_eq(arena_strdup(&a, "pin"), "pin");
    ck_assert_str_eq(arena_strndup(&a, "pinned", 3), "pin");
    ck_assert_str_eq(arena_strndup(&a, "pi", 3), "pi");
    ck_assert_str_eq(arena_printf(&a, "%d-%s", 7, "x"), "7-x");
    ck_assert_str_eq(arena_join(&a, "order", ".", "dispatch"), "order.dispatch");
    ck_assert_str_eq(arena_join(&a, "", "", ""), "");
}
END_TEST

struct deferred {
    struct buf *out;
    const char *word; /* in the arena: still there when the free runs */
};

static void write_word(void *p)
{
    struct deferred *d = p;
    buf_puts(d->out, d->word);
}

START_TEST(defers_run_latest_first_before_memory_goes)
{
    _cleanup_(buf_release) struct buf out = BUF(64);
    struct arena a = {0};

    for (int i = 0; i < 3; i++) {
        struct deferred *d = arena_alloc(&a, sizeof *d);
        *d = (struct deferred){&out, arena_printf(&a, "%c", 'a' + i)};
        arena_defer(&a, write_word, d);
        arena_alloc(&a, 5000);
    }
    arena_release(&a);
    ck_assert_str_eq(buf_str(&out), "cba");
    arena_release(&a); /* empty now */
    ck_assert_str_eq(buf_str(&out), "cba");
    ck_assert_ptr_null(a.blocks);
}
END_TEST

static const struct {
    const char *title;
    size_t max, first, second;
} ceilings[] = {
    {"one piece too large", 1000, 16, 1001},
    {"together too large", 1000, 992, 16},
    {"a ceiling that is no multiple of the alignment", 1001, 1, 1000},
    {"a size that would wrap round", 1000, 1, SIZE_MAX - 7},
};

START_TEST(the_ceiling_aborts)
{
    struct arena a = {.max = ceilings[_i].max};

    arena_alloc(&a, ceilings[_i].first);
    arena_alloc(&a, ceilings[_i].second);
}
END_TEST

START_TEST(the_ceiling_can_be_reached)
{
    _cleanup_(arena_release) struct arena a = {.max = 1024};

    for (int i = 0; i < 64; i++)
        arena_alloc(&a, 16);
    ck_assert_uint_eq(a.used, 1024);
}
END_TEST

UNIT(arena, {"pieces", pieces_are_aligned_zeroed_and_apart}, {"strings", strings},
     {"defer", defers_run_latest_first_before_memory_goes}, {"reach", the_ceiling_can_be_reached},
     {"ceiling", the_ceiling_aborts, COUNT(ceilings), SIGABRT})

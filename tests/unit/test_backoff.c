/* test_backoff.c - the four kinds of jitter stay inside their bounds. */
#include "queue/backoff.h"
#include "tests/unit/unit.h"

#define HALF (UINT64_MAX / 2)
static const struct {
    const char *title;
    struct backoff b;
    int attempt;
    int64_t previous;
    uint64_t random;
    int64_t want;
} cases[] = {
    {"the first failure waits the base", {30000, 600000, 2, JITTER_NONE}, 1, 0, HALF, 30000},
    {"it doubles", {30000, 600000, 2, JITTER_NONE}, 3, 0, HALF, 120000},
    {"up to the cap", {30000, 600000, 2, JITTER_NONE}, 6, 0, HALF, 600000},
    {"attempt 2 000 000 000 ends as well", {1, 600000, 2, JITTER_NONE}, 2000000000, 0, 0, 600000},
    {"a factor of one stays", {500, 600000, 1, JITTER_NONE}, 1000000, 0, 0, 500},
    {"a fraction grows slowly", {1000, 600000, 1.5, JITTER_NONE}, 3, 0, 0, 2250},
    {"attempt 0 reads as the first", {1000, 600000, 2, JITTER_NONE}, 0, 0, 0, 1000},
    {"full, lowest: never zero", {1000, 600000, 2, JITTER_FULL}, 1, 0, 0, 1},
    {"full, middle", {1000, 600000, 2, JITTER_FULL}, 1, 0, HALF, 500},
    {"full, highest", {1000, 600000, 2, JITTER_FULL}, 1, 0, UINT64_MAX, 1000},
    {"equal, lowest", {1000, 600000, 2, JITTER_EQUAL}, 2, 0, 0, 1000},
    {"equal, highest", {1000, 600000, 2, JITTER_EQUAL}, 2, 0, UINT64_MAX, 2000},
    {"decorrelated begins at the base",
     {1000, 600000, 2, JITTER_DECORRELATED},
     1,
     0,
     UINT64_MAX,
     1000},
    {"decorrelated, lowest", {1000, 600000, 2, JITTER_DECORRELATED}, 2, 4000, 0, 1000},
    {"decorrelated, highest", {1000, 600000, 2, JITTER_DECORRELATED}, 2, 4000, UINT64_MAX, 12000},
    {"decorrelated stays under the cap",
     {1000, 9000, 2, JITTER_DECORRELATED},
     2,
     4000,
     UINT64_MAX,
     9000},
    {"a base above the cap", {5000, 1000, 2, JITTER_DECORRELATED}, 1, 0, 0, 1000},
};

START_TEST(delay)
{
    ck_assert_msg(backoff_delay_ms(&cases[_i].b, cases[_i].attempt, cases[_i].previous,
                                   cases[_i].random) == cases[_i].want,
                  "case: %s", cases[_i].title);
}
END_TEST

UNIT(backoff, {"delay", delay, COUNT(cases)})

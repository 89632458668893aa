/* test_unknown.c - how long a job of an unknown task is left alone. */
#include "unit.h"
#include "worker/unknown.h"

static const struct {
    const char *title;
    int snoozes;
    int64_t age_ms, least, most;
} cases[] = {
    {"the first time", 0, 0, 50, 100},
    {"an old backlog is asked about soon, too", 0, 3600000, 50, 100},
    {"doubles", 3, 3600000, 400, 800},
    {"never longer than a minute", 100, 3600000, 30000, 60000},
    {"snoozes of its own do not count when it is young", 20, 500, 250, 500},
    {"a clock that went back", 5, -1000, 50, 100},
};

START_TEST(put_off)
{
    const struct job j = {.lease.snoozes = cases[_i].snoozes, .due_ms = 10000000};
    int64_t now = j.due_ms + cases[_i].age_ms;

    ck_assert_int_eq(unknown_put_off_ms(&j, now, 0), cases[_i].least);
    for (uint64_t random = 1; random; random *= 7) {
        int64_t ms = unknown_put_off_ms(&j, now, random);
        ck_assert_msg(ms >= cases[_i].least && ms <= cases[_i].most, "%s: %d", cases[_i].title,
                      (int)ms);
        if (random > UINT64_MAX / 7)
            break;
    }
}
END_TEST

UNIT(unknown, {"put_off", put_off, COUNT(cases)})

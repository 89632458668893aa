/* test_needed.c - how many workers a queue needs. */
#include "queue/needed.h"
#include "tests/unit/unit.h"

static const struct {
    const char *title;
    struct needed in;
    int64_t want;
} cases[] = {
    {"nothing there", {.workers = 3, .slots = 10}, 0},
    {"one job, nobody works", {.ready = 1, .slots = 1000}, 1},
    {"something under way", {.leased = 1, .busy = 0.1, .slots = 10, .workers = 1}, 1},
    {"slots all taken", {.leased = 20, .busy = 20, .slots = 10, .workers = 2}, 2},
    {"a little more than they have", {.leased = 20, .busy = 20.1, .slots = 10, .workers = 2}, 3},
    {"a backlog to be done in a minute", /* 600 x 2 s in 60 s: 20 slots, beside 5 */
     {.ready = 600, .leased = 5, .busy = 5, .mean_s = 2, .slots = 10, .workers = 1},
     3},
    {"a backlog nobody has measured", {.ready = 1200, .slots = 10}, 2},
    {"slots would do, the processor does not", /* late, at 10/s a thousand jobs take 100 s */
     {.ready = 1000,
      .busy = 1,
      .mean_s = 0.001,
      .oldest_s = 20,
      .rate_per_s = 10,
      .slots = 1000,
      .workers = 2},
     4},
    {"the same, but not late",
     {.ready = 1000,
      .busy = 1,
      .mean_s = 0.001,
      .oldest_s = 2,
      .rate_per_s = 10,
      .slots = 1000,
      .workers = 2},
     1},
    {"late, and soon done", /* 60 ready at 10/s: six seconds */
     {.ready = 60,
      .busy = 1,
      .mean_s = 0.001,
      .oldest_s = 20,
      .rate_per_s = 10,
      .slots = 1000,
      .workers = 10},
     11},
    {"beyond all measure", {.ready = INT64_MAX / 2, .mean_s = 1e9, .slots = 1}, 100000},
};

START_TEST(the_formula)
{
    int64_t got = workers_needed(&cases[_i].in);

    ck_assert_msg(got == cases[_i].want, "%s: %lld, not %lld", cases[_i].title, (long long)got,
                  (long long)cases[_i].want);
}
END_TEST

UNIT(needed, {"the formula", the_formula, COUNT(cases)})

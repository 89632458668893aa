/* test_breaker.c - when calls stop, and when they start again. A script of calls and questions per case; the clock is ours. */
#include "domain/shop/integrations.h"
#include "tests/unit/unit.h"
#include "worker/providers/breaker.h"
#include <stdio.h>

static const struct breaker_opts opts = {.window_ms = 1000,
                                         .min_calls = 4,
                                         .ratio = 0.5,
                                         .open_ms = 100,
                                         .open_max_ms = 300,
                                         .probes = 2};

/* One step at a time t: '+' a call that went well, '-' one that failed, 'a' it must admit, 'n' it must not, 'f' the probe is
 * forgotten, 'C', 'O', 'H' the state must be closed, open, half open; 'c' another process closed it, 'o' opened it for 1000. */
static const struct {
    const char *title;
    struct {
        int64_t t;
        const char *steps;
    } script[8];
} cases[] = {
    {"closed when all is well", {{0, "a+a+a+a+a+C"}}},
    {"too few calls decide nothing", {{0, "---aC"}}},
    {"half of the calls fail", {{0, "++-C-nO"}}},
    {"less than half", {{0, "+++--C"}}},
    {"old failures leave the window", {{0, "---"}, {1500, "-aC"}}},
    {"failures spread over the window", {{0, "-"}, {300, "-"}, {600, "-"}, {900, "-O"}}},
    {"open until its time", {{0, "----n"}, {99, "nO"}, {100, "aH"}}},
    {"one probe at a time", {{0, "----"}, {100, "anH"}}},
    {"two good probes close it", {{0, "----"}, {100, "a+a+aC"}}},
    {"the storm is forgotten after closing", {{0, "----"}, {100, "a+a+C-C--C"}}},
    {"a failed probe opens for twice as long",
     {{0, "----"}, {100, "a-O"}, {299, "n"}, {300, "aH"}}},
    {"and not longer than the most",
     {{0, "----"}, {100, "a-"}, {300, "a-"}, {599, "n"}, {600, "a-"}, {899, "n"}, {900, "a"}}},
    {"good, then bad: open", {{0, "----"}, {100, "a+a-O"}}},
    {"a lost probe is replaced", {{0, "----"}, {100, "a"}, {199, "n"}, {200, "a"}}},
    {"a probe that was not made", {{0, "----"}, {100, "anfa"}}},
    {"late answers do not count while open", {{0, "----"}, {50, "+-O"}, {100, "aH"}}},
    {"another process opened it", {{0, "o"}, {999, "nO"}, {1000, "aH"}}},
    {"an operator closed it", {{0, "----"}, {10, "caC"}}},
};

START_TEST(script)
{
    struct breaker b;
    int64_t until;

    breaker_init(&b, &opts);
    for (int i = 0; i < 8 && cases[_i].script[i].steps; i++) {
        int64_t t = 1000000 + cases[_i].script[i].t;
        for (const char *s = cases[_i].script[i].steps; *s; s++) {
            bool ok = true;
            until = 0;
            if (*s == '+' || *s == '-')
                breaker_note(&b, *s == '+', t);
            else if (*s == 'a')
                ok = breaker_admits(&b, t, &until);
            else if (*s == 'n')
                ok = !breaker_admits(&b, t, &until) && until > t;
            else if (*s == 'f')
                breaker_forget(&b);
            else if (*s == 'c')
                breaker_adopt(&b, BREAKER_CLOSED, 0, t);
            else if (*s == 'o')
                breaker_adopt(&b, BREAKER_OPEN, t + 1000, t);
            else
                ok = b.state == (*s == 'C'   ? BREAKER_CLOSED
                                 : *s == 'O' ? BREAKER_OPEN
                                             : BREAKER_HALF_OPEN);
            ck_assert_msg(ok, "%s: at %lld, step '%s'", cases[_i].title,
                          (long long)cases[_i].script[i].t, s);
        }
    }
}
END_TEST

START_TEST(tells_changes)
{
    struct breaker b;
    int64_t until;

    breaker_init(&b, &opts);
    ck_assert(!breaker_note(&b, false, 1) && !breaker_note(&b, false, 1) &&
              !breaker_note(&b, false, 1));
    ck_assert(breaker_note(&b, false, 1));
    ck_assert(!breaker_note(&b, false, 2));
    ck_assert(breaker_admits(&b, 200, &until));
    ck_assert(!breaker_note(&b, true, 200));
    ck_assert(breaker_admits(&b, 200, &until));
    ck_assert(breaker_note(&b, true, 200));
}
END_TEST

UNIT(breaker, {"script", script, COUNT(cases)}, {"changes", tells_changes, 0})

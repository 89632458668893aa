/* trouble.c - doing it, and watching what comes after. */
#include "tests/chaos/trouble.h"
#include <stdio.h>
#include <stdlib.h>

#define MOVES_MS 15000

int between(int low, int high)
{
    return low + rand() % (high - low + 1);
}

void troubles_seed(const char *env)
{
    const char *seed = getenv(env);
    unsigned s = seed ? (unsigned)atoi(seed) : (unsigned)support_now_ms();

    printf("chaos: %s=%u\n", env, s);
    srand(s);
}

void trouble_note(struct troubles *t, const char *what)
{
    int64_t start = support_now_ms(), from = t->ended();
    bool moved = wait_until(t->ended() > from || (from >= 0 && from >= t->accepted()), MOVES_MS);
    int ms = (int)(support_now_ms() - start);

    printf("chaos: %-24s %s %s after %d ms\n", what, moved ? "next" : "NO", t->noun, ms);
    fflush(stdout);
    if (ms > t->longest_ms) {
        t->longest_ms = ms;
        snprintf(t->longest_after, sizeof(t->longest_after), "%s", what);
    }
}

void trouble_kill(struct troubles *t, enum part p)
{
    char what[48];

    snprintf(what, sizeof(what), "kill -9 %s", part_name(p));
    house_kill(t->house, p);
    support_nap(between(100, 800));
    house_up(t->house, p);
    trouble_note(t, what);
}

void trouble_kill_child(struct troubles *t, enum part p)
{
    char what[48];

    snprintf(what, sizeof(what), "kill -9 a %s child", part_name(p));
    house_kill_child(t->house, p);
    trouble_note(t, what);
}

void trouble_flush(struct troubles *t)
{
    redis_try(t->house->stores.redis_url, "FLUSHALL");
    trouble_note(t, "FLUSHALL");
}

void trouble_each(struct troubles *t, enum part *victims, size_t n)
{
    for (size_t i = n - 1; i > 0; i--) { /* in some order */
        size_t j = (size_t)between(0, (int)i);
        enum part other = victims[i];
        victims[i] = victims[j];
        victims[j] = other;
    }
    size_t flush_at = (size_t)between(0, (int)n - 1);
    for (size_t i = 0; i < n; i++) {
        trouble_kill(t, victims[i]);
        if (i == flush_at)
            trouble_flush(t);
        support_nap(between(0, 300));
    }
}

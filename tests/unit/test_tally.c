/* test_tally.c - what a worker counts becomes fields and numbers, each once. */
#include "tests/unit/unit.h"
#include "worker/tally.h"
#include "worker/task.h"
#include <string.h>

static const char *const queues[] = {"a", "b"};
static struct task one = {.name = "t.one"}, two = {.name = "t.two"};

/* "field=n field=n", in the order taken. */
static char *taken(struct tally *t)
{
    _cleanup_(buf_release) struct buf raw = BUF(MiB(1)), text = BUF(MiB(1));
    size_t n = tally_take(t, &raw);
    const char *at = raw.p;

    ck_assert(n % 2 == 0);
    for (size_t i = 0; i < n; i++, at += strlen(at) + 1)
        buf_printf(&text, "%s%s", at, i % 2 ? " " : "=");
    ck_assert(raw.len == 0 || at == raw.p + raw.len);
    return buf_take(&text);
}

START_TEST(each_is_counted_once)
{
    struct tally *t = tally_new(queues, 2, 0);

    tally_begin(t, 0, /* due_ms= */ 10, 10400);  /* 400 us late */
    tally_begin(t, 0, /* due_ms= */ 0, 10400);   /* not known */
    tally_begin(t, 0, /* due_ms= */ 500, 10400); /* clocks differ */
    tally_end(t, 0, &one, COUNT_COMPLETED, 10400, 12000);
    tally_end(t, 0, &one, COUNT_RETRY, 10400, 10900);
    tally_end(t, 1, &one, COUNT_DEAD, /* never began */ 0, 10900);
    _cleanup_(freep) char *first = taken(t), *second = taken(t);
    ck_assert_msg(strstr(first, "t|a|t.one|completed=1 t|a|t.one|retry=1 t|a|t.one|b0=1 "
                                "t|a|t.one|b2=1 t|a|t.one|us=2100 ") != NULL,
                  "%s", first);
    ck_assert_msg(strstr(first, "t|b|t.one|dead=1 ") && !strstr(first, "t|b|t.one|us"), "%s",
                  first);
    ck_assert_msg(strstr(first, "q|a|b0=2 q|a|us=400 ") && !strstr(first, "q|b"), "%s", first);
    ck_assert_str_eq(second, "");
    tally_end(t, 0, &two, COUNT_SNOOZED, 1, 2);
    _cleanup_(freep) char *third = taken(t);
    ck_assert_str_eq(third, "t|a|t.two|snoozed=1 t|a|t.two|b0=1 t|a|t.two|us=1 ");
    tally_free(t);
}
END_TEST

START_TEST(too_many_tasks_are_one)
{
    enum { MANY = TALLY_TASKS + 50 };
    struct task *many = xcalloc(MANY, sizeof *many);
    struct tally *t = tally_new(queues, 2, 0);
    char names[MANY][16];

    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "t%d", i);
        many[i].name = names[i];
        tally_end(t, 1, &many[i], COUNT_COMPLETED, 1, 2);
    }
    _cleanup_(freep) char *text = taken(t);
    ck_assert_msg(strstr(text, "t|b|_other|completed=50 ") != NULL, "%s", text);
    free(many);
    tally_free(t);
}
END_TEST

START_TEST(slots_taken_over_time)
{
    struct tally *t = tally_new(queues, 2, 0);
    const int64_t s = 1000000;
    int64_t now = 0;

    /* one job that never ends, and one of half a beat in each beat */
    for (int i = 0; i < 200; i++) {
        now += 5 * s;
        tally_end(t, 0, &one, COUNT_COMPLETED, now - 5 * s / 2, now);
        tally_running(t, 0, 1, now);
        tally_beat(t, now);
    }
    ck_assert_msg(tally_busy(t, 0) > 1.49 && tally_busy(t, 0) < 1.51, "%f", tally_busy(t, 0));
    ck_assert_msg(tally_rate(t, 0) > 0.19 && tally_rate(t, 0) < 0.21, "%f", tally_rate(t, 0));
    ck_assert(tally_busy(t, 1) == 0);
    for (int i = 0; i < 100; i++)
        tally_beat(t, now += 5 * s);
    ck_assert_msg(tally_busy(t, 0) < 0.01, "%f", tally_busy(t, 0));
    tally_free(t);
}
END_TEST

START_TEST(quantiles)
{
    struct histogram h = {0};

    ck_assert(histogram_quantile_ms(&h, 0.5) == 0);
    for (int i = 0; i < 98; i++)
        h.bucket[count_bucket(700)]++;    /* 0.5 .. 1 ms */
    h.bucket[count_bucket(7000000)] += 2; /* 5 .. 10 s */
    ck_assert(histogram_count(&h) == 100);
    double p50 = histogram_quantile_ms(&h, 0.5), p99 = histogram_quantile_ms(&h, 0.99);
    ck_assert_msg(p50 > 0.5 && p50 <= 1, "%f", p50);
    ck_assert_msg(p99 > 5000 && p99 <= 10000, "%f", p99);
    ck_assert(count_bucket(INT64_MAX) == COUNT_BUCKETS - 1);
    h = (struct histogram){.bucket = {[COUNT_BUCKETS - 1] = 1}};
    ck_assert(histogram_quantile_ms(&h, 0.5) == 1800000);
}
END_TEST

UNIT(tally, {"each is counted once", each_is_counted_once},
     {"too many tasks are one", too_many_tasks_are_one},
     {"slots taken over time", slots_taken_over_time}, {"quantiles", quantiles})

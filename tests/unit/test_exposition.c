/* test_exposition.c - Prometheus' text, letter by letter. */
#include "hub/exposition.h"
#include "tests/unit/unit.h"
#include <string.h>

START_TEST(samples)
{
    _cleanup_(buf_release) struct buf b = BUF(MiB(1));

    family(&b, "m", "gauge", "what it is");
    sample(&b, "m", NO_LABELS, 1);
    sample(&b, "m", LABELS({"a", "x\"y\\z\nw"}, {"b", ""}), 1234567890123);
    sample(&b, "m", LABELS({"a", "half"}), 0.5);
    ck_assert_str_eq(buf_str(&b), "# HELP m what it is\n# TYPE m gauge\nm 1\n"
                                  "m{a=\"x\\\"y\\\\z\\nw\",b=\"\"} 1234567890123\n"
                                  "m{a=\"half\"} 0.5\n");
}
END_TEST

START_TEST(histograms_grow)
{
    _cleanup_(buf_release) struct buf b = BUF(MiB(1));
    struct histogram h = {.sum_us = 2500000};

    h.bucket[0] = 2;
    h.bucket[3] = 1;
    h.bucket[COUNT_BUCKETS - 1] = 4;
    sample_histogram(&b, "m", LABELS({"q", "a"}), &h);
    static const char *const lines[] = {"m_bucket{q=\"a\",le=\"0.0005\"} 2\n",
                                        "m_bucket{q=\"a\",le=\"0.0025\"} 2\n",
                                        "m_bucket{q=\"a\",le=\"0.005\"} 3\n",
                                        "m_bucket{q=\"a\",le=\"1800\"} 3\n",
                                        "m_bucket{q=\"a\",le=\"+Inf\"} 7\n",
                                        "m_sum{q=\"a\"} 2.500000\n",
                                        "m_count{q=\"a\"} 7\n"};
    for (size_t i = 0; i < COUNT(lines); i++)
        ck_assert_msg(strstr(buf_str(&b), lines[i]) != NULL, "no %sin %s", lines[i], buf_str(&b));
}
END_TEST

UNIT(exposition, {"samples", samples}, {"histograms grow", histograms_grow})

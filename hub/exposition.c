/* exposition.c - see exposition.h. */
#include "hub/exposition.h"
#include <stdio.h>

void family(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_value(struct buf *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '\n')
            buf_puts(out, "\\n");
        else if (*s == '\\' || *s == '"')
            buf_printf(out, "\\%c", *s);
        else
            buf_putc(out, *s);
    }
}

/* {a="1",b="2"}; le is one more when it is given. */
static void put_labels(struct buf *out, const struct label *l, const char *le)
{
    const char *before = "{";

    for (; l && l->name; l++) {
        buf_printf(out, "%s%s=\"", before, l->name);
        put_value(out, l->value);
        buf_puts(out, "\"");
        before = ",";
    }
    if (le) {
        buf_printf(out, "%sle=\"%s\"", before, le);
        before = ",";
    }
    if (*before == ',')
        buf_puts(out, "}");
}

void sample(struct buf *out, const char *name, const struct label *labels, double value)
{
    buf_puts(out, name);
    put_labels(out, labels, NULL);
    buf_printf(out, " %.15g\n", value);
}

void sample_histogram(struct buf *out, const char *name, const struct label *labels,
                      const struct histogram *h)
{
    int64_t so_far = 0;
    char le[32];

    for (size_t b = 0; b < COUNT_BUCKETS; b++) {
        so_far += h->bucket[b];
        if (b < COUNT_BUCKETS - 1)
            snprintf(le, sizeof le, "%g", (double)count_bounds_us[b] / 1e6);
        else
            snprintf(le, sizeof le, "+Inf");
        buf_printf(out, "%s_bucket", name);
        put_labels(out, labels, le);
        buf_printf(out, " %lld\n", (long long)so_far);
    }
    buf_printf(out, "%s_sum", name);
    put_labels(out, labels, NULL);
    buf_printf(out, " %.6f\n%s_count", (double)h->sum_us / 1e6, name);
    put_labels(out, labels, NULL);
    buf_printf(out, " %lld\n", (long long)so_far);
}

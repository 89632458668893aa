/* test_refusals.c - what is folded, what is dropped and counted, what is tried again. The table is the
 * test's own. */
#include "base/text.h"
#include "domain/access/security_events.h"
#include "hub/refusals.h"
#include "tests/support/fibers.h"
#include "unit.h"
#include <stdlib.h>
#include <string.h>

static struct {
    int calls;
    size_t rows;
    int64_t times, dropped;
    struct {
        char kind[41], identity[64], source[64];
        int64_t times;
    } row[2 * REFUSALS_MAX + 8];
    int failures; /* so many calls fail first */
} table;

static rc add(struct cx *cx, struct pg *db, const struct security_event *e, size_t n)
{
    (void)db;
    table.calls++;
    try(fiber_sleep(cx, 1));
    if (table.failures && table.failures--)
        return fail_rc(cx, E_STORE_DOWN, "nobody there");
    for (size_t i = 0; i < n; i++) {
        ck_assert(e[i].at_ms > 0 && e[i].times > 0);
        if (str_eq(e[i].kind, "dropped")) {
            table.dropped += e[i].times;
            continue;
        }
        snprintf(table.row[table.rows].kind, sizeof table.row[0].kind, "%s", e[i].kind);
        snprintf(table.row[table.rows].identity, sizeof table.row[0].identity, "%s",
                 e[i].identity ? e[i].identity : "-");
        snprintf(table.row[table.rows].source, sizeof table.row[0].source, "%s",
                 e[i].source ? e[i].source : "-");
        table.row[table.rows++].times = e[i].times;
        table.times += e[i].times;
    }
    return OK;
}

static struct metrics *metrics;
static struct refusals *make(void)
{
    memset(&table, 0, sizeof table);
    metrics = metrics_new();
    metrics_child(metrics, 0);
    return refusals_new(NULL, metrics, add);
}

static void take_down(struct refusals *r)
{
    refusals_free(r);
    metrics_free(metrics);
}

/* Its fiber runs on until it is cancelled; on_fiber waits for it. */
struct world {
    struct refusals *r;
    rc (*fn)(struct cx *cx, struct refusals *r);
};

static rc in_world(struct cx *cx, void *arg)
{
    struct world *w = arg;

    w->r = make();
    rc r = w->fn(cx, w->r);
    fiber_cancel_all();
    return r;
}

#define WORLD_TEST(name)                                                                           \
    static rc name##_body(struct cx *cx, struct refusals *r);                                      \
    START_TEST(name)                                                                               \
    {                                                                                              \
        struct world w = {.fn = name##_body};                                                      \
        ck_ok(on_fiber(in_world, &w));                                                             \
        take_down(w.r);                                                                            \
    }                                                                                              \
    END_TEST                                                                                       \
    static rc name##_body(struct cx *cx, struct refusals *r)

static void note(struct refusals *r, const char *kind, const char *source, const char *identity,
                 bool known)
{
    refusal_note(r, &(struct refusal){.kind = kind,
                                      .source = source,
                                      .route = "GET /v1/orders",
                                      .identity = identity,
                                      .known = known});
}

WORLD_TEST(alike_ones_are_folded)
{
    for (int i = 0; i < 100; i++) {
        note(r, "bad_credentials", "10.0.0.1", i % 2 ? "key:a" : "key:b", false);
        note(r, "forbidden", "10.0.0.1", i % 2 ? "key:a" : "key:b", true);
        note(r, "no_credentials", "10.0.0.2", NULL, false);
    }
    ck_ok(refusals_flush(cx, r));
    ck_assert_int_eq(table.times, 300);
    ck_assert_int_eq(metric_sum(metrics, METRIC_REFUSALS), 300);
    /* guesses in one row, known ones in one each (two of each if a second began in between) */
    ck_assert_msg(table.rows >= 4 && table.rows <= 8, "%zu rows", table.rows);
    for (size_t i = 0; i < table.rows; i++) {
        bool guess = str_eq(table.row[i].kind, "bad_credentials");
        bool lone = table.row[i].times == 1;
        ck_assert_msg(!guess || lone || str_eq(table.row[i].identity, "several"), "%s",
                      table.row[i].identity);
        ck_assert(!str_eq(table.row[i].kind, "forbidden") ||
                  starts_with(table.row[i].identity, "key:"));
    }
    return OK;
}

WORLD_TEST(too_many_are_counted)
{
    char source[32];

    for (int i = 0; i < REFUSALS_MAX + 50; i++) {
        snprintf(source, sizeof source, "10.0.%d.%d", i / 250, i % 250);
        note(r, "no_credentials", source, NULL, false);
    }
    ck_assert_int_eq(metric_sum(metrics, METRIC_REFUSALS_DROPPED), 50);
    ck_ok(refusals_flush(cx, r));
    ck_assert_uint_eq(table.rows, REFUSALS_MAX);
    ck_assert_int_eq(table.dropped, 50);
    ck_assert_int_eq(table.calls, REFUSALS_MAX / 256); /* many in one statement */
    return OK;
}

WORLD_TEST(what_could_not_be_written_is_tried_again)
{
    char source[32];

    table.failures = 2;
    for (int i = 0; i < 300; i++) { /* two statements */
        snprintf(source, sizeof source, "10.1.%d.%d", i / 250, i % 250);
        note(r, "no_credentials", source, NULL, false);
    }
    ck_ok(refusals_flush(cx, r));
    ck_assert_uint_eq(table.rows, 300); /* none twice, none lost */
    ck_assert_int_eq(table.times, 300);
    return OK;
}

WORLD_TEST(the_first_is_written_at_once)
{
    note(r, "no_credentials", "10.0.0.1", NULL, false);
    for (int turn = 0; turn < 20 && !table.calls; turn++)
        try(fiber_yield(cx));
    ck_assert_int_eq(table.calls, 1); /* without any second passing */
    while (table.times < 1)
        try(fiber_sleep(cx, 5));
    for (int i = 0; i < 5; i++)
        note(r, "no_credentials", "10.0.0.1", NULL, false);
    while (table.times < 6) /* nobody flushes: the fold's second passes */
        try(fiber_sleep(cx, 20));
    ck_ok(refusals_flush(cx, r)); /* nothing left */
    ck_assert_uint_eq(table.rows, 2);
    return OK;
}

WORLD_TEST(texts_of_visitors_are_made_fit)
{
    char name[400];

    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    note(r, "bad_credentials", "10.0.0.1", name, true);
    note(r, "bad_credentials", "10.0.0.2", "bad \xff\x01 bytes", true);
    ck_ok(refusals_flush(cx, r));
    ck_assert_uint_eq(table.rows, 2);
    ck_assert_str_eq(table.row[1].identity, "bad ?? bytes");
    return OK;
}

UNIT(refusals, {"folded", alike_ones_are_folded}, {"counted", too_many_are_counted},
     {"again", what_could_not_be_written_is_tried_again},
     {"not for ever", the_first_is_written_at_once}, {"fit", texts_of_visitors_are_made_fit})

/* test_envelope.c - a job as Redis keeps it: what is written is read, and what was not written by us is refused. */
#include "queue/envelope.h"
#include "queue/options.h"
#include "tests/unit/unit.h"
#include <string.h>

START_TEST(what_is_written_is_read)
{
    const struct job_new j = {
        .task = "order.check",
        .args = "{\"a\":\"\\u0000\"}",
        .priority = 9,
        .max_attempts = 20,
        .timeout_ms = 90000,
        .subject = "order 7",
        .trace = "00-1-2-01",
    };
    _cleanup_(buf_release) struct buf b = BUF(KiB(4));
    struct job r = {0};
    int generation;

    envelope_write(&b, &j, 3, INT64_C(1795248000123));
    ck_assert(envelope_read(b.p, b.len, &r, &generation));
    ck_assert_int_eq(generation, 3);
    ck_assert_str_eq(r.task, "order.check");
    ck_assert_str_eq(r.args, j.args);
    ck_assert_uint_eq(r.args_len, strlen(j.args));
    ck_assert_str_eq(r.subject, "order 7");
    ck_assert_ptr_null(r.tenant_id);
    ck_assert_str_eq(r.trace, "00-1-2-01");
    ck_assert_int_eq(r.priority, 9);
    ck_assert_int_eq(r.max_attempts, 20);
    ck_assert(r.timeout_ms == 90000 && r.due_ms == INT64_C(1795248000123));
    ck_assert(r.durable);
}
END_TEST

START_TEST(a_small_one)
{
    const struct job_new j = {.task = "x"};
    _cleanup_(buf_release) struct buf b = BUF(KiB(4));
    struct job r = {0};
    int generation;

    envelope_write(&b, &j, 0, 0);
    ck_assert(envelope_read(b.p, b.len, &r, &generation));
    ck_assert(!r.durable);
    ck_assert_str_eq(r.args, "{}");
}
END_TEST

static const struct {
    const char *title;
    struct job_options o;
    const char *text; /* in the envelope; NULL: none */
} options[] = {
    {"nothing set", {0}, NULL},
    {"a deadline", {.expires_at_ms = INT64_C(1795248000123)}, "{\"expires_at_ms\":1795248000123}"},
    {"everything",
     {.expires_at_ms = 1,
      .soft_ms = 2,
      .result_ttl_ms = 3,
      .unique = JOB_UNIQUE_WINDOW,
      .unique_ms = 4,
      .limit_key = "znet:7",
      .workflow = "01932b5e-0000-7000-8000-000000000001",
      .workflow_step = 5},
     "{\"expires_at_ms\":1,\"soft_ms\":2,\"result_ttl_ms\":3,\"unique\":\"window\",\"unique_ms\":4,"
     "\"limit_key\":\"znet:7\",\"workflow\":\"01932b5e-0000-7000-8000-000000000001\",\"step\":5}"},
    {"unique until it begins", {.unique = JOB_UNIQUE_START}, "{\"unique\":\"start\"}"},
};

START_TEST(options_travel_with_the_job)
{
    const struct job_new j = {.task = "x", .args = "[1]", .options = &options[_i].o};
    _cleanup_(buf_release) struct buf b = BUF(KiB(4));
    struct job r = {0};
    int generation;

    envelope_write(&b, &j, 1, 7);
    ck_assert(envelope_read(b.p, b.len, &r, &generation));
    ck_assert_str_eq(r.args, "[1]");
    ck_assert_int_eq(r.options != NULL, options[_i].text != NULL);
    if (r.options) {
        ck_assert_mem_eq(r.options, &options[_i].o, sizeof *r.options);
        ck_assert_ptr_nonnull(memmem(b.p, b.len, options[_i].text, strlen(options[_i].text)));
    }
    free((void *)r.options);
}
END_TEST

static const char *const bad_options[] = {
    "",
    "{",
    "[]",
    "{\"expires_at_ms\":-1}",
    "{\"expires_at_ms\":1.5}",
    "{\"expires_at_ms\":\"1\"}",
    "{\"soft_ms\":1e300}",
    "{\"unique\":\"for ever\"}",
    "{\"limit_key\":\"a b\"}",
    "{\"limit_key\":[\"a\"]}",
    "{\"limit_key\":{\"a\":1}}",
    "{\"workflow\":\"7\"}",
    "{\"step\":4294967296}",
};

START_TEST(options_that_are_none_are_refused)
{
    struct job_options o;

    ck_assert(!job_options_read(bad_options[_i], strlen(bad_options[_i]), &o));
    ck_assert_int_eq(o.expires_at_ms, 0);
}
END_TEST

START_TEST(a_member_of_a_later_version_is_passed_over)
{
    const char *s = " {\"colour\":\"blue\",\"soft_ms\":5}" + 1;
    struct job_options o;

    ck_assert(job_options_read(s, strlen(s), &o));
    ck_assert_int_eq(o.soft_ms, 5);
}
END_TEST

#define HEAD "1 1 5 0 0 0 "
static const struct {
    const char *title, *text;
    size_t len;
} bad[] = {
#define TEXT(t) t, sizeof(t) - 1
    {"nothing", TEXT("")},
    {"JSON", TEXT("{\"task\":\"x\"}")},
    {"another version", TEXT("2 1 5 0 0 0 1 0 0 0\nx\0\0\0\0{}")},
    {"a priority of ten", TEXT("1 1 10 0 0 0 1 0 0 0\nx\0\0\0\0{}")},
    {"a generation too large", TEXT("1 2147483648 5 0 0 0 1 0 0 0\nx\0\0\0\0{}")},
    {"a time limit too large", TEXT("1 1 5 0 99999999999999999999 0 1 0 0 0\nx\0\0\0\0{}")},
    {"a sign", TEXT("1 -1 5 0 0 0 1 0 0 0\nx\0\0\0\0{}")},
    {"no task", TEXT(HEAD "0 0 0 0\n\0\0\0\0{}")},
    {"cut in the head", TEXT("1 1 5 0")},
    {"cut behind the head", TEXT(HEAD "1 0 0 0\n")},
    {"cut in a string", TEXT(HEAD "5 0 0 0\nabc")},
    {"cut before the arguments", TEXT(HEAD "1 0 0 0\nx\0\0\0")},
    {"a length that runs out", TEXT(HEAD "1000 0 0 0\nx\0\0\0\0{}")},
    {"a length too large for any", TEXT(HEAD "99999999999 0 0 0\nx\0\0\0\0{}")},
    {"a string with a NUL inside", TEXT(HEAD "3 0 0 0\na\0b\0\0\0\0{}")},
    {"a length that is short", TEXT(HEAD "1 0 0 0\nxy\0\0\0\0{}")},
};

/* In a buffer of exactly its size: the sanitizer sees a step too far. */
START_TEST(what_is_not_ours_is_refused)
{
    char *text = malloc(bad[_i].len + 1);
    struct job r = {0};
    int generation;

    memcpy(text, bad[_i].text, bad[_i].len + 1);
    ck_assert_msg(!envelope_read(text, bad[_i].len, &r, &generation), "case: %s", bad[_i].title);
    free(text);
}
END_TEST

/* Every prefix of a good one, and every byte of it changed: never a step outside. */
START_TEST(torn_and_flipped)
{
    const struct job_new j = {
        .task = "order.check", .subject = "s", .args = "{}", .options = &options[_i].o};
    _cleanup_(buf_release) struct buf b = BUF(KiB(4));
    struct job r = {0};
    int generation;

    envelope_write(&b, &j, 1, 1);
    for (size_t n = 0; n <= b.len; n++) {
        char *text = malloc(n + 1);
        memcpy(text, b.p, n);
        text[n] = 0;
        if (envelope_read(text, n, &r, &generation))
            free((void *)r.options);
        for (size_t i = 0; n == b.len && i < n; i++)
            for (int c = 0; c < 256; c++) {
                text[i] = (char)c;
                if (envelope_read(text, n, &r, &generation))
                    free((void *)r.options);
                text[i] = b.p[i];
            }
        free(text);
    }
}
END_TEST

UNIT(envelope, {"round trip", what_is_written_is_read}, {"small", a_small_one},
     {"refused", what_is_not_ours_is_refused, COUNT(bad)},
     {"torn", torn_and_flipped, COUNT(options)},
     {"options", options_travel_with_the_job, COUNT(options)},
     {"options refused", options_that_are_none_are_refused, COUNT(bad_options)},
     {"options of a later version", a_member_of_a_later_version_is_passed_over})

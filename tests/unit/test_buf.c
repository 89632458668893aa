/* test_buf.c - growth up to the ceiling and not past it; JSON strings; consuming. */
#include "base/buf.h"
#include "unit.h"
#include <string.h>

START_TEST(grows_and_ends_with_nul)
{
    _cleanup_(buf_release) struct buf b = BUF(KiB(64));

    ck_assert_str_eq(buf_str(&b), "");
    for (int i = 0; i < 5000; i++) {
        ck_assert(buf_printf(&b, "%d,", i % 10));
        ck_assert_uint_eq(b.len, 2 * (size_t)(i + 1));
        ck_assert_int_eq(b.p[b.len], 0);
    }
    ck_assert(buf_ok(&b));
    ck_assert(buf_append(&b, NULL, 0));
    ck_assert(buf_append(&b, "a\0b", 3));
    ck_assert_int_eq(memcmp(b.p + b.len - 3, "a\0b", 4), 0);
}
END_TEST

START_TEST(the_ceiling_holds)
{
    _cleanup_(buf_release) struct buf b = BUF(8);

    ck_assert(buf_puts(&b, "12345678")); /* exactly */
    ck_assert(!buf_putc(&b, '9'));
    ck_assert(!buf_ok(&b));
    ck_assert(!buf_append(&b, "", 0)); /* full from then on, so one check at the end is enough */
    ck_assert_str_eq(buf_str(&b), "12345678");
    buf_reset(&b);
    ck_assert(buf_ok(&b) && b.len == 0);
    ck_assert(!buf_printf(&b, "%s", "123456789"));
    ck_assert_str_eq(buf_str(&b), "");
    buf_release(&b);
    ck_assert_uint_eq(b.max, 8);
    ck_assert(buf_puts(&b, "again"));
}
END_TEST

START_TEST(without_a_ceiling_nothing_fits)
{
    struct buf b = {0};

    ck_assert(!buf_putc(&b, 'x'));
    ck_assert_ptr_null(b.p);
}
END_TEST

static const struct {
    const char *title, *in, *want;
} strings[] = {
    {"null", NULL, "null"},
    {"empty", "", "\"\""},
    {"plain", "pin 42", "\"pin 42\""},
    {"quote and backslash", "a\"b\\c", "\"a\\\"b\\\\c\""},
    {"controls", "\n\t\x01\x1f\x7f", "\"\\n\\u0009\\u0001\\u001f\\u007f\""},
    {"utf-8 as it is", "şifre محور", "\"şifre محور\""},
    {"special at both ends", "\"x\"", "\"\\\"x\\\"\""},
};

START_TEST(json_strings)
{
    _cleanup_(buf_release) struct buf b = BUF(100);

    ck_assert_msg(buf_json_str(&b, strings[_i].in), "case: %s", strings[_i].title);
    ck_assert_msg(strcmp(buf_str(&b), strings[_i].want) == 0, "case: %s gave %s", strings[_i].title,
                  buf_str(&b));
}
END_TEST

START_TEST(json_fields)
{
    _cleanup_(buf_release) struct buf b = BUF(200), small = BUF(10);

    ck_assert(buf_json_field(&b, "note", "a \"b\""));
    ck_assert(buf_json_field(&b, "none", NULL));
    ck_assert(buf_json_time(&b, "at", 1500));
    ck_assert(buf_json_time(&b, "never", 0));
    ck_assert_str_eq(buf_str(&b), ",\"note\":\"a \\\"b\\\"\",\"none\":null,"
                                  "\"at\":\"1970-01-01T00:00:01.500Z\",\"never\":null");
    ck_assert(!buf_json_field(&small, "n", "too long for it"));
    ck_assert(!buf_ok(&small));
}
END_TEST

static const struct {
    const char *title, *in;
    size_t n;
    const char *want;
} consumed[] = {
    {"nothing of nothing", "", 0, ""},    {"something of nothing", "", 5, ""},
    {"the front", "abcdef", 2, "cdef"},   {"all", "abc", 3, ""},
    {"more than there is", "abc", 9, ""},
};

START_TEST(consumes)
{
    _cleanup_(buf_release) struct buf b = BUF(100);

    if (*consumed[_i].in)
        buf_puts(&b, consumed[_i].in);
    buf_consume(&b, consumed[_i].n);
    ck_assert_msg(strcmp(buf_str(&b), consumed[_i].want) == 0, "case: %s", consumed[_i].title);
    ck_assert_uint_eq(b.len, strlen(consumed[_i].want));
}
END_TEST

START_TEST(room_is_made_at_once)
{
    _cleanup_(buf_release) struct buf b = BUF(1000);

    buf_room(&b, 700);
    const char *p = b.p;
    for (int i = 0; i < 70; i++)
        buf_int(&b, 1000000000 + i); /* ten digits each */
    ck_assert_ptr_eq(b.p, p);
    ck_assert_int_eq(memcmp(b.p + 690, "1000000069", 11), 0);
    buf_room(&b, 5000); /* no more than fits, and that is no failure */
    ck_assert(buf_ok(&b) && b.len == 700);
    ck_assert(buf_append(&b, b.p, 300));
    ck_assert(!buf_int(&b, 0));
}
END_TEST

START_TEST(takes)
{
    struct buf b = BUF(100);
    _cleanup_(freep) char *empty = buf_take(&b);

    ck_assert_str_eq(empty, "");
    buf_puts(&b, "mine");
    _cleanup_(freep) char *mine = buf_take(&b);
    ck_assert_str_eq(mine, "mine");
    ck_assert_ptr_null(b.p);
    ck_assert_uint_eq(b.len, 0);
}
END_TEST

UNIT(buf, {"grow", grows_and_ends_with_nul}, {"ceiling", the_ceiling_holds},
     {"no ceiling", without_a_ceiling_nothing_fits}, {"json", json_strings, COUNT(strings)},
     {"json fields", json_fields}, {"consume", consumes, COUNT(consumed)}, {"take", takes},
     {"room", room_is_made_at_once})

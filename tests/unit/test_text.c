/* test_text.c - UTF-8, hex, base64url, numbers, durations, decimals. */
#include "base/text.h"
#include "unit.h"
#include <string.h>

static const struct {
    const char *title, *in;
    bool ok;
} utf8[] = {
    {"empty", "", true},
    {"ASCII", "pin", true},
    {"two, three, four bytes", "ş€😀", true},
    {"first and last of each length",
     "\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", true},
    {"beside the surrogates", "\xed\x9f\xbf\xee\x80\x80", true},
    {"a lone continuation", "\x80", false},
    {"cut after one of two", "a\xc5", false},
    {"cut after three of four", "\xf0\x9f\x98", false},
    {"ASCII where a continuation must be",
     "\xc5"
     "a",
     false},
    {"overlong slash, two bytes", "\xc0\xaf", false},
    {"overlong, three bytes", "\xe0\x9f\xbf", false},
    {"overlong, four bytes", "\xf0\x8f\xbf\xbf", false},
    {"a surrogate", "\xed\xa0\x80", false},
    {"beyond U+10FFFF", "\xf4\x90\x80\x80", false},
    {"five bytes", "\xf8\x88\x80\x80\x80", false},
    {"0xff", "\xff", false},
    {"latin-1", "caf\xe9!!", false},
};

START_TEST(utf8_is_judged)
{
    ck_assert_msg(utf8_valid(utf8[_i].in, strlen(utf8[_i].in)) == utf8[_i].ok, "case: %s",
                  utf8[_i].title);
}
END_TEST

static const struct {
    const char *in;
    size_t max, want;
} cuts[] = {
    {"abc", 5, 3}, {"abc", 3, 3}, {"abc", 2, 2}, {"abc", 0, 0}, {"aş", 3, 3},
    {"aş", 2, 1},  {"€€", 5, 3},  {"€€", 2, 0},  {"😀a", 4, 4},  {"😀a", 3, 0},
};

START_TEST(utf8_is_cut_between_characters)
{
    ck_assert_uint_eq(utf8_cut(cuts[_i].in, cuts[_i].max), cuts[_i].want);
}
END_TEST

START_TEST(utf8_is_counted)
{
    ck_assert_uint_eq(utf8_len(""), 0);
    ck_assert_uint_eq(utf8_len("aş€😀"), 4);
}
END_TEST

START_TEST(hex)
{
    unsigned char b[4] = {0};
    char text[9];

    ck_assert_str_eq(hex_encode("\x00\x7f\xa5\xff", 4, text), "007fa5ff");
    ck_assert_str_eq(hex_encode("", 0, text), "");
    ck_assert(hex_decode("007Fa5fF", b, 4));
    ck_assert_int_eq(memcmp(b, "\x00\x7f\xa5\xff", 4), 0);
    ck_assert(!hex_decode("007fa5f", b, 4));
    ck_assert(!hex_decode("007fa5ff0", b, 4));
    ck_assert(!hex_decode("007fa5fg", b, 4));
    ck_assert(!hex_decode("0@7fa5ff", b, 4));
}
END_TEST

static const struct {
    const char *plain, *text;
} base64[] = {
    {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
    {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff\xbe", "-_--"},
};

START_TEST(base64url)
{
    const char *plain = base64[_i].plain, *want = base64[_i].text;
    char text[32], back[32] = {0};

    ck_assert_str_eq(base64url_encode(plain, strlen(plain), text), want);
    ck_assert(base64url_decode(want, strlen(want), back));
    ck_assert_str_eq(back, plain);
}
END_TEST

START_TEST(base64url_has_one_spelling)
{
    static const char *const bad[] = {"Z", "Zh", "Zm9", "Zg==", "Zm+v", "Zm/v", "Zm 9", "Zm9vY"};
    char out[16];

    ck_assert_msg(!base64url_decode(bad[_i], strlen(bad[_i]), out), "case: %s", bad[_i]);
}
END_TEST

static const struct {
    const char *in;
    int64_t min, max;
    bool ok;
    int64_t want;
} ints[] = {
    {"0", 0, 9, true, 0},
    {"9", 0, 9, true, 9},
    {"10", 0, 9, false},
    {"-1", 0, 9, false},
    {"-1", -1, 9, true, -1},
    {"9223372036854775807", 0, INT64_MAX, true, INT64_MAX},
    {"9223372036854775808", 0, INT64_MAX, false},
    {"-9223372036854775808", INT64_MIN, 0, true, INT64_MIN},
    {"", 0, 9, false},
    {NULL, 0, 9, false},
    {" 1", 0, 9, false},
    {"1 ", 0, 9, false},
    {"+1", 0, 9, false},
    {"0x1", 0, 9, false},
    {"1.0", 0, 9, false},
    {"-", -9, 9, false},
    {"--1", -9, 9, false},
};

START_TEST(integers)
{
    int64_t v = 77;

    ck_assert_msg(parse_int(ints[_i].in, ints[_i].min, ints[_i].max, &v) == ints[_i].ok, "case: %s",
                  ints[_i].in ? ints[_i].in : "NULL");
    ck_assert_int_eq(v, ints[_i].ok ? ints[_i].want : 77);
}
END_TEST

static const struct {
    const char *in;
    int64_t want; /* -1: refused */
} durations[] = {
    {"0", 0},
    {"1500", 1500},
    {"250ms", 250},
    {"30s", 30000},
    {"5m", 300000},
    {"2h", 7200000},
    {"7d", 604800000},
    {"3650d", 315360000000},
    {"3651d", -1},
    {"-1s", -1},
    {"1.5s", -1},
    {"1 s", -1},
    {"s", -1},
    {"", -1},
    {NULL, -1},
    {"1S", -1},
    {"1w", -1},
    {"99999999999999999999d", -1},
    {"9223372036854775807d", -1},
};

START_TEST(durations_are_read)
{
    int64_t v = -1;

    ck_assert_msg(parse_duration_ms(durations[_i].in, &v) == (durations[_i].want >= 0), "case: %s",
                  durations[_i].in ? durations[_i].in : "NULL");
    ck_assert_int_eq(v, durations[_i].want);
}
END_TEST

static const struct {
    const char *in;
    int decimals;
    bool ok;
} decimals[] = {
    {"0", 2, true},
    {"12.50", 2, true},
    {"-3", 2, true},
    {"-0.1", 2, true},
    {"12.505", 2, false},
    {"1.5", 0, false},
    {"15", 0, true},
    {".5", 2, false},
    {"5.", 2, false},
    {"1.2.3", 2, false},
    {"1e3", 2, false},
    {"", 2, false},
    {"-", 2, false},
    {"+1", 2, false},
    {" 1", 2, false},
    {"1,5", 2, false},
    {"123456789012345", 2, true},
    {"1234567890123456", 2, false},
};

START_TEST(decimals_are_judged)
{
    ck_assert_msg(decimal_valid(decimals[_i].in, decimals[_i].decimals) == decimals[_i].ok,
                  "case: '%s'", decimals[_i].in);
}
END_TEST

static const struct {
    int64_t in;
    const char *want;
} written[] = {
    {0, "0"},
    {7, "7"},
    {-1, "-1"},
    {1000000, "1000000"},
    {INT64_MAX, "9223372036854775807"},
    {INT64_MIN, "-9223372036854775808"},
};

START_TEST(integers_are_written)
{
    char out[INT_TEXT_LEN + 1];

    ck_assert_uint_eq(int_text(written[_i].in, out), strlen(written[_i].want));
    ck_assert_str_eq(out, written[_i].want);
}
END_TEST

START_TEST(copies_stop_at_the_end)
{
    char out[4] = "xyz";

    ck_assert_uint_eq(text_copy(out, sizeof out, ""), 0);
    ck_assert_str_eq(out, "");
    ck_assert_uint_eq(text_copy(out, sizeof out, "abc"), 3);
    ck_assert_str_eq(out, "abc");
    ck_assert_uint_eq(text_copy(out, sizeof out, "abcd"), 3);
    ck_assert_str_eq(out, "abc");
}
END_TEST

START_TEST(small_things)
{
    char padded[] = " \t name = x \n", blank[] = "  ";

    ck_assert(str_empty(NULL) && str_empty("") && !str_empty(" "));
    ck_assert(str_eq(NULL, NULL) && str_eq("a", "a") && !str_eq("a", NULL) && !str_eq("a", "b"));
    ck_assert(starts_with("unix:/x", "unix:") && starts_with("x", "") &&
              !starts_with("un", "unix"));
    ck_assert(equal_secret("abc", "abc", 3) && !equal_secret("abc", "abd", 3) &&
              equal_secret("a", "b", 0));
    ck_assert_str_eq(str_trim(padded), "name = x");
    ck_assert_str_eq(str_trim(blank), "");
}
END_TEST

UNIT(text, {"utf8", utf8_is_judged, COUNT(utf8)},
     {"utf8 cut", utf8_is_cut_between_characters, COUNT(cuts)}, {"utf8 length", utf8_is_counted},
     {"hex", hex}, {"base64url", base64url, COUNT(base64)},
     {"base64url refused", base64url_has_one_spelling, 8}, {"integers", integers, COUNT(ints)},
     {"integers written", integers_are_written, COUNT(written)}, {"copies", copies_stop_at_the_end},
     {"durations", durations_are_read, COUNT(durations)},
     {"decimals", decimals_are_judged, COUNT(decimals)}, {"small things", small_things})

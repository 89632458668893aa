/* test_ops_table.c - what operators read and what their scripts read, from the same rows. */
#include "ops/table.h"
#include "tests/unit/ops_output.h"
#include "tests/unit/unit.h"
#include <cjson/cJSON.h>

static struct table *one_cell(const char *column, const char *value)
{
    struct table *t = table_new(column, NULL);

    table_row(t, value);
    return t;
}

static struct table *pair(const char *a, const char *b)
{
    struct table *t = table_new("a", "b", NULL);

    table_row(t, a, b);
    return t;
}

static struct table *wide(void)
{
    struct table *t = table_new("name", "n#", "on?", "args{}", "secret+", "at", NULL);

    table_row(t, "first", "7", "yes", "{\"x\":[1]}", "detail", "2026");
    table_row(t, NULL, NULL, NULL, NULL, NULL, NULL);
    table_row(t, "second, longer", "12345", "no", "null", "", "");
    return t;
}

static void print_wide(const void *json)
{
    table_print(wide(), *(const bool *)json);
}

static void print_wide_one(const void *json)
{
    table_print_one(wide(), *(const bool *)json);
}

static const bool yes = true, no = false;

START_TEST(for_people)
{
    _cleanup_(freep) char *got = output_of(print_wide, &no);

    ck_assert_str_eq(got, "name                n  on   args       at\n"
                          "first               7  yes  {\"x\":[1]}  2026\n"
                          "-                   -  -    -          -\n"
                          "second, longer  12345  no   null       \n");
}
END_TEST

START_TEST(one_for_people)
{
    _cleanup_(freep) char *got = output_of(print_wide_one, &no);

    ck_assert_str_eq(got, "name    first\nn       7\non      yes\nargs    {\"x\":[1]}\n"
                          "secret  detail\nat      2026\n");
}
END_TEST

START_TEST(for_programs)
{
    _cleanup_(freep) char *got = output_of(print_wide, &yes);

    ck_assert_str_eq(got,
                     "[{\"name\":\"first\",\"n\":7,\"on\":true,\"args\":{\"x\":[1]},\"secret\":"
                     "\"detail\",\"at\":\"2026\"},\n"
                     " {\"name\":null,\"n\":null,\"on\":null,\"args\":null,\"secret\":null,"
                     "\"at\":null},\n"
                     " {\"name\":\"second, longer\",\"n\":12345,\"on\":false,\"args\":null,"
                     "\"secret\":\"\",\"at\":\"\"}]\n");
}
END_TEST

START_TEST(one_for_programs)
{
    _cleanup_(freep) char *got = output_of(print_wide_one, &yes);

    ck_assert_str_eq(got, "{\"name\":\"first\",\"n\":7,\"on\":true,\"args\":{\"x\":[1]},\"secret\":"
                          "\"detail\",\"at\":\"2026\"}\n");
}
END_TEST

static void print_empty(const void *json)
{
    table_print(table_new("id", "n#", NULL), *(const bool *)json);
}

static void print_none(const void *json)
{
    table_print_one(table_new("id", "n#", NULL), *(const bool *)json);
}

START_TEST(without_rows)
{
    _cleanup_(freep) char *people = output_of(print_empty, &no);
    _cleanup_(freep) char *programs = output_of(print_empty, &yes);
    _cleanup_(freep) char *none = output_of(print_none, &yes);

    ck_assert_str_eq(people, "id  n\n");
    ck_assert_str_eq(programs, "[]\n");
    ck_assert_str_eq(none, "null\n");
}
END_TEST

/* What a visitor wrote may not speak to the terminal, nor move the columns behind it. */
static const struct {
    const char *title, *cell, *people;
} texts[] = {
    {"plain", "abc", "a    b\nabc  |\n"},
    {"Arabic: a letter is a column", "باقة", "a     b\nباقة  |\n"},
    {"Arabic with vowel signs: they take none", "بَاقَة", "a     b\nبَاقَة  |\n"},
    {"an ideograph takes two", "包x", "a    b\n包x  |\n"},
    {"an escape sequence", "\033[31mred", "a         b\n?[31mred  |\n"},
    {"bell, tab, line feed, delete", "a\a\t\n\177z", "a       b\na????z  |\n"},
    {"a control character of two bytes",
     "a\xc2\x9b"
     "1m",
     "a     b\na?1m  |\n"},
    {"a mark that turns the direction", "abc\u202edef", "a        b\nabc?def  |\n"},
    {"isolates", "\u2066x\u2069", "a    b\n?x?  |\n"},
    {"a question mark stays one", "a?", "a   b\na?  |\n"},
    {"no UTF-8: each byte by itself", "a\xff\xd8z", "a     b\na??z  |\n"},
    {"cut in the middle of a character", "a\xd8", "a   b\na?  |\n"},
    {"NULL", NULL, "a  b\n-  |\n"},
    {"empty", "", "a  b\n   |\n"},
};

static void print_text(const void *row)
{
    table_print(pair(row, "|"), false);
}

static void print_text_json(const void *row)
{
    table_print_one(one_cell("a", row), true);
}

START_TEST(visitors_text)
{
    _cleanup_(freep) char *got = output_of(print_text, texts[_i].cell);

    ck_assert_msg(strcmp(got, texts[_i].people) == 0, "case: %s: got\n%s", texts[_i].title, got);
}
END_TEST

/* Programs get every character back as it was. */
START_TEST(visitors_text_in_json)
{
    const char *cell = texts[_i].cell;
    _cleanup_(freep) char *got = output_of(print_text_json, cell);
    cJSON *json = cJSON_Parse(got);

    if (cell && strchr(cell, '\xff'))
        cJSON_Delete(json); /* what is not UTF-8 does not come from the stores */
    else {
        const cJSON *a = cJSON_GetObjectItemCaseSensitive(json, "a");
        ck_assert_msg(a && (cell ? strcmp(cJSON_GetStringValue(a), cell) == 0 : cJSON_IsNull(a)),
                      "case: %s: got %s", texts[_i].title, got);
        cJSON_Delete(json);
    }
}
END_TEST

static void print_many(const void *json)
{
    struct table *t = table_new("n#", NULL);
    char text[16];

    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "%d", i);
        table_row(t, text);
    }
    table_print(t, *(const bool *)json);
}

START_TEST(many_rows)
{
    _cleanup_(freep) char *got = output_of(print_many, &yes);
    cJSON *json = cJSON_Parse(got);

    ck_assert_int_eq(cJSON_GetArraySize(json), 1000);
    ck_assert_int_eq(cJSON_GetObjectItem(cJSON_GetArrayItem(json, 999), "n")->valueint, 999);
    cJSON_Delete(json);
}
END_TEST

START_TEST(unprinted)
{
    ck_assert_ptr_null(table_free(wide()));
    ck_assert_ptr_null(table_free(NULL));
}
END_TEST

UNIT(ops_table, {"for people", for_people, 0}, {"one for people", one_for_people, 0},
     {"for programs", for_programs, 0}, {"one for programs", one_for_programs, 0},
     {"without rows", without_rows, 0}, {"visitors text", visitors_text, COUNT(texts)},
     {"visitors text in json", visitors_text_in_json, COUNT(texts)}, {"many rows", many_rows, 0},
     {"unprinted", unprinted, 0})

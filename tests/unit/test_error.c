/* test_error.c - the table of failures is sound, contexts keep words, and docs/errors.md lists
 * every code. */
#include "base/clock.h"
#include "base/cx.h"
#include "base/text.h"
#include "unit.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

START_TEST(the_table_is_sound)
{
    for (int i = 0; i < RC_COUNT; i++) {
        const struct error_info *e = error_info(i);
        ck_assert_int_eq(error_from_code(e->code), i); /* and so codes are unique */
        ck_assert_uint_eq(strlen(e->name), strlen(e->code));
        for (size_t k = 0; e->name[k]; k++)
            ck_assert_int_eq(tolower((unsigned char)e->name[k]), e->code[k]);
        if (i == OK)
            continue;
        ck_assert(e->http >= 400 && e->http <= 599);
        ck_assert(e->exit_status == 1 || e->exit_status == 2);
        ck_assert(*e->text && !strchr(e->text, '|'));
    }
    ck_assert_int_eq(error_info(OK)->exit_status, 0);
    ck_assert_ptr_eq(error_info(-1), error_info(E_INTERNAL));
    ck_assert_ptr_eq(error_info(RC_COUNT), error_info(E_INTERNAL));
    ck_assert_int_eq(error_from_code("no such word"), E_INTERNAL);
}
END_TEST

START_TEST(the_docs_list_every_code)
{
    _cleanup_(freep) char *page = unit_read("docs/errors.md");
    int rows = 0;

    for (int i = OK + 1; i < RC_COUNT; i++) {
        const struct error_info *e = error_info(i);
        char row[512];
        snprintf(row, sizeof row, "\n| `%s` | %d | %d | %s | %s |", e->code, e->http,
                 e->exit_status, e->retry ? "yes" : "no", e->text);
        ck_assert_msg(strstr(page, row), "docs/errors.md lacks the row: %s", row + 1);
    }
    for (const char *p = page; (p = strstr(p, "\n| `")); p++)
        rows++;
    ck_assert_msg(rows == RC_COUNT - 1, "docs/errors.md has %d rows, there are %d codes", rows,
                  RC_COUNT - 1);
}
END_TEST

static rc third(struct cx *cx)
{
    return fail_at(cx, INVALID_FIELD, "/package_id", "package %d", 7);
}
static rc second(struct cx *cx)
{
    try(third(cx));
    return fail(cx, INTERNAL, "not reached");
}

START_TEST(words_ride_in_the_context)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");

    ck_assert_str_eq(cx_words(&cx, E_NOT_FOUND), error_info(E_NOT_FOUND)->text);
    ck_assert_int_eq(second(&cx), E_INVALID_FIELD);
    ck_assert_str_eq(cx_words(&cx, E_INVALID_FIELD), "package 7");
    ck_assert_str_eq(cx_words(&cx, E_NOT_FOUND), error_info(E_NOT_FOUND)->text); /* not another's */
    ck_assert_str_eq(cx.err.pointer, "/package_id");
    ck_assert_ptr_nonnull(strstr(cx.err.file, "test_error.c"));
    ck_assert_int_gt(cx.err.line, 0);
    ck_assert_int_eq(fail(&cx, STORE_DOWN, "again: %s", cx.err.text), E_STORE_DOWN);
    ck_assert_str_eq(cx.err.text,
                     "again: package 7"); /* the old words may be among the arguments */
    ck_assert_str_eq(cx.err.pointer, "");
}
END_TEST

START_TEST(long_words_are_cut_between_characters)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    char text[801], *p = text;

    for (int i = 0; i < 400; i++, p += 2)
        memcpy(p, "ş", 2);
    *p = 0;
    for (int shift = 0; shift < 2; shift++) {
        ck_assert_int_eq(fail_at(&cx, INTERNAL, text + shift * 2, "%s%s", shift ? "x" : "", text),
                         E_INTERNAL);
        ck_assert(utf8_valid(cx.err.text, strlen(cx.err.text)));
        ck_assert_uint_ge(strlen(cx.err.text), sizeof cx.err.text - 2);
        ck_assert(utf8_valid(cx.err.pointer, strlen(cx.err.pointer)));
    }
}
END_TEST

START_TEST(deadlines_only_come_nearer)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");

    ck_assert_int_eq(cx_left_ms(&cx), INT64_MAX);
    {
        _cleanup_(cx_deadline_restore) struct cx_deadline outer = cx_deadline_within(&cx, 5000);
        ck_assert_int_le(cx_left_ms(&cx), 5000);
        ck_assert_int_ge(cx_left_ms(&cx), 4000);
        {
            _cleanup_(cx_deadline_restore) struct cx_deadline in = cx_deadline_within(&cx, 60000);
            ck_assert_int_le(cx_left_ms(&cx), 5000);
        }
        {
            _cleanup_(cx_deadline_restore) struct cx_deadline in = cx_deadline_within(&cx, -1);
            ck_assert_int_eq(cx_left_ms(&cx), 0);
        }
        ck_assert_int_ge(cx_left_ms(&cx), 4000);
    }
    ck_assert_int_eq(cx_left_ms(&cx), INT64_MAX);
}
END_TEST

UNIT(error, {"table", the_table_is_sound}, {"docs", the_docs_list_every_code},
     {"words", words_ride_in_the_context}, {"long words", long_words_are_cut_between_characters},
     {"deadline", deadlines_only_come_nearer})

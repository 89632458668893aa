/* test_ops_words.c - the command line as words: which verb, which options, which mistakes. */
#include "ops/words.h"
#include "tests/unit/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 80

/* A line split at spaces; "" is written as two quotes. */
static int split(char *line, char **argv)
{
    int n = 0;

    for (char *save = NULL, *w = strtok_r(line, " ", &save); w && n < WORDS_MAX;
         w = strtok_r(NULL, " ", &save))
        argv[n++] = strcmp(w, "''") == 0 ? w + 2 : w;
    return n;
}

static const struct {
    const char *title, *line;
    rc want;
    const char *words;  /* of the failure: has this in it */
    const char *option; /* "name=value": must be there */
    int args;
} cases[] = {
    {"a verb alone", "db status", OK, NULL, NULL, 0},
    {"of one word", "top", OK, NULL, NULL, 0},
    {"with an argument", "order show 0197", OK, NULL, NULL, 1},
    {"an option behind a space", "order resolve X --as failed", OK, NULL, "as=failed", 1},
    {"an option behind =", "order resolve X --as=failed", OK, NULL, "as=failed", 1},
    {"a value with = in it", "order resolve X --note=a=b", OK, NULL, "note=a=b", 1},
    {"an empty value", "order resolve X --note ''", OK, NULL, "note=", 1},
    {"a value that looks like an option", "order resolve X --note --json", OK, NULL, "note=--json",
     1},
    {"a switch", "queue purge q --yes", OK, NULL, "yes=", 1},
    {"an option before the argument", "queue purge --yes q", OK, NULL, "yes=", 1},
    {"--json anywhere", "queue ls --json", OK, NULL, NULL, 0},
    {"-- ends the options", "key add -- --json", OK, NULL, NULL, 1},
    {"--config behind the verb", "queue ls --config /etc/x", OK, NULL, NULL, 0},
    {"a lone dash is an argument", "key add -", OK, NULL, NULL, 1},

    {"an unknown option", "queue ls --sideways", E_USAGE,
     "'mihwar queue ls' does not take --sideways", NULL, 0},
    {"another verb's option", "queue ls --tenant x", E_USAGE, "does not take --tenant", NULL, 0},
    {"a prefix of an option", "order ls --stat x", E_USAGE, "does not take --stat;", NULL, 0},
    {"more than an option", "order ls --statuses x", E_USAGE, "does not take --statuses", NULL, 0},
    {"no name at all", "order ls --=x", E_USAGE, "does not take --;", NULL, 0},
    {"a value is missing", "order resolve X --as", E_USAGE, "--as needs a value", NULL, 0},
    {"--config without a file", "queue ls --config", E_USAGE, "--config needs a value", NULL, 0},
    {"a switch with a value", "queue purge q --yes=1", E_USAGE, "--yes takes no value", NULL, 0},
    {"an option twice", "order resolve X --as failed --as=ask", E_USAGE, "--as is given twice",
     NULL, 0},
    {"too few arguments", "order show", E_USAGE, "usage: mihwar order show ID|REFERENCE", NULL, 0},
    {"too many", "order show a b", E_USAGE, "usage: mihwar order show", NULL, 0},
    {"an argument where none is", "queue ls x", E_USAGE, "usage: mihwar queue ls; try", NULL, 0},
    {"no UTF-8", "key add a\xff", E_USAGE, "word 1 after 'key add' is not valid UTF-8", NULL, 0},
};

static rc read_line(struct cx *cx, struct ops *o, char *line)
{
    char *argv[WORDS_MAX];
    int argc = split(line, argv), used = 0;

    *o = (struct ops){.verb = verb_find(argc, argv, &used)};
    ck_assert_msg(o->verb != NULL, "no verb in: %s", line);
    return words_read(cx, o, argc - used, argv + used);
}

START_TEST(words)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    char line[256];
    struct ops o;

    snprintf(line, sizeof line, "%s", cases[_i].line);
    rc r = read_line(&cx, &o, line);
    ck_assert_msg(r == cases[_i].want, "case: %s: %s", cases[_i].title, cx_words(&cx, r));
    if (r != OK) {
        ck_assert_msg(strstr(cx.err.text, cases[_i].words) != NULL, "case: %s: %s", cases[_i].title,
                      cx.err.text);
        ck_assert_int_eq(error_info(r)->exit_status, 2);
        return;
    }
    ck_assert_msg(o.argc == cases[_i].args, "case: %s: %d arguments", cases[_i].title, o.argc);
    ck_assert_int_eq(o.json, strcmp(cases[_i].title, "--json anywhere") == 0);
    ck_assert_int_eq(o.config != NULL, strcmp(cases[_i].title, "--config behind the verb") == 0);
    if (cases[_i].option) {
        char name[64];
        size_t n = strcspn(cases[_i].option, "=");
        snprintf(name, sizeof name, "%.*s", (int)n, cases[_i].option);
        ck_assert_msg(opt(&o, name) && strcmp(opt(&o, name), cases[_i].option + n + 1) == 0,
                      "case: %s: --%s is %s", cases[_i].title, name, opt(&o, name));
    } else {
        ck_assert_int_eq(o.noptions, 0);
    }
}
END_TEST

START_TEST(no_such_verb)
{
    static const char *const lines[] = {"frob",      "order",   "order frob",
                                        "order lsx", "orderls", "''"};
    char line[64], *argv[WORDS_MAX];
    int used;

    for (size_t i = 0; i < COUNT(lines); i++) {
        snprintf(line, sizeof line, "%s", lines[i]);
        int argc = split(line, argv);
        ck_assert_msg(verb_find(argc, argv, &used) == NULL, "there is a verb: %s", lines[i]);
    }
    ck_assert_ptr_null(verb_find(0, argv, &used));
}
END_TEST

START_TEST(more_than_there_is_room_for)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    char x[] = "x", *argv[ARGS_MAX + 3] = {(char[]){"dlq"}, (char[]){"drop"}};
    struct ops o = {0};
    int used;

    for (int i = 2; i < ARGS_MAX + 3; i++)
        argv[i] = x;
    o.verb = verb_find(ARGS_MAX + 3, argv, &used);
    ck_assert_int_eq(words_read(&cx, &o, ARGS_MAX, argv + 2), OK);
    o.argc = 0;
    ck_assert_int_eq(words_read(&cx, &o, ARGS_MAX + 1, argv + 2), E_USAGE);
}
END_TEST

/* ---------------------------------------------------------------- what verbs ask for */

static struct ops with(const char *value)
{
    return (struct ops){
        .verb = &verbs[0], .noptions = value ? 1 : 0, .options = {{"x", value ? value : ""}}};
}

static const struct {
    const char *value;
    rc want;
    int64_t n;
} numbers[] = {{NULL, OK, 5},       {"1", OK, 1},
               {"9", OK, 9},        {"0", E_USAGE, 0},
               {"10", E_USAGE, 0},  {"", E_USAGE, 0},
               {"1x", E_USAGE, 0},  {"-1", E_USAGE, 0},
               {"1.5", E_USAGE, 0}, {"99999999999999999999", E_USAGE, 0}},
  durations[] = {{NULL, OK, 7},     {"250ms", OK, 250}, {"30s", OK, 30000},  {"2h", OK, 7200000},
                 {"0", E_USAGE, 0}, {"0s", E_USAGE, 0}, {"-5s", E_USAGE, 0}, {"soon", E_USAGE, 0},
                 {"", E_USAGE, 0},  {"1 h", E_USAGE, 0}};

START_TEST(whole_numbers)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct ops o = with(numbers[_i].value);
    int64_t n;

    ck_assert_int_eq(opt_int(&cx, &o, "x", 1, 9, 5, &n), numbers[_i].want);
    ck_assert(numbers[_i].want != OK || n == numbers[_i].n);
}
END_TEST

START_TEST(lengths_of_time)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct ops o = with(durations[_i].value);
    int64_t n;

    ck_assert_int_eq(opt_duration(&cx, &o, "x", 7, &n), durations[_i].want);
    ck_assert(durations[_i].want != OK || n == durations[_i].n);
}
END_TEST

START_TEST(needed)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    struct ops none = with(NULL), empty = with(""), some = with("v");
    const char *v;

    ck_assert_int_eq(opt_needed(&cx, &none, "x", &v), E_USAGE);
    ck_assert_int_eq(opt_needed(&cx, &empty, "x", &v), E_USAGE);
    ck_assert_int_eq(opt_needed(&cx, &some, "x", &v), OK);
    ck_assert_str_eq(v, "v");
}
END_TEST

static void write_file(const char *path, const void *text, size_t n)
{
    FILE *f = fopen(path, "w");

    ck_assert(f && fwrite(text, 1, n, f) == n && fclose(f) == 0);
}

START_TEST(text_or_file)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    char path[] = "/tmp/mihwar-words-XXXXXX", at[64];
    struct ops none = with(NULL), plain = with("a secret"), missing = with("@/nowhere/at/all"),
               folder = with("@/tmp"), file = with(at);
    const char *v;

    close(mkstemp(path));
    snprintf(at, sizeof at, "@%s", path);
    ck_assert_int_eq(opt_text(&cx, &none, "x", &v), OK);
    ck_assert_ptr_null(v);
    ck_assert_int_eq(opt_text(&cx, &plain, "x", &v), OK);
    ck_assert_str_eq(v, "a secret");

    write_file(path, "  s3cret \n", 10);
    ck_assert_int_eq(opt_text(&cx, &file, "x", &v), OK);
    ck_assert_str_eq(v, "s3cret");
    write_file(path, "", 0);
    ck_assert_int_eq(opt_text(&cx, &file, "x", &v), OK);
    ck_assert_str_eq(v, "");

    write_file(path, "a\0b", 3);
    ck_assert_int_eq(opt_text(&cx, &file, "x", &v), E_USAGE);
    write_file(path, "\xff\xfe", 2);
    ck_assert_int_eq(opt_text(&cx, &file, "x", &v), E_USAGE);
    char *big = xmalloc(KiB(257));
    memset(big, 'x', KiB(257));
    write_file(path, big, KiB(257));
    free(big);
    ck_assert_int_eq(opt_text(&cx, &file, "x", &v), E_USAGE);
    ck_assert_ptr_nonnull(strstr(cx.err.text, "larger than 256 KiB"));
    unlink(path);

    ck_assert_int_eq(opt_text(&cx, &missing, "x", &v), E_USAGE);
    ck_assert_ptr_nonnull(strstr(cx.err.text, "/nowhere/at/all cannot be read: No such file"));
    ck_assert_int_eq(opt_text(&cx, &folder, "x", &v), E_USAGE);
}
END_TEST

UNIT(ops_words, {"words", words, COUNT(cases)}, {"no such verb", no_such_verb, 0},
     {"more than there is room for", more_than_there_is_room_for, 0},
     {"whole numbers", whole_numbers, COUNT(numbers)},
     {"lengths of time", lengths_of_time, COUNT(durations)}, {"needed", needed, 0},
     {"text or file", text_or_file, 0})

/* test_ops_help.c - the table of verbs is whole, and help, completion and man page say all of it.
 */
#include "ops/help.h"
#include "ops/verb.h"
#include "tests/unit/ops_output.h"
#include "tests/unit/unit.h"

static void print_help(const void *words)
{
    char line[64], *argv[4];
    int argc = 0;

    snprintf(line, sizeof line, "%s", (const char *)words);
    for (char *save = NULL, *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    ck_assert_int_eq(help_print(argc, argv), 0);
}

static void print_completion(const void *what)
{
    ck_assert_int_eq(help_completion(what), 0);
}

/* The rows of verbs[]: sorted by nothing but kept together, with all that they need. */
START_TEST(a_row)
{
    const struct verb *v = &verbs[_i];

    ck_assert_msg(v->run && v->help && *v->help, "%s is not whole", v->name);
    ck_assert_msg(v->min_args <= v->max_args && v->max_args <= ARGS_MAX, "%s", v->name);
    ck_assert_msg((v->max_args > 0) == (*v->args != 0), "%s: args '%s'", v->name, v->args);
    ck_assert_msg(v->help[strlen(v->help) - 1] != '.', "%s: no full stop", v->name);
    for (size_t i = 0; i < verb_count; i++)
        ck_assert_msg(i == (size_t)_i || strcmp(verbs[i].name, v->name) != 0, "%s twice", v->name);
    ck_assert_msg(!(v->needs & CHANGES) || (v->needs & NEEDS_PG),
                  "%s cannot write to the audit log", v->name);
}
END_TEST

static bool takes(const struct verb *v, const char *option)
{
    size_t n = strlen(option);

    for (const char *p = v->options; (p = strstr(p, option)); p += n) {
        if ((p == v->options || p[-1] == ' ') && (p[n] == 0 || p[n] == ' ' || p[n] == '='))
            return true;
    }
    return false;
}

START_TEST(options_of_a_row)
{
    for (const char *p = verbs[_i].options; *p;) {
        size_t n = strcspn(p, " ");
        bool value = p[n - 1] == '=';
        const struct option_row *row = option_row(p, n - value);
        ck_assert_msg(row != NULL, "%s: --%.*s is explained nowhere", verbs[_i].name, (int)n, p);
        ck_assert_msg((*row->value != 0) == value, "%s: --%s takes %s", verbs[_i].name, row->name,
                      value ? "a value" : "none");
        p += n;
        p += *p == ' ';
    }
}
END_TEST

START_TEST(an_option)
{
    bool used = false;

    for (size_t i = 0; i < verb_count; i++)
        used |= takes(&verbs[i], option_rows[_i].name);
    ck_assert_msg(used, "no verb takes --%s", option_rows[_i].name);
    ck_assert_msg(_i == 0 || strcmp(option_rows[_i - 1].name, option_rows[_i].name) < 0,
                  "--%s is not in its place", option_rows[_i].name);
}
END_TEST

/* Each verb and each of its options, everywhere. */
START_TEST(every_verb_is_told)
{
    const struct verb *v = &verbs[_i];
    char needle[128];
    _cleanup_(freep) char *all = output_of(print_help, ""), *own = output_of(print_help, v->name);
    _cleanup_(freep) char *bash = output_of(print_completion, "bash");
    _cleanup_(freep) char *man = output_of(print_completion, "man");

    snprintf(needle, sizeof needle, "\n  %s ", v->name);
    ck_assert_ptr_nonnull(strstr(all, needle));
    ck_assert_ptr_nonnull(strstr(own, v->help));
    snprintf(needle, sizeof needle, "    \"%s\" | \"%s \"*) words=\"--json", v->name, v->name);
    const char *line = strstr(bash, needle);
    ck_assert_msg(line != NULL, "%s is not in the completion", v->name);
    snprintf(needle, sizeof needle, ".TP\n.B %s\n", v->name);
    ck_assert_msg(strstr(man, needle) != NULL, "%s is not in the man page", v->name);
    for (size_t i = 0; i < option_count; i++) {
        snprintf(needle, sizeof needle, " --%s", option_rows[i].name);
        if (!takes(v, option_rows[i].name))
            continue;
        const char *at = strstr(line, needle);
        ck_assert_msg(at && at < strchr(line, '\n'), "%s%s is not in the completion", v->name,
                      needle);
        ck_assert_msg(strstr(own, needle) != NULL, "%s%s is not in its help", v->name, needle);
        ck_assert_ptr_nonnull(strstr(own, option_rows[i].help));
    }
}
END_TEST

/* Runs `command` with text as its stdin; its status. */
static int pipe_into(const char *command, const char *text)
{
    FILE *p = popen(command, "w");

    ck_assert_ptr_nonnull(p);
    fputs(text, p);
    return pclose(p);
}

static const struct {
    const char *title, *words,
        *want; /* COMP_WORDS; one that must be offered, and the whole in order */
} completions[] = {
    {"nothing yet", "mihwar ''", "order"},
    {"part of a noun", "mihwar cat", "catalogue"},
    {"a noun", "mihwar order ''", "ls show resolve cancel"},
    {"part of a verb", "mihwar order re", "resolve"},
    {"a noun with another behind it", "mihwar agent ''", "ls add show set enable disable token"},
    {"the other", "mihwar agent token ''", "add ls revoke"},
    {"a verb's options", "mihwar order resolve X --a", "--as"},
    {"a verb of one word", "mihwar top --ti", "--times"},
    {"behind --json", "mihwar --json queue p", "pause purge"},
    {"behind --config FILE", "mihwar --config f queue p", "pause purge"},
    {"help", "mihwar help sch", "schedule"},
    {"help of a noun", "mihwar help dlq re", "replay"},
    {"completion", "mihwar completion z", "zsh"},
    {"nonsense", "mihwar frob x y", ""},
};

START_TEST(bash_completes)
{
    _cleanup_(freep) char *bash = output_of(print_completion, "bash");
    _cleanup_(freep) char *script =
        xasprintf("%s\nCOMP_WORDS=(%s)\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_mihwar\n"
                  "case \" ${COMPREPLY[*]} \" in *\" %s \"*) exit 0 ;; *) [ '%s' = '' ] && [ "
                  "${#COMPREPLY[@]} = 0 ]"
                  " || { echo \"${COMPREPLY[*]}\"; exit 1; } ;; esac\n",
                  bash, completions[_i].words, completions[_i].want, completions[_i].want);

    ck_assert_msg(pipe_into("bash -u", script) == 0, "case: %s", completions[_i].title);
}
END_TEST

START_TEST(scripts_are_sound)
{
    _cleanup_(freep) char *bash = output_of(print_completion, "bash");
    _cleanup_(freep) char *zsh = output_of(print_completion, "zsh");

    ck_assert_int_eq(pipe_into("bash -n", bash), 0);
    ck_assert_int_eq(pipe_into("bash -n", zsh), 0);
    ck_assert_ptr_nonnull(strstr(zsh, "bashcompinit"));
    ck_assert_int_eq(help_completion("fish"), 2);
    ck_assert_int_eq(help_completion(NULL), 2);
}
END_TEST

/* No line of text may be taken for a request, no hyphen for a dash. */
START_TEST(roff_is_sound)
{
    static const char *const requests[] = {".TH ", ".SH ", ".TP", ".B ", ".br", ".nf", ".fi"};
    _cleanup_(freep) char *man = output_of(print_completion, "man");

    for (char *save = NULL, *line = strtok_r(man, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        bool known = line[0] != '.' && line[0] != '\'';
        for (size_t i = 0; i < COUNT(requests); i++)
            known |= strncmp(line, requests[i], strlen(requests[i])) == 0;
        ck_assert_msg(known, "not a request: %s", line);
        ck_assert_msg(line[0] != ' ', "begins with a space: '%s'", line);
        for (const char *p = line; (p = strchr(p, '-')); p++)
            ck_assert_msg(p > line && p[-1] == '\\', "a hyphen for a dash: %s", line);
    }
}
END_TEST

START_TEST(what_is_unknown)
{
    char *frob[] = {(char[]){"frob"}, (char[]){"x"}},
         *order[] = {(char[]){"order"}, (char[]){"frob"}};

    ck_assert_int_eq(help_unknown(2, frob), 2);
    ck_assert_int_eq(help_unknown(2, order), 2);
    ck_assert_int_eq(help_unknown(1, order), 2);
    ck_assert_int_eq(help_print(2, frob), 2);
    ck_assert_int_eq(help_print(2, order), 2);
}
END_TEST

UNIT(ops_help, {"a row", a_row, verb_count}, {"options of a row", options_of_a_row, verb_count},
     {"an option", an_option, option_count}, {"every verb is told", every_verb_is_told, verb_count},
     {"bash completes", bash_completes, COUNT(completions)},
     {"scripts are sound", scripts_are_sound, 0}, {"roff is sound", roff_is_sound, 0},
     {"what is unknown", what_is_unknown, 0})

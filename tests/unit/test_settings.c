/* test_settings.c - the table, the file, the environment, the words of an error; and the two pages
 * that must name each. */
#include "base/settings.h"
#include "base/text.h"
#include "unit.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char *write_file(const char *text)
{
    char *path = xstrdup("settings-XXXXXX");
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static void unlinkp(char **path)
{
    if (*path)
        unlink(*path);
    free(*path);
}

static rc load_text(struct cx *cx, struct settings *s, const char *text)
{
    _cleanup_(unlinkp) char *path = write_file(text);

    return settings_load(cx, s, path);
}

START_TEST(defaults)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    _cleanup_(settings_release) struct settings s;

    ck_assert_int_eq(settings_load(&cx, &s, NULL), OK);
    ck_assert_str_eq(s.hub_listen, "127.0.0.1:8080");
    ck_assert_int_eq(s.check_cap, 600000);
    ck_assert_int_eq(s.order_timeout, 86400000);
    ck_assert(!s.webhook_allow_private);
    for (size_t i = 1; i < setting_count; i++)
        ck_assert_msg(strcmp(setting_rows[i - 1].name, setting_rows[i].name) < 0,
                      "settings.def is not sorted at %s", setting_rows[i].name);
    for (size_t i = 0; i < setting_count; i++) {
        ck_assert_msg(setting_rows[i].min <= setting_rows[i].max, "%s", setting_rows[i].name);
        ck_assert_msg(!strpbrk(setting_rows[i].help, "|\n"), "%s", setting_rows[i].name);
    }
}
END_TEST

START_TEST(layers)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    _cleanup_(settings_release) struct settings s;

    setenv("MIHWAR_LEASE", "7s", 1);
    ck_assert_int_eq(load_text(&cx, &s,
                               "# a comment\n; another\n\n[worker]\n"
                               "lease = 5s\n"
                               "  worker_queues=a, b ; not a comment  \n"
                               "hub_listen =\n"
                               "webhook_allow_private = Yes\n"
                               "worker_concurrency = 5\nworker_concurrency = 6\n"
                               "database_url = host=/run user=me"),
                     OK);
    ck_assert_int_eq(s.lease, 7000); /* the environment wins */
    ck_assert_str_eq(s.worker_queues, "a, b ; not a comment");
    ck_assert_str_eq(s.hub_listen, "");
    ck_assert(s.webhook_allow_private);
    ck_assert_int_eq(s.worker_concurrency, 6);
    ck_assert_str_eq(s.database_url, "host=/run user=me"); /* also without an end of line */
    ck_assert_int_eq(settings_set(&cx, &s, "lease", "9s", "--lease"), OK);
    ck_assert_int_eq(s.lease, 9000); /* and the command line over it */
}
END_TEST

START_TEST(long_lines)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    _cleanup_(settings_release) struct settings s;
    char text[8300], value[8193];

    memset(value, 'a', 8192);
    value[8192] = 0;
    snprintf(text, sizeof text, "seal_keys = %s\n", value);
    ck_assert_int_eq(load_text(&cx, &s, text), OK);
    ck_assert_str_eq(s.seal_keys, value);
}
END_TEST

static const struct {
    const char *title, *text;
    const char *words[3]; /* what the error must say */
} mistakes[] = {
    {"unknown", "no_such_thing = 1", {"no_such_thing", ":1"}},
    {"unknown in line 3", "\n# x\nno_such = 1", {"no_such", ":3"}},
    {"no number", "worker_concurrency = many", {"worker_concurrency", "whole number", "20000"}},
    {"too large", "worker_concurrency = 20001", {"worker_concurrency", "20000"}},
    {"too small", "worker_concurrency = 0", {"worker_concurrency", "1"}},
    {"empty number", "worker_concurrency =", {"worker_concurrency"}},
    {"no duration", "lease = soon", {"lease", "duration"}},
    {"too short", "lease = 100ms", {"lease", "200ms"}},
    {"no boolean", "webhook_allow_private = perhaps", {"webhook_allow_private", "true or false"}},
    {"too long a text", "log_level = informational-and-more", {"log_level", "16"}},
    {"no equals sign", "lease 5s", {"name = value", ":1"}},
};

START_TEST(mistakes_are_named)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    _cleanup_(settings_release) struct settings s;

    ck_assert_msg(load_text(&cx, &s, mistakes[_i].text) == E_CONFIG, "case: %s",
                  mistakes[_i].title);
    for (size_t i = 0; i < 3 && mistakes[_i].words[i]; i++)
        ck_assert_msg(strstr(cx.err.text, mistakes[_i].words[i]), "case: %s says: %s",
                      mistakes[_i].title, cx.err.text);
}
END_TEST

START_TEST(mistakes_elsewhere_are_named)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    _cleanup_(settings_release) struct settings s, t, u;

    ck_assert_int_eq(settings_load(&cx, &s, "/no/such/file"), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(cx.err.text, "/no/such/file"));
    setenv("MIHWAR_CHECK_BASE", "-3s", 1);
    ck_assert_int_eq(settings_load(&cx, &t, NULL), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(cx.err.text, "MIHWAR_CHECK_BASE"));
    unsetenv("MIHWAR_CHECK_BASE");
    ck_assert_int_eq(settings_load(&cx, &u, NULL), OK);
    ck_assert_int_eq(settings_set(&cx, &u, "log_level", "loud", "--log-level"), OK);
    ck_assert_int_eq(settings_apply_log(&cx, &u, "test"), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(cx.err.text, "log_level"));
}
END_TEST

/* --- docs --- */

static const char *const type_words[] = {"text", "number", "duration", "bytes", "yes or no"};

START_TEST(the_docs_name_every_setting)
{
    _cleanup_(freep) char *page = unit_read("docs/settings.md");
    size_t rows = 0;

    for (size_t i = 0; i < setting_count; i++) {
        const struct setting_row *r = &setting_rows[i];
        char row[1024], env[80];
        snprintf(env, sizeof env, "MIHWAR_%s", r->name);
        for (char *p = env; *p; p++)
            *p = (char)toupper((unsigned char)*p);
        snprintf(row, sizeof row, "\n| `%s` | `%s` | %s | %s%s%s | ", r->name, env,
                 type_words[r->type], *r->def ? "`" : "", *r->def ? r->def : "none",
                 *r->def ? "`" : "");
        ck_assert_msg(strstr(page, row), "docs/settings.md lacks the row: %s", row + 1);
        ck_assert_msg(strstr(strstr(page, row), r->help),
                      "docs/settings.md: %s: not the words of settings.def", r->name);
    }
    for (const char *p = page; (p = strstr(p, "\n| `")); p++)
        rows++;
    ck_assert_msg(rows == setting_count, "docs/settings.md has %zu rows, there are %zu settings",
                  rows, setting_count);
}
END_TEST

/* Uncommented, the sample file is read without a complaint and changes nothing. */
START_TEST(the_sample_names_every_setting)
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN("test");
    _cleanup_(settings_release) struct settings plain, s;
    _cleanup_(freep) char *page = unit_read("docs/mihwar.ini.sample");
    char *save = NULL;
    size_t named = 0;

    ck_assert_int_eq(settings_load(&cx, &plain, NULL), OK);
    ck_assert_int_eq(settings_load(&cx, &s, NULL), OK);
    for (char *line = strtok_r(page, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (*line != '#' || line[1] == ' ') {
            ck_assert_msg(*line == '#' || *line == '[', "docs/mihwar.ini.sample: %s", line);
            continue; /* "# words" */
        }
        char *name = line + 1, *equals = strstr(line, " =");
        ck_assert_msg(equals, "docs/mihwar.ini.sample: %s", line);
        *equals = 0;
        ck_assert_msg(settings_set(&cx, &s, name, str_trim(equals + 2), "sample") == OK, "%s",
                      cx.err.text);
        named++;
    }
    ck_assert_msg(named == setting_count, "docs/mihwar.ini.sample names %zu of %zu settings", named,
                  setting_count);
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting_row *r = &setting_rows[i];
        const char *a = (const char *)&plain + r->offset, *b = (const char *)&s + r->offset;
        bool same = r->type == SETTING_STR    ? strcmp(*(char *const *)a, *(char *const *)b) == 0
                    : r->type == SETTING_BOOL ? *(const bool *)a == *(const bool *)b
                                              : *(const int64_t *)a == *(const int64_t *)b;
        ck_assert_msg(same, "docs/mihwar.ini.sample: %s is not the default", r->name);
    }
}
END_TEST

UNIT(settings, {"defaults", defaults}, {"layers", layers}, {"long lines", long_lines},
     {"mistakes", mistakes_are_named, COUNT(mistakes)},
     {"mistakes elsewhere", mistakes_elsewhere_are_named}, {"docs", the_docs_name_every_setting},
     {"sample", the_sample_names_every_setting})

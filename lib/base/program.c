/* program.c - the options that every program takes, made from the table of settings.
 *
 * The command line is read twice: first for --config (the file is the lowest layer), then, over the
 * file and the environment, for the settings it names. */
#include "base/program.h"
#include "base/text.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { OPT_CONFIG = 1000, OPT_CHECK, OPT_VERSION, OPT_HELP };

const char *program_version(void)
{
    return MIHWAR_VERSION;
}

static struct option *options_make(char *names, size_t size)
{
    struct option *o = xcalloc(setting_count + 5, sizeof *o);
    size_t n = 0;
    char *p = names;

    for (size_t i = 0; i < setting_count; i++) {
        int len = snprintf(p, size - (size_t)(p - names), "%s", setting_rows[i].name);
        for (char *c = p; *c; c++) {
            if (*c == '_')
                *c = '-';
        }
        o[n++] = (struct option){p, required_argument, NULL, (int)i + 1};
        p += len + 1;
    }
    o[n++] = (struct option){"config", required_argument, NULL, OPT_CONFIG};
    o[n++] = (struct option){"check-config", no_argument, NULL, OPT_CHECK};
    o[n++] = (struct option){"version", no_argument, NULL, OPT_VERSION};
    o[n++] = (struct option){"help", no_argument, NULL, OPT_HELP};
    return o;
}

static void print_help(const char *name, const char *what)
{
    printf(
        "%s - %s\n\n"
        "usage: %s [--config FILE] [--SETTING VALUE]... [--check-config] [--version] [--help]\n\n"
        "settings (in the file: name = value; in the environment: MIHWAR_NAME; here: --name "
        "value):\n",
        name, what, name);
    settings_print_help(stdout);
}

/* One pass over the options. Gives -1, or the exit status for --help, --version and mistakes. */
static int read_options(struct cx *cx, int argc, char **argv, const struct option *opts,
                        const char *name, const char *what, const char **file, bool *check,
                        struct settings *into)
{
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
        if (c == OPT_CONFIG) {
            *file = optarg;
        } else if (c == OPT_CHECK) {
            *check = true;
        } else if (c == OPT_VERSION) {
            printf("%s %s\n", name, program_version());
            return 0;
        } else if (c == OPT_HELP) {
            print_help(name, what);
            return 0;
        } else if (c >= 1 && (size_t)c <= setting_count) {
            char source[96];
            snprintf(source, sizeof source, "--%s", opts[c - 1].name);
            rc r = into ? settings_set(cx, into, setting_rows[c - 1].name, optarg, source) : OK;
            if (r != OK) {
                fprintf(stderr, "%s: %s\n", name, cx_words(cx, r));
                return 2;
            }
        } else {
            fprintf(stderr, "try '%s --help'\n", name);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: '%s' is not an option; try '%s --help'\n", name, argv[optind], name);
        return 2;
    }
    return -1;
}

int program_begin(int argc, char **argv, const char *name, const char *what, struct settings *s,
                  rc (*check)(struct cx *cx, const struct settings *s))
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN(name);
    char names[4096];
    _cleanup_(freep) struct option *opts = options_make(names, sizeof names);
    const char *file = NULL;
    bool only_check = false;
    int status = read_options(&cx, argc, argv, opts, name, what, &file, &only_check, NULL);
    rc r;

    if (status >= 0)
        return status;
    *s = (struct settings){0};
    r = settings_load(&cx, s, file);
    if (r == OK)
        status = read_options(&cx, argc, argv, opts, name, what, &file, &only_check, s);
    if (r == OK && status < 0)
        r = settings_apply_log(&cx, s, starts_with(name, "mihwar-") ? name + 7 : name);
    if (r == OK && status < 0 && check)
        r = check(&cx, s);
    if (r != OK) {
        fprintf(stderr, "%s: %s\n", name, cx_words(&cx, r));
        status = 2;
    } else if (status < 0 && only_check) {
        printf("%s: the settings are right\n", name);
        status = 0;
    }
    if (status >= 0)
        settings_release(s);
    return status;
}

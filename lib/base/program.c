/* program.c - the options that every program takes, made from the table of settings.
 *
 * The command line is read twice: first for --config (the file is the lowest layer), then, over the
 * file and the environment, for the settings it names. */
#include "base/program.h"
#include "base/log.h"
#include "base/text.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Above every character: getopt says '?' (63) for what it does not know. */
enum { OPT_CONFIG = 1000, OPT_CHECK, OPT_VERSION, OPT_HELP, OPT_SETTING };

#define NAMES_MAX KiB(8) /* of all options */

const char *program_version(void)
{
    return MIHWAR_VERSION;
}

int64_t program_resident_bytes(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f && fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
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
        o[n++] = (struct option){p, required_argument, NULL, OPT_SETTING + (int)i};
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
        } else if (c >= OPT_SETTING) {
            char source[96];
            size_t i = (size_t)(c - OPT_SETTING);
            snprintf(source, sizeof source, "--%s", opts[i].name);
            rc r = into ? settings_set(cx, into, setting_rows[i].name, optarg, source) : OK;
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

static struct {
    int argc;
    char **argv;
    const char *name, *what;
    rc (*check)(struct cx *cx, const struct settings *s);
} begun;

/* All layers. -1, or the exit status for --help, --version and mistakes of usage; *ret_rc for those in the values. */
static int read_all(struct cx *cx, struct settings *s, bool *only_check, rc *ret_rc)
{
    _cleanup_(freep) char *names = xmalloc(NAMES_MAX);
    _cleanup_(freep) struct option *opts = options_make(names, NAMES_MAX);
    const char *file = NULL;
    int status = read_options(cx, begun.argc, begun.argv, opts, begun.name, begun.what, &file,
                              only_check, NULL);

    *ret_rc = OK;
    *s = (struct settings){0};
    if (status >= 0)
        return status;
    *ret_rc = settings_load(cx, s, file);
    if (*ret_rc == OK)
        status = read_options(cx, begun.argc, begun.argv, opts, begun.name, begun.what, &file,
                              only_check, s);
    return status;
}

static const char *log_name(void)
{
    return starts_with(begun.name, "mihwar-") ? begun.name + 7 : begun.name;
}

int program_begin(int argc, char **argv, const char *name, const char *what, struct settings *s,
                  rc (*check)(struct cx *cx, const struct settings *s))
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN(name);
    bool only_check = false;
    rc r;

    begun.argc = argc;
    begun.argv = argv;
    begun.name = name;
    begun.what = what;
    begun.check = check;
    int status = read_all(&cx, s, &only_check, &r);
    if (r == OK && status < 0)
        r = settings_apply_log(&cx, s, log_name());
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

bool setting_in(const char *name, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

bool program_reread(struct settings *live, bool (*may_change)(const char *name))
{
    _cleanup_(cx_release) struct cx cx = CX_PLAIN(begun.name);
    _cleanup_(settings_release) struct settings fresh;
    bool only_check;
    rc r;

    (void)read_all(&cx, &fresh, &only_check, &r);
    if (r == OK && begun.check)
        r = begun.check(&cx, &fresh);
    if (r == OK)
        r = settings_apply_log(&cx, &fresh, log_name());
    if (r != OK) {
        log_fail(LOG_ERROR, "settings.refused", &cx, r, kv_str("then", "the old ones stay"));
        return false;
    }
    if (settings_adopt(live, &fresh, may_change) == 0)
        log_ev(LOG_INFO, "settings.unchanged");
    return true;
}

int64_t program_cpu_us(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * INT64_C(1000000) + u.ru_utime.tv_usec +
           u.ru_stime.tv_usec;
}
